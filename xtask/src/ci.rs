//! `cargo xtask ci`: the same checks as on a contributor's machine, and nothing that only a server can run.

use anyhow::Result;
use xshell::{Shell, cmd};

use crate::flags;

/// Installs system packages that some checks use and none needs.
const PACKAGES: &str = "scripts/install-optional.sh";

impl flags::Ci {
    /// Prepares the machine as far as it can, then tests.
    pub fn run(&self, sh: &Shell) -> Result<()> {
        if cfg!(target_os = "linux") && sh.path_exists(PACKAGES) {
            println!("== optional system packages: bash {PACKAGES}");
            if let Err(error) = cmd!(sh, "bash {PACKAGES}").quiet().run() {
                println!("going on without them: {error}");
            }
        }
        flags::Test { quick: false }.run(sh)
    }
}

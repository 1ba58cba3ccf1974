//! `cargo xtask ci` runs the same checks as a contributor's machine, and then those of the backends
//! that the default build lacks. Nothing here can run on a server alone.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use xshell::{Shell, cmd};

use crate::{
    compare, costs, flags, mm,
    test::{self, Step},
    web,
};

/// Names the script that installs system packages that some checks use and none needs.
const PACKAGES: &str = "xtask/scripts/install-optional.sh";

/// Names the script that installs the clients through which tests speak to the server.
const CLIENTS: &str = "xtask/scripts/install-clients.sh";

/// Type-checks every backend, though no machine has them all, and the dashboard. `DOCS_RS=1` keeps
/// the build scripts of the CUDA compiler from downloading what only linking needs.
const TYPE_CHECKS: Step = Step {
    name: "all backends",
    says: "the types of every backend and of the dashboard",
    env: "DOCS_RS=1",
    command: "cargo check -p mm-cli --features wgpu,vulkan,cuda,fusion,autotune,tui",
    in_quick: false,
};

/// Lints what `cargo xtask fuzz` runs; its corpora are run by a test.
const FUZZING: Step = Step {
    name: "fuzzing",
    says: "the fuzzing targets compile",
    env: "",
    command: "cargo xtask fuzz --check",
    in_quick: false,
};

/// Makes the packages that would be published; `--no-verify` leaves out building each of them.
const PACKAGE: Step = Step {
    name: "packages",
    says: "every crate can be packaged",
    env: "",
    command: "cargo package --workspace --no-verify --allow-dirty",
    in_quick: false,
};

/// Compiles for browsers and tests that. It comes last, since it may be left out for want of time.
const WEB: Step = Step {
    name: "web",
    says: "the library in Node and in Chromium, if the tools are there",
    env: "",
    command: "cargo xtask web --as-tested --if-there",
    in_quick: false,
};

/// Compares where there is no graphics device: the kernels with reference operations.
const PROCESSOR: Step = Step {
    name: "backends",
    says: "the kernels compute what reference operations do",
    env: "",
    command: "cargo xtask compare-backends --as-tested --devices flex",
    in_quick: false,
};

/// Replaces steps of the same name, or adds steps, where there is a Vulkan device in software.
///
/// The tests are built with the wgpu backend, so that Burn is built once, and the program that they
/// leave is compared on it, in WebGPU's shading language. The tests of model folders, of generation
/// and of a few losses run on it too: those that take no long training.
const SOFTWARE: [Step; 5] = [
    Step {
        name: "tests",
        says: "unit tests, the tests of the library and of the program",
        env: "",
        command: "cargo test --workspace --tests --no-fail-fast --features mm-cli/wgpu",
        in_quick: true,
    },
    Step {
        name: "doc tests",
        says: "the examples in doc comments",
        env: "",
        command: "cargo test --workspace --doc --no-fail-fast --features mm-cli/wgpu",
        in_quick: false,
    },
    Step {
        name: "ranks",
        says: "training over processes, if MPI is there",
        env: "",
        command: "cargo test --workspace --features mm-cli/wgpu,mm-cli/mpi --test cli -- ranks --nocapture",
        in_quick: false,
    },
    Step {
        name: "backends",
        says: "the kernels and wgpu compute what reference operations do",
        env: "",
        command: "cargo xtask compare-backends --as-tested --devices flex,wgpu:cpu",
        in_quick: false,
    },
    Step {
        name: "tests on wgpu",
        says: "model folders, generation and losses on wgpu in software",
        env: "BURN_DEVICE=wgpu;CUBECL_WGPU_DEFAULT_DEVICE=Cpu",
        command: "cargo test --workspace --features mm-cli/wgpu --test mm -- checkpoint:: generate:: a_seed_fixes several_sizes summed_loss_is",
        in_quick: false,
    },
];

impl flags::Ci {
    /// Prepares the machine as far as it can, then tests.
    pub fn run(&self, sh: &Shell) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        sh.set_var(web::BEGAN, now.as_secs().to_string());
        if sh.var_os("CI").is_some() {
            // A server builds once, so what later builds would reuse only takes space.
            sh.set_var("CARGO_INCREMENTAL", "0");
        }
        if cfg!(target_os = "linux") && sh.path_exists(PACKAGES) {
            println!("== optional system packages: bash {PACKAGES}");
            if let Err(error) = cmd!(sh, "bash {PACKAGES}").quiet().run() {
                println!("going on without them: {error}");
            }
            install_clients(sh)?;
        }
        let replaced: &[Step] = match compare::no_software_vulkan(sh) {
            None => &SOFTWARE,
            Some(reason) => {
                println!("== the wgpu backend is type-checked but not run: {reason}");
                &[]
            }
        };
        let steps = steps(replaced);
        println!("{}", test::announcement(&steps, costs::TEST_DISK));
        test::run_all(sh, &steps, false)
    }
}

/// Installs clients of the server into a folder of the target, where the tests find them. Chromium
/// is one: it is some 110 MB to load, and the flows of the page take about a minute.
fn install_clients(sh: &Shell) -> Result<()> {
    let folder = mm::target(sh)?.join("clients");
    println!("== clients of the server: bash {CLIENTS} {} --browser", folder.display());
    if let Err(error) = cmd!(sh, "bash {CLIENTS} {folder} --browser").quiet().run() {
        println!("going on without them: {error}");
    }
    sh.set_var("MM_CLIENTS", folder);
    Ok(())
}

/// Returns the steps of `cargo xtask test` and those of the backends, with some replaced by those
/// of the same name.
///
/// Steps of a new name come last but for the type checks, which build Burn another way, and the
/// packages.
fn steps(replaced: &[Step]) -> Vec<&Step> {
    let all = || test::STEPS.iter().chain([&PROCESSOR]);
    let other = |step: &&Step| replaced.iter().find(|other| other.name == step.name);
    let added = replaced.iter().filter(|other| all().all(|step| step.name != other.name));
    all()
        .map(|step| other(&step).unwrap_or(step))
        .chain(added)
        .chain([&FUZZING, &TYPE_CHECKS, &PACKAGE, &WEB])
        .collect()
}

/// Returns every step that some machine runs, each name once.
#[cfg(test)]
pub fn all_steps() -> impl Iterator<Item = &'static Step> {
    steps(&SOFTWARE).into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_a_graphics_device_the_same_steps_are_built_with_its_backend() {
        let names = |steps: &[&Step]| steps.iter().map(|step| step.name).collect::<Vec<_>>();
        let (plain, mut software) = (steps(&[]), steps(&SOFTWARE));
        let added = software.remove(software.len() - 5);
        assert_eq!(added.name, "tests on wgpu");
        assert_eq!(names(&plain), names(&software));
        let with_wgpu = |steps: &[&Step]| {
            steps.iter().filter(|step| step.command.ends_with("mm-cli/wgpu")).count()
        };
        assert_eq!([with_wgpu(&plain), with_wgpu(&software)], [0, 2]);
    }
}

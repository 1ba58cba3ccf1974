//! `cargo xtask ci`: the same checks as on a contributor's machine, then those of the backends that the default build lacks.
//! Nothing here can run on a server alone.

use anyhow::Result;
use xshell::{Shell, cmd};

use crate::{
    compare, flags,
    test::{self, Step},
};

/// Installs system packages that some checks use and none needs.
const PACKAGES: &str = "scripts/install-optional.sh";

/// Every backend is type-checked, though no machine has them all, and so is the dashboard. `DOCS_RS=1` keeps the CUDA compiler's build scripts from
/// downloading what only linking needs.
const TYPE_CHECKS: Step = Step {
    name: "all backends",
    env: "DOCS_RS=1",
    command: "cargo check -p mm-cli --features wgpu,vulkan,cuda,fusion,autotune,tui",
    in_quick: false,
};

/// The comparison where there is no graphics device: the kernels of our own against ordinary operations.
const PROCESSOR: Step = Step {
    name: "backends",
    env: "",
    command: "cargo xtask compare-backends --as-tested --devices flex",
    in_quick: false,
};

/// What replaces a step of the same name, or is added, where there is a Vulkan device in software: the tests are built with the
/// wgpu backend, so that Burn is built once, and the program that they leave is compared on it, in WebGPU's shading language.
/// Tests of model folders, of generation and of a few losses run on it too: those that take no long training.
const SOFTWARE: [Step; 5] = [
    Step {
        name: "tests",
        env: "",
        command: "cargo test --workspace --tests --no-fail-fast --features mm-cli/wgpu",
        in_quick: true,
    },
    Step {
        name: "doc tests",
        env: "",
        command: "cargo test --workspace --doc --no-fail-fast --features mm-cli/wgpu",
        in_quick: false,
    },
    Step {
        name: "ranks",
        env: "",
        command: "cargo test --workspace --features mm-cli/wgpu,mm-cli/mpi --test cli -- ranks --nocapture",
        in_quick: false,
    },
    Step {
        name: "backends",
        env: "",
        command: "cargo xtask compare-backends --as-tested --devices flex,wgpu:cpu",
        in_quick: false,
    },
    Step {
        name: "tests on wgpu",
        env: "BURN_DEVICE=wgpu;CUBECL_WGPU_DEFAULT_DEVICE=Cpu",
        command: "cargo test --workspace --features mm-cli/wgpu --test mm -- checkpoint:: generate:: a_seed_fixes several_sizes summed_loss_is",
        in_quick: false,
    },
];

impl flags::Ci {
    /// Prepares the machine as far as it can, then tests.
    pub fn run(&self, sh: &Shell) -> Result<()> {
        if cfg!(target_os = "linux") && sh.path_exists(PACKAGES) {
            println!("== optional system packages: bash {PACKAGES}");
            if let Err(error) = cmd!(sh, "bash {PACKAGES}").quiet().run() {
                println!("going on without them: {error}");
            }
        }
        let replaced: &[Step] = match compare::no_software_vulkan(sh) {
            None => &SOFTWARE,
            Some(reason) => {
                println!("== the wgpu backend is type-checked but not run: {reason}");
                &[]
            }
        };
        test::run_all(sh, &steps(replaced), false)
    }
}

/// The steps of `cargo xtask test` and those of the backends, with some replaced by those of the same name; those of no such name
/// come last but for the type checks, which build Burn another way.
fn steps(replaced: &[Step]) -> Vec<&Step> {
    let all = || test::STEPS.iter().chain([&PROCESSOR]);
    let other = |step: &&Step| replaced.iter().find(|other| other.name == step.name);
    let added = replaced.iter().filter(|other| all().all(|step| step.name != other.name));
    all().map(|step| other(&step).unwrap_or(step)).chain(added).chain([&TYPE_CHECKS]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_a_graphics_device_the_same_steps_are_built_with_its_backend() {
        let names = |steps: &[&Step]| steps.iter().map(|step| step.name).collect::<Vec<_>>();
        let (plain, mut software) = (steps(&[]), steps(&SOFTWARE));
        let added = software.remove(software.len() - 2);
        assert_eq!(added.name, "tests on wgpu");
        assert_eq!(names(&plain), names(&software));
        let with_wgpu = |steps: &[&Step]| {
            steps.iter().filter(|step| step.command.ends_with("mm-cli/wgpu")).count()
        };
        assert_eq!([with_wgpu(&plain), with_wgpu(&software)], [0, 2]);
    }
}

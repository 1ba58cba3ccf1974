//! No library turns a backend of Burn on: a library takes a device, and the program chooses.

use anyhow::Result;
use serde_json::Value;
use xshell::{Shell, cmd};

use super::{Problem, Workspace, edges};

/// Names the crates that compute. The other crates of Burn only describe computations.
const BACKENDS: &[&str] = &[
    "burn-candle",
    "burn-cpu",
    "burn-cubecl",
    "burn-cuda",
    "burn-flex",
    "burn-ndarray",
    "burn-rocm",
    "burn-tch",
    "burn-wgpu",
];

/// Names the packages that may link a backend.
const MAY_LINK: &[&str] = &["mm-cli", "mm-tests"];

/// Asks cargo what the libraries link when they are built without the program.
pub fn stay_out_of_libraries(workspace: &Workspace<'_>) -> Result<Vec<Problem>> {
    let Workspace { sh, metadata, .. } = workspace;
    let packages = edges::packages(metadata)?;
    let name = |package: &Value| package["name"].as_str().unwrap_or_default().to_owned();
    let libraries = packages.iter().filter(|package| !MAY_LINK.contains(&&*name(package)));
    let libraries: Vec<(String, String)> =
        libraries.map(|package| (name(package), edges::manifest_path(metadata, package))).collect();
    let names: Vec<&str> = libraries.iter().map(|(name, _)| &**name).collect();
    if linked(&tree(sh, &names)?).next().is_none() {
        return Ok(vec![]); // the usual case, for the price of one question
    }
    let mut problems = vec![];
    for (name, path) in &libraries {
        let tree = tree(sh, &[name])?;
        let message = |linked| {
            format!(
                "`{name}` links `{linked}`, wanted no backend: `cargo tree -p {name} -i {linked}`"
            )
        };
        problems.extend(linked(&tree).map(|linked| Problem::new(path, 1, message(linked))));
    }
    Ok(problems)
}

/// Returns what `packages` link when they are built together: a crate and its version a line.
fn tree(sh: &Shell, packages: &[&str]) -> Result<String> {
    let packages = packages.iter().flat_map(|name| ["--package", name]);
    Ok(cmd!(sh, "cargo tree --edges normal,build --prefix none {packages...}").quiet().read()?)
}

/// Returns the backends in what `cargo tree` printed, each once.
fn linked(tree: &str) -> impl Iterator<Item = &&str> {
    let has = |name: &str| tree.lines().any(|line| line.split(' ').next() == Some(name));
    BACKENDS.iter().filter(move |name| has(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_found_wherever_it_stands_in_the_tree() {
        let tree = "mm-a v0.1.0\nburn v0.22.1\nburn-tensor v0.22.1\nburn-flex v0.22.1\nburn-flex v0.22.1 (*)\n";
        assert_eq!(linked(tree).collect::<Vec<_>>(), [&"burn-flex"]);
        assert_eq!(linked("burn-flexible v1\nburn-core v1\n").count(), 0);
    }
}

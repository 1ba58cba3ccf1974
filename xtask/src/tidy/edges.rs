//! Which crate of the workspace may depend on which: `cargo metadata` is compared with the floors.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Problem, Workspace};

/// What a crate may name in `[dependencies]`.
#[derive(Debug, Clone, Copy)]
enum Edges {
    /// The crate may name these crates of the workspace and no others.
    AtMost(&'static [&'static str]),
    /// The crate may name every crate of the workspace.
    Any,
}

/// Holds the floors that `docs/architecture.md` draws. A crate that does not exist yet is no error.
///
/// What is absent here must stay absent: the leaves do not know each other, nothing below
/// `mm-train` knows a recipe, and `mm-data` reaches networks only through `mm-model`.
const FLOORS: &[(&str, Edges)] = &[
    ("mm-patch", Edges::AtMost(&[])),
    ("mm-text", Edges::AtMost(&[])),
    ("mm-diffusion", Edges::AtMost(&[])),
    ("mm-kernels", Edges::AtMost(&[])),
    ("mm-backbone", Edges::AtMost(&["mm-kernels"])),
    ("mm-codec", Edges::AtMost(&["mm-backbone", "mm-kernels", "mm-patch"])),
    (
        "mm-model",
        Edges::AtMost(&[
            "mm-backbone",
            "mm-codec",
            "mm-diffusion",
            "mm-kernels",
            "mm-patch",
            "mm-text",
        ]),
    ),
    ("mm-data", Edges::AtMost(&["mm-model", "mm-patch", "mm-text"])),
    ("mm-import", Edges::AtMost(BELOW_DATA)),
    ("mm-serve", Edges::AtMost(BELOW_DATA)),
    ("mm-web", Edges::AtMost(BELOW_DATA)),
    (
        "mm-eval",
        Edges::AtMost(&[
            "mm-backbone",
            "mm-codec",
            "mm-data",
            "mm-diffusion",
            "mm-import",
            "mm-kernels",
            "mm-model",
            "mm-patch",
            "mm-text",
        ]),
    ),
    (
        "mm-train",
        Edges::AtMost(&[
            "mm-backbone",
            "mm-codec",
            "mm-data",
            "mm-diffusion",
            "mm-eval",
            "mm-kernels",
            "mm-model",
            "mm-patch",
            "mm-text",
        ]),
    ),
    ("mm-cli", Edges::Any),
    ("mm-tests", Edges::AtMost(&[])), // all it needs is a dev-dependency
    ("xtask", Edges::AtMost(&[])),
];

/// `mm-model` and the floors below it.
const BELOW_DATA: &[&str] =
    &["mm-backbone", "mm-codec", "mm-diffusion", "mm-kernels", "mm-model", "mm-patch", "mm-text"];

/// Checks that every crate depends only on crates of lower floors; dev-dependencies are free.
pub fn follow_the_floors(workspace: &Workspace<'_>) -> Result<Vec<Problem>> {
    breaches(&workspace.metadata, FLOORS)
}

/// Compares the dependencies in `cargo metadata --no-deps` with `floors`.
fn breaches(metadata: &Value, floors: &[(&str, Edges)]) -> Result<Vec<Problem>> {
    let mut problems = vec![];
    for package in packages(metadata)? {
        let name = package["name"].as_str().context("a package has no name")?;
        let found: BTreeSet<&str> = own_dependencies(package).collect();
        let messages: Vec<String> = match floors.iter().find(|(row, _)| *row == name) {
            None => vec![format!("`{name}` is in no row of the floors in xtask/src/tidy/edges.rs")],
            Some((_, Edges::Any)) => vec![],
            Some((_, Edges::AtMost(allowed))) => {
                let extra = found.iter().filter(|used| !allowed.contains(used));
                extra.map(|used| refusal(name, used, allowed)).collect()
            }
        };
        let path = manifest_path(metadata, package);
        problems.extend(messages.into_iter().map(|message| Problem::new(&path, 1, message)));
    }
    Ok(problems)
}

fn refusal(name: &str, used: &str, allowed: &[&str]) -> String {
    let wanted = if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") };
    format!("`{name}` depends on `{used}`, wanted of the crates of the workspace: {wanted}")
}

/// Returns the packages of the workspace.
pub fn packages(metadata: &Value) -> Result<&Vec<Value>> {
    metadata["packages"].as_array().context("`cargo metadata` names no `packages`")
}

/// Returns the path of a package's manifest, from the folder of the workspace.
pub fn manifest_path(metadata: &Value, package: &Value) -> String {
    let path = package["manifest_path"].as_str().unwrap_or_default();
    let root = metadata["workspace_root"].as_str().unwrap_or_default();
    path.strip_prefix(root).unwrap_or(path).replace('\\', "/").trim_start_matches('/').into()
}

/// Returns the crates of this workspace that a package needs outside of tests.
fn own_dependencies(package: &Value) -> impl Iterator<Item = &str> {
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    let shipped = dependencies.filter(|dependency| dependency["kind"] != "dev");
    shipped
        .filter_map(|dependency| dependency["name"].as_str())
        .filter(|name| name.starts_with("mm-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[(&str, Edges)] = &[
        ("mm-a", Edges::AtMost(&[])),
        ("mm-b", Edges::AtMost(&["mm-a"])),
        ("mm-c", Edges::Any),
        ("mm-later", Edges::AtMost(&["mm-a"])),
    ];

    /// Gives the package `name` dependencies; `dev ` stands before a dev-dependency.
    fn check(name: &str, uses: &[&str], wanted: &[&str]) {
        let dependency = |used: &&str| match used.strip_prefix("dev ") {
            Some(used) => serde_json::json!({ "name": used, "kind": "dev" }),
            None => serde_json::json!({ "name": used, "kind": null }),
        };
        let dependencies: Vec<Value> = uses.iter().map(dependency).collect();
        let package = serde_json::json!({
            "name": name, "manifest_path": "/x/a/Cargo.toml", "dependencies": dependencies
        });
        let metadata = serde_json::json!({ "workspace_root": "/x", "packages": [package] });
        let found = breaches(&metadata, TABLE).unwrap();
        let wanted: Vec<String> =
            wanted.iter().map(|wanted| format!("a/Cargo.toml:1: {wanted}")).collect();
        assert_eq!(found.iter().map(Problem::to_string).collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn a_crate_uses_no_more_than_the_floors_say() {
        check("mm-a", &["serde"], &[]);
        check(
            "mm-a",
            &["mm-b"],
            &["`mm-a` depends on `mm-b`, wanted of the crates of the workspace: none"],
        );
        check("mm-b", &["mm-a"], &[]);
        check(
            "mm-b",
            &["mm-a", "mm-c"],
            &["`mm-b` depends on `mm-c`, wanted of the crates of the workspace: mm-a"],
        );
        check("mm-c", &["mm-a", "mm-b"], &[]);
    }

    #[test]
    fn tests_may_use_any_crate() {
        check("mm-a", &["dev mm-b"], &[]);
    }

    #[test]
    fn a_crate_that_the_floors_do_not_know_is_named() {
        check("mm-z", &[], &["`mm-z` is in no row of the floors in xtask/src/tidy/edges.rs"]);
    }

    #[test]
    fn the_floors_have_no_circle() {
        let below = |name: &str| match FLOORS.iter().find(|(row, _)| *row == name) {
            Some((_, Edges::AtMost(crates))) => *crates,
            _ => &[],
        };
        for (name, _) in FLOORS {
            let mut reached: BTreeSet<&str> = below(name).iter().copied().collect();
            for _ in FLOORS {
                reached.extend(reached.clone().into_iter().flat_map(below));
            }
            assert!(!reached.contains(name), "{name}");
        }
    }
}

//! Which crate of the workspace may use which: `cargo metadata` compared with the table.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Edges, Problem};

/// Compares the dependencies in `cargo metadata --no-deps` with `table`; dev-dependencies are free.
pub fn equal_the_table(metadata: &Value, table: &[(&str, Edges)]) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    for package in packages(metadata)? {
        let name = package["name"].as_str().context("a package has no name")?;
        let found: BTreeSet<&str> = own_dependencies(package).collect();
        let row = table.iter().find(|(row, _)| *row == name);
        let wanted = match row {
            Some((_, edges)) => breaches(name, &found, *edges),
            None => vec![format!("`{name}` is not in the table of crates in xtask/src/tidy.rs")],
        };
        let path = manifest_path(metadata, package);
        problems.extend(wanted.into_iter().map(|wanted| Problem::new(&path, 1, wanted)));
    }
    Ok(problems)
}

/// The workspace's packages.
pub fn packages(metadata: &Value) -> Result<&Vec<Value>> {
    metadata["packages"].as_array().context("`cargo metadata` names no `packages`")
}

/// A package's manifest, from the workspace's folder.
pub fn manifest_path(metadata: &Value, package: &Value) -> String {
    let path = package["manifest_path"].as_str().unwrap_or_default();
    let root = metadata["workspace_root"].as_str().unwrap_or_default();
    path.strip_prefix(root).unwrap_or(path).replace('\\', "/").trim_start_matches('/').into()
}

/// The crates of this workspace that a package needs outside of tests.
fn own_dependencies(package: &Value) -> impl Iterator<Item = &str> {
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    let shipped = dependencies.filter(|dependency| dependency["kind"] != "dev");
    shipped
        .filter_map(|dependency| dependency["name"].as_str())
        .filter(|name| name.starts_with("mm-"))
}

fn breaches(name: &str, found: &BTreeSet<&str>, edges: Edges) -> Vec<String> {
    let (allowed, all_needed) = match edges {
        Edges::Exactly(crates) => (crates, true),
        Edges::AtMost(crates) => (crates, false),
        Edges::Any => return Vec::new(),
    };
    let extra = found.iter().filter(|used| !allowed.contains(used));
    let missing = allowed.iter().filter(|needed| all_needed && !found.contains(*needed));
    let extra = extra.map(|used| format!("`{name}` must not depend on `{used}`"));
    let missing = missing.map(|needed| {
        format!("`{name}` does not depend on `{needed}` as the table in xtask/src/tidy.rs says")
    });
    extra.chain(missing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[(&str, Edges)] = &[
        ("mm-a", Edges::Exactly(&[])),
        ("mm-b", Edges::Exactly(&["mm-a"])),
        ("mm-c", Edges::AtMost(&["mm-a"])),
    ];

    /// `uses`: names, with `dev ` before a dev-dependency.
    fn check(name: &str, uses: &[&str], wanted: &[&str]) {
        let dependency = |used: &&str| match used.strip_prefix("dev ") {
            Some(used) => serde_json::json!({ "name": used, "kind": "dev" }),
            None => serde_json::json!({ "name": used, "kind": null }),
        };
        let dependencies: Vec<Value> = uses.iter().map(dependency).collect();
        let package = serde_json::json!({ "name": name, "manifest_path": "/x/a/Cargo.toml", "dependencies": dependencies });
        let metadata = serde_json::json!({ "workspace_root": "/x", "packages": [package] });
        let found = equal_the_table(&metadata, TABLE).unwrap();
        let wanted: Vec<String> =
            wanted.iter().map(|wanted| format!("a/Cargo.toml:1: {wanted}")).collect();
        assert_eq!(found.iter().map(Problem::to_string).collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn a_crate_uses_what_the_table_says_no_more_and_no_less() {
        check("mm-a", &["serde"], &[]);
        check("mm-a", &["mm-b"], &["`mm-a` must not depend on `mm-b`"]);
        check("mm-b", &["mm-a"], &[]);
        check(
            "mm-b",
            &[],
            &["`mm-b` does not depend on `mm-a` as the table in xtask/src/tidy.rs says"],
        );
        check("mm-c", &[], &[]);
        check("mm-c", &["mm-b"], &["`mm-c` must not depend on `mm-b`"]);
    }

    #[test]
    fn tests_may_use_any_crate() {
        check("mm-a", &["dev mm-b"], &[]);
    }

    #[test]
    fn a_crate_that_the_table_does_not_know_is_named() {
        check("mm-z", &[], &["`mm-z` is not in the table of crates in xtask/src/tidy.rs"]);
    }
}

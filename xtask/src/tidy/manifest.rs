//! Checks of one `Cargo.toml`, line by line. Cargo has parsed it already, so its form needs no proof.

use super::Problem;

/// What each package takes from the workspace, so that one line changes it everywhere.
const SHARED: &[&str] = &["rust-version.workspace = true", "license.workspace = true"];

/// Features of Burn that no library may ask for, because they bring a backend along.
const BACKENDS: &[&str] = &[
    "cpu", "cuda", "default", "flex", "metal", "ndarray", "rayon", "remote", "rocm", "router",
    "simd", "tch", "vulkan", "webgpu", "wgpu", "x86-v4",
];

/// The one manifest that turns backends on.
const PROGRAM: &str = "crates/mm-cli/Cargo.toml";

/// Each package takes licence and oldest compiler from the workspace.
pub fn shares_the_workspaces_settings(path: &str, text: &str) -> Vec<Problem> {
    if !is_manifest(path) {
        return Vec::new();
    }
    let Some(start) = text.lines().position(|line| line.trim() == "[package]") else {
        return Vec::new(); // the workspace's own
    };
    let package =
        || sections(text).filter(|(_, section, _)| *section == "package").map(|(_, _, line)| line);
    let missing = SHARED.iter().filter(|shared| !package().any(|line| line == **shared));
    missing
        .map(|shared| Problem::new(path, start + 1, format!("`[package]` must say `{shared}`")))
        .collect()
}

/// Libraries take Burn as the workspace gives it, without a backend; only the program names one.
pub fn leaves_backends_to_the_program(path: &str, text: &str) -> Vec<Problem> {
    if !is_manifest(path) || path == PROGRAM {
        return Vec::new();
    }
    let names_backend =
        |line: &str| BACKENDS.iter().any(|name| line.contains(&format!("\"{name}\"")));
    let breaks = |section: &str, line: &str| match section {
        "features" => line.contains("\"burn/") || line.contains("\"burn?/"),
        "workspace.dependencies" => line.starts_with("burn ") && names_backend(line),
        _ if section.contains("dev-dependencies") => false,
        _ if section.ends_with("dependencies.burn") => true,
        _ if section.ends_with("dependencies") => {
            line.starts_with("burn") && line.contains("features")
        }
        _ => false,
    };
    let lines = sections(text).filter(|(_, section, line)| breaks(section, line));
    let wanted = format!("features of Burn are named only in {PROGRAM} and in dev-dependencies");
    lines.map(|(number, _, _)| Problem::new(path, number, &*wanted)).collect()
}

fn is_manifest(path: &str) -> bool {
    path == "Cargo.toml" || path.ends_with("/Cargo.toml")
}

/// The lines with their numbers from 1 and the section they stand in; comments and blanks are left out, and a section's
/// heading counts as its first line.
fn sections(text: &str) -> impl Iterator<Item = (usize, &str, &str)> {
    let mut section = "";
    text.lines().enumerate().filter_map(move |(index, line)| {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
            section = name;
        }
        (!line.is_empty() && !line.starts_with('#')).then_some((index + 1, section, line))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_without_the_workspaces_licence_is_named() {
        let text = "[package]\nname = \"a\"\nrust-version.workspace = true\nlicense = \"MIT\"\n";
        let problems = shares_the_workspaces_settings("crates/a/Cargo.toml", text);
        let wanted = "crates/a/Cargo.toml:1: `[package]` must say `license.workspace = true`";
        assert_eq!(problems.iter().map(Problem::to_string).collect::<Vec<_>>(), [wanted]);
        assert!(shares_the_workspaces_settings("Cargo.toml", "[workspace]\n").is_empty());
    }

    fn check_burn(path: &str, text: &str, lines: &[usize]) {
        let problems = leaves_backends_to_the_program(path, text);
        assert_eq!(
            problems.iter().map(|problem| problem.line).collect::<Vec<_>>(),
            lines,
            "{text}"
        );
    }

    #[test]
    fn only_the_program_and_tests_name_features_of_burn() {
        let named = "[dependencies]\nburn = { workspace = true, features = [\"flex\"] }\n";
        check_burn("crates/a/Cargo.toml", named, &[2]);
        check_burn(PROGRAM, named, &[]);
        check_burn("crates/a/Cargo.toml", "[dependencies]\nburn.workspace = true\n", &[]);
        check_burn("crates/a/Cargo.toml", "[features]\nx = [\"burn/flex\"]\n", &[2]);
        check_burn("crates/a/Cargo.toml", "[dependencies.burn]\nworkspace = true\n", &[1, 2]);
        check_burn("crates/a/Cargo.toml", &named.replace("[dep", "[dev-dep"), &[]);
    }

    #[test]
    fn the_workspace_gives_burn_without_a_backend() {
        let given = |feature| {
            format!(
                "[workspace.dependencies]\nburn = {{ version = \"1\", features = [\"{feature}\"] }}\n"
            )
        };
        check_burn("Cargo.toml", &given("autodiff"), &[]);
        check_burn("Cargo.toml", &given("wgpu"), &[2]);
    }
}

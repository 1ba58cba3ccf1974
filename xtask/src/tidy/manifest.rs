//! These checks read one `Cargo.toml` line by line. Cargo has parsed it already, so its form needs
//! no proof.

use super::Problem;
use super::source::Source;

/// Holds what each package takes from the workspace, so that one line changes it everywhere.
const SHARED: &[&str] = &["rust-version.workspace = true", "license.workspace = true"];

/// Names the features of Burn that no library may ask for, because they bring a backend along.
const BACKENDS: &[&str] = &[
    "cpu", "cuda", "default", "flex", "metal", "ndarray", "rayon", "remote", "rocm", "router",
    "simd", "tch", "vulkan", "webgpu", "wgpu", "x86-v4",
];

/// Names the one manifest that turns backends on.
const PROGRAM: &str = "crates/mm-cli/Cargo.toml";
/// Names the manifest of the fuzzing targets, which are a program too and built apart.
const FUZZING: &str = "tests/fuzz/Cargo.toml";

/// Checks that each package takes license and oldest compiler from the workspace.
pub fn shares_the_workspaces_settings(source: &Source) -> Vec<Problem> {
    let text = &source.text;
    let Some(start) = text.lines().position(|line| line.trim() == "[package]") else {
        return vec![]; // the workspace's own
    };
    if !is_manifest(&source.path) {
        return vec![];
    }
    let package = || lines(text).filter(|line| line.section == "package");
    let missing = SHARED.iter().filter(|shared| !package().any(|line| line.text == **shared));
    let message = |shared| format!("`[package]` has no `{shared}`");
    missing.map(|shared| Problem::new(&source.path, start + 1, message(shared))).collect()
}

/// The library that is a program of its own where it is compiled for browsers. Its features choose
/// a backend, and none is on by default.
const WEB: &str = "crates/mm-web/Cargo.toml";

/// Checks that libraries take Burn as the workspace gives it, without a backend.
pub fn leaves_backends_to_the_program(source: &Source) -> Vec<Problem> {
    if !is_manifest(&source.path) || [PROGRAM, FUZZING].contains(&&*source.path) {
        return vec![];
    }
    let names_backend =
        |line: &str| BACKENDS.iter().any(|name| line.contains(&format!("\"{name}\"")));
    let breaks = |Line { section, text, .. }: &Line<'_>| match *section {
        "features" if source.path == WEB => false,
        "features" => text.contains("\"burn/") || text.contains("\"burn?/"),
        "workspace.dependencies" => text.starts_with("burn ") && names_backend(text),
        _ if section.contains("dev-dependencies") => false,
        _ if section.ends_with("dependencies.burn") => true,
        _ if section.ends_with("dependencies") => {
            text.starts_with("burn") && text.contains("features")
        }
        _ => false,
    };
    let message = |line: &Line<'_>| {
        format!(
            "`{}` names features of Burn, wanted that only in {PROGRAM} and in dev-dependencies",
            line.text
        )
    };
    let found = lines(&source.text).filter(breaks);
    found.map(|line| Problem::new(&source.path, line.number, message(&line))).collect()
}

fn is_manifest(path: &str) -> bool {
    path == "Cargo.toml" || path.ends_with("/Cargo.toml")
}

/// One line of a manifest.
struct Line<'a> {
    /// Counts from 1.
    number: usize,
    /// Is the section that the line stands in; a heading stands in its own section.
    section: &'a str,
    text: &'a str,
}

/// Returns the lines of a manifest without comments and blanks.
fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    let mut section = "";
    text.lines().enumerate().filter_map(move |(index, line)| {
        let text = line.trim();
        if let Some(name) = text.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
            section = name;
        }
        let is_blank = text.is_empty() || text.starts_with('#');
        (!is_blank).then_some(Line { number: index + 1, section, text })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_without_the_license_of_the_workspace_is_named() {
        let text = "[package]\nname = \"a\"\nrust-version.workspace = true\nlicense = \"MIT\"\n";
        let check = |path: &str, text: &str| {
            let found = shares_the_workspaces_settings(&Source::new(path, text));
            found.iter().map(Problem::to_string).collect::<Vec<_>>()
        };
        let wanted = "crates/a/Cargo.toml:1: `[package]` has no `license.workspace = true`";
        assert_eq!(check("crates/a/Cargo.toml", text), [wanted]);
        assert!(check("Cargo.toml", "[workspace]\n").is_empty());
    }

    fn check_burn(path: &str, text: &str, lines: &[usize]) {
        let problems = leaves_backends_to_the_program(&Source::new(path, text));
        let found: Vec<usize> = problems.iter().map(|problem| problem.line).collect();
        assert_eq!(found, lines, "{text}");
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
        let wasm = named.replace("[dep", "[target.'cfg(target_arch = \"wasm32\")'.dep");
        check_burn(WEB, "[features]\nx = [\"burn/flex\"]\n", &[]);
        check_burn(WEB, named, &[2]);
        check_burn(WEB, &wasm, &[2]);
        check_burn("crates/a/Cargo.toml", &wasm, &[2]);
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

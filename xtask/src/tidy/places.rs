//! Some things may be done only in a few known places: asking for a feature, touching a file, code
//! that the compiler cannot check.

use super::Problem;
use super::source::Source;

/// Names the places where code may depend on a cargo feature: the choice of devices, MPI, kernels
/// that only some backends have, file access of `mm-model`, and what takes long to compile, such as
/// the reader of networks and the dashboard. A folder ends in `/`.
const FEATURE_PLACES: &[&str] = &[
    "crates/mm-cli/src/device.rs",
    "crates/mm-cli/src/device/",
    "crates/mm-cli/src/commands.rs",        // the server
    "crates/mm-cli/src/commands/export.rs", // of the server's page
    "crates/mm-cli/src/commands/train/dashboard.rs",
    "crates/mm-cli/tests/cli/main.rs", // of the server
    "crates/mm-eval/src/quality.rs",
    "crates/mm-kernels/src/",
    "crates/mm-model/src/lib.rs",
    "crates/mm-train/src/dist/",
    "crates/mm-web/src/device.rs",
];

/// Names the places where files may be read or written: model folders, training states, metrics,
/// folders of data and of published models, what the system tells of memory, the program and the
/// automation. Tests are free. A folder ends in `/`.
const FILE_PLACES: &[&str] = &[
    "crates/mm-cli/",
    "crates/mm-data/src/files.rs",
    "crates/mm-data/src/testing.rs", // of unit tests
    "crates/mm-data/src/folder.rs",
    "crates/mm-data/src/folder/",
    "crates/mm-eval/src/quality/features.rs",
    "crates/mm-eval/src/quality/images.rs",
    "crates/mm-import/src/goldens.rs",
    "crates/mm-import/src/published/source.rs",
    "crates/mm-model/src/folder.rs",
    "crates/mm-model/src/folder/",
    "crates/mm-train/src/checkpoint.rs",
    "crates/mm-train/src/checkpoint/",
    "crates/mm-train/src/metrics.rs",
    "crates/mm-train/src/plan/memory/available.rs",
    "xtask/",
];

/// Holds the signs of file access in code.
const FILE_WORDS: &[&str] = &["fs_err", "std :: fs", "File ::", "OpenOptions"];

/// Names the places where code may be unsafe: the kernels, the allocator's settings, and the look
/// for the libraries of a device.
const UNSAFE_PLACES: &[&str] = &[
    "crates/mm-cli/src/allocator.rs",
    "crates/mm-cli/src/device.rs",
    "crates/mm-cli/src/device/",
    "crates/mm-kernels/src/",
];

/// Checks that code that is there or not by feature stays where a reader expects it.
pub fn features_are_asked_in_few_places(source: &Source) -> Vec<Problem> {
    if source.is_in(FEATURE_PLACES) {
        return vec![];
    }
    let asked = |index: &usize| source.word(index + 2).starts_with('"');
    let message =
        "code depends on a feature here, wanted that only where xtask/src/tidy/places.rs says so";
    let found = source.find("feature =").filter(asked);
    found.map(|index| Problem::new(&source.path, source.line(index), message)).collect()
}

/// Checks that files are touched where their errors can be told well; everything else is pure.
pub fn files_are_touched_in_few_places(source: &Source) -> Vec<Problem> {
    if source.is_test() || source.is_in(FILE_PLACES) {
        return vec![];
    }
    let mut problems = vec![];
    for pattern in FILE_WORDS {
        let word = pattern.replace(' ', "");
        let message = format!(
            "`{word}` touches a file here, wanted bytes or text as a parameter, or a line in \
             xtask/src/tidy/places.rs"
        );
        let found = source.find(pattern).filter(|index| !source.in_test(*index));
        let lines = found.map(|index| source.line(index));
        problems.extend(lines.map(|line| Problem::new(&source.path, line, &*message)));
    }
    problems.sort();
    problems
}

/// Checks that code is unsafe only in [`UNSAFE_PLACES`], and that the root of every other crate
/// forbids it.
pub fn code_is_unsafe_in_few_places(source: &Source) -> Vec<Problem> {
    let mut problems = vec![];
    if !source.is_in(UNSAFE_PLACES) {
        let message = "unsafe code here, wanted it only in mm-kernels and where \
                       xtask/src/tidy/places.rs says so";
        let found = source.find("unsafe").map(|index| source.line(index));
        problems.extend(found.map(|line| Problem::new(&source.path, line, message)));
    }
    let Some(wanted) = attribute_of_root(&source.path) else { return problems };
    if source.find(&wanted).next().is_none() {
        let message = format!("the root of the crate has no `{}`", wanted.replace(' ', ""));
        problems.push(Problem::new(&source.path, 1, message));
    }
    problems
}

/// Returns the tokens of the attribute that the root of a crate must have, if `path` is a root.
fn attribute_of_root(path: &str) -> Option<String> {
    let of_crate = path.strip_prefix("crates/").and_then(|path| path.split_once('/'));
    let (name, file) = of_crate.or(path.split_once('/'))?;
    let is_root = ["src/lib.rs", "src/main.rs"].contains(&file);
    let level = match name {
        "mm-kernels" => return None,
        "mm-cli" => "deny", // a few modules of the program allow it for themselves
        _ => "forbid",
    };
    is_root.then(|| format!("# ! [ {level} ( unsafe_code ) ]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(problems: &[Problem]) -> Vec<usize> {
        problems.iter().map(|problem| problem.line).collect()
    }

    #[test]
    fn a_feature_is_asked_only_where_devices_and_kernels_are_chosen() {
        let gates = "//! X.\n#[cfg(any(\n    feature = \"a\",\n))]\nif cfg!(feature = \"b\") {}\n#[cfg(target_feature = \"c\")]\n";
        let check =
            |path: &str| lines(&features_are_asked_in_few_places(&Source::new(path, gates)));
        assert_eq!(check("crates/mm-text/src/lib.rs"), [3, 5]);
        assert_eq!(check("crates/mm-cli/src/main.rs"), [3, 5]);
        assert!(check("crates/mm-cli/src/device.rs").is_empty());
        assert!(check("crates/mm-kernels/src/flex/attention.rs").is_empty());
    }

    #[test]
    fn files_are_touched_only_where_the_list_says() {
        let text = "//! std::fs\nuse fs_err as fs;\nlet f = File::open(p);\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n";
        let check = |path: &str| lines(&files_are_touched_in_few_places(&Source::new(path, text)));
        assert_eq!(check("crates/mm-model/src/batch.rs"), [2, 3]);
        assert_eq!(check("crates/mm-data/src/emoji.rs"), [2, 3]);
        for path in FILE_PLACES {
            assert!(check(&format!("{}.rs", path.trim_end_matches(".rs"))).is_empty(), "{path}");
        }
        for path in
            ["crates/mm-text/tests/long.rs", "crates/mm-text/src/vocab/tests.rs", "tests/main.rs"]
        {
            assert!(check(path).is_empty(), "{path}");
        }
    }

    #[test]
    fn code_is_unsafe_only_where_the_list_says() {
        let text = "//! unsafe\nunsafe fn f() {}\n// unsafe\nlet a = \"unsafe\";\n";
        let check = |path: &str| lines(&code_is_unsafe_in_few_places(&Source::new(path, text)));
        assert_eq!(check("crates/mm-model/src/batch.rs"), [2]);
        assert_eq!(check("xtask/src/tidy.rs"), [2]);
        assert!(check("crates/mm-kernels/src/flex/matrix.rs").is_empty());
        assert!(check("crates/mm-cli/src/allocator.rs").is_empty());
    }

    #[test]
    fn the_root_of_a_crate_forbids_unsafe_code() {
        let check = |path: &str, text: &str| {
            let found = code_is_unsafe_in_few_places(&Source::new(path, text));
            found.into_iter().map(|problem| problem.message).collect::<Vec<_>>()
        };
        let wanted = "the root of the crate has no `#![forbid(unsafe_code)]`";
        assert_eq!(check("crates/mm-text/src/lib.rs", "//! A.\n"), [wanted]);
        assert_eq!(check("xtask/src/main.rs", "//! A.\n"), [wanted]);
        assert!(check("crates/mm-text/src/lib.rs", "#![forbid(unsafe_code)]\n").is_empty());
        assert!(check("crates/mm-cli/src/main.rs", "#![deny(unsafe_code)]\n").is_empty());
        assert!(check("crates/mm-kernels/src/lib.rs", "//! A.\n").is_empty());
        assert!(check("crates/mm-text/src/bytes.rs", "//! A.\n").is_empty());
    }
}

//! What may be done only in a few known places: asking for a feature, touching a file.

use super::{Problem, code};

/// Where code may depend on a cargo feature: the choice of devices, MPI, kernels that only some backends have, and what takes
/// long to compile: the reader of networks, the dashboard.
const FEATURE_PLACES: &[&str] = &[
    "crates/mm-cli/src/device.rs",
    "crates/mm-cli/src/commands/train/dashboard.rs",
    "crates/mm-cli/src/ranks.rs",
    "crates/mm-kernels/src/",
    "crates/mm-train/src/quality.rs",
];

/// Where files may be read or written: checkpoints, the state of a run, its metrics, folders of data; what the system tells of
/// memory; the program itself; the automation. Tests are free. A folder ends in `/`.
const FILE_PLACES: &[&str] = &[
    "crates/mm-cli/",
    "crates/mm-model/src/checkpoint.rs",
    "crates/mm-model/src/checkpoint/",
    "crates/mm-train/src/data/files.rs",
    "crates/mm-train/src/data/folder.rs",
    "crates/mm-train/src/data/folder/",
    "crates/mm-train/src/memory/available.rs",
    "crates/mm-train/src/metrics.rs",
    "crates/mm-train/src/quality/pictures.rs",
    "crates/mm-train/src/quality/store.rs",
    "crates/mm-train/src/state.rs",
    "crates/mm-train/src/state/",
    "xtask/",
];

/// Signs of file access in code.
const FILE_WORDS: &[&str] = &["fs_err", "std::fs", "File::", "OpenOptions"];

/// Code that is there or not by feature stays where a reader expects it.
pub fn features_are_asked_in_few_places(path: &str, text: &str) -> Vec<Problem> {
    if !path.ends_with(".rs") || is_in(path, FEATURE_PLACES) {
        return Vec::new();
    }
    let asked = concat!("feature", " = \"");
    let lines = code::lines(text).filter(|(_, line)| code::has_word(line, asked));
    let wanted =
        format!("no code depends on a feature here, only in {}", FEATURE_PLACES.join(", "));
    lines.map(|(number, _)| Problem::new(path, number, &*wanted)).collect()
}

/// Files are touched where their errors can be told well; everything else is pure.
pub fn files_are_touched_in_few_places(path: &str, text: &str) -> Vec<Problem> {
    if !path.ends_with(".rs") || code::is_test(path) || is_in(path, FILE_PLACES) {
        return Vec::new();
    }
    let touching = |line: &str| FILE_WORDS.iter().find(|word| code::has_word(line, word));
    let lines =
        code::shipped_lines(text).filter_map(|(number, line)| Some((number, touching(line)?)));
    let wanted = |word| format!("`{word}`: no file is touched here, take bytes or text instead");
    lines.map(|(number, word)| Problem::new(path, number, wanted(word))).collect()
}

fn is_in(path: &str, places: &[&str]) -> bool {
    places.iter().any(|place| path.starts_with(place))
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
        let check = |path: &str| lines(&features_are_asked_in_few_places(path, gates));
        assert_eq!(check("crates/mm-text/src/lib.rs"), [3, 5]);
        assert_eq!(check("crates/mm-cli/src/main.rs"), [3, 5]);
        assert!(check("crates/mm-cli/src/device.rs").is_empty());
        assert!(check("crates/mm-kernels/src/choice.rs").is_empty());
        assert!(check("crates/mm-kernels/src/flex/attention.rs").is_empty());
    }

    #[test]
    fn files_are_touched_only_where_the_list_says() {
        let text = "//! std::fs\nuse fs_err as fs;\nlet f = File::open(p);\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n";
        let check = |path: &str| lines(&files_are_touched_in_few_places(path, text));
        assert_eq!(check("crates/mm-model/src/model.rs"), [2, 3]);
        assert_eq!(check("crates/mm-train/src/data/emoji.rs"), [2, 3]);
        for path in FILE_PLACES {
            assert!(check(&format!("{}.rs", path.trim_end_matches(".rs"))).is_empty(), "{path}");
        }
        for path in
            ["crates/mm-text/tests/long.rs", "crates/mm-text/src/vocab/tests.rs", "tests/main.rs"]
        {
            assert!(check(path).is_empty(), "{path}");
        }
    }
}

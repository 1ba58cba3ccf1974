//! Files that are hard to read, kept from fuzzing and from reports: whoever is given one reads it
//! or refuses it in words, and breaks no promise that `fuzz/src` asserts.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use crate::fuzz::TARGETS;

fn files_of(folder: &Path) -> Vec<PathBuf> {
    let entries = fs_err::read_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

#[test]
fn every_file_of_a_corpus_is_read_or_refused() {
    let mut broken = vec![];
    for target in TARGETS {
        for path in files_of(&corpus().join(target.name)) {
            let bytes = fs_err::read(&path).unwrap();
            if catch_unwind(AssertUnwindSafe(|| (target.run)(&bytes))).is_err() {
                broken.push(path);
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_parser_has_a_corpus_and_every_corpus_a_parser() {
    let names: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    let folders = files_of(&corpus()).into_iter();
    let folders = folders.map(|path| path.file_name().unwrap().to_string_lossy().into_owned());
    assert_eq!(folders.collect::<BTreeSet<_>>(), names);
    for target in TARGETS {
        assert!(!files_of(&corpus().join(target.name)).is_empty(), "{} has no inputs", target.name);
    }
}

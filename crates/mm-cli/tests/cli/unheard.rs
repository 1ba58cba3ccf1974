//! A reader that goes away, as `head` does, ends no training and makes no panic.

use std::io::{BufRead, BufReader, pipe};
use std::process::{Command, Stdio};

use crate::QUICK;

fn mm(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mm"));
    command.args(args).stdin(Stdio::null());
    command
}

#[test]
fn a_run_whose_reader_goes_away_after_a_line_trains_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut args = vec!["train", "glyphs", "--device", "flex", "--out", out.to_str().unwrap()];
    args.extend(&QUICK[..QUICK.len() - 1]);
    args.push("30");
    let mut run = mm(&args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut reader = BufReader::new(run.stderr.take().unwrap());
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    drop(reader);
    assert!(first.starts_with("preparing: "), "{first}");
    assert_eq!(run.wait().unwrap().code(), Some(0));
    let metrics = fs_err::read_to_string(out.join("metrics.jsonl")).unwrap();
    let step = |line| serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].as_u64();
    assert_eq!(metrics.lines().map(step).collect::<Vec<_>>(), [Some(10), Some(20), Some(30)]);
}

#[test]
fn an_error_that_nobody_reads_keeps_its_exit_code() {
    let refused = |args: &[&str]| {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        mm(args).stdout(Stdio::null()).stderr(writer).status().unwrap().code()
    };
    assert_eq!(refused(&["train", "glyfs", "--out", "x"]), Some(2));
    assert_eq!(refused(&["inspect", "nowhere.png"]), Some(1));
}

#[test]
fn standard_output_that_nobody_reads_is_a_quiet_end() {
    for args in [&["completions", "bash"][..], &["data", "recipes"]] {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let output = mm(args).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{args:?}: {output:?}");
    }
}

//! The numbers that a run writes: `metrics.jsonl` and the events of TensorBoard.

use std::path::Path;

use crate::{QUICK, done, mm, text};

/// The lines of a run's `metrics.jsonl`.
fn lines(run: &Path) -> Vec<serde_json::Value> {
    let metrics = fs_err::read_to_string(run.join("metrics.jsonl")).unwrap();
    metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The bytes of a run's only file of events.
fn events(run: &Path) -> Vec<u8> {
    let names = fs_err::read_dir(run.join("tensorboard")).unwrap();
    let paths: Vec<_> = names.map(|entry| entry.unwrap().path()).collect();
    let [path] = &paths[..] else { panic!("{paths:?}") };
    fs_err::read(path).unwrap()
}

/// How often `tag` is a tag there.
fn count(events: &[u8], tag: &str) -> usize {
    events.windows(tag.len()).filter(|part| *part == tag.as_bytes()).count()
}

#[test]
fn the_last_step_is_a_line_and_an_event_though_it_is_no_tenth() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut args = vec!["train", "glyphs", "--device", "flex", "--out", out.to_str().unwrap()];
    args.extend(&QUICK[..QUICK.len() - 1]);
    args.extend(["13", "--tensorboard"]);
    done(&args);
    let lines = lines(&out);
    let steps: Vec<_> = lines.iter().map(|line| line["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [10, 13]);
    assert!(lines.iter().all(|line| line.get("gradient_sum").is_none()), "one rank adds nothing");
    let events = events(&out);
    assert_eq!((count(&events, "loss/all"), count(&events, "speed/gradient")), (2, 0));
}

#[test]
fn ranks_write_how_many_bytes_they_add_up_in_a_step() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut args =
        vec!["train", "glyphs", "--devices", "flex,flex", "--out", out.to_str().unwrap()];
    args.extend(QUICK);
    args.extend(["--set", "run.micro_batches=1", "--tensorboard"]);
    let output = mm(&args);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    let lines = lines(&out);
    let [line] = &lines[..] else { panic!("{lines:?}") };
    let bytes = line["gradient_bytes"].as_u64().unwrap();
    assert_eq!(bytes % 4, 0, "32-bit floats");
    let told = format!("every step sums {:.2} MB of gradients", bytes as f64 / 1e6);
    assert!(bytes > 0 && said.contains(&told), "{bytes}: {said}");
    let events = events(&out);
    assert_eq!(["bytes", "sum"].map(|of| count(&events, &format!("speed/gradient_{of}"))), [1, 1]);
}

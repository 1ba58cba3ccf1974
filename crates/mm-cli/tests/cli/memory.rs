//! A graphics device that has no memory for a step. lavapipe gives limited pieces of memory, so
//! a layer that is wide enough is refused at once, and nothing large is computed.

use std::process::Command;

use crate::text;

/// Whether the program was built for a graphics device that the processor plays, and there is one.
fn has_software_device() -> bool {
    let mut devices = Command::new(env!("CARGO_BIN_EXE_mm"));
    let listed = text(&devices.arg("devices").output().unwrap().stdout);
    listed.lines().any(|line| line.starts_with("wgpu:cpu "))
}

#[test]
fn a_step_that_a_device_has_no_memory_for_is_an_error_with_settings_and_no_false_loss() {
    if !has_software_device() {
        eprintln!("no Vulkan device in software: nothing was tested");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let wide = "model.backbone.block={ kind = \"multi-head\", heads = 2, key_heads = 2, feed_forward = 65536 }";
    let mut command = Command::new(env!("CARGO_BIN_EXE_mm"));
    command.args(["train", "glyphs", "--device", "wgpu:cpu", "--steps", "2", "--out"]).arg(&out);
    for setting in [
        "model.backbone.width=32",
        "model.backbone.depth=1",
        wide,
        "image.width=16",
        "image.height=16",
        "vocab=416",
        "run.batch=64",
        "run.micro_batches=1",
        "run.validate_every=0",
    ] {
        command.args(["--set", setting]);
    }
    let output = command.output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let why = "`run.batch` = 64 in `run.micro_batches` = 1 (can't allocate buffer of size";
    assert!(
        said.contains("error: the device has no memory for step") && said.contains(why),
        "{said}"
    );
    assert!(said.contains("; with `run.") && said.contains(" it takes about "), "{said}");
    assert!(!said.contains("panicked") && !said.contains("loss "), "{said}");
    let metrics = fs_err::read_to_string(out.join("metrics.jsonl")).unwrap_or_default();
    assert!(metrics.is_empty(), "{metrics}");
}

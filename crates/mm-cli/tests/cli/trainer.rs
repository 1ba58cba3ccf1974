//! `mm report`, `mm plan`, and what `mm train` can do besides training from nothing.

use super::{QUICK, device, done, mm, model, refused, run, text};

#[test]
fn a_report_is_one_page_with_the_curves_the_newest_grid_and_the_recipe() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("page.html");
    let (run, out) = (run().to_str().unwrap(), out.to_str().unwrap());
    assert_eq!(done(&["report", run, "--out", out, "--grids", "1"]), format!("{out}\n"));
    let page = fs_err::read_to_string(out).unwrap();
    for part in
        ["<b>Loss</b>", "<svg", "Step 6", "data:image/png;base64,iVBORw0KGgo", "[optimizer]"]
    {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("Step 4"), "one grid was asked for");
    let said = refused(2, &["report", run, "--out", out]);
    assert!(said.contains("exists already"), "{said}");
    let said = refused(2, &["report", folder.path().to_str().unwrap()]);
    assert!(said.contains("is not a run folder"), "{said}");
}

#[test]
fn a_plan_counts_parameters_memory_and_time() {
    let set = ["--set", "run.activation_checkpointing=true", "--set", "optimizer.emas=[0.9]"];
    let plan = |more: &[&str]| {
        let mut args = vec!["plan", "glyphs", "--json"];
        args.extend(more);
        serde_json::from_str::<serde_json::Value>(&done(&args)).unwrap()["plan"].take()
    };
    let (plain, changed) = (plan(&[]), plan(&set));
    let number =
        |plan: &serde_json::Value, path: &str| plan.pointer(path).unwrap().as_f64().unwrap();
    assert_eq!(number(&plain, "/parameters"), number(&changed, "/parameters"));
    assert!(number(&plain, "/bytes/activations") > number(&changed, "/bytes/activations"));
    assert!(number(&plain, "/bytes/averages") < number(&changed, "/bytes/averages"));
    assert!(number(&plain, "/flops") < number(&changed, "/flops"));
    assert!(
        done(&["plan", "glyphs", "--devices", "4"]).contains("of gradients sent by each device")
    );
    // Its folder of images is not there, and not needed.
    assert!(done(&["plan", "su2024-128"]).contains("88483584 parameters"));
    let said = refused(2, &["plan", "glyphs", "--devices", "1000"]);
    assert!(said.contains("cannot share a batch of 32 documents"), "{said}");
}

#[test]
fn a_plan_says_how_many_devices_hold_and_compute_a_recipe() {
    let plan = |more: &[&str]| done(&[&["plan", "glyphs"][..], more].concat());
    assert!(plan(&["--memory", "1GB"]).contains("one device with 1.00 GB holds a step"));
    assert!(
        plan(&["--memory", "125MB"]).contains("devices with 125.0 MB are the fewest that hold")
    );
    assert!(plan(&["--memory", "50MB"]).contains("no number of devices with 50.0 MB holds a step"));
    let said = plan(&["--hours", "0.001", "--flops", "1e12"]);
    assert!(said.contains("10 devices compute the run in 0.001 h;"), "{said}");
    let said = plan(&["--hours", "0.0001", "--flops", "1e12"]);
    assert!(said.contains("more than the 32 documents of a step"), "{said}");
    let said = plan(&["--memory", "1GB", "--json"]);
    assert!(said.contains("\"needed\":{\"for_memory\":1,\"for_time\":null}"), "{said}");
    let said = plan(&["--set", "run.precision=bf16"]);
    assert!(said.contains("counted in 32-bit floats"), "{said}");
}

#[test]
fn a_plan_refuses_what_a_run_refuses() {
    let frozen = "optimizer.freeze=['nothing']";
    let said = refused(2, &["plan", "glyphs", "--set", frozen]);
    assert!(said.contains("`optimizer.freeze`: `nothing` names no parameter"), "{said}");
    assert!(refused(2, &["plan", "glyphs", "--memory", "5XB"]).contains("--memory"));
    assert!(refused(2, &["plan", "glyphs", "--hours", "0"]).contains("`--hours 0` must be"));
    assert!(refused(2, &["plan", "glyphs", "--set", "vocab=300"]).contains("`vocab` is 300"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_run_without_room_says_what_to_lower_and_leaves_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let args = ["train", "glyphs", "--device", "flex", "--out", out.to_str().unwrap()];
    let said = refused(1, &[&args[..], &["--set", "run.batch=10000000"]].concat());
    assert!(said.contains("a step takes about ") && said.contains(" GB are free"), "{said}");
    assert!(said.contains("hint: lower `run.batch`, as in `--set run.batch=5000000`"), "{said}");
    assert!(!out.exists());
}

#[test]
fn activation_checkpointing_is_a_flag_too() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let args = ["train", "glyphs", "--device", "flex", "--out", out.to_str().unwrap()];
    done(&[&args[..], &QUICK, &["--activation-checkpointing"]].concat());
    let recipe = fs_err::read_to_string(out.join("recipe.toml")).unwrap();
    assert!(recipe.contains("activation_checkpointing = true"), "{recipe}");
}

#[test]
fn a_model_is_tuned_with_adapters_and_events_for_tensorboard() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("tuned");
    let out = out.to_str().unwrap();
    let mut args = vec!["train", "glyphs", "--init", "MODEL", "--out", out, "--device", device()];
    args.extend(QUICK);
    args.extend(["--set", "optimizer.lora.rank=2", "--tensorboard"]);
    let model = model();
    args[3] = &model;
    done(&args);
    let events = fs_err::read_dir(folder.path().join("tuned/tensorboard")).unwrap();
    assert_eq!(events.count(), 1);
    assert!(done(&["inspect", &format!("{out}/model")]).contains("width 32"));
    args.extend(["--set", "model.backbone.depth=2"]);
    let other = folder.path().join("other");
    args.retain(|arg| *arg != "--out" && *arg != out);
    args.extend(["--out", other.to_str().unwrap()]);
    let output = mm(&args);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("`backbone.depth` is 1 in the model, 2 in the recipe"), "{said}");
    assert!(!other.exists(), "nothing was written");
}

#[test]
fn a_run_over_text_alone_says_how_to_go_on_and_is_measured_by_its_loss_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (texts, out) = (folder.path().join("texts.jsonl"), folder.path().join("run"));
    let line = |at: usize| format!("{{\"id\": {at}, \"text\": \"number {at} of many lines\"}}\n");
    fs_err::write(&texts, (0..80).map(line).collect::<String>()).unwrap();
    let data = format!("data={{ source = \"documents\", files = ['{}'] }}", texts.display());
    let mut args = vec!["train", "glyphs", "--device", device(), "--out", out.to_str().unwrap()];
    args.extend(["--set", &data]);
    args.extend(QUICK);
    args.extend(["--set", "run.validate_every=3", "--set", "run.best=loss"]);
    let output = mm(&args);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("try: mm generate ") && !said.contains("mm draw"), "{said}");
    assert!(said.contains("held out: text ") && !said.contains("NaN"), "{said}");
    assert!(said.contains("the lowest so far"), "{said}");
    let model = out.join("model");
    let eval = |task| ["eval", model.to_str().unwrap(), "--task", task, "--count", "4"];
    for task in ["read", "bpd"] {
        let said = refused(2, &eval(task));
        assert!(said.contains("no image with a caption among 4 records"), "{task}: {said}");
    }
    let loss = done(&eval("loss"));
    assert!(loss.contains("bits per byte over 4 documents") && !loss.contains("image"), "{loss}");
}

#[test]
fn the_dashboard_needs_a_build_that_has_it_and_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let said = refused(2, &["train", "glyphs", "--out", out.to_str().unwrap(), "--tui"]);
    let not_built = said.contains("`--tui` is not compiled in") && said.contains("--features tui");
    let no_terminal = said.contains("`--tui` draws on a terminal, and standard output is none");
    assert!(not_built || no_terminal, "{said}");
    assert!(!out.exists(), "nothing was written");
}

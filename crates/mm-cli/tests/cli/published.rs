//! Tests of published models: `mm import hf`, and what the program does with what it writes.

use std::path::Path;

use mm_patch::Image;

use crate::{device, done, image_file, refused};

/// A tiny Fuyu in the form of `transformers`.
const FUYU: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/fuyu");

#[test]
fn a_published_fuyu_is_imported_reads_writes_and_is_tuned() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let [model, half, run] = ["model", "half", "run"].map(path);
    assert!(done(&["import", "list"]).contains("fuyu"));
    assert!(done(&["import", "hf", FUYU, "--out", &model]).contains("fuyu, "));
    done(&["import", "hf", FUYU, "--out", &half, "--dtype", "bf16"]);
    let size = |model: &str| fs_err::metadata(Path::new(model).join("model.safetensors")).unwrap();
    assert!(size(&half).len() * 2 < size(&model).len() + 10_000);

    let image = image_file(&folder, "a.png", &Image::filled(100, 77, [200, 40, 90]));
    let read = |model: &str| done(&["read", model, &image, "--max-tokens", "8"]);
    assert_eq!(read(&model), read(&half)); // the golden weights are numbers of 16 bits
    let asked = ["generate", &model, "--image", &image, "--text", "What is on the mat?\n"];
    done(&[&asked[..], &["--max-tokens", "4"]].concat());
    let said = refused(1, &["draw", &model, "a cat", "--out", &path("b.png")]);
    assert!(said.contains("this model only reads: it draws no images"), "{said}");

    let recipe = format!("{model}/recipe.toml");
    let mut args = vec!["train", &recipe, "--init", &model, "--out", &run, "--device", device()];
    for setting in ["run.steps=2", "run.batch=2", "run.micro_batches=1", "sample.count=2"] {
        args.extend(["--set", setting]);
    }
    done(&args);
    assert!(done(&["inspect", &format!("{run}/model")]).contains("variant = persimmon"));
    done(&["read", &format!("{run}/model"), &image, "--max-tokens", "4"]);
}

#[test]
fn a_folder_of_another_model_is_refused_with_the_kinds_that_are_known() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.json");
    fs_err::write(&config, r#"{ "architectures": ["LlamaForCausalLM"] }"#).unwrap();
    let out = folder.path().join("out");
    let from = folder.path().to_str().unwrap();
    let said = refused(1, &["import", "hf", from, "--out", out.to_str().unwrap()]);
    assert!(said.contains("the architecture is `LlamaForCausalLM`, wanted one of"), "{said}");
    assert!(said.contains("hint: `mm import list`") && !out.exists(), "{said}");
}

//! Tests of published models: `mm import hf`, and what the program does with what it writes.

use std::path::Path;

use mm_patch::Image;

use crate::{device, done, image_file, model, refused};

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

#[test]
fn a_model_that_was_exported_to_python_comes_back_with_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let [hf, back, drawn, again] = ["hf", "back", "a.png", "b.png"].map(path);
    done(&["export", "hf", &model(), "--out", &hf]);
    let said = refused(1, &["inspect", &hf]);
    assert!(said.contains(&format!("hint: `mm import hf {hf} --out MODEL`")), "{said}");
    // As `tokenizer.save_pretrained` leaves it.
    let tokenizer = Path::new(&hf).join("tokenizer.json");
    let text = fs_err::read_to_string(&tokenizer).unwrap();
    let mut file: serde_json::Value = serde_json::from_str(&text).unwrap();
    file["post_processor"] = serde_json::json!({
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {},
    });
    fs_err::write(&tokenizer, file.to_string()).unwrap();
    assert!(done(&["import", "hf", &hf, "--out", &back]).contains("mm, "));
    let draw = |model: &str, out: &str| {
        done(&["draw", model, "red K", "--out", out, "--no-metadata"]);
        fs_err::read(out).unwrap()
    };
    assert_eq!(draw(&model(), &drawn), draw(&back, &again));

    fs_err::remove_file(&tokenizer).unwrap();
    let said = refused(1, &["import", "hf", &hf, "--out", &path("c")]);
    assert!(said.contains("tokenizer.json` is not there, wanted the file of the folder"), "{said}");
    let config = Path::new(&hf).join("config.json");
    let text = fs_err::read_to_string(&config).unwrap();
    fs_err::write(&config, text.replace("\"vocab\": ", "\"vocab\": -")).unwrap();
    let said = refused(1, &["import", "hf", &hf, "--out", &path("c")]);
    assert!(said.contains("`network` is wrong (found -"), "{said}");
}

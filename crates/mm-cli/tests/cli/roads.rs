//! Codecs, and what an image can be beside raw patches: trained, drawn, measured, planned, refused.

use serde_json::Value;
use tempfile::tempdir;

use crate::{done, model, refused};

/// Settings that make any embedded codec small and its run short.
const SMALL: [&str; 6] = [
    "run.steps=2",
    "run.batch=2",
    "run.checkpoint_every=2",
    "sample.count=2",
    "run.sample_every=100",
    "optimizer.warmup_steps=1",
];

/// Trains a recipe for two steps into a folder, and returns its model folder.
pub fn trained(recipe: &str, out: &std::path::Path) -> String {
    let out = out.to_str().unwrap();
    let mut args = vec!["train", recipe, "--out", out];
    for setting in SMALL {
        args.extend(["--set", setting]);
    }
    done(&args);
    format!("{out}/model")
}

/// The default recipe with its table of images replaced.
fn recipe(image: &str) -> String {
    let text = done(&["data", "recipes", "glyphs"]);
    let (before, rest) = text.split_once("[image]").unwrap();
    let (_, after) = rest.split_once("[mix]").unwrap();
    format!("{before}[image]\n{image}\n\n[mix]{after}")
}

/// The lines of a recipe, of which those with a key are replaced.
fn with(text: &str, key: &str, line: &str) -> String {
    assert!(text.lines().any(|old| old.starts_with(key)), "{key} is not in\n{text}");
    let new = text.lines().map(|old| if old.starts_with(key) { line } else { old });
    new.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_model_of_latents_is_trained_drawn_and_read_and_refuses_edits_by_name() {
    let folder = tempdir().unwrap();
    let codec = trained("codec-kl", &folder.path().join("kl"));
    let file = folder.path().join("latents.toml");
    let image =
        format!("width = 32\nheight = 32\npatch = 8\nrepresent = \"latents\"\ncodec = {codec:?}");
    fs_err::write(&file, recipe(&image)).unwrap();
    let file = file.to_str().unwrap();
    let plan: Value =
        serde_json::from_str(&done(&["plan", file, "--json", "--flops", "1e10"])).unwrap();
    assert!(plan["plan"]["parameters"].as_u64() > Some(10_000), "{plan}");
    let own = trained(file, &folder.path().join("latents"));
    let told = done(&["inspect", &own]);
    assert!(told.contains("images as latents"), "{told}");
    let out = folder.path().join("k.png");
    let out = out.to_str().unwrap();
    done(&["draw", &own, "red K", "--out", out, "--steps", "2"]);
    done(&["read", &own, out, "--max-tokens", "2"]);
    let score: Value =
        serde_json::from_str(&done(&["eval", &own, "--task", "loss", "--count", "4", "--json"]))
            .unwrap();
    assert!(score["image"].as_f64() > Some(0.0), "{score}");
    let edited = folder.path().join("e.png");
    let edit = ["edit", "img2img", &own, out, "red K", "--out", edited.to_str().unwrap()];
    let said = refused(1, &edit);
    assert!(said.contains("this model draws latents"), "{said}");
    let said = refused(1, &["eval", &own, "--task", "bpd", "--count", "2"]);
    assert!(said.contains("no likelihood of images"), "{said}");
}

#[test]
fn a_model_of_masked_codes_is_trained_and_draws_in_so_many_steps() {
    let folder = tempdir().unwrap();
    let codec = trained("codec-fsq", &folder.path().join("fsq"));
    let file = folder.path().join("masked.toml");
    let sizes = "width = 32\nheight = 32\npatch = 4\nrepresent = \"codes\"\norder = \"masked\"";
    let text = with(
        &recipe(&format!("{sizes}\ncodec = {codec:?}")),
        "patch_pos_embed",
        "patch_pos_embed = 0",
    );
    let text = with(&text, "weight = ", "weight = { kind = \"one\" }");
    let text = with(&text, "guidance", "guidance = { scale = 1.0, from = 0.0, to = 1.0 }");
    fs_err::write(&file, &text).unwrap();
    let own = trained(file.to_str().unwrap(), &folder.path().join("masked"));
    let drawn = |steps: &str| {
        let out = folder.path().join("k.png");
        let path = out.to_str().unwrap();
        done(&["draw", &own, "red K", "--out", path, "--steps", steps, "--seed", "5", "--force"]);
        done(&["read", &own, path, "--max-tokens", "2"]);
        fs_err::read(&out).unwrap()
    };
    assert_eq!(drawn("4"), drawn("4"));
    assert_ne!(drawn("4"), drawn("1"));
    let said = refused(2, &["draw", &own, "red K", "--sampler", "heun", "--out", "k.png"]);
    assert!(said.contains("`--sampler` does nothing"), "{said}");
    let bytes = with(&text, "represent", "represent = \"bytes\"");
    let bytes = bytes.lines().filter(|line| !line.starts_with("codec")).collect::<Vec<_>>();
    fs_err::write(&file, bytes.join("\n")).unwrap();
    let said = refused(2, &["train", file.to_str().unwrap()]);
    assert!(said.contains("`image.order`") && said.contains("one after another"), "{said}");
}

#[test]
fn a_model_of_bytes_has_an_exact_likelihood_and_writes_images_byte_by_byte() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("bytes.toml");
    let image = "width = 16\nheight = 16\npatch = 4\nrepresent = \"bytes\"\norder = \"snake\"";
    let text = with(&recipe(image), "patch_pos_embed", "patch_pos_embed = 0");
    let text = with(&text, "weight = ", "weight = { kind = \"one\" }");
    let text = with(&text, "guidance", "guidance = { scale = 1.0, from = 0.0, to = 1.0 }");
    let text = with(&text, "letters", "letters = [1, 1]");
    fs_err::write(&file, text).unwrap();
    let own = trained(file.to_str().unwrap(), &folder.path().join("bytes"));
    let args = ["eval", &own, "--task", "bpd", "--count", "3", "--json"];
    let score: Value = serde_json::from_str(&done(&args)).unwrap();
    let bits = score["bits_per_dimension"].as_f64().unwrap();
    assert!((4.0..12.0).contains(&bits), "{score}");
    let told = done(&["eval", &own, "--task", "bpd", "--count", "3"]);
    assert!(told.contains("exact"), "{told}");
    let said = refused(2, &["eval", &own, "--task", "bpd", "--count", "3", "--steps", "5"]);
    assert!(said.contains("`--steps` does nothing"), "{said}");
    let out = folder.path().join("k.png");
    let draw = ["draw", &own, "red K", "--out", out.to_str().unwrap()];
    let said = refused(2, &[&draw[..], &["--steps", "5"]].concat());
    assert!(
        said.contains("`--steps` does nothing: this model writes images code by code"),
        "{said}"
    );
    done(&draw);
}

#[test]
fn a_codec_is_planned_and_measured_with_a_reader_of_words() {
    let plan: Value = serde_json::from_str(&done(&["plan", "codec-vq-gan", "--json"])).unwrap();
    assert_eq!((&plan["plan"]["rows"], &plan["plan"]["codes"]), (&8.into(), &512.into()));
    let said = refused(2, &["plan", "codec-fsq", "--hours", "2"]);
    assert!(said.contains("do nothing for a codec"), "{said}");
    let folder = tempdir().unwrap();
    let codec = trained("codec-vq-gan", &folder.path().join("gan"));
    let words = folder.path().join("words.toml");
    let text = done(&["data", "recipes", "glyphs"]);
    let (before, rest) = text.split_once("[data]").unwrap();
    let (_, after) = rest.split_once("[image]").unwrap();
    let data = "source = \"words\"\nletters = [1, 2]\nheights = [8, 9]";
    fs_err::write(&words, format!("{before}[data]\n{data}\n\n[image]{after}")).unwrap();
    let words = words.to_str().unwrap();
    let args = ["codec", "measure", &codec, "--reader", &model(), "--recipe", words];
    let args = [&args[..], &["--count", "6", "--json"]].concat();
    let score: Value = serde_json::from_str(&done(&args)).unwrap();
    assert_eq!(score["reading"]["decoded"]["all"]["texts"], 6, "{score}");
    assert_eq!(score["reading"]["original"]["heights"]["9"]["texts"], 3);
    assert!(score["webp_bits"].as_f64() > Some(0.0) && score["changed"].as_f64() > Some(0.0));
    let args = ["codec", "measure", &codec, "--reader", &model(), "--count", "2"];
    let said = refused(1, &args);
    assert!(said.contains("the data set is not `words`"), "{said}");
}

//! The program as a person meets it: what it prints, where it writes, how it refuses. Here and not
//! in `tests/`, because only here Cargo says where the program is.

mod bounds;
mod data;
mod devices;
mod distill;
mod drawing;
mod edit;
mod endurance;
mod folders;
mod imported;
mod kills;
mod memory;
mod migration;
mod numbers;
mod published;
mod quality;
mod ranks;
mod recipes;
mod resume;
mod roads;
#[cfg(feature = "serve")]
mod serving;
mod slips;
mod su2024;
mod trainer;
mod unheard;
mod words;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use mm_patch::Image;
use tempfile::TempDir;

/// The files of a model folder that training writes.
const MODEL_FILES: [&str; 5] =
    ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "recipe.toml"];

fn mm(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mm"));
    command.env("MM_DEVICE", device()).args(args).output().unwrap()
}

/// Where the tests train: flex, or what `BURN_DEVICE` names, as `docs/backends.md` tells.
fn device() -> &'static str {
    static DEVICE: OnceLock<String> = OnceLock::new();
    DEVICE.get_or_init(|| std::env::var("BURN_DEVICE").unwrap_or_else(|_| "flex".to_owned()))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs a command that must fail with `code`, and gives what it said on standard error.
fn refused(code: i32, args: &[&str]) -> String {
    let output = mm(args);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?} said {said}");
    assert!(output.stdout.is_empty(), "{args:?} wrote {}", text(&output.stdout));
    said
}

/// Runs a command that must succeed, and gives its standard output.
fn done(args: &[&str]) -> String {
    let output = mm(args);
    assert!(output.status.success(), "{args:?} said {}", text(&output.stderr));
    text(&output.stdout)
}

const QUICK: [&str; 22] = [
    "--set",
    "model.backbone.width=32",
    "--set",
    "model.backbone.depth=1",
    "--set",
    "model.backbone.block={ kind = \"multi-head\", heads = 2, key_heads = 2, feed_forward = 32 }",
    "--set",
    "image.patch=8",
    "--set",
    "vocab=416",
    "--set",
    "run.batch=4",
    "--set",
    "run.checkpoint_every=4",
    "--set",
    "run.sample_every=4",
    "--set",
    "sample.count=4",
    "--set",
    "sample.steps=2",
    "--steps",
    "6",
];

/// A run that was trained for a few steps, once for all tests.
fn run() -> &'static Path {
    static RUN: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = RUN.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let mut args =
            vec!["train", "glyphs", "--device", device(), "--out", path.to_str().unwrap()];
        args.extend(QUICK);
        done(&args);
        (folder, path)
    });
    path
}

fn model() -> String {
    run().join("model").to_str().unwrap().to_owned()
}

fn image_file(folder: &TempDir, name: &str, image: &Image) -> String {
    let path = folder.path().join(name);
    fs_err::write(&path, image.encode_png()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn training_leaves_a_model_samples_metrics_and_checkpoints() {
    for file in [
        "recipe.toml",
        "metrics.jsonl",
        "model/config.json",
        "model/model.safetensors",
        "model/tokenizer.json",
        "samples/step-000000004.png",
        "samples/step-000000006.txt",
        "checkpoints/step-000000006/progress.json",
    ] {
        assert!(run().join(file).is_file(), "{file}");
    }
}

#[test]
fn a_run_folder_is_not_taken_twice() {
    let said = refused(2, &["train", "glyphs", "--out", run().to_str().unwrap()]);
    assert!(said.contains("exists already and holds a run") && said.contains("--resume"), "{said}");
}

#[test]
fn a_finished_run_resumes_to_its_end_at_once() {
    let output = mm(&["train", "--out", run().to_str().unwrap(), "--resume", "--device", device()]);
    let said = text(&output.stderr);
    assert!(output.status.success() && said.contains("done after 6 steps"), "{said}");
    assert!(
        said.contains("is finished: all 6 steps are done") && said.contains("try: mm draw "),
        "{said}"
    );
}

#[test]
fn a_drawing_is_a_image_of_the_recipes_size_and_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("k.png");
    let draw = ["draw", &model(), "red K on yellow", "--out", out.to_str().unwrap()];
    done(&draw);
    let bytes = fs_err::read(&out).unwrap();
    let image = Image::decode(&bytes, &mm_patch::DecodeOptions::default()).unwrap();
    assert_eq!((image.width(), image.height()), (32, 32));
    let said = refused(2, &draw);
    assert!(said.contains("exists already") && said.contains("--force"), "{said}");
    assert_eq!(fs_err::read(&out).unwrap(), bytes);
    let mut forced = draw.to_vec();
    forced.extend(["--force", "--seed", "7"]);
    done(&forced);
    assert_ne!(fs_err::read(&out).unwrap(), bytes);
    assert!(done(&["read", &model(), out.to_str().unwrap()]).ends_with('\n'));
}

#[test]
fn generate_takes_texts_and_images_in_their_order_and_can_answer_in_json() {
    let folder = tempfile::tempdir().unwrap();
    let image = image_file(&folder, "a.png", &Image::filled(20, 30, [200, 10, 10]));
    let out = folder.path().to_str().unwrap();
    let said = done(&[
        "generate",
        &model(),
        "--text",
        "a",
        "--image",
        &image,
        "--json",
        "--out",
        out,
        "--max-tokens",
        "5",
    ]);
    assert!(said.starts_with("{\"segments\":["), "{said}");
}

#[test]
fn evaluation_and_inspection_answer() {
    assert!(
        done(&["eval", &model(), "--task", "read", "--count", "8"]).contains("read correctly: ")
    );
    assert!(
        done(&["eval", &model(), "--task", "draw", "--count", "8"]).contains("character correct: ")
    );
    assert!(done(&["eval", &model(), "--task", "loss", "--count", "8"]).contains("bits per byte"));
    assert!(done(&["inspect", &model()]).contains("parameters"));
    for recipe in ["glyphs", "emoji-32", "emoji-64"] {
        assert!(done(&["inspect", recipe]).contains("records for training: "), "{recipe}");
        assert!(done(&["data", "recipes"]).contains(recipe));
        assert!(done(&["data", "recipes", recipe]).starts_with("# "));
    }
    assert!(done(&["completions", "bash"]).contains("_mm"));
}

#[test]
fn wrong_flags_are_usage_errors() {
    assert_eq!(mm(&[]).status.code(), Some(2));
    assert!(
        refused(2, &["train", "glyfs", "--out", "x"])
            .contains("there is no recipe `glyfs`, wanted glyphs")
    );
    let said = refused(2, &["train", "glyfs", "--out", "x"]);
    assert!(said.contains("did you mean `glyphs`?"), "{said}");
    let said = refused(2, &["train", "glyphs", "--out", "x", "--set", "optimizer.rat=1"]);
    assert!(said.contains("the recipe has no key `optimizer.rat`"), "{said}");
    let said = refused(2, &["train", "glyphs", "--out", "x", "--set", "optimzer.lr=1"]);
    assert!(said.contains("did you mean `optimizer.lr`?"), "{said}");
    let said = refused(2, &["train", "glyphs", "--out", "x", "--set", "data.source=glyfs"]);
    assert!(said.contains("did you mean `glyphs`?"), "{said}");
    assert!(
        refused(2, &["train", "glyphs", "--out", "x", "--set", "run.batch=0"])
            .contains("`run.batch` is 0, wanted at least 1")
    );
    assert!(refused(2, &["train", "glyphs", "--out", "x", "--minutes=-1"]).contains("--minutes"));
    let said = refused(2, &["train", "glyphs", "--out", "x", "--device", "cuda:0"]);
    assert!(said.contains("not compiled in") && said.contains("--features cuda"), "{said}");
    assert!(
        refused(2, &["train", "glyphs", "--out", "x", "--device", "tpu"])
            .contains("`--device tpu` is unknown")
    );
    assert!(
        refused(2, &["draw", &model(), "k", "--out", "k.tiff"])
            .contains("wanted png, jpg, webp or bmp")
    );
    assert!(
        refused(2, &["draw", &model(), "k", "--out", "k.png", "--size", "15x16"]).contains("15")
    );
    assert!(!Path::new("x").exists());
}

#[test]
fn a_misspelled_key_of_a_recipe_file_is_named_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.toml");
    let text = include_str!("../../recipes/glyphs.toml").replace("warmup_steps", "warmup");
    fs_err::write(&file, text).unwrap();
    let said = refused(2, &["train", file.to_str().unwrap(), "--out", "x"]);
    assert!(said.contains("`optimizer.warmup` is unknown") && said.contains("line "), "{said}");
}

#[test]
fn all_values_of_a_recipe_that_are_out_of_range_are_said_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.toml");
    let mut recipe: toml::Table =
        toml::from_str(include_str!("../../recipes/glyphs.toml")).unwrap();
    for (table, key, value) in [
        ("run", "batch", 0.into()),
        ("optimizer", "clip", (-1.0).into()),
        ("sample", "count", 0.into()),
    ] {
        let table: &mut toml::Value = recipe.get_mut(table).unwrap();
        table.as_table_mut().unwrap().insert(key.to_owned(), value);
    }
    fs_err::write(&file, recipe.to_string()).unwrap();
    let said = refused(2, &["train", file.to_str().unwrap(), "--out", "x"]);
    for wanted in [
        "3 errors:",
        "`run.batch` is 0, wanted at least 1",
        "`optimizer.clip` is -1.0, wanted above 0",
        "`sample.count` is 0, wanted at least 1",
    ] {
        assert!(said.contains(wanted), "`{wanted}` in: {said}");
    }
}

#[test]
fn bad_images_are_one_clear_error_each() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs_err::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let whole = Image::filled(40, 40, [1, 2, 3]).encode_png();
    let said = |path: &str| refused(1, &["read", &model(), path]);
    assert!(said(&file("empty.png", b"")).contains("empty.png"));
    assert!(said(&file("words.png", b"not a image at all")).contains("words.png"));
    assert!(said(&file("cut.png", &whole[..whole.len() / 2])).contains("cut.png"));
    assert!(said("nowhere.png").contains("nowhere.png"));
    // A header that promises 20000 x 20000 pixels.
    let mut bomb = whole.clone();
    bomb[16..24].copy_from_slice(&[0, 0, 0x4e, 0x20, 0, 0, 0x4e, 0x20]);
    assert!(said(&file("bomb.png", &bomb)).contains("bomb.png"));
    let one = image_file(&folder, "one.png", &Image::filled(1, 1, [9, 9, 9]));
    done(&["read", &model(), &one]);
}

#[test]
fn bad_models_are_one_clear_error_each() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let said = refused(1, &["inspect", path]);
    assert!(said.contains("config.json"), "{said}");
    let said = refused(1, &["read", run().to_str().unwrap(), "x.png"]);
    assert!(said.contains("x.png"), "{said}");
    let said = refused(1, &["draw", run().to_str().unwrap(), "k", "--out", "never.png"]);
    assert!(said.contains("did you mean"), "{said}");
}

#[test]
fn an_output_that_cannot_be_written_is_named_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("file");
    fs_err::write(&blocked, b"x").unwrap();
    let out = blocked.join("k.png");
    let said = refused(1, &["draw", &model(), "k", "--out", out.to_str().unwrap()]);
    assert!(said.contains("k.png"), "{said}");
    let said = refused(
        1,
        &["train", "glyphs", "--steps", "1", "--out", blocked.join("run").to_str().unwrap()],
    );
    assert!(said.contains("file"), "{said}");
    assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_folder_of_images_trains_and_bad_files_are_left_out_by_name() {
    let folder = tempfile::tempdir().unwrap();
    for (name, rgb) in [("red", [220, 20, 20]), ("blue", [20, 20, 220]), ("green", [20, 160, 20])] {
        image_file(&folder, &format!("{name}.png"), &Image::filled(24, 24, rgb));
        fs_err::write(folder.path().join(format!("{name}.txt")), name).unwrap();
    }
    fs_err::write(folder.path().join("broken.png"), b"none").unwrap();
    fs_err::write(folder.path().join("broken.txt"), "broken").unwrap();
    image_file(&folder, "mute.png", &Image::filled(24, 24, [0; 3]));
    fs_err::write(folder.path().join("mute.txt"), [0xff, 0xfe, 0x80]).unwrap();
    let data = format!(
        "data={{ source = \"folder\", path = '{}', max_bad = 0.1 }}",
        folder.path().display()
    );
    let out = tempfile::tempdir().unwrap();
    let strict = out.path().join("strict");
    let mut args = vec!["train", "glyphs", "--out", strict.to_str().unwrap()];
    args.extend(["--set", &data]);
    args.extend(QUICK);
    let too_many = refused(1, &args);
    assert!(too_many.contains("2 of 5 items") && too_many.contains("`max_bad`"), "{too_many}");
    assert!(too_many.contains("hint:") && too_many.contains("RUN/recipe.toml"), "{too_many}");
    let run = out.path().join("run");
    let mut args = vec!["train", "glyphs", "--device", device(), "--out", run.to_str().unwrap()];
    args.extend(["--set", &data, "--max-bad", "50%"]);
    args.extend(QUICK);
    let output = mm(&args);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(fs_err::read_to_string(run.join("recipe.toml")).unwrap().contains("max_bad = 0.5"));
    assert!(said.contains("left out") && said.contains("mute"), "{said}");

    // These bytes have a hash that is held out, so that no held-out record can be read.
    fs_err::write(folder.path().join("broken.png"), b"zero").unwrap();
    let run = out.path().join("held-out");
    let mut args = vec!["train", "glyphs", "--device", device(), "--out", run.to_str().unwrap()];
    args.extend(["--set", &data, "--max-bad", "50%"]);
    args.extend(QUICK);
    let output = mm(&args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let sampled = fs_err::read_dir(run.join("samples")).unwrap().count();
    assert!(sampled > 0, "captions of the training split are drawn in place of held-out ones");

    let empty = tempfile::tempdir().unwrap();
    let data = format!("data={{ source = \"folder\", path = '{}' }}", empty.path().display());
    let said = refused(1, &["train", "glyphs", "--out", "x", "--set", &data]);
    assert!(said.contains("holds no image with a caption"), "{said}");
}

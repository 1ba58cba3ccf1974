//! Tests of what follows Su Jianlin's article of 2024: weights under Keras's names, the golden
//! file, image-only models, and the samplers.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use mm_import::keras;
use mm_model::{folder, image_only};
use mm_patch::{DecodeOptions, Image};
use safetensors::SafeTensors;
use tempfile::TempDir;

use crate::{MODEL_FILES, done, image_file, mm, refused, text};

pub(super) const GOLDEN: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/ddpm_gau_32p4.safetensors");

/// The golden network as a model folder, imported once for all tests.
pub(super) fn imported() -> String {
    static MODEL: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = MODEL.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        let (file, out) = (GOLDEN, path.to_str().unwrap());
        let args = ["import", "keras-ddpm", file, "--image", "32", "--patch", "4", "--out", out];
        assert!(done(&args).contains("width 64, 2 layers, 64 patches of 4x4"));
        let recipe = fs_err::read_to_string(path.join("recipe.toml")).unwrap();
        assert!(recipe.contains("captions = \"none\""), "faces have no captions: {recipe}");
        (folder, path)
    });
    path.to_str().unwrap().to_owned()
}

fn size_of(path: &Path) -> (usize, usize) {
    let image = Image::decode(&fs_err::read(path).unwrap(), &DecodeOptions::default()).unwrap();
    (image.width(), image.height())
}

#[test]
fn weights_that_are_imported_and_exported_are_the_same_bits_under_the_same_names() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("back.safetensors");
    done(&["export", "keras-ddpm", &imported(), "--out", out.to_str().unwrap()]);
    let (golden, back) = (fs_err::read(GOLDEN).unwrap(), fs_err::read(&out).unwrap());
    let golden = SafeTensors::deserialize(&golden).unwrap();
    let back = SafeTensors::deserialize(&back).unwrap();
    let wanted = golden.tensors().into_iter().filter(|(name, _)| name.starts_with("w/"));
    let wanted: Vec<_> = wanted.collect();
    assert_eq!((wanted.len(), back.len()), (22, 22));
    for (name, view) in wanted {
        let found = back.tensor(name.strip_prefix("w/").unwrap()).unwrap();
        assert_eq!((found.shape(), found.data()), (view.shape(), view.data()), "{name}");
    }
    // What was exported is imported again, turned to the other order of colors and back.
    let [turned, again] = ["turned", "again.safetensors"].map(|name| folder.path().join(name));
    let (file, turned) = (out.to_str().unwrap(), turned.to_str().unwrap());
    let args = ["import", "keras-ddpm", file, "--image", "32", "--patch", "4", "--out", turned];
    done(&[&args[..], &["--bgr"]].concat());
    done(&["export", "keras-ddpm", turned, "--out", again.to_str().unwrap(), "--bgr"]);
    assert_eq!(fs_err::read(&again).unwrap(), fs_err::read(&out).unwrap());
}

#[test]
fn an_imported_network_agrees_with_the_layers_of_su_jianlin_and_a_perturbed_one_does_not() {
    let said = done(&["eval", &imported(), "--task", "golden", "--golden", GOLDEN]);
    assert_eq!(said.lines().count(), 26, "{said}");
    for name in ["out/images", "out/loss", "grad/time/embeddings:0", "out/ddim10"] {
        assert!(said.contains(&format!("\n{name}: absolute ")) || said.starts_with(name), "{said}");
    }
    let folder = tempfile::tempdir().unwrap();
    let (config, mut weights) = keras::read(&fs_err::read(GOLDEN).unwrap(), 4).unwrap();
    weights.get_mut("backbone.blocks.1.out_proj.weight").unwrap().values[5] += 0.01;
    let generation = folder::load_generation_config(Path::new(&imported())).unwrap();
    folder::save(folder.path(), &config, &image_only::tokenizer(), &weights, &generation).unwrap();
    let model = folder.path().to_str().unwrap();
    let output = mm(&["eval", model, "--task", "golden", "--golden", GOLDEN]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout).lines().count(), 26);
    assert!(text(&output.stderr).contains("of 26 arrays differ by more than 1e-4"));
    let loose = ["--tolerance", "10"];
    let golden = ["eval", model, "--task", "golden", "--golden", GOLDEN];
    done(&[&golden[..], &loose[..]].concat());
    for tolerance in ["--tolerance=nan", "--tolerance=-1", "--tolerance=inf"] {
        let said = refused(2, &[&golden[..], &[tolerance]].concat());
        assert!(said.contains("--tolerance") && said.contains("at least 0"), "{said}");
    }
}

#[test]
fn files_that_are_no_weights_of_ddpm_gau_are_one_clear_error_each() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let import = |file: &str, image: &str, patch: &str| {
        let args = ["import", "keras-ddpm", file, "--image", image, "--patch", patch];
        [&args[..], &["--out", out.to_str().unwrap()]].concat().join("\n")
    };
    let said = |code: i32, args: String| refused(code, &args.lines().collect::<Vec<_>>());
    let wrong = said(1, import(GOLDEN, "32", "8"));
    assert!(wrong.contains("2 of the tensors do not fit the network"), "{wrong}");
    assert!(wrong.contains("`patch_in/kernel:0`: found [48, 64], wanted [192, 64]"), "{wrong}");
    assert!(said(2, import(GOLDEN, "30", "4")).contains("30"));
    assert!(said(2, import(GOLDEN, "32", "0")).contains('0'));
    assert!(said(1, import("nowhere.safetensors", "32", "4")).contains("nowhere.safetensors"));
    let words = folder.path().join("words.safetensors");
    fs_err::write(&words, b"not weights").unwrap();
    let words = words.to_str().unwrap();
    assert!(said(1, import(words, "32", "4")).contains("not a valid safetensors file"));
    assert!(!out.exists());
    let there = refused(
        2,
        &["import", "keras-ddpm", GOLDEN, "--image", "32", "--patch", "4", "--out", &imported()],
    );
    assert!(there.contains("exists already") && there.contains("--force"), "{there}");
    let said = refused(1, &["eval", &imported(), "--task", "golden", "--golden", words]);
    assert!(said.contains("cannot compare with") && said.contains("words.safetensors"), "{said}");
    assert!(refused(2, &["eval", &imported(), "--task", "golden"]).contains("--golden"));
}

#[test]
fn the_su2024_network_has_the_number_of_parameters_of_the_article() {
    let said = done(&["inspect", "su2024-128"]);
    assert!(said.contains("network: 88,483,584 parameters"), "{said}");
    assert!(said.contains("image-only: documents hold no text"), "{said}");
    assert!(done(&["inspect", "su2024-64"]).contains("network: 88,262,400 parameters"));
    assert!(done(&["inspect", "su2024-mini"]).contains("records for training: "));
    assert!(done(&["data", "recipes", "su2024-mini"]).starts_with("# "));
}

/// `su2024-mini`, made tiny and trained for a few steps, once for all tests.
fn tiny() -> &'static Path {
    static RUN: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = RUN.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let block =
            "model.backbone.block={ kind = \"gau\", expansion = 2, key_size = 16, bias = true }";
        let mut args = vec!["train", "su2024-mini", "--device", "flex", "--steps", "6"];
        args.extend(["--out", path.to_str().unwrap(), "--set", block]);
        for set in [
            "image.width=16",
            "image.height=16",
            "model.backbone.width=32",
            "model.backbone.depth=1",
            "run.batch=4",
            "run.sample_every=4",
            "sample.count=4",
            "sample.steps=2",
            "optimizer.points=[[2.0, 1.0]]",
        ] {
            args.extend(["--set", set]);
        }
        done(&args);
        (folder, path)
    });
    path
}

#[test]
fn image_only_models_train_with_grids_of_raw_and_averaged_weights_side_by_side() {
    let samples = tiny().join("samples");
    for step in [4, 6] {
        for ending in [".png", "-raw.png"] {
            let path = samples.join(format!("step-{step:09}{ending}"));
            assert_eq!(size_of(&path), (32, 32), "{}", path.display());
        }
    }
    let model = tiny().join("model");
    let model = model.to_str().unwrap();
    assert!(done(&["inspect", model]).contains("image-only"));
    let said = done(&["eval", model, "--task", "loss", "--count", "4"]);
    assert!(said.starts_with("image ") && !said.contains("NaN"), "{said}");
}

#[test]
fn an_image_only_model_draws_without_words_and_refuses_words() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("a.png");
    let out = out.to_str().unwrap();
    done(&["draw", &imported(), "", "--out", out, "--steps", "2", "--sampler", "ddim"]);
    assert_eq!(size_of(Path::new(out)), (32, 32));
    let said = refused(1, &["draw", &imported(), "a face", "--out", out, "--force"]);
    assert!(said.contains("the text `a face`, wanted no text"), "{said}");
    for args in [&["read", &imported(), out][..], &["generate", &imported(), "--text", "a"]] {
        assert!(refused(1, args).contains("images alone"), "{args:?}");
    }
}

#[test]
fn every_sampler_draws_a_table_and_an_image_depends_only_on_its_number_and_the_seed() {
    let folder = tempfile::tempdir().unwrap();
    let sample = |name: &str, flags: &[&str]| {
        let out = folder.path().join(name);
        let model = imported();
        let args = ["sample", &model, "--out", out.to_str().unwrap(), "--device", "flex"];
        done(&[&args[..], flags].concat());
        Image::decode(&fs_err::read(&out).unwrap(), &DecodeOptions::default()).unwrap()
    };
    for sampler in ["ddpm", "ddim:0.5", "dpm++2m", "euler", "heun"] {
        let flags = ["--sampler", sampler, "--steps", "3", "--count", "3"];
        let sheet = sample(&format!("{sampler}.png"), &flags);
        assert_eq!((sheet.width(), sheet.height()), (64, 64), "{sampler}");
    }
    let ddim = ["--sampler", "ddim", "--count"];
    let five = sample("five.png", &[&ddim[..], &["5", "--stride", "100", "--cols", "5"]].concat());
    let two = sample("two.png", &[&ddim[..], &["2", "--steps", "10"]].concat());
    assert_eq!(five.crop(0, 0, 64, 32), two);
    let start =
        sample("start.png", &[&ddim[..], &["2", "--steps", "10", "--start", "900"]].concat());
    assert_eq!(start, two);
    let other = sample("other.png", &[&ddim[..], &["2", "--steps", "10", "--seed", "1"]].concat());
    assert_ne!(other, two);
    let model = imported();
    let said = refused(2, &["sample", &model, "--out", "x.png", "--steps", "9", "--start", "7"]);
    let wanted = "`--start 7` with `--steps 9`, wanted an index from 8 to 999";
    assert!(said.contains(wanted), "{said}");
    let said = refused(2, &["sample", &model, "--out", "x.png", "--start", "1000"]);
    assert!(said.contains("`--start 1000`, wanted an index from 0 to 999"), "{said}");
    let said = refused(2, &["sample", &model, "--out", "x.png", "--stride", "0"]);
    assert!(said.contains("`stride` is 0, wanted 1 to 1000"), "{said}");
    assert!(refused(2, &["sample", &model, "--out", "x.png", "--count", "0"]).contains("--count"));
    let said = refused(2, &["sample", &model, "--out", "x.png", "--sampler", "plms"]);
    assert!(said.contains("`plms`, wanted `ddpm`") && said.contains("`analytic:ETA`"), "{said}");
}

#[test]
fn analytic_dpm_measures_the_network_once_and_again_when_the_weights_change() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    fs_err::create_dir(&model).unwrap();
    for file in MODEL_FILES {
        fs_err::copy(tiny().join("model").join(file), model.join(file)).unwrap();
    }
    let out = folder.path().join("a.png");
    let draw = || {
        let args = ["sample", model.to_str().unwrap(), "--out", out.to_str().unwrap(), "--force"];
        let how = ["--sampler", "analytic", "--steps", "3", "--count", "2", "--batches", "2"];
        let output = mm(&[&args[..], &how].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        (text(&output.stderr).contains("measuring"), fs_err::read(&out).unwrap())
    };
    let (measured, first) = draw();
    assert!(measured);
    let kept = fs_err::read_to_string(model.join("analytic.json")).unwrap();
    assert!(kept.contains("\"666\"") || kept.contains("\"667\""), "{kept}");
    assert_eq!(draw(), (false, first.clone()));
    let (config, weights) = (folder::load_config(&model).unwrap(), model.join("model.safetensors"));
    let mut bytes = fs_err::read(&weights).unwrap();
    let last = bytes.len() - 2; // of a number's exponent
    bytes[last] ^= 1;
    fs_err::write(&weights, bytes).unwrap();
    assert!(config.vocab == 0 && draw().0);
}

#[test]
fn analytic_dpm_of_an_imported_network_takes_a_folder_of_images() {
    let folder = tempfile::tempdir().unwrap();
    let (model, images) = (folder.path().join("model"), tempfile::tempdir().unwrap());
    fs_err::create_dir(&model).unwrap();
    for file in MODEL_FILES {
        fs_err::copy(Path::new(&imported()).join(file), model.join(file)).unwrap();
    }
    for shade in 0..4 {
        image_file(&images, &format!("{shade}.png"), &Image::filled(40, 36, [60 * shade; 3]));
    }
    let (out, model) = (folder.path().join("a.png"), model.to_str().unwrap());
    let mut args = vec!["sample", model, "--out", out.to_str().unwrap(), "--device", "flex"];
    args.extend(["--sampler", "analytic", "--steps", "2", "--count", "1", "--batches", "1"]);
    let said = refused(1, &args);
    assert!(said.contains("CelebA-HQ") && said.contains("hint: `--real DIR`"), "{said}");
    let nowhere = folder.path().join("nowhere");
    let said = refused(1, &[&args[..], &["--real", nowhere.to_str().unwrap()]].concat());
    assert!(said.contains("nowhere"), "{said}");
    done(&[&args[..], &["--real", images.path().to_str().unwrap()]].concat());
    assert_eq!(size_of(&out), (32, 32));
}

#[test]
fn interpolation_shows_real_images_in_pairs_and_what_lies_between() {
    let folder = tempfile::tempdir().unwrap();
    let files: Vec<String> = [[250, 0, 0], [0, 250, 0], [0, 0, 250], [9, 9, 9]]
        .iter()
        .enumerate()
        .map(|(at, rgb)| image_file(&folder, &format!("{at}.png"), &Image::filled(40, 36, *rgb)))
        .collect();
    let out = folder.path().join("mixed.png");
    let model = imported();
    let mut args = vec!["interpolate", &model, "--out", out.to_str().unwrap(), "--cols", "3"];
    args.extend(["--noise-step", "500", "--steps", "4", "--device", "flex"]);
    args.extend(files.iter().map(String::as_str));
    done(&args);
    let sheet = Image::decode(&fs_err::read(&out).unwrap(), &DecodeOptions::default()).unwrap();
    assert_eq!((sheet.width(), sheet.height()), (5 * 32 + 20, 64));
    assert_eq!((sheet.pixel(0, 0), sheet.pixel(179, 0)), ([250, 0, 0], [0, 250, 0]));
    assert_eq!((sheet.pixel(0, 63), sheet.pixel(35, 0)), ([0, 0, 250], [255; 3]));
    let odd =
        refused(2, &["interpolate", &model, &files[0], &files[1], &files[2], "--out", "x.png"]);
    assert!(odd.contains("found 3 images, wanted pairs"), "{odd}");
    let far = ["--noise-step", "1000", "--out", "x.png"];
    let said = refused(2, &[&["interpolate", &model, &files[0], &files[1]], &far[..]].concat());
    assert!(said.contains("wanted 1 to 999"), "{said}");
    let few = ["--noise-step", "3", "--steps", "4", "--out", "x.png"];
    let said = refused(2, &[&["interpolate", &model, &files[0], &files[1]], &few[..]].concat());
    assert!(said.contains("`--steps 4` from `--noise-step 3`, wanted 1 to 3"), "{said}");
}

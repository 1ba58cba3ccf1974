//! Slips of a person who is new to the program: each is one line that says what was found and what
//! was wanted, and it is said before anything is computed.

use mm_patch::Image;

use crate::{done, image_file, model, refused};

#[test]
fn help_spells_the_place_of_the_number_in_a_name() {
    let help = done(&["draw", "--help"]);
    assert!(help.contains("k-{n}.png is one file for each image"), "{help}");
    assert!(help.contains("--out k-{n}.png --count 4"), "{help}");
    assert!(!help.contains('\u{1b}'), "a pipe gets no colors: {help}");
}

#[test]
fn help_names_every_sampler() {
    for command in ["draw", "generate", "eval"] {
        let help = done(&[command, "--help"]);
        for sampler in ["ddpm", "ddim:ETA", "dpm++2m-uncapped", "euler,", "heun", "euler-maruyama"]
        {
            assert!(help.contains(sampler), "{command} names no {sampler}");
        }
    }
}

#[test]
fn a_number_below_zero_is_an_error_of_its_flag() {
    let draw = ["draw", &model(), "red K", "--out", "never.png"];
    let of = |flags: &[&str]| refused(2, &[&draw, flags].concat());
    let said = of(&["--count", "-1"]);
    assert_eq!(said, "error: `--count -1`, wanted a whole number, not below 0\n");
    assert!(of(&["--guidance", "-3"]).contains("wanted a finite number, not below 0"));
    assert!(of(&["--guidance", "nan"]).contains("wanted a finite number, not below 0"));
    let said = refused(2, &["train", "glyphs", "--minutes", "-3"]);
    assert_eq!(said, "error: `--minutes -3` must be above 0\n");
}

#[test]
fn flags_of_tokens_that_mean_nothing_are_refused() {
    let read = ["read", &model(), "never.png"];
    let of = |flags: [&str; 2]| refused(2, &[&read[..], &flags].concat());
    assert!(of(["--top-p", "2"]).contains("'--top-p <P>': wanted a share above 0, at most 1"));
    assert!(of(["--top-k", "0"]).contains("'--top-k <K>': wanted a whole number from 1 on"));
    assert!(of(["--temperature", "-1"]).contains("wanted a finite number, not below 0"));
}

#[test]
fn a_file_that_cannot_be_written_is_refused_before_the_model_is_opened() {
    let none = "no-such-folder/k.png"; // and `no-such-model` is never looked for
    for args in [
        &["draw", "no-such-model", "red K", "--out", none][..],
        &["sample", "no-such-model", "--out", none],
        &["interpolate", "no-such-model", "a.png", "b.png", "--out", none],
        &["edit", "upscale", "no-such-model", "a.png", "--out", none],
        &["data", "sheet", "glyphs", "--out", none],
    ] {
        let said = refused(1, args);
        assert!(said.contains("there is no folder `no-such-folder`"), "{args:?}: {said}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = image_file(&folder, "one.png", &Image::filled(8, 8, [9; 3]));
    let said = refused(2, &["generate", "no-such-model", "--text", "a", "--out", &file]);
    assert!(said.contains("is a file, wanted a folder"), "{said}");
    let said = refused(2, &["draw", "no-such-model", "red K", "--out", "k"]);
    assert_eq!(said, "error: `k` has no ending, wanted png, jpg, webp or bmp\n");
}

#[test]
fn edits_that_lack_one_of_two_flags_name_both() {
    let said = refused(2, &["edit", "between", "model", "--out", "never.png"]);
    assert!(said.contains("--images <FILE> <FILE>|--captions <TEXT> <TEXT>"), "{said}");
    let said = refused(2, &["edit", "deblur", "model", "a.png", "--out", "never.png"]);
    assert!(said.contains("--sigma <S>|--square <N>"), "{said}");
    let said = refused(2, &["edit", "outpaint", "model", "a.png", "--out", "never.png"]);
    assert!(said.contains("`--left`, `--top`, `--right`, `--bottom`"), "{said}");
}

#[test]
fn what_is_neither_folder_file_nor_recipe_is_guessed() {
    let said = refused(1, &["inspect", "glyps"]);
    assert!(
        said.contains("no model folder, image file or recipe, did you mean `glyphs`?"),
        "{said}"
    );
    let said = refused(2, &["data", "check", "glyps"]);
    assert!(said.contains("did you mean `glyphs`?"), "{said}");
    let said = refused(1, &["train", "--out", "no-such-run", "--resume"]);
    assert_eq!(said, "error: `no-such-run` is not a run folder: it has no `recipe.toml`\n");
    let said = refused(2, &["train"]);
    assert!(said.contains("<RECIPE>") && !said.contains("--out"), "{said}");
    let said = refused(2, &["plan", "glyphs", "--set", "data.source=folder"]);
    assert!(said.contains("hint: each source has keys of its own"), "{said}");
}

#[test]
fn inspection_speaks_the_words_of_recipes() {
    let said = done(&["inspect", &model()]);
    assert!(said.contains("blocks: {kind = multi-head, variant = plain, heads = 2"), "{said}");
    assert!(!said.contains("Config"), "{said}");
    let folder = tempfile::tempdir().unwrap();
    let file = image_file(&folder, "one.png", &Image::filled(8, 6, [9; 3]));
    let said = refused(2, &["inspect", &file, "--patch", "7"]);
    assert!(said.contains("`--patch 7` is larger than"), "{said}");
}

#[test]
#[cfg(unix)]
fn a_device_without_an_end_is_no_image_and_a_pipe_may_be_one() {
    use std::io::Write;
    use std::process::{Command, Stdio};

    let said = refused(1, &["read", &model(), "/dev/zero"]);
    assert!(said.contains("cannot read `/dev/zero`"), "{said}");
    let mut reader = Command::new(env!("CARGO_BIN_EXE_mm"));
    reader.env("MM_DEVICE", crate::device()).args(["read", &model(), "/dev/stdin"]);
    let mut reader = reader.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let image = Image::filled(8, 8, [9; 3]).encode_png();
    reader.stdin.take().unwrap().write_all(&image).unwrap();
    assert!(reader.wait_with_output().unwrap().status.success());
}

#[test]
#[cfg(target_os = "linux")]
fn json_names_files_whose_names_are_no_text() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::process::Command;

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(OsStr::from_bytes(b"k\xff.png"));
    for (command, args) in [
        ("draw", vec!["red K".as_ref(), "--out".as_ref(), file.as_os_str()]),
        ("read", vec![file.as_os_str()]),
    ] {
        let mut mm = Command::new(env!("CARGO_BIN_EXE_mm"));
        mm.env("MM_DEVICE", crate::device()).args([command, &model(), "--json"]).args(args);
        let output = mm.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(line["image"].as_str().unwrap().ends_with("k\u{fffd}.png"), "{line}");
    }
}

#[test]
fn a_model_folder_of_ours_is_not_imported_and_told_to_be_one() {
    let said = refused(1, &["import", "hf", &model(), "--out", "never"]);
    assert!(said.contains("is a model folder of mm, which every command reads"), "{said}");
}

#[test]
fn a_codec_has_no_seed_and_no_type_to_multiply_in() {
    for flags in [["--seed", "1"], ["--precision", "f32"]] {
        let args = [&["codec", "encode", "codec", "k.png", "--out", "k.json"], &flags[..]].concat();
        let said = refused(2, &args);
        assert!(said.contains(&format!("unexpected argument '{}'", flags[0])), "{said}");
    }
}

#[test]
fn a_wrong_type_of_a_setting_is_told_in_words() {
    let said = refused(2, &["plan", "glyphs", "--set", "run.steps=many"]);
    let wanted = "`run.steps`: found the text \"many\", wanted a whole number, 0 or more";
    assert!(said.contains(wanted), "{said}");
}

#[test]
fn a_key_that_a_kind_does_not_have_is_refused() {
    for set in [
        r#"model.schedule={ kind = "linear", stepz = 3 }"#,
        r#"loss.weight={ kind = "one", min_nois = 0.1 }"#,
        r#"loss.timesteps={ kind = "uniform", mean = -1.4 }"#,
    ] {
        let said = refused(2, &["plan", "glyphs", "--set", set]);
        assert!(said.contains("unknown field"), "{said}");
    }
    let said = refused(2, &["plan", "glyphs", "--set", "run.steps=3\nrun.batch=4"]);
    assert!(said.contains("`run.steps`"), "{said}");
}

#[test]
fn all_that_is_wrong_with_settings_is_said_at_once() {
    let set = |pairs: &[&str]| {
        let flags = pairs.iter().flat_map(|pair| ["--set", pair]);
        let args: Vec<&str> = ["plan", "glyphs"].into_iter().chain(flags).collect();
        refused(2, &args)
    };
    let said = set(&["run.steps=-1", "optimizer.lr=x", "foo=1", "run.stepz=1"]);
    for name in ["run.steps", "optimizer.lr", "foo", "run.stepz"] {
        assert!(said.contains(&format!("`{name}`")), "{name}: {said}");
    }
    let said = set(&["run.steps=0", "optimizer.lr=-1", "image.width=33", "loss.text=-1"]);
    for name in ["run.steps", "optimizer.lr", "33x32", "loss.text"] {
        assert!(said.contains(name), "{name}: {said}");
    }
}

#[test]
fn a_size_of_more_patches_than_can_be_told_is_an_error_of_its_flag() {
    let said = refused(2, &["draw", &model(), "red K", "--out", "never.png", "--size", "800x8"]);
    let wanted = "error: `--size 800x8` has 100 x 1 patches, wanted at most 64 x 64\n";
    assert_eq!(said, wanted);
}

#[test]
fn flags_of_guidance_that_does_not_guide_are_refused() {
    let draw = ["draw", &model(), "red K", "--out", "never.png", "--guidance", "1"];
    for more in
        [["--negative", "blue"], ["--guidance-rule", "apg"], ["--guidance-interval", "0.2..0.4"]]
    {
        let said = refused(2, &[&draw[..], &more].concat());
        assert!(said.contains(&format!("`{}` does nothing", more[0])), "{said}");
    }
}

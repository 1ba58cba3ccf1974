//! Drawing and reading of many images, what PNG files tell of them, and what a terminal is shown.

use std::path::Path;
use std::process::Command;

use mm_patch::{DecodeOptions, Image, png_texts};
use serde_json::Value;
use tempfile::tempdir;

use crate::{device, done, image_file, mm, model, refused, text};

fn decoded(path: &Path) -> Image {
    Image::decode(&fs_err::read(path).unwrap(), &DecodeOptions::default()).unwrap()
}

fn words(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[test]
fn several_drawings_are_files_of_a_folder_or_a_pattern_or_one_sheet_with_zoom() {
    let folder = tempdir().unwrap();
    let draw = |out: &str, more: &[&str]| {
        let out = words(&folder.path().join(out));
        let args = ["draw", &model(), "red K on yellow", "--count", "3", "--seed", "5", "--out"];
        done(&[&args[..], &[&out], more].concat())
    };
    let said = draw("all/", &[]);
    let files: Vec<&Path> = said.lines().map(Path::new).collect();
    let names: Vec<_> =
        files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["1-red-k-on-yellow.png", "2-red-k-on-yellow.png", "3-red-k-on-yellow.png"]);
    draw("k-{n}.png", &["--zoom", "2", "--no-metadata"]);
    for (at, file) in files.iter().enumerate() {
        let large = decoded(&folder.path().join(format!("k-{}.png", at + 1)));
        let small = decoded(file);
        assert_eq!((large.width(), small.width()), (64, 32));
        assert_eq!(large.pixel(40, 20), small.pixel(20, 10));
    }
    draw("sheet.png", &[]);
    draw("large.png", &["--zoom", "4"]);
    let (sheet, large) = (folder.path().join("sheet.png"), folder.path().join("large.png"));
    assert_eq!(decoded(&sheet).width(), 3 * (64 + 4));
    let large = decoded(&large);
    assert_eq!((large.width(), large.height()), (3 * (128 + 4), 128 + 4));
    // In 16 bits it is nearly the same image.
    draw("short-{n}.png", &["--precision", "bf16"]);
    let (wide, short) = (decoded(files[0]), decoded(&folder.path().join("short-1.png")));
    assert!(wide != short, "blocks did not multiply in 16 bits");
    let (wide, short) = (wide.pixel(4, 4), short.pixel(4, 4));
    assert!(wide.iter().zip(short).all(|(one, other)| one.abs_diff(other) < 64), "{wide:?}");
    // The third image is that of the third seed.
    let one = folder.path().join("one.png");
    done(&["draw", &model(), "red K on yellow", "--seed", "7", "--out", &words(&one)]);
    assert_eq!(decoded(&one), decoded(files[2]));
}

#[test]
fn every_caption_of_a_file_is_drawn_and_a_folder_is_read_in_order_of_names() {
    let folder = tempdir().unwrap();
    let captions = folder.path().join("captions.txt");
    fs_err::write(&captions, "\u{feff}red K on yellow\r\n\r\nblue A on white\n../x\n").unwrap();
    let (captions, out) = (words(&captions), words(&folder.path().join("drawn")));
    let draw = ["draw", &model(), "--captions", &captions, "--out", &out, "--json"];
    let said = done(&draw);
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names = ["1-red-k-on-yellow.png", "2-blue-a-on-white.png", "3-x.png"];
    for (at, (line, name)) in lines.iter().zip(names).enumerate() {
        let file = Path::new(&out).join(name);
        assert_eq!(line["image"].as_str().unwrap(), words(&file));
        assert_eq!(line["seed"], at);
        assert_eq!((&line["width"], &line["height"]), (&32.into(), &32.into()));
        assert_eq!(decoded(&file).width(), 32);
    }
    assert_eq!((lines.len(), lines[1]["caption"].as_str()), (3, Some("blue A on white")));
    let said = refused(2, &draw);
    assert!(said.contains("1-red-k-on-yellow.png` exists already"), "{said}");

    fs_err::write(Path::new(&out).join("2-broken.png"), "zero").unwrap();
    fs_err::write(Path::new(&out).join("notes.txt"), "no image").unwrap();
    let output = mm(&["read", &model(), &out, "--json", "--max-tokens", "4"]);
    let (said, errors) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("1 of 4 images cannot be read"), "{errors}");
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let read: Vec<&str> = lines.iter().map(|line| line["image"].as_str().unwrap()).collect();
    let wanted = [names[0], names[1], "2-broken.png", names[2]];
    assert_eq!(read, wanted.map(|name| words(&Path::new(&out).join(name))));
    assert!(lines[2]["error"].as_str().unwrap().contains("2-broken.png"));
    assert!(lines[2].get("caption").is_none() && lines[3]["caption"].is_string());
    let output = mm(&["read", &model(), &out, "--max-tokens", "4"]);
    assert_eq!(text(&output.stdout).lines().count(), 3);
    assert!(text(&output.stderr).contains("2-broken.png"), "{}", text(&output.stderr));
}

#[test]
fn a_drawing_tells_its_caption_seed_and_model_unless_it_should_not() {
    let folder = tempdir().unwrap();
    let [with, without, again] =
        ["with.png", "without.png", "again.png"].map(|name| words(&folder.path().join(name)));
    let draw = ["draw", &model(), "grün K \u{1b}[31m", "--seed", "9", "--steps", "3", "--out"];
    done(&[&draw[..], &[&with]].concat());
    done(&[&draw[..], &[&again]].concat());
    done(&[&draw[..], &[&without, "--no-metadata"]].concat());
    assert_eq!(fs_err::read(&with).unwrap(), fs_err::read(&again).unwrap());
    assert_eq!(decoded(Path::new(&with)), decoded(Path::new(&without)));
    let said = done(&["inspect", &with]);
    let software = concat!("  Software: mm ", env!("CARGO_PKG_VERSION"));
    for line in [
        "metadata:",
        software,
        "  Description: grün K \u{1b}[31m",
        "  Model: run/model",
        "  Seed: 9",
        "  Steps: 3",
        "  Size: 32x32",
    ] {
        assert!(said.lines().any(|found| found == line), "`{line}` in: {said}");
    }
    assert!(said.contains("  Sampler: ") && said.contains("  Guidance: "), "{said}");
    assert_eq!(png_texts(&fs_err::read(&without).unwrap()).unwrap(), []);
    assert!(done(&["inspect", &without]).contains("no metadata: the file holds no text"));
    let jpeg = words(&folder.path().join("k.jpg"));
    done(&["draw", &model(), "k", "--out", &jpeg]);
    assert!(done(&["inspect", &jpeg]).contains("no metadata: only PNG files"));
}

#[test]
fn flags_that_would_do_nothing_are_refused() {
    let folder = tempdir().unwrap();
    let image = image_file(&folder, "a.png", &Image::filled(32, 32, [9; 3]));
    for args in [
        &["draw", &model(), "k", "--out", "never.png", "--top-k", "3"][..],
        &["read", &model(), &image, "--steps", "3"],
        &["report", "runs", "--force"],
    ] {
        refused(2, args);
    }
    for (task, flag, value) in [
        ("loss", "steps", "4"),
        ("loss", "seed", "4"),
        ("read", "guidance", "2"),
        ("draw", "features", "f.onnx"),
        ("draw", "max-tokens", "4"),
        ("read", "tolerance", "0.1"),
    ] {
        let flag = format!("--{flag}");
        let said = refused(2, &["eval", &model(), "--task", task, &flag, value]);
        let wanted = format!("`{flag}` does nothing for `--task {task}`");
        assert!(said.contains(&wanted) && said.contains("it is for the tasks "), "{said}");
    }
    let sample = ["sample", &model(), "--out", "never.png", "--sampler", "ddim"];
    let said = refused(2, &[&sample[..], &["--batches", "3"]].concat());
    assert!(said.contains("`--batches` does nothing with the sampler ddim"), "{said}");
    let said = refused(2, &["inspect", &model(), "--patch", "8"]);
    assert!(said.contains("`--patch` is for an image file"), "{said}");
    let said = refused(2, &["draw", &model(), "k", "--out", "never.png", "--sampler", "eulr"]);
    assert!(said.contains("did you mean `euler`?"), "{said}");
}

/// Runs `mm` with its output on a pseudo-terminal, which `script` makes; nothing where there is no
/// such program.
fn on_a_terminal(args: &[&str]) -> Option<String> {
    let quoted = args.iter().map(|arg| format!("'{}'", arg.replace('\'', "'\\''")));
    let line = format!("{} {}", env!("CARGO_BIN_EXE_mm"), quoted.collect::<Vec<_>>().join(" "));
    let mut script = Command::new("script");
    let output = script.env("MM_DEVICE", device()).args(["-qec", &line, "/dev/null"]).output();
    output.ok().map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(target_os = "linux")]
#[test]
fn a_terminal_is_not_steered_by_captions_and_a_pipe_gets_every_byte() {
    let folder = tempdir().unwrap();
    let file = words(&folder.path().join("k.png"));
    done(&["draw", &model(), "red \u{1b}]0;title\u{7}K", "--out", &file]);
    assert!(done(&["inspect", &file]).contains("Description: red \u{1b}]0;title\u{7}K"));
    let Some(shown) = on_a_terminal(&["inspect", &file]) else { return };
    assert!(shown.contains("Description: red \\u001b]0;title\\u0007K"), "{shown:?}");
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
    let shown = on_a_terminal(&["inspect", "no\u{1b}[31m.png"]).unwrap();
    assert!(shown.contains("\\u001b[31m.png") && !shown.contains('\u{1b}'), "{shown:?}");
}

#[test]
fn a_guided_drawing_is_made_in_half_precision() {
    if device() != "flex" {
        println!("skipped: not every graphics device calculates in f16");
        return;
    }
    let folder = tempdir().unwrap();
    let draw = |precision: &str| {
        let out = folder.path().join(format!("{precision}.png"));
        let file = words(&out);
        done(&["draw", &model(), "red K", "--precision", precision, "--out", &file]);
        decoded(&out)
    };
    let (half, whole) = (draw("f16"), draw("f32"));
    let apart = half.rgb().iter().zip(whole.rgb()).filter(|(a, b)| a.abs_diff(**b) > 16).count();
    assert!(apart * 20 < half.rgb().len(), "{apart} of {} bytes differ", half.rgb().len());
}

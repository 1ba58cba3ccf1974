//! Numbers that no memory holds are refused by the name of their flag, before anything is computed.

use mm_patch::Image;

use crate::su2024::{GOLDEN, imported};
use crate::{image_file, model, refused};

const HUGE: &str = "99999999999999";
const SIZE: &str = "4000000x4000000";

/// Runs a command that must be refused as used wrongly, with these words.
fn check_refused(command: &[&str], flags: &[&str], wanted: &str) {
    let said = refused(2, &[command, flags].concat());
    assert!(said.contains(wanted), "{flags:?}: wanted `{wanted}` in {said}");
}

#[test]
fn tables_and_images_that_no_memory_holds_are_refused() {
    let (faces, glyphs) = (imported(), model());
    let sample = ["sample", &faces, "--out", "never.png"];
    check_refused(&sample, &["--size", SIZE], "`--size 4000000x4000000`: 4000000 x 4000000 pixels");
    check_refused(&sample, &["--count", HUGE], "`--count 99999999999999`, wanted 1 to 65536");
    check_refused(&sample, &["--zoom", "9999999"], "`--zoom 9999999`, wanted 1 to 64");
    check_refused(&sample, &["--zoom", HUGE], "`--zoom 99999999999999`, wanted 1 to 64");
    check_refused(&sample, &["--zoom", "65"], "`--zoom 65`, wanted 1 to 64");
    let draw = ["draw", &glyphs, "K", "--out", "never.png"];
    check_refused(&draw, &["--size", SIZE], "`--size 4000000x4000000`: ");
    check_refused(&draw, &["--count", HUGE], "`--count 99999999999999`, wanted 1 to 14513");
    check_refused(&draw, &["--zoom", HUGE], "`--zoom 99999999999999`, wanted 1 to 256");
    check_refused(&draw, &["--steps", HUGE], "`steps` is 99999999999999, wanted 1 to 1000000");
    let import = ["import", "keras-ddpm", GOLDEN, "--patch", "4", "--out", "never"];
    check_refused(&import, &["--image", "4000000"], "`--image 4000000 --patch 4`: ");
}

#[test]
fn examples_answers_and_columns_that_no_memory_holds_are_refused() {
    let (faces, glyphs) = (imported(), model());
    for task in ["nearest", "draw", "read"] {
        let eval = ["eval", &glyphs, "--task", task];
        check_refused(&eval, &["--count", HUGE], "`--count 99999999999999`, wanted 1 to 10000000");
    }
    let nearest = ["eval", &glyphs, "--task", "nearest"];
    check_refused(&nearest, &["--real-count", HUGE], "`--real-count 99999999999999`, wanted 1 to ");
    let sheet = ["--out", "never.png", "--count", "8000"];
    check_refused(&nearest, &sheet, "`--count 8000`, wanted 1 to 7256");
    let generate = ["generate", &glyphs, "--text", "a"];
    check_refused(&generate, &["--count", HUGE], "`--count 99999999999999`, wanted 1 to 25000");
    check_refused(&generate, &["--max-images", HUGE], "`--max-images 99999999999999`, wanted 1 to");
    let folder = tempfile::tempdir().unwrap();
    let one = image_file(&folder, "one.png", &Image::filled(32, 32, [9; 3]));
    let interpolate = ["interpolate", &faces, &one, &one, "--out", "never.png"];
    check_refused(&interpolate, &["--cols", HUGE], "`--cols 99999999999999`, wanted 1 to 65534");
    check_refused(&interpolate, &["--zoom", HUGE], "`--zoom 99999999999999`, wanted 1 to 78");
}

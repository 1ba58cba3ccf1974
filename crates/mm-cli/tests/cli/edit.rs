//! `mm edit` keeps what it promises to keep, and refuses what it cannot do in one line.

use mm_model::SuperResolution;
use mm_patch::{DecodeOptions, Image};
use tempfile::TempDir;

use crate::{done, image_file, model, refused};

/// Returns an image in which neighboring pixels differ.
fn sample(width: usize, height: usize) -> Image {
    let pixel = |at: usize| [(at * 37) as u8, (at * 11) as u8, (at / width * 9) as u8];
    Image::new(width, height, (0..width * height).flat_map(pixel).collect()).unwrap()
}

/// Returns a black image with a white rectangle.
fn mask_of(width: usize, height: usize, x: usize, y: usize, side: usize) -> Image {
    let mut mask = Image::filled(width, height, [0; 3]);
    mask.paste(&Image::filled(side, side, [255; 3]), x, y);
    mask
}

fn read(path: &str) -> Image {
    Image::decode(&fs_err::read(path).unwrap(), &DecodeOptions::default()).unwrap()
}

/// Fails where pixels outside of the white ones of a mask differ, or all inside are the same.
fn assert_kept(before: &Image, after: &Image, mask: &Image) {
    let pixels = before.rgb().iter().zip(after.rgb()).zip(mask.rgb());
    let outside = pixels.clone().filter(|((old, new), mask)| **mask == 0 && old != new).count();
    let inside = pixels.filter(|((old, new), mask)| **mask > 0 && old != new).count();
    assert!(outside == 0 && inside > 0, "{outside} bytes outside, {inside} inside");
}

#[test]
fn inpainting_changes_what_the_mask_frees_alone() {
    let folder = TempDir::new().unwrap();
    let (model, path) = (model(), |name: &str| folder.path().join(name).display().to_string());
    for (size, flags) in [((32, 32), vec![]), ((75, 50), vec!["--only-masked", "--padding", "2"])] {
        let (image, mask) = (sample(size.0, size.1), mask_of(size.0, size.1, 9, 5, 11));
        let (file, mask_file) =
            (image_file(&folder, "a.png", &image), image_file(&folder, "m.png", &mask));
        let out = path("out.png");
        let mut args = vec!["edit", "inpaint", &model, &file, "red K", "--mask", &mask_file];
        args.extend(["--out", &out, "--steps", "2", "--count", "2", "--force"]);
        args.extend(&flags);
        let said = done(&args);
        assert_eq!(said, format!("{out}\n{}\n", path("out-2.png")));
        for name in ["out.png", "out-2.png"] {
            assert_kept(&image, &read(&path(name)), &mask);
        }
    }
}

#[test]
fn every_other_edit_draws_and_tells_its_error() {
    let folder = TempDir::new().unwrap();
    let (model, out) = (model(), folder.path().join("out.png").display().to_string());
    let file = image_file(&folder, "a.png", &sample(16, 16));
    let edit = |kind: &str, flags: &[&str]| {
        let mut args = vec!["edit", kind, &model, &file, "--out", &out, "--steps", "2", "--force"];
        args.extend(flags);
        let said = done(&args);
        (read(&out), said)
    };
    let (wide, _) = edit("outpaint", &["--left", "8", "--bottom", "8"]);
    assert_eq!((wide.width(), wide.height()), (24, 24));
    assert_eq!(wide.crop(8, 0, 16, 16), sample(16, 16));
    assert_eq!(edit("img2img", &["--strength", "0"]).0, sample(16, 16));
    assert_ne!(edit("variations", &["--strength", "0.5"]).0, sample(16, 16));
    let (large, said) = edit("upscale", &["--factor", "2"]);
    assert_eq!(SuperResolution::down(&large, 2), sample(16, 16));
    assert_eq!(said, format!("{out}\nlargest error of the constraint: 0 of 255\n"));
    let (_, said) = edit("colorize", &["--negative", "blue", "--guidance-rule", "rescaled:0.5"]);
    assert_eq!(said, format!("{out}\nlargest error of the constraint: 0 of 255\n"));
    edit("deblur", &["--sigma", "0.8"]);
    let (_, said) = edit("swap", &["--old", "red K"]);
    assert!(said.contains("there and back: ") && said.contains(" levels of 255 (rms)"), "{said}");
    let mut args = vec!["edit", "between", &model, "--count", "3", "--out", &out, "--force"];
    args.extend(["--steps", "2", "--captions", "red K", "blue 7"]);
    assert_eq!(done(&args).lines().count(), 3);
}

#[test]
fn edits_that_cannot_be_done_are_refused_in_one_line() {
    let folder = TempDir::new().unwrap();
    let (model, out) = (model(), folder.path().join("out.png").display().to_string());
    let file = image_file(&folder, "a.png", &sample(16, 16));
    let odd = image_file(&folder, "odd.png", &sample(17, 16));
    let small = image_file(&folder, "m.png", &mask_of(8, 16, 0, 0, 4));
    let black = image_file(&folder, "b.png", &mask_of(16, 16, 16, 0, 4));
    let check = |args: &[&str], wanted: &str| {
        let args = [&["edit", args[0], &model], &args[1..], &["--out", &out]].concat();
        let said = refused(2, &args);
        assert_eq!(said.lines().next(), Some(format!("error: {wanted}").as_str()));
    };
    check(&["inpaint", &file, "--mask", &small], "the mask has 8 x 16 pixels, wanted 16 x 16");
    check(
        &["inpaint", &file, "--mask", &black],
        "the mask marks no pixel, wanted at least one that is transparent or not black",
    );
    check(
        &["img2img", &odd],
        "the image has 17 x 16 pixels, wanted multiples of 8; the nearest sizes are 16 x 16 and \
         24 x 16",
    );
    check(
        &["inpaint", &file],
        &format!("`{file}` has no transparent pixel and `--mask` is missing, wanted one of them"),
    );
    check(&["img2img", &file, "--strength", "2"], "`strength` is 2, wanted a number from 0 to 1");
    check(
        &["img2img", &file, "--count", "99999999999999"],
        "`--count 99999999999999`, wanted 1 to 10000",
    );
    check(&["upscale", &file, "--factor", "0"], "`factor` is 0, wanted 1 to 256");
    check(
        &["swap", &file, "--sampler", "ddpm"],
        "`sampler` is ddpm, wanted one that draws no noise: euler, ddim, heun or dpm++2m",
    );
    let said = refused(2, &["edit", "colorize", &model, &file, "--out", "k.jpg"]);
    assert!(said.contains("would lose bytes that an edit keeps"), "{said}");
}

//! Tests of the recipes `su2024-*` on folders of images without captions.

use std::path::Path;

use mm_patch::Image;
use tempfile::{TempDir, tempdir};

use crate::{device, done, refused};

/// The settings that make `su2024-64` train in a second.
const SMALL: [&str; 10] = [
    "image.width=16",
    "image.height=16",
    "model.backbone.width=32",
    "model.backbone.depth=1",
    "model.backbone.block={ kind = \"gau\", expansion = 2, key_size = 16, bias = true }",
    "run.batch=4",
    "run.steps=2",
    "optimizer.points=[[2.0, 1.0]]",
    "sample.count=1",
    "sample.steps=2",
];

/// A folder with images of these names, each of another color.
fn folder_of_images(names: &[String]) -> TempDir {
    let folder = tempdir().unwrap();
    for (at, name) in names.iter().enumerate() {
        let path = folder.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        let image = Image::filled(24, 20, [20 * at as u8, 100, 200]);
        fs_err::write(path, image.encode_png()).unwrap();
    }
    folder
}

/// `mm train su2024-64` on a folder, for two steps.
fn training<'a>(path: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["train", "su2024-64", "--device", device(), "--out", out, "--set", path];
    for set in SMALL.iter().chain(more).copied() {
        args.extend(["--set", set]);
    }
    args
}

fn words(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_su2024_recipes_train_on_bare_images_and_on_train_and_valid_sub_folders() {
    let flat: Vec<String> = (0..12).map(|at| format!("{at}.png")).collect();
    let mut parts: Vec<String> = (0..5).map(|at| format!("train/{at}.png")).collect();
    parts.extend((0..3).map(|at| format!("valid/{at}.png")));
    for (names, held_out) in [(flat, 3), (parts, 3)] {
        let (folder, runs) = (folder_of_images(&names), tempdir().unwrap());
        let path = format!("data.path={}", words(folder.path()));
        let out = words(&runs.path().join("run"));
        done(&training(&path, &out, &[]));
        let said = done(&["eval", &format!("{out}/model"), "--task", "loss", "--count", "99"]);
        assert!(said.ends_with(&format!("over {held_out} documents\n")), "{said}");
        assert!(said.starts_with("image ") && !said.contains("NaN"), "{said}");
    }
}

#[test]
fn bare_images_where_captions_are_wanted_are_refused_with_the_setting_that_takes_them() {
    let (folder, runs) = (folder_of_images(&["1.png".to_owned()]), tempdir().unwrap());
    let path = format!("data.path={}", words(folder.path()));
    let out = words(&runs.path().join("run"));
    let said = refused(1, &training(&path, &out, &["data.captions=written"]));
    assert!(said.contains("no image with a caption (`captions = \"none\"` takes bare"), "{said}");
}

#[test]
fn a_cache_is_made_by_a_flag_and_a_file_of_another_kind_is_not_written_over() {
    let (folder, runs) = (folder_of_images(&["1.png".to_owned()]), tempdir().unwrap());
    let path = format!("data.path={}", words(folder.path()));
    let [out, cache, precious] =
        ["run", "pixels", "precious.txt"].map(|name| words(&runs.path().join(name)));
    let refused_with = |code: i32, set: &str| refused(code, &training(&path, &out, &[set]));
    fs_err::write(&precious, "years of work").unwrap();
    let said = refused_with(1, &format!("data.cache={precious}"));
    assert!(said.contains(&format!("`data.cache` `{precious}` is no cache of images")), "{said}");
    assert_eq!(fs_err::read_to_string(&precious).unwrap(), "years of work");
    for set in ["data.cahce=pixels", "loss.weight.min_noise=0.1"] {
        let (key, _) = set.split_once('=').unwrap();
        let said = refused_with(2, set);
        assert!(said.contains(&format!("the recipe has no key `{key}`")), "{said}");
    }
    assert!(!Path::new(&out).exists());
    done(&training(&path, &out, &[&format!("data.cache={cache}")]));
    assert!(fs_err::read(&cache).unwrap().len() > 3 * 16 * 16);
}

//! The recipes that come with the program.

use crate::{device, done, refused};

const BASELINES: [&str; 3] = ["baseline-unet", "baseline-uvit", "baseline-dit"];

/// The page that lists all recipes.
const PAGE: &str = include_str!("../../../../docs/recipes.md");

#[test]
fn every_recipe_is_valid_says_its_command_and_stands_in_the_table_of_the_docs() {
    let list = done(&["data", "recipes"]);
    assert_eq!(list.lines().count(), 16, "{list}");
    for line in list.lines() {
        let (name, what) = line.split_once(": ").unwrap();
        let text = done(&["data", "recipes", name]);
        assert!(text.starts_with(&format!("# {what}")), "{name}");
        for wanted in ["# command: ", "# time"] {
            assert!(text.lines().any(|line| line.starts_with(wanted)), "{name}: {wanted}");
        }
        if let Err(why) = mm_train::Recipe::from_toml(&text) {
            panic!("{name}: {why}");
        }
        let stands = |line: &str| line.starts_with("| `") && line.contains(&format!("`{name}`"));
        assert!(PAGE.lines().any(stands), "{name} is not in docs/recipes.md");
    }
}

#[test]
fn the_articles_baselines_train_and_are_of_one_size() {
    let folder = tempfile::tempdir().unwrap();
    let small = ["image.width=16", "image.height=16", "run.batch=2"];
    let short = ["run.steps=1", "sample.count=1", "sample.steps=1"];
    for name in BASELINES {
        let out = folder.path().join(name);
        let mut args = vec!["train", name, "--device", device(), "--out", out.to_str().unwrap()];
        for set in small.into_iter().chain(short) {
            args.extend(["--set", set]);
        }
        done(&args);
        assert!(out.join("model/model.safetensors").is_file(), "{name}");
    }
    let sizes = BASELINES.map(|name| {
        let said = done(&["inspect", name]);
        let line = said.lines().find_map(|line| line.strip_prefix("network: ")).unwrap();
        let digits = line.trim_end_matches(" parameters").replace(',', "");
        digits.parse::<usize>().unwrap()
    });
    let [least, most] = [sizes.iter().min(), sizes.iter().max()].map(|size| *size.unwrap());
    assert!(100 * least >= 95 * most, "{sizes:?}");
    assert!(done(&["data", "recipes", "baseline-uvit"]).contains("patch_convolution = true"));
}

#[test]
fn a_setting_repairs_a_value_of_a_recipe_file_that_is_out_of_range() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.toml");
    let text = done(&["data", "recipes", "glyphs"]);
    let broken = text.replace("\nclip = ", "\nclip = -");
    assert_ne!(broken, text);
    fs_err::write(&file, broken).unwrap();
    let file = file.to_str().unwrap();
    let said = refused(2, &["plan", file, "--flops", "1e10"]);
    assert!(said.contains("mine.toml") && said.contains("optimizer.clip"), "{said}");
    let said = refused(2, &["plan", file, "--flops", "1e10", "--set", "optimizer.lr=0.1"]);
    assert!(said.contains("optimizer.clip"), "{said}");
    done(&["plan", file, "--flops", "1e10", "--set", "optimizer.clip=1"]);
}

//! What a recipe may say: what is refused is named by its field.

use std::path::Path;

use mm_train::Recipe;

use crate::common::{TINY, tiny};

/// Checks that a change of the tiny recipe is refused, and that the message has these words.
fn check_refused(key: &str, value: &str, words: &str) {
    let said = tiny(&[]).with(key, value).err();
    let said = said.unwrap_or_else(|| panic!("{key} = {value} was taken")).to_string();
    assert!(said.contains(words), "{key} = {value}: {said}");
}

#[test]
fn a_factor_that_is_no_number_is_refused_by_name() {
    for value in ["inf", "nan", "-1.0"] {
        for key in ["loss.text", "loss.image", "optimizer.lr", "optimizer.weight_decay"] {
            check_refused(key, value, &format!("`{key}`"));
        }
        check_refused("optimizer.final_lr", value, "`optimizer.final_lr`");
        check_refused("optimizer.ema", value, "`optimizer.ema`");
        check_refused("optimizer.betas", &format!("[0.9, {value}]"), "`optimizer.betas`");
        check_refused("optimizer.points", &format!("[[{value}, 1.0]]"), "`optimizer.points`");
    }
    check_refused("optimizer.clip", "nan", "`optimizer.clip`");
    assert!(tiny(&[]).with("optimizer.clip", "inf").is_ok());
    for alpha in ["inf", "nan"] {
        check_refused("optimizer.lora.alpha", alpha, "`optimizer.lora.alpha`");
    }
    let adapts = tiny(&[("optimizer.lora.rank", "2")]);
    let said = adapts.with("optimizer.lora.alpha", "0").unwrap_err().to_string();
    assert!(said.contains("`optimizer.lora.alpha`"), "{said}");
    assert!(tiny(&[]).with("optimizer.lora.alpha", "0").is_ok()); // of no adapter
}

#[test]
fn a_recipe_that_learns_nothing_is_refused() {
    let said = tiny(&[("loss.text", "0")]).with("loss.image", "0").unwrap_err().to_string();
    assert!(said.contains("`loss.image`") && said.contains("where no text is a target"), "{said}");
    assert!(tiny(&[("loss.image", "0")]).with("loss.text", "2").is_ok());
}

#[test]
fn a_size_without_sense_is_refused_by_name() {
    for (key, value) in [
        ("vocab", "1000000000000"),
        ("image.width", "800000000"),
        ("image.height", "800000000"),
        ("run.batch", "1000000000"),
        ("run.pack_len", "1000000000000"),
        ("sample.count", "1000000000000"),
        ("sample.steps", "1000000000000"),
        ("model.patch_pos_embed", "1000000000000"),
        ("model.backbone.width", "1000000000000"),
        ("model.backbone.depth", "1000000000000"),
        ("optimizer.lora.rank", "1000000000000"),
        ("optimizer.lora.rank", "33"), // wider than the network
    ] {
        check_refused(key, value, &format!("`{key}`"));
    }
    let inner = "{ kind = 'gau', expansion = 1000000000000, key_size = 16, bias = true }";
    check_refused("model.backbone.block", inner, "`model.backbone.block`");
    let time = "{ kind = 'sinusoidal', channels = 1000000000000, scale = 1.0 }";
    check_refused("model.time", time, "`model.time`");
    assert!(tiny(&[]).with("optimizer.lora.rank", "32").is_ok());
}

#[test]
fn an_integer_that_toml_cannot_write_is_refused_by_name() {
    let mut recipe = tiny(&[]);
    recipe.seed = 1 << 63;
    let said = "`seed`: 9223372036854775808, wanted at most 9223372036854775807";
    assert_eq!(recipe.validate().unwrap_err().to_string(), said);
    assert_eq!(recipe.with("run.batch", "2").unwrap_err().to_string(), said);
    let text = TINY.replace("steps = 12", "steps = 18446744073709551615");
    let said = Recipe::from_toml(&text).unwrap_err().to_string();
    assert!(said.contains("steps = 18446744073709551615"), "{said}");
}

#[test]
fn values_that_want_each_other_come_in_either_order() {
    let (best, every) = (("run.best", "loss"), ("run.validate_every", "4"));
    let recipe = tiny(&[]);
    let both = recipe.with_all(&[best, every]).unwrap();
    assert_eq!(both, recipe.with_all(&[every, best]).unwrap());
    assert_eq!(both.run.validate_every, 4);
    let said = recipe.with_all(&[best]).unwrap_err().to_string();
    assert!(said.contains("`run.best`"), "{said}");
    let said = recipe.with_all(&[every, ("run.bset", "loss"), best]).unwrap_err().to_string();
    assert_eq!(said, "the recipe has no key `run.bset`, did you mean `run.best`?");
    let said = recipe.with_all(&[best, ("run.keep", "many"), every]).unwrap_err().to_string();
    assert!(said.starts_with("`run.keep`: "), "{said}");
}

#[test]
fn what_is_refused_is_said_with_what_was_found_and_what_was_wanted() {
    let check = |key: &str, value: &str, message: &str| {
        assert_eq!(tiny(&[]).with(key, value).unwrap_err().to_string(), message);
    };
    check("run.batch", "0", "`run.batch` is 0, wanted at least 1");
    check("optimizer.betas", "[0.9, 1]", "`optimizer.betas` is [0.9, 1.0], wanted 0 up to 1");
    check("mix.read", "[0.5, -0.25]", "`mix.read` is [0.5, -0.25], wanted 0 to 1000000");
    let best = "`run.best` is \"loss\", wanted none without `run.validate_every`";
    check("run.best", "loss", best);
    let vocab =
        "`vocab` is 300, wanted 0, or at least 389 for the special tokens and the 256 bytes";
    check("vocab", "300", vocab);
    let said = tiny(&[]).with("loss.image", "nan").unwrap_err().in_file(Path::new("my.toml"));
    assert_eq!(said.to_string(), "in `my.toml`: `loss.image` is nan, wanted 0 or more, finite");
    let mut recipe = tiny(&[]);
    recipe.optimizer.points = (0..999).map(|step| [f64::from(step), 2.0]).collect();
    assert!(recipe.validate().unwrap_err().to_string().len() < 300);
    assert_eq!(mm_text::Special::COUNT + 256, 389);
}

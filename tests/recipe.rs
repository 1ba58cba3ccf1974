//! What a recipe may say: what is refused is named by its field.

use crate::common::tiny;

/// Checks that a change of the tiny recipe is refused, and that the message has these words.
fn check_refused(key: &str, value: &str, words: &str) {
    let said = tiny(&[]).with(key, value).err();
    let said = said.unwrap_or_else(|| panic!("{key} = {value} was taken")).to_string();
    assert!(said.contains(words), "{key} = {value}: {said}");
}

#[test]
fn a_factor_that_is_no_number_is_refused_by_name() {
    for value in ["inf", "nan", "-1.0"] {
        for key in ["loss.text", "loss.image", "optimizer.rate", "optimizer.weight_decay"] {
            check_refused(key, value, &format!("`{key}`"));
        }
        check_refused("optimizer.final_rate", value, "`optimizer.final_rate`");
        check_refused("optimizer.ema", value, "`optimizer.ema`");
        check_refused("optimizer.betas", &format!("[0.9, {value}]"), "`optimizer.betas`");
        check_refused("optimizer.points", &format!("[[{value}, 1.0]]"), "`optimizer.points`");
    }
    check_refused("optimizer.clip", "nan", "`optimizer.clip`");
    assert!(tiny(&[]).with("optimizer.clip", "inf").is_ok());
    for alpha in ["0", "inf", "nan"] {
        check_refused("optimizer.lora.alpha", alpha, "`optimizer.lora.alpha`");
    }
}

#[test]
fn a_recipe_that_learns_nothing_is_refused() {
    let said = tiny(&[("loss.text", "0")]).with("loss.image", "0").unwrap_err().to_string();
    assert!(said.contains("`loss.image`") && said.contains("where no text is learnt"), "{said}");
    assert!(tiny(&[("loss.image", "0")]).with("loss.text", "2").is_ok());
}

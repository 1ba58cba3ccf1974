//! A model folder round-trips bit for bit; a wrong or truncated one is an error that names what is
//! wrong.

use std::path::Path;

use expect_test::{Expect, expect};
use mm_model::LoadedModel;
use mm_model::folder::{load_weights, save_weights};
use mm_model::parameters::weights_of;

use crate::common::{device, start};

fn saved() -> (tempfile::TempDir, LoadedModel) {
    let folder = tempfile::tempdir().unwrap();
    let model = start(&[]).averaged();
    model.save(folder.path()).unwrap();
    (folder, model)
}

#[test]
fn what_is_saved_is_loaded_bit_for_bit() {
    let (folder, model) = saved();
    let loaded = LoadedModel::load(folder.path(), &device()).unwrap();
    assert_eq!(loaded.config, model.config);
    assert_eq!(weights_of(&loaded.model), weights_of(&model.model));
    assert_eq!(
        loaded.tokenizer.encode("red K on yellow"),
        model.tokenizer.encode("red K on yellow")
    );
    assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 4, "no scratch file is left");
}

/// Spoils a saved folder and compares the error, with the folder's path cut away.
fn check_spoilt(spoil: impl FnOnce(&Path), expected: Expect) {
    let (folder, _) = saved();
    spoil(folder.path());
    let error = LoadedModel::load(folder.path(), &device()).unwrap_err().to_string();
    expected
        .assert_eq(&error.replace(&folder.path().display().to_string(), "M").replace('\\', "/"));
}

fn edit_config(folder: &Path, from: &str, to: &str) {
    let path = folder.join("config.json");
    let text = fs_err::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs_err::write(&path, text.replace(from, to)).unwrap();
}

#[test]
fn a_model_of_another_version_is_named() {
    let expected = expect!["`M/config.json`: format 9, wanted 2"];
    check_spoilt(|folder| edit_config(folder, "\"format\": 2", "\"format\": 9"), expected);
    // The folders of format 1 had no `generation_config.json` and named their format `mm-1`.
    let first = |folder: &Path| {
        edit_config(folder, "\"format\": 2", "\"format\": \"mm-1\"");
        fs_err::remove_file(folder.join("generation_config.json")).unwrap();
    };
    check_spoilt(first, expect!["`M/config.json`: format 1, wanted 2"]);
}

#[test]
fn an_unknown_key_of_the_config_is_named() {
    check_spoilt(
        |folder| edit_config(folder, "\"depth\"", "\"dept\""),
        expect![[
            r#"`M/config.json`: not a valid config.json file: unknown field `dept`, expected one of `width`, `depth`, `block`, `positions`, `rotary_base`, `norm_epsilon` at line 19 column 12"#
        ]],
    );
}

#[test]
fn another_shape_is_named_with_both_shapes() {
    check_spoilt(
        |folder| edit_config(folder, "\"feed_forward\": 64", "\"feed_forward\": 60"),
        expect![
            "`M/model.safetensors`: tensor `backbone.blocks.0.down_proj.weight` has shape [64, 32], the config asks for [60, 32]"
        ],
    );
}

#[test]
fn a_truncated_file_is_named() {
    let cut = |folder: &Path| {
        let path = folder.join("model.safetensors");
        let bytes = fs_err::read(&path).unwrap();
        fs_err::write(&path, &bytes[..bytes.len() - 9]).unwrap();
    };
    check_spoilt(
        cut,
        expect![
            "`M/model.safetensors`: not a valid safetensors file: its header tells of 241216 bytes in all, the file has 241207"
        ],
    );
    check_spoilt(
        |folder| fs_err::write(folder.join("model.safetensors"), b"").unwrap(),
        expect![
            "`M/model.safetensors`: not a valid safetensors file: it has 0 bytes, wanted 8 and more"
        ],
    );
}

#[test]
fn a_config_without_sense_is_held_to_the_file_of_weights_before_memory_is_taken() {
    let (folder, model) = saved();
    edit_config(folder.path(), "\"width\": 32", "\"width\": 1000000008");
    edit_config(folder.path(), "\"depth\": 2", "\"depth\": 1000000000");
    let said = LoadedModel::load(folder.path(), &device()).unwrap_err().to_string();
    let found = model.config.parameters();
    let wanted = format!("model.safetensors`: {found} numbers, the config asks for at least ");
    assert!(said.contains(&wanted), "{said}");
}

#[test]
fn a_broken_tokenizer_is_named_with_the_place_where_it_breaks() {
    check_spoilt(
        |folder| fs_err::write(folder.join("tokenizer.json"), "{\"a\": }").unwrap(),
        expect![
            "`M/tokenizer.json`: not a valid tokenizer.json file: cannot read the tokenizer as a `tokenizer.json`: expected value at line 1 column 7"
        ],
    );
}

#[test]
fn a_missing_and_an_unknown_tensor_are_named() {
    let (folder, model) = saved();
    let path = folder.path().join("model.safetensors");
    let mut weights = weights_of(&model.model);
    let weight = weights.remove("token_out.weight").unwrap();
    save_weights(&path, &weights).unwrap();
    let error = load_weights(&path, &model.model).unwrap_err().to_string();
    assert!(error.ends_with("tensor `token_out.weight` of shape [32, 416] is missing"), "{error}");
    weights.insert("token_in.weight".into(), weight);
    save_weights(&path, &weights).unwrap();
    let error = load_weights(&path, &model.model).unwrap_err().to_string();
    assert!(
        error.ends_with("tensor `token_in.weight` is unknown to this configuration"),
        "{error}"
    );
}

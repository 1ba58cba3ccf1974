//! Names and places of Fuyu's weights; the numbers are held to `transformers` in `tests/golden.rs`.

mod folders;
mod golden;

use std::path::{Path, PathBuf};

use super::*;
use crate::kinds;

/// Returns the folder of the golden files.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/fuyu")
}

fn imported() -> Imported {
    kinds::open(&Source::new(&folder()).unwrap()).unwrap()
}

/// Returns the name that a tensor of the Hub has in the library since 5.0, which goes on writing
/// the names of the Hub.
fn new_name(name: &str) -> String {
    if let Some(rest) = name.strip_prefix("language_model.model.") {
        return format!("model.language_model.{rest}");
    }
    match name.strip_prefix("language_model.") {
        Some(head) => head.to_owned(),
        None => format!("model.{name}"),
    }
}

#[test]
fn heads_are_parted_and_pairs_made_neighbors() {
    // Two heads of eight channels, of which four turn.
    let heads = Heads { width: 16, size: 8 };
    let turned: Vec<usize> = (0..8).map(|channel| heads.turned(channel)).collect();
    assert_eq!(turned, [0, 2, 1, 3, 4, 5, 6, 7]);
    let fused = |output: usize| heads.fused(output);
    assert_eq!([fused(0), fused(1), fused(8)], [0, 2, 24]); // queries of head 0 and 1
    assert_eq!([fused(16), fused(17), fused(24)], [8, 10, 32]); // keys
    assert_eq!([fused(32), fused(33), fused(40)], [16, 17, 40]); // values do not turn
    let mut all: Vec<usize> = (0..48).map(fused).collect();
    all.sort_unstable();
    assert_eq!(all, (0..48).collect::<Vec<_>>());
}

#[test]
fn sizes_stand_in_the_text_part_or_beside_it() {
    let path = Path::new("config.json");
    let flat = json!({ "hidden_size": 64, "num_attention_heads": 4, "rope_theta": 100.0 });
    let nested = json!({ "hidden_size": 9, "text_config": {
        "hidden_size": 64, "num_attention_heads": 4,
        "rope_parameters": { "rope_theta": 100.0, "partial_rotary_factor": 0.5, "rope_type": "default" } } });
    let [flat, nested] = [flat, nested].map(|raw| FuyuConfig::read(&raw, path).unwrap());
    assert_eq!(flat, nested);
    assert_eq!((flat.width, flat.heads, flat.depth, flat.vocab), (64, 4, 36, 262_144));
    let usual = FuyuConfig::read(&json!({}), path).unwrap();
    assert_eq!((usual.width, usual.patch, usual.rotary_base), (4096, 30, 25_000.0));
    assert!(usual.model().validate().is_ok());
}

#[test]
fn what_the_network_does_not_know_is_refused_by_name() {
    let check = |raw: Value, wanted: &str| {
        let why = FuyuConfig::read(&raw, Path::new("c.json")).unwrap_err();
        assert_eq!(why.to_string(), wanted);
    };
    check(json!({ "hidden_act": "gelu" }), "`c.json`: `hidden_act` is \"gelu\", wanted \"relu2\"");
    check(json!({ "qk_layernorm": false }), "`c.json`: `qk_layernorm` is false, wanted true");
    check(
        json!({ "hidden_size": 100 }),
        "`c.json`: `hidden_size` is 100, wanted a multiple of 256, four times the heads",
    );
    check(
        json!({ "partial_rotary_factor": 0.25 }),
        "`c.json`: `partial_rotary_factor` is 0.25, wanted 0.5",
    );
    check(
        json!({ "num_hidden_layers": 0 }),
        "`c.json`: `num_hidden_layers` is 0, wanted 1 to 16777216",
    );
    check(
        json!({ "text_config": { "rope_parameters": { "rope_type": "yarn" } } }),
        "`c.json`: `rope_parameters.rope_type` is \"yarn\", wanted `default`",
    );
}

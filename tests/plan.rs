//! What a plan says of a recipe is what a run of it holds.

use mm_train::plan;

use crate::common::{start, tiny};

#[test]
fn planned_parameters_are_those_of_the_model() {
    let gau =
        ("model.backbone.block", "{ kind = 'gau', expansion = 2, key_size = 16, bias = true }");
    for changes in [
        vec![],
        vec![gau],
        vec![("model.patch_bias", "false"), ("model.patch_places", "0"), ("vocab", "400")],
        vec![
            ("model.schedule", "{ kind = 'seed', steps = 50 }"),
            ("model.time", "{ kind = 'table', steps = 50 }"),
        ],
    ] {
        let found = plan(&tiny(&changes), 1).unwrap();
        assert_eq!(found.parameters, start(&changes).parameters(), "{changes:?}");
        assert_eq!(found.trained, found.parameters);
    }
    let adapters = [("optimizer.lora.rank", "3")];
    let found = plan(&tiny(&adapters), 1).unwrap();
    assert_eq!(found.parameters + found.trained, start(&adapters).parameters());
}

#[test]
fn options_that_save_memory_save_it_where_they_say() {
    let bytes = |changes: &[(&str, &str)], devices| plan(&tiny(changes), devices).unwrap().bytes;
    let plain = bytes(&[], 1);
    let recomputed = bytes(&[("run.recompute", "true")], 1);
    assert!(recomputed.activations < plain.activations);
    let turns = bytes(&[("run.accumulate", "2")], 1);
    assert!(turns.activations * 1.99 < plain.activations + 1.0);
    assert!(turns.gradients > plain.gradients);
    let shared = bytes(&[], 2);
    assert!(shared.activations < plain.activations && shared.weights == plain.weights);
    assert!(bytes(&[("optimizer.emas", "[0.5]")], 1).averages == 2.0 * plain.averages);
}

#[test]
fn a_small_run_is_mostly_its_process_and_a_large_one_its_numbers() {
    let bytes = |changes: &[(&str, &str)]| plan(&tiny(changes), 1).unwrap().bytes;
    let (one, two) = (bytes(&[("run.shards", "1")]), bytes(&[("run.shards", "2")]));
    assert!(one.process > 0.5 * one.total());
    assert!(two.process > one.process && two.gradients == 2.0 * one.gradients);
    let [deep, deeper] = ["10000", "20000"].map(|depth| bytes(&[("model.backbone.depth", depth)]));
    assert!(deep.process + deep.freed < 0.1 * deep.total());
    assert_eq!([deeper.process, deeper.freed], [deep.process, deep.freed]);
}

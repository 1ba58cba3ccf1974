//! What a plan says of a recipe is what a run of it holds.

use mm_model::parameters::weights_of;
use mm_train::{Costs, Recipe, RunFolder, TrainError, Training, plan, train};

use crate::common::{device, start, tiny};

#[test]
fn planned_parameters_are_those_of_the_model() {
    let gau =
        ("model.backbone.block", "{ kind = 'gau', expansion = 2, key_size = 16, bias = true }");
    for changes in [
        vec![],
        vec![gau],
        vec![("model.patch_bias", "false"), ("model.patch_pos_embed", "0"), ("vocab", "400")],
        vec![
            ("model.schedule", "{ kind = 'su2024', steps = 50 }"),
            ("model.time", "{ kind = 'table', steps = 50 }"),
        ],
    ] {
        let found = plan(&tiny(&changes), 1).unwrap();
        assert_eq!(found.parameters, start(&changes).parameters(), "{changes:?}");
        assert_eq!(found.trained, found.parameters);
    }
}

#[test]
fn planned_adapters_are_those_of_every_kind_of_block() {
    let multi_head = "heads = 4, key_heads = 2, feed_forward = 48 }";
    let blocks = ["plain", "uvit", "dit"]
        .map(|variant| format!("{{ kind = 'multi-head', variant = '{variant}', {multi_head}"));
    let gau = "{ kind = 'gau', expansion = 2, key_size = 16, bias = true }".to_owned();
    for block in blocks.iter().chain([&gau]) {
        let adapters = [
            ("model.backbone.depth", "3"),
            ("model.backbone.block", block.as_str()),
            ("optimizer.lora.rank", "3"),
        ];
        let found = plan(&tiny(&adapters), 1).unwrap();
        assert_eq!(found.parameters + found.trained, start(&adapters).parameters(), "{block}");
    }
}

#[test]
fn what_is_frozen_is_planned_with_gradients_and_without_a_state() {
    let frozen = [("optimizer.freeze", "['blocks.0', 'token_embed']")];
    let (plain, found) = (plan(&tiny(&[]), 1).unwrap(), plan(&tiny(&frozen), 1).unwrap());
    let weights = weights_of(&start(&frozen).averaged().model);
    let trained = |name: &str| !name.contains("blocks.0.") && name != "token_embed";
    let trained = weights.iter().filter(|(name, _)| trained(name));
    assert_eq!(found.trained, trained.map(|(_, weight)| weight.values.len()).sum::<usize>());
    assert_eq!(found.parameters, plain.parameters);
    assert_eq!(found.bytes.gradients, plain.bytes.gradients);
    assert_eq!(found.bytes.optimizer, 8.0 * found.trained as f64);
    let said = plan(&tiny(&[("optimizer.freeze", "['nothing']")]), 1).unwrap_err().to_string();
    assert!(said.contains("`nothing` names no parameter"), "{said}");
}

#[test]
fn a_large_batch_in_many_parts_works_with_the_memory_of_a_small_one_in_few() {
    let memory = |batch: &str, accumulate: &str| {
        let changes = [
            ("run.batch", batch),
            ("run.grad_accum_steps", accumulate),
            ("run.micro_batches", "2"),
        ];
        let bytes = plan(&tiny(&changes), 1).unwrap().bytes;
        bytes.activations + bytes.work + bytes.spare
    };
    let (few, many) = (memory("64", "16"), memory("8192", "2048")); // two documents a part
    assert!((many / few - 1.0).abs() < 0.2, "{few} and {many}");
}

#[test]
fn the_fewest_devices_with_enough_memory_are_found() {
    let costs = Costs::of(&tiny(&[("run.batch", "64"), ("model.backbone.depth", "8")])).unwrap();
    let held = |devices| costs.on(devices).bytes.total();
    for devices in [1, 2, 3, 10, 64] {
        let found = costs.devices_of(held(devices)).unwrap();
        assert!(held(found) <= held(devices), "{found} for {devices}");
        assert!(found == 1 || held(found - 1) > held(devices), "{found} for {devices}");
    }
    assert_eq!(costs.devices_of(0.9 * held(64)), None);
}

#[test]
fn options_that_save_memory_save_it_where_they_say() {
    let bytes = |changes: &[(&str, &str)], devices| plan(&tiny(changes), devices).unwrap().bytes;
    let plain = bytes(&[], 1);
    let recomputed = bytes(&[("run.activation_checkpointing", "true")], 1);
    assert!(recomputed.activations < plain.activations);
    let turns = bytes(&[("run.grad_accum_steps", "2")], 1);
    assert!(turns.activations * 1.99 < plain.activations + 1.0);
    assert!(turns.gradients > plain.gradients);
    let shared = bytes(&[], 2);
    assert!(shared.activations < plain.activations && shared.weights == plain.weights);
    assert!(bytes(&[("optimizer.emas", "[0.5]")], 1).averages == 2.0 * plain.averages);
}

#[test]
fn a_small_run_is_mostly_its_process_and_a_large_one_its_numbers() {
    let bytes = |changes: &[(&str, &str)]| plan(&tiny(changes), 1).unwrap().bytes;
    let (one, two) = (bytes(&[("run.micro_batches", "1")]), bytes(&[("run.micro_batches", "2")]));
    assert!(one.process > 0.5 * one.total());
    assert!(two.process > one.process && two.gradients == 2.0 * one.gradients);
    let [deep, deeper] = ["10000", "20000"].map(|depth| bytes(&[("model.backbone.depth", depth)]));
    assert!(deep.process + deep.freed < 0.1 * deep.total());
    assert_eq!([deeper.process, deeper.freed], [deep.process, deep.freed]);
}

#[test]
fn a_plan_of_images_of_one_size_needs_no_image_file() {
    let text = include_str!("../crates/mm-cli/recipes/su2024-128.toml"); // its folder is not there
    let recipe = Recipe::from_toml(text).unwrap();
    let load = plan(&recipe, 1).unwrap().load;
    let patches = 64.0 * 256.0;
    assert_eq!([load.padded_tokens, load.tokens, load.patches, load.target_patches], [patches; 4]);
    assert_eq!([load.images, load.target_tokens, load.pairs], [64.0, 0.0, patches * 256.0]);
    let aspect = recipe.with("data.fit", "aspect").unwrap();
    assert!(matches!(plan(&aspect, 1), Err(TrainError::Data(_))));
}

#[test]
fn a_large_batch_is_planned_from_a_part_of_it() {
    let load = |batch: &str| plan(&tiny(&[("run.batch", batch)]), 1).unwrap().load;
    let (part, whole) = (load("256"), load("16777216"));
    assert_eq!(whole.images, 65536.0 * part.images);
    assert_eq!(whole.padded_tokens, 65536.0 * part.padded_tokens);
    let wide = [("model.backbone.width", "4000000"), ("run.batch", "16777216")];
    let bytes = plan(&tiny(&wide), 1).unwrap().bytes;
    assert!(bytes.total().is_finite() && bytes.activations > 1e15);
}

#[test]
fn a_run_that_no_machine_has_the_memory_for_is_refused_before_its_first_step() {
    if !cfg!(target_os = "linux") || !mm_kernels::has_fused_blocks(&device()) {
        return; // where the system does not tell, or the device has memory of its own
    }
    let folder = tempfile::tempdir().unwrap();
    let mut large = start(&[("run.batch", "16000000"), ("model.backbone.depth", "30")]);
    let folder = RunFolder::create(&folder.path().join("run"), &large.recipe).unwrap();
    let said = train(&mut large, &folder, &mut |_| true).unwrap_err();
    assert!(matches!(said, TrainError::NoRoom { batch: 16_000_000, .. }), "{said}");
    let width = [("model.backbone.width", "4000000")];
    let said = Training::start(tiny(&width), &device()).err().unwrap().to_string();
    assert!(said.starts_with("the weights and their averages take about "), "{said}");
}

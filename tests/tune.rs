//! Starting from a model, freezing, adapters, several averages; turns and recomputation change no
//! bit.

use mm_model::LoadedModel;
use mm_model::parameters::{Weights, weights_of};
use mm_train::batch::Batches;
use mm_train::{RunFolder, Training, train};

use crate::common::{device, start, tiny};

fn averaged(training: &Training) -> Weights {
    weights_of(&training.averaged().model)
}

/// The averaged weights after some steps.
fn after(mut training: Training, steps: u64) -> Weights {
    let (recipe, data) = (training.recipe.clone(), training.data.clone());
    let tokenizer = training.tokenizer.clone();
    let mut batches = Batches::new(&recipe, &data, &tokenizer);
    for step in 0..steps {
        training.step(&batches.batch(step).unwrap()).unwrap();
    }
    averaged(&training)
}

fn check_same(one: &[(&str, &str)], other: &[(&str, &str)]) {
    let (one, other) = (after(start(one), 3), after(start(other), 3));
    assert!(one == other, "some weight differs");
}

#[test]
fn documents_computed_in_turns_give_the_bits_of_documents_computed_at_once() {
    let at_once = [("run.micro_batches", "6")];
    check_same(&[("run.micro_batches", "2"), ("run.grad_accum_steps", "3")], &at_once);
    check_same(&[("run.micro_batches", "1"), ("run.grad_accum_steps", "6")], &at_once);
}

#[test]
fn blocks_computed_again_give_the_bits_of_blocks_that_were_kept() {
    if std::env::var_os("BURN_DEVICE").is_some() {
        return; // two runs there need not have the same bits
    }
    check_same(&[("run.activation_checkpointing", "true")], &[]);
    let gau =
        ("model.backbone.block", "{ kind = 'gau', expansion = 2, key_size = 16, bias = true }");
    check_same(&[gau, ("run.activation_checkpointing", "true")], &[gau]);
}

#[test]
fn a_frozen_parameter_stays_and_the_others_learn() {
    let frozen = [("optimizer.freeze", "['patch_in', 'blocks.0']")];
    let (before, after) = (averaged(&start(&frozen)), after(start(&frozen), 3));
    for (name, weight) in &before {
        let stays = name.starts_with("patch_in") || name.contains("blocks.0");
        assert_eq!(after[name] == *weight, stays, "{name}");
    }
}

#[test]
fn a_name_that_freezes_nothing_or_everything_is_refused() {
    let refused = |names: &str| {
        let recipe = tiny(&[("optimizer.freeze", names)]);
        Training::start(recipe, &device()).err().unwrap().to_string()
    };
    let said = refused("['patch_inn']");
    assert!(said.contains("`optimizer.freeze`: `patch_inn` names no parameter"), "{said}");
    assert!(said.contains("patch_in, ") && said.contains("backbone.blocks.0."), "{said}");
    let all = "['token_embed', 'patch_in', 'patch_pos_embed', 'time', 'backbone', 'token_out', 'patch_out']";
    assert!(refused(all).contains("it names every parameter that is trained"));
}

#[test]
fn adapters_that_are_frozen_leave_nothing_to_train() {
    let frozen = [("model.backbone.depth", "1"), ("optimizer.freeze", "['blocks.0']")];
    start(&frozen);
    let recipe = tiny(&frozen).with("optimizer.lora.rank", "2").unwrap();
    let said = Training::start(recipe, &device()).err().unwrap().to_string();
    assert!(said.contains("it names every parameter that is trained"), "{said}");
}

/// A model folder of a tiny run.
fn model(folder: &std::path::Path) -> LoadedModel {
    let path = folder.join("model");
    start(&[("seed", "8")]).averaged().save(&path).unwrap();
    LoadedModel::load(&path, &device()).unwrap()
}

#[test]
fn a_run_starts_at_the_model_that_it_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    for changes in [vec![], vec![("optimizer.lora.rank", "2")]] {
        let training = Training::from_model(tiny(&changes), &model, &device()).unwrap();
        assert!(averaged(&training) == weights_of(&model.model), "{changes:?}");
        assert_eq!(training.tokenizer.to_json(), model.tokenizer.to_json());
    }
}

#[test]
fn a_model_of_another_kind_is_refused_by_its_first_difference() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let other = tiny(&[("model.backbone.depth", "3")]);
    assert_eq!(
        Training::from_model(other, &model, &device()).err().unwrap().to_string(),
        "the model does not fit the recipe: `backbone.depth` is 2 in the model, 3 in the recipe"
    );
}

#[test]
fn adapters_change_the_blocks_matrices_and_nothing_else() {
    let adapters = [("optimizer.lora.rank", "2"), ("optimizer.lora.alpha", "4.0")];
    let training = start(&adapters);
    assert!(training.parameters() > start(&[]).parameters());
    let (before, after) = (averaged(&training), after(training, 3));
    assert_eq!(before.len(), after.len());
    for (name, weight) in &before {
        let adapted = name.contains("blocks") && name.ends_with("weight");
        assert_eq!(after[name] != *weight, adapted, "{name}");
    }
}

#[test]
fn averages_and_adapters_are_resumed_with_the_same_bits() {
    let changes = [
        ("optimizer.emas", "[0.1, 0.2]"),
        ("optimizer.lora.rank", "2"),
        ("optimizer.freeze", "['blocks.0']"), // of which the adapters alone would be trained
        ("run.steps", "6"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &str| RunFolder::create(&folder.path().join(name), &tiny(&changes)).unwrap();
    let (whole, cut) = (open("whole"), open("cut"));
    train(&mut start(&changes), &whole, &mut |_| true).unwrap();
    let mut steps = 0;
    let stop = &mut |happening: mm_train::TrainEvent<'_>| {
        steps += u32::from(matches!(happening, mm_train::TrainEvent::Step { .. }));
        steps < 3
    };
    train(&mut start(&changes), &cut, stop).unwrap();
    let (mut resumed, skipped) = cut.resume(tiny(&changes), &device()).unwrap();
    assert!(skipped.is_empty() && resumed.progress.step == 3, "{skipped:?}");
    train(&mut resumed, &cut, &mut |_| true).unwrap();
    let bytes = |run: &RunFolder, name: &str| fs_err::read(run.path().join(name)).unwrap();
    let mut seen = vec![];
    for name in ["model", "model-ema-0.1", "model-ema-0.2"] {
        let name = format!("{name}/model.safetensors");
        assert!(bytes(&whole, &name) == bytes(&cut, &name), "{name}");
        assert!(!seen.contains(&bytes(&whole, &name)), "{name} is an average of its own");
        seen.push(bytes(&whole, &name));
    }
}

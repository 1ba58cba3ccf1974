//! Freezing and adapters of every published network that is trained here: what is frozen keeps its
//! bits, and adapters change the matrices of blocks alone.

use mm_diffusion::LossWeight;
use mm_model::parameters::{Weights, weights_of};
use mm_model::{HostBatch, LoadedModel};
use mm_train::{Recipe, Training};

use crate::common::device;
use crate::imported::{
    Asked, Noised, batch, fuyu, fuyu_image, fuyu_recipe, jit, questions, recipe_for, uvit,
};

/// A network, the recipe that trains it, and a batch.
struct Tuned {
    name: &'static str,
    model: LoadedModel,
    recipe: Recipe,
    batch: HostBatch,
    /// The parameters of every block that are matrices.
    matrices: &'static [&'static str],
    /// What to freeze, by parts of paths.
    frozen: [&'static str; 2],
}

/// Numbers that look drawn.
fn waves(count: usize, speed: f32) -> Vec<f32> {
    (0..count).map(|at| (at as f32 * speed).sin()).collect()
}

/// A network that draws, and a batch of two images.
fn drawing(
    name: &'static str,
    model: LoadedModel,
    weight: LossWeight,
    timesteps: [f64; 2],
    matrices: &'static [&'static str],
    frozen: [&'static str; 2],
) -> Tuned {
    let (width, height) = (model.generation.width, model.generation.height);
    let factor = model.config.network.vit().unwrap().factor();
    let count = width / factor * (height / factor) * model.config.network.channels();
    let (images, noise) = (waves(2 * count, 0.7), waves(2 * count, 3.1));
    let noised = |at: usize| Noised {
        clean: &images[at * count..(at + 1) * count],
        noise: &noise[at * count..(at + 1) * count],
        level: model.config.schedule.level(timesteps[at]),
        class: Some(at as u32 + 1),
    };
    let batch = batch(&model.config, &weight, &[noised(0), noised(1)]);
    let recipe = recipe_for(&model, weight, &[]);
    Tuned { name, model, recipe, batch, matrices, frozen }
}

fn all() -> Vec<Tuned> {
    let fuyu = fuyu();
    let image = &fuyu_image();
    let asked = ["a cat", "a mat on a mat"].map(|answer| Asked { image, answer });
    let (recipe, batch) = (fuyu_recipe(&fuyu, &[]), questions(&fuyu, &asked));
    let plain = &["qkv_proj.weight", "out_proj.weight", "up_proj.weight", "down_proj.weight"];
    let persimmon =
        &["qkv_proj.weight", "out_proj.weight", "gate_up_proj.weight", "down_proj.weight"];
    let modulated = &[
        "qkv_proj.weight",
        "out_proj.weight",
        "up_proj.weight",
        "down_proj.weight",
        "modulation.proj.weight",
    ];
    vec![
        drawing(
            "jit",
            jit(),
            LossWeight::Velocity { min_noise: 0.05 },
            [0.3, 0.8],
            modulated,
            ["patch_in", "blocks.1"],
        ),
        drawing("uvit", uvit(), LossWeight::One, [200.0, 800.0], plain, ["pos_embed", "blocks.2"]),
        Tuned {
            name: "fuyu",
            model: fuyu,
            recipe,
            batch,
            matrices: persimmon,
            frozen: ["token_embed", "blocks.0"],
        },
    ]
}

/// The weights before and after two steps, without averages, adapters apart.
fn steps(tuned: &Tuned, changes: &[(&str, &str)]) -> [Weights; 2] {
    let recipe = tuned.recipe.clone().with_all(changes).unwrap();
    let mut training = Training::from_model(recipe, &tuned.model, &device()).unwrap();
    let before = weights_of(&training.raw().model);
    for _ in 0..2 {
        let report = training.step(std::slice::from_ref(&tuned.batch)).unwrap();
        assert!(!report.skipped && report.loss.is_finite(), "{}: {report:?}", tuned.name);
    }
    [before, weights_of(&training.raw().model)]
}

/// Whether a path holds one of some names as whole parts.
fn holds(path: &str, names: &[&str]) -> bool {
    names.iter().any(|name| format!(".{path}.").contains(&format!(".{name}.")))
}

#[test]
fn what_is_frozen_of_an_imported_network_keeps_its_bits_and_the_rest_learns() {
    for tuned in all() {
        let [one, other] = tuned.frozen;
        let names = format!("['{one}', '{other}']");
        let [before, after] = steps(&tuned, &[("optimizer.freeze", &names)]);
        assert!(before.keys().any(|path| holds(path, &[one])), "{}: {one}", tuned.name);
        assert!(before.keys().any(|path| holds(path, &[other])), "{}: {other}", tuned.name);
        for (path, weight) in &before {
            let stays = after[path] == *weight;
            assert_eq!(stays, holds(path, &tuned.frozen), "{}: {path}", tuned.name);
        }
    }
}

#[test]
fn adapters_of_an_imported_network_leave_every_published_weight_as_it_is() {
    for tuned in all() {
        let adapters = [("optimizer.lora.rank", "2"), ("optimizer.lora.alpha", "4.0")];
        let [before, after] = steps(&tuned, &adapters);
        let mut adapted = 0;
        for (path, weight) in &before {
            let stays = after[path] == *weight;
            match path.split_once(".lora.") {
                None => assert!(stays, "{}: {path} changed", tuned.name),
                Some((matrix, _)) => {
                    assert!(!stays, "{}: {path} learned nothing", tuned.name);
                    let of_block = tuned.matrices.iter().any(|name| matrix.ends_with(name));
                    assert!(of_block && matrix.contains("blocks."), "{}: {path}", tuned.name);
                    adapted += 1;
                }
            }
        }
        let is_matrix = |path: &&String| {
            path.contains("blocks.") && tuned.matrices.iter().any(|name| path.ends_with(name))
        };
        let wanted = 2 * before.keys().filter(is_matrix).count();
        assert_eq!(adapted, wanted, "{}: two factors for each matrix", tuned.name);
    }
}

#[test]
fn adapters_of_an_imported_network_are_written_as_part_of_its_matrices() {
    for tuned in all() {
        let adapters = [("optimizer.lora.rank", "2"), ("optimizer.lora.alpha", "4.0")];
        let recipe = tuned.recipe.clone().with_all(&adapters).unwrap();
        let mut training = Training::from_model(recipe, &tuned.model, &device()).unwrap();
        training.step(std::slice::from_ref(&tuned.batch)).unwrap();
        training.step(std::slice::from_ref(&tuned.batch)).unwrap();
        let (before, after) =
            (weights_of(&tuned.model.model), weights_of(&training.averaged().model));
        assert!(before.keys().eq(after.keys()), "{}: no weight more or less", tuned.name);
        for (path, weight) in &before {
            let of_block =
                path.contains("blocks.") && tuned.matrices.iter().any(|name| path.ends_with(name));
            assert_eq!(after[path] != *weight, of_block, "{}: {path}", tuned.name);
        }
    }
}

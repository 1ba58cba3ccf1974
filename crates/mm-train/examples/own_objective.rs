//! This example trains with a loss of one's own: the absolute error of patches, which forgives
//! single wrong pixels more than the squared error, beside a small penalty on large outputs.
//!
//! `cargo run --release -p mm-train --example own_objective`

use std::sync::Arc;

use burn::prelude::*;
use mm_diffusion::Prediction;
use mm_model::{Batch, HostBatch, LossTerm, Losses, Model, Reduction};
use mm_train::batch::Batches;
use mm_train::{Objective, Recipe, TermConfig, Training, evaluate_held_out};

const STEPS: usize = 40;

/// Minimizes `|output - target|`, and the mean square of the output with a small weight.
#[derive(Debug)]
struct AbsoluteError {
    prediction: Prediction,
}

impl Objective for AbsoluteError {
    fn terms(&self) -> Vec<TermConfig> {
        let term = |name, weight| TermConfig { name, weight, reduction: Reduction::Mean };
        vec![term("absolute", 1.0), term("size", 1e-3)]
    }

    fn counts(&self, batch: &HostBatch) -> Vec<usize> {
        let [_text, patches] = batch.target_counts();
        vec![patches, patches]
    }

    fn losses(&self, model: &Model, batch: &Batch) -> Losses {
        let Some(target) = &batch.targets.image else { return Losses::default() };
        let hidden = model.hidden(&batch.inputs).select(0, target.tokens.clone());
        let output = model.patches(hidden, &target.grids).unsqueeze::<3>();
        let (clean, eps) = (target.clean.clone().unsqueeze(), target.eps.clone().unsqueeze());
        let wanted = self.prediction.target(clean, eps); // [1, patches, patch_dim]
        let count = wanted.dims()[1];
        let term = |name, value| LossTerm { name, value, count };
        Losses {
            list: vec![
                term("absolute", (output.clone() - wanted).abs().mean()),
                term("size", output.square().mean()),
            ],
            patch_errors: None,
        }
    }
}

fn main() {
    let recipe = Recipe::from_toml(include_str!("../../mm-cli/recipes/glyphs.toml"))
        .and_then(|recipe| {
            recipe.with_all(&[
                ("image.width", "16"),
                ("image.height", "16"),
                ("model.backbone.depth", "1"),
                ("mix.read", "[0.0, 0.0]"), // documents that only draw
                ("run.batch", "8"),
                ("optimizer.warmup_steps", "5"),
            ])
        })
        .expect("a valid recipe");
    let objective = AbsoluteError { prediction: recipe.model.prediction };
    let training = Training::start(recipe.clone(), &Device::flex()).expect("glyphs need no files");
    let mut training = training.with_objective(Arc::new(objective));

    let (data, tokenizer) = (training.data.clone(), training.tokenizer.clone());
    let batch = Batches::new(&recipe, &data, &tokenizer).batch(0).expect("a batch");
    let mut losses = vec![];
    for _ in 0..STEPS {
        let report = training.step(&batch).expect("a step");
        assert!(report.loss.is_finite());
        losses.push(report.losses.get("absolute").expect("patches to learn"));
    }
    let (first, last) = (losses[0], losses[STEPS - 1]);
    println!("absolute error {first:.4} -> {last:.4} in {STEPS} steps");
    assert!(last < first, "the loss falls");

    // The same terms on documents that were held out.
    let held_out = evaluate_held_out(&training).expect("glyphs are held out");
    let [absolute, size] = ["absolute", "size"].map(|name| held_out.own[name]);
    println!("held out: absolute error {absolute:.4}");
    assert!((held_out.loss - (absolute + 1e-3 * size)).abs() < 1e-9 && absolute < first);
}

#[test]
fn the_example_runs() {
    main();
}

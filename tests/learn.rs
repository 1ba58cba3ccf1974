//! Learning: the loss falls, a small set is learned by heart, bad steps are skipped.

use mm_data::DataSet;
use mm_model::{Document, Segment};
use mm_patch::{Grid, Image};
use mm_train::batch::{Batches, collator};

use crate::common::{BLOCKS, device, start, tiny};

/// Trains on the batches of the first `distinct` steps over and over.
fn fit(changes: &[(&str, &str)], distinct: u64, steps: u64) -> (mm_train::Training, Vec<f64>) {
    let mut training = start(changes);
    let recipe = training.recipe.clone();
    let data = DataSet::open(&recipe.data, recipe.image).unwrap();
    let tokenizer = training.tokenizer.clone();
    let mut batches = Batches::new(&recipe, &data, &tokenizer);
    let fixed: Vec<_> = (0..distinct).map(|step| batches.batch(step).unwrap()).collect();
    let losses = (0..steps)
        .map(|step| training.step(&fixed[(step % distinct) as usize]).unwrap().loss)
        .collect();
    (training, losses)
}

#[test]
fn both_kinds_of_block_learn_one_batch_by_heart() {
    for block in BLOCKS {
        let changes =
            [("model.backbone.block", block), ("run.steps", "60"), ("optimizer.lr", "0.01")];
        let (_, losses) = fit(&changes, 1, 60);
        let (first, last) = (losses[0], losses[59]);
        assert!(last < 0.35 * first, "{block}: {first} -> {last}");
    }
}

#[test]
fn two_colors_are_read_and_drawn_after_a_short_training() {
    let recipe = tiny(&[
        ("run.steps", "300"),
        ("optimizer.lr", "0.004"),
        ("loss.timesteps.mean", "-1"),
        ("run.batch", "4"),
        ("optimizer.ema", "0.9"),
        ("sample.guidance.scale", "1"),
    ]);
    let mut training = mm_train::Training::start(recipe.clone(), &device()).unwrap();
    let colors = [("red", [220, 30, 30]), ("blue", [30, 60, 220])];
    let image = |rgb| Image::filled(16, 16, rgb);
    let documents: Vec<Document> = colors
        .iter()
        .flat_map(|(name, rgb)| {
            let draw = vec![Segment::context_text(*name), Segment::target_image(image(*rgb))];
            let read = vec![Segment::context_image(image(*rgb)), Segment::target_text(*name)];
            [Document { segments: draw }, Document { segments: read }]
        })
        .collect();
    for step in 0..300 {
        let batch = collator(&recipe, &training.config, &training.tokenizer, None)
            .batch(documents.clone().into_iter().zip(0..), step)
            .unwrap();
        training.step(&[batch]).unwrap();
    }
    let model = training.averaged();
    let options = model.options(1);
    let grid = Grid::new(2, 2, 8);
    for (name, rgb) in colors {
        assert_eq!(model.read(&[Document::of_image(image(rgb))], &options).unwrap(), [name]);
        let drawn = model.draw(&[Document::of_text(name)], grid, &options).unwrap().remove(0);
        let found = drawn.pixel(8, 8);
        let distance: i32 = (0..3).map(|c| (i32::from(found[c]) - i32::from(rgb[c])).abs()).sum();
        assert!(distance < 120, "{name}: drew {found:?}, wanted {rgb:?}");
    }
}

#[test]
fn a_step_without_a_finite_loss_changes_nothing_and_ten_in_a_row_are_an_error() {
    let mut training = start(&[("loss.image", "1e300")]);
    let recipe = training.recipe.clone();
    let data = DataSet::open(&recipe.data, recipe.image).unwrap();
    let tokenizer = training.tokenizer.clone();
    let mut batches = Batches::new(&recipe, &data, &tokenizer);
    let before = mm_model::parameters::weights_of(&training.averaged().model);
    for step in 0..9 {
        assert!(training.step(&batches.batch(step).unwrap()).unwrap().skipped);
    }
    let error = training.step(&batches.batch(9).unwrap()).unwrap_err().to_string();
    assert_eq!(
        error,
        "10 steps in a row had a loss or gradient that is not finite, the last at step 10"
    );
    assert_eq!(mm_model::parameters::weights_of(&training.averaged().model), before);
    assert_eq!(training.progress.skipped, 10);
}

//! Images alone, as in Su's article: no token anywhere, the summed squared error, and a run that
//! resumes as any other.

use burn::prelude::*;
use mm_diffusion::{Sampler, Schedule};
use mm_model::{Document, SamplingMethod, SamplingPlan, Segment};
use mm_patch::{Grid, Image};
use mm_train::batch::Batches;
use mm_train::{Ending, Recipe, RunFolder, Training, train};

use crate::common::{device, tiny};

/// The tiny recipe with the laws of Su's script.
fn image_only(changes: &[(&str, &str)]) -> Recipe {
    let seed =
        Recipe::from_toml(include_str!("../crates/mm-cli/recipes/su2024-mini.toml")).unwrap();
    let small = [
        ("image.width", "16"),
        ("image.height", "16"),
        ("model.backbone.width", "32"),
        ("model.backbone.depth", "1"),
        ("model.backbone.block", "{ kind = \"gau\", expansion = 2, key_size = 16, bias = true }"),
        ("run.batch", "6"),
        ("run.steps", "12"),
        ("optimizer.points", "[[2.0, 1.0]]"),
    ];
    let all = small.iter().chain(changes);
    all.fold(seed, |recipe, (key, value)| recipe.with(key, value).unwrap())
}

/// Loss and gradient's norm of the first step.
fn first_step(recipe: Recipe) -> (f64, f64) {
    let mut training = Training::start(recipe, &device()).unwrap();
    let (data, tokenizer) = (training.data.clone(), training.tokenizer.clone());
    let recipe = training.recipe.clone();
    let batch = Batches::new(&recipe, &data, &tokenizer).batch(0).unwrap();
    let report = training.step(&batch).unwrap();
    assert_eq!((report.losses.get("text"), report.tokens, report.images), (None, 6 * 4, 6));
    (report.loss, report.gradient)
}

#[test]
fn the_summed_loss_is_the_mean_times_the_numbers_of_an_image_whatever_the_shards() {
    let (mean, gradient) = first_step(image_only(&[("loss.reduction", "mean")]));
    for shards in ["1", "2", "4"] {
        let (sum, summed) = first_step(image_only(&[("run.micro_batches", shards)]));
        let numbers = 16.0 * 16.0 * 3.0;
        assert!((sum / mean / numbers - 1.0).abs() < 1e-5, "{shards} shards: {sum} and {mean}");
        assert!((summed / gradient / numbers - 1.0).abs() < 1e-4, "{summed} and {gradient}");
    }
}

#[test]
fn the_summed_loss_of_a_network_that_predicts_nothing_is_about_the_numbers_of_an_image() {
    // The noise has unit variance, and a fresh network's estimate is small beside it only on
    // average: of the same size.
    let (sum, _) = first_step(image_only(&[]));
    assert!((768.0..4.0 * 768.0).contains(&sum), "{sum}");
}

#[test]
fn the_loss_of_images_alone_falls() {
    let recipe = image_only(&[
        ("run.steps", "60"),
        ("optimizer.points", "[[10.0, 1.0]]"),
        ("optimizer.lr", "3e-2"),
    ]);
    let mut training = Training::start(recipe.clone(), &device()).unwrap();
    let (data, tokenizer) = (training.data.clone(), training.tokenizer.clone());
    let mut batches = Batches::new(&recipe, &data, &tokenizer);
    let losses: Vec<f64> =
        (0..60).map(|step| training.step(&batches.batch(step).unwrap()).unwrap().loss).collect();
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    assert!(mean(&losses[50..]) < 0.9 * mean(&losses[..10]), "{losses:?}");
    assert_ne!(
        mm_model::parameters::weights_of(&training.raw().model),
        mm_model::parameters::weights_of(&training.averaged().model)
    );
}

#[test]
fn an_image_is_drawn_the_same_alone_and_among_others_and_by_draw() {
    // On flex, where a sum does not depend on what is computed beside it.
    let training = Training::start(image_only(&[]), &Device::flex()).unwrap();
    let model = training.averaged();
    let grid = Grid::new(2, 2, 8);
    let levels = Schedule::Su2024 { steps: 1000 }.sampling_levels(3).unwrap();
    let walk = SamplingPlan { levels: &levels, method: SamplingMethod::Plain(Sampler::Ddpm) };
    let many = model.sample(grid, 0..20, walk, 5).unwrap();
    assert_eq!(many[17..18], model.sample(grid, 17..18, walk, 5).unwrap());
    let options = mm_model::GenerateOptions {
        sampler: Sampler::Ddpm,
        steps: 3,
        seed: 5,
        ..mm_model::GenerateOptions::default()
    };
    assert_eq!(
        many[..2],
        model.draw(&[Document::default(), Document::default()], grid, &options).unwrap()
    );
    let after = Document { segments: vec![Segment::context_image(Image::filled(16, 16, [0; 3]))] };
    assert!(model.draw(&[after], grid, &options).is_err());
    let words = Document { segments: vec![Segment::context_text("a cat")] };
    let refused = model.draw(&[words], grid, &options).unwrap_err().to_string();
    assert!(refused.contains("the text `a cat`, wanted no text"), "{refused}");
    assert!(model.read(&[Document::default()], &options).is_err());
}

#[test]
fn images_between_two_do_not_depend_on_how_many_are_denoised_at_once() {
    let training = Training::start(image_only(&[]), &Device::flex()).unwrap();
    let model = training.averaged();
    let schedule = Schedule::Su2024 { steps: 1000 };
    let levels = schedule.levels_from(499, 2).unwrap();
    let walk =
        SamplingPlan { levels: &levels, method: SamplingMethod::Plain(Sampler::Ddim { eta: 0.0 }) };
    let black = || Image::filled(16, 16, [0; 3]); // any mixture with itself is the same number
    let row = |cols| {
        let (pairs, from) = ([[black(), black()]], schedule.level(500.0));
        model.interpolate(&pairs, cols, &from, walk, 5).unwrap().remove(0)
    };
    let many = row(33);
    assert_eq!(many.len(), 33);
    assert_eq!(many[..17], row(17));
    assert!(many[16] != many[0] && many[32] != many[0] && many[32] != many[16]);
}

#[test]
fn images_alone_are_measured_without_text_and_the_best_is_kept() {
    let changes = [
        ("run.validate_every", "2"),
        ("run.validate_count", "4"),
        ("run.best", "loss"),
        ("run.patience", "9"),
        ("run.steps", "4"),
        ("sample.steps", "2"),
        ("sample.count", "1"),
    ];
    let recipe = image_only(&changes);
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create(&folder.path().join("run"), &recipe).unwrap();
    let mut training = Training::start(recipe, &Device::flex()).unwrap();
    assert_eq!(train(&mut training, &run, &mut |_| true).unwrap(), Ending::Complete);
    let best = training.progress.early_stopping.best().unwrap();
    assert!(best.number.is_finite() && run.best_model().is_dir());
    let text = fs_err::read_to_string(run.metrics()).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let found: Vec<_> = lines.filter_map(|line| line.get("validation").cloned()).collect();
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|one| one["loss"] == one["image"] && one["image"].is_f64()));
    assert!(found.iter().all(|one| one.get("text").is_none()), "{found:?}");
    let refused = image_only(&changes).with("run.best", "text").unwrap_err().to_string();
    assert!(refused.contains("`run.best` is \"text\", wanted `loss` or `image`"), "{refused}");
}

#[test]
fn a_mix_with_captions_to_read_needs_a_vocabulary() {
    let refused = image_only(&[]).with("mix.read", "[0.5, 0.5]").unwrap_err().to_string();
    assert!(refused.contains("only `draw` where `vocab` is 0"), "{refused}");
    assert!(tiny(&[]).with("vocab", "1").is_err());
}

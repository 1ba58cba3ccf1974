//! A fine-tune of two hundred steps has the losses that PyTorch has with the same images, noise and
//! times: `tests/golden/finetune.safetensors`, which `tests/reference/finetune_golden.py` wrote.

use mm_diffusion::LossWeight;
use mm_model::parameters::weights_of;
use mm_model::{HostBatch, LoadedModel, ModelConfig};
use mm_patch::Image;
use mm_train::Training;

use crate::common::device;
use crate::imported::{
    Asked, Noised, Numbers, batch, fuyu, fuyu_recipe, jit, questions, recipe_for, uvit,
};

const FILE: &[u8] = include_bytes!("golden/finetune.safetensors");

/// The optimizer of the file, whose documentation says the same.
const OPTIMIZER: [(&str, &str); 8] = [
    ("optimizer.kind", "adamw"),
    ("optimizer.lr", "1e-3"),
    ("optimizer.final_lr", "0.1"),
    ("optimizer.warmup_steps", "10"),
    ("optimizer.betas", "[0.9, 0.95]"),
    ("optimizer.weight_decay", "0.05"),
    ("optimizer.clip", "1.0"),
    ("run.steps", "200"),
];

/// The largest share by which a loss may differ.
const APART: f64 = 1e-3;

/// Trains a network on the batches of the file, and compares the loss and the norm of the gradient
/// of every step.
fn check_curve(
    name: &str,
    golden: &Numbers,
    mut training: Training,
    batch_at: impl Fn(&Numbers, usize) -> HostBatch,
) {
    let (losses, norms) =
        (golden.all(&format!("{name}.losses")), golden.all(&format!("{name}.norms")));
    assert_eq!(losses.len(), 200);
    let share = |found: f64, wanted: f32| (found / f64::from(wanted) - 1.0).abs();
    let (mut most, mut steepest) = (0.0f64, 0.0f64);
    for (step, (loss, norm)) in losses.iter().zip(norms).enumerate() {
        let report = training.step(&[batch_at(golden, step)]).unwrap();
        most = most.max(share(report.loss, *loss));
        steepest = steepest.max(share(report.gradient, *norm));
        assert!(most <= APART, "{name}, step {step}: {} and {loss}", report.loss);
    }
    println!("{name}: losses within {most:.1e}, norms of gradients within {steepest:.1e}");
    assert!(steepest <= 10.0 * APART, "{name}: {steepest}");
    let mean = |part: &[f32]| part.iter().sum::<f32>() / part.len() as f32;
    assert!(mean(&losses[180..]) < mean(&losses[..20]), "{name} learns");
}

/// The images of one step.
fn images<'a>(
    golden: &'a Numbers,
    name: &str,
    step: usize,
    config: &ModelConfig,
    none: Option<u32>,
) -> Vec<Noised<'a>> {
    let of = |part: &str| golden.row(&format!("{name}.{part}"), step);
    let one = |at: usize| {
        let pick = |part: &str, row: f32| golden.row(&format!("{name}.{part}"), row as usize);
        let class = of("class")[at] as u32;
        Noised {
            clean: pick("images", of("image_at")[at]),
            noise: pick("noise", of("noise_at")[at]),
            level: config.schedule.level(f64::from(of("level")[at])),
            class: (Some(class) != none).then_some(class),
        }
    };
    (0..of("class").len()).map(one).collect()
}

/// Compares the fine-tune of a network that draws.
fn check_drawing(name: &str, model: &LoadedModel, weight: LossWeight, none: Option<u32>) {
    let (golden, config) = (Numbers::read(FILE), &model.config);
    let recipe = recipe_for(model, weight, &OPTIMIZER);
    let training = Training::from_model(recipe, model, &device()).unwrap();
    check_curve(name, &golden, training, |golden, step| {
        batch(config, &weight, &images(golden, name, step, config, none))
    });
}

#[test]
fn a_jit_learns_in_two_hundred_steps_as_in_pytorch() {
    check_drawing("jit", &jit(), LossWeight::Velocity { min_noise: 0.05 }, Some(5));
}

#[test]
fn a_uvit_learns_in_two_hundred_steps_as_in_pytorch() {
    check_drawing("uvit", &uvit(), LossWeight::One, None);
}

/// What the reference script has under the same name.
const ANSWERS: [&str; 4] = ["a cat", "the mat", "a cat is on the mat", "on"];

#[test]
fn a_fuyu_learns_by_adapters_in_two_hundred_steps_as_in_transformers() {
    let (golden, model) = (Numbers::read(FILE), fuyu());
    let adapters = [("seed", "3"), ("optimizer.lora.rank", "2"), ("optimizer.lora.alpha", "4.0")];
    let recipe = fuyu_recipe(&model, &[&OPTIMIZER[..], &adapters[..]].concat());
    let training = Training::from_model(recipe, &model, &device()).unwrap();
    let drawn = weights_of(&training.raw().model);
    let factors: Vec<&str> = golden.names().filter(|name| name.ends_with(".lora.a")).collect();
    assert_eq!(factors.len(), 12);
    for name in factors {
        let own = &drawn[name.strip_prefix("fuyu.").unwrap()].values;
        let apart = own.iter().zip(golden.all(name)).map(|(a, b)| (a - b).abs());
        assert!(apart.fold(0.0, f32::max) < 1e-6, "{name} is drawn otherwise than for the file");
    }
    let shape = golden.shape("fuyu.images").to_vec();
    let image = |at: usize| {
        let bytes = golden.row("fuyu.images", at).iter().map(|byte| *byte as u8).collect();
        Image::new(shape[2], shape[1], bytes).unwrap()
    };
    let images: Vec<Image> = (0..shape[0]).map(image).collect();
    check_curve("fuyu", &golden, training, |golden, step| {
        let (image_at, answer_at) =
            (golden.row("fuyu.image_at", step), golden.row("fuyu.answer_at", step));
        let asked = image_at.iter().zip(answer_at).map(|(image, answer)| Asked {
            image: &images[*image as usize],
            answer: ANSWERS[*answer as usize],
        });
        questions(&model, &asked.collect::<Vec<_>>())
    });
}

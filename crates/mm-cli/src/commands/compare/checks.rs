//! The checks: what every device computes, and how far it may be from the 64-bit reference.
//!
//! Weights, noise and data are the same 32-bit numbers everywhere, drawn on the host. 32-bit floats
//! hold 24 bits, one part in 17 million. A sum of some hundred terms loses a few of them, and
//! training steps amplify the loss.

mod codecs;
mod published;

use burn::tensor::FloatDType;
use mm_backbone::{BlockConfig, BlockOptions, Precision};
use mm_diffusion::{Guidance, Prediction};
use mm_model::{
    Batch, Document, GenerateOptions, LoadedModel, Model, NetworkConfig, Segment, UnetConfig,
};
use mm_patch::{Grid, Image};
use mm_train::batch::Batches;
use mm_train::{Recipe, Training};

use super::network;
use super::numbers::{Numbers, On, gradients, shaken, weights};
use crate::terminal::Failure;

/// One check.
pub struct Check {
    /// The name in the table.
    pub name: &'static str,
    /// The largest relative difference that passes.
    pub tolerance: f64,
    /// The type in which it computes, where that is not the default.
    pub needs: Option<FloatDType>,
    /// Computes the numbers.
    pub run: fn(&On) -> Result<Vec<Numbers>, Failure>,
}

/// All checks, the simplest first.
pub const CHECKS: &[Check] = &[
    check("RMSNorm, gradients", 1e-5, network::rms_norm),
    check("gated attention unit, gradients", 1e-5, network::gau),
    check("multi-head block, gradients", 1e-5, network::multi_head),
    check("attention in several tiles, gradients", 1e-5, network::long_attention),
    check("3x3 convolution, gradients", 1e-5, network::convolved),
    check("AdamW, 3 steps", 1e-5, network::adamw),
    check("LAMB, 3 steps", 1e-5, network::lamb),
    check("moving average, sum of squares", 1e-5, network::averages),
    check("prefill and decode = full forward", 1e-5, network::decode),
    check("loss, gradients: gated attention units", 2e-5, gau_loss),
    check("loss, gradients: multi-head blocks", 2e-5, multi_head_loss),
    check("loss, gradients: U-ViT", 2e-5, uvit_loss),
    check("loss, gradients: DiT", 2e-5, dit_loss),
    check("loss, gradients: Persimmon", 2e-5, persimmon_loss),
    check("loss, gradients: U-Net", 5e-5, unet_loss),
    check("codec kl, gradients", 5e-5, codecs::kl),
    check("codec fsq, gradients", 5e-5, codecs::fsq),
    check("codec vq-vae, gradients", 5e-5, codecs::codebook),
    check("codec against a discriminator", 5e-5, codecs::adversarial),
    check("codec of queries, gradients", 5e-5, codecs::queries),
    check("loss, gradients: latents", 5e-5, codecs::latents),
    check("loss, gradients: codes", 5e-5, codecs::codes),
    check("loss, gradients: masked codes", 5e-5, codecs::masked),
    check("loss, gradients: bytes", 5e-5, codecs::bytes),
    check("loss, gradients: JiT, U-ViT, DiT as published", 5e-5, published::losses),
    check("images of these, 5 steps", 2.0 / 255.0, published::images),
    check("the same, all blocks computed again", 5e-5, computed_again),
    check("20 training steps, losses", 1e-4, twenty_losses),
    check("20 training steps, weights", 1e-2, twenty_weights),
    check("greedy text after images", 0.0, greedy),
    check("image, 10 steps with guidance", 1.0 / 255.0, image),
    Check { needs: Some(FloatDType::F16), ..check("operations in f16", 2e-3, network::in_f16) },
    Check { needs: Some(FloatDType::BF16), ..check("operations in bf16", 16e-3, network::in_bf16) },
];

const fn check(
    name: &'static str,
    tolerance: f64,
    run: fn(&On) -> Result<Vec<Numbers>, Failure>,
) -> Check {
    Check { name, tolerance, needs: None, run }
}

/// Makes a small variant of the default recipe: 16 patches per image, a few narrow blocks of this
/// kind, and several documents in a row of 80 tokens.
fn small_recipe(block: BlockConfig, micro_batches: usize) -> Result<Recipe, Failure> {
    let mut recipe = crate::recipes::find("glyphs")?;
    recipe.image.width = 16;
    recipe.image.height = 16;
    recipe.image.patch = 4;
    recipe.vocab = 416;
    recipe.mix.draw = [0.4, 0.4];
    recipe.mix.read = [0.3, 0.3];
    recipe.mix.finished = 0.3;
    let network = recipe.model.network.unified_mut().expect("the recipe has a transformer");
    network.patch_pos_embed = 4;
    network.backbone.width = 64;
    network.backbone.depth = if block == network::UVIT { 3 } else { 2 };
    network.backbone.block = block;
    recipe.optimizer.warmup_steps = 5;
    recipe.run.steps = 200;
    recipe.run.batch = 8;
    recipe.run.micro_batches = micro_batches;
    recipe.run.pack_len = 80;
    recipe.validate()?;
    Ok(recipe)
}

/// Makes a small recipe with a U-Net of two levels, the lower with attention. A U-Net only draws.
fn small_unet() -> Result<Recipe, Failure> {
    let mut recipe = small_recipe(network::MULTI_HEAD, 1)?;
    let (growth, attention) = (vec![1, 2], vec![1]);
    let unet = UnetConfig { width: 16, growth, blocks: 1, groups: 4, smallest: 4, attention };
    recipe.model.network = NetworkConfig::Unet(unet);
    recipe.mix.draw = [1.0, 1.0];
    recipe.mix.read = [0.0, 0.0];
    recipe.mix.finished = 0.0;
    recipe.mix.caption_drop = 1.0;
    recipe.loss.text = 0.0;
    recipe.sample.guidance.scale = 1.0;
    recipe.validate()?;
    Ok(recipe)
}

/// Computes both losses of one batch, the hidden states, and the gradients of all weights.
fn loss(on: &On, recipe: Recipe) -> Result<Vec<Numbers>, Failure> {
    loss_with(on, recipe, BlockOptions::default())
}

/// Computes the losses and gradients of every network with activation checkpointing, which the
/// reference does without.
fn computed_again(on: &On) -> Result<Vec<Numbers>, Failure> {
    let options =
        BlockOptions { activation_checkpointing: !on.reference, ..BlockOptions::default() };
    let mut found = vec![];
    for block in [network::GAU, network::MULTI_HEAD, network::UVIT, network::DIT] {
        found.extend(loss_with(on, small_recipe(block, 1)?, options)?);
    }
    found.extend(loss_with(on, small_unet()?, options)?);
    Ok(found)
}

/// Computes what [`loss`] computes, with options.
fn loss_with(on: &On, recipe: Recipe, options: BlockOptions) -> Result<Vec<Numbers>, Failure> {
    let training = Training::start(recipe.clone(), &on.device)?;
    let model = shaken(Model::new(&training.config, 1, &on.tracked())?, &on.tracked());
    let batches = Batches::new(&recipe, &training.data, &training.tokenizer);
    let batches = batches.of_model(training.model()).batch(0)?;
    let mut batch = batches[0].to_device(&training.config, &on.device);
    batch.inputs.options = options;
    Ok(of_batch(&model, &batch, training.config.prediction, |name| recipe.loss.weight_of(name)))
}

/// Computes the losses of a batch, the hidden states, and the gradients of all weights.
fn of_batch(
    model: &Model,
    batch: &Batch,
    prediction: Prediction,
    weight_of: impl Fn(&str) -> f64,
) -> Vec<Numbers> {
    let losses = model.losses(batch, prediction);
    let mut found = vec![Numbers::of("hidden states", model.hidden(&batch.inputs))];
    for loss in &losses.list {
        found.push(Numbers::of(format!("{} loss", loss.name), loss.value.clone()));
    }
    if let Some(total) = losses.total(weight_of) {
        found.extend(gradients(model, &total.backward()));
    }
    found
}

fn gau_loss(on: &On) -> Result<Vec<Numbers>, Failure> {
    loss(on, small_recipe(network::GAU, 1)?)
}

fn multi_head_loss(on: &On) -> Result<Vec<Numbers>, Failure> {
    loss(on, small_recipe(network::MULTI_HEAD, 1)?)
}

fn uvit_loss(on: &On) -> Result<Vec<Numbers>, Failure> {
    loss(on, small_recipe(network::UVIT, 1)?)
}

fn dit_loss(on: &On) -> Result<Vec<Numbers>, Failure> {
    loss(on, small_recipe(network::DIT, 1)?)
}

fn persimmon_loss(on: &On) -> Result<Vec<Numbers>, Failure> {
    loss(on, small_recipe(network::PERSIMMON, 1)?)
}

fn unet_loss(on: &On) -> Result<Vec<Numbers>, Failure> {
    loss(on, small_unet()?)
}

/// The losses and gradient norms of a training, and the averaged weights at its end.
struct Trained {
    losses: Vec<f64>,
    norms: Vec<f64>,
    model: LoadedModel,
}

/// Trains for `steps` steps from the same seed, with two micro-batches, in 32 bits.
fn train(on: &On, steps: u64) -> Result<Trained, Failure> {
    train_in(on, Precision::F32, steps)
}

/// Trains for `steps` steps from the same seed, with two micro-batches and blocks that multiply in
/// this type.
fn train_in(on: &On, precision: Precision, steps: u64) -> Result<Trained, Failure> {
    let mut recipe = small_recipe(network::MULTI_HEAD, 2)?;
    recipe.run.precision = precision.into();
    let mut training = Training::start(recipe.clone(), &on.device)?;
    let (data, tokenizer) = (training.data.clone(), training.tokenizer.clone());
    let mut batches = Batches::new(&recipe, &data, &tokenizer).of_model(training.model());
    let (mut losses, mut norms) = (vec![], vec![]);
    for step in 0..steps {
        let report = training.step(&batches.batch(step)?)?;
        losses.push(report.loss);
        norms.push(report.gradient);
    }
    Ok(Trained { losses, norms, model: training.averaged() })
}

/// Returns the losses of `steps` training steps of the small recipe, whose blocks multiply in this
/// type.
pub fn losses(on: &On, precision: Precision, steps: u64) -> Result<Vec<f64>, Failure> {
    Ok(train_in(on, precision, steps)?.losses)
}

fn twenty_losses(on: &On) -> Result<Vec<Numbers>, Failure> {
    let Trained { losses, norms, .. } = train(on, 20)?;
    Ok(vec![Numbers::new("losses", losses), Numbers::new("gradient norms", norms)])
}

fn twenty_weights(on: &On) -> Result<Vec<Numbers>, Failure> {
    Ok(weights(&train(on, 20)?.model.model))
}

/// Makes a model that was not trained, whose weights all have an effect.
fn untrained(on: &On) -> Result<LoadedModel, Failure> {
    let training = Training::start(small_recipe(network::MULTI_HEAD, 1)?, &on.device)?;
    let model = shaken(Model::new(&training.config, 2, &on.device)?, &on.device);
    let (config, tokenizer) = (training.config.clone(), training.tokenizer.clone());
    let generation = training.recipe.generation_config();
    Ok(LoadedModel { config, tokenizer, model, generation })
}

/// Returns the text after two prompts of different length, byte by byte.
fn greedy(on: &On) -> Result<Vec<Numbers>, Failure> {
    let model = untrained(on)?;
    let image = |level| Segment::context_image(Image::filled(16, 16, [level, 200, 90]));
    let prompts = [
        Document { segments: vec![image(10)] },
        Document { segments: vec![Segment::context_text("green"), image(250)] },
    ];
    let options = GenerateOptions { max_tokens: 8, ..GenerateOptions::default() };
    let texts = model.read(&prompts, &options)?;
    let bytes = |text: &String| text.bytes().map(f64::from).collect::<Vec<_>>();
    Ok(texts.iter().map(|text| Numbers::new("bytes", bytes(text))).collect())
}

/// Returns two images after two captions, as the values of their pixels.
fn image(on: &On) -> Result<Vec<Numbers>, Failure> {
    let model = untrained(on)?;
    let prompts = ["red K on yellow", "blue"]
        .map(|caption| Document { segments: vec![Segment::context_text(caption)] });
    let grid = Grid::of_size(16, 16, model.config.patch)?;
    let guidance = Guidance { scale: 2.0, ..Guidance::OFF };
    let options = GenerateOptions { steps: 10, guidance, ..GenerateOptions::default() };
    Ok(model.draw(&prompts, grid, &options)?.iter().map(pixels).collect())
}

fn pixels(image: &Image) -> Numbers {
    Numbers::new("pixels", image.rgb().iter().map(|&level| f64::from(level)))
}

#[cfg(test)]
mod tests {
    use burn::prelude::Device;

    use super::*;

    #[test]
    fn every_network_and_optimizer_is_compared_by_numbers_that_are_finite() {
        let names = [
            "3x3 convolution",
            "LAMB",
            "AdamW",
            "multi-head",
            "U-ViT",
            "DiT",
            "U-Net",
            "codec kl",
            "codec fsq",
            "codec vq-vae",
            "discriminator",
            "queries",
            ": latents",
            ": codes",
            ": bytes",
            "as published",
            "images of these",
        ];
        for name in names {
            let check = CHECKS.iter().find(|check| check.name.contains(name)).unwrap();
            let found = (check.run)(&On { device: Device::flex(), reference: false }).unwrap();
            let numbers: usize = found.iter().map(|numbers| numbers.values.len()).sum();
            let finite = found.iter().flat_map(|numbers| &numbers.values).all(Option::is_some);
            assert!(numbers > 100 && finite, "{name}: {numbers} numbers");
        }
    }

    #[test]
    fn what_is_written_and_drawn_for_the_comparison_says_something() {
        let on = On { device: Device::flex(), reference: false };
        let texts = greedy(&on).unwrap();
        assert!(texts.iter().all(|text| !text.values.is_empty()), "{texts:?}");
        for image in image(&on).unwrap() {
            let levels = image.values.iter().flatten();
            let between = levels.filter(|level| (1.0..255.0).contains(*level)).count();
            assert!(2 * between > image.values.len(), "{between} of {}", image.values.len());
        }
    }
}

//! This module computes the bits per dimension of images under a model, each given its caption.
//!
//! Bytes are spread evenly over their bins (uniform dequantization): `x = pixel + (u - ½) 2/255`
//! with `u` in [0, 1), on pixels in [-1, 1]. The density of `x` is `mm_diffusion::log_density`.
//! This module computes the trace of the network for it, by automatic differentiation: eᵀ (∂x̂/∂z)
//! e, with e of ±1 drawn once an image (Hutchinson 1989), or with the unit vectors for e one after
//! another (exact; as many backward passes a step as an image has numbers).
//!
//! A model that writes bytes has an exact likelihood, which is a sum over the bytes of an image.

use burn::module::Module;
use burn::prelude::*;
use mm_data::{DataSet, Example, Split, Task};
use mm_diffusion::{Level, bits_per_dimension, likelihood_levels, log_density};
use mm_model::random::{Purpose, stream};
use mm_model::{
    Batch, BytesConfig, CodedConfig, HostBatch, ImageCodes, ImageNoise, LoadedModel, Model,
    NetworkConfig, Sample,
};
use rand::RngExt;
use serde::Serialize;

use crate::{EvalError, Evaluator, Score, examples};

/// Holds the step between two pixel values.
const BIN: f64 = 2.0 / 255.0;
/// Counts the images of a batch.
const TOGETHER: usize = 16;

/// The way in which the trace is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trace {
    /// One random direction an image is taken, which is unbiased.
    Hutchinson,
    /// Every direction is taken, which is feasible for small images.
    Exact,
}

/// The options of the integration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LikelihoodOptions {
    /// The number of steps, of which each calls the network twice.
    pub steps: usize,
    /// The way in which the trace is found.
    pub trace: Trace,
    /// The seed of the spreading over bins and of the directions.
    pub seed: u64,
}

/// The bits per dimension of some images.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Likelihood {
    /// The mean over images.
    pub bits_per_dimension: f64,
    /// The standard error of that mean. It is absent for a single image.
    pub standard_error: Option<f64>,
    /// The bits per dimension of every image.
    pub images: Vec<f64>,
}

/// Measures the bits per dimension of images with captions, by [`likelihood`].
///
/// ```
/// use mm_eval::Evaluator;
/// use mm_eval::quality::{LikelihoodEvaluator, Trace};
///
/// let measure = LikelihoodEvaluator { steps: 100, trace: Trace::Hutchinson };
/// assert_eq!(measure.name(), "bpd");
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LikelihoodEvaluator {
    /// The number of steps, of which each calls the network twice.
    pub steps: usize,
    /// The way in which the trace is found.
    pub trace: Trace,
}

impl Evaluator for LikelihoodEvaluator {
    fn name(&self) -> &str {
        "bpd"
    }

    fn evaluate(
        &self,
        model: &LoadedModel,
        data: &DataSet,
        split: Split,
        count: usize,
        seed: u64,
    ) -> Result<Score, EvalError> {
        let shown = examples(data, split, count, seed)?;
        let options = LikelihoodOptions { steps: self.steps, trace: self.trace, seed };
        let found = likelihood(model, &shown, &options)?;
        Ok(Score::new(shown.len())
            .mean("bits_per_dimension", found.images.iter().sum())
            .maybe("standard_error", found.standard_error))
    }
}

/// Returns the bits per dimension of every image given its caption. All images have one size. A
/// model that writes bytes asks for none of the options.
pub fn likelihood(
    model: &LoadedModel,
    examples: &[Example],
    options: &LikelihoodOptions,
) -> Result<Likelihood, EvalError> {
    match &model.config.network {
        NetworkConfig::Coded(coded) if is_of_bytes(coded) => return exact(model, examples),
        NetworkConfig::Coded(_) | NetworkConfig::Latent(_) | NetworkConfig::Codec(_) => {
            return Err(EvalError::NoPixels);
        }
        other if other.factor() > 1 => return Err(EvalError::NoPixels),
        _ => {}
    }
    let levels = likelihood_levels(&model.config.schedule, options.steps)
        .map_err(mm_model::GenerateError::from)?;
    let mut images = vec![];
    for (chunk, first) in examples.chunks(TOGETHER).zip((0..).step_by(TOGETHER)) {
        let given = Given::new(model, chunk)?;
        let [rows, patches, numbers] = given.shape;
        let device = model.model.device();
        let tensor = |values: Vec<f32>| {
            Tensor::<3>::from_data(TensorData::new(values, [rows, patches, numbers]), &device)
        };
        let of = |row: usize| stream(options.seed, Purpose::Time, u64::MAX - 1, first + row as u64);
        let one = patches * numbers;
        let spread = (0..rows).flat_map(|row| {
            let mut rng = of(row);
            (0..one).map(move |_| ((rng.random::<f64>() - 0.5) * BIN) as f32)
        });
        let x: Vec<f32> = given.clean.iter().zip(spread).map(|(x, u)| x + u).collect();
        let signs = (0..rows).flat_map(|row| {
            let mut rng = stream(options.seed, Purpose::Noise, u64::MAX - 1, first + row as u64);
            (0..one).map(move |_| if rng.random::<bool>() { 1.0 } else { -1.0 })
        });
        let probe = tensor(signs.collect());
        let found = match options.trace {
            Trace::Hutchinson => log_density(&levels, tensor(x), &mut |z, level| {
                given.clean_and_trace(z, level, probe.clone())
            }),
            Trace::Exact => log_density(&levels, tensor(x), &mut |z, level| {
                given.clean_and_exact_trace(z, level)
            }),
        };
        images.extend(found.into_iter().map(|found| bits_per_dimension(found, one, BIN)));
    }
    Ok(Likelihood::of(images))
}

impl Likelihood {
    /// Returns the mean over the bits per dimension of images, and its standard error.
    fn of(images: Vec<f64>) -> Self {
        let count = images.len() as f64;
        let mean = images.iter().sum::<f64>() / count;
        let squares: f64 = images.iter().map(|bits| (bits - mean).powi(2)).sum();
        let standard_error = (images.len() > 1).then(|| (squares / (count - 1.0) / count).sqrt());
        Self { bits_per_dimension: mean, standard_error, images }
    }
}

/// Says whether every byte of an image is a code of its own.
fn is_of_bytes(coded: &CodedConfig) -> bool {
    matches!(coded.codes, ImageCodes::Bytes(BytesConfig { levels: 256, .. }))
}

/// Returns the exact bits per dimension of images whose bytes are written one after another: the
/// cross-entropy of every byte among all bytes, given its caption and the bytes before it.
fn exact(model: &LoadedModel, examples: &[Example]) -> Result<Likelihood, EvalError> {
    let sequencer = model.sequencer();
    let mut images = vec![];
    for example in examples {
        let sequence = sequencer.complete(&Task::Draw.document(example.clone()))?;
        let noise = vec![ImageNoise::none(&model.config.schedule)];
        let sample = Sample { sequence, noise };
        let pad = model.tokenizer.special().pad;
        let batch = HostBatch::pack(&[sample], 0, pad, model.config.patch_dim());
        let batch = batch.to_device(&model.config, &model.model.device());
        let nats = model.model.code_surprises(&batch).expect("a drawn image is a target");
        let nats = nats.into_data().try_to_vec_as::<f32>().expect("activations are floats");
        let sum: f64 = nats.iter().map(|nats| f64::from(*nats)).sum();
        images.push(sum / std::f64::consts::LN_2 / nats.len() as f64);
    }
    Ok(Likelihood::of(images))
}

/// Documents whose images are denoised.
struct Given<'a> {
    model: &'a LoadedModel,
    /// The weights with autodiff, so that what is computed from an image is recorded.
    network: Model,
    batch: Batch,
    tokens: Tensor<1, Int>,
    /// The numbers of images, of patches an image, and of values a patch.
    shape: [usize; 3],
    clean: Vec<f32>,
}

impl<'a> Given<'a> {
    fn new(model: &'a LoadedModel, examples: &[Example]) -> Result<Self, EvalError> {
        let sequencer = model.sequencer();
        let nowhere = Level { timestep: 0.0, signal: 1.0, noise: 0.0 };
        let sample = |example: &Example| {
            let sequence = sequencer.complete(&Task::Draw.document(example.clone()))?;
            let eps = vec![0.0; sequence.images[0].patches.len()];
            Ok(Sample { sequence, noise: vec![ImageNoise { level: nowhere, eps, weight: 1.0 }] })
        };
        let samples = examples.iter().map(sample).collect::<Result<Vec<Sample>, EvalError>>()?;
        let numbers = model.config.patch_dim();
        let images = || samples.iter().map(|sample| &sample.sequence.images[0]);
        let clean: Vec<f32> = images().flat_map(|image| image.patches.iter().copied()).collect();
        let shape = [samples.len(), clean.len() / samples.len() / numbers, numbers];
        assert!(images().all(|image| image.grid.tokens() == shape[1]), "images of one size");
        let host = HostBatch::pack(&samples, 0, model.tokenizer.special().pad, numbers);
        let batch = host.to_device(&model.config, &model.model.device());
        let tokens = batch.targets.image.as_ref().expect("drawn images are targets").tokens.clone();
        let network = model.model.valid().train();
        Ok(Self { model, network, batch, tokens, shape, clean })
    }

    /// Returns the clean estimate and `probeᵀ (∂clean/∂noisy) probe` of each image. `noisy` and
    /// `probe` are `[images, patches, numbers]`.
    fn clean_and_trace(
        &self,
        noisy: Tensor<3>,
        level: &Level,
        probe: Tensor<3>,
    ) -> (Tensor<3>, Vec<f64>) {
        let noisy = noisy.autodiff().require_grad();
        let clean = self.clean(noisy.clone(), level);
        let along = probe.clone().autodiff();
        let mut gradients = (clean.clone() * along).sum().backward();
        let slope = noisy.grad_remove(&mut gradients).expect("the estimate depends on its input");
        let trace = (slope * probe).sum_dims_squeeze::<1, _>(&[1, 2]).into_data();
        (clean.without_autodiff(), trace.iter::<f64>().collect())
    }

    /// Returns the clean estimate and the trace itself, a direction at a time.
    fn clean_and_exact_trace(&self, noisy: Tensor<3>, level: &Level) -> (Tensor<3>, Vec<f64>) {
        let [rows, patches, numbers] = self.shape;
        let (mut estimate, mut sum) = (noisy.clone(), vec![0.0; rows]);
        for at in 0..patches * numbers {
            let unit = |place: usize| f32::from(place % (patches * numbers) == at);
            let unit: Vec<f32> = (0..rows * patches * numbers).map(unit).collect();
            let unit = Tensor::from_data(TensorData::new(unit, self.shape), &noisy.device());
            let (clean, part) = self.clean_and_trace(noisy.clone(), level, unit);
            estimate = clean;
            sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        (estimate, sum)
    }

    fn clean(&self, noisy: Tensor<3>, level: &Level) -> Tensor<3> {
        let [rows, patches, numbers] = self.shape;
        let mut inputs = self.batch.inputs.clone();
        let images = inputs.patches.as_mut().expect("there are images");
        images.noisy = noisy.clone().reshape([rows * patches, numbers]);
        images.timesteps = vec![level.timestep; rows];
        let hidden = self.network.hidden(&inputs).select(0, self.tokens.clone());
        let output = self
            .network
            .patches(hidden, &self.batch.inputs.patches.as_ref().expect("there are images").grids)
            .reshape([rows, patches, numbers]);
        self.model.config.prediction.to_clean_at(output, noisy, level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mm_backbone::{
        BackboneConfig, BlockConfig, MultiHeadConfig, MultiHeadVariant, PositionScheme,
    };
    use mm_diffusion::{Prediction, Schedule};
    use mm_model::{GenerationConfig, ModelConfig, Order, TimeConfig, UnifiedConfig};
    use mm_patch::Image;

    /// Returns a fresh network of some ten thousand weights, and two images of four patches of 4 x
    /// 4 pixels.
    fn tiny() -> (LoadedModel, Vec<Example>) {
        let config = ModelConfig {
            patch: 4,
            vocab: 389,
            time: TimeConfig::Sinusoidal { channels: 16, scale: 1000.0 },
            schedule: Schedule::Linear,
            prediction: Prediction::Velocity,
            network: NetworkConfig::Unified(UnifiedConfig {
                patch_bias: true,
                patch_pos_embed: 2,
                patch_convolution: false,
                backbone: BackboneConfig {
                    width: 32,
                    depth: 1,
                    block: BlockConfig::MultiHead(MultiHeadConfig {
                        variant: MultiHeadVariant::Plain,
                        heads: 2,
                        key_heads: 1,
                        feed_forward: 64,
                    }),
                    positions: PositionScheme::RopeTv,
                    rotary_base: 10_000.0,
                    norm_epsilon: 1e-6,
                },
            }),
        };
        let words = ["dark".to_owned(), "light".to_owned()];
        let tokenizer = mm_text::Tokenizer::train(words.clone().into_iter(), config.vocab).unwrap();
        let model = Model::new(&config, 1, &Device::flex()).unwrap();
        let shown = words.into_iter().zip([20, 200]).map(|(caption, shade)| {
            let mut image = Image::filled(8, 8, [shade, 90, 255 - shade]);
            image.paste(&Image::filled(3, 5, [128; 3]), 2, 1);
            Example { image, caption }
        });
        let generation = GenerationConfig::of_size(8, 8);
        (LoadedModel { config, tokenizer, model, generation }, shown.collect())
    }

    #[test]
    fn hutchinson_in_the_mean_over_directions_is_the_exact_trace() {
        let (model, shown) = tiny();
        let given = Given::new(&model, &shown).unwrap();
        let numbers = given.clean.len();
        let tensor = |values: Vec<f32>| {
            Tensor::<3>::from_data(TensorData::new(values, given.shape), &Device::flex())
        };
        let level = model.config.schedule.level(model.config.schedule.clean_timestep() / 2.0);
        let noisy = tensor(given.clean.iter().map(|x| 0.7 * x).collect());
        let (_, exact) = given.clean_and_exact_trace(noisy.clone(), &level);
        let (mut mean, mut squares, count) = (0.0, 0.0, 200);
        for index in 0..count {
            let mut rng = stream(0, Purpose::Noise, 0, index);
            let signs = (0..numbers).map(|_| if rng.random::<bool>() { 1.0 } else { -1.0 });
            let (_, found) = given.clean_and_trace(noisy.clone(), &level, tensor(signs.collect()));
            mean += found[0] / count as f64;
            squares += found[0].powi(2) / count as f64;
        }
        let error = ((squares - mean * mean) / count as f64).sqrt();
        assert!(
            exact[0] != 0.0 && (mean - exact[0]).abs() < 4.0 * error,
            "{mean} {exact:?} {error}"
        );
    }

    #[test]
    fn likelihoods_repeat_themselves_and_do_not_depend_on_neighbours() {
        let (model, shown) = tiny();
        let options = LikelihoodOptions { steps: 4, trace: Trace::Hutchinson, seed: 3 };
        let found = likelihood(&model, &shown, &options).unwrap();
        assert_eq!(found, likelihood(&model, &shown, &options).unwrap());
        assert!(found.images.iter().all(|bits| bits.is_finite()) && found.images.len() == 2);
        // A single image has the same bits as among others.
        let single = likelihood(&model, &shown[..1], &options).unwrap();
        assert!((single.images[0] - found.images[0]).abs() < 1e-3, "{single:?} {found:?}");
        assert!(single.standard_error.is_none() && found.standard_error > Some(0.0));
    }
    /// Returns a fresh network that writes bytes of 256 levels, and its two images.
    fn of_bytes() -> (LoadedModel, Vec<Example>) {
        let (mut model, shown) = tiny();
        let NetworkConfig::Unified(unified) = model.config.network else { unreachable!() };
        let unified = UnifiedConfig { patch_pos_embed: 0, ..unified };
        let codes = ImageCodes::Bytes(BytesConfig::default());
        let order = Order::Snake;
        model.config.network = NetworkConfig::Coded(CodedConfig { unified, codes, order });
        model.model = Model::new(&model.config, 1, &Device::flex()).unwrap();
        (model, shown)
    }

    #[test]
    fn the_likelihood_of_bytes_is_exact_and_that_of_codes_is_refused() {
        let (model, shown) = of_bytes();
        let options = LikelihoodOptions { steps: 4, trace: Trace::Hutchinson, seed: 3 };
        let found = likelihood(&model, &shown, &options).unwrap();
        let other = LikelihoodOptions { seed: 4, steps: 7, ..options };
        assert_eq!(found, likelihood(&model, &shown, &other).unwrap(), "nothing is drawn");
        // A fresh network knows next to nothing: about the eight bits of a uniform distribution.
        assert!((found.bits_per_dimension - 8.0).abs() < 1.0, "{found:?}");
        let (mut coarse, _) = of_bytes();
        if let NetworkConfig::Coded(coded) = &mut coarse.config.network {
            coded.codes = ImageCodes::Bytes(BytesConfig { levels: 16, window: 0 });
        }
        let said = likelihood(&coarse, &shown, &options).unwrap_err().to_string();
        assert!(said.ends_with("wanted a model of patches, or of bytes with 256 levels"), "{said}");
    }
}

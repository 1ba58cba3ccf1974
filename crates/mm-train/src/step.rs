//! One optimizer step: losses, backward, clip, update, average.

use std::sync::Arc;

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams, ModuleOptimizer};
use burn::prelude::*;
use mm_backbone::Init;
use mm_diffusion::Prediction;
use mm_model::{Batch, Checkpoint, HostBatch, Losses, Model, ModelConfig};
use mm_text::Tokenizer;

use crate::TrainError;
use crate::data::DataSet;
use crate::ema::Ema;
use crate::learning_rate::learning_rate;
use crate::optimizer::{clip, optimizer};
use crate::ranks::{Ranks, bytes_a_step};
use crate::recipe::{LossConfig, Recipe};
use crate::workers::Workers;

/// Steps in a row without a finite gradient that end a run.
pub const MOST_SKIPPED_IN_A_ROW: u64 = 10;

/// A run in memory: everything that a checkpoint must hold, and the data.
pub struct Training {
    /// What was asked for.
    pub recipe: Recipe,
    /// The model's configuration.
    pub config: ModelConfig,
    /// The words.
    pub tokenizer: Tokenizer,
    /// Where examples come from.
    pub data: Arc<DataSet>,
    /// The plain device; the weights live on it with autodiff.
    pub device: Device,
    /// The weights.
    pub(crate) model: Model,
    pub(crate) optimizer: ModuleOptimizer,
    pub(crate) ema: Ema,
    /// Counters, saved with the weights.
    pub progress: Progress,
    pub(crate) workers: Workers,
    pub(crate) ranks: Ranks,
}

/// Counters of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Steps taken, skipped ones included: the next step's number.
    pub step: u64,
    /// Updates of the weights.
    pub updates: u64,
    /// Steps skipped because loss or gradient was not finite.
    pub skipped: u64,
    /// Of these, the latest in a row.
    pub skipped_in_a_row: u64,
    /// Images shown so far.
    pub images: u64,
    /// Tokens and patches shown so far, padding not counted.
    pub tokens: u64,
    /// Milliseconds of training, over all resumes.
    pub milliseconds: u64,
}

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct StepReport {
    /// The step, counted from 1.
    pub step: u64,
    /// What was minimised; not finite if the step was skipped.
    pub loss: f64,
    /// Cross-entropy, nats a token.
    pub text: Option<f64>,
    /// Weighted squared error.
    pub image: Option<f64>,
    /// Norm of the gradient before clipping.
    pub gradient: f64,
    /// Learning rate.
    pub rate: f64,
    /// Whether the weights were left alone.
    pub skipped: bool,
    /// Tokens and patches of the batch, padding not counted.
    pub tokens: usize,
    /// Images of the batch.
    pub images: usize,
}

impl Training {
    /// A fresh run: opens the data, trains the tokenizer on the captions, draws the first weights.
    pub fn start(recipe: Recipe, device: &Device) -> Result<Self, TrainError> {
        recipe.validate()?;
        let data = Arc::new(DataSet::open(&recipe.data, recipe.image)?);
        let tokenizer = match recipe.vocab {
            0 => mm_model::alone::tokenizer(),
            vocab => Tokenizer::train(corpus(&recipe, &data).into_iter(), vocab)?,
        };
        let config = recipe.model_config(tokenizer.vocab());
        let tracked = device.clone().autodiff();
        let mut init = Init::with_law(recipe.model.init, recipe.seed, &tracked);
        let model = Model::drawn(&config, &mut init).map_err(crate::RecipeError::from)?;
        let ema = Ema::new(&recipe.optimizer, &model);
        let optimizer = optimizer(&recipe.optimizer);
        let (device, progress) = (device.clone(), Progress::default());
        let workers = Workers::new(recipe.run.shards)?;
        Ok(Self {
            recipe,
            config,
            tokenizer,
            data,
            device,
            model,
            optimizer,
            ema,
            progress,
            workers,
            ranks: Ranks::alone(),
        })
    }

    /// Trains on together with other processes, which must stand where this one stands.
    pub fn join(&mut self, ranks: Ranks) -> Result<(), TrainError> {
        self.ranks = ranks;
        self.ranks.agree(self.progress.step, &self.model)
    }

    /// Bytes of gradients that every rank adds to those of the others in each step.
    pub fn bytes_a_step(&self) -> usize {
        if self.ranks.count == 1 { 0 } else { bytes_a_step(&self.model) }
    }

    /// Takes one step on a batch, or on this rank's share of it. A step whose loss or gradient is not finite changes no weight
    /// and is counted; too many in a row are an error.
    pub fn step(&mut self, shards: &[HostBatch]) -> Result<StepReport, TrainError> {
        let step = self.progress.step;
        let (mut learnt, mut shown) = ([0.0; 3], [0.0; 2]);
        for shard in shards {
            let [text, image] = shard.learnt();
            let counts = [text, image, shard.learnt_images()];
            learnt.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count as f64);
            shown = [shown[0] + shard.real_tokens() as f64, shown[1] + shard.images() as f64];
        }
        (self.ranks.sum_wide)(&mut learnt);
        (self.ranks.sum_wide)(&mut shown);
        let shown = shown.map(|count| count as usize);
        let (grads, [text, image]) = self.gradients(shards, learnt.map(|count| count as usize));
        let weights = &self.recipe.loss;
        let terms = [text.map(|loss| loss * weights.text), image.map(|loss| loss * weights.image)];
        if terms == [None, None] {
            return Err(TrainError::NothingToLearn { step });
        }
        let loss: f64 = terms.into_iter().flatten().sum();
        let (grads, gradient) = clip(&self.model, grads, self.recipe.optimizer.clip);
        let rate = learning_rate(&self.recipe.optimizer, step, self.recipe.run.steps);
        let skipped = !(loss.is_finite() && gradient.is_finite());
        if !skipped {
            self.model = self.optimizer.step(rate, self.model.clone(), grads);
            self.ema.update(&self.model, self.progress.updates);
        }
        self.count(skipped, shown)?;
        Ok(StepReport {
            step: step + 1,
            loss,
            text,
            image,
            gradient,
            rate,
            skipped,
            tokens: shown[0],
            images: shown[1],
        })
    }

    /// Gradients of the loss of all shards of all ranks, and its two terms. Each shard is computed on a thread of its own with a
    /// copy of the weights that shares their memory; a shard's means count by how much it holds of `all`, and gradients are added
    /// in shard order, then over the ranks. `all` counts learnt tokens, patches and images of all ranks.
    fn gradients(
        &self,
        shards: &[HostBatch],
        all: [usize; 3],
    ) -> (GradientsParams, [Option<f64>; 2]) {
        let tracked = self.device.clone().autodiff();
        let forks: Vec<_> =
            shards.iter().map(|shard| (self.model.clone().fork(&tracked), shard)).collect();
        let (config, weights, device) = (&self.config, &self.recipe.loss, &self.device);
        let [text, image, images] = all;
        let scale = weights.reduction.factor(image * config.patch_numbers(), images);
        let all = [text, image];
        let found = self.workers.each(forks, |(model, shard)| {
            shard_gradients(&model, &shard_batch(shard, config, device), weights, (all, scale))
        });
        let mut sum = GradientsAccumulator::new();
        let mut terms = [0.0; 2];
        for (grads, shares) in found {
            sum.accumulate(&self.model, grads);
            terms = [0, 1].map(|which| terms[which] + shares[which].unwrap_or(0.0));
        }
        (self.ranks.sum_wide)(&mut terms);
        let grads = self.ranks.add_gradients(&self.model, sum.grads(), &self.device);
        (grads, [0, 1].map(|which| (all[which] > 0).then_some(terms[which])))
    }

    /// Number of trained numbers.
    pub fn parameters(&self) -> usize {
        self.model.num_params()
    }

    /// The averaged weights as a model to generate with.
    pub fn averaged(&self) -> Checkpoint {
        Checkpoint {
            config: self.config.clone(),
            tokenizer: self.tokenizer.clone(),
            model: self.ema.model(&self.model),
        }
    }

    /// The weights as they are.
    pub fn raw(&self) -> Checkpoint {
        Checkpoint {
            config: self.config.clone(),
            tokenizer: self.tokenizer.clone(),
            model: self.model.valid(),
        }
    }

    fn count(&mut self, skipped: bool, [tokens, images]: [usize; 2]) -> Result<(), TrainError> {
        let progress = &mut self.progress;
        progress.step += 1;
        progress.images += images as u64;
        progress.tokens += tokens as u64;
        if !skipped {
            progress.updates += 1;
            progress.skipped_in_a_row = 0;
            return Ok(());
        }
        progress.skipped += 1;
        progress.skipped_in_a_row += 1;
        if progress.skipped_in_a_row < MOST_SKIPPED_IN_A_ROW {
            return Ok(());
        }
        Err(TrainError::NotFinite { steps: progress.skipped_in_a_row, step: progress.step })
    }
}

/// A shard's tensors, what its two means are taken over, and what the network predicts.
struct Shard {
    batch: Batch,
    learnt: [usize; 2],
    prediction: Prediction,
}

fn shard_batch(host: &HostBatch, config: &ModelConfig, device: &Device) -> Shard {
    Shard {
        batch: host.to_device(config, device),
        learnt: host.learnt(),
        prediction: config.prediction,
    }
}

/// One shard's part of the gradients and of the loss's two terms: `all` counts what the whole batch learns, `scale` is what the
/// mean squared error is multiplied by.
fn shard_gradients(
    model: &Model,
    shard: &Shard,
    weights: &LossConfig,
    (all, scale): ([usize; 2], f64),
) -> (GradientsParams, [Option<f64>; 2]) {
    let losses = model.losses(&shard.batch, shard.prediction);
    let share = |which: usize| shard.learnt[which] as f64 / all[which].max(1) as f64;
    let losses = Losses {
        text: losses.text.map(|loss| loss * share(0)),
        image: losses.image.map(|loss| loss * (share(1) * scale)),
    };
    let number =
        |loss: &Option<Tensor<1>>| loss.clone().map(|loss| f64::from(loss.into_scalar::<f32>()));
    let terms = [number(&losses.text), number(&losses.image)];
    let grads = match losses.total(weights.text, weights.image) {
        Some(total) => GradientsParams::from_grads(total.backward(), model),
        None => GradientsParams::new(),
    };
    (grads, terms)
}

/// The text that the tokenizer learns from: captions, and the words of two-image documents.
fn corpus(recipe: &Recipe, data: &DataSet) -> Vec<String> {
    let mut corpus = data.captions();
    if recipe.mix.same_or_different > 0.0 {
        corpus.extend(["same", "different"].map(str::to_owned));
    }
    if recipe.mix.which_one > 0.0 {
        corpus.extend(["first", "second"].map(str::to_owned));
        corpus.extend(crate::data::Ink::ALL.iter().map(|ink| crate::data::which_question(*ink)));
    }
    corpus
}

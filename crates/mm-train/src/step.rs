//! One optimizer step: losses, backward, clip, update, average.

use std::sync::Arc;
use std::time::{Duration, Instant};

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams, ModuleOptimizer};
use burn::prelude::*;
use mm_backbone::{BlockOptions, Init};
use mm_diffusion::Prediction;
use mm_model::{Batch, HostBatch, LoadedModel, Losses, Model, ModelConfig};
use mm_text::Tokenizer;

use crate::ema::Ema;
use crate::learning_rate::learning_rate;
use crate::levels::{BINS, Levels};
use crate::lora::{adapted, merged};
use crate::memory::check_weights;
use crate::metrics::LINE_EVERY;
use crate::optimizer::{clip, optimizer};
use crate::ranks::{ProcessGroup, bytes_a_step};
use crate::recipe::{LossConfig, Recipe};
use crate::state::Seen;
use crate::validate::check_held_out;
use crate::watch::Watch;
use crate::workers::Workers;
use crate::{RecipeError, TrainError, freeze, precision};
use mm_data::DataSet;

/// Skipped steps in a row that end a run, or roll it back.
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
    /// Further averages.
    pub(crate) emas: Vec<Ema>,
    /// Counters, saved with the weights.
    pub progress: Progress,
    pub(crate) workers: Workers,
    pub(crate) ranks: ProcessGroup,
    /// How long the latest step added gradients up over the ranks, where there are several.
    pub(crate) added: Option<Duration>,
}

/// Counters of a run.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Steps taken, skipped ones included: the next step's number.
    pub step: u64,
    /// Updates of the weights.
    pub updates: u64,
    /// Steps skipped because loss or gradient was not finite, or the loss far above the latest.
    pub skipped: u64,
    /// Of these, the latest in a row.
    pub skipped_in_a_row: u64,
    /// Images shown so far.
    pub images: u64,
    /// Tokens and patches shown so far, padding not counted.
    pub tokens: u64,
    /// Milliseconds of training, over all resumes.
    pub milliseconds: u64,
    /// What later judgements depend on.
    #[serde(default)]
    pub watch: Watch,
    /// The data so far, in a checkpoint.
    #[serde(default)]
    pub data: Option<Seen>,
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
    /// The unweighted image loss by quarters of the noise's factor, every tenth step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub levels: Option<[Option<f64>; BINS]>,
}

impl Training {
    /// A fresh run: opens the data, trains the tokenizer on the captions, draws the first weights.
    pub fn start(recipe: Recipe, device: &Device) -> Result<Self, TrainError> {
        recipe.validate()?;
        let data = Arc::new(DataSet::open(&recipe.data, recipe.image)?);
        let tokenizer = match recipe.vocab {
            0 => mm_model::image_only::tokenizer(),
            vocab => Tokenizer::train(corpus(&recipe, &data).into_iter(), vocab)?,
        };
        let config = recipe.model_config(tokenizer.vocab());
        check_weights(&recipe, &config, device)?;
        let tracked = device.clone().autodiff();
        let mut init = Init::with_law(recipe.model.init, recipe.seed, &tracked);
        let model = Model::drawn(&config, &mut init).map_err(RecipeError::from)?;
        Self::of_parts(recipe, (tokenizer, data), model, device)
    }

    /// A run whose first step starts at the weights of `model`.
    pub(crate) fn of_parts(
        recipe: Recipe,
        (tokenizer, data): (Tokenizer, Arc<DataSet>),
        model: Model,
        device: &Device,
    ) -> Result<Self, TrainError> {
        check_device(&recipe, device)?;
        let config = recipe.model_config(tokenizer.vocab());
        let model = adapted(model, recipe.optimizer.lora, recipe.seed);
        freeze::check(&model, &recipe.optimizer.freeze)?; // adapters leave nothing but themselves to train
        let ema = Ema::new(&recipe.optimizer, &model);
        let other = |&decay: &f64| Ema::with_decay(decay, recipe.optimizer.ema_start, &model);
        let emas = recipe.optimizer.emas.iter().map(other).collect();
        let optimizer = optimizer(&recipe.optimizer);
        let (device, progress) = (device.clone(), Progress::default());
        let workers = Workers::new(recipe.run.shards)?;
        let training = Self {
            recipe,
            config,
            tokenizer,
            data,
            device,
            model,
            optimizer,
            ema,
            emas,
            progress,
            workers,
            ranks: ProcessGroup::single(),
            added: None,
        };
        check_held_out(&training)?;
        training.data.check_trainable(training.recipe.vocab)?;
        Ok(training)
    }

    /// Trains on together with other processes, which must see the same data and stand where this one stands.
    pub fn join(&mut self, ranks: ProcessGroup) -> Result<(), TrainError> {
        self.ranks = ranks;
        self.ranks.see_the_same(&self.data)?;
        self.ranks.agree(self.progress.step, &self.model)
    }

    /// Bytes of gradients that every rank adds to those of the others in each step.
    pub fn bytes_a_step(&self) -> usize {
        if self.ranks.count == 1 { 0 } else { bytes_a_step(&self.model) }
    }

    /// Takes one step on a batch, or on this rank's share of it. A step whose loss or gradient is not finite, or whose loss is a
    /// spike, changes no weight and is counted; too many in a row are an error.
    pub fn step(&mut self, shards: &[HostBatch]) -> Result<StepReport, TrainError> {
        let step = self.progress.step;
        let (learnt, shown) = self.counts(shards);
        let Gradients { grads, terms: [text, image], levels } = self.gradients(shards, learnt);
        let several = self.ranks.count > 1;
        if several {
            let _ = self.device.sync(); // so that a device's backward pass is not counted; what fails here fails below
        }
        let start = Instant::now();
        let grads = self.ranks.add_gradients(&self.model, grads, &self.device);
        let grads = freeze::without_frozen(&self.model, grads, &self.recipe.optimizer.freeze);
        if self.ranks.sum_on_device.is_some() {
            let _ = self.device.sync();
        }
        self.added = several.then(|| start.elapsed());
        let weights = &self.recipe.loss;
        let terms = [text.map(|loss| loss * weights.text), image.map(|loss| loss * weights.image)];
        if terms == [None, None] {
            return Err(TrainError::NothingToLearn { step });
        }
        let loss: f64 = terms.into_iter().flatten().sum();
        let (grads, gradient) = clip(&self.model, grads, self.recipe.optimizer.clip);
        let rate = learning_rate(&self.recipe.optimizer, step, self.recipe.run.steps)
            * self.progress.watch.rate();
        let finite = loss.is_finite() && gradient.is_finite();
        let skipped = !finite || self.progress.watch.is_spike(loss, self.recipe.run.spike);
        if !skipped {
            self.progress.watch.took(loss);
            self.model = self.optimizer.step(rate, self.model.clone(), grads);
            for ema in std::iter::once(&mut self.ema).chain(&mut self.emas) {
                ema.update(&self.model, self.progress.updates);
            }
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
            levels: levels.means(),
        })
    }

    /// Learnt tokens, patches and images of the whole batch, over all ranks; tokens and images shown.
    fn counts(&self, shards: &[HostBatch]) -> ([usize; 3], [usize; 2]) {
        let mut all = [0.0; 5];
        for shard in shards {
            let [text, patches] = shard.target_counts();
            let own = [text, patches, shard.target_images(), shard.real_tokens(), shard.images()];
            all.iter_mut().zip(own).for_each(|(sum, count)| *sum += count as f64);
        }
        (self.ranks.sum_wide)(&mut all);
        let [text, patches, learnt, tokens, images] = all.map(|count| count as usize);
        ([text, patches, learnt], [tokens, images])
    }

    /// Gradients of the loss of this rank's shards, and the loss's two terms over all ranks. Each shard is computed on a thread of its own with a
    /// copy of the weights that shares their memory, as many at once as `run.shards` says; a shard's means count by how
    /// much it holds of what `counts` found, and gradients are added in shard order.
    fn gradients(&self, shards: &[HostBatch], [text, patches, images]: [usize; 3]) -> Gradients {
        let tracked = self.device.clone().autodiff();
        let (config, weights, device) = (&self.config, &self.recipe.loss, &self.device);
        let scale = weights.reduction.factor(patches * config.patch_dim(), images);
        let all = ([text, patches], scale);
        let options = BlockOptions {
            precision: self.recipe.run.precision,
            activation_checkpointing: self.recipe.run.recompute,
        };
        let detailed = (self.progress.step + 1).is_multiple_of(LINE_EVERY);
        let mut sum = GradientsAccumulator::new();
        let (mut terms, mut levels) = ([0.0; 2], Levels::default());
        for part in shards.chunks(self.recipe.run.shards).flat_map(|turn| {
            let fork = |shard| (self.model.clone().fork(&tracked), shard);
            self.workers.each(turn.iter().map(fork).collect(), |(model, host): (Model, _)| {
                let noise = if detailed { HostBatch::noise(host) } else { &[] };
                let mut shard = shard_batch(host, config, device);
                shard.batch.inputs.options = options;
                shard_gradients(&model, &shard, (weights, all), noise)
            })
        }) {
            sum.accumulate(&self.model, part.grads);
            levels.merge(&part.levels);
            terms = [0, 1].map(|which| terms[which] + part.terms[which].unwrap_or(0.0));
        }
        (self.ranks.sum_wide)(&mut terms);
        let learnt = [text, patches];
        let terms = [0, 1].map(|which| (learnt[which] > 0).then_some(terms[which]));
        Gradients { grads: sum.grads(), terms, levels }
    }

    /// Number of trained numbers.
    pub fn parameters(&self) -> usize {
        self.model.num_params()
    }

    /// The averaged weights as a model to generate with.
    pub fn averaged(&self) -> LoadedModel {
        self.average(&self.ema)
    }

    /// One of the averages as a model to generate with.
    pub(crate) fn average(&self, ema: &Ema) -> LoadedModel {
        let checkpoint = LoadedModel {
            config: self.config.clone(),
            tokenizer: self.tokenizer.clone(),
            model: ema.model(&self.model),
            generation: self.recipe.generation_config(),
        };
        merged(checkpoint, self.recipe.optimizer.lora, &self.device)
    }

    /// The weights as they are.
    pub fn raw(&self) -> LoadedModel {
        LoadedModel {
            config: self.config.clone(),
            tokenizer: self.tokenizer.clone(),
            model: self.model.valid(),
            generation: self.recipe.generation_config(),
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
        let (steps, step) = (progress.skipped_in_a_row, progress.step);
        Err(match self.recipe.run.spike {
            0.0 => TrainError::NotFinite { steps, step },
            factor => TrainError::Spikes { steps, step, factor },
        })
    }
}

/// The device must be able to do what the recipe asks for.
pub(crate) fn check_device(recipe: &Recipe, device: &Device) -> Result<(), TrainError> {
    if recipe.run.recompute && !mm_kernels::has_fused_blocks(device) {
        let (field, wanted) = ("run.recompute", "false: only the CPU's kernels can");
        return Err(recipe.refused(field, wanted).into());
    }
    precision::check(recipe.run.precision, device)
}

/// Gradients of a batch or of a shard of it, the two terms of its loss, and its errors by noise level.
struct Gradients {
    grads: GradientsParams,
    terms: [Option<f64>; 2],
    levels: Levels,
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
        learnt: host.target_counts(),
        prediction: config.prediction,
    }
}

/// One shard's part of the gradients and of the loss's two terms: `all` counts what the whole batch learns, `scale` is what the
/// mean squared error is multiplied by; errors by level if the noise of its patches is given.
fn shard_gradients(
    model: &Model,
    shard: &Shard,
    (weights, (all, scale)): (&LossConfig, ([usize; 2], f64)),
    noise: &[f32],
) -> Gradients {
    let losses = model.losses(&shard.batch, shard.prediction);
    let share = |which: usize| shard.learnt[which] as f64 / all[which].max(1) as f64;
    let losses = Losses {
        text: losses.text.map(|loss| loss * share(0)),
        image: losses.image.map(|loss| loss * (share(1) * scale)),
        errors: losses.errors,
    };
    let mut levels = Levels::default();
    if let Some(errors) = losses.errors.clone().filter(|_| !noise.is_empty()) {
        let errors = errors.into_data().convert::<f32>();
        levels.add(&errors.try_to_vec::<f32>().expect("32-bit floats"), noise);
    }
    let number =
        |loss: &Option<Tensor<1>>| loss.clone().map(|loss| f64::from(loss.into_scalar::<f32>()));
    let terms = [number(&losses.text), number(&losses.image)];
    let grads = match losses.total(weights.text, weights.image) {
        Some(total) => GradientsParams::from_grads(total.backward(), model),
        None => GradientsParams::new(),
    };
    Gradients { grads, terms, levels }
}

/// The text that the tokenizer learns from: captions, and the words of two-image documents.
pub(crate) fn corpus(recipe: &Recipe, data: &DataSet) -> Vec<String> {
    let mut corpus = data.captions();
    if recipe.mix.same_or_different > 0.0 {
        corpus.extend(["same", "different"].map(str::to_owned));
    }
    if recipe.mix.which_one > 0.0 {
        corpus.extend(["first", "second"].map(str::to_owned));
        corpus.extend(mm_data::Ink::ALL.iter().map(|ink| mm_data::which_question(*ink)));
    }
    corpus
}

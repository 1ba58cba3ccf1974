//! Distillation: a finished model teaches another to draw in few steps, without a second branch for
//! guidance.
//!
//! The student is the teacher with two more inputs, how far a step goes and how strongly it is
//! guided. At time `t` (0 is noise, 1 the image) it learns the mean velocity from `t` to `r`, as a
//! clean estimate `x` with `u(z, t, r) = (x - z) / (1 - t)`. A mean over an interval is the mean
//! over its parts, weighed by their lengths, so with a short first part `e`:
//!
//! ```text
//! (r - t) u(z, t, r) = e v(z, t) + (r - t - e) u(z + e v, t + e, r)
//! ```
//!
//! `v` is the guided velocity of the teacher, and the last term is the student itself, without
//! gradient. This is the finite-difference form of MeanFlow's identity `u = v + (r - t) du/dt`
//! (Geng et al. 2025, arXiv:2505.13447) along the guided velocity, which needs no forward-mode
//! differentiation: two forward passes take the place of a Jacobian-vector product, as in the
//! discrete curriculum of arXiv:2604.08837 and in interval splitting (arXiv:2510.20771). Shortcut
//! models (Frans et al. 2024, arXiv:2410.12557) are the case `e = (r - t) / 2`. Estimating the
//! clean image rather than the velocity follows arXiv:2601.22158.
//!
//! With `e` as long as a step of the teacher, the exact solution is the drawing that the teacher
//! makes with Euler's method, so what is left is the error of learning.

use std::fmt;
use std::sync::Arc;

use burn::module::Module;
use burn::prelude::*;
use mm_diffusion::{Guidance, GuidanceRule, LossWeight, Prediction, Sampler, Schedule};
use mm_model::parameters::{weights_of, with_weights};
use mm_model::random::{Purpose, stream};
use mm_model::{
    Batch, Document, GenerateError, GenerateOptions, HostBatch, Jump, LoadedModel, Losses, Model,
    TimeConfig,
};
use rand::RngExt;

use crate::objective::{Objective, RecipeObjective, TermConfig};
use crate::recipe::{LoraConfig, Recipe, Represent};
use crate::training::Training;
use crate::{RecipeError, TrainError};

/// The share of images that learn to be denoised at their time alone, as the teacher's are.
const AT_ONCE: f64 = 0.125;
/// The share of the other images that learn one step for the whole way.
const WHOLE: f64 = 0.25;
/// The share of images at the scale of guidance that the teacher draws with; the others have one
/// between 1 and half as much again.
const USUAL: f64 = 0.75;

impl Recipe {
    /// Returns the recipe by which a model of this recipe is distilled to `steps` steps: drawings
    /// are guided whenever there is a caption, so no caption is left out, and the shares of the
    /// tasks are those at the end of training.
    pub fn distilled(&self, steps: usize, run_steps: u64) -> Result<Self, RecipeError> {
        let TimeConfig::Sinusoidal { channels, scale } = self.model.time else {
            return Err(self.refused("model.time", "a sinusoidal time that is not yet distilled"));
        };
        if matches!(self.represent, Represent::Codes | Represent::Bytes) {
            let wanted = "`patches` or `latents`, which are denoised";
            return Err(self.refused("image.represent", wanted));
        }
        if self.model.network.codec().is_some() {
            return Err(self.refused("model.codec", "absent: a codec draws nothing"));
        }
        if self.model.prediction != Prediction::Clean {
            return Err(self.refused("model.prediction", "`clean`"));
        }
        if self.model.schedule != Schedule::Linear {
            return Err(self.refused("model.schedule", "`linear`"));
        }
        if self.sample.guidance.rule != GuidanceRule::Plain {
            return Err(self.refused("sample.guidance.rule", "`plain`"));
        }
        let mut recipe = self.clone();
        recipe.model.time = TimeConfig::Distilled { channels, scale };
        recipe.mix.draw[0] = self.mix.draw[1];
        recipe.mix.read[0] = self.mix.read[1];
        if self.vocab > 0 {
            recipe.mix.caption_drop = 0.0;
        }
        recipe.sample.sampler = Sampler::Euler;
        recipe.sample.steps = steps;
        recipe.run.steps = run_steps;
        recipe.optimizer.lr = self.optimizer.lr / 2.0;
        recipe.optimizer.points = vec![];
        recipe.optimizer.warmup_steps = self.optimizer.warmup_steps.min(run_steps / 10);
        recipe.optimizer.lora = LoraConfig::default();
        recipe.optimizer.freeze = vec![];
        recipe.optimizer.emas = vec![];
        recipe.validate()?;
        Ok(recipe)
    }
}

impl Training {
    /// Starts a run that distills `teacher` by a [distilled](Recipe::distilled) recipe. Its first
    /// weights are the teacher's, and it draws as the teacher does without guidance.
    pub fn distill(
        recipe: Recipe,
        teacher: &LoadedModel,
        device: &Device,
    ) -> Result<Self, TrainError> {
        recipe.validate()?;
        if !recipe.model.time.is_distilled() {
            return Err(recipe.refused("model.time", "`distilled`").into());
        }
        let data = Arc::new(mm_data::DataSet::open(&recipe.data, recipe.image)?);
        let config = recipe.model_config(teacher.tokenizer.vocab());
        check_teacher(&config, &teacher.config)?;
        let fresh = Model::new(&config, recipe.seed, &device.clone().autodiff())
            .map_err(RecipeError::from)?;
        let mut weights = weights_of(&fresh);
        for (name, weight) in weights_of(&teacher.model) {
            let name = match name.strip_prefix("time.") {
                Some(rest) => format!("time.time.{rest}"),
                None => name,
            };
            weights.insert(name, weight);
        }
        let student = with_weights(fresh, &weights);
        let distillation = Distillation::new(&recipe, teacher);
        let tokenizer = teacher.tokenizer.clone();
        let training = Self::assemble(recipe, tokenizer, data, student, device)?;
        Ok(training.with_objective(Arc::new(distillation)))
    }
}

/// Fails unless the student is the teacher but for its time.
fn check_teacher(
    student: &mm_model::ModelConfig,
    teacher: &mm_model::ModelConfig,
) -> Result<(), TrainError> {
    let TimeConfig::Sinusoidal { channels, scale } = teacher.time else {
        return Err(TrainError::Misfit {
            field: "time".to_owned(),
            found: format!("{:?}", teacher.time),
            wanted: "sinusoidal and not yet distilled".to_owned(),
        });
    };
    let time = TimeConfig::Distilled { channels, scale };
    let wanted = mm_model::ModelConfig { time, ..teacher.clone() };
    if *student == wanted {
        return Ok(());
    }
    Err(TrainError::Misfit {
        field: "network".to_owned(),
        found: format!("{teacher:?}"),
        wanted: format!("{student:?}"),
    })
}

/// What a student learns of its teacher: an [`Objective`] with the terms of the recipe, whose clean
/// images are those of the identity above.
pub struct Distillation {
    recipe: RecipeObjective,
    teacher: Model,
    guidance: Guidance,
    weight: LossWeight,
    has_text: bool,
    /// The steps in which the student draws.
    steps: usize,
    /// The time from one step of the teacher to the next.
    part: f64,
}

impl fmt::Debug for Distillation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { guidance, steps, part, .. } = self;
        write!(f, "Distillation {{ guidance: {guidance:?}, steps: {steps}, part: {part} }}")
    }
}

/// What one image learns: from `time` to `end`, guided by a scale.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Lesson {
    time: f64,
    end: f64,
    scale: f64,
    /// How far the teacher goes; the student goes the rest.
    part: f64,
}

impl Lesson {
    fn jump(&self) -> Jump {
        Jump { size: self.end - self.time, guidance: self.scale }
    }

    /// What the student is asked behind the teacher's part.
    fn rest(&self) -> Jump {
        Jump { size: (self.end - self.time - self.part).max(0.0), guidance: self.scale }
    }
}

impl Distillation {
    /// The teacher's guidance and number of steps are those of its `generation_config.json`.
    fn new(recipe: &Recipe, teacher: &LoadedModel) -> Self {
        let steps = recipe.sample.steps;
        Self {
            recipe: RecipeObjective::new(recipe),
            teacher: teacher.model.clone(),
            guidance: teacher.generation.guidance,
            weight: recipe.loss.weight,
            has_text: teacher.config.has_text(),
            steps,
            part: 1.0 / teacher.generation.steps.max(2 * steps) as f64,
        }
    }

    /// Draws what an image learns from the time that it was noised with, so that a step stays a
    /// function of its batch. Steps begin where a drawing of the teacher stands.
    fn lesson(&self, time: f64, number: usize) -> Lesson {
        let mut rng = stream(time.to_bits(), Purpose::Time, 0, number as u64);
        let usual = self.guidance.scale;
        let scale = if usual == 1.0 || rng.random::<f64>() < USUAL {
            usual
        } else {
            let most = usual.max(1.0) * 1.5;
            1.0 + rng.random::<f64>() * (most - 1.0)
        };
        if rng.random::<f64>() < AT_ONCE {
            return Lesson { time, end: time, scale, part: 0.0 };
        }
        let steps = if rng.random::<f64>() < WHOLE { 1 } else { self.steps };
        let length = 1.0 / steps as f64;
        let start = rng.random_range(0..steps) as f64 * length;
        let parts = (length / self.part - 1e-9).ceil() as usize;
        let time = start + rng.random_range(0..parts) as f64 * self.part;
        let end = start + length;
        Lesson { time, end, scale, part: self.part.min(end - time) }
    }

    /// The teacher's guided estimate of the clean patches: `[target patches, patch_dim]`.
    fn taught(&self, batch: &Batch, lessons: &[Lesson], targets: &Targets) -> Tensor<2> {
        let prompted = output(&self.teacher, batch);
        let scale = |lesson: &Lesson| {
            let inside = (self.guidance.from..=self.guidance.to).contains(&lesson.time);
            if inside { lesson.scale } else { 1.0 }
        };
        if !self.has_text || lessons.iter().all(|lesson| scale(lesson) == 1.0) {
            return prompted;
        }
        let bare = Batch { inputs: batch.unprompted(), targets: batch.targets.clone() };
        let bare = output(&self.teacher, &bare);
        bare.clone() + (prompted - bare) * targets.column(lessons, scale)
    }
}

impl Objective for Distillation {
    fn terms(&self) -> Vec<TermConfig> {
        self.recipe.terms()
    }

    fn counts(&self, batch: &HostBatch) -> Vec<usize> {
        self.recipe.counts(batch)
    }

    fn losses(&self, model: &Model, batch: &Batch) -> Losses {
        let Some(targets) = Targets::of(batch) else {
            return self.recipe.losses(model, batch);
        };
        let lessons: Vec<Lesson> = targets
            .times
            .iter()
            .enumerate()
            .map(|(number, &time)| self.lesson(time, number))
            .collect();
        let image = batch.targets.image.as_ref().expect("there are targets");
        let time = targets.column(&lessons, |lesson| lesson.time);
        let noisy = image.clean.clone() * time.clone() + image.eps.clone() * (-time + 1.0);
        let mut own = targets.moved(batch, noisy.clone(), &lessons, |lesson| lesson.time);
        let taught = self.taught(&own, &lessons, &targets);

        // z + e v: where the teacher's part ends, with v = (x - z) / (1 - t).
        let reach = |lesson: &Lesson| lesson.part / (1.0 - lesson.time).max(1e-6);
        let further =
            noisy.clone() + (taught.clone() - noisy.clone()) * targets.column(&lessons, reach);
        let mut behind =
            targets.moved(batch, further.clone(), &lessons, |lesson| lesson.time + lesson.part);
        targets.tell(&mut behind, &lessons, Lesson::rest);
        let rest = output(&model.valid(), &behind) - further.clone();

        // x = z + (1 - t) u: the clean estimate of the whole way from t to r.
        let whole = |lesson: &Lesson| match lesson.jump().size {
            size if size > 0.0 => (1.0 - lesson.time) / size,
            _ => 0.0,
        };
        let share = |lesson: &Lesson| {
            let left = 1.0 - lesson.time - lesson.part;
            if left > 1e-9 { lesson.rest().size / left } else { 0.0 }
        };
        let moved = further - noisy.clone() + rest * targets.column(&lessons, share);
        let jumped = noisy + moved * targets.column(&lessons, whole);
        let jumps = targets.column(&lessons, |lesson| f64::from(lesson.jump().size > 0.0));
        let clean = jumped * jumps.clone() + taught * (-jumps + 1.0);

        let level = |lesson: &Lesson| self.weight.weight(&Schedule::Linear.level(lesson.time));
        if let Some(target) = &mut own.targets.image {
            target.clean = clean;
            target.weight = targets.column(&lessons, level);
        }
        targets.tell(&mut own, &lessons, Lesson::jump);
        self.recipe.losses(model, &own)
    }
}

/// The clean estimate of a network at the target patches, `[target patches, patch_dim]`.
fn output(model: &Model, batch: &Batch) -> Tensor<2> {
    let target = batch.targets.image.as_ref().expect("the caller has targets");
    let hidden = model.hidden(&batch.inputs).select(0, target.tokens.clone());
    model.patches(hidden, &target.grids)
}

/// Where the target images of a batch stand among its images, and their patches among its patches.
struct Targets {
    /// The number of each target image among all images.
    images: Vec<usize>,
    /// The time with which each was noised.
    times: Vec<f64>,
    /// The number of patches of each.
    patches: Vec<usize>,
    /// The row of every patch of the batch in the table of all patches followed by those of the
    /// targets, which takes the place of a target patch.
    replaced: Tensor<1, Int>,
}

impl Targets {
    /// Finds the target images; nothing where there are none.
    fn of(batch: &Batch) -> Option<Self> {
        let (patches, target) = (batch.inputs.patches.as_ref()?, batch.targets.image.as_ref()?);
        let places = batch.inputs.rows * batch.inputs.tokens;
        let integers = |tensor: &Tensor<1, Int>| {
            let data = tensor.clone().into_data().convert::<i64>();
            data.try_to_vec::<i64>().expect("64-bit integers")
        };
        let (source, image) = (integers(&patches.source), integers(&patches.image));
        let mut replaced: Vec<i64> = (0..image.len() as i64).collect();
        let mut images = vec![];
        for (row, place) in integers(&target.tokens).into_iter().enumerate() {
            let patch = source[place as usize] as usize - places;
            replaced[patch] = (image.len() + row) as i64;
            let number = image[patch] as usize;
            if images.last() != Some(&number) {
                images.push(number);
            }
        }
        let times = images.iter().map(|&number| patches.timesteps[number]).collect();
        let count = replaced.len();
        let replaced =
            Tensor::from_data(TensorData::new(replaced, [count]), &patches.image.device());
        let patches = target.grids.iter().map(|grid| grid.tokens()).collect();
        Some(Self { images, times, patches, replaced })
    }

    /// A number of every target image for each of its patches: `[target patches, 1]`.
    fn column(&self, lessons: &[Lesson], of: impl Fn(&Lesson) -> f64) -> Tensor<2> {
        let repeated = lessons.iter().zip(&self.patches);
        let values: Vec<f32> =
            repeated.flat_map(|(lesson, &count)| vec![of(lesson) as f32; count]).collect();
        let count = values.len();
        Tensor::from_data(TensorData::new(values, [count, 1]), &self.replaced.device())
    }

    /// The batch with these target patches, `[target patches, patch_dim]`, at other times.
    fn moved(
        &self,
        batch: &Batch,
        noisy: Tensor<2>,
        lessons: &[Lesson],
        time: impl Fn(&Lesson) -> f64,
    ) -> Batch {
        let mut batch = batch.clone();
        if let Some(patches) = &mut batch.inputs.patches {
            let all = Tensor::cat(vec![patches.noisy.clone(), noisy], 0);
            patches.noisy = all.select(0, self.replaced.clone());
            for (&number, lesson) in self.images.iter().zip(lessons) {
                patches.timesteps[number] = time(lesson).min(1.0);
            }
        }
        batch
    }

    /// Tells the network of the batch of a jump for every target image.
    fn tell(&self, batch: &mut Batch, lessons: &[Lesson], jump: impl Fn(&Lesson) -> Jump) {
        if let Some(patches) = &mut batch.inputs.patches {
            patches.jumps = vec![Jump::default(); patches.timesteps.len()];
            for (&number, lesson) in self.images.iter().zip(lessons) {
                patches.jumps[number] = jump(lesson);
            }
        }
    }
}

/// Returns the mean squared difference of bytes, over 255², between what a model draws in so many
/// steps and what another draws by its own settings, from equal noise.
pub fn drawing_distance(
    model: &LoadedModel,
    steps: usize,
    teacher: &LoadedModel,
    prompts: &[Document],
    seed: u64,
) -> Result<f64, GenerateError> {
    let grid = teacher.grid()?;
    let wanted = teacher.draw(prompts, grid, &teacher.options(seed))?;
    let found = model.draw(prompts, grid, &GenerateOptions { steps, ..model.options(seed) })?;
    let mut sum = 0.0;
    let mut count = 0;
    for (wanted, found) in wanted.iter().zip(&found) {
        for (&wanted, &found) in wanted.rgb().iter().zip(found.rgb()) {
            sum += (f64::from(wanted) - f64::from(found)).powi(2);
            count += 1;
        }
    }
    Ok(sum / f64::from(255_u32.pow(2)) / f64::from(count.max(1)))
}

#[cfg(test)]
mod tests;

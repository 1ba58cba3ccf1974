//! A run in memory.

use std::sync::Arc;
use std::time::Duration;

use burn::module::Module;
use burn::optim::ModuleOptimizer;
use burn::prelude::*;
use mm_data::DataSet;
use mm_model::{LoadedModel, Model, ModelConfig};
use mm_text::Tokenizer;

use crate::TrainError;
use crate::dist::ProcessGroup;
use crate::objective::Objective;
use crate::optim::lora::merged;
use crate::optim::{Ema, StepGate};
use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::unread::Unread;
use crate::workers::Workers;

/// A run in memory: everything that a checkpoint must hold, and the data.
///
/// ```
/// use burn::prelude::Device;
/// use mm_train::{Recipe, Training, batch::Batches};
///
/// let recipe = Recipe::from_toml(include_str!("../../mm-cli/recipes/glyphs.toml")).unwrap();
/// let small = [("image.width", "16"), ("image.height", "16"), ("model.backbone.depth", "1")];
/// let recipe = recipe.with_all(&small).unwrap().with("run.batch", "4").unwrap();
/// let mut training = Training::start(recipe.clone(), &Device::flex()).unwrap();
/// let data = training.data.clone();
/// let tokenizer = training.tokenizer.clone();
/// let batch = Batches::new(&recipe, &data, &tokenizer).batch(0).unwrap();
/// let report = training.step(&batch).unwrap();
/// assert!(report.loss.is_finite() && training.progress.step == 1);
/// ```
pub struct Training {
    /// The recipe of the run.
    pub recipe: Recipe,
    /// The configuration of the model.
    pub config: ModelConfig,
    /// The tokenizer of the model.
    pub tokenizer: Tokenizer,
    /// The open data set, of whatever source.
    pub data: Arc<DataSet>,
    /// The plain device; the weights live on it with autodiff.
    pub device: Device,
    pub(crate) model: Model,
    pub(crate) objective: Arc<dyn Objective>,
    pub(crate) optimizer: ModuleOptimizer,
    /// Through this the device may refuse a step of the optimizer.
    pub(crate) gate: StepGate,
    /// The steps of which nothing was read yet.
    pub(crate) unread: Unread,
    pub(crate) ema: Ema,
    /// Holds the averages of `optimizer.emas`.
    pub(crate) emas: Vec<Ema>,
    /// The counters, which are saved with the weights.
    pub progress: Progress,
    pub(crate) workers: Workers,
    pub(crate) ranks: ProcessGroup,
    /// The time that the latest step spent adding gradients over the ranks, if there are several.
    pub(crate) added: Option<Duration>,
}

impl Training {
    /// Returns the run with another objective than the recipe's.
    pub fn with_objective(self, objective: Arc<dyn Objective>) -> Self {
        Self { objective, ..self }
    }

    /// Makes this run a rank among others, which must see the same data and stand where it stands.
    pub fn join(&mut self, ranks: ProcessGroup) -> Result<(), TrainError> {
        self.ranks = ranks;
        self.ranks.see_the_same(&self.data)?;
        self.ranks.agree(self.progress.step, &self.model)
    }

    /// Returns the bytes of gradients that every rank adds to those of the others in each step.
    pub fn gradient_bytes(&self) -> usize {
        if self.ranks.count == 1 { 0 } else { crate::dist::gradient_bytes(&self.model) }
    }

    /// Returns the number of trained values.
    pub fn parameters(&self) -> usize {
        self.model.num_params()
    }

    /// Returns the averaged weights as a model to generate with.
    pub fn averaged(&self) -> LoadedModel {
        self.average(&self.ema)
    }

    /// Returns one of the averages as a model to generate with.
    pub(crate) fn average(&self, ema: &Ema) -> LoadedModel {
        let loaded = self.loaded(ema.model(&self.model));
        merged(loaded, self.recipe.optimizer.lora, &self.device)
    }

    /// Returns the network that is trained.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Returns the weights themselves as a model.
    pub fn raw(&self) -> LoadedModel {
        self.loaded(self.model.valid())
    }

    fn loaded(&self, model: Model) -> LoadedModel {
        LoadedModel {
            config: self.config.clone(),
            tokenizer: self.tokenizer.clone(),
            model,
            generation: self.recipe.generation_config(),
        }
    }
}

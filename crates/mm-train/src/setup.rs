//! Building a run from a recipe: from new weights, from a model, or from the parts of a checkpoint.

use std::collections::BTreeSet;
use std::sync::Arc;

use burn::prelude::*;
use burn::tensor::FloatDType;
use mm_backbone::{Init, Precision};
use mm_data::{DataError, DataSet, Split};
use mm_model::parameters::{Weights, weights_of, with_weights};
use mm_model::{LoadedModel, Model, NetworkConfig};
use mm_text::Tokenizer;
use serde_json::Value;

use crate::corpus::tokenizer;
use crate::dist::ProcessGroup;
use crate::objective::RecipeObjective;
use crate::optim::lora::adapted;
use crate::optim::{Ema, StepGate, freeze, gated_optimizer};
use crate::plan::memory::check_weights;
use crate::progress::Progress;
use crate::recipe::{PrecisionChoice, Recipe};
use crate::represent::with_trained_codec;
use crate::training::Training;
use crate::unread::Unread;
use crate::workers::Workers;
use crate::{RecipeError, TrainError};

impl Training {
    /// Starts a run: opens the data, trains the tokenizer on the captions, draws the first weights.
    pub fn start(recipe: Recipe, device: &Device) -> Result<Self, TrainError> {
        let recipe = recipe.with_sizes_of_codec()?;
        let data = Arc::new(DataSet::open(&recipe.data, recipe.image)?);
        Self::start_with(recipe, data, device)
    }

    /// Starts a run over an open data set, such as one of a source of one's own; `recipe.data` is
    /// not read.
    pub fn start_with(
        recipe: Recipe,
        data: Arc<DataSet>,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let recipe = recipe.with_sizes_of_codec()?.with_precision_of(device);
        let recipe = recipe.with_scale_of_latents(&data, device)?;
        let tokenizer = tokenizer(&recipe, &data)?;
        let config = recipe.model_config(tokenizer.vocab());
        check_weights(&recipe, &config, device)?;
        let tracked = device.clone().autodiff();
        let mut init = Init::with_law(recipe.model.init, recipe.seed, &tracked);
        let model = Model::drawn(&config, &mut init).map_err(RecipeError::from)?;
        let model = with_trained_codec(&recipe, model, device)?;
        Self::of_parts(recipe, tokenizer, data, model, device)
    }

    /// Starts a run at the weights of `model`, with its tokenizer. Network, patches and noise must
    /// be those of the recipe; data, loss, optimizer and everything else may differ.
    pub fn from_model(
        recipe: Recipe,
        model: &LoadedModel,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let recipe = recipe.with_representation_of(&model.config.network);
        let recipe = recipe.with_precision_of(device);
        recipe.validate()?;
        let wanted = recipe.model_config(model.tokenizer.vocab());
        let tree = |config| serde_json::to_value(config).expect("a configuration is plain data");
        if let Some(misfit) = first_difference("", &tree(&model.config), &tree(&wanted)) {
            return Err(misfit);
        }
        let weights = weights_of(&model.model);
        if let Some(name) = first_broken(&weights) {
            return Err(TrainError::BrokenStart { name });
        }
        let fresh = Model::new(&wanted, recipe.seed, &device.clone().autodiff())
            .map_err(RecipeError::from)?;
        let start = with_weights(fresh, &weights);
        let data = Arc::new(DataSet::open(&recipe.data, recipe.image)?);
        Self::of_parts(recipe, model.tokenizer.clone(), data, start, device)
    }

    /// Starts a run at the weights of `model`, without adapters yet.
    fn of_parts(
        recipe: Recipe,
        tokenizer: Tokenizer,
        data: Arc<DataSet>,
        model: Model,
        device: &Device,
    ) -> Result<Self, TrainError> {
        check_device(&recipe, device)?;
        let model = adapted(model, recipe.optimizer.lora, recipe.seed);
        freeze::check(&model, &recipe.optimizer.freeze)?; // adapters leave only themselves to train
        let training = Self::assemble(recipe, tokenizer, data, model, device)?;
        training.data.check_trainable(training.recipe.vocab)?;
        Ok(training)
    }

    /// Puts a run together at its first step: the optimizer remembers nothing, and the averages are
    /// the weights.
    pub(crate) fn assemble(
        recipe: Recipe,
        tokenizer: Tokenizer,
        data: Arc<DataSet>,
        model: Model,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let optim = &recipe.optimizer;
        let other = |&decay: &f64| Ema::with_decay(decay, optim.ema_start, &model);
        let gate = StepGate::default();
        let training = Self {
            config: recipe.model_config(tokenizer.vocab()),
            objective: Arc::new(RecipeObjective::new(&recipe)),
            optimizer: gated_optimizer(optim, &gate),
            gate,
            unread: Unread::default(),
            ema: Ema::new(optim, &model),
            emas: optim.emas.iter().map(other).collect(),
            progress: Progress::default(),
            workers: Workers::new(recipe.run.micro_batches)?,
            ranks: ProcessGroup::single(),
            added: None,
            device: device.clone(),
            tokenizer,
            data,
            model,
            recipe,
        };
        check_held_out(&training)?;
        Ok(training)
    }
}

impl Recipe {
    /// Returns the recipe with a type in the place of `run.precision = "auto"`: the fastest of the
    /// device, or 32-bit floats for a codec, whose type of 16 bits must be named, and for a network
    /// that computes in nothing else.
    pub fn with_precision_of(mut self, device: &Device) -> Self {
        if self.run.precision == PrecisionChoice::Auto {
            let single =
                matches!(self.model.network, NetworkConfig::Codec(_) | NetworkConfig::Vit(_));
            let fastest = if single { Precision::F32 } else { Precision::fastest(device) };
            self.run.precision = fastest.into();
        }
        self
    }
}

/// Checks that a device can do what the recipe asks for.
pub(crate) fn check_device(recipe: &Recipe, device: &Device) -> Result<(), TrainError> {
    let able = |kind: FloatDType| device.supports_dtype(kind);
    check_precision(recipe.run.precision.fixed(), &format!("{device:?}"), &able)
}

/// Fails with the name of the device unless it calculates in the type, as every device does in
/// 32-bit floats.
fn check_precision(
    precision: Precision,
    device: &str,
    able: &dyn Fn(FloatDType) -> bool,
) -> Result<(), TrainError> {
    if precision == Precision::F32 || able(precision.dtype()) {
        return Ok(());
    }
    let has = Precision::ALL.into_iter().filter(|kind| able(kind.dtype()));
    let has = has.map(Precision::name).collect::<Vec<_>>().join(", ");
    let wanted = precision.name();
    Err(TrainError::Precision { device: device.to_owned(), wanted, has })
}

/// Checks that a run that asks for measurements has held-out records.
fn check_held_out(training: &Training) -> Result<(), TrainError> {
    let asked = training.recipe.run.validate_every;
    if asked > 0 && training.data.len(Split::HeldOut) == Some(0) {
        return Err(RecipeError::Data(DataError::Setting {
            field: "run.validate_every",
            found: asked.to_string(),
            wanted: "0, since the data hold no example out",
        })
        .into());
    }
    Ok(())
}

/// Returns the error that names the first place where two configurations differ, if there is one.
fn first_difference(path: &str, found: &Value, wanted: &Value) -> Option<TrainError> {
    if let (Value::Object(found), Value::Object(wanted)) = (found, wanted) {
        let names: BTreeSet<&String> = found.keys().chain(wanted.keys()).collect();
        let none = Value::Null;
        return names.into_iter().find_map(|name| {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let (found, wanted) = (found.get(name), wanted.get(name));
            first_difference(&path, found.unwrap_or(&none), wanted.unwrap_or(&none))
        });
    }
    (found != wanted).then(|| TrainError::Misfit {
        field: path.to_owned(),
        found: found.to_string(),
        wanted: wanted.to_string(),
    })
}

/// Names a weight that is not finite.
pub(crate) fn first_broken(weights: &Weights) -> Option<String> {
    let broken = weights.iter().find(|(_, weight)| !weight.values.iter().all(|v| v.is_finite()));
    broken.map(|(name, _)| name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_named_by_its_path() {
        let read = |text| serde_json::from_str::<Value>(text).unwrap();
        let one = read(r#"{"patch": 8, "backbone": {"depth": 2, "block": {"kind": "gau"}}}"#);
        let other = read(r#"{"patch": 8, "backbone": {"depth": 2, "block": {"kind": "dit"}}}"#);
        assert!(first_difference("", &one, &one).is_none());
        let said = first_difference("", &one, &other).unwrap().to_string();
        let wanted = "`backbone.block.kind` is \"gau\" in the model, \"dit\" in the recipe";
        assert!(said.ends_with(wanted), "{said}");
    }

    #[test]
    fn a_device_without_the_type_is_refused_by_name() {
        let said = |precision, able: &dyn Fn(FloatDType) -> bool| {
            check_precision(precision, "Device<Toaster(0)>", able).map_err(|why| why.to_string())
        };
        let message = "`Device<Toaster(0)>` does not calculate in bf16, which `run.precision` asks for, but in \
             f32, f16";
        assert_eq!(
            said(Precision::Bf16, &|kind| kind != FloatDType::BF16),
            Err(message.to_owned())
        );
        assert_eq!(said(Precision::Bf16, &|kind| kind == FloatDType::BF16), Ok(()));
        assert_eq!(said(Precision::F32, &|_| false), Ok(()));
        assert!(Device::flex().supports_dtype(Precision::Bf16.dtype()));
    }
}

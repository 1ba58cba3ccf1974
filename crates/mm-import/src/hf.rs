//! Model folders for the Python library `transformers`: the weights, the tokenizer, and the network
//! as PyTorch code that the folder brings along, for
//! `AutoModel.from_pretrained(DIR, trust_remote_code=True)`.
//!
//! | file | holds |
//! | --- | --- |
//! | `config.json` | the sizes, the settings of generation, and where the code stands |
//! | `generation_config.json` | the settings of generation |
//! | `model.safetensors` | the weights under our names, or several files and an index |
//! | `tokenizer.json`, `tokenizer_config.json` | the tokenizer |
//! | `modeling_mm.py`, `generation_mm.py` | the network, and documents, noise levels, generation |
//!
//! Bytes in, bytes out: no file is touched here.

use burn::tensor::{bf16, f16};
use mm_model::parameters::{Weight, Weights};
use mm_model::{GenerationConfig, LoadedModel, ModelConfig};
use safetensors::tensor::{Dtype, SafeTensorError, TensorView};
use serde_json::{Value, json};

/// The network in PyTorch.
const MODELING: &str = include_str!("hf/modeling_mm.py");
/// Documents, noise levels and generation in Python.
const GENERATION: &str = include_str!("hf/generation_mm.py");

/// The most bytes of a file of weights, as in `transformers`.
pub const SHARD_BYTES: usize = 5_000_000_000;

/// The type in which weights are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightType {
    /// 32-bit floats, as they are.
    F32,
    /// The upper half of a 32-bit float, rounded to nearest.
    Bf16,
    /// IEEE half precision, rounded to nearest. Numbers beyond 65504 become infinite.
    F16,
}

/// A model that cannot be written for `transformers`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HfError {
    /// The Python code has the transformer alone.
    #[error(
        "the network is a U-Net, a codec or one of codes, latents or classes, wanted the joined \
         transformer of patches, which alone `modeling_mm.py` has"
    )]
    Unet,
    /// The Python code does not have such blocks.
    #[error(
        "the network is of published weights, wanted one of this program: `modeling_mm.py` has no such blocks"
    )]
    Published,
    /// The Python code does not tell a network of steps and guidance.
    #[error("the model is distilled, wanted one that is not: `modeling_mm.py` knows no such time")]
    Distilled,
    /// The weights cannot be put into a safetensors file.
    #[error(transparent)]
    Weights(#[from] SafeTensorError),
    /// A weight is too large for the type.
    #[error("`{name}` holds {found}, wanted at most 65504 for `f16`")]
    TooLarge {
        /// The name of the weight.
        name: String,
        /// The number.
        found: f32,
    },
}

/// Takes a file, by its name and contents.
pub type TakeFile<'a, E> = &'a mut dyn FnMut(&str, &[u8]) -> Result<(), E>;

/// Writes all files of a model but the model card; `take` is given one after another, so that no
/// more than one file of weights is in memory twice. `shard_bytes` bounds a file of weights,
/// usually by [`SHARD_BYTES`]; a weight that is larger has a file of its own.
pub fn write<E: From<HfError>>(
    model: &LoadedModel,
    weights: &Weights,
    dtype: WeightType,
    shard_bytes: usize,
    take: TakeFile<'_, E>,
) -> Result<(), E> {
    if !matches!(model.config.network, mm_model::NetworkConfig::Unified(_)) {
        return Err(HfError::Unet.into());
    }
    let unified = model.config.network.unified();
    if unified.is_some_and(|unified| unified.backbone.block.is_persimmon()) {
        return Err(HfError::Published.into());
    }
    if model.config.time.is_distilled() {
        return Err(HfError::Distilled.into());
    }
    let pretty = |value: &Value| serde_json::to_vec_pretty(value).expect("plain data");
    take("config.json", &pretty(&config(&model.config, &model.generation, dtype)))?;
    take("generation_config.json", &pretty(&json!(model.generation)))?;
    take("tokenizer.json", model.tokenizer.to_json().as_bytes())?;
    take("tokenizer_config.json", &pretty(&tokenizer_config()))?;
    take("modeling_mm.py", MODELING.as_bytes())?;
    take("generation_mm.py", GENERATION.as_bytes())?;
    let shards = shards(weights, dtype, shard_bytes);
    if let [names] = &shards[..] {
        return take("model.safetensors", &file(weights, names, dtype)?);
    }
    let mut map = serde_json::Map::new();
    for (at, names) in shards.iter().enumerate() {
        let name = format!("model-{:05}-of-{:05}.safetensors", at + 1, shards.len());
        take(&name, &file(weights, names, dtype)?)?;
        map.extend(names.iter().map(|weight| ((*weight).to_owned(), json!(name))));
    }
    let total: usize = weights.values().map(|weight| bytes_of(weight, dtype)).sum();
    let index = json!({ "metadata": { "total_size": total }, "weight_map": map });
    take("model.safetensors.index.json", &pretty(&index))
}

/// Returns the contents of `config.json`.
fn config(model: &ModelConfig, generation: &GenerationConfig, dtype: WeightType) -> Value {
    json!({
        "model_type": "mm",
        "architectures": ["MmModel"],
        "auto_map": {
            "AutoConfig": "modeling_mm.MmConfig",
            "AutoModel": "modeling_mm.MmModel",
        },
        "dtype": dtype.name(),
        "network": model,
        "generation": generation,
    })
}

fn tokenizer_config() -> Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "[BEGIN]",
        "eos_token": "[END]",
        "pad_token": "[PAD]",
        "clean_up_tokenization_spaces": false,
    })
}

impl WeightType {
    /// Returns the name that PyTorch has for the type.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::Bf16 => "bfloat16",
            Self::F16 => "float16",
        }
    }

    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }

    pub(crate) fn stored(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::Bf16 => Dtype::BF16,
            Self::F16 => Dtype::F16,
        }
    }

    pub(crate) fn write(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::Bf16 => {
                values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect()
            }
            Self::F16 => {
                values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect()
            }
        }
    }
}

fn bytes_of(weight: &Weight, dtype: WeightType) -> usize {
    weight.values.len() * dtype.bytes()
}

/// Divides the names over files, in their order.
fn shards(weights: &Weights, dtype: WeightType, most: usize) -> Vec<Vec<&str>> {
    let (mut shards, mut held) = (vec![vec![]], 0);
    for (name, weight) in weights {
        let bytes = bytes_of(weight, dtype);
        if held > 0 && held + bytes > most {
            shards.push(vec![]);
            held = 0;
        }
        held += bytes;
        shards.last_mut().expect("never empty").push(name.as_str());
    }
    shards
}

/// Writes all weights as one safetensors file.
pub fn weights_file(weights: &Weights, dtype: WeightType) -> Result<Vec<u8>, HfError> {
    let names: Vec<&str> = weights.keys().map(String::as_str).collect();
    file(weights, &names, dtype)
}

/// Writes the weights of these names as safetensors.
fn file(weights: &Weights, names: &[&str], dtype: WeightType) -> Result<Vec<u8>, HfError> {
    let mut bytes = Vec::with_capacity(names.len());
    for name in names {
        let weight = &weights[*name];
        let too_large = |value: &&f32| value.is_finite() && f16::from_f32(**value).is_infinite();
        if dtype == WeightType::F16
            && let Some(found) = weight.values.iter().find(too_large)
        {
            return Err(HfError::TooLarge { name: (*name).to_owned(), found: *found });
        }
        bytes.push((*name, weight, dtype.write(&weight.values)));
    }
    let views = bytes.iter().map(|(name, weight, bytes)| {
        let view = TensorView::new(dtype.stored(), weight.shape.clone(), bytes);
        (*name, view.expect("shape and bytes agree"))
    });
    // PyTorch's loader asks who wrote the file.
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    Ok(safetensors::serialize(views, Some(metadata))?)
}

#[cfg(test)]
mod tests;

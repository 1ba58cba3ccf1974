//! A model folder: `config.json`, `model.safetensors`, `tokenizer.json`, each readable by the usual Python libraries.
//!
//! Every file is written beside its target and renamed, and a whole folder is written under another name first, so that
//! what stands under a final name is complete.

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};

use burn::prelude::*;
use mm_backbone::Init;
use mm_text::Tokenizer;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use crate::parameters::{Weight, Weights, shapes_of, weights_of, with_weights};
use crate::{FolderError, GenerationConfig, Model, ModelConfig};

/// The format that this version writes and reads.
pub const FORMAT: &str = "mm-1";

/// Weights, configuration and tokenizer: all that generation needs.
#[derive(Debug)]
pub struct LoadedModel {
    /// The shapes and their meaning.
    pub config: ModelConfig,
    /// The words; in a model of images alone it is there and never asked.
    pub tokenizer: Tokenizer,
    /// The weights.
    pub model: Model,
    /// The size of images and how they are drawn.
    pub generation: GenerationConfig,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    format: String,
    model: ModelConfig,
}

#[derive(Deserialize)]
struct FormatOnly {
    format: Option<serde_json::Value>,
}

impl LoadedModel {
    /// Reads a model folder onto `device`.
    pub fn load(folder: &Path, device: &Device) -> Result<Self, FolderError> {
        let config = load_config(folder)?;
        let path = folder.join("tokenizer.json");
        let tokenizer = Tokenizer::from_json(&fs_err::read(&path)?)
            .map_err(|why| malformed(&path, "tokenizer.json", &why))?;
        if config.has_text() && tokenizer.vocab() != config.vocab {
            return Err(FolderError::Vocab {
                path,
                found: tokenizer.vocab(),
                wanted: config.vocab,
            });
        }
        let (path, weights) = (folder.join("config.json"), folder.join("model.safetensors"));
        holds_enough(&weights, &config)?; // before memory is taken for as many
        let fresh = Model::drawn(&config, &mut Init::blank(device))
            .map_err(|source| FolderError::Config { path, source })?;
        let weights = load_weights(&weights, &fresh)?;
        let generation = load_generation_config(folder)?;
        Ok(Self { model: with_weights(fresh, &weights), config, tokenizer, generation })
    }

    /// Writes the four files into `folder`, which is made if it is not there; each replaces its forerunner at once.
    pub fn save(&self, folder: &Path) -> Result<(), FolderError> {
        save(folder, &self.config, &self.tokenizer, &weights_of(&self.model), &self.generation)
    }
}

/// Writes a model folder from its parts.
pub fn save(
    folder: &Path,
    config: &ModelConfig,
    tokenizer: &Tokenizer,
    weights: &Weights,
    generation: &GenerationConfig,
) -> Result<(), FolderError> {
    fs_err::create_dir_all(folder)?;
    let file = ConfigFile { format: FORMAT.to_owned(), model: config.clone() };
    let json = serde_json::to_string_pretty(&file).expect("a configuration is plain data");
    write_atomic(&folder.join("config.json"), json.as_bytes())?;
    let json = serde_json::to_string_pretty(generation).expect("settings are plain data");
    write_atomic(&folder.join("generation_config.json"), json.as_bytes())?;
    write_atomic(&folder.join("tokenizer.json"), tokenizer.to_json().as_bytes())?;
    save_weights(&folder.join("model.safetensors"), weights)
}

/// Reads and checks `config.json` alone.
pub fn load_config(folder: &Path) -> Result<ModelConfig, FolderError> {
    let path = folder.join("config.json");
    let bytes = fs_err::read(&path)?;
    let format: FormatOnly =
        serde_json::from_slice(&bytes).map_err(|why| malformed(&path, "config.json", &why))?;
    let found = match format.format {
        Some(serde_json::Value::String(name)) => name,
        Some(other) => other.to_string(),
        None => "none".to_owned(),
    };
    if found != FORMAT {
        return Err(FolderError::Version { path, found, wanted: FORMAT });
    }
    let file: ConfigFile =
        serde_json::from_slice(&bytes).map_err(|why| malformed(&path, "config.json", &why))?;
    file.model.validate().map_err(|source| FolderError::Config { path, source })?;
    Ok(file.model)
}

/// Reads and checks `generation_config.json` alone.
pub fn load_generation_config(folder: &Path) -> Result<GenerationConfig, FolderError> {
    let path = folder.join("generation_config.json");
    let bytes = fs_err::read(&path)?;
    serde_json::from_slice(&bytes).map_err(|why| malformed(&path, "generation_config.json", &why))
}

/// Writes weights as safetensors, 32-bit floats under their paths.
pub fn save_weights(path: &Path, weights: &Weights) -> Result<(), FolderError> {
    let bytes: Vec<(&String, &Weight, Vec<u8>)> = weights
        .iter()
        .map(|(name, weight)| {
            (name, weight, weight.values.iter().flat_map(|v| v.to_le_bytes()).collect())
        })
        .collect();
    let views = bytes.iter().map(|(name, weight, bytes)| {
        let view = TensorView::new(Dtype::F32, weight.shape.clone(), bytes)
            .expect("shape and bytes agree");
        (name.as_str(), view)
    });
    let metadata = [("format".to_owned(), FORMAT.to_owned())].into();
    let file = safetensors::serialize(views, Some(metadata))
        .map_err(|why| malformed(path, "safetensors", &why))?;
    write_atomic(path, &file)
}

/// Reads weights and compares every name and shape with those of `model`.
pub fn load_weights(path: &Path, model: &Model) -> Result<Weights, FolderError> {
    let bytes = fs_err::read(path)?;
    let file =
        SafeTensors::deserialize(&bytes).map_err(|why| malformed(path, "safetensors", &why))?;
    let wanted = shapes_of(model);
    if let Some(name) = file.names().into_iter().find(|name| !wanted.contains_key(*name)) {
        return Err(FolderError::Unknown { path: path.into(), name: name.to_owned() });
    }
    let mut weights = Weights::new();
    for (name, wanted) in wanted {
        let Ok(view) = file.tensor(&name) else {
            return Err(FolderError::Missing { path: path.into(), name, wanted });
        };
        if view.shape() != wanted {
            let found = view.shape().to_vec();
            return Err(FolderError::Shape { path: path.into(), name, found, wanted });
        }
        if view.dtype() != Dtype::F32 {
            return Err(FolderError::Type {
                path: path.into(),
                name,
                found: format!("{:?}", view.dtype()),
            });
        }
        let numbers = view.data().as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four));
        weights.insert(name, Weight { shape: wanted, values: numbers.collect() });
    }
    Ok(weights)
}

/// Compares the length of a file of weights with what the configuration asks for.
fn holds_enough(path: &Path, config: &ModelConfig) -> Result<(), FolderError> {
    let (found, wanted) = (fs_err::metadata(path)?.len(), 4 * config.parameters() as u128);
    if u128::from(found) < wanted {
        return Err(FolderError::TooShort { path: path.into(), found, wanted });
    }
    Ok(())
}

/// Writes a file so that at any moment the target is either the old one or the new one, whole.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), FolderError> {
    let scratch = scratch_beside(path);
    let written = (|| {
        let mut file = fs_err::File::create(&scratch)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs_err::rename(&scratch, path)
    })();
    if written.is_err() {
        let _ = fs_err::remove_file(&scratch); // the first error is the one to report
    }
    Ok(written?)
}

/// Where the next `path` is written before it is renamed.
fn scratch_beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    path.with_file_name(name)
}

/// `why` is told with its causes: where a parser gave up is often in the last of them.
fn malformed(path: &Path, format: &'static str, why: &(dyn Error + 'static)) -> FolderError {
    let mut told = why.to_string();
    for cause in std::iter::successors(why.source(), |why| (*why).source()) {
        let cause = cause.to_string();
        if !told.contains(&cause) {
            told += &format!(": {cause}");
        }
    }
    FolderError::Malformed { path: path.into(), format, why: told }
}

#[cfg(test)]
mod tests;

//! A model folder: `config.json`, `generation_config.json`, `model.safetensors` and
//! `tokenizer.json`, each readable by the usual Python libraries.
//!
//! Writes are atomic: each file goes to a temporary name and is then renamed. This is the only
//! module of the crate that touches files; it stands behind the feature `fs`.

use std::io::Write;
use std::path::{Path, PathBuf};

use burn::prelude::*;
use mm_text::Tokenizer;

use crate::loaded::{
    CONFIG, GENERATION, TOKENIZER, WEIGHTS, config_from_bytes, config_to_bytes,
    generation_from_bytes,
};
use crate::parameters::{Weights, weights_from_bytes, weights_of, weights_to_bytes};
use crate::{
    FileError, FolderError, GenerationConfig, LoadedModel, Model, ModelConfig, ModelParts,
};

impl LoadedModel {
    /// Reads a model folder onto `device`.
    pub fn load(folder: &Path, device: &Device) -> Result<Self, FolderError> {
        // The configuration comes first: a folder of another format may lack the other files.
        let config = fs_err::read(folder.join(CONFIG))?;
        config_from_bytes(&config).map_err(|why| why.in_file(folder.join(CONFIG)))?;
        let parts = ModelParts {
            config: &config,
            tokenizer: &fs_err::read(folder.join(TOKENIZER))?,
            generation: &fs_err::read(folder.join(GENERATION))?,
            weights: &fs_err::read(folder.join(WEIGHTS))?,
        };
        Self::from_parts(parts, device).map_err(|why| match why {
            FolderError::File { path, source } => source.in_file(folder.join(path)),
            other => other,
        })
    }

    /// Writes the four files into `folder`, which is made if it is not there; each replaces its
    /// forerunner at once.
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
    let settings = serde_json::to_vec_pretty(generation).expect("settings are plain data");
    write_atomic(&folder.join(CONFIG), &config_to_bytes(config))?;
    write_atomic(&folder.join(GENERATION), &settings)?;
    write_atomic(&folder.join(TOKENIZER), tokenizer.to_json().as_bytes())?;
    save_weights(&folder.join(WEIGHTS), weights)
}

/// Reads and checks `config.json` alone.
pub fn load_config(folder: &Path) -> Result<ModelConfig, FolderError> {
    let path = folder.join(CONFIG);
    config_from_bytes(&fs_err::read(&path)?).map_err(|why| why.in_file(path))
}

/// Reads `generation_config.json` alone.
pub fn load_generation_config(folder: &Path) -> Result<GenerationConfig, FolderError> {
    let path = folder.join(GENERATION);
    generation_from_bytes(&fs_err::read(&path)?).map_err(|why| why.in_file(path))
}

/// Writes weights as safetensors, 32-bit floats under their names.
pub fn save_weights(path: &Path, weights: &Weights) -> Result<(), FolderError> {
    let bytes = weights_to_bytes(weights)
        .map_err(|why| FileError::malformed("safetensors", &why).in_file(path))?;
    write_atomic(path, &bytes)
}

/// Reads weights and compares every name and shape with those of `model`.
pub fn load_weights(path: &Path, model: &Model) -> Result<Weights, FolderError> {
    weights_from_bytes(&fs_err::read(path)?, model).map_err(|why| why.in_file(path))
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

/// Returns where the next `path` is written before it is renamed.
fn scratch_beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests;

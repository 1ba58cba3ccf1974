//! A model folder: `config.json`, `generation_config.json`, `model.safetensors` and
//! `tokenizer.json`, each readable by the usual Python libraries. Weights in several files with an
//! index are read too, and never written.
//!
//! Writes are atomic: each file goes to a temporary name and is then renamed. This is the only
//! module of the crate that touches files; it stands behind the feature `fs`.

mod index;
mod mapped;
mod published;

use std::io::Write;
use std::path::{Path, PathBuf};

use burn::prelude::*;
use fs_err::File;
use mm_kernels::has_fused_blocks;
use mm_text::Tokenizer;

use crate::loaded::{
    CONFIG, GENERATION, TOKENIZER, WEIGHTS, config_from_bytes, config_to_bytes,
    generation_from_bytes, tokenizer_from_bytes,
};
use crate::parameters::{Weight, Weights, shapes_of, weights_of, weights_to_bytes};
use crate::stored::{OnLoad, Place, Shard, Stored};
use crate::{FileError, FolderError, GenerationConfig, LoadedModel, Model, ModelConfig};
use index::{INDEX, Index, index_from_bytes};

impl LoadedModel {
    /// Reads a model folder onto `device`. The weights are in `model.safetensors`, or in the files
    /// that `model.safetensors.index.json` names; they are read one at a time. A folder of
    /// diffusers' `AutoencoderKL` is read as it is published.
    pub fn load(folder: &Path, device: &Device) -> Result<Self, FolderError> {
        Self::load_telling(folder, device, &mut |_| ())
    }

    /// Does what [`load`](Self::load) does, and tells how far the reading is.
    pub fn load_telling(
        folder: &Path,
        device: &Device,
        on: OnLoad<'_>,
    ) -> Result<Self, FolderError> {
        // The configuration comes first: a folder of another format may lack the other files.
        let bytes = fs_err::read(folder.join(CONFIG))?;
        if published::is_published(&bytes) {
            return published::load(folder, &bytes, device);
        }
        let config = load_config(folder)?;
        let path = folder.join(TOKENIZER);
        let tokenizer = tokenizer_from_bytes(&fs_err::read(&path)?, &config)
            .map_err(|why| why.in_file(path))?;
        let generation = load_generation_config(folder)?;
        let model = stored(folder)?.model(&config, device, on)?;
        Ok(Self { config, tokenizer, model, generation })
    }

    /// Does what [`load`](Self::load) does for a model that is only asked and not trained. On the
    /// CPU the weights of a published model are mapped from their files and stay in their type:
    /// matrices of 16 bits are widened as they are used. Everything else is loaded as usual.
    pub fn load_to_ask(folder: &Path, device: &Device) -> Result<Self, FolderError> {
        Self::load_to_ask_telling(folder, device, &mut |_| ())
    }

    /// Does what [`load_to_ask`](Self::load_to_ask) does, and tells how far the reading is. Of
    /// weights that are mapped there is nothing to tell: they are read when they are used.
    pub fn load_to_ask_telling(
        folder: &Path,
        device: &Device,
        on: OnLoad<'_>,
    ) -> Result<Self, FolderError> {
        let config = load_config(folder)?;
        let unified = config.network.unified();
        let stays = unified.is_some_and(|unified| unified.backbone.block.is_persimmon());
        if !stays || !has_fused_blocks(device) {
            return Self::load_telling(folder, device, on);
        }
        let path = folder.join(TOKENIZER);
        let tokenizer = tokenizer_from_bytes(&fs_err::read(&path)?, &config)
            .map_err(|why| why.in_file(path))?;
        let generation = load_generation_config(folder)?;
        let stored = stored(folder)?;
        let maps = mapped::map_all(stored.files())?;
        let data = |file: usize, place: Place| maps[file].data(&place);
        let model = stored.model_as_stored(&config, device, &data)?;
        Ok(Self { config, tokenizer, model, generation })
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
    save_all_but_weights(folder, config, tokenizer, generation)?;
    save_weights(&folder.join(WEIGHTS), weights)
}

/// Writes the files of a model folder but the weights, which may be too large to be in memory.
pub fn save_all_but_weights(
    folder: &Path,
    config: &ModelConfig,
    tokenizer: &Tokenizer,
    generation: &GenerationConfig,
) -> Result<(), FolderError> {
    fs_err::create_dir_all(folder)?;
    let settings = serde_json::to_vec_pretty(generation).expect("settings are plain data");
    write_atomic(&folder.join(CONFIG), &config_to_bytes(config))?;
    write_atomic(&folder.join(GENERATION), &settings)?;
    write_atomic(&folder.join(TOKENIZER), tokenizer.to_json().as_bytes())
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
    let mut stored = Stored::new(path.to_owned(), vec![(path.to_owned(), open(path)?)])?;
    let shapes = shapes_of(model);
    stored.check(&shapes)?;
    let read = |(name, shape): (String, Vec<usize>)| {
        let values = stored.read(&name, &shape)?;
        Ok((name, Weight { shape, values }))
    };
    shapes.into_iter().map(read).collect()
}

/// Lists the files that hold the weights of a model folder.
pub fn weight_files(folder: &Path) -> Result<Vec<PathBuf>, FolderError> {
    Ok(match index_of(folder)? {
        None => vec![folder.join(WEIGHTS)],
        Some(index) => index.into_keys().map(|file| folder.join(file)).collect(),
    })
}

/// Reads the index of a folder whose weights are in several files; `None` where they are in one.
fn index_of(folder: &Path) -> Result<Option<Index>, FolderError> {
    let path = folder.join(INDEX);
    if folder.join(WEIGHTS).exists() || !path.exists() {
        return Ok(None);
    }
    read_index(&path).map(Some)
}

fn read_index(path: &Path) -> Result<Index, FolderError> {
    index_from_bytes(&fs_err::read(path)?).map_err(|why| why.in_file(path))
}

fn open(path: &Path) -> Result<Shard<File>, FolderError> {
    Shard::open(File::open(path)?).map_err(|why| why.in_file(path))
}

/// Opens the weights of a model folder.
fn stored(folder: &Path) -> Result<Stored<File>, FolderError> {
    open_tensors(folder, "model")
}

/// Opens the tensors of a folder: `STEM.safetensors`, or else the files that
/// `STEM.safetensors.index.json` names.
pub fn open_tensors(folder: &Path, stem: &str) -> Result<Stored<File>, FolderError> {
    let whole = folder.join(format!("{stem}.safetensors"));
    let index = folder.join(format!("{stem}.safetensors.index.json"));
    if whole.exists() || !index.exists() {
        let shard = open(&whole)?;
        return Stored::new(whole.clone(), vec![(whole, shard)]);
    }
    let mut shards = vec![];
    for (file, names) in read_index(&index)? {
        let path = folder.join(&file);
        if !path.exists() {
            let name = names.into_iter().next().unwrap_or_default();
            return Err(FileError::NoShard { name, found: file }.in_file(index));
        }
        let shard = open(&path)?;
        if let Some(name) = names.into_iter().find(|name| !shard.has(name)) {
            return Err(FileError::NotHere { name }.in_file(path));
        }
        shards.push((path, shard));
    }
    Stored::new(index, shards)
}

/// Writes a file as [`write_atomic`] does, in pieces, so that it is never in memory whole.
pub fn write_atomic_in_pieces<E: From<FolderError>>(
    path: &Path,
    write: &mut dyn FnMut(&mut dyn Write) -> Result<(), E>,
) -> Result<(), E> {
    let scratch = scratch_beside(path);
    let io = |why: std::io::Error| E::from(FolderError::from(why));
    let written = (|| {
        let mut file = File::create(&scratch).map_err(io)?;
        write(&mut file)?;
        file.sync_all().map_err(io)?;
        fs_err::rename(&scratch, path).map_err(io)
    })();
    if written.is_err() {
        let _ = fs_err::remove_file(&scratch); // the first error is the one to report
    }
    written
}

/// Writes a file so that at any moment the target is either the old one or the new one, whole.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), FolderError> {
    let scratch = scratch_beside(path);
    let written = (|| {
        let mut file = File::create(&scratch)?;
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

//! Weights as they are stored: one safetensors file, or several with an index, whose tensors are
//! read one at a time.
//!
//! Tensors of type F32, F16, BF16 and F64 are read, the last rounded to 32-bit floats. No file is
//! opened here: a shard is anything that can be read and sought in.

mod fill;
mod shard;

use std::collections::BTreeMap;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

use burn::prelude::*;
use mm_backbone::Init;

use crate::parameters::{filled, shapes_of};
use crate::{FileError, FolderError, Model, ModelConfig};

use fill::filled_as_stored;
pub use safetensors::tensor::{Dtype, TensorInfo};
pub use shard::{Place, Shard};

/// Returns the numbers of a tensor from the number of its file and its place there; nothing if they
/// cannot be used where they lie.
pub type DataOf<'a> = &'a dyn Fn(usize, Place) -> Option<TensorData>;

/// How much of the weights of a model was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadProgress {
    /// Bytes of the files that were read.
    pub done: u64,
    /// Bytes of all weights in the files.
    pub all: u64,
}

/// Is told how far the reading is, once for every weight.
pub type OnLoad<'a> = &'a mut dyn FnMut(LoadProgress);

/// All files of a set of weights.
#[derive(Debug)]
pub struct Stored<R> {
    /// The file that an error of the whole set names.
    home: PathBuf,
    shards: Vec<(PathBuf, Shard<R>)>,
}

impl<R: Read + Seek> Stored<R> {
    /// Joins the files of a set of weights, of which there can be one. Fails if two hold a tensor
    /// of the same name.
    pub fn new(home: PathBuf, shards: Vec<(PathBuf, Shard<R>)>) -> Result<Self, FolderError> {
        let mut seen: BTreeMap<&str, &PathBuf> = BTreeMap::new();
        for (path, shard) in &shards {
            for name in shard.names() {
                if let Some(other) = seen.insert(name, path) {
                    let other = other.file_name().unwrap_or_default();
                    let (name, other) = (name.to_owned(), other.to_string_lossy().into_owned());
                    return Err(FileError::Twice { name, other }.in_file(path));
                }
            }
        }
        Ok(Self { home, shards })
    }

    /// Returns the file that an error of the whole set names.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Returns the names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.shards.iter().flat_map(|(_, shard)| shard.names())
    }

    /// Returns shape and type of a tensor.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.shards.iter().find_map(|(_, shard)| shard.tensor(name))
    }

    /// Reads the bytes of a tensor as they are stored: little-endian, last axis fastest.
    pub fn read_bytes(&mut self, name: &str) -> Result<Vec<u8>, FolderError> {
        let holds = |(_, shard): &&mut (PathBuf, Shard<R>)| shard.has(name);
        match self.shards.iter_mut().find(holds) {
            Some((path, shard)) => shard.read_bytes(name).map_err(|why| why.in_file(&*path)),
            None => {
                let (name, wanted) = (name.to_owned(), vec![]);
                Err(FileError::Missing { name, wanted }.in_file(&self.home))
            }
        }
    }

    /// Makes the network of a configuration with these weights. Memory is taken after their number
    /// is compared with that of the configuration, and for one tensor at a time beside the network.
    pub fn model(
        mut self,
        config: &ModelConfig,
        device: &Device,
        on: OnLoad<'_>,
    ) -> Result<Model, FolderError> {
        let found = self.shards.iter().map(|(_, shard)| shard.count()).sum();
        let wanted = config.parameters() as u128;
        if found < wanted {
            return Err(FileError::TooFew { found, wanted }.in_file(self.home));
        }
        let blank = Model::drawn(config, &mut Init::blank(device))
            .map_err(|why| FileError::from(why).in_file(self.home.clone()))?;
        self.check(&shapes_of(&blank))?;
        let all = self.shards.iter().map(|(_, shard)| shard.bytes()).sum();
        let mut progress = LoadProgress { done: 0, all };
        filled(blank, &mut |name, shape| {
            let values = self.read(name, shape)?;
            progress.done += self.bytes_of(name);
            on(progress);
            Ok(values)
        })
    }

    /// Returns the bytes that a tensor takes in its file.
    fn bytes_of(&self, name: &str) -> u64 {
        let bytes = |info: &TensorInfo| (info.data_offsets.1 - info.data_offsets.0) as u64;
        self.info(name).map_or(0, bytes)
    }

    /// Makes the network of a configuration with these weights, whose matrices stay in the type in
    /// which they are stored. `data` returns the numbers of a tensor from its place in a file,
    /// without a copy if it can; nothing has it read as 32-bit floats.
    pub fn model_as_stored(
        mut self,
        config: &ModelConfig,
        device: &Device,
        data: DataOf<'_>,
    ) -> Result<Model, FolderError> {
        let shapes = Model::drawn(config, &mut Init::shapes(device))
            .map_err(|why| FileError::from(why).in_file(self.home.clone()))?;
        self.check(&shapes_of(&shapes))?;
        filled_as_stored(shapes, device, &mut |name, shape| {
            let holds = |(_, shard): &(PathBuf, Shard<R>)| shard.has(name);
            if let Some(index) = self.shards.iter().position(holds)
                && shape.len() > 1
                && let Some(found) = self.shards[index].1.place(name)
                && let Some(data) = data(index, found)
            {
                return Ok(data);
            }
            Ok(TensorData::new(self.read(name, shape)?, shape.to_vec()))
        })
    }

    /// Returns the files in the order in which a [`DataOf`] counts them.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.shards.iter().map(|(path, _)| path.as_path())
    }

    /// Compares every name, shape and type with those wanted.
    pub fn check(&self, wanted: &BTreeMap<String, Vec<usize>>) -> Result<(), FolderError> {
        for (path, shard) in &self.shards {
            if let Some(name) = shard.names().find(|name| !wanted.contains_key(*name)) {
                return Err(FileError::Unknown { name: name.to_owned() }.in_file(path));
            }
        }
        for (name, shape) in wanted {
            let Some((path, shard)) = self.shards.iter().find(|(_, shard)| shard.has(name)) else {
                let (name, wanted) = (name.clone(), shape.clone());
                return Err(FileError::Missing { name, wanted }.in_file(&self.home));
            };
            shard.check(name, shape).map_err(|why| why.in_file(path))?;
        }
        Ok(())
    }

    /// Says whether a file holds a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.shards.iter().any(|(_, shard)| shard.has(name))
    }

    /// Reads a tensor of this shape as 32-bit floats, last axis fastest.
    pub fn read(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, FolderError> {
        let holds = |(_, shard): &&mut (PathBuf, Shard<R>)| shard.has(name);
        match self.shards.iter_mut().find(holds) {
            Some((path, shard)) => shard.read(name, shape).map_err(|why| why.in_file(&*path)),
            None => {
                let (name, wanted) = (name.to_owned(), shape.to_vec());
                Err(FileError::Missing { name, wanted }.in_file(&self.home))
            }
        }
    }
}

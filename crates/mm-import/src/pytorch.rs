//! Checkpoints that `torch.save` wrote (`.pth`, `.pt`), as sets of tensors.
//!
//! The pickle in such a file is parsed by the crate `pytorch-reader`, the one behind `burn-store`.
//! It builds tensors out of the few names that PyTorch writes and runs nothing that the file asks
//! for.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use pytorch_reader::{DType, PytorchError, PytorchReader, Tensor};
use safetensors::tensor::Dtype;

use crate::published::{ImportError, Source, Tensors};

/// The endings of such files.
const ENDINGS: [&str; 2] = ["pth", "pt"];

/// What checkpoints call the weights that are to be used; averaged ones come first.
const KEYS: [&str; 4] = ["model_ema1", "ema", "state_dict", "model"];

/// The tensors of one checkpoint.
pub struct Checkpoint {
    path: PathBuf,
    tensors: BTreeMap<String, Tensor>,
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Checkpoint({} tensors of `{}`)", self.tensors.len(), self.path.display())
    }
}

impl Checkpoint {
    /// Opens a checkpoint: a dictionary of tensors, or one that holds such a dictionary under
    /// `model_ema1`, `ema`, `state_dict` or `model`, of which the first that is there is taken.
    pub fn open(path: &Path) -> Result<Self, ImportError> {
        let malformed = |why: PytorchError| ImportError::Malformed {
            path: path.to_owned(),
            format: "PyTorch",
            why: why.to_string(),
        };
        for key in KEYS {
            match PytorchReader::with_top_level_key(path, key) {
                Ok(found) if !found.is_empty() => return Ok(Self::of(path, found)),
                Ok(_) | Err(PytorchError::KeyNotFound(_)) => {}
                Err(why) => return Err(malformed(why)),
            }
        }
        PytorchReader::new(path).map(|found| Self::of(path, found)).map_err(malformed)
    }

    fn of(path: &Path, found: PytorchReader) -> Self {
        Self { path: path.to_owned(), tensors: found.into_tensors().into_iter().collect() }
    }
}

impl Tensors for Checkpoint {
    fn home(&self) -> &Path {
        &self.path
    }

    fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.tensors.get(name).map(|tensor| tensor.shape().to_vec())
    }

    fn dtype(&self, name: &str) -> Option<Dtype> {
        self.tensors.get(name).map(|tensor| match tensor.dtype() {
            DType::F64 => Dtype::F64,
            DType::F32 => Dtype::F32,
            DType::F16 => Dtype::F16,
            DType::BF16 => Dtype::BF16,
            DType::I64 => Dtype::I64,
            _ => Dtype::U8,
        })
    }

    fn read(&mut self, name: &str) -> Result<Vec<u8>, ImportError> {
        let missing = || ImportError::Tensor {
            path: self.path.clone(),
            name: name.to_owned(),
            found: "missing".to_owned(),
            wanted: "a tensor".to_owned(),
        };
        Ok(self.tensors.get(name).ok_or_else(missing)?.read()?)
    }
}

/// Opens the weights of a source that is one file: a checkpoint of PyTorch, or safetensors. Nothing
/// for a folder.
pub fn file_of_weights(source: &Source) -> Result<Option<Box<dyn Tensors>>, ImportError> {
    let path = source.path();
    if !path.is_file() {
        return Ok(None);
    }
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    if ENDINGS.contains(&ending.as_str()) {
        return Ok(Some(Box::new(Checkpoint::open(path)?)));
    }
    let (Some(folder), Some(stem)) = (path.parent(), path.file_stem()) else { return Ok(None) };
    if ending != "safetensors" {
        return Ok(None);
    }
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    Source::new(folder)?.tensors("", &stem.to_string_lossy()).map(Some)
}

//! One safetensors file.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;

use burn::tensor::{bf16, f16};
use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use crate::FileError;

/// How a Git LFS pointer begins.
const POINTER: &[u8] = b"version https://git-lfs";
/// The most bytes of a Git LFS pointer, by its specification.
const POINTER_BYTES: u64 = 1024;
/// The bytes that say how long the header is.
const LENGTH_BYTES: u64 = 8;

/// A safetensors file: its header is in memory, its tensors are not.
#[derive(Debug)]
pub struct Shard<R> {
    reader: R,
    tensors: BTreeMap<String, TensorInfo>,
    /// The byte at which the tensors begin.
    start: u64,
}

/// Where the numbers of a tensor lie in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Their type.
    pub dtype: Dtype,
    /// The shape of the tensor.
    pub shape: Vec<usize>,
    /// The bytes of the file.
    pub bytes: Range<usize>,
}

impl<R: Read + Seek> Shard<R> {
    /// Reads the header, and compares it with the length of the file.
    pub fn open(mut reader: R) -> Result<Self, FileError> {
        let malformed = |why: String| FileError::Malformed { format: "safetensors", why };
        let found = reader.seek(SeekFrom::End(0))?;
        reader.rewind()?;
        if found < LENGTH_BYTES {
            return Err(malformed(format!("it has {found} bytes, wanted {LENGTH_BYTES} and more")));
        }
        if let Some(wanted) = pointed_at(&mut reader)? {
            return Err(FileError::LfsPointer { found, wanted });
        }
        let mut length = [0; LENGTH_BYTES as usize];
        reader.read_exact(&mut length)?;
        let length = u64::from_le_bytes(length);
        if length > found - LENGTH_BYTES {
            return Err(malformed(format!(
                "its first {LENGTH_BYTES} bytes tell of a header of {length} bytes, the file has {found}"
            )));
        }
        let mut text = vec![0; length as usize];
        reader.read_exact(&mut text)?;
        let header: Metadata = serde_json::from_slice(&text).map_err(|why| {
            FileError::malformed("safetensors", &SafeTensorError::InvalidHeaderDeserialization(why))
        })?;
        let start = LENGTH_BYTES + length;
        let wanted = u128::from(start) + header.data_len() as u128;
        if wanted != u128::from(found) {
            return Err(malformed(format!(
                "its header tells of {wanted} bytes in all, the file has {found}"
            )));
        }
        let tensors = header.tensors();
        let tensors = tensors.into_iter().map(|(name, info)| (name, info.clone())).collect();
        Ok(Self { reader, tensors, start })
    }

    /// Returns the names of the tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Says whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Returns how many numbers all tensors hold; the file has as many, by its length.
    pub fn count(&self) -> u128 {
        let count = |info: &TensorInfo| info.shape.iter().product::<usize>() as u128;
        self.tensors.values().map(count).sum()
    }

    /// Returns how many bytes all tensors take.
    pub fn bytes(&self) -> u64 {
        let offsets = self.tensors.values().map(|info| info.data_offsets);
        offsets.map(|(from, to)| (to - from) as u64).sum()
    }

    /// Checks the shape of a tensor, and that its type can be read.
    pub fn check(&self, name: &str, wanted: &[usize]) -> Result<(), FileError> {
        let info = self.info(name, wanted)?;
        if info.shape != wanted {
            let (found, wanted) = (info.shape.clone(), wanted.to_vec());
            return Err(FileError::Shape { name: name.to_owned(), found, wanted });
        }
        match info.dtype {
            Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64 => Ok(()),
            other => Err(FileError::Type { name: name.to_owned(), found: format!("{other:?}") }),
        }
    }

    /// Reads a tensor of this shape as 32-bit floats, last axis fastest.
    pub fn read(&mut self, name: &str, wanted: &[usize]) -> Result<Vec<f32>, FileError> {
        self.check(name, wanted)?;
        let dtype = self.info(name, wanted)?.dtype;
        let bytes = self.read_bytes(name)?;
        let two = || bytes.as_chunks().0.iter().map(|two| u16::from_le_bytes(*two));
        Ok(match dtype {
            Dtype::F16 => two().map(|bits| f16::from_bits(bits).to_f32()).collect(),
            Dtype::BF16 => two().map(|bits| bf16::from_bits(bits).to_f32()).collect(),
            Dtype::F64 => {
                let eight = bytes.as_chunks().0.iter().map(|eight| f64::from_le_bytes(*eight));
                eight.map(|found| narrowed(name, found)).collect::<Result<_, _>>()?
            }
            _ => bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect(),
        })
    }

    /// Returns where the numbers of a tensor lie in the file.
    pub fn place(&self, name: &str) -> Option<Place> {
        let info = self.tensors.get(name)?;
        let (from, to) = info.data_offsets;
        let start = self.start as usize;
        let (shape, dtype) = (info.shape.clone(), info.dtype);
        Some(Place { dtype, shape, bytes: start + from..start + to })
    }

    /// Returns shape and type of a tensor.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name)
    }

    /// Reads the bytes of a tensor as they are stored: little-endian, last axis fastest.
    pub fn read_bytes(&mut self, name: &str) -> Result<Vec<u8>, FileError> {
        let (from, to) = self.info(name, &[])?.data_offsets;
        self.reader.seek(SeekFrom::Start(self.start + from as u64))?;
        let mut bytes = vec![0; to - from];
        self.reader.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn info(&self, name: &str, wanted: &[usize]) -> Result<&TensorInfo, FileError> {
        self.tensors
            .get(name)
            .ok_or_else(|| FileError::Missing { name: name.to_owned(), wanted: wanted.to_vec() })
    }
}

/// Rounds a number; one that is finite stays finite.
fn narrowed(name: &str, found: f64) -> Result<f32, FileError> {
    let number = found as f32;
    if number.is_finite() || !found.is_finite() {
        return Ok(number);
    }
    Err(FileError::TooLarge { name: name.to_owned(), found })
}

/// Returns the length of the file that a Git LFS pointer stands for; nothing for another file,
/// whose reader is then at its beginning. A pointer without a length has 0.
fn pointed_at<R: Read + Seek>(reader: &mut R) -> Result<Option<u64>, FileError> {
    let mut text = vec![];
    reader.by_ref().take(POINTER_BYTES).read_to_end(&mut text)?;
    reader.rewind()?;
    if !text.starts_with(POINTER) {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&text);
    let size = text.lines().find_map(|line| line.strip_prefix("size ")?.trim().parse().ok());
    Ok(Some(size.unwrap_or(0)))
}

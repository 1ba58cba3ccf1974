//! Files of weights that are mapped into memory: a tensor is the bytes where they lie in the file,
//! which the system reads when they are first asked for.

use std::path::Path;

use burn::prelude::TensorData;
use burn::tensor::{AllocationProperty, Bytes, DType};
use fs_err::File;
use mm_kernels::{MappedFile, map_file};

use crate::FolderError;
use crate::stored::{Dtype, Place};

/// The bytes to which numbers must be aligned, whatever their type.
const ALIGN: usize = 4;

/// A mapped file of weights.
pub(super) struct Mapped(MappedFile);

/// Maps files.
pub(super) fn map_all<'a>(
    paths: impl Iterator<Item = &'a Path>,
) -> Result<Vec<Mapped>, FolderError> {
    paths.map(|path| Ok(Mapped(map_file(File::open(path)?.file())?))).collect()
}

impl Mapped {
    /// Returns a tensor of the file without a copy; nothing for a type that tensors do not have, or
    /// where the bytes are not aligned.
    pub(super) fn data(&self, place: &Place) -> Option<TensorData> {
        let dtype = match place.dtype {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            _ => return None,
        };
        let bytes = self.0.get(place.bytes.clone())?;
        if bytes.as_ptr().align_offset(ALIGN) != 0 {
            return None;
        }
        let bytes = Bytes::from_shared(bytes, AllocationProperty::File);
        Some(TensorData::from_bytes(bytes, place.shape.clone(), dtype))
    }
}

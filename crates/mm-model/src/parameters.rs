//! Weights by name: what a checkpoint stores and an average keeps, and how they are written.

use safetensors::tensor::{Dtype, SafeTensorError, TensorView};

pub use mm_backbone::parameters::{
    ReadWeight, Weight, Weights, filled, shapes_of, weights_of, with_weights,
};

/// The version of a model folder that this library writes and reads; files of weights carry it too.
pub const FORMAT: u32 = 2;

/// Writes weights as safetensors: 32-bit floats under their names.
pub fn weights_to_bytes(weights: &Weights) -> Result<Vec<u8>, SafeTensorError> {
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
    let metadata = [("format".to_owned(), FORMAT.to_string())].into();
    safetensors::serialize(views, Some(metadata))
}

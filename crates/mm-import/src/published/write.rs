//! The weights of an imported model as one safetensors file, written one tensor at a time.

use std::io::Write;

use mm_model::parameters::FORMAT;
use safetensors::tensor::Dtype;
use serde_json::{Map, Value, json};

use super::plan::size_of_dtype;
use super::{ImportError, Imported, WeightPlan};
use crate::hf::WeightType;

/// How far the writing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportProgress {
    /// Bytes that are written.
    pub done: u64,
    /// Bytes of all weights.
    pub all: u64,
}

impl Imported {
    /// Writes all weights as a safetensors file, in the types in which they are published or all in
    /// one. The memory of a few copies of the largest tensor is taken, and no more.
    pub fn write_weights(
        &mut self,
        dtype: Option<WeightType>,
        file: &mut dyn Write,
        on: &mut dyn FnMut(ImportProgress),
    ) -> Result<(), ImportError> {
        let mut order: Vec<&WeightPlan> = self.weights.iter().collect();
        order.sort_by(|one, other| one.name.cmp(&other.name));
        let mut header = Map::new();
        header.insert("__metadata__".to_owned(), json!({ "format": FORMAT.to_string() }));
        let mut all = 0;
        for plan in &order {
            let stored = dtype.map_or_else(|| plan.dtype(&self.sets), WeightType::stored);
            let end = all + plan.shape.iter().product::<usize>() * size_of_dtype(stored);
            let entry = json!({
                "dtype": name_of(stored), "shape": plan.shape, "data_offsets": [all, end],
            });
            header.insert(plan.name.clone(), entry);
            all = end;
        }
        let header = padded(&Value::Object(header));
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        let mut progress = ImportProgress { done: 0, all: all as u64 };
        for plan in order {
            let bytes = plan.bytes(&mut self.sets, dtype)?;
            file.write_all(&bytes)?;
            progress.done += bytes.len() as u64;
            on(progress);
        }
        Ok(())
    }
}

fn name_of(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F16 => "F16",
        Dtype::BF16 => "BF16",
        _ => "F32",
    }
}

/// Writes the header with spaces behind it, so that the tensors begin at a multiple of eight bytes.
fn padded(header: &Value) -> Vec<u8> {
    let mut text = header.to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    text
}

//! Weights by name: what a checkpoint stores and an average keeps.

use std::collections::BTreeMap;

use burn::module::{ModuleMapper, ModuleVisitor, Param};
use burn::prelude::*;

use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, TensorView};

use crate::{FileError, Model};

/// The version of a model folder that this library writes and reads; files of weights carry it too.
pub const FORMAT: u32 = 2;

/// A weight on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct Weight {
    /// Sizes of the axes.
    pub shape: Vec<usize>,
    /// The numbers, last axis fastest.
    pub values: Vec<f32>,
}

/// All weights of a model by their path, such as `backbone.blocks.0.qkv_proj.weight`.
pub type Weights = BTreeMap<String, Weight>;

/// Copies every weight to the host.
pub fn weights_of(model: &Model) -> Weights {
    let mut visitor = Collect::default();
    model.visit(&mut visitor);
    visitor.found
}

/// Shapes of every weight by path, without copying any.
pub fn shapes_of(model: &Model) -> BTreeMap<String, Vec<usize>> {
    let mut visitor = Shapes::default();
    model.visit(&mut visitor);
    visitor.found
}

/// The model with its weights replaced by those of the same name; each must be there in the right
/// shape.
pub fn with_weights(model: Model, weights: &Weights) -> Model {
    model.map(&mut Replace { path: vec![], weights })
}

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

/// Reads weights from safetensors and compares every name and shape with those of `model`.
pub fn weights_from_bytes(bytes: &[u8], model: &Model) -> Result<Weights, FileError> {
    let file =
        SafeTensors::deserialize(bytes).map_err(|why| FileError::malformed("safetensors", &why))?;
    let wanted = shapes_of(model);
    if let Some(name) = file.names().into_iter().find(|name| !wanted.contains_key(*name)) {
        return Err(FileError::Unknown { name: name.to_owned() });
    }
    let mut weights = Weights::new();
    for (name, wanted) in wanted {
        let Ok(view) = file.tensor(&name) else {
            return Err(FileError::Missing { name, wanted });
        };
        if view.shape() != wanted {
            return Err(FileError::Shape { name, found: view.shape().to_vec(), wanted });
        }
        if view.dtype() != Dtype::F32 {
            return Err(FileError::Type { name, found: format!("{:?}", view.dtype()) });
        }
        let numbers = view.data().as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four));
        weights.insert(name, Weight { shape: wanted, values: numbers.collect() });
    }
    Ok(weights)
}

#[derive(Default)]
struct Collect {
    path: Vec<String>,
    found: Weights,
}

impl ModuleVisitor for Collect {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val().without_autodiff();
        let shape = value.dims().to_vec();
        let values = value.into_data().try_to_vec::<f32>().expect("weights are 32-bit floats");
        self.found.insert(self.path.join("."), Weight { shape, values });
    }
}

#[derive(Default)]
struct Shapes {
    path: Vec<String>,
    found: BTreeMap<String, Vec<usize>>,
}

impl ModuleVisitor for Shapes {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.found.insert(self.path.join("."), param.lazy_shape().to_vec());
    }
}

struct Replace<'a> {
    path: Vec<String>,
    weights: &'a Weights,
}

impl ModuleMapper for Replace<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let weight = &self.weights[&self.path.join(".")];
        let data = TensorData::new(weight.values.clone(), weight.shape.clone());
        param.map(|old| {
            let new = Tensor::<D>::from_data(data, &old.device());
            assert_eq!(new.dims(), old.dims(), "the caller compares shapes");
            if old.is_require_grad() { new.require_grad() } else { new }
        })
    }
}

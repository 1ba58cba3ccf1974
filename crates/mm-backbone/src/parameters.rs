//! Weights of any module by name: what a checkpoint stores, an average keeps and a file is read
//! into.

use std::collections::BTreeMap;
use std::convert::Infallible;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::prelude::*;

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
pub fn weights_of<M: Module>(module: &M) -> Weights {
    let mut visitor = Collect::default();
    module.visit(&mut visitor);
    visitor.found
}

/// Shapes of every weight by path, without copying any.
pub fn shapes_of<M: Module>(module: &M) -> BTreeMap<String, Vec<usize>> {
    let mut visitor = Shapes::default();
    module.visit(&mut visitor);
    visitor.found
}

/// The module with its weights replaced by those of the same name; each must be there in the right
/// shape.
pub fn with_weights<M: Module>(module: M, weights: &Weights) -> M {
    let mut copy = |name: &str, shape: &[usize]| {
        let weight = &weights[name];
        assert_eq!(weight.shape, shape, "the caller compares shapes");
        Ok::<_, Infallible>(weight.values.clone())
    };
    let Ok(module) = filled(module, &mut copy);
    module
}

/// Returns the values of a weight for its name and shape, or says why there are none.
pub type ReadWeight<'a, E> = &'a mut dyn FnMut(&str, &[usize]) -> Result<Vec<f32>, E>;

/// The module with its weights replaced, one after another, by what `read` returns for a name and a
/// shape. The first error ends the reading.
pub fn filled<M: Module, E>(module: M, read: ReadWeight<'_, E>) -> Result<M, E> {
    let mut fill = Fill { path: vec![], read, failed: None };
    let module = module.map(&mut fill);
    fill.failed.map_or(Ok(module), Err)
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

struct Fill<'a, E> {
    path: Vec<String>,
    read: ReadWeight<'a, E>,
    failed: Option<E>,
}

impl<E> ModuleMapper for Fill<'_, E> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.failed.is_some() {
            return param;
        }
        let shape = param.lazy_shape().to_vec();
        let values = match (self.read)(&self.path.join("."), &shape) {
            Ok(values) => values,
            Err(why) => {
                self.failed = Some(why);
                return param;
            }
        };
        let data = TensorData::new(values, shape);
        param.map(|old| {
            let new = Tensor::<D>::from_data(data, &old.device());
            if old.is_require_grad() { new.require_grad() } else { new }
        })
    }
}

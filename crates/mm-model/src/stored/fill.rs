//! Weights in the type in which they are stored, put into a network that has shapes alone.

use burn::module::{ModuleMapper, Param};
use burn::prelude::*;

use crate::Model;

/// Returns a weight as data of any float type for its name and shape, or says why there is none.
pub(super) type ReadData<'a, E> = &'a mut dyn FnMut(&str, &[usize]) -> Result<TensorData, E>;

/// Fills a network with data in the type that `read` returns, one weight after another. The old
/// weights are not made, so that a model of shapes alone takes no memory. Nothing is trained of
/// these weights.
pub(super) fn filled_as_stored<E>(
    model: Model,
    device: &Device,
    read: ReadData<'_, E>,
) -> Result<Model, E> {
    let mut fill = FillAsStored { path: vec![], device: device.clone(), read, failed: None };
    let model = model.map(&mut fill);
    fill.failed.map_or(Ok(model), Err)
}

struct FillAsStored<'a, E> {
    path: Vec<String>,
    device: Device,
    read: ReadData<'a, E>,
    failed: Option<E>,
}

impl<E> ModuleMapper for FillAsStored<'_, E> {
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
        match (self.read)(&self.path.join("."), &param.lazy_shape().to_vec()) {
            Ok(data) => {
                let dtype = data.dtype();
                let tensor = Tensor::from_data(data, (&self.device, dtype));
                Param::initialized(param.id, tensor)
            }
            Err(why) => {
                self.failed = Some(why);
                param
            }
        }
    }
}

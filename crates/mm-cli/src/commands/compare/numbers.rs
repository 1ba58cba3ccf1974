//! What a check gives: numbers by name, on the host; and the modules that they come from.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::prelude::*;
use mm_model::random::{Purpose, normals, stream};
use serde::{Deserialize, Serialize};

/// The numbers of one tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Numbers {
    /// What they are.
    pub name: String,
    /// In 64-bit floats, which hold every narrower number; nothing where one is not finite.
    pub values: Vec<Option<f64>>,
}

impl Numbers {
    /// Numbers from the host.
    pub fn new(name: impl Into<String>, values: impl IntoIterator<Item = f64>) -> Self {
        let finite = |value: f64| value.is_finite().then_some(value);
        Self { name: name.into(), values: values.into_iter().map(finite).collect() }
    }

    /// The numbers of a tensor of any shape `[…]`.
    pub fn of<const D: usize>(name: impl Into<String>, tensor: Tensor<D>) -> Self {
        Self::new(name, tensor.without_autodiff().into_data().iter::<f64>())
    }
}

/// Random numbers that are the same on every device, as a tensor of shape `[…]`.
pub fn random<const D: usize>(seed: u64, shape: [usize; D], device: &Device) -> Tensor<D> {
    let numbers = normals(&mut stream(seed, Purpose::Noise, 0, 0), shape.iter().product());
    Tensor::from_data(TensorData::new(numbers, shape), device)
}

/// The gradients of all weights, by name.
pub fn gradients<M: Module>(module: &M, grads: &burn::tensor::Gradients) -> Vec<Numbers> {
    let mut collect = Collect { path: vec![], grads: Some(grads), found: vec![] };
    module.visit(&mut collect);
    collect.found
}

/// All weights, by name.
pub fn weights<M: Module>(module: &M) -> Vec<Numbers> {
    let mut collect = Collect { path: vec![], grads: None, found: vec![] };
    module.visit(&mut collect);
    collect.found
}

struct Collect<'a> {
    path: Vec<String>,
    grads: Option<&'a burn::tensor::Gradients>,
    found: Vec<Numbers>,
}

impl ModuleVisitor for Collect<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.join(".");
        match self.grads {
            None => self.found.push(Numbers::of(path, param.val())),
            Some(grads) => {
                let grad = param.val().grad(grads);
                let name = format!("gradient of {path}");
                self.found.push(match grad {
                    Some(grad) => Numbers::of(name, grad),
                    None => Numbers::new(name, []),
                });
            }
        }
    }
}

/// Weights moved away from the special values they start at, by the same 32-bit numbers on every device.
pub fn shaken<M: Module>(module: M, device: &Device) -> M {
    struct Shake<'a>(u64, &'a Device);
    impl ModuleMapper for Shake<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            self.0 += 1;
            let mut rng = stream(self.0, Purpose::Noise, 1, 0);
            param.map(|value| {
                let (tracked, shape) = (value.is_require_grad(), value.dims());
                let data = value.without_autodiff().into_data();
                let noise = normals(&mut rng, shape.iter().product());
                let pairs = data.iter::<f32>().zip(noise);
                let moved: Vec<f32> = pairs.map(|(value, noise)| value + 0.1 * noise).collect();
                let moved = Tensor::from_data(TensorData::new(moved, shape), self.1);
                if tracked { moved.require_grad() } else { moved }
            })
        }
    }
    module.map(&mut Shake(70, device))
}

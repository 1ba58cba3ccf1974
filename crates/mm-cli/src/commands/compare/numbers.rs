//! What a check gives: numbers by name, on the host, and how far two sets of them are apart.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::prelude::*;
use mm_model::random::{Purpose, normals, stream};
use serde::{Deserialize, Serialize};

/// Where a check runs.
pub struct On {
    /// The device, without autodiff.
    pub device: Device,
    /// Whether the results are the reference, with which others are compared.
    pub reference: bool,
}

impl On {
    /// Returns the device with autodiff.
    pub fn tracked(&self) -> Device {
        self.device.clone().autodiff()
    }
}

/// The numbers of one tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Numbers {
    /// The name of the tensor.
    pub name: String,
    /// The values as 64-bit floats, which hold every narrower number; nothing where one is not
    /// finite.
    pub values: Vec<Option<f64>>,
}

impl Numbers {
    /// Takes numbers from the host.
    pub fn new(name: impl Into<String>, values: impl IntoIterator<Item = f64>) -> Self {
        let finite = |value: f64| value.is_finite().then_some(value);
        Self { name: name.into(), values: values.into_iter().map(finite).collect() }
    }

    /// Reads the numbers of a tensor of any shape `[…]`.
    pub fn of<const D: usize>(name: impl Into<String>, tensor: Tensor<D>) -> Self {
        Self::new(name, tensor.without_autodiff().into_data().iter::<f64>())
    }
}

/// Draws random numbers that are the same on every device, as a tensor of shape `[…]`.
pub fn random<const D: usize>(seed: u64, shape: [usize; D], device: &Device) -> Tensor<D> {
    let numbers = normals(&mut stream(seed, Purpose::Noise, 0, 0), shape.iter().product());
    Tensor::from_data(TensorData::new(numbers, shape), device)
}

/// Collects the gradients of all weights, by name.
pub fn gradients<M: Module>(module: &M, grads: &burn::tensor::Gradients) -> Vec<Numbers> {
    let mut collect = Collect { path: vec![], grads: Some(grads), found: vec![] };
    module.visit(&mut collect);
    collect.found
}

/// Collects all weights, by name.
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

/// Moves weights away from the special values at which they start, by the same 32-bit numbers on
/// every device.
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

/// The largest differences between all numbers of a check and the reference.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Difference {
    /// The largest absolute difference.
    pub absolute: f64,
    /// The largest difference relative to the largest number of the same tensor. A tensor whose
    /// terms nearly cancel is as exact as these terms, so the largest number counts as at least a
    /// hundredth of the largest number of the whole check.
    pub relative: f64,
}

/// Compares the numbers of a device with the reference; the error says why that is not possible.
pub fn difference(found: &[Numbers], wanted: &[Numbers]) -> Result<Difference, String> {
    if found.len() != wanted.len() {
        return Err(format!("{} tensors, wanted {}", found.len(), wanted.len()));
    }
    let most = wanted.iter().map(largest).fold(0.0, f64::max);
    let mut difference = Difference { absolute: 0.0, relative: 0.0 };
    for (found, wanted) in found.iter().zip(wanted) {
        let name = &wanted.name;
        if found.values.len() != wanted.values.len() {
            let (found, wanted) = (found.values.len(), wanted.values.len());
            return Err(format!("{name}: {found} numbers, wanted {wanted}"));
        }
        let scale = largest(wanted).max(most / 100.0).max(f64::MIN_POSITIVE);
        for (found, wanted) in found.values.iter().zip(&wanted.values) {
            let (Some(found), Some(wanted)) = (found, wanted) else {
                return Err(format!("{name} is not finite"));
            };
            let apart = (found - wanted).abs();
            difference.absolute = difference.absolute.max(apart);
            difference.relative = difference.relative.max(apart / scale);
        }
    }
    Ok(difference)
}

fn largest(numbers: &Numbers) -> f64 {
    numbers.values.iter().flatten().fold(0.0, |most, value| value.abs().max(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(values: &[f64]) -> Numbers {
        Numbers::new("x", values.iter().copied())
    }

    fn check(found: &[&[f64]], wanted: &[&[f64]]) -> Result<Difference, String> {
        let all = |tensors: &[&[f64]]| tensors.iter().map(|x| numbers(x)).collect::<Vec<_>>();
        difference(&all(found), &all(wanted))
    }

    #[test]
    fn the_largest_difference_counts_against_the_largest_number_of_its_tensor() {
        let found = check(&[&[1.0, 4.5], &[100.0]], &[&[1.0, 5.0], &[101.0]]).unwrap();
        assert_eq!(found, Difference { absolute: 1.0, relative: 0.1 });
    }

    #[test]
    fn numbers_that_cancel_are_held_to_a_hundredth_of_the_largest() {
        let found = check(&[&[1e-3], &[100.0]], &[&[0.0], &[100.0]]).unwrap();
        assert_eq!(found.relative, 1e-3);
        assert_eq!(check(&[&[0.0]], &[&[0.0]]).unwrap().relative, 0.0);
    }

    #[test]
    fn what_is_missing_or_not_finite_is_no_small_difference() {
        assert!(check(&[&[1.0]], &[&[1.0], &[1.0]]).is_err());
        assert!(check(&[&[1.0]], &[&[1.0, 1.0]]).is_err());
        assert_eq!(check(&[&[f64::NAN]], &[&[1.0]]).unwrap_err(), "x is not finite");
    }
}

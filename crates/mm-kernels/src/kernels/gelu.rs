//! The definition of GELU, with its own gradient on every device.

use std::f64::consts::SQRT_2;

use burn::prelude::*;
use burn::tensor::activation;

use crate::device::is_flex;

/// Computes GELU (Hendrycks & Gimpel 2016, arXiv:1606.08415), `x Φ(x)`, where Φ is the distribution
/// function of a normal number: `[…]` -> the same shape.
///
/// Burn 0.22.1 has it too, but on every device except its CPU backend the gradient there is that of
/// the approximation by tanh, up to 5e-4 of the largest off.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if is_flex(&x.device()) { activation::gelu(x) } else { by_erf(x) }
}

fn by_erf<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let phi = ((x.clone() / SQRT_2).erf() + 1.0) * 0.5;
    x * phi
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;

    /// The wanted gradients are Φ(x) + x φ(x), from tables of both.
    #[test]
    fn both_ways_have_the_gradient_of_their_own_function() {
        let wanted = [-0.0852318, -0.0833155, 0.5, 0.8674951, 1.0833155, 1.0852318];
        for way in [gelu::<1>, by_erf::<1>] {
            let x = Tensor::<1>::from_floats(
                [-2.0, -1.0, 0.0, 0.5, 1.0, 2.0],
                &Device::flex().autodiff(),
            )
            .require_grad();
            let gradients = way(x.clone()).sum().backward();
            let found = x.grad(&gradients).unwrap().into_data().try_to_vec::<f32>().unwrap();
            for (found, wanted) in found.iter().zip(wanted) {
                assert!((found - wanted).abs() < 2e-6, "{found} {wanted}");
            }
        }
    }
}

//! Checks of 16-bit floats: what a model's operations give in them, on devices that calculate in them.
//!
//! The numbers that go in are whole eighths, which both types hold exactly, so that only the calculation rounds.

use burn::prelude::*;
use burn::tensor::FloatDType;
use burn::tensor::activation::softmax;

use super::checks::On;
use super::numbers::Numbers;
use crate::report::Failure;

/// Products, a softmax and a norm in 16-bit floats with 11 bits.
pub fn half(on: &On) -> Result<Vec<Numbers>, Failure> {
    operations(on, FloatDType::F16)
}

/// The same in 16-bit floats with 8 bits.
pub fn brain(on: &On) -> Result<Vec<Numbers>, Failure> {
    operations(on, FloatDType::BF16)
}

fn operations(on: &On, kind: FloatDType) -> Result<Vec<Numbers>, Failure> {
    let eighths = |step: usize| {
        let numbers: Vec<f32> =
            (0..32 * 32).map(|at| ((at * step) % 17) as f32 / 8.0 - 1.0).collect();
        let tensor = Tensor::<2>::from_data(TensorData::new(numbers, [32, 32]), &on.device);
        if on.reference { tensor } else { tensor.cast(kind) }
    };
    let (a, b) = (eighths(5), eighths(11));
    let norm = (a.clone().square().mean_dim(1) + 1e-3).sqrt();
    Ok(vec![
        Numbers::of("product", a.clone().matmul(b.clone())),
        Numbers::of("softmax", softmax(a.clone(), 1)),
        Numbers::of("norm", a.clone() / norm),
        Numbers::of("product number by number", a * b),
    ])
}

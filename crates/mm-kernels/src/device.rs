//! Which devices the CPU's family of kernels computes on.

use burn::prelude::*;

/// Says whether a device is Burn's CPU backend, for which this crate has kernels.
#[cfg(feature = "flex")]
pub(crate) fn is_flex(device: &Device) -> bool {
    *device == Device::flex()
}

/// Says that there are no kernels for the CPU, whatever the device.
#[cfg(not(feature = "flex"))]
pub(crate) fn is_flex(_device: &Device) -> bool {
    false
}

/// Computes the product of a few rows with a matrix of 16-bit floats, `[rows, inputs]` ->
/// `[rows, outputs]`, where there are kernels for it.
#[cfg(feature = "flex")]
pub(crate) fn few_rows(x: Tensor<2>, weight: &Tensor<2>) -> Option<Tensor<2>> {
    crate::flex::half::few_rows(x, weight)
}

/// Computes nothing: there are no kernels for the CPU, `[rows, inputs]` -> `[rows, outputs]`.
#[cfg(not(feature = "flex"))]
pub(crate) fn few_rows(_x: Tensor<2>, _weight: &Tensor<2>) -> Option<Tensor<2>> {
    None
}

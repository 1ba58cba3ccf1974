//! Which kernels a tensor gets: those added from outside first, then this crate's own, then the
//! [reference](Reference), which every backend can run.

use std::sync::{OnceLock, RwLock};

use burn::prelude::*;
use burn::tensor::DType;

use crate::{BlockKernels, GroupNormOptions, Precision, Reference};

/// Kernels from outside, the latest last.
static REGISTERED: RwLock<Vec<&'static dyn BlockKernels>> = RwLock::new(Vec::new());

/// The families that this crate was built with.
const OWN: &[&dyn BlockKernels] = &[
    #[cfg(feature = "flex")]
    &crate::flex::FlexKernels,
    #[cfg(feature = "cube")]
    &crate::cube::CubeKernels,
];

/// Adds kernels, which are asked before all others from then on.
pub fn register(kernels: &'static dyn BlockKernels) {
    REGISTERED.write().expect("no holder panics").push(kernels);
}

/// Returns the kernels for tensors of this type on this device. They are the [`Reference`] where no
/// family covers both, and everywhere if the environment variable `MM_KERNELS` is `reference`.
pub fn kernels_for(device: &Device, dtype: DType) -> &'static dyn BlockKernels {
    static REFERENCE_ONLY: OnceLock<bool> = OnceLock::new();
    let asked = || std::env::var_os("MM_KERNELS").is_some_and(|kind| kind == "reference");
    if *REFERENCE_ONLY.get_or_init(asked) {
        return &Reference;
    }
    let registered = REGISTERED.read().expect("no holder panics");
    let mut families = registered.iter().rev().chain(OWN);
    families.find(|kernels| kernels.covers(device, dtype)).copied().unwrap_or(&Reference)
}

/// Returns the kernels for a tensor `[…]`.
///
/// ```
/// use burn::prelude::*;
/// use mm_kernels::{BlockKernels, kernels_of};
///
/// let x = Tensor::<3>::ones([1, 2, 8], &Device::flex());
/// let gamma = Tensor::<1>::ones([8], &Device::flex());
/// let y = kernels_of(&x).rms_norm(x, &gamma, 1e-6);
/// assert!((y.mean().into_scalar::<f32>() - 1.0).abs() < 1e-5);
/// ```
pub fn kernels_of<const D: usize>(tensor: &Tensor<D>) -> &'static dyn BlockKernels {
    kernels_for(&tensor.device(), tensor.dtype())
}

/// Says whether 32-bit blocks on this device are [fused](BlockKernels::fuses_blocks).
pub fn has_fused_blocks(device: &Device) -> bool {
    kernels_for(device, DType::F32).fuses_blocks()
}

/// Computes the 3x3 convolution with a border of zeros: `x`: `[images, inputs, height, width]`,
/// `weight`: `[outputs, inputs, 3, 3]` -> `[images, outputs, height, width]`. See
/// [`BlockKernels::convolution`].
pub fn convolution(x: Tensor<4>, weight: Tensor<4>, precision: Precision) -> Tensor<4> {
    kernels_of(&x).convolution(x, weight, precision)
}

/// Computes group norm, `[images, channels, height, width]` -> the same shape; `gamma` and `beta`:
/// `[channels]`. See [`BlockKernels::group_norm`].
pub fn group_norm(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    options: GroupNormOptions,
) -> Tensor<4> {
    kernels_of(&x).group_norm(x, gamma, beta, options)
}

/// Computes `x / (1 + e^-x)` of every number of `[images, channels, height, width]`.
pub fn swish(x: Tensor<4>) -> Tensor<4> {
    kernels_of(&x).swish(x)
}

/// Makes images twice as high and wide, every pixel four times: `[images, channels, height, width]`
/// -> `[images, channels, 2 height, 2 width]`.
pub fn doubled(x: Tensor<4>) -> Tensor<4> {
    kernels_of(&x).doubled(x)
}

/// Makes images half as high and wide, means of 2x2 pixels: `[images, channels, height, width]`,
/// whose sides are even -> `[images, channels, height/2, width/2]`.
pub fn halved(x: Tensor<4>) -> Tensor<4> {
    kernels_of(&x).halved(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kernels for a type of numbers that no other test computes in.
    #[derive(Debug)]
    struct Own;

    impl BlockKernels for Own {
        fn name(&self) -> &'static str {
            "own"
        }

        fn covers(&self, _: &Device, dtype: DType) -> bool {
            dtype == DType::F64
        }
    }

    #[test]
    fn registered_kernels_get_the_tensors_that_they_cover_and_no_others() {
        let device = Device::flex();
        register(&Own);
        assert_eq!(kernels_for(&device, DType::F64).name(), "own");
        assert_eq!(kernels_for(&device, DType::F16).name(), "reference");
        let own = if cfg!(feature = "flex") { "flex" } else { "reference" };
        assert_eq!(kernels_for(&device, DType::F32).name(), own);
        assert_eq!(kernels_for(&device.autodiff(), DType::F32).name(), own);
    }
}

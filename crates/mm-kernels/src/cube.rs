//! The family of kernels of the graphics backends: device operations, with attention in tiles.

use burn::prelude::*;
use burn::tensor::DType;

use crate::device::is_flex;
use crate::kernels::tiled::{self, Tiling};
use crate::{AttentionContext, BlockKernels, Precision};

/// Kernels of every device but the CPU's.
#[derive(Debug)]
pub(crate) struct CubeKernels;

impl BlockKernels for CubeKernels {
    fn name(&self) -> &'static str {
        "cube"
    }

    fn covers(&self, device: &Device, dtype: DType) -> bool {
        dtype.is_float() && !is_flex(device)
    }

    fn attention(
        &self,
        q: Tensor<4>,
        k: Tensor<4>,
        v: Tensor<4>,
        context: &AttentionContext,
        precision: Precision,
    ) -> Tensor<4> {
        tiled::attention(q, k, v, context, precision, Tiling::default())
    }
}

//! The codebook of a codec follows its cells: what a step saw of them came as gradients of two
//! weights, which no optimizer may see.

use burn::optim::GradientsParams;
use burn::prelude::*;
use mm_model::Model;

/// What the cells of a batch were, over all ranks.
pub(crate) struct Statistics {
    /// The share of cells of every code, `[codes]`.
    shares: Tensor<1>,
    /// The mean over all cells of the cells of every code, `[codes, channels]`.
    sums: Tensor<2>,
}

/// Takes the statistics out of the gradients of a loss that weighs them by `weight`; nothing of a
/// network without a codebook.
pub(crate) fn take(model: &Model, grads: &mut GradientsParams, weight: f64) -> Option<Statistics> {
    let codebook = model.codec()?.codebook()?;
    let shares = grads.remove::<1>(codebook.counts.id)?;
    let sums = grads.remove::<2>(codebook.sums.id)?;
    Some(Statistics { shares: shares / weight, sums: sums / weight })
}

impl Statistics {
    /// Returns the model after its codebook has followed; `step` decides beside which code a dead
    /// one is revived.
    pub(crate) fn followed_by(self, model: Model, step: u64) -> Model {
        model.with_codec(|codec| {
            codec.with_codebook(|codebook| codebook.followed(self.shares, self.sums, step))
        })
    }
}

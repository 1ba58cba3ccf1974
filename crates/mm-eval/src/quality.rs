//! This module measures how good images are, by a network that is not the model and by pixels.
//!
//! ```text
//! images ──► FeatureNetwork ──► Features ──► frechet (FID), kid
//! images ──► nearest                         pixels: is a drawing a copy of a training image?
//! images ──► likelihood                      bits per dimension under the model itself
//! ```
//!
//! A distance alone says nothing: it depends on the network, the number of images and their kind.
//! So it always comes with two baselines from the same [`ReferenceFeatures`]: the distance of other
//! real images, and of real images with their tiles shuffled. This crate holds no weights of any
//! network, Inception included; the user brings an ONNX file, or computes [`Features`] in any way.

mod evaluators;
mod features;
mod frechet;
mod images;
mod kid;
mod likelihood;
mod nearest;
mod network;
#[cfg(feature = "onnx")]
mod onnx;
mod reference;

pub use evaluators::{DrawnFeatures, FidEvaluator, ImageFeatures, KidEvaluator, NearestEvaluator};
pub use features::{Features, load_features, save_features};
pub use frechet::{FEWEST_FOR_FRECHET, Gaussian, GaussianRoot, frechet};
pub use images::{
    ImageSet, NamedImage, captions_to_draw, drawings, folder_images, shuffled_tiles, source_images,
};
pub use kid::{FEWEST_FOR_KID, Kid, kid, kid_over, kid_subsets, subsets};
pub use likelihood::{Likelihood, LikelihoodEvaluator, LikelihoodOptions, Trace, likelihood};
pub use nearest::{Nearest, median, nearest, nearest_others};
pub use network::{FeatureNetwork, Layout, NetworkSettings, resized};
pub use reference::{ReferenceFeatures, ReferenceScores, save_comparison};

#[cfg(not(feature = "onnx"))]
impl FeatureNetwork {
    /// Fails because this build has no feature `onnx`.
    pub fn load(_onnx: &[u8], _settings: &NetworkSettings) -> Result<Self, crate::EvalError> {
        Err(crate::EvalError::NoReader)
    }
}

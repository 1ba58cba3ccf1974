//! How good pictures are, told by a network that is not the model, and by pixels.
//!
//! ```text
//! pictures ──► FeatureNetwork ──► Features ──► frechet (FID), kid
//! pictures ──► nearest                         pixels: is a drawing a copy of a training picture?
//! ```
//!
//! A distance alone says nothing: it depends on the network, the number of pictures and their kind. So it always comes
//! with two marks from the same [`Ruler`]: what other real pictures get, and what real pictures with their tiles shuffled
//! get. Deliberately absent: weights of any network, Inception's too; the user brings an ONNX file.

mod drawings;
mod error;
mod features;
#[cfg(feature = "onnx")]
mod fingerprint;
mod frechet;
mod input;
mod kid;
mod likelihood;
mod nearest;
#[cfg(feature = "onnx")]
mod network;
#[cfg(not(feature = "onnx"))]
#[path = "quality/no_network.rs"]
mod network;
mod pictures;
mod ruler;
mod settings;
mod store;
mod tiles;

pub use drawings::{captions_to_draw, drawings};
pub use error::QualityError;
pub use features::Features;
pub use frechet::{FEWEST_FOR_FRECHET, Gaussian, GaussianRoot, frechet};
pub use input::resized;
pub use kid::{FEWEST_FOR_KID, Kid, kid, kid_over, kid_subsets, subsets};
pub use likelihood::{Likelihood, LikelihoodOptions, Trace, likelihood};
pub use nearest::{Nearest, median, nearest};
pub use network::FeatureNetwork;
pub use pictures::{Picture, Pictures, folder_pictures, source_pictures};
pub use ruler::{Judged, Ruler};
pub use settings::{Layout, NetworkSettings};
pub use store::{load_features, save_comparison, save_features};
pub use tiles::shuffled_tiles;

//! Generation: token by token until `[IMG]`, then all patches of the image in parallel, then text
//! again.
//!
//! | file | holds |
//! | --- | --- |
//! | `session` | documents in progress: the cached prefix of several rows, extended by tokens and images |
//! | `image` | denoising of the images that come next, by any sampler, with guidance |
//! | `text` | the loop over tokens under the grammar of documents |
//! | `options` | settings, and those that stand in a model's folder |

mod image;
mod options;
mod session;
#[cfg(test)]
mod tests;
mod text;

pub use image::{ImageSampler, SamplingMethod, SamplingPlan, images_of};
pub use options::{GenerateOptions, GenerationConfig};
pub use session::GenerationSession;
pub use text::Event;

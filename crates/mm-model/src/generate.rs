//! Generation: token by token until `[IMG]`, then all patches of the image in parallel, then text
//! again.
//!
//! | file | holds |
//! | --- | --- |
//! | `session` | documents in progress: the cached prefix of several rows, extended by tokens and images |
//! | `image` | denoising of the images that come next, by any sampler, with guidance |
//! | `codes` | images written code by code, by models of an enlarged vocabulary |
//! | `constrain` | the hook through which an edit takes part |
//! | `edit` | inpainting, image to image, restoration and other edits over that hook |
//! | `text` | the loop over tokens under the grammar of documents |
//! | `host` | numbers of the device on the host, also where nobody may wait for them |
//! | `pass` | calls of the network as values, so that several documents can share a pass |
//! | `options` | settings, and those that stand in a model's folder |

mod codes;
mod constrain;
mod edit;
mod host;
mod image;
mod options;
mod pass;
mod session;
#[cfg(test)]
mod tests;
mod text;

pub use constrain::{Constrain, Unconstrained};
pub use edit::{
    CaptionSwap, Color, Deblur, EditError, FromNoise, ImageToImage, Inpaint, Kernel, Margins, Mask,
    MaskedArea, Measurement, Region, Restore, RoundTrip, SoftMask, SuperResolution, luma, outpaint,
};
pub use host::numbers_of;
pub use image::{
    ImageSampler, SamplingMethod, SamplingPlan, constrained_images_of, images_of, images_of_numbers,
};
pub use options::{GenerateOptions, GenerationConfig};
pub use pass::{JoinedPrefixes, Joining, KnownTokens, Network, NetworkAnswer, NetworkCall, Prefix};
pub use session::GenerationSession;
pub use text::{Event, Written};

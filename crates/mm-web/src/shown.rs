//! Images that a request shows: read from their files, and fitted to the model.

use mm_model::LoadedModel;
use mm_patch::{DecodeOptions, Fit, Image};

use crate::error::WebError;

/// Reads an image file; `field` is where it stands in the request.
pub(crate) fn decoded(file: &[u8], field: &'static str) -> Result<Image, WebError> {
    let image = Image::decode(file, &DecodeOptions::default());
    image.map_err(|source| WebError::Image { field, source })
}

/// Returns an image at the size that the model was trained on.
pub(crate) fn fitted(
    model: &LoadedModel,
    image: &Image,
    field: &'static str,
) -> Result<Image, WebError> {
    let (width, height) = (model.generation.width, model.generation.height);
    let fitted = Fit::CenterCrop { width, height }.apply(image, model.config.patch);
    fitted.map(|(image, _)| image).map_err(|source| WebError::Image { field, source })
}

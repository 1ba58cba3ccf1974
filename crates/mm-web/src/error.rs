//! What can be wrong with a request, and the field in which it stands.

use std::error::Error;

use mm_diffusion::DiffusionError;
use mm_model::{EditError, FolderError, GenerateError};
use mm_patch::PatchError;

/// Why a model was not loaded, or a request not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebError {
    /// A request is no JSON, lacks a field, or has one of another type.
    #[error("the request is not understood")]
    Json(#[from] serde_json::Error),
    /// A field of a request is out of its range.
    #[error("`{field}` is {found}, wanted {wanted}")]
    Field {
        /// The field.
        field: &'static str,
        /// What it holds.
        found: String,
        /// What it may hold.
        wanted: String,
    },
    /// The schedule of the model does not have the steps that were asked for.
    #[error("`steps` is {found}")]
    Steps {
        /// The steps that were asked for.
        found: usize,
        /// What the schedule says.
        source: DiffusionError,
    },
    /// An image cannot be read, or has no size that the model can take.
    #[error("`{field}` cannot be used")]
    Image {
        /// The field in which the image stands.
        field: &'static str,
        /// What is wrong with it.
        source: PatchError,
    },
    /// The browser gave no graphics device.
    #[error("there is no graphics device: {0}")]
    Device(String),
    /// A file of the model is wrong.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// An edit cannot be done as asked.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The model cannot write or draw what is asked.
    #[error(transparent)]
    Generate(#[from] GenerateError),
}

impl WebError {
    /// Returns the field of the request that is wrong, if it is one.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Field { field, .. } | Self::Image { field, .. } => Some(field),
            Self::Steps { .. } => Some("steps"),
            Self::Edit(EditError::Size { .. } | EditError::EmptyMask) => Some("mask"),
            Self::Edit(EditError::Setting { name, .. }) => Some(name),
            Self::Edit(_) => Some("image"),
            _ => None,
        }
    }

    /// Says whether the device failed, so that the next request would fail too.
    pub fn is_of_device(&self) -> bool {
        matches!(self, Self::Device(_) | Self::Generate(GenerateError::Device(_)))
    }

    /// Returns the message with its causes in one line; one that is told already is left out.
    pub fn words(&self) -> String {
        let mut words = self.to_string();
        let mut cause = self.source();
        while let Some(why) = cause {
            let told = why.to_string();
            if !words.contains(&told) {
                words = format!("{words}: {told}");
            }
            cause = why.source();
        }
        words
    }
}

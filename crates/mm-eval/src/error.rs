//! Why a measurement cannot be taken.

use mm_data::DataError;

/// A measurement that cannot be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// The data cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// An image or a caption does not fit the model.
    #[error(transparent)]
    Document(#[from] mm_model::DocumentError),
    /// The model cannot draw or write.
    #[error(transparent)]
    Generate(#[from] mm_model::GenerateError),
}

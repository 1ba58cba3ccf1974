//! This module holds the errors of a measurement.

use std::path::PathBuf;

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
    /// The data set has no glyphs that the classifier could recognize.
    #[error("the data set is not `glyphs`, wanted `glyphs`: the classifier knows no other images")]
    NotGlyphs,
    /// The data set has no dialogues to ask about.
    #[error("the data set is not `dialogue`, wanted `dialogue`: no other has questions")]
    NotDialogues,
    /// The data set has no words whose height is known.
    #[error("the data set is not `words`, wanted `words`: no other says how high its letters are")]
    NotWords,
    /// The data set has no pairs to ask about.
    #[error("the data set is not `pairs`, wanted `pairs`: no other asks what differs")]
    NotPairs,
    /// The model draws codes or latents, whose likelihood is not that of an image.
    #[error(
        "this model has no likelihood of images: codes, latents and rounded bytes stand for many images, wanted a model of patches, or of bytes with 256 levels"
    )]
    NoPixels,
    /// The bytes are not a network that can be run.
    #[error("not an ONNX network that can be run: {why}")]
    Network {
        /// The words of the reader.
        why: String,
    },
    /// This build cannot read networks.
    #[error("ONNX networks cannot be read: this build has no feature `onnx`")]
    NoReader,
    /// The network takes something else than one image.
    #[error("the ONNX network's input is {found}, wanted {wanted}")]
    Input {
        /// The input that the network declares.
        found: String,
        /// The input that an image needs.
        wanted: String,
    },
    /// The network has no such output.
    #[error("the ONNX network has no output `{found}`, it has {known}")]
    Output {
        /// The name that was asked for.
        found: String,
        /// The names of the outputs that it has.
        known: String,
    },
    /// The settings beside the network cannot be read; the message shows the line.
    #[error("{}", .0.to_string().trim_end())]
    Toml(Box<toml::de::Error>),
    /// A setting has a value that has no meaning.
    #[error("`{field}` is {found}, wanted {wanted}")]
    Setting {
        /// The name of the setting.
        field: &'static str,
        /// The value of the setting.
        found: String,
        /// A description of the values that are allowed.
        wanted: &'static str,
    },
    /// A feature is infinite or not a number.
    #[error("feature {column} of image {row} is {found}, wanted a finite number")]
    NotFinite {
        /// The index of the image.
        row: usize,
        /// The index of the feature.
        column: usize,
        /// The value of the feature.
        found: f32,
    },
    /// Two sets of features have different lengths.
    #[error("{found} features an image against {wanted}: they are of different networks")]
    Dimensions {
        /// The length of the features that were given.
        found: usize,
        /// The length of the features that they are compared with.
        wanted: usize,
    },
    /// An image cannot be written as a file.
    #[error(transparent)]
    Image(#[from] mm_patch::PatchError),
    /// There is nothing to measure on.
    #[error("no image was given, wanted at least one")]
    NoImages,
    /// There are not enough images for a covariance or for the mean of a kernel.
    #[error("{found} {what}, wanted at least {wanted}")]
    TooFew {
        /// The kind of images.
        what: &'static str,
        /// The number of images that there are.
        found: usize,
        /// The number of images that are needed.
        wanted: usize,
    },
    /// The eigenvalues of a matrix were not found.
    #[error("the eigenvalues of a covariance of {size} features were not found")]
    Eigenvalues {
        /// The number of rows of the matrix.
        size: usize,
    },
    /// A folder holds no image that can be read.
    #[error("`{path}` holds no image that can be read; {listed} were tried{first}")]
    NoImage {
        /// The folder.
        path: PathBuf,
        /// The number of files whose names end like those of images.
        listed: usize,
        /// The error of the first file as words, or nothing.
        first: String,
    },
    /// Images of different sizes cannot be compared pixel by pixel.
    #[error("an image of {found:?} pixels is compared with one of {wanted:?}")]
    Size {
        /// The width and height of the image that was given.
        found: (usize, usize),
        /// The width and height of the image that it is compared with.
        wanted: (usize, usize),
    },
    /// A file of features cannot be used.
    #[error("`{path}` is not a file of features: {why}")]
    FeatureFile {
        /// The file.
        path: PathBuf,
        /// A description of the mistake.
        why: String,
    },
    /// A file cannot be written.
    #[error(transparent)]
    Folder(#[from] mm_model::FolderError),
    /// A file or a folder cannot be opened; the message names the path.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

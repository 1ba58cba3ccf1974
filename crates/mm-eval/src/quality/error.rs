//! What can go wrong between a picture and its number.

use std::path::PathBuf;

use mm_data::DataError;

/// A measure of pictures that cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum QualityError {
    /// The bytes are no network that can be run.
    #[error("not an ONNX network that can be run: {why}")]
    Network {
        /// The reader's words.
        why: String,
    },
    /// The reader of networks was left out.
    #[error("ONNX networks cannot be read: this build has no feature `onnx`")]
    NoReader,
    /// The network takes something else than one picture.
    #[error("the ONNX network's input is {found}, wanted {wanted}")]
    Input {
        /// What it declares.
        found: String,
        /// What a picture needs.
        wanted: String,
    },
    /// The network has no such output.
    #[error("the ONNX network has no output `{found}`, it has {known}")]
    Output {
        /// The name asked for.
        found: String,
        /// Its outputs.
        known: String,
    },
    /// The settings beside the network are wrong; the message shows the line.
    #[error("{}", .0.to_string().trim_end())]
    Toml(Box<toml::de::Error>),
    /// A setting has a value that means nothing.
    #[error("`{field}` is {found}, wanted {wanted}")]
    Setting {
        /// The setting.
        field: &'static str,
        /// Its value.
        found: String,
        /// What would do.
        wanted: &'static str,
    },
    /// A feature is infinite or not a number.
    #[error("feature {column} of picture {row} is {found}, wanted a finite number")]
    NotFinite {
        /// Which picture.
        row: usize,
        /// Which feature.
        column: usize,
        /// Its value.
        found: f32,
    },
    /// Two sets of features have different lengths.
    #[error("{found} features a picture against {wanted}: they are of different networks")]
    Dimensions {
        /// Of the one.
        found: usize,
        /// Of the other.
        wanted: usize,
    },
    /// There are not enough pictures for a covariance or a kernel mean.
    #[error("{found} {what}, wanted at least {wanted}")]
    TooFew {
        /// Which pictures.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many are needed.
        wanted: usize,
    },
    /// A matrix has no eigenvalues that could be found.
    #[error("the eigenvalues of a covariance of {size} features were not found")]
    Eigenvalues {
        /// Rows of the matrix.
        size: usize,
    },
    /// A folder holds no picture that can be read.
    #[error("`{path}` holds no picture that can be read; {listed} were tried{first}")]
    NoPicture {
        /// The folder.
        path: PathBuf,
        /// Files whose names look like pictures.
        listed: usize,
        /// What is wrong with the first, as words, or nothing.
        first: String,
    },
    /// Pictures of different sizes are compared pixel by pixel.
    #[error("a picture of {found:?} pixels is compared with one of {wanted:?}")]
    Size {
        /// Width and height of the one.
        found: (usize, usize),
        /// Width and height of the other.
        wanted: (usize, usize),
    },
    /// A file of features cannot be used.
    #[error("`{path}` is not a file of features: {why}")]
    Store {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The data are wrong.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A picture cannot be fitted to the wanted size.
    #[error(transparent)]
    Picture(#[from] mm_patch::PatchError),
    /// Pictures cannot be drawn.
    #[error(transparent)]
    Generate(#[from] mm_model::GenerateError),
    /// A file cannot be written.
    #[error(transparent)]
    Checkpoint(#[from] mm_model::FolderError),
    /// The file system said no; the message names the path.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

//! What can go wrong between a file or a person and a model.

use std::path::PathBuf;

/// A configuration that contradicts itself.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// One field is out of range.
    #[error("`{field}` is {found}, wanted {wanted}")]
    Field {
        /// The field's path.
        field: &'static str,
        /// What it holds.
        found: String,
        /// What it may hold.
        wanted: &'static str,
    },
    /// The backbone's part is wrong.
    #[error("in `backbone`: {0}")]
    Backbone(#[from] mm_backbone::BackboneError),
    /// The schedule's part is wrong.
    #[error("in `schedule`: {0}")]
    Schedule(#[from] mm_diffusion::DiffusionError),
}

/// A document that this model cannot take.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The picture's sides do not divide into patches.
    #[error("image {index} of the document: {source}")]
    Image {
        /// Which image, counted from 1.
        index: usize,
        /// What is wrong with it.
        source: mm_patch::PatchError,
    },
    /// The model knows one image at a time and nothing else.
    #[error("the document holds {found}, wanted {wanted}: this model knows images alone")]
    NotImageOnly {
        /// What it holds.
        found: String,
        /// What it may hold.
        wanted: &'static str,
    },
    /// The picture has more rows or columns than there are size tokens.
    #[error(
        "image {index} of the document has {rows} x {cols} patches, wanted at most {most} x {most}"
    )]
    TooLarge {
        /// Which image, counted from 1.
        index: usize,
        /// Patch rows.
        rows: usize,
        /// Patch columns.
        cols: usize,
        /// The most a side may have.
        most: usize,
    },
}

/// Generation that cannot be done as asked.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// The prompt does not fit the model.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The sampler cannot take these steps.
    #[error(transparent)]
    Diffusion(#[from] mm_diffusion::DiffusionError),
    /// A token sampling setting is out of range.
    #[error(transparent)]
    Text(#[from] mm_text::TextError),
    /// The tokenizer has another number of ids than the model.
    #[error("the tokenizer has {found} ids, the model {wanted}")]
    Vocab {
        /// The tokenizer's.
        found: usize,
        /// The model's.
        wanted: usize,
    },
    /// The network draws images of no prompt and nothing else.
    #[error("this network is a U-Net, which knows no text and takes no prompt; it can only draw")]
    OnlyDraws,
    /// The model has no text side.
    #[error("this model knows images alone: it neither reads nor writes text")]
    NoText,
    /// What was drawn is no picture.
    #[error(
        "a drawing holds {found}, wanted finite numbers: the model's weights are broken or far too large"
    )]
    NotFinite {
        /// The first of its numbers that is not finite.
        found: f32,
    },
    /// There is nothing to generate from.
    #[error("no prompt was given, wanted at least one")]
    NoPrompt,
}

/// A model folder that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The file system said no; the message names the path.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A file is not of its format.
    #[error("`{path}` is not a valid {format} file: {why}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should have been.
        format: &'static str,
        /// The parser's words.
        why: String,
    },
    /// The model was written by another version.
    #[error("`{path}` has format `{found}`, this program reads `{wanted}`")]
    Version {
        /// The file.
        path: PathBuf,
        /// The format it names.
        found: String,
        /// The format that can be read.
        wanted: &'static str,
    },
    /// The weights are fewer than the configuration asks for: the file is cut off, or the configuration is another's.
    #[error("`{path}` has {found} bytes, the config asks for at least {wanted}")]
    TooShort {
        /// The file of weights.
        path: PathBuf,
        /// Its length.
        found: u64,
        /// Bytes of all weights of the configuration.
        wanted: u128,
    },
    /// The configuration contradicts itself.
    #[error("`{path}`: {source}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ConfigError,
    },
    /// A tensor of another size.
    #[error("tensor `{name}` in `{path}` has shape {found:?}, the config asks for {wanted:?}")]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its shape in the file.
        found: Vec<usize>,
        /// The shape that the configuration asks for.
        wanted: Vec<usize>,
    },
    /// A tensor of another type.
    #[error("tensor `{name}` in `{path}` has type {found}, wanted F32")]
    Type {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its type in the file.
        found: String,
    },
    /// A tensor is not there.
    #[error("tensor `{name}` of shape {wanted:?} is missing from `{path}`")]
    Missing {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The shape that the configuration asks for.
        wanted: Vec<usize>,
    },
    /// A tensor nobody asked for.
    #[error("tensor `{name}` in `{path}` is unknown to this configuration")]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// The tokenizer does not belong to the model.
    #[error("`{path}` has {found} token ids, the config asks for {wanted}")]
    Vocab {
        /// The tokenizer's file.
        path: PathBuf,
        /// Its number of ids.
        found: usize,
        /// The model's number of ids.
        wanted: usize,
    },
    /// The target exists and must not be overwritten.
    #[error("`{path}` exists already")]
    Exists {
        /// The target.
        path: PathBuf,
    },
}

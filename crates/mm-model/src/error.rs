//! What can go wrong between a file or a person and a model.

use std::error::Error;
use std::path::PathBuf;

use crate::plain::plain_words;

/// A configuration that contradicts itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
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
    /// The codec's part is wrong.
    #[error("in `codec`: {0}")]
    Codec(#[from] mm_codec::CodecError),
    /// The schedule's part is wrong.
    #[error("in `schedule`: {0}")]
    Schedule(#[from] mm_diffusion::DiffusionError),
    /// No image has the size that is drawn.
    #[error(transparent)]
    Image(mm_patch::PatchError),
    /// Images cannot be drawn in this way.
    #[error(transparent)]
    Drawing(mm_diffusion::DiffusionError),
}

/// A document that this model cannot take.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// The image's sides do not divide into patches.
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
    /// The model is to be trained to draw, which it cannot.
    #[error(
        "image {index} of the document is to be drawn, wanted one to be read: this model draws none"
    )]
    OnlyReads {
        /// Which image, counted from 1.
        index: usize,
    },
    /// The prompt names no class of the model.
    #[error("the prompt is {found}, wanted {wanted}")]
    Class {
        /// The prompt.
        found: String,
        /// What it may be.
        wanted: String,
    },
    /// The network has learned positions of another size.
    #[error("an image of {found} patches, wanted {wanted}: this network has learned one size")]
    OnlySize {
        /// Rows and columns of the image.
        found: String,
        /// Rows and columns of the network.
        wanted: String,
    },
    /// The network draws latents, and pixels were asked for.
    #[error("patches of {found} channels, wanted {wanted}: this network draws latents")]
    Channels {
        /// Channels of the patches.
        found: usize,
        /// Channels of a latent.
        wanted: usize,
    },
    /// The image has more rows or columns than there are size tokens.
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
#[non_exhaustive]
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
    /// The network encodes and decodes.
    #[error(
        "this network is a codec, which encodes images and decodes them again; it draws nothing"
    )]
    IsCodec,
    /// The network writes codes, and denoises nothing.
    #[error("this model writes images code by code and denoises nothing, wanted one of patches")]
    IsCoded,
    /// The network draws latents, in which no pixel can be kept.
    #[error(
        "this model draws latents, and decoding them keeps no pixel of an image, wanted one of patches"
    )]
    IsLatent,
    /// The network writes codes, without guidance.
    #[error("this model writes images code by code, wanted a guidance of 1")]
    NoGuidance,
    /// The network is asked to encode and draws.
    #[error("this model is no codec, wanted a folder of a codec, or of an AutoencoderKL")]
    NoCodec,
    /// The codec has codes.
    #[error("this codec has codes, and no latents, wanted one of latents")]
    NoLatents,
    /// The codec has latents.
    #[error("this codec has latents, which are numbers and no codes, wanted one of codes")]
    NoCodes,
    /// The images cannot be encoded.
    #[error(transparent)]
    Codec(#[from] mm_codec::CodecError),
    /// Guidance of a distilled model is an input of its network, and nothing else.
    #[error(
        "this model is distilled: its guidance is a scale alone, wanted no negative text and no \
         other rule than `cfg`"
    )]
    Distilled,
    /// The model has no text side.
    #[error("this model knows images alone: it neither reads nor writes text")]
    NoText,
    /// What was drawn is no image.
    #[error(
        "a drawing holds {found}, wanted finite numbers: the model's weights are broken or far too large"
    )]
    NotFinite {
        /// The first of its numbers that is not finite.
        found: f32,
    },
    /// What was computed of the next token is no number.
    #[error(
        "a token's logits hold {found}, wanted finite numbers: the model's weights are broken or far too large"
    )]
    NotFiniteLogits {
        /// The first of them that is not finite.
        found: f32,
    },
    /// The device failed, for example because it has no memory left.
    #[error(
        "the device could not compute this image, wanted a smaller image, fewer at once, or another device: {0}"
    )]
    Device(String),
    /// There is nothing to generate from.
    #[error("no prompt was given, wanted at least one")]
    NoPrompt,
    /// The network reads images and draws none.
    #[error("this model only reads: it draws no images")]
    OnlyReads,
}

/// A model folder that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// The file system refused; the message names the path.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A file does not hold what it should.
    #[error("`{path}`: {source}")]
    File {
        /// The file; without a folder where the model was made from bytes.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<FileError>,
    },
    /// The target exists and must not be overwritten.
    #[error("`{path}` exists already")]
    Exists {
        /// The target.
        path: PathBuf,
    },
}

/// Why a file of a model folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file is not of its format.
    #[error("not a valid {format} file: {why}")]
    Malformed {
        /// What it should have been.
        format: &'static str,
        /// The parser's words.
        why: String,
    },
    /// The model was written by another version.
    #[error("format {found}, wanted {wanted}")]
    Format {
        /// The format that the file names.
        found: String,
        /// The format that this version reads.
        wanted: u32,
    },
    /// The file cannot be read to its end.
    #[error("cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// The configuration is that of another model.
    #[error("{found} numbers, the config asks for at least {wanted}")]
    TooFew {
        /// The numbers of all tensors of the file, or of all files of a set.
        found: u128,
        /// The numbers of all weights of the configuration.
        wanted: u128,
    },
    /// The file is what Git stores in place of a large one.
    #[error(
        "a Git LFS pointer of {found} bytes, wanted the file of {wanted} bytes that it stands for, which `git lfs pull` fetches"
    )]
    LfsPointer {
        /// The length of the pointer.
        found: u64,
        /// The length of the file that it stands for.
        wanted: u64,
    },
    /// An index names a file that is not there.
    #[error("tensor `{name}` is in `{found}`, which does not exist, wanted a file of this folder")]
    NoShard {
        /// The first tensor that the index has in this file.
        name: String,
        /// The file.
        found: String,
    },
    /// An index names a file of another folder.
    #[error("tensor `{name}` is in `{found}`, wanted a file of this folder")]
    Outside {
        /// The first tensor that the index has in this file.
        name: String,
        /// The file.
        found: String,
    },
    /// An index names a tensor twice.
    #[error("tensor `{name}` is named twice, in `{first}` and in `{second}`, wanted once")]
    NamedTwice {
        /// The tensor.
        name: String,
        /// The file of its first mention.
        first: String,
        /// The file of its second.
        second: String,
    },
    /// Two files hold the same tensor.
    #[error("tensor `{name}` is also in `{other}`, wanted in one file")]
    Twice {
        /// The tensor.
        name: String,
        /// The file that holds it too.
        other: String,
    },
    /// A file does not hold a tensor that the index has there.
    #[error("tensor `{name}` is missing, which the index has here")]
    NotHere {
        /// The tensor.
        name: String,
    },
    /// The configuration contradicts itself.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A tensor has another size.
    #[error("tensor `{name}` has shape {found:?}, the config asks for {wanted:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape in the file.
        found: Vec<usize>,
        /// The shape that the configuration asks for.
        wanted: Vec<usize>,
    },
    /// A tensor has another type.
    #[error("tensor `{name}` has type {found}, wanted F32, F16, BF16 or F64")]
    Type {
        /// The tensor.
        name: String,
        /// Its type in the file.
        found: String,
    },
    /// A number of a tensor of 64-bit floats is past those of 32 bits.
    #[error("tensor `{name}` holds {found:e}, wanted numbers that 32-bit floats have")]
    TooLarge {
        /// The tensor.
        name: String,
        /// The number.
        found: f64,
    },
    /// A tensor is absent.
    #[error("tensor `{name}` of shape {wanted:?} is missing")]
    Missing {
        /// The tensor.
        name: String,
        /// The shape that the configuration asks for.
        wanted: Vec<usize>,
    },
    /// A tensor is there that the configuration does not have.
    #[error("tensor `{name}` is unknown to this configuration")]
    Unknown {
        /// The tensor.
        name: String,
    },
    /// The tokenizer does not belong to the model.
    #[error("{found} token ids, the config asks for {wanted}")]
    Vocab {
        /// The number of ids of the tokenizer.
        found: usize,
        /// The number of ids of the model.
        wanted: usize,
    },
}

impl FileError {
    /// Reports a parser's words and those of its causes: where a parser gave up is often in the
    /// last of them.
    pub(crate) fn malformed(format: &'static str, why: &(dyn Error + 'static)) -> Self {
        let mut told = plain_words(&why.to_string());
        for cause in std::iter::successors(why.source(), |why| (*why).source()) {
            let cause = cause.to_string();
            if !told.contains(&cause) {
                told += &format!(": {cause}");
            }
        }
        Self::Malformed { format, why: told }
    }

    /// Names the file.
    pub(crate) fn in_file(self, path: impl Into<PathBuf>) -> FolderError {
        FolderError::File { path: path.into(), source: Box::new(self) }
    }
}

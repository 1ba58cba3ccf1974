//! What can go wrong with a codec.

/// Why a codec cannot be made, or cannot take an image or a code.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// One field of the configuration is out of range.
    #[error("`{field}` is {found}, wanted {wanted}")]
    Field {
        /// The name of the field.
        field: &'static str,
        /// What it holds.
        found: String,
        /// What it may hold.
        wanted: &'static str,
    },
    /// The configuration is of another kind of network, or cannot be read.
    #[error("not a configuration of diffusers' AutoencoderKL: {0}")]
    Diffusers(String),
    /// The image's sides do not divide into cells.
    #[error(
        "an image of {width} x {height} pixels, wanted sides that are multiples of {factor} pixels, one cell of the codec"
    )]
    Size {
        /// Its width.
        width: usize,
        /// Its height.
        height: usize,
        /// The side of a cell, pixels.
        factor: usize,
    },
    /// Queries look at images of one size alone.
    #[error(
        "an image of {width} x {height} pixels, wanted {} x {}, the only size that `queries` know",
        wanted[0], wanted[1]
    )]
    OnlySize {
        /// Its width.
        width: usize,
        /// Its height.
        height: usize,
        /// The width and the height that are known.
        wanted: [usize; 2],
    },
    /// A code is not of the codec's vocabulary.
    #[error("code {found} at cell {cell}, wanted one below {wanted}")]
    Code {
        /// The code.
        found: u32,
        /// Where it stands, counted from 0.
        cell: usize,
        /// The number of codes.
        wanted: usize,
    },
    /// The codes are of a codec of another size.
    #[error("codes of a vocabulary of {found}, wanted {wanted}: they are of another codec")]
    Vocabulary {
        /// The size of their vocabulary.
        found: usize,
        /// The size of the codec's.
        wanted: usize,
    },
    /// The latents are of a codec of another size.
    #[error("latents of {found} channels, wanted {wanted}: they are of another codec")]
    Channels {
        /// How many they have.
        found: usize,
        /// How many the codec's have.
        wanted: usize,
    },
    /// Latents that do not vary cannot be scaled to unit variance.
    #[error("latents of variance {variance}, wanted more than 0: nothing can be learned of them")]
    Constant {
        /// The variance over all images that were encoded.
        variance: f64,
    },
    /// The number of codes is not that of the grid's cells.
    #[error("{found} codes, wanted {wanted}: {rows} x {cols} cells")]
    Count {
        /// How many there are.
        found: usize,
        /// How many the grid has.
        wanted: usize,
        /// Rows of the grid.
        rows: usize,
        /// Columns of the grid.
        cols: usize,
    },
}

impl CodecError {
    /// Checks that codes are of this codec, by the size of their vocabulary.
    pub fn vocabulary(found: usize, wanted: usize) -> Result<(), Self> {
        if found == wanted { Ok(()) } else { Err(Self::Vocabulary { found, wanted }) }
    }

    /// Checks that latents are of this codec, by their channels.
    pub fn channels(found: usize, wanted: usize) -> Result<(), Self> {
        if found == wanted { Ok(()) } else { Err(Self::Channels { found, wanted }) }
    }

    /// Reports a field unless it holds.
    pub(crate) fn check(
        field: &'static str,
        holds: bool,
        found: impl ToString,
        wanted: &'static str,
    ) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self::Field { field, found: found.to_string(), wanted }) }
    }
}

//! Every codec behind one trait, and the two that are trained behind one name.

use burn::prelude::*;
use mm_backbone::{Init, transparent_module};
use mm_kernels::Precision;
use serde::{Deserialize, Serialize};

use crate::code::{CodeAutoencoder, CodeConfig};
use crate::codebook::Codebook;
use crate::kl::{KlAutoencoder, KlConfig};
use crate::{Adversarial, AutoencoderSizes, CodecError};

/// What a codec makes of images of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CellGrid {
    /// Rows of cells.
    pub rows: usize,
    /// Columns of cells.
    pub cols: usize,
    /// The count of numbers of a cell.
    pub channels: usize,
    /// The number of codes that a cell can have; none where it holds numbers.
    pub codes: Option<usize>,
}

impl CellGrid {
    /// Returns the number of cells.
    pub fn cells(&self) -> usize {
        self.rows * self.cols
    }

    /// Checks codes of one image: how many there are, and that each is in the vocabulary.
    pub fn check(&self, codes: &[u32]) -> Result<(), CodecError> {
        let (found, wanted) = (codes.len(), self.cells());
        if found != wanted {
            let Self { rows, cols, .. } = *self;
            return Err(CodecError::Count { found, wanted, rows, cols });
        }
        let wanted = self.codes.unwrap_or(0);
        match codes.iter().enumerate().find(|(_, code)| **code as usize >= wanted) {
            Some((cell, &found)) => Err(CodecError::Code { found, cell, wanted }),
            None => Ok(()),
        }
    }
}

/// Images to cells, and back.
pub trait ImageCodec {
    /// Returns the cells of an image of this size, or says why it has none.
    fn grid(&self, height: usize, width: usize) -> Result<CellGrid, CodecError>;

    /// Encodes images with values in -1..1: `[images, 3, height, width]` -> `[images, channels,
    /// rows, cols]`. Where cells have codes, the result is that of the codes.
    fn encode(&self, images: Tensor<4>) -> Tensor<4>;

    /// Decodes cells: `[images, channels, rows, cols]` -> `[images, 3, height, width]`.
    fn decode(&self, cells: Tensor<4>) -> Tensor<4>;

    /// Returns how many bits say what an image of this size is encoded to: the logarithm of the
    /// number of codes for every cell, 32 for every number of a latent, 8 for a byte of a pixel.
    fn bits_per_image(&self, height: usize, width: usize) -> Result<f64, CodecError>;
}

/// The identity: the pixels of a patch are the numbers of a cell.
///
/// ```
/// use burn::prelude::*;
/// use mm_codec::{ImageCodec, RawPatches};
///
/// let codec = RawPatches { patch: 4 };
/// let images = Tensor::<1, Int>::arange(0..3 * 8 * 12, &Device::flex()).float();
/// let images = images.reshape([1, 3, 8, 12]);
/// let cells = codec.encode(images.clone());
/// assert_eq!(cells.dims(), [1, 48, 2, 3]);
/// assert_eq!(codec.decode(cells).into_data(), images.into_data());
/// assert_eq!(codec.bits_per_image(8, 12)?, 8.0 * 3.0 * 8.0 * 12.0);
/// # Ok::<(), mm_codec::CodecError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawPatches {
    /// The side of a patch, pixels.
    pub patch: usize,
}

impl ImageCodec for RawPatches {
    fn grid(&self, height: usize, width: usize) -> Result<CellGrid, CodecError> {
        let factor = self.patch;
        let divides = |side: usize| side > 0 && factor > 0 && side.is_multiple_of(factor);
        if !(divides(height) && divides(width)) {
            return Err(CodecError::Size { width, height, factor });
        }
        let channels = mm_patch::RGB_CHANNELS * factor * factor;
        Ok(CellGrid { rows: height / factor, cols: width / factor, channels, codes: None })
    }

    fn encode(&self, images: Tensor<4>) -> Tensor<4> {
        let [count, colors, height, width] = images.dims();
        let (patch, rows, cols) = (self.patch, height / self.patch, width / self.patch);
        images
            .reshape([count, colors, rows, patch, cols, patch])
            .permute([0, 3, 5, 1, 2, 4]) // [images, patch, patch, colors, rows, cols]
            .reshape([count, patch * patch * colors, rows, cols])
    }

    fn decode(&self, cells: Tensor<4>) -> Tensor<4> {
        let [count, channels, rows, cols] = cells.dims();
        let (patch, colors) = (self.patch, channels / self.patch / self.patch);
        cells
            .reshape([count, patch, patch, colors, rows, cols])
            .permute([0, 3, 4, 1, 5, 2]) // [images, colors, rows, patch, cols, patch]
            .reshape([count, colors, rows * patch, cols * patch])
    }

    fn bits_per_image(&self, height: usize, width: usize) -> Result<f64, CodecError> {
        let grid = self.grid(height, width)?;
        Ok(8.0 * (grid.cells() * grid.channels) as f64)
    }
}

/// A codec that is trained, with its sizes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CodecConfig {
    /// Gaussian latents.
    Kl(KlConfig),
    /// Codes.
    Codes(CodeConfig),
}

impl CodecConfig {
    /// Checks every field that can be wrong.
    pub fn validate(&self) -> Result<(), CodecError> {
        match self {
            Self::Kl(config) => config.validate(),
            Self::Codes(config) => config.validate(),
        }
    }

    /// Returns the sizes of the encoder and of the decoder.
    pub fn network(&self) -> &AutoencoderSizes {
        match self {
            Self::Kl(config) => &config.network,
            Self::Codes(config) => &config.network,
        }
    }

    /// Returns the number of codes, where cells have them.
    pub fn codes(&self) -> Option<usize> {
        match self {
            Self::Kl(_) => None,
            Self::Codes(config) => Some(config.codes()),
        }
    }

    /// Returns the channels of an image.
    pub fn colors(&self) -> usize {
        match self {
            Self::Kl(config) => config.colors,
            Self::Codes(_) => mm_patch::RGB_CHANNELS,
        }
    }

    /// Returns the count of numbers of a cell.
    pub fn channels(&self) -> usize {
        match self {
            Self::Kl(config) => config.latent_channels,
            Self::Codes(config) => config.channels(),
        }
    }

    /// Returns the cells of an image of this size, or says why it has none.
    pub fn grid(&self, height: usize, width: usize) -> Result<CellGrid, CodecError> {
        let [rows, cols] = self.network().cells(height, width)?;
        let (channels, codes) = (self.channels(), self.codes());
        let Self::Codes(CodeConfig { queries: Some(queries), .. }) = self else {
            return Ok(CellGrid { rows, cols, channels, codes });
        };
        if [rows, cols] != [queries.rows, queries.cols] {
            let side = self.network().factor();
            let wanted = [side * queries.cols, side * queries.rows];
            return Err(CodecError::OnlySize { width, height, wanted });
        }
        Ok(CellGrid { rows: 1, cols: queries.count, channels, codes })
    }

    /// Counts the numbers of all weights, without making any.
    pub fn parameters(&self) -> usize {
        burn::module::Module::num_params(&Codec::drawn(self, &mut Init::shapes(&Device::default())))
    }
}

/// A codec that is trained.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)] // one a run: boxing would buy nothing
pub enum Codec {
    /// Gaussian latents.
    Kl(KlAutoencoder),
    /// Codes.
    Codes(CodeAutoencoder),
}

transparent_module!(Codec { Kl, Codes });

/// What a codec makes of images in training.
#[derive(Debug, Clone)]
pub struct CodecPass {
    /// The images out of the decoder, `[images, 3, height, width]`.
    pub images: Tensor<4>,
    /// What is minimized beside the error of the images, `[1]`: the divergence of Gaussian latents
    /// in nats a number of the image, or the commitment of the cells of a codebook. Zero where
    /// there is neither.
    pub latent: Tensor<1>,
    /// What a discriminator makes of the decoded images, if there is one and the codec is trained.
    pub adversarial: Option<Adversarial>,
}

impl Codec {
    /// Draws weights under the law of `init`; the configuration is valid.
    pub fn drawn(config: &CodecConfig, init: &mut Init) -> Self {
        match config {
            CodecConfig::Kl(config) => Self::Kl(KlAutoencoder::drawn(config, init)),
            CodecConfig::Codes(config) => Self::Codes(CodeAutoencoder::drawn(config, init)),
        }
    }

    /// Returns the sizes.
    pub fn config(&self) -> CodecConfig {
        match self {
            Self::Kl(codec) => CodecConfig::Kl(codec.config().clone()),
            Self::Codes(codec) => CodecConfig::Codes(codec.config().clone()),
        }
    }

    /// Returns the device that holds the weights.
    pub fn device(&self) -> Device {
        match self {
            Self::Kl(codec) => codec.device(),
            Self::Codes(codec) => codec.device(),
        }
    }

    /// Returns the codebook, if there is one.
    pub fn codebook(&self) -> Option<&Codebook> {
        match self {
            Self::Kl(_) => None,
            Self::Codes(codec) => codec.codebook(),
        }
    }

    /// Returns the codec with its codebook replaced by what `change` makes of it.
    pub fn with_codebook(self, change: impl FnOnce(Codebook) -> Codebook) -> Self {
        match self {
            Self::Kl(codec) => Self::Kl(codec),
            Self::Codes(codec) => Self::Codes(codec.with_codebook(change)),
        }
    }

    /// Encodes images and decodes them again as training does. Both arguments are
    /// `[images, 3, height, width]`. `noise` is standard normal, and Gaussian latents take as many
    /// of its numbers as they have. The factors of convolutions of 3x3 pixels are rounded to
    /// `precision`, but for those of a discriminator.
    pub fn pass(&self, images: Tensor<4>, noise: Tensor<4>, precision: Precision) -> CodecPass {
        let device = images.device();
        match self {
            Self::Kl(codec) => {
                let [_, colors, height, width] = images.dims();
                let posterior = codec.encode_in(images, precision);
                let noise = first_numbers(noise, posterior.mean.dims());
                let numbers = (colors * height * width) as f64;
                CodecPass {
                    images: codec.decode_in(posterior.sample(noise), precision),
                    latent: posterior.divergence().mean() / numbers,
                    adversarial: None,
                }
            }
            Self::Codes(codec) => {
                let cells = codec.cells_in(images.clone(), precision);
                let latent = match codec.codebook() {
                    Some(codebook) => {
                        codebook.commitment(cells.clone()) + codebook.statistics(cells.clone())
                    }
                    None => Tensor::zeros([1], &device),
                };
                let cells = codec.quantize(cells);
                let (images, adversarial) = codec.decode_against(cells, images, precision);
                CodecPass { images, latent, adversarial }
            }
        }
    }
}

/// Returns the first numbers of every image in another shape, `[images, …]` -> `shape`; where there
/// are too few, they are taken again.
fn first_numbers(x: Tensor<4>, shape: [usize; 4]) -> Tensor<4> {
    let [images, colors, height, width] = x.dims();
    let (there, wanted) = (colors * height * width, shape[1] * shape[2] * shape[3]);
    let flat = x.reshape([images, there]).repeat_dim(1, wanted.div_ceil(there));
    flat.narrow(1, 0, wanted).reshape(shape)
}

impl ImageCodec for Codec {
    fn grid(&self, height: usize, width: usize) -> Result<CellGrid, CodecError> {
        self.config().grid(height, width)
    }

    fn encode(&self, images: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Kl(codec) => codec.encode(images).mean,
            Self::Codes(codec) => codec.quantize(codec.cells(images)),
        }
    }

    fn decode(&self, cells: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Kl(codec) => codec.decode(cells),
            Self::Codes(codec) => codec.decode(cells),
        }
    }

    fn bits_per_image(&self, height: usize, width: usize) -> Result<f64, CodecError> {
        let grid = self.grid(height, width)?;
        let bits = match grid.codes {
            Some(codes) => (codes as f64).log2(),
            None => 32.0 * grid.channels as f64,
        };
        Ok(bits * grid.cells() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CodebookConfig, Fsq, FsqActivation, QuantizerConfig};

    fn configs() -> [CodecConfig; 3] {
        let network = AutoencoderSizes {
            block_out_channels: vec![4, 8],
            layers_per_block: 1,
            norm_num_groups: 2,
            mid_block_add_attention: true,
        };
        let kl = KlConfig {
            network: network.clone(),
            latent_channels: 2,
            colors: 3,
            scaling_factor: 1.0,
            shift_factor: 0.0,
            use_quant_conv: true,
            use_post_quant_conv: true,
        };
        let codebook = CodebookConfig { codes: 5, channels: 3, decay: 0.9, dead_below: 0.02 };
        let codes = |quantizer| CodeConfig {
            network: network.clone(),
            quantizer,
            discriminator: None,
            queries: None,
        };
        let fsq = Fsq { levels: vec![3, 4], activation: FsqActivation::Tanh };
        [
            CodecConfig::Kl(kl),
            CodecConfig::Codes(codes(QuantizerConfig::Fsq(fsq))),
            CodecConfig::Codes(codes(QuantizerConfig::Codebook(codebook))),
        ]
    }

    #[test]
    fn codes_and_cells_are_two_ways_to_say_the_same_image() {
        let device = Device::flex();
        for config in &configs()[1..] {
            let mut init = Init::new(3, &device);
            let Codec::Codes(codec) = Codec::drawn(config, &mut init) else { unreachable!() };
            let images = init.normal([2, 3, 6, 4], 1.0).val();
            let codes = codec.codes(images.clone());
            assert_eq!(codes.dims(), [2, 6]);
            let host = codes.clone().into_data().convert::<i64>().try_to_vec::<i64>().unwrap();
            let host: Vec<u32> = host.into_iter().map(|code| code as u32).collect();
            let grid = config.grid(6, 4).unwrap();
            assert_eq!(grid.check(&host[..6]), Ok(()));
            let by_cells = codec.decode(codec.quantize(codec.cells(images)));
            let most = (codec.images(codes, [3, 2]) - by_cells).abs().max();
            assert!(most.into_scalar::<f32>() < 1e-5);
        }
    }

    #[test]
    fn codes_of_another_codec_are_refused_with_their_cell() {
        let grid = CellGrid { rows: 1, cols: 3, channels: 1, codes: Some(12) };
        assert_eq!(grid.check(&[0, 11, 5]), Ok(()));
        let said = grid.check(&[0, 12, 5]).unwrap_err().to_string();
        assert_eq!(said, "code 12 at cell 1, wanted one below 12");
        let said = grid.check(&[0, 5]).unwrap_err().to_string();
        assert_eq!(said, "2 codes, wanted 3: 1 x 3 cells");
    }

    #[test]
    fn bits_are_counted_as_by_hand() {
        let device = Device::flex();
        let bits = |config: &CodecConfig| {
            let codec = Codec::drawn(config, &mut Init::new(0, &device));
            codec.bits_per_image(4, 6).unwrap()
        };
        let [kl, fsq, codebook] = configs();
        assert_eq!(bits(&kl), 32.0 * 2.0 * 6.0);
        assert_eq!(bits(&fsq), 6.0 * 12f64.log2());
        assert_eq!(bits(&codebook), 6.0 * 5f64.log2());
        let said = kl.grid(4, 5).unwrap_err().to_string();
        assert!(said.contains("5 x 4 pixels, wanted sides that are multiples of 2"), "{said}");
    }

    #[test]
    fn weights_are_counted_as_they_are_made_and_configurations_read_back() {
        use burn::module::Module;
        for config in configs() {
            let made = Codec::drawn(&config, &mut Init::new(0, &Device::flex())).num_params();
            assert_eq!(config.parameters(), made);
            let text = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<CodecConfig>(&text).unwrap(), config);
        }
    }
}

//! Autoencoders whose cells are codes: `fsq` and `vq-vae` differ in the quantizer alone.

use burn::prelude::*;
use mm_backbone::Init;
use mm_kernels::Precision;
use serde::{Deserialize, Serialize};

use crate::codebook::{Codebook, CodebookConfig};
use crate::decoder::Decoder;
use crate::discriminator::{Adversarial, Discriminator, DiscriminatorConfig};
use crate::encoder::Encoder;
use crate::fsq::Fsq;
use crate::queries::{Queries, QueriesConfig};
use crate::{AutoencoderSizes, CodecError};

/// What makes a code of a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum QuantizerConfig {
    /// Rounding of every channel.
    Fsq(Fsq),
    /// The nearest vector of a codebook.
    Codebook(CodebookConfig),
}

/// Sizes of an autoencoder of codes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodeConfig {
    /// The encoder and the decoder.
    pub network: AutoencoderSizes,
    /// What makes a code of a cell.
    pub quantizer: QuantizerConfig,
    /// What tells decoded images from real ones in training, as in VQGAN; absent for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discriminator: Option<DiscriminatorConfig>,
    /// Queries of which codes are made in place of cells, as in SEED; absent for a code a cell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queries: Option<QueriesConfig>,
}

impl CodeConfig {
    /// Checks every field that can be wrong.
    pub fn validate(&self) -> Result<(), CodecError> {
        self.network.validate()?;
        if let Some(discriminator) = &self.discriminator {
            discriminator.validate()?;
        }
        if let Some(queries) = &self.queries {
            queries.validate()?;
        }
        match &self.quantizer {
            QuantizerConfig::Fsq(fsq) => fsq.validate(),
            QuantizerConfig::Codebook(codebook) => codebook.validate(),
        }
    }

    /// Returns the number of codes.
    pub fn codes(&self) -> usize {
        match &self.quantizer {
            QuantizerConfig::Fsq(fsq) => fsq.codes(),
            QuantizerConfig::Codebook(codebook) => codebook.codes,
        }
    }

    /// Returns the channels of a cell.
    pub fn channels(&self) -> usize {
        match &self.quantizer {
            QuantizerConfig::Fsq(fsq) => fsq.levels.len(),
            QuantizerConfig::Codebook(codebook) => codebook.channels,
        }
    }
}

/// The weights of an autoencoder of codes.
#[derive(Module, Debug)]
pub struct CodeAutoencoder {
    encoder: Encoder,
    decoder: Decoder,
    /// Absent where nothing of the quantizer is learned.
    codebook: Option<Codebook>,
    /// Absent where none is asked for.
    discriminator: Option<Discriminator>,
    /// Absent where a code is a cell.
    queries: Option<Queries>,
    #[module(skip)]
    config: CodeConfig,
}

impl CodeAutoencoder {
    /// Draws weights under the law of `init`; the configuration is valid.
    pub fn drawn(config: &CodeConfig, init: &mut Init) -> Self {
        let (network, channels) = (&config.network, config.channels());
        let colors = mm_patch::RGB_CHANNELS;
        let width = network.deepest();
        let outputs = if config.queries.is_some() { width } else { channels };
        Self {
            encoder: Encoder::new(init, network, colors, outputs),
            decoder: Decoder::new(init, network, channels, colors),
            codebook: match &config.quantizer {
                QuantizerConfig::Fsq(_) => None,
                QuantizerConfig::Codebook(codebook) => Some(Codebook::new(init, codebook)),
            },
            discriminator: config
                .discriminator
                .as_ref()
                .map(|discriminator| Discriminator::new(init, discriminator)),
            queries: config
                .queries
                .as_ref()
                .map(|queries| Queries::new(init, queries, width, channels)),
            config: config.clone(),
        }
    }

    /// Returns the sizes.
    pub fn config(&self) -> &CodeConfig {
        &self.config
    }

    /// Returns the device that holds the weights.
    pub fn device(&self) -> Device {
        self.encoder.device()
    }

    /// Returns the codebook, if there is one.
    pub fn codebook(&self) -> Option<&Codebook> {
        self.codebook.as_ref()
    }

    /// Returns the autoencoder with its codebook replaced by what `change` makes of it.
    pub fn with_codebook(self, change: impl FnOnce(Codebook) -> Codebook) -> Self {
        Self { codebook: self.codebook.map(change), ..self }
    }

    /// Encodes images without rounding anything: `[images, 3, height, width]` -> `[images,
    /// channels, rows, cols]`, one row of as many as there are queries where those are asked for.
    pub fn cells(&self, images: Tensor<4>) -> Tensor<4> {
        self.cells_in(images, Precision::F32)
    }

    /// Computes what [`cells`](Self::cells) does, of factors rounded to a type.
    pub(crate) fn cells_in(&self, images: Tensor<4>, precision: Precision) -> Tensor<4> {
        let cells = self.encoder.forward(images, precision);
        match &self.queries {
            Some(queries) => queries.look(cells),
            None => cells,
        }
    }

    /// Returns the cells that the decoder takes, `[images, channels, rows, cols]` -> the same axes.
    fn placed(&self, cells: Tensor<4>) -> Tensor<4> {
        match &self.queries {
            Some(queries) => queries.place(cells),
            None => cells,
        }
    }

    /// Replaces cells by those that have a code, `[images, channels, rows, cols]` -> the same
    /// shape.
    pub fn quantize(&self, cells: Tensor<4>) -> Tensor<4> {
        match (&self.config.quantizer, &self.codebook) {
            (QuantizerConfig::Fsq(fsq), _) => fsq.quantize(cells),
            (QuantizerConfig::Codebook(_), Some(codebook)) => codebook.quantize(cells),
            (QuantizerConfig::Codebook(_), None) => unreachable!("it is made with one"),
        }
    }

    /// Encodes images to codes in reading order: `[images, 3, height, width]` -> `[images, rows *
    /// cols]`.
    pub fn codes(&self, images: Tensor<4>) -> Tensor<2, Int> {
        let cells = self.cells(images);
        match (&self.config.quantizer, &self.codebook) {
            (QuantizerConfig::Fsq(fsq), _) => fsq.codes_of(fsq.quantize(cells)),
            (QuantizerConfig::Codebook(_), Some(codebook)) => codebook.codes_of(cells),
            (QuantizerConfig::Codebook(_), None) => unreachable!("it is made with one"),
        }
    }

    /// Decodes codes in reading order: `[images, rows * cols]` -> `[images, 3, height, width]`.
    pub fn images(&self, codes: Tensor<2, Int>, grid: [usize; 2]) -> Tensor<4> {
        self.decode(match (&self.config.quantizer, &self.codebook) {
            (QuantizerConfig::Fsq(fsq), _) => fsq.cells_of(codes, grid),
            (QuantizerConfig::Codebook(_), Some(codebook)) => codebook.cells_of(codes, grid),
            (QuantizerConfig::Codebook(_), None) => unreachable!("it is made with one"),
        })
    }

    /// Decodes cells that have codes: `[images, channels, rows, cols]` -> `[images, 3, height,
    /// width]`.
    pub fn decode(&self, cells: Tensor<4>) -> Tensor<4> {
        self.decode_in(cells, Precision::F32)
    }

    /// Computes what [`decode`](Self::decode) does, of factors rounded to a type.
    fn decode_in(&self, cells: Tensor<4>, precision: Precision) -> Tensor<4> {
        self.decoder.forward(self.placed(cells), precision)
    }

    /// Decodes cells as [`decode`](Self::decode) does, `[images, channels, rows, cols]` ->
    /// `[images, 3, height, width]`, and computes what a discriminator makes of the result beside
    /// the `real` images of the same shape. Without one, or if the weights are not trained, there
    /// is nothing beside. Factors of convolutions of 3x3 pixels are rounded to `precision`.
    pub(crate) fn decode_against(
        &self,
        cells: Tensor<4>,
        real: Tensor<4>,
        precision: Precision,
    ) -> (Tensor<4>, Option<Adversarial>) {
        let weight = self.decoder.last_weight();
        let Some(discriminator) = self.discriminator.as_ref().filter(|_| weight.is_require_grad())
        else {
            return (self.decode_in(cells, precision), None);
        };
        let features = self.decoder.features(self.placed(cells), precision);
        let decoded = self.decoder.pixels(features.clone(), precision);
        let features = features.detach();
        // Only its size counts, which would be too small for 16 bits.
        let last = || self.decoder.pixels(features.clone(), Precision::F32);
        let terms = discriminator.terms(real, decoded.clone(), &last, &weight);
        (decoded, Some(terms))
    }
}

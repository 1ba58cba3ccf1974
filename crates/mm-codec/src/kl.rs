//! The autoencoder of latent diffusion (Rombach et al. 2022, arXiv:2112.10752): a Gaussian at every
//! cell, drawn towards the standard normal (Kingma & Welling 2014, arXiv:1312.6114):
//!
//! ```text
//! mean, log σ² = encoder(x),   z = mean + σ ε,   x' = decoder(z)
//! KL(z) = ½ Σ (mean² + σ² - 1 - log σ²)          nats, summed over the numbers of an image
//! ```
//!
//! Layers, names of weights and their layout are those of diffusers' `AutoencoderKL`, so that
//! published weights load unchanged. What a diffusion model is trained on is `(mean - shift) ·
//! scale`.

use burn::prelude::*;
use mm_backbone::Init;
use mm_backbone::parameters::{ReadWeight, filled};
use mm_kernels::Precision;
use serde::{Deserialize, Serialize};

use crate::convolution::Convolution;
use crate::decoder::Decoder;
use crate::encoder::Encoder;
use crate::{AutoencoderSizes, CodecError};

/// Sizes of a KL autoencoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KlConfig {
    /// The encoder and the decoder.
    pub network: AutoencoderSizes,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Channels of an image.
    #[serde(default = "three")]
    pub colors: usize,
    /// What latents are multiplied by before a diffusion model sees them.
    #[serde(default = "one")]
    pub scaling_factor: f64,
    /// What is subtracted from latents before that.
    #[serde(default)]
    pub shift_factor: f64,
    /// Whether a map of channels follows the encoder.
    #[serde(default = "yes")]
    pub use_quant_conv: bool,
    /// Whether a map of channels precedes the decoder.
    #[serde(default = "yes")]
    pub use_post_quant_conv: bool,
}

fn three() -> usize {
    mm_patch::RGB_CHANNELS
}

fn one() -> f64 {
    1.0
}

fn yes() -> bool {
    true
}

impl KlConfig {
    /// Checks every field that can be wrong.
    pub fn validate(&self) -> Result<(), CodecError> {
        self.network.validate()?;
        let (latent, colors) = (self.latent_channels, self.colors);
        let few = 1..=1 << 12;
        CodecError::check("latent_channels", few.contains(&latent), latent, "1 to 4096")?;
        CodecError::check("colors", few.contains(&colors), colors, "1 to 4096")?;
        let (scale, shift) = (self.scaling_factor, self.shift_factor);
        let usable = scale.is_finite() && scale > 0.0;
        CodecError::check("scaling_factor", usable, scale, "more than 0, finite")?;
        CodecError::check("shift_factor", shift.is_finite(), shift, "a finite number")
    }

    /// Reads the `config.json` of diffusers' `AutoencoderKL`, of which only what changes the
    /// computation matters. A file that asks for another network is refused.
    pub fn from_diffusers(bytes: &[u8]) -> Result<Self, CodecError> {
        let file: Published =
            serde_json::from_slice(bytes).map_err(|why| CodecError::Diffusers(why.to_string()))?;
        file.try_into()
    }
}

/// What is read of diffusers' file, with its defaults.
#[derive(Deserialize)]
struct Published {
    _class_name: Option<String>,
    #[serde(default = "three")]
    in_channels: usize,
    #[serde(default = "three")]
    out_channels: usize,
    #[serde(default)]
    down_block_types: Vec<String>,
    #[serde(default)]
    up_block_types: Vec<String>,
    block_out_channels: Vec<usize>,
    layers_per_block: Option<usize>,
    act_fn: Option<String>,
    latent_channels: Option<usize>,
    norm_num_groups: Option<usize>,
    scaling_factor: Option<f64>,
    shift_factor: Option<f64>,
    latents_mean: Option<Vec<f64>>,
    latents_std: Option<Vec<f64>>,
    use_quant_conv: Option<bool>,
    use_post_quant_conv: Option<bool>,
    mid_block_add_attention: Option<bool>,
}

impl TryFrom<Published> for KlConfig {
    type Error = CodecError;

    fn try_from(file: Published) -> Result<Self, CodecError> {
        let check = |field: &str, found: &dyn std::fmt::Debug, holds: bool, wanted: &str| {
            let said = || format!("`{field}` is {found:?}, wanted {wanted}");
            if holds { Ok(()) } else { Err(CodecError::Diffusers(said())) }
        };
        let class = &file._class_name;
        let known = class.as_deref().is_none_or(|class| class == "AutoencoderKL");
        check("_class_name", class, known, "AutoencoderKL")?;
        let down = &file.down_block_types;
        let plain = down.iter().all(|kind| kind == "DownEncoderBlock2D");
        check("down_block_types", down, plain, "only DownEncoderBlock2D")?;
        let up = &file.up_block_types;
        let plain = up.iter().all(|kind| kind == "UpDecoderBlock2D");
        check("up_block_types", up, plain, "only UpDecoderBlock2D")?;
        let act = &file.act_fn;
        let known = act.as_deref().is_none_or(|act| ["silu", "swish"].contains(&act));
        check("act_fn", act, known, "silu")?;
        let (colors, out) = (file.in_channels, file.out_channels);
        check("out_channels", &out, out == colors, "as many as `in_channels`")?;
        check("latents_mean", &file.latents_mean, file.latents_mean.is_none(), "null")?;
        check("latents_std", &file.latents_std, file.latents_std.is_none(), "null")?;
        let config = Self {
            network: AutoencoderSizes {
                block_out_channels: file.block_out_channels,
                layers_per_block: file.layers_per_block.unwrap_or(1),
                norm_num_groups: file.norm_num_groups.unwrap_or(32),
                mid_block_add_attention: file.mid_block_add_attention.unwrap_or(true),
            },
            latent_channels: file.latent_channels.unwrap_or(4),
            colors,
            scaling_factor: file.scaling_factor.unwrap_or(0.18215),
            shift_factor: file.shift_factor.unwrap_or(0.0),
            use_quant_conv: file.use_quant_conv.unwrap_or(true),
            use_post_quant_conv: file.use_post_quant_conv.unwrap_or(true),
        };
        config.validate()?;
        Ok(config)
    }
}

/// The Gaussian at every cell.
#[derive(Debug, Clone)]
pub struct Posterior {
    /// Means, `[images, channels, rows, cols]`.
    pub mean: Tensor<4>,
    /// Logarithms of variances, within -30..20, in the shape of the means.
    pub log_variance: Tensor<4>,
}

impl Posterior {
    /// Draws latents with standard normal `noise`, all `[images, channels, rows, cols]`.
    pub fn sample(&self, noise: Tensor<4>) -> Tensor<4> {
        self.mean.clone() + (self.log_variance.clone() * 0.5).exp() * noise
    }

    /// Computes the divergence from the standard normal in nats, one number an image: `[images]`.
    pub fn divergence(&self) -> Tensor<1> {
        let variance = self.log_variance.clone().exp();
        let terms = self.mean.clone().square() + variance - 1.0 - self.log_variance.clone();
        let [images, ..] = terms.dims();
        terms.reshape([images as i32, -1]).sum_dim(1).reshape([images]) * 0.5
    }
}

/// The weights of a KL autoencoder.
///
/// ```
/// use burn::prelude::*;
/// use mm_codec::{AutoencoderSizes, KlAutoencoder, KlConfig};
///
/// let network = AutoencoderSizes {
///     block_out_channels: vec![8, 8],
///     layers_per_block: 1,
///     norm_num_groups: 4,
///     mid_block_add_attention: true,
/// };
/// let config = KlConfig {
///     network,
///     latent_channels: 2,
///     colors: 3,
///     scaling_factor: 1.0,
///     shift_factor: 0.0,
///     use_quant_conv: true,
///     use_post_quant_conv: true,
/// };
/// let codec = KlAutoencoder::init(&config, 0, &Device::flex())?;
/// let images = Tensor::zeros([1, 3, 8, 4], &Device::flex());
/// let latents = codec.encode(images).mean;
/// assert_eq!(latents.dims(), [1, 2, 4, 2]);
/// assert_eq!(codec.decode(latents).dims(), [1, 3, 8, 4]);
/// # Ok::<(), mm_codec::CodecError>(())
/// ```
#[derive(Module, Debug)]
pub struct KlAutoencoder {
    encoder: Encoder,
    decoder: Decoder,
    quant_conv: Option<Convolution>,
    post_quant_conv: Option<Convolution>,
    #[module(skip)]
    config: KlConfig,
}

impl KlAutoencoder {
    /// Makes a codec with fresh weights, a pure function of the configuration and `seed`.
    pub fn init(config: &KlConfig, seed: u64, device: &Device) -> Result<Self, CodecError> {
        config.validate()?;
        Ok(Self::drawn(config, &mut Init::new(seed, device)))
    }

    /// Makes a codec whose weights `read` returns for a name and a shape, such as
    /// `encoder.conv_in.weight`; the first error ends the reading.
    ///
    /// Published files from before 2023 call the maps of attention by other names, which
    /// [`old_name`](Self::old_name) returns.
    pub fn from_weights<E: From<CodecError>>(
        config: &KlConfig,
        device: &Device,
        read: ReadWeight<'_, E>,
    ) -> Result<Self, E> {
        config.validate()?;
        filled(Self::drawn(config, &mut Init::blank(device)), read)
    }

    /// Draws weights under the law of `init`; the configuration is valid.
    pub fn drawn(config: &KlConfig, init: &mut Init) -> Self {
        let KlConfig { network, latent_channels: latent, colors, .. } = config;
        let map = |init: &mut Init, asked: bool, channels: usize| {
            asked.then(|| Convolution::of_pixels(init, channels, channels, 1.0))
        };
        Self {
            encoder: Encoder::new(init, network, *colors, 2 * latent),
            decoder: Decoder::new(init, network, *latent, *colors),
            quant_conv: map(init, config.use_quant_conv, 2 * latent),
            post_quant_conv: map(init, config.use_post_quant_conv, *latent),
            config: config.clone(),
        }
    }

    /// Returns the name that an older file has for a weight, where it differs.
    pub fn old_name(name: &str) -> Option<String> {
        let maps =
            [("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")];
        maps.iter().find_map(|(new, old)| {
            let infix = format!(".{new}.");
            name.contains(&infix).then(|| name.replace(&infix, &format!(".{old}.")))
        })
    }

    /// Returns the sizes.
    pub fn config(&self) -> &KlConfig {
        &self.config
    }

    /// Returns the device that holds the weights.
    pub fn device(&self) -> Device {
        self.encoder.device()
    }

    /// Encodes images with values in -1..1, whose sides are multiples of the
    /// [factor](AutoencoderSizes::factor): `[images, colors, height, width]` -> Gaussians of
    /// `[images, channels, height / factor, width / factor]`.
    pub fn encode(&self, images: Tensor<4>) -> Posterior {
        self.encode_in(images, Precision::F32)
    }

    /// Computes what [`encode`](Self::encode) does, of factors rounded to a type.
    pub(crate) fn encode_in(&self, images: Tensor<4>, precision: Precision) -> Posterior {
        let moments = self.encoder.forward(images, precision);
        let moments = match &self.quant_conv {
            Some(map) => map.forward(moments, precision),
            None => moments,
        };
        let channels = self.config.latent_channels;
        Posterior {
            mean: moments.clone().narrow(1, 0, channels),
            log_variance: moments.narrow(1, channels, channels).clamp(-30.0, 20.0),
        }
    }

    /// Decodes latents: `[images, channels, rows, cols]` -> `[images, colors, height, width]`. The
    /// numbers of an image are near -1..1 and not clamped to it.
    pub fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        self.decode_in(latents, Precision::F32)
    }

    /// Computes what [`decode`](Self::decode) does, of factors rounded to a type.
    pub(crate) fn decode_in(&self, latents: Tensor<4>, precision: Precision) -> Tensor<4> {
        let latents = match &self.post_quant_conv {
            Some(map) => map.forward(latents, precision),
            None => latents,
        };
        self.decoder.forward(latents, precision)
    }

    /// Returns latents as a diffusion model is trained on, of the same shape: `(z - shift) ·
    /// scale`, `[images, channels, rows, cols]`.
    pub fn scaled(&self, latents: Tensor<4>) -> Tensor<4> {
        (latents - self.config.shift_factor) * self.config.scaling_factor
    }

    /// Returns the latents that [`scaled`](Self::scaled) was given:
    /// `[images, channels, rows, cols]` -> the same shape.
    pub fn unscaled(&self, latents: Tensor<4>) -> Tensor<4> {
        latents / self.config.scaling_factor + self.config.shift_factor
    }
}

#[cfg(test)]
mod tests;

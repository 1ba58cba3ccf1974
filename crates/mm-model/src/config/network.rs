//! Which network a model has: the transformer that reads and writes, or one that only draws.

use burn::prelude::*;
use mm_backbone::{BackboneConfig, PositionScheme};
use mm_codec::CodecConfig;
use mm_diffusion::Level;
use mm_kernels::{AttentionContext, AxisFrequency, KeyRanges, RotaryTables};

use crate::config::roads::{BytesConfig, CodedConfig, ImageCodes, LatentConfig, UnifiedConfig};
use crate::{Classes, ConfigError, ImageLayout, Order, UnetConfig, VitConfig};

/// The network of a model with its sizes.
#[derive(Debug, Clone, PartialEq)]
pub enum NetworkConfig {
    /// One transformer for text and raw pixels.
    Unified(UnifiedConfig),
    /// A U-Net, which draws images of no prompt and knows no text.
    Unet(UnetConfig),
    /// A published transformer, which draws images of a class or of none and knows no text.
    Vit(VitConfig),
    /// A codec, which encodes images and decodes them again, and neither draws nor knows text.
    Codec(CodecConfig),
    /// One transformer for text and for codes: those of a codec, or bytes.
    Coded(CodedConfig),
    /// One transformer for text and for the latents of a codec.
    Latent(LatentConfig),
}

/// What `config.json` and the table `[model]` of a recipe say of a network. One of `backbone`,
/// `unet`, `vit` and `codec` is given, and the other fields belong to the first. Beside a
/// `backbone`, a `codec` makes codes or latents of images, and `bytes` makes codes of their bytes.
///
/// ```
/// use mm_model::{NetworkConfig, NetworkFields};
///
/// let said = NetworkConfig::try_from(NetworkFields::default()).unwrap_err().to_string();
/// assert_eq!(said, "`backbone` is absent, wanted a transformer's sizes, or those of `unet`");
/// ```
#[derive(Debug, Clone, Default)]
pub struct NetworkFields {
    /// See [`UnifiedConfig::patch_bias`].
    pub patch_bias: Option<bool>,
    /// See [`UnifiedConfig::patch_pos_embed`].
    pub patch_pos_embed: Option<usize>,
    /// See [`UnifiedConfig::patch_convolution`]; false where it is absent.
    pub patch_convolution: Option<bool>,
    /// The sizes of the transformer.
    pub backbone: Option<BackboneConfig>,
    /// The sizes of the U-Net.
    pub unet: Option<UnetConfig>,
    /// The sizes of the codec.
    pub codec: Option<CodecConfig>,
    /// The sizes of a published transformer that only draws.
    pub vit: Option<VitConfig>,
    /// How bytes are codes.
    pub bytes: Option<BytesConfig>,
    /// The order of codes; rows where it is absent.
    pub order: Option<Order>,
}

impl TryFrom<NetworkFields> for NetworkConfig {
    type Error = ConfigError;

    fn try_from(fields: NetworkFields) -> Result<Self, ConfigError> {
        let of_codes =
            fields.bytes.is_some() || matches!(fields.codec, Some(CodecConfig::Codes(_)));
        if fields.bytes.is_some() && (fields.backbone.is_none() || fields.codec.is_some()) {
            return Err(wrong("bytes", &"given", "a `backbone` beside it, and no `codec`"));
        }
        if fields.order.is_some() && !(of_codes && fields.backbone.is_some()) {
            return Err(wrong("order", &"given", "a `backbone` over codes beside it"));
        }
        if fields.vit.is_some() {
            fields.into_vit()
        } else if fields.codec.is_some() || fields.bytes.is_some() {
            fields.into_coded()
        } else {
            fields.into_pixels()
        }
    }
}

fn wrong(field: &'static str, found: &dyn ToString, wanted: &'static str) -> ConfigError {
    ConfigError::Field { field, found: found.to_string(), wanted }
}

impl NetworkFields {
    /// Makes a published transformer, whose sizes are given.
    fn into_vit(self) -> Result<NetworkConfig, ConfigError> {
        let only = self.backbone.is_none() && self.unet.is_none() && self.codec.is_none();
        let plain = self.patch_bias.is_none() && self.patch_pos_embed.is_none();
        match self.vit {
            Some(vit) if only && plain && self.patch_convolution.is_none() => {
                Ok(NetworkConfig::Vit(vit))
            }
            _ => Err(wrong("vit", &"given beside the fields of another", "one network alone")),
        }
    }

    /// Makes a codec, or a transformer over what a codec or bytes make of images.
    fn into_coded(mut self) -> Result<NetworkConfig, ConfigError> {
        if self.unet.is_some() {
            return Err(wrong("codec", &"given beside `unet`", "one network alone"));
        }
        let (codec, bytes) = (self.codec.take(), self.bytes.take());
        let order = self.order.take().unwrap_or_default();
        if self.backbone.is_none() {
            return Ok(NetworkConfig::Codec(codec.expect("bytes have a backbone")));
        }
        let unified = self.into_unified()?;
        let codes = match (codec, bytes) {
            (Some(CodecConfig::Kl(codec)), _) => {
                return Ok(NetworkConfig::Latent(LatentConfig { unified, codec }));
            }
            (Some(CodecConfig::Codes(codec)), _) => ImageCodes::Codec(codec),
            (Some(_), _) => return Err(wrong("codec", &"of an unknown kind", "codes or latents")),
            (None, bytes) => ImageCodes::Bytes(bytes.unwrap_or_default()),
        };
        Ok(NetworkConfig::Coded(CodedConfig { unified, codes, order }))
    }

    /// Makes a network on pixels: the transformer or a U-Net.
    fn into_pixels(mut self) -> Result<NetworkConfig, ConfigError> {
        let Some(unet) = self.unet.take() else {
            return Ok(NetworkConfig::Unified(self.into_unified()?));
        };
        if self.backbone.is_some() {
            return Err(wrong("backbone", &"given beside `unet`", "one network alone"));
        }
        match (self.patch_bias, self.patch_pos_embed, self.patch_convolution) {
            (Some(true), ..) => {
                Err(wrong("patch_bias", &true, "false, since a `unet` has no maps of patches"))
            }
            (_, Some(found @ 1..), _) => Err(wrong(
                "patch_pos_embed",
                &found,
                "0, since a `unet` sees pixels in their places",
            )),
            (_, _, Some(true)) => {
                Err(wrong("patch_convolution", &true, "false, since a `unet` ends in one"))
            }
            _ => Ok(NetworkConfig::Unet(unet)),
        }
    }

    /// Makes the transformer.
    fn into_unified(self) -> Result<UnifiedConfig, ConfigError> {
        let backbone = self.backbone.ok_or_else(|| {
            wrong("backbone", &"absent", "a transformer's sizes, or those of `unet`")
        })?;
        let bias = self.patch_bias;
        let places = self.patch_pos_embed;
        Ok(UnifiedConfig {
            patch_bias: bias.ok_or_else(|| wrong("patch_bias", &"absent", "true or false"))?,
            patch_pos_embed: places.ok_or_else(|| {
                wrong("patch_pos_embed", &"absent", "a number of rows and columns, or 0")
            })?,
            patch_convolution: self.patch_convolution.unwrap_or_default(),
            backbone,
        })
    }
}

impl From<NetworkConfig> for NetworkFields {
    fn from(network: NetworkConfig) -> Self {
        match network {
            NetworkConfig::Unified(unified) => Self {
                patch_bias: Some(unified.patch_bias),
                patch_pos_embed: Some(unified.patch_pos_embed),
                patch_convolution: Some(unified.patch_convolution),
                backbone: Some(unified.backbone),
                ..Self::default()
            },
            NetworkConfig::Unet(unet) => Self { unet: Some(unet), ..Self::default() },
            NetworkConfig::Vit(vit) => Self { vit: Some(vit), ..Self::default() },
            NetworkConfig::Codec(codec) => Self { codec: Some(codec), ..Self::default() },
            NetworkConfig::Coded(CodedConfig { unified, codes, order }) => {
                let own = Self {
                    order: (!order.is_rows()).then_some(order),
                    ..NetworkConfig::Unified(unified).into()
                };
                match codes {
                    ImageCodes::Codec(codec) => {
                        Self { codec: Some(CodecConfig::Codes(codec)), ..own }
                    }
                    ImageCodes::Bytes(bytes) => Self { bytes: Some(bytes), ..own },
                }
            }
            NetworkConfig::Latent(LatentConfig { unified, codec }) => Self {
                codec: Some(CodecConfig::Kl(codec)),
                ..NetworkConfig::Unified(unified).into()
            },
        }
    }
}

impl NetworkConfig {
    /// Returns the transformer over words and codes, if the network is one.
    pub fn coded(&self) -> Option<&CodedConfig> {
        match self {
            Self::Coded(coded) => Some(coded),
            _ => None,
        }
    }

    /// Returns the transformer over words and latents, if the network is one.
    pub fn latent(&self) -> Option<&LatentConfig> {
        match self {
            Self::Latent(latent) => Some(latent),
            _ => None,
        }
    }

    /// Returns which places the patches of an image take.
    pub fn layout(&self) -> ImageLayout {
        self.coded().map(CodedConfig::layout).unwrap_or_default()
    }

    /// Returns how many pixels along a side become one number of a patch: more than 1 where the
    /// network knows latents.
    pub fn factor(&self) -> usize {
        match self {
            Self::Latent(latent) => latent.codec.network.factor(),
            Self::Vit(vit) => vit.factor(),
            _ => 1,
        }
    }

    /// Says whether the network is a U-Net.
    pub fn is_unet(&self) -> bool {
        matches!(self, Self::Unet(_))
    }

    /// Says whether the network draws and does nothing else.
    pub fn only_draws(&self) -> bool {
        !matches!(self, Self::Unified(_) | Self::Coded(_) | Self::Latent(_))
    }

    /// Returns the published transformer that only draws, if it is one.
    pub fn vit(&self) -> Option<&VitConfig> {
        match self {
            Self::Vit(vit) => Some(vit),
            _ => None,
        }
    }

    /// Returns the classes that the network draws, if it knows any.
    pub fn classes(&self) -> Option<&Classes> {
        self.vit().map(VitConfig::classes).filter(|classes| classes.count > 0)
    }

    /// Returns the numbers of one pixel, or of one latent.
    pub fn channels(&self) -> usize {
        match self {
            Self::Latent(latent) => latent.codec.latent_channels,
            Self::Vit(vit) => vit.channels(),
            _ => mm_patch::RGB_CHANNELS,
        }
    }

    /// Returns the deviation of the noise that images are mixed with.
    pub fn noise_scale(&self) -> f64 {
        self.vit().map_or(1.0, VitConfig::noise_scale)
    }

    /// Returns an estimate of clean patches whose velocity is divided by no less noise than the
    /// network is trained with: `clean`, `noisy`: `[batch, patches, numbers]` -> the same shape.
    pub(crate) fn limited(&self, clean: Tensor<3>, noisy: Tensor<3>, level: &Level) -> Tensor<3> {
        let least = self.vit().map_or(0.0, VitConfig::min_noise);
        if level.noise >= least {
            return clean;
        }
        noisy.clone() + (clean - noisy) * (level.noise / least)
    }

    /// Returns the codec, if the network is one.
    pub fn codec(&self) -> Option<&CodecConfig> {
        match self {
            Self::Codec(codec) => Some(codec),
            _ => None,
        }
    }

    /// Returns the transformer; other networks have none.
    pub fn unified(&self) -> Option<&UnifiedConfig> {
        match self {
            Self::Unified(unified) => Some(unified),
            Self::Coded(coded) => Some(&coded.unified),
            Self::Latent(latent) => Some(&latent.unified),
            Self::Unet(_) | Self::Vit(_) | Self::Codec(_) => None,
        }
    }

    /// Returns the transformer to change it; other networks have none.
    pub fn unified_mut(&mut self) -> Option<&mut UnifiedConfig> {
        match self {
            Self::Unified(unified) => Some(unified),
            Self::Coded(coded) => Some(&mut coded.unified),
            Self::Latent(latent) => Some(&mut latent.unified),
            Self::Unet(_) | Self::Vit(_) | Self::Codec(_) => None,
        }
    }

    /// Returns how tokens are placed on the plane. A network that only draws does not look at
    /// their positions.
    pub fn positions(&self) -> PositionScheme {
        self.unified().map_or(PositionScheme::RopeTv, |unified| unified.backbone.positions)
    }

    /// Returns the channels of the hidden states before any token; others keep none.
    pub(crate) fn width(&self) -> usize {
        self.unified().map_or(0, |unified| unified.backbone.width)
    }

    /// Returns where tokens stand, `[row, column]` each, and what they may attend. A network that
    /// only draws asks for neither, so its tokens have one angle that nothing turns by.
    pub(crate) fn attention_context(
        &self,
        positions: &[[f64; 2]],
        ranges: KeyRanges,
        device: &Device,
    ) -> AttentionContext {
        match self {
            Self::Unified(unified) => unified.backbone.attention_context(positions, ranges, device),
            Self::Latent(LatentConfig { unified, .. }) => {
                unified.backbone.attention_context(positions, ranges, device)
            }
            Self::Coded(coded) => {
                let backbone = &coded.unified.backbone;
                let masked = coded.order.is_masked(); // and codes see each other, as patches do
                let ranges = if masked { ranges } else { causal(&ranges, coded.codes.window()) };
                backbone.attention_context(positions, ranges, device)
            }
            Self::Unet(_) | Self::Vit(_) | Self::Codec(_) => {
                let unused = AxisFrequency { axis: 0, theta: 1.0 };
                AttentionContext::new(RotaryTables::new(&[unused], positions), ranges, device)
            }
        }
    }
}

/// Returns ranges in which no token sees one behind it, nor one that is `window` or more before it:
/// a code is a token like any other.
fn causal(ranges: &KeyRanges, window: Option<usize>) -> KeyRanges {
    let (queries, keys) = (ranges.queries(), ranges.keys());
    let before = keys - queries;
    let own = ranges.ranges().iter().enumerate().map(|(at, range)| {
        let last = (before + at % queries + 1) as u32;
        let first = window.map_or(0, |window| last.saturating_sub(window as u32));
        [range[0].max(first), range[1].min(last)]
    });
    KeyRanges::new(ranges.batch(), keys, own.collect()).expect("every place sees itself")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_sees_what_stands_before_it_within_the_window() {
        let all = KeyRanges::new(1, 5, vec![[0, 5]; 5]).unwrap();
        assert_eq!(causal(&all, None).ranges(), [[0, 1], [0, 2], [0, 3], [0, 4], [0, 5]]);
        assert_eq!(causal(&all, Some(2)).ranges(), [[0, 1], [0, 2], [1, 3], [2, 4], [3, 5]]);
        // Two queries behind three cached keys, of which the first is padding.
        let cached = KeyRanges::new(1, 5, vec![[1, 5]; 2]).unwrap();
        assert_eq!(causal(&cached, Some(4)).ranges(), [[1, 4], [1, 5]]);
        assert_eq!(causal(&cached, Some(3)).ranges(), [[1, 4], [2, 5]]);
    }
}

//! The joined model as plain data; a copy stands beside every set of weights.

mod network;
mod roads;
mod time;

use mm_backbone::BackboneConfig;
use mm_codec::CodecConfig;
use mm_diffusion::{Prediction, Schedule};
use mm_patch::{Grid, PatchError};
use serde::{Deserialize, Serialize};

use crate::{ConfigError, Order, UnetConfig, VitConfig};

pub use network::{NetworkConfig, NetworkFields};
pub use roads::{BytesConfig, CodedConfig, ImageCodes, LatentConfig, UnifiedConfig};
pub use time::TimeConfig;

/// Everything that decides the shapes and the meaning of a model's weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "ModelFields", into = "ModelFields")]
pub struct ModelConfig {
    /// Side of a patch: pixels, or cells where the network knows latents.
    pub patch: usize,
    /// Number of token ids, special tokens included; 0 for a model of images alone, which has
    /// neither token embeddings nor a head for them, and whose documents are the patches of one
    /// image each, as in Su's script.
    pub vocab: usize,
    /// How the network is told the noise level.
    pub time: TimeConfig,
    /// How images are noised.
    pub schedule: Schedule,
    /// What the network predicts at image places.
    pub prediction: Prediction,
    /// The network and its sizes.
    pub network: NetworkConfig,
}

/// A configuration as files hold it: the fields of [`NetworkFields`] stand beside the others.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelFields {
    patch: usize,
    vocab: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    patch_bias: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    patch_pos_embed: Option<usize>,
    time: TimeConfig,
    schedule: Schedule,
    prediction: Prediction,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backbone: Option<BackboneConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    patch_convolution: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unet: Option<UnetConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    codec: Option<CodecConfig>,
    vit: Option<VitConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<BytesConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    order: Option<Order>,
}

impl TryFrom<ModelFields> for ModelConfig {
    type Error = ConfigError;

    fn try_from(fields: ModelFields) -> Result<Self, ConfigError> {
        let ModelFields { patch, vocab, time, schedule, prediction, .. } = fields;
        let network = NetworkFields {
            patch_bias: fields.patch_bias,
            patch_pos_embed: fields.patch_pos_embed,
            patch_convolution: fields.patch_convolution,
            backbone: fields.backbone,
            unet: fields.unet,
            codec: fields.codec,
            vit: fields.vit,
            bytes: fields.bytes,
            order: fields.order,
        };
        let network = network.try_into()?;
        Ok(Self { patch, vocab, time, schedule, prediction, network })
    }
}

impl From<ModelConfig> for ModelFields {
    fn from(config: ModelConfig) -> Self {
        let ModelConfig { patch, vocab, time, schedule, prediction, network } = config;
        let NetworkFields {
            patch_bias,
            patch_pos_embed,
            patch_convolution,
            backbone,
            unet,
            vit,
            codec,
            bytes,
            order,
        } = network.into();
        Self {
            patch,
            vocab,
            patch_bias,
            patch_pos_embed,
            time,
            schedule,
            prediction,
            backbone,
            patch_convolution,
            unet,
            codec,
            vit,
            bytes,
            order,
        }
    }
}

impl ModelConfig {
    /// Checks every field that can be wrong.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let wrong = |field, found: String, wanted| Err(ConfigError::Field { field, found, wanted });
        if self.patch == 0 || self.patch > 256 {
            return wrong("patch", self.patch.to_string(), "1 to 256 pixels");
        }
        if self.vocab == 1 {
            return wrong("vocab", self.vocab.to_string(), "at least 2 token ids, or 0 for none");
        }
        match (&self.time, &self.schedule) {
            (
                TimeConfig::Sinusoidal { channels, .. } | TimeConfig::Distilled { channels, .. },
                _,
            ) if *channels == 0 || channels % 2 == 1 => {
                return wrong("time.channels", channels.to_string(), "an even number, at least 2");
            }
            // The sine of what is not finite is not a number, and 0 hides the time.
            (TimeConfig::Sinusoidal { scale, .. } | TimeConfig::Distilled { scale, .. }, _)
                if !(*scale > 0.0 && *scale <= 1e6) =>
            {
                return wrong("time.scale", scale.to_string(), "above 0, at most 1000000");
            }
            (TimeConfig::Distilled { .. }, schedule)
                if *schedule != Schedule::Linear
                    || self.prediction != Prediction::Clean
                    || self.network.is_unet() =>
            {
                let wanted = "table or sinusoidal: only a transformer that predicts clean images \
                              on the linear path can be distilled";
                return wrong("time.kind", "distilled".into(), wanted);
            }
            (TimeConfig::Table { .. }, Schedule::Linear) => {
                return wrong(
                    "time.kind",
                    "table".into(),
                    "sinusoidal, since a linear path has no step indices",
                );
            }
            (
                TimeConfig::Table { steps },
                Schedule::Su2024 { steps: wanted } | Schedule::Cosine { steps: wanted },
            ) if steps != wanted => {
                return wrong("time.steps", steps.to_string(), "the schedule's number of steps");
            }
            _ => {}
        }
        if !self.draws() && (!self.has_text() || self.network.only_draws()) {
            return wrong(
                "time.kind",
                "none".into(),
                "another, since a network without text draws",
            );
        }
        if let NetworkConfig::Unified(unified) = &self.network
            && !self.draws()
            && (unified.patch_convolution || unified.backbone.block.is_conditioned())
        {
            return wrong(
                "time.kind",
                "none".into(),
                "another, since the network asks for the time",
            );
        }
        self.schedule.validate()?;
        match &self.network {
            NetworkConfig::Unified(unified) => Ok(unified.backbone.validate()?),
            NetworkConfig::Unet(unet) => unet.validate(),
            NetworkConfig::Codec(codec) => self.validate_codec(codec),
            NetworkConfig::Coded(coded) => self.validate_coded(coded),
            NetworkConfig::Latent(latent) => self.validate_latent(latent),
            NetworkConfig::Vit(vit) => vit.validate(&self.time),
        }
    }

    /// Checks a transformer over codes, and that a patch is a cell of its codec.
    fn validate_coded(&self, coded: &CodedConfig) -> Result<(), ConfigError> {
        coded.unified.backbone.validate()?;
        let wrong = |field, found: &dyn ToString, wanted| {
            Err(ConfigError::Field { field, found: found.to_string(), wanted })
        };
        let UnifiedConfig { patch_pos_embed, patch_convolution, .. } = coded.unified;
        if self.vocab == 0 {
            return wrong("vocab", &self.vocab, "at least 2, since codes follow words");
        }
        match &coded.codes {
            ImageCodes::Codec(codec) => {
                codec.validate()?;
                if codec.queries.is_some() {
                    let wanted = "absent: a code of a query stands at no place of an image";
                    return wrong("codec.codes.queries", &"given", wanted);
                }
                if self.patch != codec.network.factor() {
                    let wanted = "the side of a cell of the `codec`, for codes";
                    return wrong("patch", &self.patch, wanted);
                }
            }
            ImageCodes::Bytes(BytesConfig { levels, window: _ }) => {
                if !(2..=256).contains(levels) {
                    return wrong("bytes.levels", levels, "2 to 256");
                }
                if coded.order.is_masked() {
                    let wanted = "another, since bytes are written one after another";
                    return wrong("order", &"masked", wanted);
                }
            }
        }
        if patch_pos_embed > 0 {
            return wrong("patch_pos_embed", &patch_pos_embed, "0, since codes are tokens");
        }
        if patch_convolution {
            return wrong("patch_convolution", &true, "false, since codes are tokens");
        }
        Ok(())
    }

    /// Checks a transformer over latents, whose sizes say what a patch of latents is.
    fn validate_latent(&self, latent: &LatentConfig) -> Result<(), ConfigError> {
        latent.codec.validate()?;
        latent.unified.backbone.validate()?;
        let wrong = |field, found: &dyn ToString, wanted| {
            Err(ConfigError::Field { field, found: found.to_string(), wanted })
        };
        let colors = latent.codec.colors;
        if colors != mm_patch::RGB_CHANNELS {
            return wrong("codec.kl.colors", &colors, "3");
        }
        if self.vocab == 0 {
            return wrong("vocab", &self.vocab, "at least 2, since latents stand beside words");
        }
        if self.time == TimeConfig::None {
            return wrong("time.kind", &"none", "another, since latents are denoised");
        }
        if latent.unified.patch_convolution {
            return wrong("patch_convolution", &true, "false, since it is over pixels");
        }
        Ok(())
    }

    /// Checks the sizes of a codec, and that every image of whole patches has whole cells.
    fn validate_codec(&self, codec: &CodecConfig) -> Result<(), ConfigError> {
        codec.validate()?;
        let wrong = |field, found: usize, wanted| {
            Err(ConfigError::Field { field, found: found.to_string(), wanted })
        };
        if self.vocab > 0 {
            return wrong("vocab", self.vocab, "0, since a `codec` knows no text");
        }
        if !self.patch.is_multiple_of(codec.network().factor()) {
            return wrong("patch", self.patch, "a multiple of the side of a cell of the `codec`");
        }
        let colors = codec.colors();
        if colors != mm_patch::RGB_CHANNELS {
            return wrong("codec.kl.colors", colors, "3");
        }
        Ok(())
    }

    /// Whether there is text, or images alone.
    pub fn has_text(&self) -> bool {
        self.vocab > 0
    }

    /// Whether the network draws images, or only reads.
    pub fn draws(&self) -> bool {
        self.time != TimeConfig::None
    }

    /// Returns the patches of an image of this size in pixels: of its pixels, or of its latents
    /// where the network draws those.
    pub fn grid(&self, width: usize, height: usize) -> Result<Grid, PatchError> {
        let grid = Grid::of_size(width, height, self.patch_pixels())?;
        Ok(Grid { patch: self.patch, channels: self.network.channels(), ..grid })
    }

    /// Returns the side of a patch in pixels, which is more than [`patch`](Self::patch) where that
    /// counts latents.
    pub fn patch_pixels(&self) -> usize {
        self.patch.saturating_mul(self.network.factor())
    }

    /// Whether a drawing has a prompt: text, or a class.
    pub fn has_prompts(&self) -> bool {
        self.has_text() || self.network.classes().is_some()
    }

    /// Trained numbers of the model, of any network; counted as those of the
    /// [backbone](mm_backbone::BackboneConfig::parameters) are.
    pub fn parameters(&self) -> usize {
        let time = |width: f64| match self.time {
            TimeConfig::Table { steps } => steps as f64 * width,
            TimeConfig::Sinusoidal { channels, .. } => (channels as f64 + 2.0 + width) * width,
            TimeConfig::None => 0.0,
            TimeConfig::Distilled { channels, .. } => 3.0 * (channels as f64 + 2.0 + width) * width,
        };
        let (outside, network) = match &self.network {
            NetworkConfig::Codec(codec) => (0.0, codec.parameters()),
            NetworkConfig::Unet(unet) => (time(unet.width as f64), unet.parameters()),
            NetworkConfig::Coded(coded) => {
                let CodedConfig { unified, codes, .. } = coded;
                let inner = Self {
                    patch: 1,
                    vocab: self.vocab.saturating_add(coded.token_ids()),
                    network: NetworkConfig::Unified(unified.clone()),
                    ..self.clone()
                };
                let codec = match codes {
                    ImageCodes::Codec(codec) => CodecConfig::Codes(codec.clone()).parameters(),
                    ImageCodes::Bytes(_) => 0,
                };
                (inner.parameters() as f64, codec)
            }
            NetworkConfig::Latent(LatentConfig { unified, codec }) => {
                let (blocks, outside) = self.parameters_of(unified, time);
                (outside, blocks + CodecConfig::Kl(codec.clone()).parameters())
            }
            NetworkConfig::Vit(vit) => (vit.parameters(self.patch_dim() as f64, time), 0),
            NetworkConfig::Unified(unified) => {
                let (blocks, outside) = self.parameters_of(unified, time);
                (outside, blocks)
            }
        };
        (outside + network as f64) as usize
    }

    /// Returns the numbers of the blocks of the joined transformer, and of what is around them,
    /// where the time takes as many as `time` says of the width.
    fn parameters_of(&self, unified: &UnifiedConfig, time: impl Fn(f64) -> f64) -> (usize, f64) {
        let [width, numbers, vocab, places] =
            [unified.backbone.width, self.patch_dim(), self.vocab, unified.patch_pos_embed]
                .map(|size| size as f64);
        let out = if self.draws() { 1.0 } else { 0.0 };
        let biases = if unified.patch_bias { width + out * numbers } else { 0.0 };
        let ends = 2.0 * vocab * width + (1.0 + out) * numbers * width + biases;
        let convolution = if unified.patch_convolution { 3.0 * 3.0 * 3.0 * 3.0 + 3.0 } else { 0.0 };
        let outside = ends + 2.0 * places * width + time(width) + convolution;
        (unified.backbone.parameters(), outside)
    }

    /// Numbers in one patch: `patch * patch` times those of a pixel, or of a latent.
    pub fn patch_dim(&self) -> usize {
        self.patch * self.patch * self.network.channels()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = r#"{ "patch": 8, "vocab": 400, "patch_bias": true, "patch_pos_embed": 4, "time": { "kind": "table", "steps": 9 },
        "schedule": { "kind": "su2024", "steps": 9 }, "prediction": "noise", "backbone": { "width": 32, "depth": 2, "block":
        { "kind": "gau", "expansion": 2, "key_size": 16, "bias": false }, "positions": "rope-tv", "rotary_base": 100.0,
        "norm_epsilon": 1e-6 } }"#;

    const UNET: &str = r#"{ "patch": 8, "vocab": 400, "patch_bias": false, "patch_pos_embed": 0, "time": { "kind": "table", "steps": 9 },
        "schedule": { "kind": "su2024", "steps": 9 }, "prediction": "noise", "unet": { "width": 8, "growth": [1, 2], "blocks": 1,
        "groups": 4, "smallest": 4 } }"#;

    fn read(text: &str) -> ModelConfig {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_file_without_the_convolution_is_read() {
        let config = read(OLD);
        assert!(config.validate().is_ok());
        let NetworkConfig::Unified(unified) = config.network else { panic!("{config:?}") };
        assert!(!unified.patch_convolution);
    }

    #[test]
    fn parameters_of_either_network_are_counted_as_they_are_made() {
        use burn::module::Module;
        use burn::prelude::Device;
        for text in [OLD, UNET] {
            for sinusoidal in [false, true] {
                let mut config = read(text);
                if sinusoidal {
                    config.time = TimeConfig::Sinusoidal { channels: 6, scale: 1000.0 };
                }
                let made = crate::Model::new(&config, 0, &Device::flex()).unwrap().num_params();
                assert_eq!(config.parameters(), made, "{config:?}");
            }
        }
        let mut huge = read(UNET);
        let NetworkConfig::Unet(unet) = &mut huge.network else { panic!("{huge:?}") };
        unet.width = usize::MAX - 3;
        assert_eq!(huge.parameters(), usize::MAX);
    }

    #[test]
    fn a_configuration_reads_back_what_it_wrote() {
        for text in [OLD, UNET] {
            let config = read(text);
            assert!(config.validate().is_ok());
            assert_eq!(read(&serde_json::to_string(&config).unwrap()), config);
        }
    }

    #[test]
    fn a_time_that_would_be_hidden_or_no_number_is_refused() {
        let said = |scale| {
            let time = TimeConfig::Sinusoidal { channels: 2, scale };
            ModelConfig { time, ..read(OLD) }.validate().map_err(|why| why.to_string())
        };
        for scale in [0.0, -1.0, 1e300, f64::INFINITY, f64::NAN] {
            let wanted = format!("`time.scale` is {scale}, wanted above 0, at most 1000000");
            assert_eq!(said(scale), Err(wanted));
        }
        assert_eq!(said(1000.0), Ok(()));
    }

    #[test]
    fn a_schedule_of_more_levels_than_can_be_counted_is_refused() {
        let endless = OLD.replace(r#""steps": 9"#, r#""steps": 1000000000000"#);
        let why = read(&endless).validate().unwrap_err().to_string();
        assert_eq!(why, "in `schedule`: `steps` is 1000000000000, wanted 1 to 1000000");
    }

    #[test]
    fn exactly_one_network_is_asked_for_with_its_own_fields() {
        let check = |text: &str, from: &str, to: &str, message: &str| {
            assert!(text.contains(from));
            let said = serde_json::from_str::<ModelConfig>(&text.replace(from, to)).unwrap_err();
            assert!(said.to_string().starts_with(message), "{said}");
        };
        let unet = &UNET[UNET.find(r#""unet""#).unwrap()..UNET.rfind('}').unwrap()];
        check(
            UNET,
            &format!(", {unet}"),
            "",
            "`backbone` is absent, wanted a transformer's sizes, or those of `unet`",
        );
        check(
            OLD,
            r#""backbone""#,
            &format!(r#"{unet}, "backbone""#),
            "`backbone` is given beside `unet`, wanted one network alone",
        );
        check(
            UNET,
            r#""unet""#,
            r#""patch_convolution": true, "unet""#,
            "`patch_convolution` is true, wanted false, since a `unet` ends in one",
        );
        check(
            UNET,
            r#""patch_pos_embed": 0"#,
            r#""patch_pos_embed": 3"#,
            "`patch_pos_embed` is 3, wanted 0, since a `unet` sees pixels in their places",
        );
        check(OLD, r#""patch_bias": true, "#, "", "`patch_bias` is absent, wanted true or false");
    }

    #[test]
    fn a_field_that_a_unet_does_not_have_may_be_left_out() {
        let short = UNET.replace(r#""patch_bias": false, "patch_pos_embed": 0, "#, "");
        assert_eq!(read(&short), read(UNET));
    }
}

//! The joined model as plain data; a copy stands beside every set of weights.

use mm_backbone::{BackboneConfig, BlockConfig, GauConfig, PositionScheme};
use mm_diffusion::{Prediction, Schedule};
use serde::{Deserialize, Serialize};

use crate::{ConfigError, UnetConfig};

/// Everything that decides the shapes and the meaning of a model's weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Side of a patch, pixels.
    pub patch: usize,
    /// Number of token ids, special tokens included; 0 for a model of images alone, which has
    /// neither token embeddings nor a head for them, and whose documents are the patches of one
    /// image each, as in Su's script.
    pub vocab: usize,
    /// Whether the maps to and from patches have biases (Su's script: no).
    pub patch_bias: bool,
    /// Rows and columns that have a learned embedding added to their patches, beside the rotary
    /// positions (Li and He 2025, arXiv:2511.13720, add absolute positions too); 0 for none, as in
    /// the seed.
    pub patch_pos_embed: usize,
    /// How the network is told the noise level.
    pub time: TimeConfig,
    /// How images are noised.
    pub schedule: Schedule,
    /// What the network predicts at image places.
    pub prediction: Prediction,
    /// The transformer; [absent](no_backbone) where there is a U-Net instead.
    #[serde(default = "no_backbone", skip_serializing_if = "is_no_backbone")]
    pub backbone: BackboneConfig,
    /// Whether a 3x3 convolution over the pixels of each image follows the map to patches, as in
    /// U-ViT (Bao et al. 2022); it starts as the identity and can smooth the borders of patches.
    #[serde(default)]
    pub patch_convolution: bool,
    /// A U-Net in place of the transformer: it draws images of no prompt, and knows no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unet: Option<UnetConfig>,
}

/// What stands for the transformer in a configuration that has none. Its positions still place the
/// patches, though nobody looks at them.
pub fn no_backbone() -> BackboneConfig {
    BackboneConfig {
        width: 0,
        depth: 0,
        block: BlockConfig::Gau(GauConfig { expansion: 1, key_size: 4, bias: false }),
        positions: PositionScheme::RopeTv,
        rotary_base: 10_000.0,
        norm_epsilon: 1e-6,
    }
}

/// Whether a configuration has no transformer.
pub fn is_no_backbone(backbone: &BackboneConfig) -> bool {
    *backbone == no_backbone()
}

/// The embedding of the noise level that is added to every patch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum TimeConfig {
    /// A learned row for each of `steps` step indices (Su's script: 1000).
    Table {
        /// Number of rows.
        steps: usize,
    },
    /// Sines and cosines of the time, then a two-layer perceptron.
    Sinusoidal {
        /// Numbers of sines and cosines together, even.
        channels: usize,
        /// What the time is multiplied by first: 1000 for times in [0, 1].
        scale: f64,
    },
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
            (TimeConfig::Sinusoidal { channels, .. }, _) if *channels == 0 || channels % 2 == 1 => {
                return wrong("time.channels", channels.to_string(), "an even number, at least 2");
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
        self.schedule.validate()?;
        self.validate_network()
    }

    /// Either a transformer, or a U-Net and nothing that only a transformer has.
    fn validate_network(&self) -> Result<(), ConfigError> {
        let wrong = |field, found: &str, wanted| {
            Err(ConfigError::Field { field, found: found.to_owned(), wanted })
        };
        let Some(unet) = &self.unet else {
            if is_no_backbone(&self.backbone) {
                return wrong("backbone", "absent", "a transformer's sizes, or those of `unet`");
            }
            return Ok(self.backbone.validate()?);
        };
        if !is_no_backbone(&self.backbone) {
            return wrong("backbone", "given beside `unet`", "one network alone");
        }
        if self.patch_bias {
            return wrong("patch_bias", "true", "false, since a `unet` has no maps of patches");
        }
        if self.patch_pos_embed != 0 {
            return wrong(
                "patch_pos_embed",
                "above 0",
                "0, since a `unet` sees pixels in their places",
            );
        }
        if self.patch_convolution {
            return wrong("patch_convolution", "true", "false, since a `unet` ends in one");
        }
        unet.validate()
    }

    /// Whether there is text, or images alone.
    pub fn has_text(&self) -> bool {
        self.vocab > 0
    }

    /// Trained numbers of the model, of either network; counted as those of the
    /// [backbone](mm_backbone::BackboneConfig::parameters) are.
    pub fn parameters(&self) -> usize {
        let time = |width: f64| match self.time {
            TimeConfig::Table { steps } => steps as f64 * width,
            TimeConfig::Sinusoidal { channels, .. } => (channels as f64 + 2.0 + width) * width,
        };
        if let Some(unet) = &self.unet {
            return (time(unet.width as f64) + unet.parameters() as f64) as usize;
        }
        let [width, numbers, vocab, places] =
            [self.backbone.width, self.patch_dim(), self.vocab, self.patch_pos_embed]
                .map(|size| size as f64);
        let biases = if self.patch_bias { width + numbers } else { 0.0 };
        let ends = 2.0 * vocab * width + 2.0 * numbers * width + biases;
        let convolution = if self.patch_convolution { 3.0 * 3.0 * 3.0 * 3.0 + 3.0 } else { 0.0 };
        let outside = ends + 2.0 * places * width + time(width) + convolution;
        (outside + self.backbone.parameters() as f64) as usize
    }

    /// Numbers in one patch: `patch * patch * RGB_CHANNELS`.
    pub fn patch_dim(&self) -> usize {
        self.patch * self.patch * mm_patch::RGB_CHANNELS
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
    fn a_file_from_before_there_were_other_networks_is_read() {
        let config = read(OLD);
        assert!(config.validate().is_ok());
        assert!(config.unet.is_none() && !config.patch_convolution);
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
        huge.unet.as_mut().unwrap().width = usize::MAX - 3;
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
    fn exactly_one_network_is_asked_for() {
        let check = |config: ModelConfig, message: &str| {
            assert_eq!(config.validate().unwrap_err().to_string(), message);
        };
        check(
            ModelConfig { unet: None, ..read(UNET) },
            "`backbone` is absent, wanted a transformer's sizes, or those of `unet`",
        );
        check(
            ModelConfig { backbone: read(OLD).backbone, ..read(UNET) },
            "`backbone` is given beside `unet`, wanted one network alone",
        );
        check(
            ModelConfig { patch_convolution: true, ..read(UNET) },
            "`patch_convolution` is true, wanted false, since a `unet` ends in one",
        );
    }
}

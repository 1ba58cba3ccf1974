//! The joined model as plain data; a copy stands beside every set of weights.

use mm_backbone::BackboneConfig;
use mm_diffusion::{Prediction, Schedule};
use serde::{Deserialize, Serialize};

use crate::ConfigError;

/// Everything that decides the shapes and the meaning of a model's weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Side of a patch, pixels.
    pub patch: usize,
    /// Number of token ids, special tokens included.
    pub vocab: usize,
    /// Whether the maps to and from patches have biases (the seed: no).
    pub patch_bias: bool,
    /// Rows and columns that have a learnt embedding added to their patches, beside the rotary positions (Li and He 2025,
    /// arXiv:2511.13720, add absolute positions too); 0 for none, as in the seed.
    pub patch_places: usize,
    /// How the network is told the noise level.
    pub time: TimeConfig,
    /// How images are noised.
    pub schedule: Schedule,
    /// What the network predicts at image places.
    pub prediction: Prediction,
    /// The transformer.
    pub backbone: BackboneConfig,
}

/// The embedding of the noise level that is added to every patch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum TimeConfig {
    /// A learnt row for each of `steps` step indices (the seed: 1000).
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
        if self.vocab < 2 {
            return wrong("vocab", self.vocab.to_string(), "at least 2 token ids");
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
                Schedule::Seed { steps: wanted } | Schedule::Cosine { steps: wanted },
            ) if steps != wanted => {
                return wrong("time.steps", steps.to_string(), "the schedule's number of steps");
            }
            _ => {}
        }
        self.schedule.validate()?;
        self.backbone.validate()?;
        Ok(())
    }

    /// Trained numbers of the model.
    pub fn parameters(&self) -> usize {
        let (width, numbers) = (self.backbone.width, self.patch_numbers());
        let biases = if self.patch_bias { width + numbers } else { 0 };
        let time = match self.time {
            TimeConfig::Table { steps } => steps * width,
            TimeConfig::Sinusoidal { channels, .. } => (channels + 1 + width + 1) * width,
        };
        let ends = 2 * self.vocab * width + 2 * numbers * width + biases;
        ends + 2 * self.patch_places * width + time + self.backbone.parameters()
    }

    /// Numbers in one patch: `patch * patch * 3`.
    pub fn patch_numbers(&self) -> usize {
        self.patch * self.patch * 3
    }
}

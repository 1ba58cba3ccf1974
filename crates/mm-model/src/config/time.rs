//! How a network is told the noise level.

use serde::{Deserialize, Serialize};

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
    /// It is not told: the network reads, and draws no image, as Fuyu.
    #[serde(deserialize_with = "mm_diffusion::no_fields")]
    None,
    /// The sinusoidal embedding of the time, of how far a sampler's step goes and of the scale of
    /// guidance, each with a perceptron of its own; their sum is added. Such a model draws in few
    /// steps and without a second branch for guidance.
    Distilled {
        /// Numbers of sines and cosines together, even.
        channels: usize,
        /// What the time and the step are multiplied by first, and a tenth of the guidance.
        scale: f64,
    },
}

impl TimeConfig {
    /// Whether the network is told the step and the guidance, and not the time alone.
    pub fn is_distilled(&self) -> bool {
        matches!(self, Self::Distilled { .. })
    }
}

//! The embedding of the noise level that is added to every patch of an image.

use burn::module::Param;
use burn::prelude::*;
use burn::tensor::activation::silu;
use mm_backbone::{Init, Linear, transparent_module};

use crate::TimeConfig;

/// Maps timesteps `[images]` to embeddings `[images, width]`.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)] // one a model: boxing would buy nothing
pub(crate) enum TimeEmbedding {
    Table(TimeTable),
    Sinusoidal(TimeWaves),
}

/// Su's form: one learned row for each step index.
#[derive(Module, Debug)]
pub(crate) struct TimeTable {
    /// `[steps, width]`
    table: Param<Tensor<2>>,
}

/// `W₂ swish(W₁ [sin(s t f_i), cos(s t f_i)] + b₁) + b₂` with `f_i = 10000^(-i/n)` (Vaswani et al.
/// 2017; Ho et al. 2020).
#[derive(Module, Debug)]
pub(crate) struct TimeWaves {
    first: Linear,
    second: Linear,
    channels: usize,
    scale: f64,
}

transparent_module!(TimeEmbedding { Table, Sinusoidal });

impl TimeEmbedding {
    /// Makes the embedding; a network that is not told the time has none.
    pub(crate) fn new(config: &TimeConfig, width: usize, init: &mut Init) -> Option<Self> {
        Some(match *config {
            TimeConfig::Table { steps } => {
                Self::Table(TimeTable { table: init.uniform([steps, width], 0.05) })
            }
            TimeConfig::Sinusoidal { channels, scale } => Self::Sinusoidal(TimeWaves {
                first: Linear::new(init, channels, width, true),
                second: Linear::new(init, width, width, true),
                channels,
                scale,
            }),
            TimeConfig::None => return None,
        })
    }

    /// `[images]` -> `[images, width]`.
    pub(crate) fn forward(&self, times: &[f64], device: &Device) -> Tensor<2> {
        match self {
            Self::Table(table) => {
                let last = table.table.val().dims()[0] - 1;
                let indices: Vec<i32> =
                    times.iter().map(|t| (t.round().max(0.0) as usize).min(last) as i32).collect();
                let indices = Tensor::from_data(TensorData::new(indices, [times.len()]), device);
                table.table.val().select(0, indices)
            }
            Self::Sinusoidal(waves) => {
                let half = waves.channels / 2;
                let angle =
                    |t: f64, i: usize| t * waves.scale * 10_000f64.powf(-(i as f64) / half as f64);
                let row = |t: f64| {
                    let sines = (0..half).map(move |i| angle(t, i).sin() as f32);
                    sines.chain((0..half).map(move |i| angle(t, i).cos() as f32))
                };
                let numbers: Vec<f32> = times.iter().flat_map(|&t| row(t)).collect();
                let features = TensorData::new(numbers, [times.len(), waves.channels]);
                let hidden = waves.first.forward(Tensor::<2>::from_data(features, device));
                waves.second.forward(silu(hidden))
            }
        }
    }
}

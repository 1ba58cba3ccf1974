//! The embedding of the noise level that is added to every patch of an image.

use burn::module::Param;
use burn::prelude::*;
use burn::tensor::activation::silu;
use mm_backbone::{Init, Linear, transparent_module};

use crate::TimeConfig;
use crate::batch::Jump;

/// Maps timesteps `[images]` to embeddings `[images, width]`.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)] // one a model: boxing would buy nothing
pub(crate) enum TimeEmbedding {
    Table(TimeTable),
    Sinusoidal(TimeWaves),
    Distilled(JumpWaves),
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
    /// What the exponents of frequencies are divided by.
    over: usize,
}

/// The sum of the embeddings of the time, of how far a step goes and of the guidance. Those of the
/// step and of the guidance are zero at first, so that nothing has changed when distillation begins.
#[derive(Module, Debug)]
pub(crate) struct JumpWaves {
    time: TimeWaves,
    size: TimeWaves,
    guidance: TimeWaves,
}

transparent_module!(TimeEmbedding { Table, Sinusoidal, Distilled });

impl JumpWaves {
    /// `[images]` -> `[images, width]`.
    fn forward(&self, times: &[f64], jumps: &[Jump], device: &Device) -> Tensor<2> {
        let jump = |at: usize| jumps.get(at).copied().unwrap_or_default();
        let sizes: Vec<f64> = (0..times.len()).map(|at| jump(at).size).collect();
        let guidance: Vec<f64> = (0..times.len()).map(|at| jump(at).guidance / 10.0).collect();
        self.time.forward(times, device)
            + self.size.forward(&sizes, device)
            + self.guidance.forward(&guidance, device)
    }
}

impl TimeEmbedding {
    /// Makes the embedding; a network that is not told the time has none.
    pub(crate) fn new(config: &TimeConfig, width: usize, init: &mut Init) -> Option<Self> {
        Some(match *config {
            TimeConfig::Table { steps } => {
                Self::Table(TimeTable { table: init.uniform([steps, width], 0.05) })
            }
            TimeConfig::Sinusoidal { channels, scale } => {
                Self::Sinusoidal(TimeWaves::new(channels, scale, width, init))
            }
            TimeConfig::Distilled { channels, scale } => Self::Distilled(JumpWaves {
                time: TimeWaves::new(channels, scale, width, init),
                size: TimeWaves::silent(channels, scale, width, init),
                guidance: TimeWaves::silent(channels, scale, width, init),
            }),
            TimeConfig::None => return None,
        })
    }

    /// Embeds the times, and the jumps where the network knows them; without any, the jumps are of
    /// size 0. `[images]` -> `[images, width]`.
    pub(crate) fn forward(&self, times: &[f64], jumps: &[Jump], device: &Device) -> Tensor<2> {
        match self {
            Self::Table(table) => {
                let last = table.table.val().dims()[0] - 1;
                let indices: Vec<i32> =
                    times.iter().map(|t| (t.round().max(0.0) as usize).min(last) as i32).collect();
                let indices = Tensor::from_data(TensorData::new(indices, [times.len()]), device);
                table.table.val().select(0, indices)
            }
            Self::Sinusoidal(waves) => waves.forward(times, device),
            Self::Distilled(waves) => waves.forward(times, jumps, device),
        }
    }
}

impl TimeWaves {
    /// Makes the map of `channels` waves to `width` channels.
    pub(crate) fn new(channels: usize, scale: f64, width: usize, init: &mut Init) -> Self {
        Self {
            first: Linear::new(init, channels, width, true),
            second: Linear::new(init, width, width, true),
            channels,
            scale,
            over: channels / 2,
        }
    }

    /// Makes such a map that is zero at first.
    fn silent(channels: usize, scale: f64, width: usize, init: &mut Init) -> Self {
        let first = Linear::new(init, channels, width, true);
        let (second, over) = (Linear::zero(init, width, width), channels / 2);
        Self { first, second, channels, scale, over }
    }

    /// Makes such a map whose slowest wave has the frequency 1/10000 itself, as in diffusers.
    pub(crate) fn up_to_the_base(
        channels: usize,
        scale: f64,
        width: usize,
        init: &mut Init,
    ) -> Self {
        let over = (channels / 2).saturating_sub(1).max(1);
        Self { over, ..Self::new(channels, scale, width, init) }
    }

    /// `[images]` -> `[images, width]`.
    pub(crate) fn forward(&self, times: &[f64], device: &Device) -> Tensor<2> {
        let times: Vec<f64> = times.iter().map(|t| t * self.scale).collect();
        let numbers = sines(&times, self.channels, self.over);
        let features = TensorData::new(numbers, [times.len(), self.channels]);
        let hidden = self.first.forward(Tensor::<2>::from_data(features, device));
        self.second.forward(silu(hidden))
    }
}

/// Returns the sines, then the cosines, of every time `t`, at the angles `t 10000^(-i/over)`:
/// `channels` numbers each.
pub(crate) fn sines(times: &[f64], channels: usize, over: usize) -> Vec<f32> {
    let half = channels / 2;
    let angle = |t: f64, i: usize| t * 10_000f64.powf(-(i as f64) / over as f64);
    let row = |t: f64| {
        let sines = (0..half).map(move |i| angle(t, i).sin() as f32);
        sines.chain((0..half).map(move |i| angle(t, i).cos() as f32))
    };
    times.iter().flat_map(|&t| row(t)).collect()
}

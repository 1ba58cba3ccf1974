//! How the loss is minimized: the optimizer, its learning rate, and averages of the weights.

use serde::{Deserialize, Serialize};

use super::check::Checks;

/// Holds the table `[optimizer]`. The learning rate warms up and then falls as a half cosine, or
/// goes through given points.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerConfig {
    /// Says which optimizer takes the matrices of the blocks.
    pub kind: OptimizerKind,
    /// The highest learning rate.
    pub lr: f64,
    /// The learning rate at the last step, as a share of the highest.
    pub final_lr: f64,
    /// The number of steps of linear warm-up.
    pub warmup_steps: u64,
    /// Points `[step, share of the highest learning rate]` that are joined by lines, from `[0, 0]`
    /// on and level after the last. If there are any, `final_lr` and `warmup_steps` are not used.
    #[serde(default)]
    pub points: Vec<[f64; 2]>,
    /// The decays of Adam's two moments.
    pub betas: [f64; 2],
    /// The decay of matrices; norms, biases and embeddings are never decayed.
    pub weight_decay: f64,
    /// Gradients longer than this, over all parameters together, are shortened to it; `inf` for
    /// never.
    pub clip: f64,
    /// The decay of the moving average of the weights.
    pub ema: f64,
    /// Says how the average starts.
    #[serde(default)]
    pub ema_start: EmaStart,
    /// The decays of further averages, each written as a model of its own.
    #[serde(default)]
    pub emas: Vec<f64>,
    /// Names parameters that stay as they are, by whole parts of their paths, such as `patch_in` or
    /// `blocks.0`.
    #[serde(default)]
    pub freeze: Vec<String>,
    /// Low-rank adapters on the matrices of the blocks, trained in place of all weights.
    #[serde(default)]
    pub lora: LoraConfig,
}

impl OptimizerConfig {
    pub(super) fn validate(&self, checks: &mut Checks) {
        checks.check("optimizer.lr", self.lr > 0.0 && self.lr.is_finite(), "above 0, finite");
        checks.check("optimizer.final_lr", (0.0..=1.0).contains(&self.final_lr), "0 to 1");
        checks.check(
            "optimizer.points",
            self.points.iter().all(|[_, share]| (0.0..=1.0).contains(share))
                && self.points.iter().map(|point| point[0]).is_sorted()
                && self.points.iter().all(|[step, _]| *step > 0.0 && step.is_finite()),
            "[step, share] with steps above 0 that rise and shares from 0 to 1",
        );
        checks.check(
            "optimizer.betas",
            self.betas.iter().all(|b| (0.0..1.0).contains(b)),
            "0 up to 1",
        );
        let decay = self.weight_decay;
        checks.check(
            "optimizer.weight_decay",
            decay >= 0.0 && decay.is_finite(),
            "0 or more, finite",
        );
        checks.check("optimizer.clip", self.clip > 0.0, "above 0");
        checks.check("optimizer.ema", (0.0..1.0).contains(&self.ema), "0 up to 1");
        let mut all = self.emas.clone();
        all.push(self.ema);
        all.sort_by(f64::total_cmp);
        checks.check(
            "optimizer.emas",
            all.windows(2).all(|pair| pair[0] < pair[1])
                && self.emas.iter().all(|ema| (0.0..1.0).contains(ema)),
            "0 up to 1, each other than the rest and than `optimizer.ema`",
        );
        let alpha = self.lora.alpha;
        let adapts = alpha != 0.0 || self.lora.rank == 0;
        checks.check("optimizer.lora.alpha", alpha.is_finite() && adapts, "finite, and not 0")
    }
}

/// Says how a moving average starts. After `n` updates, the next one keeps a share of the average
/// and takes the rest from the weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EmaStart {
    /// Keeps `min(decay, (1 + n) / (10 + n))`, so that the first steps do not linger.
    #[default]
    Short,
    /// Starts at zero with bias correction, as Su's scripts do: `Σ d^(N-i) w_i / Σ d^(N-i)`.
    Zero,
}

impl EmaStart {
    /// Returns the share of the average that the update after `updates` others keeps.
    pub fn keep(self, decay: f64, updates: u64) -> f64 {
        match self {
            Self::Short => decay.min((1 + updates) as f64 / (10 + updates) as f64),
            Self::Zero => {
                let left = |count: u64| 1.0 - decay.powf(count as f64);
                decay * left(updates) / left(updates + 1)
            }
        }
    }
}

/// Says which optimizer takes the matrices of the blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerKind {
    /// AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) takes everything.
    Adamw,
    /// Muon (Jordan et al. 2024) takes the matrices of the blocks, scaled to AdamW's step size (Liu
    /// et al. 2025, arXiv:2502.16982), and AdamW takes the rest.
    Muon,
    /// LAMB as Su's scripts have it takes everything; biases take Adam's steps unscaled.
    /// `weight_decay` is not used.
    Lamb,
}

/// Holds the sizes of low-rank adapters.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraConfig {
    /// The number of inner channels; 0 for no adapters.
    pub rank: usize,
    /// The product of the factors is multiplied by `alpha / rank`.
    pub alpha: f64,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self { rank: 0, alpha: 1.0 }
    }
}

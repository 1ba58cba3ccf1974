//! Flags that say how images are drawn and tokens chosen.

use clap::Parser;
use mm_diffusion::Sampler;

/// How images are drawn and tokens chosen.
#[derive(Debug, Parser)]
pub struct SamplingArgs {
    /// Where to compute: auto, flex, vulkan, wgpu, metal, cuda:0.
    #[arg(long, value_name = "D", default_value = "auto")]
    pub device: String,
    /// Denoising steps of an image [default: the recipe's, or 10].
    #[arg(long, value_name = "N")]
    pub steps: Option<usize>,
    /// ddpm, ddim, ddim:ETA, dpm++2m, euler or heun [default: the recipe's, or euler].
    #[arg(long, value_name = "S")]
    pub sampler: Option<Sampler>,
    /// How much an image is drawn towards its prompt; 1 is not at all [default: the recipe's, or 3].
    #[arg(long, value_name = "G")]
    pub guidance: Option<f64>,
    /// Seed of the noise and of the tokens.
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// 0 always takes the likeliest token.
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    pub temperature: f32,
    /// Choose among the K likeliest tokens.
    #[arg(long, value_name = "K")]
    pub top_k: Option<usize>,
    /// Choose among the fewest tokens that together have this probability.
    #[arg(long, value_name = "P")]
    pub top_p: Option<f32>,
    /// Leave out tokens less likely than this share of the likeliest.
    #[arg(long, value_name = "P")]
    pub min_p: Option<f32>,
    /// Most tokens to write.
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub max_tokens: usize,
}

//! The tiny recipe that the tests share.

use burn::prelude::*;
use mm_train::{Recipe, Training};

/// Glyphs of 16x16 pixels in four patches, a network of some ten thousand parameters.
pub const TINY: &str = r#"
seed = 3
vocab = 416

[data]
source = "glyphs"
letters = [1, 1]

[image]
width = 16
height = 16
patch = 8

[mix]
draw = [0.5, 0.5]
read = [0.5, 0.5]
caption_drop = 0.1

[model]
patch_bias = true
patch_pos_embed = 4
prediction = "clean"
schedule = { kind = "linear" }
time = { kind = "sinusoidal", channels = 16, scale = 1000.0 }

[model.backbone]
width = 32
depth = 2
block = { kind = "multi-head", heads = 2, key_heads = 1, feed_forward = 64 }
positions = "rope-tv"
rotary_base = 10000.0
norm_epsilon = 1e-6

[loss]
text = 1.0
image = 1.0
weight = { kind = "velocity", min_noise = 0.05 }
timesteps = { kind = "logit-normal", mean = 0.0, std = 1.0 }

[optimizer]
kind = "adamw"
lr = 3e-3
final_lr = 0.1
warmup_steps = 5
betas = [0.9, 0.95]
weight_decay = 0.01
clip = 1.0
ema = 0.99

[run]
steps = 12
batch = 6
micro_batches = 2
pack_len = 0
checkpoint_every = 5
keep = 2
sample_every = 100

[sample]
sampler = "euler"
steps = 4
guidance = { scale = 2.0, from = 0.0, to = 1.0 }
count = 4
"#;

/// The tiny recipe with some values replaced.
pub fn tiny(changes: &[(&str, &str)]) -> Recipe {
    let recipe = Recipe::from_toml(TINY).unwrap();
    changes.iter().fold(recipe, |recipe, (key, value)| recipe.with(key, value).unwrap())
}

/// Both kinds of block, as values of `model.backbone.block`.
pub const BLOCKS: [&str; 2] = [
    r#"{ kind = "multi-head", heads = 2, key_heads = 1, feed_forward = 64 }"#,
    r#"{ kind = "gau", expansion = 2, key_size = 16, bias = false }"#,
];

/// The device of every test here: flex, or what `BURN_DEVICE` names, as `docs/backends.md` tells.
pub fn device() -> Device {
    match std::env::var_os("BURN_DEVICE") {
        Some(_) => Device::default(),
        None => Device::flex(),
    }
}

/// A fresh tiny run.
pub fn start(changes: &[(&str, &str)]) -> Training {
    Training::start(tiny(changes), &device()).unwrap()
}

//! The sizes of a network of Su's kind: what they are in a file, and the tensors that follow
//! from them.

use std::collections::BTreeMap;

use mm_backbone::{BackboneConfig, BlockConfig, GauConfig, PositionScheme};
use mm_diffusion::{Prediction, Schedule};

use super::Row;
use mm_model::{ModelConfig, NetworkConfig, TimeConfig, UnifiedConfig};

/// Everything that two networks of ddpm-gau.py can differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Su2024Sizes {
    /// Side of a patch, pixels.
    pub patch: usize,
    /// Channels of a token.
    pub width: usize,
    /// Number of gated attention units.
    pub depth: usize,
    /// Channels of gate and values.
    pub expanded: usize,
    /// Channels of queries and keys.
    pub key_size: usize,
    /// Whether projections and scale-offsets have biases.
    pub bias: bool,
    /// Number of noise levels.
    pub steps: usize,
}

/// The sizes that axes of tensors tell, in the order of [`axes`].
const SIZES: usize = 4;
const WIDTH: usize = 0;
const EXPANDED: usize = 1;
const KEY: usize = 2;
const STEPS: usize = 3;

impl Su2024Sizes {
    /// What most tensors of a file agree on. Where none says anything Su's own size stands,
    /// and the tensors that should have said it are missing from the file.
    pub(super) fn of_shapes(shapes: &BTreeMap<&str, &[usize]>, patch: usize) -> Self {
        let mut votes: [BTreeMap<usize, usize>; SIZES] = Default::default();
        let mut depth = 0;
        for (name, shape) in shapes {
            let (layer, kind) = layer_and_kind(name);
            let axes = axes(&kind);
            if axes.len() != shape.len() || shape.contains(&0) {
                continue;
            }
            // A file has several tensors for each layer, so a higher number is no layer.
            depth = depth.max(layer.filter(|layer| *layer < shapes.len()).map_or(0, |at| at + 1));
            for (axis, size) in axes.iter().zip(*shape) {
                if let Some(which) = axis {
                    *votes[*which].entry(*size).or_default() += 1;
                }
            }
        }
        let most = |which: usize, otherwise: usize| {
            let best = votes[which].iter().max_by_key(|(_, count)| **count);
            best.map_or(otherwise, |(size, _)| *size)
        };
        let width = most(WIDTH, 768);
        let bias = |name: &&str| name.ends_with("/bias:0") || name.ends_with("/beta:0");
        Self {
            patch,
            width,
            depth: depth.max(1),
            // Our configuration counts it in widths.
            expanded: (most(EXPANDED, 2 * width) + width / 2).max(width) / width * width,
            key_size: most(KEY, 128),
            bias: shapes.keys().any(bias),
            steps: most(STEPS, 1000),
        }
    }

    /// The configuration of Su's network of these sizes.
    pub fn config(&self) -> ModelConfig {
        let steps = self.steps;
        ModelConfig {
            patch: self.patch,
            vocab: 0,
            time: TimeConfig::Table { steps },
            schedule: Schedule::Su2024 { steps },
            prediction: Prediction::Noise,
            network: NetworkConfig::Unified(self.network()),
        }
    }

    /// The transformer of Su's network of these sizes.
    pub(super) fn network(&self) -> UnifiedConfig {
        let expansion = self.expanded / self.width.max(1);
        UnifiedConfig {
            patch_bias: false,
            patch_pos_embed: 0,
            patch_convolution: false,
            backbone: BackboneConfig {
                width: self.width,
                depth: self.depth,
                block: BlockConfig::Gau(GauConfig {
                    expansion,
                    key_size: self.key_size,
                    bias: self.bias,
                }),
                positions: PositionScheme::Halves,
                rotary_base: 1000.0,
                norm_epsilon: 1e-7,
            },
        }
    }

    /// Every weight, in the order in which the network uses them.
    pub fn rows(&self) -> Vec<Row> {
        let (width, numbers) = (
            self.width,
            self.patch.saturating_mul(self.patch).saturating_mul(mm_patch::RGB_CHANNELS),
        );
        let row = |ours: &str, keras: &str, shape: &[usize]| Row {
            ours: ours.to_owned(),
            keras: format!("{keras}:0"),
            shape: shape.to_vec(),
        };
        let mut rows = vec![
            row("patch_in.weight", "patch_in/kernel", &[numbers, width]),
            row("time.table", "time/embeddings", &[self.steps, width]),
        ];
        for layer in 0..self.depth {
            let block = |rest: &str| format!("backbone.blocks.{layer}.{rest}");
            let gau = |rest: &str| format!("gau_{layer}/{rest}");
            let joint = self.expanded.saturating_mul(2).saturating_add(self.key_size);
            let (expanded, key) = (self.expanded, self.key_size);
            let mut add = |ours: &str, keras: String, shape: &[usize]| {
                rows.push(row(&block(ours), &keras, shape));
            };
            add("norm.gamma", format!("norm_{layer}/gamma"), &[width]);
            add("in_proj.weight", gau("dense/kernel"), &[width, joint]);
            add("query.gamma", gau("scale_offset/gamma"), &[key]);
            add("key.gamma", gau("scale_offset_1/gamma"), &[key]);
            add("out_proj.weight", gau("dense_1/kernel"), &[expanded, width]);
            if self.bias {
                add("in_proj.bias", gau("dense/bias"), &[joint]);
                add("query.beta", gau("scale_offset/beta"), &[key]);
                add("key.beta", gau("scale_offset_1/beta"), &[key]);
                add("out_proj.bias", gau("dense_1/bias"), &[width]);
            }
        }
        rows.push(row("backbone.norm.gamma", "norm_out/gamma", &[width]));
        rows.push(row("patch_out.weight", "patch_out/kernel", &[width, numbers]));
        rows
    }
}

/// `gau_7/dense/kernel:0` -> 7 and `gau_/dense/kernel`.
fn layer_and_kind(name: &str) -> (Option<usize>, String) {
    let name = name.trim_end_matches(":0");
    for start in ["gau_", "norm_"] {
        if let Some((layer, rest)) = name.strip_prefix(start).and_then(|rest| rest.split_once('/'))
            && let Ok(layer) = layer.parse()
        {
            return (Some(layer), format!("{start}/{rest}"));
        }
    }
    (None, name.to_owned())
}

/// Which size each axis of a tensor tells.
fn axes(kind: &str) -> &'static [Option<usize>] {
    match kind {
        "patch_in/kernel" => &[None, Some(WIDTH)],
        "patch_out/kernel" => &[Some(WIDTH), None],
        "time/embeddings" => &[Some(STEPS), Some(WIDTH)],
        "norm_out/gamma" | "norm_/gamma" | "gau_/dense_1/bias" => &[Some(WIDTH)],
        "gau_/dense/kernel" => &[Some(WIDTH), None],
        "gau_/dense/bias" => &[None],
        "gau_/dense_1/kernel" => &[Some(EXPANDED), Some(WIDTH)],
        "gau_/scale_offset/gamma"
        | "gau_/scale_offset/beta"
        | "gau_/scale_offset_1/gamma"
        | "gau_/scale_offset_1/beta" => &[Some(KEY)],
        _ => &[],
    }
}

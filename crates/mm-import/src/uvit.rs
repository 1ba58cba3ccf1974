//! U-ViT (Bao et al. 2022, arXiv:2209.12152) for pixels: the authors' checkpoints of CelebA 64 and
//! ImageNet 64 (`.pth`).
//!
//! | ours | theirs |
//! | --- | --- |
//! | `class_embed` | `label_emb.weight` |
//! | `patch_in` | `patch_embed.proj` |
//! | `pos_embed` | `pos_embed`: class, time and every patch |
//! | `blocks.I` | `in_blocks.I`, `mid_block`, `out_blocks.I` |
//! | `….attention_norm`, `.mlp_norm` | `norm1`, `norm2` |
//! | `….qkv_proj`, `.out_proj` | `attn.qkv`, without a bias, and `attn.proj` |
//! | `….up_proj`, `.down_proj` | `mlp.fc1`, `mlp.fc2` |
//! | `skips.I.proj` | `out_blocks.I.skip_linear` |
//! | `norm`, `patch_out`, `convolution` | `norm`, `decoder_pred`, `final_layer` |
//!
//! Sizes are those of the tensors; heads have 64 channels, as in all published networks. Networks
//! of latents (CIFAR-10 aside, all at 256 pixels and above) need an autoencoder that they do not
//! come with, and are refused.

use mm_diffusion::{Guidance, Prediction, Sampler, Schedule};
use mm_model::{
    Classes, GenerationConfig, ModelConfig, NetworkConfig, TimeConfig, UvitConfig, VitConfig,
    image_only,
};
use mm_patch::RGB_CHANNELS;

use crate::published::{ImportError, Imported, Kind, Source, Tensors, WeightPlan};
use crate::pytorch::file_of_weights;
use crate::vision::{Prefixed, side_of};

/// The kind.
pub const KIND: Kind = Kind {
    name: "uvit",
    models: "U-ViT-S/4 CelebA 64, U-ViT-M/4 and L/4 ImageNet 64",
    form: "the authors' .pth",
    architectures: &["UViT"],
    claims: |source| matches!(file_of_weights(source), Ok(Some(set)) if named(&*set).is_some()),
    open,
};

const PREFIXES: [&str; 2] = ["", "module."];
/// A tensor that every U-ViT has and no other network.
const KNOWN: &str = "out_blocks.0.skip_linear.weight";
/// Channels of a head.
const HEAD: usize = 64;
/// The levels of the schedule, and what the network is told of the last.
const STEPS: usize = 1000;
const LAST: f64 = 999.0;

fn named(set: &dyn Tensors) -> Option<Prefixed<'_>> {
    Prefixed::find(set, &PREFIXES, KNOWN)
}

/// Reads the configuration and plans the weights.
pub fn open(source: &Source) -> Result<Imported, ImportError> {
    let Some(set) = file_of_weights(source)? else {
        let (path, found) = (source.path().to_owned(), source.summary());
        let wanted = "a file of weights, .pth or .safetensors";
        return Err(ImportError::Form { path, found, wanted });
    };
    let Some(of) = named(&*set) else {
        return Err(ImportError::Tensor {
            path: set.home().to_owned(),
            name: KNOWN.to_owned(),
            found: "missing".to_owned(),
            wanted: "that of a U-ViT".to_owned(),
        });
    };
    let sizes = Sizes::of(&of)?;
    let weights = sizes.plans(&of);
    Ok(Imported {
        config: sizes.config(),
        tokenizer: image_only::tokenizer(),
        generation: sizes.generation(),
        sets: vec![set],
        weights,
        ignored: |_| false,
    })
}

/// What the tensors tell.
struct Sizes {
    uvit: UvitConfig,
    patch: usize,
}

impl Sizes {
    fn of(of: &Prefixed<'_>) -> Result<Self, ImportError> {
        let patch_map = "patch_embed.proj.weight";
        let [width, colors, patch, _] = of.sizes(patch_map)?;
        if colors != RGB_CHANNELS {
            let wanted = "of 3 colors: networks of latents lack their autoencoder";
            return Err(of.misfit(patch_map, wanted));
        }
        let table = "label_emb.weight";
        let classes = if of.has(table) { of.sizes::<2>(table)?[0] } else { 0 };
        let [_, tokens, _] = of.sizes("pos_embed")?;
        let before = 1 + usize::from(classes > 0);
        let wanted = format!("{before} tokens and a square of patches");
        let side = side_of(tokens.saturating_sub(before));
        let side = side.ok_or_else(|| of.misfit("pos_embed", wanted))?;
        let half = of.count(|index| format!("in_blocks.{index}.norm1.weight"));
        let [inner, _] = of.sizes("mid_block.mlp.fc1.weight")?;
        let uvit = UvitConfig {
            classes: Classes { count: classes, none: false, names: vec![] },
            rows: side,
            cols: side,
            width,
            depth: 2 * half + 1,
            heads: (width / HEAD).max(1),
            inner,
            qkv_bias: of.has("mid_block.attn.qkv.bias"),
            convolution: of.has("final_layer.weight"),
        };
        Ok(Self { uvit, patch })
    }

    fn config(&self) -> ModelConfig {
        let scale = LAST / STEPS as f64;
        ModelConfig {
            patch: self.patch,
            vocab: 0,
            time: TimeConfig::Sinusoidal { channels: self.uvit.width, scale },
            schedule: Schedule::Vp { steps: STEPS },
            prediction: Prediction::Noise,
            network: NetworkConfig::Vit(VitConfig::Uvit(self.uvit.clone())),
        }
    }

    /// The authors' settings: a thousand steps of the Euler-Maruyama method without classes. With
    /// classes they take 50 steps of a DPM-Solver, for which ours stands.
    fn generation(&self) -> GenerationConfig {
        let side = self.uvit.rows * self.patch;
        let (sampler, steps) = if self.uvit.classes.count == 0 {
            (Sampler::EulerMaruyama, STEPS)
        } else {
            (Sampler::DpmSolverPp2m, 50)
        };
        GenerationConfig {
            sampler,
            steps,
            guidance: Guidance::OFF,
            ..GenerationConfig::of_size(side, side)
        }
    }

    fn plans(&self, of: &Prefixed<'_>) -> Vec<WeightPlan> {
        let UvitConfig { width, rows, cols, depth, .. } = self.uvit;
        let (patch, classes) = (self.patch, self.uvit.classes.count);
        let numbers = patch * patch * RGB_CHANNELS;
        let tokens = 1 + usize::from(classes > 0) + rows * cols;
        let half = depth / 2;
        let mut plans = vec![
            of.patch_map("patch_in", "patch_embed.proj", RGB_CHANNELS, patch, width),
            of.bias("patch_in", "patch_embed.proj", width),
            of.taken("pos_embed", "pos_embed", &[tokens, width], &[1, tokens, width]),
            of.vector("norm.norm.gamma", "norm.weight", width),
            of.vector("norm.norm.beta", "norm.bias", width),
        ];
        plans.extend(of.linear("patch_out", "decoder_pred", width, numbers));
        if classes > 0 {
            let name = of.name("label_emb.weight");
            plans.push(WeightPlan::same("class_embed", name, &[classes, width]));
        }
        if self.uvit.convolution {
            let shape = [RGB_CHANNELS, RGB_CHANNELS, 3, 3];
            plans.push(of.taken("convolution.weight", "final_layer.weight", &shape, &shape));
            plans.push(of.bias("convolution", "final_layer", RGB_CHANNELS));
        }
        for index in 0..depth {
            let theirs = match index {
                _ if index < half => format!("in_blocks.{index}"),
                _ if index == half => "mid_block".to_owned(),
                _ => format!("out_blocks.{}", index - half - 1),
            };
            self.block(of, &format!("blocks.{index}"), &theirs, &mut plans);
        }
        for index in 0..half {
            let (ours, theirs) = (format!("skips.{index}.proj"), format!("out_blocks.{index}"));
            plans.extend(of.linear(&ours, &format!("{theirs}.skip_linear"), 2 * width, width));
        }
        plans
    }

    fn block(&self, of: &Prefixed<'_>, ours: &str, theirs: &str, plans: &mut Vec<WeightPlan>) {
        let UvitConfig { width, inner, qkv_bias, .. } = self.uvit;
        for (own, other) in [("attention_norm", "norm1"), ("mlp_norm", "norm2")] {
            for (own_part, part) in [("gamma", "weight"), ("beta", "bias")] {
                let (ours, theirs) =
                    (format!("{ours}.{own}.{own_part}"), format!("{theirs}.{other}.{part}"));
                plans.push(of.vector(&ours, &theirs, width));
            }
        }
        let (own, other) = (format!("{ours}.qkv_proj"), format!("{theirs}.attn.qkv"));
        plans.push(of.matrix(&own, &other, width, 3 * width));
        if qkv_bias {
            plans.push(of.bias(&own, &other, 3 * width));
        }
        for (own, other, inputs, outputs) in [
            ("out_proj", "attn.proj", width, width),
            ("up_proj", "mlp.fc1", width, inner),
            ("down_proj", "mlp.fc2", inner, width),
        ] {
            plans.extend(of.linear(
                &format!("{ours}.{own}"),
                &format!("{theirs}.{other}"),
                inputs,
                outputs,
            ));
        }
    }
}

#[cfg(test)]
mod tests;

//! JiT (Li & He 2025, arXiv:2511.13720): the authors' checkpoints (`.pth`, with averaged weights
//! under `model_ema1`) and the ports to diffusers, as safetensors.
//!
//! | ours | authors', and the first port | the later ports |
//! | --- | --- | --- |
//! | `patch_reduce`, `patch_in` | `x_embedder.proj1`, `.proj2` | the same |
//! | `time.first`, `.second` | `t_embedder.mlp.0`, `.2` | the same |
//! | `class_embed` | `y_embedder.embedding_table.weight` | the same |
//! | `context_embed` | `in_context_posemb` | the same |
//! | `blocks.I.qkv_proj` | `blocks.I.attn.qkv` | `attn.qkv`, or `attn.to_q`, `.to_k`, `.to_v` |
//! | `….query_norm`, `.key_norm` | `attn.q_norm`, `.k_norm` | those, or `attn.norm_q`, `.norm_k` |
//! | `….out_proj` | `attn.proj` | that, or `attn.to_out.0` |
//! | `….up_proj`, `.down_proj` | `mlp.w12`, `.w3` | the same |
//! | `….modulation.proj` | `adaLN_modulation.1` | `adaLN_modulation` |
//! | `norm`, `patch_out` | `final_layer.norm_final`, `.adaLN_modulation.1`, `.linear` | `norm_final`, `adaLN_modulation_final`, `linear_final` |
//!
//! Sizes are those of the tensors. Only the block before which class tokens come in is not told by
//! a shape: it is `in_context_start` of `config.json`, or that of the published depths. The table
//! `pos_embed` is computed here, so it is compared and left out.

use mm_diffusion::{Guidance, Prediction, Sampler, Schedule};
use mm_model::{
    Classes, GenerationConfig, JitConfig, ModelConfig, NetworkConfig, TimeConfig, VitConfig,
    image_only, numbers_of_places,
};
use serde_json::Value;

use crate::published::{ImportError, Imported, Kind, Source, Tensors, WeightPlan, wrong_field};
use crate::pytorch::file_of_weights;
use crate::vision::{Prefixed, side_of};

/// The kind.
pub const KIND: Kind = Kind {
    name: "jit",
    models: "JiT-B/16, L/16, H/16 at 256 pixels, and /32 at 512",
    form: "the authors' checkpoint-last.pth, or a folder of a port to diffusers (safetensors)",
    architectures: &["JiTTransformer2DModel", "JiTPipeline"],
    claims: |source| matches!(open_weights(source), Ok(Some(set)) if is_jit(&*set)),
    open,
};

/// What stands before the names of weights in one file or another.
const PREFIXES: [&str; 4] = ["", "net.", "transformer.", "module.net."];
/// A tensor that every JiT has and no other network.
const KNOWN: &str = "in_context_posemb";
/// The waves of the time.
const WAVES: usize = 256;
/// The largest difference of the table of places from what is computed.
const PLACES_APART: f32 = 1e-3;

/// Reads the configuration and plans the weights.
pub fn open(source: &Source) -> Result<Imported, ImportError> {
    let set = match open_weights(source)? {
        Some(set) => set,
        None => source.tensors(below(source), STEM)?,
    };
    let settings = settings(source)?;
    let sizes = Sizes::of(&*set, source, settings.as_ref())?;
    let mut sets = vec![set];
    sizes.check_places(&mut sets)?;
    let tensors = Prefixed::find(&*sets[0], &PREFIXES, KNOWN).ok_or_else(|| no_jit(&*sets[0]))?;
    let weights = sizes.plans(&tensors);
    Ok(Imported {
        config: sizes.config(),
        tokenizer: image_only::tokenizer(),
        generation: sizes.generation(),
        sets,
        weights,
        ignored: |name| name.ends_with("pos_embed"),
    })
}

/// The name of the weights in a folder of diffusers.
const STEM: &str = "diffusion_pytorch_model";

/// Returns the folder that holds the network of a pipeline, or nothing where this one does.
fn below(source: &Source) -> &'static str {
    if source.has("transformer/config.json") { "transformer" } else { "" }
}

/// Opens the weights of a file, or of a folder of diffusers that has some.
fn open_weights(source: &Source) -> Result<Option<Box<dyn Tensors>>, ImportError> {
    if source.path().is_file() {
        return file_of_weights(source);
    }
    let below = below(source);
    let name = |ending: &str| format!("{below}/{STEM}.{ending}");
    let name = |ending: &str| name(ending).trim_start_matches('/').to_owned();
    if source.has(&name("safetensors")) || source.has(&name("safetensors.index.json")) {
        return source.tensors(below, STEM).map(Some);
    }
    Ok(None)
}

fn is_jit(set: &dyn Tensors) -> bool {
    Prefixed::find(set, &PREFIXES, KNOWN).is_some()
}

fn no_jit(set: &dyn Tensors) -> ImportError {
    ImportError::Tensor {
        path: set.home().to_owned(),
        name: KNOWN.to_owned(),
        found: "missing".to_owned(),
        wanted: "that of a JiT, with or without `net.` or `transformer.` before it".to_owned(),
    }
}

/// Reads the configuration of the network in a folder.
fn settings(source: &Source) -> Result<Option<Value>, ImportError> {
    match below(source) {
        "" => source.json_if_there("config.json"),
        _ => source.json_if_there("transformer/config.json"),
    }
}

/// What tensors and configuration tell.
struct Sizes {
    jit: JitConfig,
    patch: usize,
    /// Patches on a side of an image.
    side: usize,
}

impl Sizes {
    fn of(
        set: &dyn Tensors,
        source: &Source,
        settings: Option<&Value>,
    ) -> Result<Self, ImportError> {
        let tensors = Prefixed::find(set, &PREFIXES, KNOWN).ok_or_else(|| no_jit(set))?;
        let [bottleneck, _, patch, _] = tensors.sizes("x_embedder.proj1.weight")?;
        let [_, context_tokens, width] = tensors.sizes(KNOWN)?;
        let [_, patches, _] = tensors.sizes("pos_embed")?;
        let side = side_of(patches).ok_or_else(|| tensors.misfit("pos_embed", "of a square"))?;
        let depth = tensors.count(|index| format!("blocks.{index}.norm1.weight"));
        let norm =
            tensors.any(&["q_norm", "norm_q"].map(|name| format!("blocks.0.attn.{name}.weight")));
        let [head] = tensors.sizes(&norm)?;
        let [_, inner] = tensors.sizes("blocks.0.mlp.w3.weight")?;
        let [rows, _] = tensors.sizes("y_embedder.embedding_table.weight")?;
        let number = |field: &str| settings.and_then(|settings| settings[field].as_f64());
        let published = [(12, 4), (24, 8), (32, 10)];
        let published = published.iter().find(|(blocks, _)| *blocks == depth);
        let context_start = number("in_context_start").map(|start| start as usize);
        let context_start = context_start.or(published.map(|(_, start)| *start));
        let Some(context_start) = context_start else {
            let (path, wanted) = (source.file("config.json"), "the number of a block");
            return Err(wrong_field(&path, "in_context_start", "absent", wanted));
        };
        let jit = JitConfig {
            classes: Classes { count: rows.saturating_sub(1), none: true, names: vec![] },
            width,
            depth,
            heads: width / head,
            inner,
            bottleneck,
            context_tokens,
            context_start,
            norm_epsilon: number("norm_eps").unwrap_or(1e-6),
            min_noise: 0.05,
            noise_scale: if side * patch >= 512 { 2.0 } else { 1.0 },
        };
        Ok(Self { jit, patch, side })
    }

    fn config(&self) -> ModelConfig {
        ModelConfig {
            patch: self.patch,
            vocab: 0,
            time: TimeConfig::Sinusoidal { channels: WAVES, scale: 1.0 },
            schedule: Schedule::Linear,
            prediction: Prediction::Clean,
            network: NetworkConfig::Vit(VitConfig::Jit(self.jit.clone())),
        }
    }

    /// The authors' settings: Heun's method in 50 steps, and the guidance that they found best for
    /// the depth. Their interval does not include 0.1 itself.
    fn generation(&self) -> GenerationConfig {
        let scale = match (self.jit.depth, self.patch) {
            (..=12, _) => 3.0,
            (..=24, ..=16) => 2.4,
            (..=24, _) => 2.5,
            (_, ..=16) => 2.2,
            _ => 2.3,
        };
        let guidance = Guidance { scale, from: 0.1 + 1e-7, ..Guidance::OFF };
        let side = self.side * self.patch;
        GenerationConfig {
            sampler: Sampler::Heun,
            steps: 50,
            guidance,
            ..GenerationConfig::of_size(side, side)
        }
    }

    /// Compares the table of places with what the network computes.
    fn check_places(&self, sets: &mut [Box<dyn Tensors>]) -> Result<(), ImportError> {
        let (set, count, width) = (&*sets[0], self.side * self.side, self.jit.width);
        let tensors = Prefixed::find(set, &PREFIXES, KNOWN).ok_or_else(|| no_jit(set))?;
        let (name, path) = (tensors.name("pos_embed"), set.home().to_owned());
        let plan = WeightPlan::same("", name.clone(), &[1, count, width]);
        plan.check(sets)?;
        let wanted = numbers_of_places(self.side, self.side, width);
        let found = plan.values(sets)?;
        let apart = found.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        if found.len() == wanted.len() && apart <= PLACES_APART {
            return Ok(());
        }
        let found = format!("{apart} from the sines and cosines of the places");
        let wanted = format!("at most {PLACES_APART}, since the network computes them");
        Err(ImportError::Tensor { path, name, found, wanted })
    }

    fn plans(&self, of: &Prefixed<'_>) -> Vec<WeightPlan> {
        let JitConfig { width, bottleneck, context_tokens, .. } = self.jit;
        let (patch, rows) = (self.patch, self.jit.classes.rows());
        let numbers = patch * patch * mm_patch::RGB_CHANNELS;
        let mut plans = vec![
            of.patch_map("patch_reduce", "x_embedder.proj1", 3, patch, bottleneck),
            of.patch_map("patch_in", "x_embedder.proj2", bottleneck, 1, width),
            of.bias("patch_in", "x_embedder.proj2", width),
            of.waves_map("time.first", "t_embedder.mlp.0", WAVES, width),
            of.bias("time.first", "t_embedder.mlp.0", width),
            WeightPlan::same(
                "class_embed",
                of.name("y_embedder.embedding_table.weight"),
                &[rows, width],
            ),
            of.taken("context_embed", KNOWN, &[context_tokens, width], &[1, context_tokens, width]),
        ];
        plans.extend(of.linear("time.second", "t_embedder.mlp.2", width, width));
        for index in 0..self.jit.depth {
            self.block(of, index, &mut plans);
        }
        let any = |names: [&str; 2]| of.any(&names.map(|name| format!("{name}.weight")));
        let stem = |names: [&str; 2]| any(names).trim_end_matches(".weight").to_owned();
        let norm = any(["final_layer.norm_final", "norm_final"]);
        let modulation = stem(["final_layer.adaLN_modulation.1", "adaLN_modulation_final"]);
        let last = stem(["final_layer.linear", "linear_final"]);
        plans.push(of.vector("norm.norm.gamma", &norm, width));
        plans.extend(of.linear("norm.modulation.proj", &modulation, width, 2 * width));
        plans.extend(of.linear("patch_out", &last, width, numbers));
        plans
    }

    fn block(&self, of: &Prefixed<'_>, index: usize, plans: &mut Vec<WeightPlan>) {
        let JitConfig { width, heads, inner, .. } = self.jit;
        let (ours, theirs) = (format!("blocks.{index}"), format!("blocks.{index}"));
        let ours = |name: &str| format!("{ours}.{name}");
        let stem = |names: &[&str]| {
            let all: Vec<String> =
                names.iter().map(|name| format!("{theirs}.{name}.weight")).collect();
            of.any(&all).trim_end_matches(".weight").to_owned()
        };
        let norm = |plans: &mut Vec<WeightPlan>, name: &str, names: &[&str], channels: usize| {
            let theirs = format!("{}.weight", stem(names));
            plans.push(of.vector(&ours(&format!("{name}.gamma")), &theirs, channels));
        };
        norm(plans, "attention_norm", &["norm1"], width);
        norm(plans, "mlp_norm", &["norm2"], width);
        norm(plans, "query_norm", &["attn.q_norm", "attn.norm_q"], width / heads);
        norm(plans, "key_norm", &["attn.k_norm", "attn.norm_k"], width / heads);
        let split = ["to_q", "to_k", "to_v"].map(|name| format!("{theirs}.attn.{name}"));
        if of.has(&format!("{}.weight", split[0])) {
            plans.push(of.joined_matrix(&ours("qkv_proj"), &split, width, width));
            plans.push(of.joined_bias(&ours("qkv_proj"), &split, width));
        } else {
            let fused = format!("{theirs}.attn.qkv");
            plans.extend(of.linear(&ours("qkv_proj"), &fused, width, 3 * width));
        }
        for (name, names, inputs, outputs) in [
            ("out_proj", &["attn.proj", "attn.to_out.0"][..], width, width),
            ("up_proj", &["mlp.w12"], width, 2 * inner),
            ("down_proj", &["mlp.w3"], inner, width),
            ("modulation.proj", &["adaLN_modulation.1", "adaLN_modulation"], width, 6 * width),
        ] {
            plans.extend(of.linear(&ours(name), &stem(names), inputs, outputs));
        }
    }
}

#[cfg(test)]
mod tests;

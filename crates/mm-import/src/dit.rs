//! DiT (Peebles & Xie 2022, arXiv:2212.09748) as diffusers' `DiTPipeline` keeps it: a folder with
//! the network, the autoencoder of its latents and the schedule.
//!
//! | ours | `transformer/` |
//! | --- | --- |
//! | `patch_in` | `pos_embed.proj` |
//! | `embeds.0.time`, `.class_embed` | `transformer_blocks.0.norm1.emb.timestep_embedder`, `.class_embedder` |
//! | `blocks.I.qkv_proj` | `transformer_blocks.I.attn1.to_q`, `.to_k`, `.to_v` |
//! | `….out_proj` | `attn1.to_out.0` |
//! | `….up_proj`, `.down_proj` | `ff.net.0.proj`, `ff.net.2` |
//! | `….modulation.proj` | `norm1.linear` |
//! | `norm.modulation.proj` | `proj_out_1` |
//! | `patch_out` | `proj_out_2`, without the rows of the learned variance |
//!
//! `codec.…` are the weights of `vae/` under their own names. Every block of theirs carries its own
//! embeddings of time and class. Where all are those of the first block, as in the published
//! files, one is kept; else all are.

use burn::prelude::Device;
use mm_backbone::Init;
use mm_backbone::parameters::shapes_of;
use mm_codec::{KlAutoencoder, KlConfig};
use mm_diffusion::{Guidance, Prediction, Sampler, Schedule};
use mm_model::{
    Classes, DitConfig, GenerationConfig, ModelConfig, NetworkConfig, TimeConfig, VitConfig,
    image_only,
};
use serde_json::Value;

use crate::published::{
    Arrange, ImportError, Imported, Kind, Origin, Source, Tensors, WeightPlan, wrong_field,
};
use crate::pytorch::Checkpoint;
use crate::vision::Prefixed;

/// The kind.
pub const KIND: Kind = Kind {
    name: "dit",
    models: "DiT-XL/2 at 256 and 512 pixels",
    form: "a folder of diffusers' DiTPipeline: transformer, vae, scheduler",
    architectures: &["DiTPipeline"],
    claims: |_| false,
    open,
};

/// The name of weights in folders of diffusers.
const STEM: &str = "diffusion_pytorch_model";
/// The waves of the time.
const WAVES: usize = 256;
/// Which set of tensors is which.
const NETWORK: usize = 0;
const CODEC: usize = 1;

/// Reads the configurations and plans the weights.
pub fn open(source: &Source) -> Result<Imported, ImportError> {
    let config = "transformer/config.json";
    let settings = Settings { source, file: config, json: source.json(config)? };
    let mut sets = vec![tensors(source, "transformer")?, tensors(source, "vae")?];
    let codec = KlConfig::from_diffusers(&source.read("vae/config.json")?);
    let codec = codec.map_err(|why| ImportError::Malformed {
        path: source.file("vae/config.json"),
        format: "AutoencoderKL",
        why: why.to_string(),
    })?;
    let schedule = schedule(source)?;
    let own_embeddings = !embeddings_are_equal(&settings, &mut sets)?;
    let sizes = Sizes::of(&settings, &*sets[NETWORK], codec, own_embeddings)?;
    let mut weights = sizes.plans(&*sets[NETWORK])?;
    weights.extend(sizes.codec_plans(&*sets[CODEC]));
    Ok(Imported {
        config: sizes.config(schedule, names(source)?),
        tokenizer: image_only::tokenizer(),
        generation: sizes.generation(),
        sets,
        weights,
        // Blocks repeat the embeddings of the first, and files of some versions hold the table of
        // places.
        ignored: |name| {
            name == "pos_embed.pos_embed"
                || name.contains(".norm1.emb.") && !name.starts_with("transformer_blocks.0.")
        },
    })
}

/// Opens the tensors of a part: safetensors, or else what `torch.save` wrote.
fn tensors(source: &Source, below: &str) -> Result<Box<dyn Tensors>, ImportError> {
    let pickled = format!("{below}/{STEM}.bin");
    let safe = format!("{below}/{STEM}.safetensors");
    if source.has(&pickled) && !source.has(&safe) && !source.has(&format!("{safe}.index.json")) {
        return Ok(Box::new(Checkpoint::open(&source.file(&pickled))?));
    }
    source.tensors(below, STEM)
}

/// Fields of one JSON file.
struct Settings<'a> {
    source: &'a Source,
    file: &'static str,
    json: Value,
}

impl Settings<'_> {
    fn wrong(&self, field: &str, wanted: &str) -> ImportError {
        let found = &self.json[field];
        let found = if found.is_null() { "absent".to_owned() } else { found.to_string() };
        wrong_field(&self.source.file(self.file), field, found, wanted)
    }

    /// Returns a whole number above 0.
    fn size(&self, field: &str) -> Result<usize, ImportError> {
        let found = self.json[field].as_u64().filter(|size| (1..1 << 32).contains(size));
        found.map(|size| size as usize).ok_or_else(|| self.wrong(field, "a whole number above 0"))
    }

    /// Returns a number, or `other` where it is absent.
    fn number(&self, field: &str, other: f64) -> Result<f64, ImportError> {
        match &self.json[field] {
            Value::Null => Ok(other),
            found => found.as_f64().ok_or_else(|| self.wrong(field, "a number")),
        }
    }

    /// Fails unless a field is one of these, or absent.
    fn is(&self, field: &str, known: &[Value], wanted: &str) -> Result<(), ImportError> {
        let found = &self.json[field];
        if found.is_null() || known.contains(found) {
            Ok(())
        } else {
            Err(self.wrong(field, wanted))
        }
    }
}

/// Reads the schedule, of which one is known.
fn schedule(source: &Source) -> Result<Schedule, ImportError> {
    let file = "scheduler/scheduler_config.json";
    let settings = Settings { source, file, json: source.json(file)? };
    settings.is("beta_schedule", &["linear".into()], "linear")?;
    settings.is("prediction_type", &["epsilon".into()], "epsilon")?;
    settings.is("trained_betas", &[], "null")?;
    for (field, wanted, words) in [("beta_start", 0.0001, "0.0001"), ("beta_end", 0.02, "0.02")] {
        if (settings.number(field, wanted)? - wanted).abs() > 1e-12 {
            return Err(settings.wrong(field, words));
        }
    }
    settings.is("clip_sample", &[false.into()], "false")?;
    let steps = settings.number("num_train_timesteps", 1000.0)?;
    if !(1.0..=1e6).contains(&steps) {
        return Err(settings.wrong("num_train_timesteps", "1 to 1000000"));
    }
    Ok(Schedule::LinearBeta { steps: steps as usize })
}

/// Reads the names of classes, which some pipelines have.
fn names(source: &Source) -> Result<Vec<String>, ImportError> {
    let index = source.json_if_there("model_index.json")?.unwrap_or_default();
    let Some(labels) = index["id2label"].as_object() else { return Ok(vec![]) };
    let name = |class: usize| labels.get(&class.to_string())?.as_str().map(str::to_owned);
    let names: Option<Vec<String>> = (0..labels.len()).map(name).collect();
    Ok(names.unwrap_or_default())
}

/// Says whether all blocks have the embeddings of the first.
fn embeddings_are_equal(
    settings: &Settings<'_>,
    sets: &mut [Box<dyn Tensors>],
) -> Result<bool, ImportError> {
    let depth = settings.size("num_layers")?;
    for part in PARTS {
        let name = |block: usize| format!("transformer_blocks.{block}.norm1.emb.{part}");
        let set = &mut sets[NETWORK];
        if set.shape(&name(0)).is_none() {
            continue; // which is told with the plans
        }
        let first = set.read(&name(0))?;
        for block in 1..depth {
            if set.shape(&name(block)).is_none() || set.read(&name(block))? != first {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// The tensors of an embedding of time and class.
const PARTS: [&str; 5] = [
    "timestep_embedder.linear_1.weight",
    "timestep_embedder.linear_1.bias",
    "timestep_embedder.linear_2.weight",
    "timestep_embedder.linear_2.bias",
    "class_embedder.embedding_table.weight",
];

/// What the configurations tell.
struct Sizes {
    dit: DitConfig,
    patch: usize,
    /// Latents on a side of an image.
    side: usize,
    /// Channels of the output, learned variance included.
    out_channels: usize,
    codec: KlConfig,
}

impl Sizes {
    fn of(
        settings: &Settings<'_>,
        set: &dyn Tensors,
        codec: KlConfig,
        own_embeddings: bool,
    ) -> Result<Self, ImportError> {
        settings.is("norm_type", &["ada_norm_zero".into()], "ada_norm_zero")?;
        settings.is("activation_fn", &["gelu-approximate".into()], "gelu-approximate")?;
        settings.is("norm_elementwise_affine", &[false.into()], "false")?;
        settings.is("attention_bias", &[true.into()], "true")?;
        let heads = settings.size("num_attention_heads")?;
        let width = heads.saturating_mul(settings.size("attention_head_dim")?);
        let channels = settings.size("in_channels")?;
        let out_channels = if settings.json["out_channels"].is_null() {
            channels
        } else {
            settings.size("out_channels")?
        };
        if out_channels != channels && out_channels != 2 * channels {
            return Err(settings.wrong("out_channels", "those of the input, or twice as many"));
        }
        if channels != codec.latent_channels {
            return Err(settings.wrong("in_channels", "the channels of the autoencoder's latents"));
        }
        let of = Prefixed::whole(set);
        let [inner, _] = of.sizes("transformer_blocks.0.ff.net.0.proj.weight")?;
        let classes = settings.size("num_embeds_ada_norm")?;
        let dit = DitConfig {
            classes: Classes { count: classes, none: true, names: vec![] },
            channels,
            width,
            depth: settings.size("num_layers")?,
            heads,
            inner,
            norm_epsilon: settings.number("norm_eps", 1e-5)?,
            own_embeddings,
            codec: Some(codec.clone()),
        };
        let (patch, side) = (settings.size("patch_size")?, settings.size("sample_size")?);
        Ok(Self { dit, patch, side, out_channels, codec })
    }

    fn config(&self, schedule: Schedule, names: Vec<String>) -> ModelConfig {
        let mut dit = self.dit.clone();
        if names.len() == dit.classes.count {
            dit.classes.names = names;
        }
        ModelConfig {
            patch: self.patch,
            vocab: 0,
            time: TimeConfig::Sinusoidal { channels: WAVES, scale: 1.0 },
            schedule,
            prediction: Prediction::Noise,
            network: NetworkConfig::Vit(VitConfig::Dit(dit)),
        }
    }

    /// The pipeline's settings: guidance 4 of all channels, 50 steps of DDIM.
    fn generation(&self) -> GenerationConfig {
        let side = self.side * self.codec.network.factor();
        let (sampler, guidance) =
            (Sampler::Ddim { eta: 0.0 }, Guidance { scale: 4.0, ..Guidance::OFF });
        GenerationConfig { sampler, steps: 50, guidance, ..GenerationConfig::of_size(side, side) }
    }

    fn plans(&self, set: &dyn Tensors) -> Result<Vec<WeightPlan>, ImportError> {
        let of = Prefixed::whole(set);
        let DitConfig { width, channels, depth, own_embeddings, .. } = self.dit;
        let (patch, rows) = (self.patch, self.dit.classes.rows());
        let mut plans = vec![
            of.patch_map("patch_in", "pos_embed.proj", channels, patch, width),
            of.bias("patch_in", "pos_embed.proj", width),
        ];
        plans.extend(of.linear("norm.modulation.proj", "proj_out_1", width, 2 * width));
        plans.extend(self.patch_out(&of));
        for index in 0..if own_embeddings { depth } else { 1 } {
            let (ours, theirs) =
                (format!("embeds.{index}"), format!("transformer_blocks.{index}.norm1.emb"));
            let first = format!("{theirs}.timestep_embedder.linear_1");
            plans.push(of.waves_map(&format!("{ours}.time.first"), &first, WAVES, width));
            plans.push(of.bias(&format!("{ours}.time.first"), &first, width));
            let second = format!("{theirs}.timestep_embedder.linear_2");
            plans.extend(of.linear(&format!("{ours}.time.second"), &second, width, width));
            let table = format!("{theirs}.class_embedder.embedding_table.weight");
            plans.push(WeightPlan::same(
                format!("{ours}.class_embed"),
                of.name(&table),
                &[rows, width],
            ));
        }
        for index in 0..depth {
            self.block(&of, index, &mut plans);
        }
        Ok(plans)
    }

    /// Plans the last map. Theirs puts out `[row, column, channel]` of a patch, with the learned
    /// variance in the second half of the channels.
    fn patch_out(&self, of: &Prefixed<'_>) -> [WeightPlan; 2] {
        let DitConfig { width, channels, .. } = self.dit;
        let (all, out) = (self.patch * self.patch * channels, self.out_channels);
        let theirs = self.patch * self.patch * out;
        let row = move |number: usize| number / channels * out + number % channels;
        let weight = WeightPlan {
            name: "patch_out.weight".to_owned(),
            shape: vec![width, all],
            from: vec![Origin::new(of.name("proj_out_2.weight"), &[theirs, width])],
            arrange: Arrange::Gather(Box::new(move |index| row(index % all) * width + index / all)),
        };
        let bias = WeightPlan {
            name: "patch_out.bias".to_owned(),
            shape: vec![all],
            from: vec![Origin::new(of.name("proj_out_2.bias"), &[theirs])],
            arrange: Arrange::Gather(Box::new(row)),
        };
        [weight, bias]
    }

    fn block(&self, of: &Prefixed<'_>, index: usize, plans: &mut Vec<WeightPlan>) {
        let DitConfig { width, inner, .. } = self.dit;
        let ours = |name: &str| format!("blocks.{index}.{name}");
        let theirs = |name: &str| format!("transformer_blocks.{index}.{name}");
        let split = ["attn1.to_q", "attn1.to_k", "attn1.to_v"].map(theirs);
        plans.push(of.joined_matrix(&ours("qkv_proj"), &split, width, width));
        plans.push(of.joined_bias(&ours("qkv_proj"), &split, width));
        for (own, other, inputs, outputs) in [
            ("out_proj", "attn1.to_out.0", width, width),
            ("up_proj", "ff.net.0.proj", width, inner),
            ("down_proj", "ff.net.2", inner, width),
            ("modulation.proj", "norm1.linear", width, 6 * width),
        ] {
            plans.extend(of.linear(&ours(own), &theirs(other), inputs, outputs));
        }
    }

    /// Plans the weights of the autoencoder, which keep their names.
    fn codec_plans(&self, set: &dyn Tensors) -> Vec<WeightPlan> {
        let mut shapes = Init::shapes(&Device::default());
        let wanted = shapes_of(&KlAutoencoder::drawn(&self.codec, &mut shapes));
        let plan = |(name, shape): (String, Vec<usize>)| {
            let old = KlAutoencoder::old_name(&name).filter(|old| set.shape(old).is_some());
            WeightPlan::same(format!("codec.{name}"), old.unwrap_or(name), &shape).in_set(CODEC)
        };
        wanted.into_iter().map(plan).collect()
    }
}

#[cfg(test)]
mod tests;

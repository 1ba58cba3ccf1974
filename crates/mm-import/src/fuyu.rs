//! Fuyu-8b (Adept 2023): raw patches and text into one causal transformer, text out. The network is
//! Persimmon's.
//!
//! Sizes and names are those of `FuyuForCausalLM` in `transformers` 5.24, and the older names of
//! the weights on the Hub, with `B` for `model.language_model` and `language_model.model`:
//!
//! | ours | 5.x | on the Hub |
//! | --- | --- | --- |
//! | `token_embed` | `B.embed_tokens.weight` | `B.embed_tokens.weight` |
//! | `backbone.blocks.I.…` | `B.layers.I.…` | `B.layers.I.…` |
//! | `backbone.norm` | `B.final_layernorm` | `B.final_layernorm` |
//! | `token_out` | `lm_head` | `language_model.lm_head` |
//! | `patch_in` | `model.vision_embed_tokens` | `vision_embed_tokens` |
//!
//! What is moved on the way:
//! - `torch.nn.Linear` keeps `[outputs, inputs]`, we keep `[inputs, outputs]`.
//! - Queries, keys and values are fused a head, `(heads, 3, channels)`; ours are all queries, then
//!   all keys, then all values.
//! - Channel `p` of the first half of a head turns with channel `p + half/2`; ours are neighbors.
//!   Queries, keys and their norms are moved alike, which changes no score.

mod config;

use mm_model::GenerationConfig;
use mm_text::Tokenizer;
use serde_json::{Value, json};

use crate::published::{
    Arrange, ImportError, Imported, Kind, Origin, Source, Tensors, WeightPlan, wrong_field,
};
use config::FuyuConfig;

/// The row of Fuyu in the list of kinds.
pub const KIND: Kind = Kind {
    name: "fuyu",
    models: "Fuyu-8b: reads images and text, writes text",
    form: "transformers, `FuyuForCausalLM`: config.json, safetensors, tokenizer.json",
    architectures: &["FuyuForCausalLM", "fuyu"],
    claims: |_| false,
    open,
};

/// The files of the folder.
const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const PREPROCESSOR: &str = "preprocessor_config.json";
const GENERATION: &str = "generation_config.json";
/// The size to which images are shrunk, in pixels, where no file says another.
const SIZE: [usize; 2] = [1920, 1080];

/// Reads the configuration and plans the weights.
fn open(source: &Source) -> Result<Imported, ImportError> {
    let raw = source.json(CONFIG)?;
    let config = FuyuConfig::read(&raw, &source.file(CONFIG))?;
    let set = source.tensors("", "model")?;
    let names = Names::of(&*set);
    Ok(Imported {
        config: config.model(),
        tokenizer: tokenizer(source, &raw, config.vocab)?,
        generation: generation(source, config.patch)?,
        weights: plans(&config, &names),
        sets: vec![set],
        ignored: |name| name.ends_with("rotary_emb.inv_freq"),
    })
}

/// How the names of a file begin.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Names {
    body: &'static str,
    head: &'static str,
    patches: &'static str,
}

impl Names {
    /// Finds which names a set of tensors has; those of 5.x if it has none of them.
    fn of(set: &dyn Tensors) -> Self {
        let first = |choices: &[&'static str], rest: &str| {
            let there = |start: &&&str| set.shape(&format!("{start}{rest}")).is_some();
            choices.iter().find(there).copied().unwrap_or(choices[0])
        };
        let bodies = [
            "model.language_model.",
            "model.language_model.model.",
            "language_model.model.",
            "language_model.",
        ];
        Self {
            body: first(&bodies, "embed_tokens.weight"),
            head: first(&["", "language_model.", "model.language_model."], "lm_head.weight"),
            patches: first(&["model.", ""], "vision_embed_tokens.weight"),
        }
    }
}

fn plans(config: &FuyuConfig, names: &Names) -> Vec<WeightPlan> {
    let FuyuConfig { width, vocab, patch, .. } = *config;
    let Names { body, head, patches } = names;
    let numbers = patch * patch * mm_patch::RGB_CHANNELS;
    let embeddings = format!("{body}embed_tokens.weight");
    let out = if config.tied { embeddings.clone() } else { format!("{head}lm_head.weight") };
    let patches = format!("{patches}vision_embed_tokens");
    let norm = format!("{body}final_layernorm");
    let mut plans = vec![
        WeightPlan::same("token_embed", embeddings, &[vocab, width]),
        WeightPlan::linear("token_out.weight", out, width, vocab),
        WeightPlan::linear("patch_in.weight", format!("{patches}.weight"), numbers, width),
        WeightPlan::same("patch_in.bias", format!("{patches}.bias"), &[width]),
        WeightPlan::same("backbone.norm.gamma", format!("{norm}.weight"), &[width]),
        WeightPlan::same("backbone.norm.beta", format!("{norm}.bias"), &[width]),
    ];
    for layer in 0..config.depth {
        let theirs = format!("{body}layers.{layer}");
        block(config, &format!("backbone.blocks.{layer}"), &theirs, &mut plans);
    }
    plans
}

/// Plans the weights of a block.
fn block(config: &FuyuConfig, ours: &str, theirs: &str, plans: &mut Vec<WeightPlan>) {
    let FuyuConfig { width, feed_forward, .. } = *config;
    let norms = [("attention_norm", "input_layernorm"), ("mlp_norm", "post_attention_layernorm")];
    for (our, their) in norms {
        let (our, their) = (format!("{ours}.{our}"), format!("{theirs}.{their}"));
        plans.push(WeightPlan::same(format!("{our}.gamma"), format!("{their}.weight"), &[width]));
        plans.push(WeightPlan::same(format!("{our}.beta"), format!("{their}.bias"), &[width]));
    }
    let mut linear = |our: &str, their: &str, inputs: usize, outputs: usize| {
        let (our, their) = (format!("{ours}.{our}"), format!("{theirs}.{their}"));
        let (weight, bias) = (format!("{their}.weight"), format!("{their}.bias"));
        plans.push(WeightPlan::linear(format!("{our}.weight"), weight, inputs, outputs));
        plans.push(WeightPlan::same(format!("{our}.bias"), bias, &[outputs]));
    };
    linear("out_proj", "self_attn.dense", width, width);
    linear("gate_up_proj", "mlp.dense_h_to_4h", width, feed_forward);
    linear("down_proj", "mlp.dense_4h_to_h", feed_forward, width);
    let heads = Heads { width, size: width / config.heads };
    let fused = format!("{theirs}.self_attn.query_key_value");
    plans.push(WeightPlan {
        name: format!("{ours}.qkv_proj.weight"),
        shape: vec![width, 3 * width],
        from: vec![Origin::new(format!("{fused}.weight"), &[3 * width, width])],
        arrange: Arrange::Gather(Box::new(move |at| {
            let (input, output) = (at / (3 * width), at % (3 * width));
            heads.fused(output) * width + input
        })),
    });
    plans.push(WeightPlan {
        name: format!("{ours}.qkv_proj.bias"),
        shape: vec![3 * width],
        from: vec![Origin::new(format!("{fused}.bias"), &[3 * width])],
        arrange: Arrange::Gather(Box::new(move |at| heads.fused(at))),
    });
    for (our, their) in [("query_norm", "q_layernorm"), ("key_norm", "k_layernorm")] {
        for (part, of) in [("gamma", "weight"), ("beta", "bias")] {
            plans.push(WeightPlan {
                name: format!("{ours}.{our}.{part}"),
                shape: vec![heads.size],
                from: vec![Origin::new(format!("{theirs}.self_attn.{their}.{of}"), &[heads.size])],
                arrange: Arrange::Gather(Box::new(move |at| heads.turned(at))),
            });
        }
    }
}

/// Where the channels of heads stand.
#[derive(Debug, Clone, Copy)]
struct Heads {
    width: usize,
    size: usize,
}

impl Heads {
    /// Returns their output of the fused map, `(heads, 3, channels)`, that is our output, `(3,
    /// heads, channels)`.
    fn fused(self, output: usize) -> usize {
        let (part, within) = (output / self.width, output % self.width);
        let (head, channel) = (within / self.size, within % self.size);
        let channel = if part < 2 { self.turned(channel) } else { channel };
        (head * 3 + part) * self.size + channel
    }

    /// Returns their channel of a query or a key that is our channel: pairs that turn together are
    /// neighbors here, and half of the turning channels apart there.
    fn turned(self, channel: usize) -> usize {
        let turning = self.size / 2;
        if channel >= turning {
            return channel;
        }
        channel / 2 + channel % 2 * (turning / 2)
    }
}

/// Reads the tokenizer, whose template is made to say how a document begins and ends. A table of
/// embeddings may have more rows than there are tokens; they get tokens that stand for no text.
fn tokenizer(source: &Source, config: &Value, vocab: usize) -> Result<Tokenizer, ImportError> {
    let mut file = source.json(TOKENIZER)?;
    let path = source.file(TOKENIZER);
    let settings = source.json_if_there(GENERATION)?.unwrap_or_default();
    let places = [&settings["eos_token_id"], &config["eos_token_id"]];
    let text = &config["text_config"]["eos_token_id"];
    let first = |value: &Value| value.as_u64().or_else(|| value[0].as_u64());
    let end = places.into_iter().chain([text]).find_map(first).unwrap_or(2);
    let name_of = |id: u64| name_of_token(&file, id).map(str::to_owned);
    let wanted = "the id of a token of tokenizer.json";
    let end_name = name_of(end)
        .ok_or_else(|| wrong_field(&source.file(CONFIG), "eos_token_id", end, wanted))?;
    let begin_name = "<s>";
    let begin = id_of_token(&file, begin_name)
        .ok_or_else(|| wrong_field(&path, "added_tokens", "without `<s>`", "this token"))?;
    let part = |name: &str| json!({ "SpecialToken": { "id": name, "type_id": 0 } });
    let sequence = |name: &str| json!({ "Sequence": { "id": name, "type_id": 0 } });
    let special = |id: u64, name: &str| json!({ "id": name, "ids": [id], "tokens": [name] });
    file["post_processor"] = json!({
        "type": "TemplateProcessing",
        "single": [part(begin_name), sequence("A"), part(&end_name)],
        "pair": [sequence("A"), sequence("B")],
        "special_tokens": {
            begin_name: special(begin, begin_name), &end_name: special(end, &end_name),
        },
    });
    file["truncation"] = Value::Null;
    file["padding"] = Value::Null;
    let parse = |file: &Value| {
        let read = Tokenizer::from_json(file.to_string().as_bytes());
        read.map_err(|why| ImportError::Tokenizer { path: path.clone(), source: why })
    };
    let read = parse(&file)?;
    if read.special().by_rows.is_none() {
        let found = "without `|SPEAKER|` and `|NEWLINE|`";
        return Err(wrong_field(&path, "model.vocab", found, "the tokens of Fuyu"));
    }
    let found = read.vocab();
    if found > vocab {
        let wanted = format!("at most the {vocab} of config.json");
        return Err(wrong_field(&path, "model.vocab", format!("{found} tokens"), wanted));
    }
    if found == vocab {
        return Ok(read);
    }
    let filler = |id: usize| {
        json!({
            "id": id, "content": format!("|UNUSED{id}|"), "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true,
        })
    };
    if let Some(added) = file["added_tokens"].as_array_mut() {
        added.extend((found..vocab).map(filler));
    }
    parse(&file)
}

/// Returns the token of an id, among the added ones and in the vocabulary.
fn name_of_token(file: &Value, id: u64) -> Option<&str> {
    let mut added = file["added_tokens"].as_array()?.iter();
    if let Some(token) = added.find(|token| token["id"] == id) {
        return token["content"].as_str();
    }
    let vocab = &file["model"]["vocab"];
    match vocab {
        Value::Array(pairs) => pairs.get(id as usize)?[0].as_str(),
        Value::Object(ids) => Some(ids.iter().find(|(_, found)| **found == id)?.0.as_str()),
        _ => None,
    }
}

/// Returns the id of a token.
fn id_of_token(file: &Value, name: &str) -> Option<u64> {
    let mut added = file["added_tokens"].as_array()?.iter();
    if let Some(token) = added.find(|token| token["content"] == name) {
        return token["id"].as_u64();
    }
    match &file["model"]["vocab"] {
        Value::Array(pairs) => Some(pairs.iter().position(|pair| pair[0] == name)? as u64),
        vocab => vocab[name].as_u64(),
    }
}

/// Reads the size to which images are shrunk.
fn generation(source: &Source, patch: usize) -> Result<GenerationConfig, ImportError> {
    let file = source.json_if_there(PREPROCESSOR)?.unwrap_or_default();
    let side = |name: &str, usual: usize| {
        let found = [&file["size"][name], &file[&format!("target_{name}")]];
        found.into_iter().find_map(Value::as_u64).map_or(usual, |side| side as usize)
    };
    let [width, height] = [side("width", SIZE[0]), side("height", SIZE[1])];
    for (name, side) in [("size.width", width), ("size.height", height)] {
        if side == 0 || side > 1 << 16 || !side.is_multiple_of(patch) {
            let wanted = format!("a multiple of the patch, {patch}, of at most 65536");
            return Err(wrong_field(&source.file(PREPROCESSOR), name, side, wanted));
        }
    }
    Ok(GenerationConfig::of_size(width, height))
}

#[cfg(test)]
mod tests;

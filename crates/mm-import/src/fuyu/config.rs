//! The sizes of a Fuyu in `config.json`: in its `text_config`, or beside it as in files of 2023.
//! What a file leaves out is as in `FuyuConfig` and `PersimmonConfig` of `transformers` 5.24.

use std::path::Path;

use mm_backbone::{BackboneConfig, BlockConfig, MultiHeadConfig, MultiHeadVariant, PositionScheme};
use mm_diffusion::{Prediction, Schedule};
use mm_model::{ModelConfig, NetworkConfig, TimeConfig, UnifiedConfig};
use serde_json::Value;

use crate::published::{ImportError, wrong_field};

/// The most that a size may be, so that no product of two overflows.
const MOST: u64 = 1 << 24;

/// The sizes of a Fuyu.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FuyuConfig {
    pub width: usize,
    pub depth: usize,
    pub heads: usize,
    pub feed_forward: usize,
    pub vocab: usize,
    pub patch: usize,
    pub rotary_base: f64,
    pub epsilon: f64,
    /// Whether the embeddings of tokens are the map to them too.
    pub tied: bool,
}

/// The file, and where it lies.
struct Fields<'a> {
    raw: &'a Value,
    path: &'a Path,
}

impl Fields<'_> {
    /// Returns a field of the text's part, or one beside it; null where neither is.
    fn get(&self, name: &str) -> &Value {
        match &self.raw["text_config"][name] {
            Value::Null => &self.raw[name],
            found => found,
        }
    }

    fn size(&self, name: &str, usual: u64) -> Result<usize, ImportError> {
        let found = self.get(name);
        let size = if found.is_null() { Some(usual) } else { found.as_u64() };
        match size.filter(|size| (1..=MOST).contains(size)) {
            Some(size) => Ok(size as usize),
            None => Err(wrong_field(self.path, name, found, "1 to 16777216")),
        }
    }

    fn number(&self, name: &str, usual: f64) -> Result<f64, ImportError> {
        let found = self.get(name);
        let number = if found.is_null() { Some(usual) } else { found.as_f64() };
        match number.filter(|number| *number > 0.0) {
            Some(number) => Ok(number),
            None => Err(wrong_field(self.path, name, found, "a number above 0")),
        }
    }

    /// Fails unless a field is absent or has the only value that the network knows.
    fn only(&self, name: &str, known: Value) -> Result<(), ImportError> {
        let found = self.get(name);
        if found.is_null() || *found == known {
            return Ok(());
        }
        Err(wrong_field(self.path, name, found, known))
    }

    /// Returns a number of the rotary embedding, which files since 2025 have in a table.
    fn rotary(&self, name: &str, usual: f64) -> Result<f64, ImportError> {
        match &self.get("rope_parameters")[name] {
            Value::Null => self.number(name, usual),
            found => found.as_f64().ok_or_else(|| {
                wrong_field(self.path, &format!("rope_parameters.{name}"), found, "a number")
            }),
        }
    }
}

impl FuyuConfig {
    /// Reads the contents of `config.json`.
    pub fn read(raw: &Value, path: &Path) -> Result<Self, ImportError> {
        let fields = Fields { raw, path };
        fields.only("hidden_act", "relu2".into())?;
        fields.only("qk_layernorm", true.into())?;
        fields.only("num_channels", 3.into())?;
        let kind = &fields.get("rope_parameters")["rope_type"];
        if !kind.is_null() && kind != "default" {
            return Err(wrong_field(path, "rope_parameters.rope_type", kind, "`default`"));
        }
        if !fields.get("rope_scaling").is_null()
            && fields.get("rope_scaling")["rope_type"] != "default"
        {
            let found = fields.get("rope_scaling");
            return Err(wrong_field(path, "rope_scaling", found, "null"));
        }
        let partial = fields.rotary("partial_rotary_factor", 0.5)?;
        if partial != 0.5 {
            return Err(wrong_field(path, "partial_rotary_factor", partial, 0.5));
        }
        let patch = fields.size("patch_size", 30)?;
        if patch > 256 {
            return Err(wrong_field(path, "patch_size", patch, "1 to 256 pixels"));
        }
        let read = Self {
            width: fields.size("hidden_size", 4096)?,
            depth: fields.size("num_hidden_layers", 36)?,
            heads: fields.size("num_attention_heads", 64)?,
            feed_forward: fields.size("intermediate_size", 16384)?,
            vocab: fields.size("vocab_size", 262_144)?,
            patch,
            rotary_base: fields.rotary("rope_theta", 25_000.0)?,
            epsilon: fields.number("layer_norm_eps", 1e-5)?,
            tied: *fields.get("tie_word_embeddings") == Value::Bool(true),
        };
        if !read.width.is_multiple_of(4 * read.heads) {
            let wanted = format!("a multiple of {}, four times the heads", 4 * read.heads);
            return Err(wrong_field(path, "hidden_size", read.width, wanted));
        }
        if read.depth > 1 << 12 {
            return Err(wrong_field(path, "num_hidden_layers", read.depth, "1 to 4096"));
        }
        Ok(read)
    }

    /// Returns our configuration of a network of these sizes.
    pub fn model(&self) -> ModelConfig {
        let block = BlockConfig::MultiHead(MultiHeadConfig {
            variant: MultiHeadVariant::Persimmon,
            heads: self.heads,
            key_heads: self.heads,
            feed_forward: self.feed_forward,
        });
        ModelConfig {
            patch: self.patch,
            vocab: self.vocab,
            time: TimeConfig::None,
            // Images are shown clean, so that neither is asked.
            schedule: Schedule::Linear,
            prediction: Prediction::Velocity,
            network: NetworkConfig::Unified(UnifiedConfig {
                patch_bias: true,
                patch_pos_embed: 0,
                patch_convolution: false,
                backbone: BackboneConfig {
                    width: self.width,
                    depth: self.depth,
                    block,
                    positions: PositionScheme::Sequence,
                    rotary_base: self.rotary_base,
                    norm_epsilon: self.epsilon,
                },
            }),
        }
    }
}

//! Bounds on sizes, far above what is of use. Below them counts and their products fit their types,
//! so that a plan can be made, and a run that would not fit is refused before it takes memory.

use std::ops::Range;

use mm_backbone::{BackboneConfig, BlockConfig};
use mm_model::TimeConfig;
use mm_text::Special;
use serde_json::Value;

use super::Recipe;
use super::check::Checks;
use crate::RecipeError;

/// The largest integer of TOML, the format of the recipe in a run folder.
const LARGEST: u64 = i64::MAX as u64;

/// Sizes of a vocabulary that have no room for the special tokens and all bytes, and are not 0.
const TOO_FEW: Range<usize> = 1..Special::COUNT + 256;

impl Recipe {
    pub(super) fn validate_sizes(&self, checks: &mut Checks) {
        checks.check("vocab", self.vocab <= 1 << 24, "at most 16777216");
        let enough = !TOO_FEW.contains(&self.vocab);
        checks.check(
            "vocab",
            enough,
            "0, or at least 389 for the special tokens and the 256 bytes",
        );
        let [width, height] = [self.image.width, self.image.height];
        checks.check("image.width", width <= 1 << 16, "at most 65536 pixels");
        checks.check("image.height", height <= 1 << 16, "at most 65536 pixels");
        checks.check("image", width.saturating_mul(height) <= 1 << 26, "at most 67108864 pixels");
        let patches = (width / self.image.patch).saturating_mul(height / self.image.patch);
        checks.check("image", patches <= 1 << 20, "at most 1048576 patches");
        checks.check("run.batch", self.run.batch <= 1 << 24, "at most 16777216 documents");
        checks.check("run.pack_len", self.run.pack_len <= 1 << 24, "at most 16777216");
        checks.check("sample.count", self.sample.count <= 1 << 16, "at most 65536");
        checks.check("sample.steps", self.sample.steps <= 1 << 20, "at most 1048576");
        self.validate_network_sizes(checks);
    }

    fn validate_network_sizes(&self, checks: &mut Checks) {
        let model = &self.model;
        let time = match model.time {
            TimeConfig::Table { steps } => steps,
            TimeConfig::Sinusoidal { channels, .. } | TimeConfig::Distilled { channels, .. } => {
                channels
            }
            TimeConfig::None => 0,
        };
        checks.check("model.time", time <= 1 << 24, "of at most 16777216 steps or channels");
        let steps = model.schedule.steps().unwrap_or(0);
        checks.check("model.schedule", steps <= 1 << 24, "of at most 16777216 steps");
        let Some(network) = model.network.unified() else { return };
        let places = network.patch_pos_embed;
        checks.check("model.patch_pos_embed", places <= 1 << 16, "at most 65536");
        let BackboneConfig { width, depth, .. } = network.backbone;
        checks.check("model.backbone.width", width <= 1 << 22, "at most 4194304");
        checks.check("model.backbone.depth", depth <= 1 << 16, "at most 65536");
        let inner = match &network.backbone.block {
            BlockConfig::Gau(gau) => gau.expansion.saturating_mul(width).max(gau.key_size),
            BlockConfig::MultiHead(config) => config.feed_forward,
        };
        checks.check(
            "model.backbone.block",
            inner <= 1 << 24,
            "of at most 16777216 inner channels",
        );
        // The product of the factors of a square matrix has no higher rank than the width.
        checks.check(
            "optimizer.lora.rank",
            self.optimizer.lora.rank <= width.min(1 << 16),
            "at most `model.backbone.width`, and at most 65536",
        )
    }

    /// Checks that TOML can hold every integer.
    pub(super) fn validate_integers(&self) -> Result<(), RecipeError> {
        let tree = serde_json::to_value(self).expect("a recipe is plain data");
        match too_large("", &tree) {
            None => Ok(()),
            Some((key, found)) => {
                Err(RecipeError::Value { key, why: format!("{found}, wanted at most {LARGEST}") })
            }
        }
    }
}

/// Returns the dotted path of the first integer that TOML cannot hold, and the integer.
fn too_large(path: &str, tree: &Value) -> Option<(String, u64)> {
    let below =
        |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match tree {
        Value::Number(number) => {
            let found = number.as_u64().filter(|found| *found > LARGEST)?;
            Some((path.to_owned(), found))
        }
        Value::Object(fields) => {
            fields.iter().find_map(|(name, value)| too_large(&below(name), value))
        }
        Value::Array(values) => values.iter().find_map(|value| too_large(path, value)),
        _ => None,
    }
}

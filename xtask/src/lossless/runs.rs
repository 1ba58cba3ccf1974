//! This module holds what the study trains: codecs of three sizes of cells, and transformers over
//! each representation of images, which read words, draw words, or compare two images.
//!
//! All see words in 32x32 pixels. Runs of one kind have the same minutes.

use std::{fmt::Write, path::Path};

/// Is the side of an image, in pixels.
pub const SIDE: usize = 32;

/// Says what a run trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Encodes and decodes.
    Codec {
        family: Family,
        /// Is the side of a cell, in pixels.
        cell: usize,
    },
    /// Reads in one representation.
    Reading(Road),
    /// Draws in one representation.
    Drawing(Road),
    /// Says of two images in one representation whether they differ, and which has the detail.
    Pairs(Road),
}

impl Kind {
    /// Returns what an image is to a transformer of this kind; a codec has none.
    pub fn road(self) -> Option<Road> {
        match self {
            Self::Codec { .. } => None,
            Self::Reading(road) | Self::Drawing(road) | Self::Pairs(road) => Some(road),
        }
    }

    /// Returns the share of the time that a run of this kind has, where a codec has 1.
    pub fn share(self) -> f64 {
        match self {
            Self::Codec { .. } => 1.0,
            Self::Pairs(_) => 4.0,
            Self::Reading(_) | Self::Drawing(_) => 6.0,
        }
    }
}

/// The codecs that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    Fsq,
    VqVae,
    VqGan,
    Kl,
}

impl Family {
    /// Lists the codecs in the order of the tables.
    pub const ALL: [Self; 4] = [Self::Fsq, Self::VqVae, Self::VqGan, Self::Kl];

    /// Spells the codec as the documentation does.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fsq => "fsq",
            Self::VqVae => "vq-vae",
            Self::VqGan => "vq-gan",
            Self::Kl => "kl",
        }
    }
}

/// What an image is to a transformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Road {
    Patches,
    Codes,
    Latents,
    Bytes,
}

impl Road {
    /// Lists the representations in the order of the tables.
    pub const ALL: [Self; 4] = [Self::Patches, Self::Codes, Self::Latents, Self::Bytes];

    /// Lists the representations in which two images are compared: of bytes, two would be 6144
    /// tokens.
    pub const OF_PAIRS: [Self; 3] = [Self::Patches, Self::Codes, Self::Latents];

    /// Spells the representation as recipes do.
    pub fn name(self) -> &'static str {
        match self {
            Self::Patches => "patches",
            Self::Codes => "codes",
            Self::Latents => "latents",
            Self::Bytes => "bytes",
        }
    }

    /// Counts the calls of the network that an image takes.
    pub fn calls(self) -> usize {
        match self {
            Self::Patches | Self::Latents => STEPS_OF_DRAWING,
            Self::Codes => (SIDE / CELL).pow(2),
            Self::Bytes => SIDE * SIDE * 3,
        }
    }
}

/// Lists the sides of cells, in pixels: three budgets of bits.
pub const CELLS: [usize; 3] = [8, 4, 2];
/// Is the side of the cells of which the transformers see codes or latents.
pub const CELL: usize = 4;
/// Counts the denoising steps of a drawing.
pub const STEPS_OF_DRAWING: usize = 10;

/// One training run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub kind: Kind,
    pub seed: u64,
}

impl Run {
    /// Returns the name of the run's folder.
    pub fn name(&self) -> String {
        let seed = self.seed;
        match self.kind {
            Kind::Codec { family, cell } => format!("{}-{cell}-{seed}", family.name()),
            Kind::Reading(road) => format!("read-{}-{seed}", road.name()),
            Kind::Drawing(road) => format!("draw-{}-{seed}", road.name()),
            Kind::Pairs(road) => format!("pairs-{}-{seed}", road.name()),
        }
    }

    /// Returns the run whose codec this one needs.
    pub fn needs(&self) -> Option<Run> {
        let family = match self.kind.road()? {
            Road::Codes => Family::Fsq,
            Road::Latents => Family::Kl,
            Road::Patches | Road::Bytes => return None,
        };
        Some(Run { kind: Kind::Codec { family, cell: CELL }, seed: self.seed })
    }

    /// Writes the recipe of `steps`; run folders of codecs stand in `work`.
    pub fn recipe(&self, work: &Path, steps: u64) -> String {
        let Self { kind, seed } = *self;
        let (vocab, batch, optimizer, lr) = match kind.road() {
            None => (0, 16, "adamw", "1e-3"),
            Some(Road::Bytes) => (400, 2, "muon", "2e-3"),
            Some(_) => (400, 16, "muon", "2e-3"),
        };
        let source = if matches!(kind, Kind::Pairs(_)) { PAIRS } else { WORDS };
        let samples = if kind.road() == Some(Road::Bytes) { 1 } else { 4 };
        let average = 1.0 - 10.0 / steps.max(20) as f64;
        let warmup = steps / 20;
        let mut text = format!("seed = {seed}\nvocab = {vocab}\n\n[data]\n{source}\n");
        let mut add = |part: std::fmt::Arguments<'_>| {
            text.write_fmt(part).expect("a string takes every text");
        };
        add(format_args!("[image]\nwidth = {SIDE}\nheight = {SIDE}\n{}\n", self.image(work)));
        add(format_args!("{}\n{}", self.mix(), self.model()));
        add(format_args!(
            "[optimizer]
kind = \"{optimizer}\"
lr = {lr}
final_lr = 0.05
warmup_steps = {warmup}
betas = [0.9, 0.95]
weight_decay = 0.01
clip = 1.0
ema = {average}

[run]
precision = \"auto\"
steps = {steps}
batch = {batch}
micro_batches = 2
pack_len = 0
checkpoint_every = {steps}
keep = 1
sample_every = {}

[sample]
sampler = \"euler\"
steps = {STEPS_OF_DRAWING}
guidance = {{ scale = 1.0, from = 0.0, to = 1.0 }}
count = {samples}
",
            10 * steps
        ));
        text
    }

    /// Returns the rest of the table `[image]`.
    fn image(&self, work: &Path) -> String {
        let codec = self.needs().map(|codec| work.join(codec.name()).join("model"));
        let codec = codec.map(|folder| format!("codec = {:?}\n", folder.display().to_string()));
        let codec = codec.unwrap_or_default();
        let side = if let Kind::Codec { cell, .. } = self.kind { cell } else { CELL };
        match self.kind.road() {
            Some(Road::Bytes) => "patch = 1\nrepresent = \"bytes\"\n".to_owned(),
            Some(road @ (Road::Codes | Road::Latents)) => {
                format!("patch = {side}\nrepresent = \"{}\"\n{codec}", road.name())
            }
            Some(Road::Patches) | None => format!("patch = {side}\n"),
        }
    }

    fn mix(&self) -> &'static str {
        match self.kind {
            Kind::Codec { .. } => {
                "[mix]\ndraw = [1.0, 1.0]\nread = [0.0, 0.0]\ncaption_drop = 1.0\n"
            }
            Kind::Reading(_) => "[mix]\ndraw = [0.0, 0.0]\nread = [1.0, 1.0]\ncaption_drop = 0.0\n",
            // Documents are whole, so these shares choose nothing; one must be above 0.
            Kind::Pairs(_) => "[mix]\ndraw = [1.0, 1.0]\nread = [0.0, 0.0]\ncaption_drop = 0.0\n",
            Kind::Drawing(_) => "[mix]\ndraw = [1.0, 1.0]\nread = [0.0, 0.0]\ncaption_drop = 0.1\n",
        }
    }

    /// Returns the tables `[model]` and `[loss]`.
    fn model(&self) -> String {
        let Kind::Codec { family, cell } = self.kind else {
            let written = matches!(self.kind.road(), Some(Road::Codes | Road::Bytes));
            let weight = if written {
                "{ kind = \"one\" }"
            } else {
                "{ kind = \"velocity\", min_noise = 0.05 }"
            };
            return format!(
                "{TRANSFORMER}\n[loss]\ntext = 1.0\nimage = 1.0\nweight = {weight}\n{TIMES}\n"
            );
        };
        let channels = match cell {
            2 => "[16, 32]",
            4 => "[16, 32, 48]",
            _ => "[16, 32, 48, 48]",
        };
        let (table, own, loss) = match family {
            Family::Fsq => {
                ("codes", "[model.codec.codes.quantizer.fsq]\nlevels = [8, 5, 5, 5]\n", "")
            }
            Family::VqVae => ("codes", CODEBOOK, "latent = 0.25\n"),
            Family::VqGan => ("codes", JUDGED, "latent = 0.25\nadversarial = 0.5\n"),
            Family::Kl => ("kl", "[model.codec.kl]\nlatent_channels = 4\n", "latent = 1e-4\n"),
        };
        format!(
            "[model]
prediction = \"clean\"
schedule = {{ kind = \"linear\" }}
time = {{ kind = \"sinusoidal\", channels = 2, scale = 1000.0 }}

[model.codec.{table}.network]
block_out_channels = {channels}
layers_per_block = 1
norm_num_groups = 8
mid_block_add_attention = true

{own}
[loss]
text = 0.0
image = 1.0
{loss}weight = {{ kind = \"one\" }}
timesteps = {{ kind = \"uniform\" }}

"
        )
    }
}

/// Says where images come from: short words in letters of 5 to 12 pixels.
const WORDS: &str = "source = \"words\"
lines = [1, 1]
letters = [1, 2]
heights = [5, 12]
faces = [\"hack\"]
shift = 1
";

/// Says where pairs come from: words of two to four letters of 5 to 12 pixels.
const PAIRS: &str = "source = \"pairs\"
letters = [2, 4]
heights = [5, 12]
";

const TRANSFORMER: &str = "[model]
patch_bias = true
patch_pos_embed = 0
prediction = \"clean\"
schedule = { kind = \"linear\" }
time = { kind = \"sinusoidal\", channels = 64, scale = 1000.0 }

[model.backbone]
width = 128
depth = 4
block = { kind = \"multi-head\", heads = 4, key_heads = 4, feed_forward = 344 }
positions = \"rope-tv\"
rotary_base = 10000.0
norm_epsilon = 1e-6
";

const TIMES: &str = "timesteps = { kind = \"logit-normal\", mean = -1.0, std = 1.0 }\n";

const CODEBOOK: &str = "[model.codec.codes.quantizer.codebook]
codes = 1000
channels = 8
decay = 0.99
dead_below = 0.02
";

const JUDGED: &str = "[model.codec.codes.quantizer.codebook]
codes = 1000
channels = 8
decay = 0.99
dead_below = 0.02

[model.codec.codes.discriminator]
channels = 16
layers = 3
";

/// Returns every run of these seeds in the order in which they are trained: what needs a codec
/// comes after it, and a seed after the one before.
pub fn all(seeds: u64) -> Vec<Run> {
    (0..seeds).flat_map(of_seed).collect()
}

/// Is the run that reads originals and says what can still be read behind codecs and of drawings.
pub const READER: Run = Run { kind: Kind::Reading(Road::Patches), seed: 0 };

/// Returns every run of a seed.
pub fn of_seed(seed: u64) -> Vec<Run> {
    let codecs = CELLS
        .into_iter()
        .flat_map(|cell| Family::ALL.into_iter().map(move |family| Kind::Codec { family, cell }));
    let reading = Road::ALL.into_iter().map(Kind::Reading);
    let drawing = Road::ALL.into_iter().map(Kind::Drawing);
    let pairs = Road::OF_PAIRS.into_iter().map(Kind::Pairs);
    let kinds = codecs.chain(reading).chain(drawing).chain(pairs);
    kinds.map(|kind| Run { kind, seed }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_comes_after_the_codec_that_it_needs_and_has_a_name_of_its_own() {
        let runs = all(2);
        assert_eq!(runs.len(), 2 * (3 * 4 + 4 + 4 + 3));
        for (at, run) in runs.iter().enumerate() {
            assert!(run.needs().is_none_or(|codec| runs[..at].contains(&codec)), "{run:?}");
        }
        let mut names: Vec<String> = runs.iter().map(Run::name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), runs.len());
    }

    #[test]
    fn transformers_differ_in_what_an_image_is_alone() {
        let work = Path::new("w");
        let recipe = |road| Run { kind: Kind::Drawing(road), seed: 1 }.recipe(work, 100);
        let backbone = |text: &str| {
            let from = text.find("[model]").unwrap();
            text[from..text.find("[loss]").unwrap()].to_owned()
        };
        for road in Road::ALL {
            assert_eq!(backbone(&recipe(road)), backbone(&recipe(Road::Patches)));
            assert!(!recipe(road).contains("{{"), "a format was not filled in");
        }
        assert!(recipe(Road::Codes).contains("codec = \"w/fsq-4-1/model\""));
        assert!(recipe(Road::Latents).contains("codec = \"w/kl-4-1/model\""));
        assert_eq!(Road::ALL.map(Road::calls), [10, 64, 10, 3072]);
    }
}

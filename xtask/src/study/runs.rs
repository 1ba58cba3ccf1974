//! This module holds what the study trains: five networks of about one size with the article's
//! target and patches, and every target at every size of patch.
//!
//! All share data, batches, noise schedule, optimizer and number of steps. Runs that belong to two
//! comparisons are trained once.

use std::{fmt::Write, path::Path};

/// One training run.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Is also the name of its folder.
    pub name: String,
    /// Is the side of a patch, in pixels.
    pub patch: usize,
    /// Says what the network predicts.
    pub target: Target,
    /// Holds the tables of the recipe that say which network it is.
    network: &'static str,
}

/// The prediction of a network, with the weight of the loss that usually goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The loss is the squared error of the noise, all levels alike (Ho et al. 2020).
    Noise,
    /// The network predicts the clean image, weighted so that the loss is the squared error of the
    /// velocity (Li and He 2025).
    Clean,
    /// The loss is the squared error of the velocity, all levels alike (Salimans and Ho 2022).
    Velocity,
}

impl Target {
    /// Lists the targets in the order of the tables.
    pub const ALL: [Self; 3] = [Self::Noise, Self::Clean, Self::Velocity];

    /// Spells the target as recipes do.
    pub fn name(self) -> &'static str {
        match self {
            Self::Noise => "noise",
            Self::Clean => "clean",
            Self::Velocity => "velocity",
        }
    }

    fn weight(self) -> &'static str {
        match self {
            Self::Noise | Self::Velocity => "{ kind = \"one\" }",
            Self::Clean => "{ kind = \"velocity\", min_noise = 0.05 }",
        }
    }
}

/// Lists the sides of patches that targets are compared at.
pub const PATCHES: [usize; 3] = [4, 8, 16];

/// Names the networks in the order of the tables; the study refuses networks of different sizes.
pub const NETWORKS: [&str; 5] = ["unet", "gau", "transformer", "uvit", "dit"];

/// Follows Su's ddpm.py: most parameters stand where the image is small. Its growth makes the
/// network as large as the others.
const UNET: &str = "[model.unet]
width = 16
growth = [1, 2, 5, 7]
blocks = 2
groups = 8
smallest = 4
attention = []
";

const GAU: &str = "[model.backbone]
width = 192
depth = 5
block = { kind = \"gau\", expansion = 2, key_size = 128, bias = true }
positions = \"halves\"
rotary_base = 1000.0
norm_epsilon = 1e-6
";

const TRANSFORMER: &str = "[model.backbone]
width = 192
depth = 4
block = { kind = \"multi-head\", heads = 6, key_heads = 6, feed_forward = 296 }
positions = \"rope-tv\"
rotary_base = 1000.0
norm_epsilon = 1e-6
";

/// Leaves out the convolution that closes the network in its paper, so that it differs from the
/// transformer in its skips alone.
const UVIT: &str = "[model.backbone]
width = 192
depth = 5
block = { kind = \"multi-head\", variant = \"uvit\", heads = 6, key_heads = 6, feed_forward = 136 }
positions = \"rope-tv\"
rotary_base = 1000.0
norm_epsilon = 1e-6
";

const DIT: &str = "[model.backbone]
width = 160
depth = 4
block = { kind = \"multi-head\", variant = \"dit\", heads = 5, key_heads = 5, feed_forward = 128 }
positions = \"rope-tv\"
rotary_base = 1000.0
norm_epsilon = 1e-6
";

/// Is the side of the patches that networks are compared with: that of ddpm-gau.py at 64x64, a
/// quarter as many values as the network is wide.
pub const PATCH: usize = 4;

/// Returns a network of [`NETWORKS`] as the article trains it: patches of 4, the noise as target.
pub fn network(name: &str) -> Run {
    run(name, Target::Noise, PATCH)
}

/// Returns the gated attention units with a target and a size of patch.
pub fn target(target: Target, patch: usize) -> Run {
    run("gau", target, patch)
}

fn run(name: &str, target: Target, patch: usize) -> Run {
    let network = match name {
        "unet" => UNET,
        "transformer" => TRANSFORMER,
        "uvit" => UVIT,
        "dit" => DIT,
        _ => GAU,
    };
    let name = match (target, patch) {
        (Target::Noise, PATCH) => name.to_owned(),
        _ => format!("{name}-{}-{patch}", target.name()),
    };
    Run { name, patch, target, network }
}

/// Returns every run once.
pub fn all() -> Vec<Run> {
    let networks = NETWORKS.into_iter().map(network);
    let targets = PATCHES.into_iter().flat_map(|patch| Target::ALL.map(|of| target(of, patch)));
    let mut runs: Vec<Run> = vec![];
    for run in networks.chain(targets) {
        if !runs.contains(&run) {
            runs.push(run);
        }
    }
    runs
}

impl Run {
    /// Writes the recipe: `steps` of 16 images, whose averages remember a tenth of the run.
    pub fn recipe(&self, folder: Option<&Path>, steps: u64) -> String {
        let data = match folder {
            None => "source = \"emoji\"\ngroups = [\"animals-and-nature\", \"food-and-drink\"]"
                .to_owned(),
            Some(folder) => {
                format!("source = \"folder\"\npath = {:?}\ncaptions = \"none\"", folder.display())
            }
        };
        let mut text = format!("seed = 0\nvocab = 0\n\n[data]\n{data}\n\n");
        let patch = self.patch;
        let (target, weight) = (self.target.name(), self.target.weight());
        let (warmup_steps, every) = (steps / 20, every(steps));
        let average = 1.0 - 10.0 / steps.max(20) as f64;
        let network = self.network;
        write!(
            text,
            "[image]
width = 64
height = 64
patch = {patch}

[model]
patch_bias = false
patch_pos_embed = 0
patch_convolution = false
prediction = \"{target}\"
schedule = {{ kind = \"su2024\", steps = 1000 }}
time = {{ kind = \"table\", steps = 1000 }}

{network}
{SHARED}
[loss]
text = 0.0
image = 1.0
weight = {weight}
timesteps = {{ kind = \"uniform\" }}

[optimizer]
kind = \"adamw\"
lr = 2e-3
final_lr = 0.1
warmup_steps = {warmup_steps}
betas = [0.9, 0.95]
weight_decay = 0.01
clip = 1.0
ema = {average}
ema_start = \"zero\"

[run]
steps = {steps}
batch = 16
micro_batches = 2
pack_len = 0
checkpoint_every = {every}
keep = {EIGHTHS}
sample_every = {steps}
"
        )
        .expect("a string takes every text");
        text
    }
}

/// Holds what is the same in every recipe, whatever its length.
const SHARED: &str = "[mix]
draw = [1.0, 1.0]
read = [0.0, 0.0]
caption_drop = 1.0

[sample]
sampler = \"ddim\"
steps = 20
guidance = { scale = 1.0, from = 0.0, to = 1.0 }
count = 16
";

/// Counts the checkpoints of a run.
pub const EIGHTHS: u64 = 8;

/// Counts the steps between two checkpoints.
pub fn every(steps: u64) -> u64 {
    (steps / EIGHTHS).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_belongs_to_two_comparisons_is_trained_once() {
        let runs = all();
        assert_eq!(runs.len(), NETWORKS.len() + PATCHES.len() * Target::ALL.len() - 1);
        assert_eq!(target(Target::Noise, PATCH), network("gau"));
        let mut names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), runs.len());
    }

    #[test]
    fn runs_of_a_comparison_differ_in_what_they_compare_alone() {
        let of = |run: &Run| run.recipe(None, 800);
        let apart = |one: &str, other: &str| {
            one.lines().zip(other.lines()).filter(|(one, other)| one != other).count()
        };
        let (noise, clean) = (target(Target::Noise, 8), target(Target::Clean, 8));
        assert_eq!(apart(&of(&noise), &of(&clean)), 2); // prediction and weight
        assert_eq!(apart(&of(&noise), &of(&target(Target::Noise, 16))), 1);
        let [gau, unet] = ["gau", "unet"].map(|name| of(&network(name)));
        let rest = |text: &str| text[text.find("[loss]").unwrap()..].to_owned();
        assert_eq!(rest(&gau), rest(&unet));
        assert!(!gau.contains("{{") && !gau.contains("}}"), "a format was not filled in: {gau}");
    }

    #[test]
    fn a_folder_of_images_takes_the_place_of_the_emoji() {
        let text = network("gau").recipe(Some(Path::new("my \"faces\"")), 80);
        assert!(text.contains("path = \"my \\\"faces\\\"\""), "{text}");
        assert!(!text.contains("emoji"));
    }
}

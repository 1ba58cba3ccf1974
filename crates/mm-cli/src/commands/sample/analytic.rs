//! What Analytic-DPM needs to know of a network, measured once and kept in `analytic.json` of the
//! model folder. A measurement depends on the weights, the data and the number of batches; a kept
//! one of others is replaced.

use std::collections::BTreeMap;

use mm_data::{DataSet, split_hash};
use mm_diffusion::{Level, unexplained};
use mm_eval::mean_square_of_noise;
use mm_model::folder::{weight_files, write_atomic};
use mm_train::Recipe;
use serde::{Deserialize, Serialize};

use super::Denoiser;
use crate::terminal::{Failure, tell, usage};

const FILE: &str = "analytic.json";

/// The number of batches of each level, unless another is asked for.
const BATCHES: usize = 5;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Measured {
    /// A hash of the file of weights.
    weights: String,
    /// A hash of what the recipe says about data, image size, batch and seed.
    recipe: String,
    /// The number of batches of each level.
    batches: usize,
    /// The mean square of the estimated noise, by timestep.
    mean_square: BTreeMap<String, f64>,
}

/// Returns [`unexplained`] of every level.
pub fn unexplained_at(denoiser: &Denoiser<'_>, levels: &[Level]) -> Result<Vec<f64>, Failure> {
    let batches = denoiser.args.batches.unwrap_or(BATCHES);
    if batches == 0 {
        return Err(usage!("`--batches` must be at least 1"));
    }
    let recipe = denoiser.recipe.as_ref().ok_or_else(|| {
        usage!("the model folder has no recipe.toml")
            .hint("`--recipe RECIPE` names the training images")
    })?;
    let (found, wanted) = (recipe.image.patch, denoiser.model.config.patch);
    if found != wanted {
        return Err(usage!(
            "`image.patch` of the recipe is {found}, wanted {wanted} as in the model"
        ));
    }
    let path = denoiser.folder.join(FILE);
    let mut weights = vec![];
    for file in weight_files(denoiser.folder)? {
        weights.extend(fs_err::read(file)?);
    }
    let fresh = Measured {
        weights: hash(&weights),
        recipe: recipe_hash(recipe),
        batches,
        mean_square: BTreeMap::new(),
    };
    let kept = fs_err::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let same = |kept: &Measured| {
        (&kept.weights, &kept.recipe, kept.batches) == (&fresh.weights, &fresh.recipe, batches)
    };
    let mut measured: Measured = kept.filter(same).unwrap_or(fresh);
    let missing = |level: &&Level| !measured.mean_square.contains_key(&key(level));
    let missing: Vec<&Level> = levels.iter().filter(missing).collect();
    if !missing.is_empty() {
        let data = DataSet::open(&recipe.data, recipe.image).map_err(|why| {
            Failure::failed(why).hint("`--real DIR` names a folder of the training images")
        })?;
        tell!("measuring the network at {} noise levels, once ...", missing.len());
        for level in missing {
            let (model, batch, seed) = (&denoiser.model, recipe.run.batch, recipe.seed);
            let found = mean_square_of_noise(model, &data, level, batches, batch, seed)?;
            measured.mean_square.insert(key(level), found);
        }
        let text = serde_json::to_string_pretty(&measured)?;
        if let Err(why) = write_atomic(&path, text.as_bytes()) {
            tell!("warning: the measurement is not kept: {why}");
        }
    }
    Ok(levels.iter().map(|level| unexplained(measured.mean_square[&key(level)])).collect())
}

fn key(level: &Level) -> String {
    level.timestep.to_string()
}

fn recipe_hash(recipe: &Recipe) -> String {
    let parts = serde_json::json!([recipe.data, recipe.image, recipe.run.batch, recipe.seed]);
    format!("{:016x}", split_hash(&parts.to_string()))
}

/// Returns the 64-bit FNV-1a hash over words of eight bytes. It is fast, and enough to tell that
/// weights have changed.
fn hash(bytes: &[u8]) -> String {
    let (words, rest) = bytes.as_chunks::<8>();
    let step = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = words
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, word| step(hash, u64::from_le_bytes(*word)));
    format!("{:016x}", rest.iter().fold(hash, |hash, byte| step(hash, u64::from(*byte))))
}

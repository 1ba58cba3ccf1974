//! Several sources as one, each with its weight, and how its images are used.
//!
//! Which source stands at a position of the endless order is a pure function of (seed, position):
//! positions come in blocks of a thousand, and each block has the same number of documents of a
//! source, in an order of its own. So the place of a position within its source is known without a
//! look at what came before, for any step, rank and worker.

use std::collections::HashSet;

use mm_model::random::{Purpose, stream};
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::DataConfig;
use crate::bad_records::{BadRecords, Skipped};
use crate::error::DataError;
use crate::fingerprint::Fingerprint;
use crate::image::ImageSettings;
use crate::record::Record;
use crate::source::{DataSet, DataSource, count};
use crate::split::Split;
use crate::task::Task;

/// Positions of a block.
const BLOCK: u64 = 1000;

/// Settings of [`MixtureSet`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixtureConfig {
    /// The sources.
    pub parts: Vec<PartConfig>,
}

/// One source of a mixture: `D` is its [`DataConfig`] in a recipe, and its [`DataSet`] once open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part<D> {
    /// Its share of the documents, over the sum of all weights.
    pub weight: f64,
    /// Which task its images are used for, instead of the recipe's `[mix]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<Task>,
    /// The share of its drawn documents whose caption is left out, instead of the recipe's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caption_drop: Option<f64>,
    /// Whether half of its images are shown as in a mirror, which is wrong for letters, and for
    /// captions that say left or right.
    #[serde(default)]
    pub flip: bool,
    /// The source; any but another mixture.
    pub data: D,
}

/// One source of a mixture in a recipe.
pub type PartConfig = Part<DataConfig>;

impl<D> Part<D> {
    /// Takes a source with a weight, and the recipe's settings.
    pub fn of(weight: f64, data: D) -> Self {
        Self { weight, direction: None, caption_drop: None, flip: false, data }
    }

    /// Replaces the source.
    fn with<T>(&self, data: T) -> Part<T> {
        let Self { weight, direction, caption_drop, flip, .. } = *self;
        Part { weight, direction, caption_drop, flip, data }
    }
}

/// Checks the settings of the parts of a mixture beside their sources.
fn check_parts<D>(parts: &[Part<D>]) -> Result<(), DataError> {
    let wrong = |field, found: String, wanted| Err(DataError::Setting { field, found, wanted });
    if parts.is_empty() {
        return wrong("parts", "[]".into(), "at least one source");
    }
    let total: f64 = parts.iter().map(|part| part.weight).sum();
    for part in parts {
        let share = part.weight / total;
        if !(part.weight > 0.0 && share * BLOCK as f64 >= 1.0) {
            let found = part.weight.to_string();
            return wrong("weight", found, "at least a thousandth of the sum of all weights");
        }
        if let Some(drop) = part.caption_drop.filter(|drop| !(0.0..=1.0).contains(drop)) {
            return wrong("caption_drop", drop.to_string(), "0 to 1");
        }
        if let Some(task @ (Task::SameOrDifferent | Task::WhichOne)) = part.direction {
            return wrong("direction", format!("{task:?}"), "draw, read, finished or both");
        }
    }
    Ok(())
}

impl MixtureConfig {
    /// Checks what the types do not; touches no file.
    pub fn validate(&self) -> Result<(), DataError> {
        check_parts(&self.parts)?;
        for part in &self.parts {
            if matches!(part.data, DataConfig::Mixture(_)) {
                return Err(nested());
            }
            part.data.validate()?;
        }
        Ok(())
    }
}

fn nested() -> DataError {
    let wanted = "a source that is no mixture, inside one";
    DataError::Setting { field: "source", found: "mixture".into(), wanted }
}

/// The open sources of a mixture.
///
/// ```
/// use mm_data::{DataConfig, DataSet, ImageSettings, MixtureSet, Part, Split};
///
/// let image = ImageSettings { width: 32, height: 32, patch: 8 };
/// let open = |text| DataSet::open(&toml::from_str::<DataConfig>(text).unwrap(), image);
/// let emoji = Part::of(3.0, open("source = 'emoji'")?);
/// let glyphs = Part::of(1.0, open("source = 'glyphs'")?); // or any `DataSet::from_source`
/// let data = DataSet::from_source(MixtureSet::new(vec![emoji, glyphs])?);
/// assert_eq!(data.len(Split::Train), None);
/// # Ok::<(), mm_data::DataError>(())
/// ```
#[derive(Debug)]
pub struct MixtureSet {
    parts: Vec<Part<DataSet>>,
    /// The number of positions of each source in a block.
    quotas: Vec<u64>,
}

impl MixtureSet {
    /// Opens every source.
    pub fn open(config: &MixtureConfig, image: ImageSettings) -> Result<Self, DataError> {
        config.validate()?;
        let open = |part: &PartConfig| Ok(part.with(DataSet::open(&part.data, image)?));
        Self::new(config.parts.iter().map(open).collect::<Result<_, DataError>>()?)
    }

    /// Mixes open sources, also those of a user. What is held out in one of them is left out of the
    /// training records of all.
    pub fn new(mut parts: Vec<Part<DataSet>>) -> Result<Self, DataError> {
        check_parts(&parts)?;
        let held_out: HashSet<u64> =
            parts.iter().flat_map(|part| part.data.held_out_contents()).collect();
        parts.iter_mut().for_each(|part| part.data.leave_out(&held_out));
        if parts.iter().any(|part| part.data.downcast_ref::<Self>().is_some()) {
            return Err(nested());
        }
        let weights: Vec<f64> = parts.iter().map(|part| part.weight).collect();
        Ok(Self { parts, quotas: quotas(&weights) })
    }

    /// Returns the sources and their settings.
    pub fn parts(&self) -> &[Part<DataSet>] {
        &self.parts
    }

    /// Returns the source at a position, in an order that is the same for every seed, and the
    /// position within it; an empty source gives way to the next one.
    fn at(&self, split: Split, position: u64) -> (&DataSet, u64) {
        let (part, within) = block(&self.quotas, 0, position / BLOCK)[(position % BLOCK) as usize];
        let parts = self.parts[part..].iter().chain(&self.parts[..part]);
        let full = parts.map(|part| &part.data).find(|data| data.len(split) != Some(0));
        (full.unwrap_or(&self.parts[part].data), within)
    }

    /// Returns the order of a training run.
    pub(crate) fn order(&self, seed: u64) -> Order<'_> {
        Order { quotas: &self.quotas, seed, held: None }
    }
}

/// A mixture has no end, unless no source has anything in a split: then it has no record.
impl DataSource for MixtureSet {
    fn name(&self) -> &'static str {
        "mixture"
    }

    fn len(&self, split: Split) -> Option<u64> {
        self.parts.iter().all(|part| part.data.len(split) == Some(0)).then_some(0)
    }

    fn load(&self, split: Split, at: u64, rng: &mut ChaCha8Rng) -> Result<Record, Skipped> {
        let (data, within) = self.at(split, at);
        data.load(split, data.len(split).map_or(within, |len| within % len.max(1)), rng)
    }

    fn record(&self, split: Split, index: u64, rng: &mut ChaCha8Rng) -> Result<Record, DataError> {
        count(self, split)?;
        let (data, within) = self.at(split, index);
        data.record(split, within, rng)
    }

    fn exact(
        &self,
        split: Split,
        index: u64,
        rng: &mut ChaCha8Rng,
    ) -> Result<Option<Record>, DataError> {
        count(self, split)?;
        let (data, within) = self.at(split, index);
        data.exact(split, within, rng)
    }

    fn bad_records(&self) -> Vec<&BadRecords> {
        self.parts.iter().flat_map(|part| part.data.bad_records()).collect()
    }

    fn captions(&self) -> Vec<String> {
        self.parts.iter().flat_map(|part| part.data.captions()).collect()
    }

    fn describe(&self, sum: &mut Fingerprint) {
        for part in &self.parts {
            part.data.add_to(sum);
        }
    }

    fn check_image_only(&self) -> Result<(), DataError> {
        self.parts.iter().try_for_each(|part| part.data.check_image_only())
    }

    fn check_trainable(&self, vocab: usize) -> Result<(), DataError> {
        self.parts.iter().try_for_each(|part| part.data.check_trainable(vocab))
    }
}

/// Which source stands at which position.
#[derive(Debug)]
pub(crate) struct Order<'a> {
    quotas: &'a [u64],
    seed: u64,
    held: Option<(u64, Vec<(usize, u64)>)>,
}

impl Order<'_> {
    /// The source at a position, and the position within that source.
    pub(crate) fn at(&mut self, position: u64) -> (usize, u64) {
        let number = position / BLOCK;
        if self.held.as_ref().is_none_or(|(held, _)| *held != number) {
            self.held = Some((number, block(self.quotas, self.seed, number)));
        }
        self.held.as_ref().expect("just filled").1[(position % BLOCK) as usize]
    }
}

/// Returns, for every position of a block, its source and the position within that source.
fn block(quotas: &[u64], seed: u64, number: u64) -> Vec<(usize, u64)> {
    let places = quotas.iter().enumerate().flat_map(|(part, &quota)| vec![part; quota as usize]);
    let mut places: Vec<usize> = places.collect();
    places.shuffle(&mut stream(seed, Purpose::Order, number, u64::MAX - 1));
    let mut next: Vec<u64> = quotas.iter().map(|quota| number * quota).collect();
    let place = |part: usize| {
        let within = next[part];
        next[part] += 1;
        (part, within)
    };
    places.into_iter().map(place).collect()
}

/// Whole numbers of at least 1 in the proportion of `weights` whose sum is a block: each share
/// rounded down, and what is left given to those that lost most.
fn quotas(weights: &[f64]) -> Vec<u64> {
    let total: f64 = weights.iter().sum();
    let shares: Vec<f64> = weights.iter().map(|weight| weight / total * BLOCK as f64).collect();
    let mut quotas: Vec<u64> = shares.iter().map(|share| (*share as u64).max(1)).collect();
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_by(|&a, &b| shares[b].fract().total_cmp(&shares[a].fract()));
    let left = BLOCK - quotas.iter().sum::<u64>();
    for &part in order.iter().take(left as usize) {
        quotas[part] += 1;
    }
    quotas
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_fill_a_block_in_proportion() {
        assert_eq!(quotas(&[1.0, 1.0, 1.0]), [334, 333, 333]);
        assert_eq!(quotas(&[7.0, 2.0, 1.0]), [700, 200, 100]);
        assert_eq!(quotas(&[5.0]), [1000]);
    }

    #[test]
    fn every_position_of_every_source_comes_once_and_can_be_asked_for_in_any_order() {
        let quotas = quotas(&[3.0, 1.0, 0.01]);
        let order = || Order { quotas: &quotas, seed: 5, held: None };
        let mut forward = order();
        let found: Vec<(usize, u64)> = (0..3 * BLOCK).map(|at| forward.at(at)).collect();
        for (part, quota) in quotas.iter().enumerate() {
            let of_part = found.iter().filter(|(of, _)| *of == part).map(|(_, at)| *at);
            assert!(of_part.eq(0..3 * quota), "source {part}");
        }
        let mut jumping = order();
        for at in [2999, 0, 1500, 1, 2998] {
            assert_eq!(jumping.at(at), found[at as usize]);
        }
        let mut other = Order { seed: 6, ..order() };
        assert!((0..BLOCK).any(|at| other.at(at) != found[at as usize]));
    }

    #[test]
    fn what_one_source_holds_out_no_other_trains_on() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: String, shade: u8| {
            let path = folder.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, mm_patch::Image::filled(8, 8, [shade; 3]).encode_png()).unwrap();
        };
        for shade in 0..40 {
            let split = if shade < 30 { "train" } else { "test" };
            write(format!("named/{split}/{shade}.png"), shade);
            write(format!("flat/{shade}.png"), shade);
        }
        let image = ImageSettings { width: 8, height: 8, patch: 8 };
        let open = |name: &str| {
            let path = folder.path().join(name);
            let config = format!("source = 'folder'\ncaptions = 'none'\npath = {path:?}");
            DataSet::open(&toml::from_str(&config).unwrap(), image).unwrap()
        };
        let parts = ["named", "flat"].map(|name| Part::of(1.0, open(name)));
        let mixture = MixtureSet::new(parts.into()).unwrap();
        let shades = |split: Split| -> HashSet<u8> {
            let mut found = HashSet::new();
            for part in mixture.parts() {
                for at in 0..part.data.len(split).unwrap() {
                    let rng = &mut stream(0, Purpose::Example, 0, at);
                    let example = part.data.example(split, at, rng).unwrap().unwrap();
                    found.insert(example.image.pixel(0, 0)[0]);
                }
            }
            found
        };
        let (train, held_out) = (shades(Split::Train), shades(Split::HeldOut));
        assert!(train.is_disjoint(&held_out) && (30..40).all(|shade| held_out.contains(&shade)));
        assert_eq!(train.len() + held_out.len(), 40);
        assert!(mixture.skipped().iter().any(|one| one.why.contains("held-out one")));
    }

    #[test]
    fn wrong_mixtures_are_refused_by_field() {
        let why = |text: &str| {
            let config: DataConfig = toml::from_str(text).unwrap();
            config.validate().unwrap_err().to_string()
        };
        let part = |more: &str| {
            format!("source = 'mixture'\n[[parts]]\n{more}\n[parts.data]\nsource = 'emoji'")
        };
        assert_eq!(
            why("source = 'mixture'\nparts = []"),
            "`parts` is `[]`, wanted at least one source"
        );
        assert!(why(&part("weight = 0")).starts_with("`weight` is `0`"));
        assert!(why(&part("weight = -1")).starts_with("`weight` is `-1`"));
        assert!(why(&part("weight = 1\ncaption_drop = 2.0")).starts_with("`caption_drop` is `2`"));
        let nested = "source = 'mixture'\n[[parts]]\nweight = 1\n[parts.data]\nsource = 'mixture'\nparts = []";
        assert!(why(nested).starts_with("`source` is `mixture`"));
        let unknown = part("weight = 1\nflipp = true");
        assert!(
            toml::from_str::<DataConfig>(&unknown).unwrap_err().to_string().contains("`flipp`")
        );
    }
}

//! Several sources as one, each with its weight, and how its pictures are used.
//!
//! Which source stands at a position of the endless order is a pure function of (seed, position): positions come in blocks
//! of a thousand, each block has the same number of documents of a source, in an order of its own. So the place of a
//! position within its source is known without a look at what came before, for any step, rank and worker.

use mm_model::random::{Purpose, stream};
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::ledger::{Skipped, Tally};
use super::{DataConfig, DataError, DataSet, Direction, ImageSettings, Record, Split};

/// Positions of a block.
const BLOCK: u64 = 1000;

/// Settings of [`MixtureSet`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixtureConfig {
    /// The sources.
    pub parts: Vec<PartConfig>,
}

/// One source of a mixture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartConfig {
    /// Its share of the documents, over the sum of all weights.
    pub weight: f64,
    /// Which way its pictures are used, instead of the recipe's `[mix]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// Share of its drawn documents whose caption is left out, instead of the recipe's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caption_drop: Option<f64>,
    /// Whether half of its pictures are shown as in a mirror. Wrong for letters, and for captions that say left or right.
    #[serde(default)]
    pub flip: bool,
    /// The source; any but another mixture.
    pub data: DataConfig,
}

impl MixtureConfig {
    /// Checks what the types do not; touches no file.
    pub fn validate(&self) -> Result<(), DataError> {
        let wrong = |field, found: String, wanted| Err(DataError::Setting { field, found, wanted });
        if self.parts.is_empty() {
            return wrong("parts", "[]".into(), "at least one source");
        }
        let total: f64 = self.parts.iter().map(|part| part.weight).sum();
        for part in &self.parts {
            let share = part.weight / total;
            if !(part.weight > 0.0 && share * BLOCK as f64 >= 1.0) {
                let found = part.weight.to_string();
                return wrong("weight", found, "at least a thousandth of the sum of all weights");
            }
            if let Some(drop) = part.caption_drop.filter(|drop| !(0.0..=1.0).contains(drop)) {
                return wrong("caption_drop", drop.to_string(), "0 to 1");
            }
            if matches!(part.data, DataConfig::Mixture(_)) {
                return wrong(
                    "source",
                    "mixture".into(),
                    "a source that is no mixture, inside one",
                );
            }
            part.data.validate()?;
        }
        Ok(())
    }
}

/// The open sources of a mixture.
#[derive(Debug)]
pub struct MixtureSet {
    parts: Vec<(PartConfig, DataSet)>,
    /// Positions of each source in a block.
    quotas: Vec<u64>,
}

impl MixtureSet {
    /// Opens every source.
    pub fn open(config: &MixtureConfig, image: ImageSettings) -> Result<Self, DataError> {
        config.validate()?;
        let open =
            |part: &PartConfig| DataSet::open(&part.data, image).map(|data| (part.clone(), data));
        let parts = config.parts.iter().map(open).collect::<Result<Vec<_>, DataError>>()?;
        let weights: Vec<f64> = config.parts.iter().map(|part| part.weight).collect();
        Ok(Self { parts, quotas: quotas(&weights) })
    }

    /// The sources and their settings.
    pub fn parts(&self) -> &[(PartConfig, DataSet)] {
        &self.parts
    }

    /// 0 if no source has anything in this part, otherwise `None`: a mixture has no end.
    pub fn len(&self, split: Split) -> Option<u64> {
        self.parts.iter().all(|(_, data)| data.len(split) == Some(0)).then_some(0)
    }

    /// What stands at a position, in an order that is the same for every seed; an empty source gives way to the next one.
    pub fn record(
        &self,
        split: Split,
        position: u64,
        rng: &mut ChaCha8Rng,
    ) -> Result<Record, DataError> {
        let (data, within) = self.at(split, position)?;
        data.record(split, within, rng)
    }

    /// What stands at a position, as [`Self::record`], but nothing in place of a broken record.
    pub(super) fn exact(
        &self,
        split: Split,
        position: u64,
        rng: &mut ChaCha8Rng,
    ) -> Result<Option<Record>, DataError> {
        let (data, within) = self.at(split, position)?;
        data.exact(split, within, rng)
    }

    /// The source at a position, and the position within that source.
    fn at(&self, split: Split, position: u64) -> Result<(&DataSet, u64), DataError> {
        let (part, within) = block(&self.quotas, 0, position / BLOCK)[(position % BLOCK) as usize];
        let parts = self.parts[part..].iter().chain(&self.parts[..part]);
        let mut full = parts.filter(|(_, data)| data.len(split) != Some(0));
        let (_, data) = full
            .next()
            .ok_or(DataError::EmptySplit { split: split.name(), source_name: "mixture" })?;
        Ok((data, within))
    }

    /// Captions and texts of all sources.
    pub fn captions(&self) -> Vec<String> {
        self.parts.iter().flat_map(|(_, data)| data.captions()).collect()
    }

    /// What any source left out, broken items first.
    pub fn skipped(&self) -> Vec<Skipped> {
        let (mut broken, mut others) = (vec![], vec![]);
        for (_, data) in &self.parts {
            let mut found = data.skipped();
            others.extend(found.split_off(data.bad().min(found.len())));
            broken.extend(found);
        }
        broken.extend(others);
        broken
    }

    /// How many of these are broken.
    pub fn bad(&self) -> usize {
        self.parts.iter().map(|(_, data)| data.bad()).sum()
    }

    /// How much is broken so far in all sources, and how much they have.
    pub fn tally(&self) -> Tally {
        let tallies = self.parts.iter().map(|(_, data)| data.tally());
        tallies.fold(Tally::default(), |sum, one| Tally {
            items: sum.items + one.items,
            bad: sum.bad + one.bad,
            files: sum.files + one.files,
            bad_files: sum.bad_files + one.bad_files,
            lost_files: sum.lost_files + one.lost_files,
        })
    }

    /// The order of a training run.
    pub(crate) fn order(&self, seed: u64) -> Order<'_> {
        Order { quotas: &self.quotas, seed, held: None }
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

/// For every position of a block its source, and the position within that source.
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

/// Whole numbers of at least 1 in the proportion of `weights` whose sum is a block: each share rounded down, and what is left
/// given to those that lost most.
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

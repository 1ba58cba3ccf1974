//! This module chooses the records that a measurement is taken on. The same seed gives the same
//! records.

use mm_data::{Combination, DataSet, Example, GlyphSet, Record, Split};
use mm_model::random::{Purpose, stream};

use crate::EvalError;

/// Returns `count` records of a split, or all records if there are fewer. They are spread evenly
/// over a finite split.
pub fn records(
    data: &DataSet,
    split: Split,
    count: usize,
    seed: u64,
) -> Result<Vec<Record>, EvalError> {
    let len = data.len(split);
    let count = len.map_or(count, |len| count.min(len as usize));
    let mut records = Vec::with_capacity(count);
    for index in 0..count as u64 {
        let mut rng = stream(seed, Purpose::Example, u64::MAX, index);
        let at = len.map_or(index, |len| index * len / count as u64);
        records.push(data.record(split, at, &mut rng)?);
    }
    Ok(records)
}

/// Returns those of `count` records of a split that are images with captions.
///
/// ```
/// use mm_data::{DataConfig, DataSet, GlyphsConfig, ImageSettings, Split};
///
/// let size = ImageSettings { width: 16, height: 16, patch: 4 };
/// let data = DataSet::open(&DataConfig::Glyphs(GlyphsConfig::default()), size)?;
/// let shown = mm_eval::examples(&data, Split::HeldOut, 3, 7)?;
/// assert_eq!(shown.len(), 3);
/// assert_eq!(shown, mm_eval::examples(&data, Split::HeldOut, 3, 7)?);
/// # Ok::<(), mm_eval::EvalError>(())
/// ```
pub fn examples(
    data: &DataSet,
    split: Split,
    count: usize,
    seed: u64,
) -> Result<Vec<Example>, EvalError> {
    let captioned = |record| match record {
        Record::Captioned(example) => Some(example),
        Record::Whole(_) => None,
    };
    Ok(records(data, split, count, seed)?.into_iter().filter_map(captioned).collect())
}

/// Returns `count` glyphs of a split that a model is asked to draw.
pub fn combinations(glyphs: &GlyphSet, split: Split, count: usize, seed: u64) -> Vec<Combination> {
    let one =
        |index| glyphs.combination(split, &mut stream(seed, Purpose::Example, u64::MAX, index));
    (0..count as u64).map(one).collect()
}

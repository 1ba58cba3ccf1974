//! The records that a measurement is taken on: the same for the same seed.

use mm_data::{Combination, DataSet, Example, GlyphSet, Record, Split};
use mm_model::random::{Purpose, stream};

use crate::EvalError;

/// `count` records of a part, the same for the same seed.
pub fn records(
    data: &DataSet,
    split: Split,
    count: usize,
    seed: u64,
) -> Result<Vec<Record>, EvalError> {
    let len = data.len(split);
    let count = len.map_or(count, |len| count.min(len as usize));
    (0..count)
        .map(|index| {
            let mut rng = stream(seed, Purpose::Example, u64::MAX, index as u64);
            // Spread over a finite part, whatever its order.
            let at = len.map_or(index as u64, |len| index as u64 * len / count as u64);
            Ok(data.record(split, at, &mut rng)?)
        })
        .collect()
}

/// Those of `count` records of a part that are pictures with captions.
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

/// `count` glyphs of a part to ask for, the same for the same seed.
pub fn combinations(glyphs: &GlyphSet, split: Split, count: usize, seed: u64) -> Vec<Combination> {
    let one =
        |index| glyphs.combination(split, &mut stream(seed, Purpose::Example, u64::MAX, index));
    (0..count as u64).map(one).collect()
}

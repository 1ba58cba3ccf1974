//! Drawings to be judged: as many as wanted, after the captions that the recipe trains with.

use mm_model::random::{Purpose, stream};
use mm_model::{Document, GenerateOptions, LoadedModel};
use mm_patch::{Grid, Image};
use rand::RngExt;

use super::{QualityError, source_pictures};
use mm_data::{DataSet, Split};

/// Pictures drawn in one batch.
const TOGETHER: usize = 32;

/// `count` captions of a part of the data, again from the first if there are fewer, each left out with probability `drop`, as
/// in training.
pub fn captions_to_draw(
    data: &DataSet,
    split: Split,
    count: usize,
    (drop, seed): (f64, u64),
) -> Result<Vec<String>, QualityError> {
    let real = source_pictures(data, split, count, seed)?.pictures;
    let names = real.into_iter().map(|picture| picture.name).collect::<Vec<_>>();
    let one = |(index, name): (u64, &String)| {
        let uniform: f64 = stream(seed, Purpose::Order, u64::MAX - 3, index).random();
        if uniform < drop { String::new() } else { name.clone() }
    };
    Ok((0..count as u64).zip(names.iter().cycle()).map(one).collect())
}

/// A picture after each caption; an empty one is no condition at all. `drawn` hears how many are done. The noise of a picture
/// depends on the seed and its place alone.
pub fn drawings(
    model: &LoadedModel,
    captions: &[String],
    grid: Grid,
    options: &GenerateOptions,
    drawn: &mut dyn FnMut(usize),
) -> Result<Vec<Image>, QualityError> {
    let mut images = vec![];
    for (batch, captions) in (0u64..).zip(captions.chunks(TOGETHER)) {
        let prompts: Vec<Document> =
            captions
                .iter()
                .map(|caption| {
                    if caption.is_empty() {
                        Document::default()
                    } else {
                        Document::of_text(caption)
                    }
                })
                .collect();
        let mut options = options.clone();
        options.seed ^= batch << 32;
        if captions.iter().all(String::is_empty) {
            options.guidance.scale = 1.0; // there is nothing to push away from
        }
        images.extend(model.draw(&prompts, grid, &options)?);
        drawn(images.len());
    }
    Ok(images)
}

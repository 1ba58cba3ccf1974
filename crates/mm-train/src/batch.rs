//! Batches as a pure function of (seed, step): which examples, which documents, how far noised, with what noise.

use mm_diffusion::Schedule;
use mm_model::random::{Purpose, normals, stream};
use mm_model::{Document, HostBatch, ImageNoise, Sample, Sequence, Sequencer};
use mm_text::Tokenizer;
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_distr::StandardNormal;

use crate::TrainError;
use crate::data::{DataSet, Example, Split, draw, finished, read};
use crate::recipe::Recipe;

/// Makes the batches of a run.
#[derive(Debug)]
pub struct Batches<'a> {
    recipe: &'a Recipe,
    data: &'a DataSet,
    tokenizer: &'a Tokenizer,
    /// The shuffled order of the epochs used last, by epoch.
    orders: [Option<(u64, Vec<u32>)>; 2],
}

/// The kinds of documents a recipe mixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Draw,
    Read,
    Finished,
    SameOrDifferent,
    WhichOne,
}

impl Kind {
    /// The one-image document of this kind.
    pub(crate) fn document(self, example: Example) -> Document {
        match self {
            Self::Read => read(example),
            Self::Finished => finished(example),
            Self::Draw | Self::SameOrDifferent | Self::WhichOne => draw(example),
        }
    }
}

impl<'a> Batches<'a> {
    /// Batches of `recipe` over `data`.
    pub fn new(recipe: &'a Recipe, data: &'a DataSet, tokenizer: &'a Tokenizer) -> Self {
        Self { recipe, data, tokenizer, orders: [None, None] }
    }

    /// The batch of one step, in the recipe's number of shards.
    pub fn batch(&mut self, step: u64) -> Result<Vec<HostBatch>, TrainError> {
        let documents = self
            .kinds(step)
            .into_iter()
            .enumerate()
            .map(|(place, kind)| self.document(kind, step, place));
        let documents = documents.collect::<Result<Vec<_>, _>>()?;
        let shards = (self.recipe.run.shards * self.recipe.run.accumulate).min(documents.len());
        let mut documents = documents.into_iter().zip(0..);
        (0..shards)
            .map(|shard| {
                let share = (shard + 1) * self.recipe.run.batch / shards
                    - shard * self.recipe.run.batch / shards;
                host_batch(self.recipe, self.tokenizer, documents.by_ref().take(share), step)
            })
            .collect()
    }

    /// How many documents of each kind a step has: the shares at this step, rounded so that their sum over the steps stays
    /// exact.
    fn kinds(&self, step: u64) -> Vec<Kind> {
        let (mix, run) = (&self.recipe.mix, &self.recipe.run);
        let progress = step as f64 / run.steps.max(1) as f64;
        let at = |ends: [f64; 2]| ends[0] + (ends[1] - ends[0]) * progress.min(1.0);
        let shares = [
            (Kind::Draw, at(mix.draw)),
            (Kind::Read, at(mix.read)),
            (Kind::Finished, mix.finished),
            (Kind::SameOrDifferent, mix.same_or_different),
            (Kind::WhichOne, mix.which_one),
        ];
        let total: f64 = shares.iter().map(|(_, share)| share).sum();
        // One random offset a step, then equal spacing: each kind gets its share to within one document.
        let offset = stream(self.recipe.seed, Purpose::Order, step, u64::MAX).random::<f64>();
        (0..run.batch)
            .map(|place| {
                let mut left = (place as f64 + offset) / run.batch as f64 * total;
                for (kind, share) in shares {
                    if left < share {
                        return kind;
                    }
                    left -= share;
                }
                Kind::Draw
            })
            .collect()
    }

    fn document(&mut self, kind: Kind, step: u64, place: usize) -> Result<Document, TrainError> {
        let mut rng = stream(self.recipe.seed, Purpose::Example, step, place as u64);
        if let DataSet::Glyphs(glyphs) = self.data {
            match kind {
                Kind::SameOrDifferent => {
                    return Ok(glyphs.same_or_different(Split::Train, &mut rng));
                }
                Kind::WhichOne => return Ok(glyphs.which_one_is(Split::Train, &mut rng)),
                Kind::Draw | Kind::Read | Kind::Finished => {}
            }
        }
        let index = self.index(step * self.recipe.run.batch as u64 + place as u64);
        let mut example = self.data.example(Split::Train, index, &mut rng)?;
        if kind == Kind::Draw && rng.random::<f64>() < self.recipe.mix.caption_drop {
            example.caption.clear();
        }
        Ok(kind.document(example))
    }

    /// The example at a position of the endless order: every epoch is a shuffle of its own.
    fn index(&mut self, position: u64) -> u64 {
        let Some(len) = self.data.len(Split::Train).filter(|len| *len > 0) else {
            return position;
        };
        let (epoch, within) = (position / len, (position % len) as usize);
        let slot = &mut self.orders[(epoch % 2) as usize];
        if slot.as_ref().is_none_or(|(held, _)| *held != epoch) {
            let mut order: Vec<u32> = (0..len as u32).collect();
            order.shuffle(&mut stream(self.recipe.seed, Purpose::Order, epoch, 0));
            *slot = Some((epoch, order));
        }
        u64::from(slot.as_ref().expect("just filled").1[within])
    }
}

/// Documents, each with its number in the step, as one batch with the noise of `step`.
pub fn host_batch(
    recipe: &Recipe,
    tokenizer: &Tokenizer,
    documents: impl Iterator<Item = (Document, u64)>,
    step: u64,
) -> Result<HostBatch, TrainError> {
    let sequencer = Sequencer {
        tokenizer,
        patch: recipe.image.patch,
        positions: recipe.model.backbone.positions,
    };
    let sample = |(document, place): (Document, u64)| {
        let sequence = sequencer.complete(&document)?;
        let mut times = stream(recipe.seed, Purpose::Time, step, place);
        let mut noise = stream(recipe.seed, Purpose::Noise, step, place);
        let noise = noised(&sequence, recipe, [&mut times, &mut noise]);
        Ok(Sample { sequence, noise })
    };
    let samples = documents.map(sample).collect::<Result<Vec<_>, TrainError>>()?;
    let numbers = recipe.image.patch * recipe.image.patch * 3;
    Ok(HostBatch::pack(&samples, recipe.run.row_tokens, tokenizer.special().pad, numbers))
}

/// Noise for every image of a sequence: learnt ones get a level and noise, the others stay clean.
fn noised<R: rand::Rng>(
    sequence: &Sequence,
    recipe: &Recipe,
    [times, noise]: [&mut R; 2],
) -> Vec<ImageNoise> {
    let schedule: &Schedule = &recipe.model.schedule;
    sequence
        .images
        .iter()
        .map(|span| {
            if !span.learn {
                return ImageNoise::none(schedule);
            }
            let (uniform, normal) = (times.random::<f64>(), times.sample::<f64, _>(StandardNormal));
            let level = schedule.draw(&recipe.loss.times, uniform, normal);
            let weight = recipe.loss.weight.weight(&level);
            ImageNoise { level, eps: normals(noise, span.patches.len()), weight }
        })
        .collect()
}

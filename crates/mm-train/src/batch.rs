//! Batches as a pure function of (seed, step): which examples, which documents, how far noised, with what noise.

use std::collections::BTreeMap;

use mm_diffusion::ForwardProcess;
use mm_model::random::{Purpose, normals, stream};
use mm_model::{Document, HostBatch, ImageNoise, Sample, Sequence, Sequencer};
use mm_text::Tokenizer;
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use rayon::prelude::*;

use crate::TrainError;
use crate::data::{
    DataSet, Direction, Example, Order, PartConfig, Record, Split, draw, finished, read,
};
use crate::permutation::permuted;
use crate::recipe::Recipe;

/// Records whose order is held as a list; the order of more is computed.
const LONGEST_LIST: u64 = 1 << 24;

/// Makes the batches of a run, or one rank's share of them.
#[derive(Debug)]
pub struct Batches<'a> {
    recipe: &'a Recipe,
    data: &'a DataSet,
    tokenizer: &'a Tokenizer,
    rank: usize,
    ranks: usize,
    /// Which source of a mixture stands at a position.
    order: Option<Order<'a>>,
    /// The shuffled order of the epochs used last, by source and whether the epoch is odd.
    epochs: BTreeMap<(usize, bool), (u64, Vec<u32>)>,
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

/// A document to be made: everything that does not depend on the files.
struct Errand<'a> {
    /// Place in the step.
    place: usize,
    kind: Kind,
    data: &'a DataSet,
    /// Settings of the source, in a mixture.
    part: Option<&'a PartConfig>,
    index: u64,
}

impl<'a> Batches<'a> {
    /// Batches of `recipe` over `data`.
    pub fn new(recipe: &'a Recipe, data: &'a DataSet, tokenizer: &'a Tokenizer) -> Self {
        let order = match data {
            DataSet::Mixture(mixture) => Some(mixture.order(recipe.seed)),
            _ => None,
        };
        Self { recipe, data, tokenizer, rank: 0, ranks: 1, order, epochs: BTreeMap::new() }
    }

    /// One rank's share: of every step's documents those whose place is `rank` modulo `ranks`. Places are numbered over all
    /// ranks, so the shares of a step are its documents, each once, and no rank waits for another's files.
    pub fn of_rank(self, rank: usize, ranks: usize) -> Result<Self, TrainError> {
        let batch = self.recipe.run.batch;
        if rank >= ranks || ranks > batch {
            return Err(TrainError::Ranks { rank, ranks, batch });
        }
        Ok(Self { rank, ranks, ..self })
    }

    /// The batch of one step, in the recipe's number of shards.
    pub fn batch(&mut self, step: u64) -> Result<Vec<HostBatch>, TrainError> {
        let documents = self.documents(step)?;
        in_shards(self.recipe, self.tokenizer, documents, step)
    }

    /// The documents of one step, each with its place; files are read and decoded on all cores.
    pub fn documents(&mut self, step: u64) -> Result<Vec<(Document, u64)>, TrainError> {
        let kinds = self.kinds(step);
        let own = kinds.into_iter().enumerate().skip(self.rank).step_by(self.ranks);
        let errands: Vec<Errand<'a>> =
            own.map(|(place, kind)| self.errand(kind, step, place)).collect();
        let recipe = self.recipe;
        let made = errands.into_par_iter().map(|errand| {
            let document = errand.document(recipe, step);
            document.map(|document| (document, errand.place as u64))
        });
        made.collect()
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

    /// Which record of which source stands at a place of a step.
    fn errand(&mut self, kind: Kind, step: u64, place: usize) -> Errand<'a> {
        let position = step * self.recipe.run.batch as u64 + place as u64;
        let (number, within) = match &mut self.order {
            Some(order) => order.at(position),
            None => (0, position),
        };
        let (part, data) = match self.data {
            DataSet::Mixture(mixture) => {
                let (part, data) = &mixture.parts()[number];
                (Some(part), data)
            }
            plain => (None, plain),
        };
        Errand { place, kind, data, part, index: self.index(number, data, within) }
    }

    /// The record at a position of a source's endless order: every epoch is a shuffle of its own, held as a list unless it is
    /// too long.
    fn index(&mut self, number: usize, data: &DataSet, position: u64) -> u64 {
        let Some(len) = data.len(Split::Train).filter(|len| *len > 0) else {
            return position;
        };
        let (epoch, within) = (position / len, (position % len) as usize);
        let mut rng = stream(self.recipe.seed, Purpose::Order, epoch, number as u64);
        if len > LONGEST_LIST {
            return permuted(within as u64, len, rng.next_u64());
        }
        let held = self.epochs.entry((number, epoch % 2 == 1)).or_insert((u64::MAX, vec![]));
        if held.0 != epoch {
            let mut order: Vec<u32> = (0..len as u32).collect();
            order.shuffle(&mut rng);
            *held = (epoch, order);
        }
        u64::from(held.1[within])
    }
}

impl Errand<'_> {
    fn document(&self, recipe: &Recipe, step: u64) -> Result<Document, TrainError> {
        let mut rng = stream(recipe.seed, Purpose::Example, step, self.place as u64);
        if let DataSet::Glyphs(glyphs) = self.data {
            match self.kind {
                Kind::SameOrDifferent => {
                    return Ok(glyphs.same_or_different(Split::Train, &mut rng));
                }
                Kind::WhichOne => return Ok(glyphs.which_one_is(Split::Train, &mut rng)),
                Kind::Draw | Kind::Read | Kind::Finished => {}
            }
        }
        let mut example = match self.data.record(Split::Train, self.index, &mut rng)? {
            Record::Captioned(example) => example,
            Record::Whole(document) => return Ok(document),
        };
        let kind = match self.part.and_then(|part| part.direction) {
            None => self.kind,
            Some(Direction::Draw) => Kind::Draw,
            Some(Direction::Read) => Kind::Read,
            Some(Direction::Both) if rng.random_bool(0.5) => Kind::Draw,
            Some(Direction::Both) => Kind::Read,
        };
        if self.part.is_some_and(|part| part.flip) && rng.random_bool(0.5) {
            example.image = example.image.mirrored();
        }
        let drop = self.part.and_then(|part| part.caption_drop).unwrap_or(recipe.mix.caption_drop);
        let alone = recipe.vocab == 0;
        if alone || kind == Kind::Draw && rng.random::<f64>() < drop {
            example.caption.clear();
        }
        Ok(kind.document(example))
    }
}

/// Documents, each with its number in the step, in the recipe's number of shards.
pub(crate) fn in_shards(
    recipe: &Recipe,
    tokenizer: &Tokenizer,
    documents: Vec<(Document, u64)>,
    step: u64,
) -> Result<Vec<HostBatch>, TrainError> {
    let wanted = recipe.run.shards.saturating_mul(recipe.run.accumulate);
    let (count, shards) = (documents.len(), wanted.min(documents.len()));
    let mut documents = documents.into_iter();
    (0..shards)
        .map(|shard| {
            let share = (shard + 1) * count / shards - shard * count / shards;
            host_batch(recipe, tokenizer, documents.by_ref().take(share), step)
        })
        .collect()
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
        let sequence = match recipe.vocab {
            0 => Sequence::alone(&document, sequencer.patch, sequencer.positions)?,
            _ => sequencer.complete(&document)?,
        };
        let mut times = stream(recipe.seed, Purpose::Time, step, place);
        let mut noise = stream(recipe.seed, Purpose::Noise, step, place);
        let noise = noised(&sequence, recipe, [&mut times, &mut noise]);
        Ok(Sample { sequence, noise })
    };
    let samples = documents.map(sample).collect::<Result<Vec<_>, TrainError>>()?;
    let numbers = recipe.image.patch * recipe.image.patch * mm_patch::RGB_CHANNELS;
    Ok(HostBatch::pack(&samples, recipe.run.row_tokens, tokenizer.special().pad, numbers))
}

/// Noise for every image of a sequence: learnt ones get a level and noise, the others stay clean.
fn noised<R: rand::Rng>(
    sequence: &Sequence,
    recipe: &Recipe,
    [times, noise]: [&mut R; 2],
) -> Vec<ImageNoise> {
    let process = ForwardProcess {
        schedule: recipe.model.schedule,
        timesteps: recipe.loss.timesteps,
        weight: recipe.loss.weight,
    };
    sequence
        .images
        .iter()
        .map(|span| {
            if !span.learn {
                return ImageNoise::none(&process.schedule);
            }
            let (uniform, normal) = (times.random::<f64>(), times.sample::<f64, _>(StandardNormal));
            process.draw(uniform, normal, normals(noise, span.patches.len()))
        })
        .collect()
}

//! The documents of a training step: which records of a source, in which order, and what is made of
//! them.

use std::collections::BTreeMap;

use mm_model::Document;
use mm_model::random::{Purpose, stream};
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use rayon::prelude::*;

use crate::error::DataError;
use crate::mixture::{MixtureSet, Order, Part};
use crate::permutation::permuted;
use crate::record::Record;
use crate::source::DataSet;
use crate::split::Split;
use crate::task::{MixConfig, Task};

/// Sources of at most so many records have their shuffled order held as a list; the order of larger
/// sources is computed record by record.
const LONGEST_LIST: u64 = 1 << 24;

/// What decides the documents of a run beside its data.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplerConfig {
    /// The shares of the tasks.
    pub mix: MixConfig,
    /// The seed of the order and of the examples.
    pub seed: u64,
    /// The number of steps over which shares change.
    pub steps: u64,
    /// Documents in a step, over all ranks.
    pub batch: usize,
    /// Whether documents hold images without captions.
    pub image_only: bool,
}

/// A document and its index in the step, which selects its random streams.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbered {
    /// The document.
    pub document: Document,
    /// Its index in the step, counted over all ranks.
    pub index: u64,
}

/// Chooses the documents of every step, or one rank's share of them.
///
/// ```
/// use mm_data::{DataConfig, DataSet, DocumentSampler, ImageSettings, MixConfig, SamplerConfig};
///
/// let config: DataConfig = toml::from_str("source = 'glyphs'").unwrap();
/// let data = DataSet::open(&config, ImageSettings { width: 16, height: 16, patch: 4 })?;
/// let mix: MixConfig =
///     toml::from_str("draw = [1.0, 1.0]\nread = [1.0, 1.0]\ncaption_drop = 0.1").unwrap();
/// let config = SamplerConfig { mix, seed: 0, steps: 100, batch: 8, image_only: false };
///
/// let whole = DocumentSampler::new(config.clone(), &data).documents(3)?;
/// assert_eq!(whole.len(), 8);
/// let mut share = DocumentSampler::new(config, &data).of_rank(1, 2); // of two ranks
/// assert_eq!(share.documents(3)?[0], whole[1]);
/// # Ok::<(), mm_data::DataError>(())
/// ```
#[derive(Debug)]
pub struct DocumentSampler<'a> {
    config: SamplerConfig,
    data: &'a DataSet,
    mixture: Option<&'a MixtureSet>,
    rank: usize,
    ranks: usize,
    /// Which source of a mixture stands at a position.
    order: Option<Order<'a>>,
    /// The shuffled order of the epochs used last, by source and by whether the epoch is odd.
    epochs: BTreeMap<(usize, bool), Epoch>,
}

/// The shuffled order of one epoch.
#[derive(Debug)]
struct Epoch {
    number: u64,
    order: Vec<u32>,
}

/// A document to be made: everything that does not depend on the files.
struct DocumentSpec<'a> {
    /// The index in the step.
    index: usize,
    task: Task,
    data: &'a DataSet,
    /// The source in a mixture, with its settings.
    part: Option<&'a Part<DataSet>>,
    record: u64,
}

impl<'a> DocumentSampler<'a> {
    /// Samples documents of `data`.
    pub fn new(config: SamplerConfig, data: &'a DataSet) -> Self {
        let mixture = data.downcast_ref::<MixtureSet>();
        let order = mixture.map(|mixture| mixture.order(config.seed));
        Self { config, data, mixture, rank: 0, ranks: 1, order, epochs: BTreeMap::new() }
    }

    /// Restricts the sampler to one rank: it makes those documents of every step whose index is
    /// `rank` modulo `ranks`. The shares of the ranks are the step's documents, each once, and no
    /// rank reads another's files.
    ///
    /// # Panics
    ///
    /// Panics unless `rank < ranks`.
    pub fn of_rank(self, rank: usize, ranks: usize) -> Self {
        assert!(rank < ranks, "rank {rank} of {ranks}");
        Self { rank, ranks, ..self }
    }

    /// Returns the documents of one step; files are read and decoded on all cores.
    pub fn documents(&mut self, step: u64) -> Result<Vec<Numbered>, DataError> {
        let SamplerConfig { seed, steps, batch, .. } = self.config;
        let tasks = self.config.mix.tasks(seed, step, steps, batch);
        let own = tasks.into_iter().enumerate().skip(self.rank).step_by(self.ranks);
        let specs: Vec<DocumentSpec<'a>> =
            own.map(|(index, task)| self.spec(task, step, index)).collect();
        let config = &self.config;
        let made = specs.into_par_iter().map(|spec| {
            let document = spec.document(config, step);
            document.map(|document| Numbered { document, index: spec.index as u64 })
        });
        made.collect()
    }

    /// Chooses the record of a document of a step.
    fn spec(&mut self, task: Task, step: u64, index: usize) -> DocumentSpec<'a> {
        let position = step * self.config.batch as u64 + index as u64;
        let (number, within) = match &mut self.order {
            Some(order) => order.at(position),
            None => (0, position),
        };
        let part = self.mixture.map(|mixture| &mixture.parts()[number]);
        let data = part.map_or(self.data, |part| &part.data);
        DocumentSpec { index, task, data, part, record: self.record(number, data, within) }
    }

    /// Returns the record at a position of a source's endless order: every epoch is a shuffle of
    /// its own.
    fn record(&mut self, number: usize, data: &DataSet, position: u64) -> u64 {
        let Some(len) = data.len(Split::Train).filter(|len| *len > 0) else {
            return position;
        };
        let (epoch, within) = (position / len, (position % len) as usize);
        let mut rng = stream(self.config.seed, Purpose::Order, epoch, number as u64);
        if len > LONGEST_LIST {
            return permuted(within as u64, len, rng.next_u64());
        }
        let held = self
            .epochs
            .entry((number, epoch % 2 == 1))
            .or_insert(Epoch { number: u64::MAX, order: vec![] });
        if held.number != epoch {
            let mut order: Vec<u32> = (0..len as u32).collect();
            order.shuffle(&mut rng);
            *held = Epoch { number: epoch, order };
        }
        u64::from(held.order[within])
    }
}

impl DocumentSpec<'_> {
    fn document(&self, config: &SamplerConfig, step: u64) -> Result<Document, DataError> {
        let mut rng = stream(config.seed, Purpose::Example, step, self.index as u64);
        if let Some(pair) = self.data.pair_document(self.task, Split::Train, &mut rng) {
            return Ok(pair);
        }
        let mut example = match self.data.record(Split::Train, self.record, &mut rng)? {
            Record::Captioned(example) => example,
            Record::Whole(document) => return Ok(document),
        };
        let task = self.part.and_then(|part| part.direction).unwrap_or(self.task);
        let task = task.settled(&mut rng);
        if self.part.is_some_and(|part| part.flip) && rng.random_bool(0.5) {
            example.image = example.image.mirrored();
        }
        let drop = self.part.and_then(|part| part.caption_drop).unwrap_or(config.mix.caption_drop);
        if config.image_only || task == Task::Draw && rng.random::<f64>() < drop {
            example.caption.clear();
        }
        Ok(task.document(example))
    }
}

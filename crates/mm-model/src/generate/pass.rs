//! One call of the network as a value, so that calls of several documents can share a pass.
//!
//! ```text
//! session ──► NetworkCall ──► Network ──► LoadedModel::pass(calls of all) ──► NetworkAnswer ──► session
//! ```

#[cfg(test)]
pub(super) mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use burn::prelude::*;
use mm_backbone::{BlockOptions, Cache, KeyRanges, KeyValue, Precision};
use mm_kernels::has_fused_blocks;
use mm_patch::Grid;

use crate::batch::{Inputs, Jump, Patches};
use crate::{ImageLayout, LoadedModel, Model, ModelConfig, Sequence};

/// Who computes a document's passes through the network. A [`LoadedModel`] does it itself; a server
/// hands in one of these, which waits for the calls of other documents and
/// [runs them together](LoadedModel::pass).
///
/// The methods are called by the thread that generates. They return what the same model returns,
/// or unwind to end the generation.
pub trait Network: fmt::Debug + Sync {
    /// Runs one call.
    fn call(&self, call: NetworkCall) -> NetworkAnswer;

    /// Computes the keys and values of a prompt.
    fn prompt(&self, prompt: &Sequence) -> Prefix;
}

/// Tokens of one or several rows that the network is to compute behind what is cached of them.
#[derive(Debug, Clone)]
pub struct NetworkCall {
    pub(super) document: u64,
    pub(super) prefix: Arc<Cache>,
    pub(super) rows: usize,
    pub(super) step: Step,
    pub(super) ask: Ask,
}

/// What is asked of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// Keys and values, and of each row's last token the hidden state, from which logits are made.
    Word,
    /// Keys and values alone.
    Append,
    /// The network's output at the patches of one image a row, all of this grid.
    Output(Grid),
}

/// What the network computed of a [`NetworkCall`].
#[derive(Debug, Clone)]
pub struct NetworkAnswer {
    /// Hidden states of each row's last token, `[rows, width]`, or the output at all patches,
    /// `[rows * patches, patch_dim]`.
    pub(super) output: Tensor<2>,
    /// The logits of each row's next token, `[rows, vocab]`, where they were asked for.
    pub(super) logits: Option<Tensor<2>>,
    pub(super) new: Vec<KeyValue>,
}

/// The keys and values of one prompt, and what its last token leads to.
#[derive(Debug, Clone)]
pub struct Prefix {
    pub(super) cache: Arc<Cache>,
    /// `[1, width]`
    pub(super) hidden: Tensor<2>,
    /// `[1, vocab]`, for models with text.
    pub(super) logits: Option<Tensor<2>>,
}

/// What a prompt has in common with one whose keys and values are there.
#[derive(Debug, Clone, Copy)]
pub struct KnownTokens<'a> {
    /// The keys and values of the other prompt.
    pub prefix: &'a Prefix,
    /// The tokens at the start of both, see [`Sequence::shared_tokens`].
    pub tokens: usize,
}

/// A run of places that every row appends at once.
#[derive(Debug, Clone, Default)]
pub(super) struct Step {
    pub ids: Vec<u32>,
    pub positions: Vec<[f64; 2]>,
    pub ranges: Vec<[u32; 2]>,
    pub images: Option<StepImages>,
}

/// The images of a [`Step`].
#[derive(Debug, Clone)]
pub(super) struct StepImages {
    /// The patches of all images, `[patches, patch_dim]`.
    pub noisy: Tensor<2>,
    pub grids: Vec<Grid>,
    pub timesteps: Vec<f64>,
    pub classes: Vec<Option<u32>>,
    /// One for each image; only a distilled network looks at them.
    pub jumps: Vec<Jump>,
    /// The place of each image's first patch in the flattened rows.
    pub starts: Vec<usize>,
}

/// Which calls of a model may share a pass without changing a bit of any answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joining {
    /// All that append as many tokens.
    Any,
    /// Those whose cached rows are equally long too.
    EqualPrefix,
    /// None: the device chooses its kernels by the number of rows.
    Never,
}

/// The number of a document in progress, whose cached rows nobody else extends. A clone is another
/// document, since it may go on in another way.
#[derive(Debug)]
pub(super) struct DocumentId(u64);

impl DocumentId {
    pub fn number(&self) -> u64 {
        self.0
    }
}

impl Default for DocumentId {
    fn default() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl Clone for DocumentId {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// Joined caches of the calls that were run last, so that rows that go on side by side are joined
/// once: denoising calls of one image all follow the same prefix, and what a pass appends to its
/// rows is appended to their joined cache too. Calls have to come in the same order each time.
#[derive(Debug, Default)]
pub struct JoinedPrefixes {
    kept: Vec<Joined>,
    /// The documents that were joined last.
    latest: Vec<u64>,
}

#[derive(Debug)]
struct Joined {
    parts: Vec<Part>,
    whole: Arc<Cache>,
}

/// The rows of a document up to some length, of which there is only one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    document: u64,
    tokens: usize,
}

impl Part {
    fn of(call: &&NetworkCall) -> Self {
        Self { document: call.document, tokens: call.prefix.tokens() }
    }
}

/// The most joined caches that are kept.
const KEPT: usize = 4;

impl JoinedPrefixes {
    /// Forgets all.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Returns the joined cache of the calls' rows.
    fn join(&mut self, calls: &[&NetworkCall]) -> Arc<Cache> {
        let parts = || calls.iter().map(Part::of);
        let is_of = |kept: &Joined| kept.parts.iter().copied().eq(parts());
        if let Some(at) = self.kept.iter().position(is_of) {
            return self.kept[at].whole.clone();
        }
        let caches: Vec<&Cache> = calls.iter().map(|call| &*call.prefix).collect();
        let whole = Arc::new(Cache::join(&caches));
        let documents: Vec<u64> = calls.iter().map(|call| call.document).collect();
        let stay = matches!(calls[0].ask, Ask::Output(_)) || documents == self.latest;
        self.latest = documents;
        if !stay {
            return whole; // rows come and go: to extend this too would be work for nothing
        }
        if self.kept.len() == KEPT {
            self.kept.remove(0);
        }
        self.kept.push(Joined { parts: parts().collect(), whole: whole.clone() });
        whole
    }

    /// Appends to the joined cache of the calls' rows what a pass returned for them, as each
    /// document will do.
    fn append(&mut self, calls: &[&NetworkCall], new: &[KeyValue]) {
        let parts = || calls.iter().map(Part::of);
        let Some(added) = new.first().map(KeyValue::tokens) else { return };
        let found = self.kept.iter_mut().find(|kept| kept.parts.iter().copied().eq(parts()));
        let Some(Joined { parts, whole }) = found else { return };
        Arc::make_mut(whole).append(new.to_vec());
        parts.iter_mut().for_each(|part| part.tokens += added);
    }
}

impl NetworkCall {
    /// Returns the number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the number of the document that asks, which all its calls share.
    pub fn document(&self) -> u64 {
        self.document
    }

    /// Says whether this call and another of the same model may share a pass.
    pub fn joins(&self, other: &Self, joining: Joining) -> bool {
        let tokens = |call: &Self| call.step.ids.len() / call.rows;
        let prefixes = [self.prefix.tokens(), other.prefix.tokens()];
        let like = match (self.ask, other.ask) {
            (Ask::Output(grid), Ask::Output(other)) => grid == other,
            (Ask::Output(_), _) | (_, Ask::Output(_)) => false,
            _ => tokens(self) == tokens(other),
        };
        let padded = match joining {
            // Padding costs memory, so that lengths are to be near each other.
            Joining::Any => prefixes[0].max(prefixes[1]) <= 2 * prefixes[0].min(prefixes[1]) + 256,
            Joining::EqualPrefix => prefixes[0] == prefixes[1],
            Joining::Never => false,
        };
        like && padded && self.prefix.is_empty() == other.prefix.is_empty()
    }

    /// Runs this call alone, without logits.
    pub(super) fn answer(
        &self,
        model: &Model,
        config: &ModelConfig,
        precision: Precision,
    ) -> NetworkAnswer {
        let mut inputs = self.inputs(model, config);
        inputs.options.precision = precision;
        let tokens = inputs.tokens;
        if let Ask::Output(grid) = self.ask {
            let hidden = model.hidden_behind(&inputs, &self.prefix);
            let output = model.patches(hidden, &vec![grid; self.rows]);
            return NetworkAnswer { output, logits: None, new: vec![] };
        }
        let (hidden, new) = model.hidden_cached(&inputs, &self.prefix);
        let last: Vec<i32> = (1..=self.rows).map(|row| (row * tokens - 1) as i32).collect();
        let output = hidden.select(0, ints(last, &model.device()));
        NetworkAnswer { output, logits: None, new }
    }

    /// Joins calls that may share a pass.
    fn join(calls: &[&Self], joined: &mut JoinedPrefixes) -> Self {
        let prefix = joined.join(calls);
        let mut step = Step::default();
        let (mut noisy, mut grids, mut timesteps, mut starts) = (vec![], vec![], vec![], vec![]);
        let mut classes = vec![];
        let mut jumps = vec![];
        for call in calls {
            let pad = (prefix.tokens() - call.prefix.tokens()) as u32;
            if let Some(images) = &call.step.images {
                noisy.push(images.noisy.clone());
                grids.extend(&images.grids);
                timesteps.extend(&images.timesteps);
                classes.extend(&images.classes);
                jumps.extend(&images.jumps);
                starts.extend(images.starts.iter().map(|start| start + step.ids.len()));
            }
            step.ids.extend(&call.step.ids);
            step.positions.extend(&call.step.positions);
            step.ranges.extend(call.step.ranges.iter().map(|range| range.map(|at| at + pad)));
        }
        if !noisy.is_empty() {
            let noisy = Tensor::cat(noisy, 0);
            step.images = Some(StepImages { noisy, grids, timesteps, classes, jumps, starts });
        }
        let rows = calls.iter().map(|call| call.rows).sum();
        let any_word = calls.iter().any(|call| call.ask == Ask::Word);
        let ask = if any_word { Ask::Word } else { calls[0].ask };
        Self { document: calls[0].document, prefix, rows, step, ask }
    }

    fn inputs(&self, model: &Model, config: &ModelConfig) -> Inputs {
        let (device, step) = (model.device(), &self.step);
        let (rows, tokens) = (self.rows, step.ids.len() / self.rows);
        let keys = self.prefix.tokens() + tokens;
        let ranges =
            KeyRanges::new(rows, keys, step.ranges.clone()).expect("every place sees itself");
        let ids = step.ids.iter().map(|&id| id as i32).collect();
        Inputs {
            rows,
            tokens,
            ids: ints(ids, &device),
            patches: step
                .images
                .as_ref()
                .map(|images| images.patches(step.ids.len(), config.network.layout(), &device)),
            context: config.network.attention_context(&step.positions, ranges, &device),
            options: BlockOptions::default(),
        }
    }
}

impl StepImages {
    /// Says of every patch which image it belongs to, where it stands there, and at which of so
    /// many places.
    fn patches(&self, places: usize, layout: ImageLayout, device: &Device) -> Patches {
        let mut source: Vec<i32> = (0..places as i32).collect();
        let (mut image, mut at) = (vec![], [vec![], vec![]]);
        for (index, (grid, &start)) in self.grids.iter().zip(&self.starts).enumerate() {
            let first = places + image.len() * layout.places_of_patch(*grid);
            for (place, item) in layout.items(*grid).into_iter().enumerate() {
                source[start + place] = (first + item) as i32;
            }
            for patch in 0..grid.tokens() {
                image.push(index as i32);
                at[0].push((patch / grid.cols) as i32);
                at[1].push((patch % grid.cols) as i32);
            }
        }
        Patches {
            noisy: self.noisy.clone(),
            timesteps: self.timesteps.clone(),
            classes: self.classes.clone(),
            jumps: self.jumps.clone(),
            grids: self.grids.clone(),
            image: ints(image, device),
            at: at.map(|at| ints(at, device)),
            source: ints(source, device),
        }
    }
}

impl LoadedModel {
    /// Says which calls of this model may share a pass.
    pub fn joining(&self) -> Joining {
        if !has_fused_blocks(&self.model.device()) {
            return Joining::Never;
        }
        match self.config.network.unified() {
            Some(unified) if unified.backbone.block.is_conditioned() => Joining::EqualPrefix,
            _ => Joining::Any,
        }
    }

    /// Runs calls as one pass, all of which must [join](NetworkCall::joins) the first.
    pub fn pass(&self, calls: &[&NetworkCall], joined: &mut JoinedPrefixes) -> Vec<NetworkAnswer> {
        let [one] = calls else {
            let all = NetworkCall::join(calls, joined);
            let whole = self.answer(&all);
            drop(all);
            joined.append(calls, &whole.new);
            return whole.split(calls);
        };
        vec![self.answer(one)]
    }

    /// Runs one call, with logits where they are asked for.
    pub(super) fn answer(&self, call: &NetworkCall) -> NetworkAnswer {
        let mut answer = call.answer(&self.model, &self.config, self.generation.precision);
        if call.ask == Ask::Word && self.model.knows_text() {
            answer.logits = Some(self.model.logits(answer.output.clone()));
        }
        answer
    }
}

impl Prefix {
    /// Returns how many values are kept.
    pub fn values(&self) -> usize {
        self.cache.values()
    }
}

impl Sequence {
    /// Returns how many of its first tokens stand at the start of another sequence too, so that
    /// their keys and values are the same. No image is cut.
    pub fn shared_tokens(&self, other: &Self) -> usize {
        let like = |at: usize| {
            self.ids[at] == other.ids[at]
                && self.positions[at] == other.positions[at]
                && self.ranges[at] == other.ranges[at]
        };
        let most = self.len().min(other.len());
        let mut shared = (0..most).find(|&at| !like(at)).unwrap_or(most);
        let mut images = self.images.iter().zip(&other.images);
        if let Some((first, _)) = images.find(|(own, other)| own != other) {
            shared = shared.min(first.start);
        }
        let (count, others) = (self.images.len(), other.images.len());
        for image in self.images.iter().skip(others).chain(other.images.iter().skip(count)) {
            shared = shared.min(image.start);
        }
        for image in &self.images {
            if image.places().contains(&shared) {
                shared = image.start;
            }
        }
        shared
    }
}

impl NetworkAnswer {
    /// Cuts the answer of joined calls into that of each.
    fn split(self, calls: &[&NetworkCall]) -> Vec<Self> {
        let rows: usize = calls.iter().map(|call| call.rows).sum();
        let each = self.output.dims()[0] / rows;
        let mut first = 0;
        let mut answers = Vec::with_capacity(calls.len());
        for call in calls {
            let of = |x: &Tensor<4>| x.clone().narrow(0, first, call.rows);
            let new = self.new.iter();
            answers.push(Self {
                output: self.output.clone().narrow(0, first * each, call.rows * each),
                logits: self.logits.as_ref().map(|all| all.clone().narrow(0, first, call.rows)),
                new: new
                    .map(|new| KeyValue { keys: of(&new.keys), values: of(&new.values) })
                    .collect(),
            });
            first += call.rows;
        }
        answers
    }
}

pub(super) fn ints(numbers: Vec<i32>, device: &Device) -> Tensor<1, Int> {
    let count = numbers.len();
    Tensor::from_data(TensorData::new(numbers, [count]), device)
}

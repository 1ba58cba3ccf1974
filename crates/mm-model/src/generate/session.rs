//! Documents in progress: the cached prefix of several rows, extended by tokens, images and
//! denoising steps.
//!
//! Rows whose prompts differ in length are padded on the left, so that each row attends one
//! unbroken range of keys.

use std::sync::Arc;

use burn::prelude::*;
use mm_backbone::{Cache, Positions, Precision};
use mm_diffusion::Level;
use mm_patch::Grid;

use super::pass::{
    Ask, DocumentId, KnownTokens, Network, NetworkAnswer, NetworkCall, Prefix, Step, StepImages,
};
use crate::batch::Jump;
use crate::{Document, GenerateError, ImageLayout, LoadedModel, Model, ModelConfig, Sequence};

/// Several documents that are continued together: text token by token, images all patches at once.
///
/// ```
/// use burn::prelude::*;
/// use mm_diffusion::Level;
/// use mm_model::{Document, GenerationSession, LoadedModel};
///
/// /// Euler's method in four lines: any function over `denoise` is a sampler.
/// fn draw(model: &LoadedModel, levels: &[Level], z: Tensor<3>) -> Tensor<3> {
///     let prompt = Document::of_text("red K on yellow");
///     let grid = model.grid().expect("whole patches");
///     let session = GenerationSession::before_image(model, &[prompt], grid).expect("a prompt");
///     let clean_level = model.config.schedule.clean_level();
///     let mut z = z; // [rows, patches, patch_dim]
///     for (now, next) in levels.iter().zip(levels.iter().skip(1).chain([&clean_level])) {
///         let clean = session.denoise(z.clone(), grid, now);
///         let eps = now.eps_in(z, clean.clone());
///         z = next.noised_tensor(clean, eps);
///     }
///     z
/// }
/// ```
#[derive(Debug, Clone)]
pub struct GenerationSession<'a> {
    model: &'a LoadedModel,
    rows: CachedRows<'a>,
    /// Hidden states of each row's last token, `[rows, channels]`.
    hidden: Tensor<2>,
    /// Logits of each row's next token, where the network has made them.
    logits: Option<Tensor<2>>,
}

impl<'a> GenerationSession<'a> {
    /// Starts after the prompts, where text comes next.
    pub fn after_prompts(
        model: &'a LoadedModel,
        prompts: &[Document],
    ) -> Result<Self, GenerateError> {
        let sequencer = model.sequencer();
        let prompts: Vec<Sequence> =
            prompts.iter().map(|prompt| sequencer.prompt(prompt)).collect::<Result<_, _>>()?;
        Self::after(model, &prompts)
    }

    /// Starts after the prompts and the tokens that open an image of `grid`, so that this image
    /// comes next in every row.
    pub fn before_image(
        model: &'a LoadedModel,
        prompts: &[Document],
        grid: Grid,
    ) -> Result<Self, GenerateError> {
        if !model.config.draws() {
            return Err(GenerateError::OnlyReads);
        }
        let prompts: Vec<Sequence> = prompts
            .iter()
            .map(|prompt| model.drawing_prompt(prompt, grid))
            .collect::<Result<_, _>>()?;
        Self::after(model, &prompts)
    }

    /// Starts after sequences of tokens.
    fn after(model: &'a LoadedModel, prompts: &[Sequence]) -> Result<Self, GenerateError> {
        if prompts.is_empty() {
            return Err(GenerateError::NoPrompt);
        }
        let (rows, hidden) =
            CachedRows::prefill(&model.model, &model.config, model.generation.precision, prompts);
        Ok(Self { model, rows, hidden, logits: None })
    }

    /// Starts so many rows after one sequence of tokens, with passes through `network`.
    pub(super) fn through(
        network: &'a dyn Network,
        model: &'a LoadedModel,
        prompt: &Sequence,
        rows: usize,
    ) -> Self {
        let Prefix { cache, hidden, logits } = network.prompt(prompt);
        let cached = CachedRows {
            network: Some(network),
            cache: if rows == 1 { cache } else { Arc::new(Cache::join(&vec![&*cache; rows])) },
            rows: vec![Row::after(prompt); rows],
            precision: model.generation.precision,
            ..CachedRows::before(&model.model, &model.config, Cache::new())
        };
        let copies = |one: Tensor<2>| one.repeat_dim(0, rows);
        Self { model, rows: cached, hidden: copies(hidden), logits: logits.map(copies) }
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> usize {
        self.rows.rows.len()
    }

    /// Returns the model.
    pub fn model(&self) -> &'a LoadedModel {
        self.model
    }

    /// Returns the logits of the next token of every row, `[rows, vocab]`. Only for models with
    /// text.
    pub fn logits(&self) -> Tensor<2> {
        let made = self.logits.clone();
        made.unwrap_or_else(|| self.model.model.logits(self.hidden.clone()))
    }

    /// Appends one token to every row.
    pub fn push_tokens(&mut self, ids: &[u32]) {
        let answer = self.rows.push(ids);
        (self.hidden, self.logits) = (answer.output, answer.logits);
    }

    /// Estimates the clean patches of one image a row that comes next, without guidance:
    /// `[rows, patches, patch_dim]` -> the same shape. Nothing is appended.
    pub fn denoise(&self, noisy: Tensor<3>, grid: Grid, level: &Level) -> Tensor<3> {
        self.rows.clean(noisy, grid, level)
    }

    /// Returns the hidden states of each row's last token, `[rows, channels]`.
    pub(super) fn last_hidden(&self) -> Tensor<2> {
        self.hidden.clone()
    }

    /// Takes the places of the image of `grid` that comes next in every row, one list a row.
    pub(super) fn place_image(&mut self, layout: ImageLayout, grid: Grid) -> Vec<Vec<[f64; 2]>> {
        let rows = self.rows.rows.iter_mut();
        rows.map(|row| layout.positions(&mut row.next, grid)).collect()
    }

    /// Appends one token to every row, at these places on the plane.
    pub(super) fn push_at(&mut self, ids: &[u32], positions: Vec<[f64; 2]>) {
        let answer = self.rows.push_at(ids, positions);
        (self.hidden, self.logits) = (answer.output, answer.logits);
    }

    /// Returns the network's output, `[rows * places, numbers]`, at one image of `grid` a row that
    /// comes next, whose places hold these tokens. Nothing is appended.
    pub(super) fn image_output(
        &self,
        ids: &[Vec<u32>],
        positions: &[Vec<[f64; 2]>],
        grid: Grid,
    ) -> Tensor<2> {
        self.rows.call(self.rows.token_step(ids, positions), Ask::Output(grid)).output
    }

    /// Appends one image to every row, whose places hold these tokens.
    pub(super) fn push_codes(&mut self, ids: &[Vec<u32>], positions: &[Vec<[f64; 2]>]) {
        self.rows.append(self.rows.token_step(ids, positions), Ask::Append);
    }

    /// Appends one finished image to every row, `[rows, patches, patch_dim]`, as a clean image.
    pub fn push_image(&mut self, clean: Tensor<3>, grid: Grid) {
        self.rows.push_image(clean, grid);
    }

    /// Returns the cached rows, for the sampler of an image.
    pub(super) fn cached(&self) -> &CachedRows<'a> {
        &self.rows
    }
}

impl LoadedModel {
    /// Computes the keys and values of a prompt; those of its first tokens may be `known` from a
    /// prompt that [begins alike](Sequence::shared_tokens).
    pub fn prefill(&self, prompt: &Sequence, known: Option<KnownTokens<'_>>) -> Prefix {
        let mut cache = Cache::new();
        let mut from = 0;
        if let Some(KnownTokens { prefix, tokens }) = known {
            cache = (*prefix.cache).clone();
            from = tokens.min(prompt.len().saturating_sub(1));
            cache.truncate(from);
        }
        let rows = CachedRows::before(&self.model, &self.config, cache);
        let Some(call) = rows.prompt_call(prompt, from) else {
            let hidden = Tensor::zeros([1, self.config.network.width()], &self.model.device());
            return Prefix { cache: rows.into_cache(), hidden, logits: None };
        };
        let NetworkAnswer { output, logits, new } = self.answer(&call);
        drop(call);
        let mut cache = rows.into_cache();
        Arc::make_mut(&mut cache).append(new);
        Prefix { cache, hidden: output, logits }
    }
}

/// The cache of some rows, and what is needed to extend it.
#[derive(Debug, Clone)]
pub(super) struct CachedRows<'a> {
    model: &'a Model,
    config: &'a ModelConfig,
    /// The type that blocks multiply in, where no network runs the passes.
    precision: Precision,
    device: Device,
    /// Who runs the passes; the model itself, if it is nobody else.
    network: Option<&'a dyn Network>,
    document: DocumentId,
    cache: Arc<Cache>,
    rows: Vec<Row>,
}

#[derive(Debug, Clone)]
struct Row {
    /// Padding on the left; the document starts here.
    start: u32,
    next: Positions,
    /// The class of its images.
    class: Option<u32>,
}

impl Row {
    /// Begins behind a prompt, without padding.
    fn after(prompt: &Sequence) -> Self {
        Self { start: 0, next: prompt.next.clone(), class: prompt.class }
    }
}

impl<'a> CachedRows<'a> {
    /// Begins no row, or with what is cached of one.
    pub(super) fn before(model: &'a Model, config: &'a ModelConfig, cache: Cache) -> Self {
        let (device, cache) = (model.device(), Arc::new(cache));
        let (precision, document) = (Precision::F32, DocumentId::default());
        Self { model, config, precision, device, network: None, document, cache, rows: vec![] }
    }

    /// Returns the keys and values of all rows.
    pub(super) fn into_cache(self) -> Arc<Cache> {
        self.cache
    }

    /// Computes the prompts' prefix; returns the decoder and the hidden states of each prompt's
    /// last place, `[rows, width]`.
    pub(super) fn prefill(
        model: &'a Model,
        config: &'a ModelConfig,
        precision: Precision,
        prompts: &[Sequence],
    ) -> (Self, Tensor<2>) {
        let longest = prompts.iter().map(Sequence::len).max().expect("at least one prompt");
        let row = |prompt: &Sequence| Row {
            start: (longest - prompt.len()) as u32,
            ..Row::after(prompt)
        };
        let rows: Vec<Row> = prompts.iter().map(row).collect();
        let mut cached = Self { rows, precision, ..Self::before(model, config, Cache::new()) };
        if longest == 0 {
            let nothing = Tensor::zeros([prompts.len(), config.network.width()], &cached.device);
            return (cached, nothing); // image-only: there is no prefix
        }
        let step = cached.prefix(prompts, longest);
        let hidden = cached.append(step, Ask::Word).output;
        (cached, hidden)
    }

    /// Computes the prefix of one more prompt, with the passes of these rows.
    pub(super) fn prefill_beside(&self, prompt: &Sequence) -> Self {
        let Some(network) = self.network else {
            let prompts = std::slice::from_ref(prompt);
            return Self::prefill(self.model, self.config, self.precision, prompts).0;
        };
        let rows = vec![Row::after(prompt)];
        Self { cache: network.prompt(prompt).cache, rows, ..self.clone() }
    }

    /// Returns the call that computes a prompt whose first `from` tokens are the cached ones;
    /// nothing if no token is left.
    pub(super) fn prompt_call(&self, prompt: &Sequence, from: usize) -> Option<NetworkCall> {
        if prompt.len() == from {
            return None;
        }
        let rest = |image: &&crate::ImageSpan| image.start >= from;
        let rest = Sequence {
            ids: prompt.ids[from..].to_vec(),
            positions: prompt.positions[from..].to_vec(),
            ranges: prompt.ranges[from..].to_vec(),
            images: prompt.images.iter().filter(rest).cloned().collect(),
            targets: vec![],
            next: prompt.next.clone(),
            class: prompt.class,
        };
        let mut step = Self { rows: vec![Row::after(prompt)], ..self.clone() }
            .prefix(std::slice::from_ref(&rest), rest.len());
        for start in step.images.iter_mut().flat_map(|images| &mut images.starts) {
            *start -= from;
        }
        let (document, prefix) = (self.document.number(), self.cache.clone());
        Some(NetworkCall { document, prefix, rows: 1, step, ask: Ask::Word })
    }

    /// Returns these rows followed by a copy of the one row of `other` for each of them. Shorter
    /// prefixes are padded on the left.
    pub(super) fn with_copies_of(&self, other: &CachedRows<'a>) -> Self {
        let tokens = self.cache.tokens().max(other.cache.tokens());
        let padded = |row: &Row, cache: &Cache| Row {
            start: row.start + (tokens - cache.tokens()) as u32,
            ..row.clone()
        };
        let mut rows: Vec<Row> = self.rows.iter().map(|row| padded(row, &self.cache)).collect();
        rows.resize(2 * self.rows.len(), padded(&other.rows[0], &other.cache));
        let cache = Arc::new(self.cache.with_copies_of(&other.cache, self.rows.len()));
        Self { cache, rows, ..self.clone() }
    }

    /// Appends one token a row; hidden states of those places, `[rows, width]`.
    #[cfg(test)]
    pub(super) fn push_tokens(&mut self, ids: &[u32]) -> Tensor<2> {
        self.push(ids).output
    }

    /// Appends one token a row.
    fn push(&mut self, ids: &[u32]) -> NetworkAnswer {
        let positions = self.rows.iter_mut().map(|row| row.next.text()).collect();
        self.push_at(ids, positions)
    }

    /// Appends one token a row, at these places on the plane.
    fn push_at(&mut self, ids: &[u32], positions: Vec<[f64; 2]>) -> NetworkAnswer {
        let end = self.cache.tokens() as u32 + 1;
        let ranges = self.rows.iter().map(|row| [row.start, end]).collect();
        let step = Step { ids: ids.to_vec(), positions, ranges, images: None };
        self.append(step, Ask::Word)
    }

    /// The network's output for noisy patches of one image a row that comes next, asked for no
    /// step: `[rows, patches, numbers]` -> the same shape. Nothing is appended.
    #[cfg(test)]
    pub(super) fn denoise(&self, noisy: Tensor<3>, grid: Grid, time: f64) -> Tensor<3> {
        self.denoise_by(noisy, grid, time, Jump::default())
    }

    /// The network's output for noisy patches of one image a row that comes next, of a step of
    /// which a distilled network is told: `[rows, patches, numbers]` -> the same shape. Nothing is
    /// appended.
    fn denoise_by(&self, noisy: Tensor<3>, grid: Grid, time: f64, jump: Jump) -> Tensor<3> {
        let shape = noisy.dims();
        let step = self.image_step(noisy, grid, time, jump);
        self.call(step, Ask::Output(grid)).output.reshape(shape)
    }

    /// The clean patches that the network estimates behind noisy ones: `[rows, patches, numbers]`
    /// -> the same shape.
    pub(super) fn clean(&self, noisy: Tensor<3>, grid: Grid, level: &Level) -> Tensor<3> {
        self.clean_by(noisy, grid, level, Jump::default())
    }

    /// Does what [`Self::clean`] does, `[rows, patches, numbers]` -> the same shape, and tells a
    /// distilled network of a step: then it estimates where the whole step leads to.
    pub(super) fn clean_by(
        &self,
        noisy: Tensor<3>,
        grid: Grid,
        level: &Level,
        jump: Jump,
    ) -> Tensor<3> {
        let output = self.denoise_by(noisy.clone(), grid, level.timestep, jump);
        let clean = self.config.prediction.to_clean_at(output, noisy.clone(), level);
        self.config.network.limited(clean, noisy, level)
    }

    /// Appends one finished image a row, `[rows, patches, numbers]`, as clean.
    pub(super) fn push_image(&mut self, clean: Tensor<3>, grid: Grid) {
        let time = self.config.schedule.clean_timestep();
        let step = self.image_step(clean, grid, time, Jump::default());
        self.append(step, Ask::Append);
        for row in &mut self.rows {
            row.next.image(grid.rows, grid.cols);
        }
    }

    /// One image a row as one run of places, which hold tokens and see each other.
    fn token_step(&self, ids: &[Vec<u32>], positions: &[Vec<[f64; 2]>]) -> Step {
        let places = ids[0].len();
        let end = (self.cache.tokens() + places) as u32;
        Step {
            ids: ids.concat(),
            positions: positions.concat(),
            ranges: self.rows.iter().flat_map(|row| vec![[row.start, end]; places]).collect(),
            images: None,
        }
    }

    fn append(&mut self, step: Step, ask: Ask) -> NetworkAnswer {
        let mut answer = self.call(step, ask);
        Arc::make_mut(&mut self.cache).append(std::mem::take(&mut answer.new));
        answer
    }

    fn call(&self, step: Step, ask: Ask) -> NetworkAnswer {
        let (document, rows) = (self.document.number(), self.rows.len());
        let call = NetworkCall { document, prefix: self.cache.clone(), rows, step, ask };
        match self.network {
            Some(network) => network.call(call),
            None => call.answer(self.model, self.config, self.precision),
        }
    }

    /// All prompts as one run, padded on the left.
    fn prefix(&self, prompts: &[Sequence], longest: usize) -> Step {
        let places = prompts.len() * longest;
        let mut step = Step {
            ids: vec![0; places],
            positions: vec![[0.0; 2]; places],
            ranges: vec![],
            images: None,
        };
        let (mut pixels, mut grids, mut starts) = (vec![], vec![], vec![]);
        let mut classes = vec![];
        for (index, (prompt, row)) in prompts.iter().zip(&self.rows).enumerate() {
            let start = row.start as usize;
            step.ranges.extend((0..row.start).map(|at| [at, at + 1]));
            step.ranges.extend(prompt.ranges.iter().map(|range| range.map(|at| at + row.start)));
            let first = index * longest + start;
            step.ids[first..(index + 1) * longest].copy_from_slice(&prompt.ids);
            step.positions[first..(index + 1) * longest].copy_from_slice(&prompt.positions);
            for span in &prompt.images {
                pixels.extend_from_slice(&span.patches);
                grids.push(span.grid);
                classes.push(prompt.class);
                starts.push(first + span.start);
            }
        }
        if !grids.is_empty() {
            let numbers = self.config.patch_dim();
            let shape = [pixels.len() / numbers, numbers];
            let noisy = TensorData::new(pixels, shape);
            step.images = Some(StepImages {
                noisy: Tensor::from_data(noisy, &self.device),
                timesteps: vec![self.config.schedule.clean_timestep(); grids.len()],
                classes,
                jumps: vec![Jump::default(); grids.len()],
                grids,
                starts,
            });
        }
        step
    }

    /// One image a row as one run of places.
    fn image_step(&self, patches: Tensor<3>, grid: Grid, time: f64, jump: Jump) -> Step {
        let [rows, tokens, numbers] = patches.dims();
        assert_eq!([rows, tokens], [self.rows.len(), grid.tokens()]);
        let end = (self.cache.tokens() + tokens) as u32;
        let positions = |row: &Row| row.next.clone().image(grid.rows, grid.cols);
        Step {
            ids: vec![0; rows * tokens],
            positions: self.rows.iter().flat_map(positions).collect(),
            ranges: self.rows.iter().flat_map(|row| vec![[row.start, end]; tokens]).collect(),
            images: Some(StepImages {
                noisy: patches.reshape([rows * tokens, numbers]),
                timesteps: vec![time; rows],
                classes: self.rows.iter().map(|row| row.class).collect(),
                jumps: vec![jump; rows],
                grids: vec![grid; rows],
                starts: (0..rows).map(|row| row * tokens).collect(),
            }),
        }
    }
}

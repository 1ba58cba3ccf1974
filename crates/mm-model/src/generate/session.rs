//! Documents in progress: the cached prefix of several rows, extended by tokens, images and
//! denoising steps.
//!
//! Rows whose prompts differ in length are padded on the left, so that each row attends one
//! unbroken range of keys.

use burn::prelude::*;
use mm_backbone::{BlockOptions, Cache, KeyRanges, Positions};
use mm_diffusion::Level;
use mm_patch::Grid;

use crate::batch::{Inputs, Patches};
use crate::{Document, GenerateError, LoadedModel, Model, ModelConfig, Sequence};

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
        let (rows, hidden) = CachedRows::prefill(&model.model, &model.config, prompts);
        Ok(Self { model, rows, hidden })
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
        self.model.model.logits(self.hidden.clone())
    }

    /// Appends one token to every row.
    pub fn push_tokens(&mut self, ids: &[u32]) {
        self.hidden = self.rows.push_tokens(ids);
    }

    /// Estimates the clean patches of one image a row that comes next, without guidance:
    /// `[rows, patches, patch_dim]` -> the same shape. Nothing is appended.
    pub fn denoise(&self, noisy: Tensor<3>, grid: Grid, level: &Level) -> Tensor<3> {
        self.rows.clean(noisy, grid, level)
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

/// The cache of some rows, and what is needed to extend it.
#[derive(Debug, Clone)]
pub(super) struct CachedRows<'a> {
    model: &'a Model,
    config: &'a ModelConfig,
    device: Device,
    cache: Cache,
    rows: Vec<Row>,
}

#[derive(Debug, Clone)]
struct Row {
    /// Padding on the left; the document starts here.
    start: u32,
    next: Positions,
}

/// A run of places that every row appends at once.
struct Step {
    ids: Vec<u32>,
    positions: Vec<[f64; 2]>,
    ranges: Vec<[u32; 2]>,
    patches: Option<Patches>,
}

impl<'a> CachedRows<'a> {
    /// Computes the prompts' prefix; returns the decoder and the hidden states of each prompt's
    /// last place, `[rows, width]`.
    pub(super) fn prefill(
        model: &'a Model,
        config: &'a ModelConfig,
        prompts: &[Sequence],
    ) -> (Self, Tensor<2>) {
        let device = model.device();
        let longest = prompts.iter().map(Sequence::len).max().expect("at least one prompt");
        let row = |prompt: &Sequence| Row {
            start: (longest - prompt.len()) as u32,
            next: prompt.next.clone(),
        };
        let rows: Vec<Row> = prompts.iter().map(row).collect();
        let mut cached = Self { model, config, device, cache: Cache::new(), rows };
        if longest == 0 {
            let nothing = Tensor::zeros([prompts.len(), config.network.width()], &cached.device);
            return (cached, nothing); // image-only: there is no prefix
        }
        let step = cached.prefix(prompts, longest);
        let hidden = cached.append(step);
        let last: Vec<i32> = (1..=prompts.len()).map(|row| (row * longest - 1) as i32).collect();
        let last = Tensor::from_data(TensorData::new(last, [prompts.len()]), &cached.device);
        let hidden = hidden.select(0, last);
        (cached, hidden)
    }

    /// Returns these rows followed by a copy of the one row of `other` for each of them. Shorter
    /// prefixes are padded on the left.
    pub(super) fn with_copies_of(&self, other: &CachedRows<'a>) -> Self {
        let tokens = self.cache.tokens().max(other.cache.tokens());
        let padded = |row: &Row, cache: &Cache| Row {
            start: row.start + (tokens - cache.tokens()) as u32,
            next: row.next.clone(),
        };
        let mut rows: Vec<Row> = self.rows.iter().map(|row| padded(row, &self.cache)).collect();
        rows.resize(2 * self.rows.len(), padded(&other.rows[0], &other.cache));
        let cache = self.cache.with_copies_of(&other.cache, self.rows.len());
        Self { cache, rows, ..self.clone() }
    }

    /// Appends one token a row; hidden states of those places, `[rows, width]`.
    pub(super) fn push_tokens(&mut self, ids: &[u32]) -> Tensor<2> {
        let end = self.cache.tokens() as u32 + 1;
        let positions = self.rows.iter_mut().map(|row| row.next.text()).collect();
        let ranges = self.rows.iter().map(|row| [row.start, end]).collect();
        self.append(Step { ids: ids.to_vec(), positions, ranges, patches: None })
    }

    /// The network's output for noisy patches of one image a row that comes next: `[rows, patches,
    /// numbers]` -> the same shape. Nothing is appended.
    pub(super) fn denoise(&self, noisy: Tensor<3>, grid: Grid, time: f64) -> Tensor<3> {
        let [rows, patches, numbers] = noisy.dims();
        let step = self.image_step(noisy, grid, time);
        let hidden = self.model.hidden_behind(&self.inputs(step), &self.cache);
        self.model.patches(hidden, &vec![grid; rows]).reshape([rows, patches, numbers])
    }

    /// The clean patches that the network estimates behind noisy ones: `[rows, patches, numbers]`
    /// -> the same shape.
    pub(super) fn clean(&self, noisy: Tensor<3>, grid: Grid, level: &Level) -> Tensor<3> {
        let output = self.denoise(noisy.clone(), grid, level.timestep);
        self.config.prediction.to_clean_at(output, noisy, level)
    }

    /// Appends one finished image a row, `[rows, patches, numbers]`, as clean.
    pub(super) fn push_image(&mut self, clean: Tensor<3>, grid: Grid) {
        let step = self.image_step(clean, grid, self.config.schedule.clean_timestep());
        self.append(step);
        for row in &mut self.rows {
            row.next.image(grid.rows, grid.cols);
        }
    }

    fn append(&mut self, step: Step) -> Tensor<2> {
        let (hidden, new) = self.model.hidden_cached(&self.inputs(step), &self.cache);
        self.cache.append(new);
        hidden
    }

    fn inputs(&self, step: Step) -> Inputs {
        let (rows, tokens) = (self.rows.len(), step.ids.len() / self.rows.len());
        let keys = self.cache.tokens() + tokens;
        let ranges = KeyRanges::new(rows, keys, step.ranges).expect("every place sees itself");
        let ids: Vec<i32> = step.ids.iter().map(|&id| id as i32).collect();
        Inputs {
            rows,
            tokens,
            ids: Tensor::from_data(TensorData::new(ids, [rows * tokens]), &self.device),
            patches: step.patches,
            context: self.config.network.attention_context(&step.positions, ranges, &self.device),
            options: BlockOptions::default(),
        }
    }

    /// All prompts as one run, padded on the left.
    fn prefix(&self, prompts: &[Sequence], longest: usize) -> Step {
        let places = prompts.len() * longest;
        let mut step = Step {
            ids: vec![0; places],
            positions: vec![[0.0; 2]; places],
            ranges: vec![],
            patches: None,
        };
        let (mut pixels, mut image, mut source) =
            (vec![], vec![], (0..places as i32).collect::<Vec<_>>());
        let mut at = [vec![], vec![]];
        let mut grids = vec![];
        for (index, (prompt, row)) in prompts.iter().zip(&self.rows).enumerate() {
            let start = row.start as usize;
            step.ranges.extend((0..row.start).map(|at| [at, at + 1]));
            step.ranges.extend(prompt.ranges.iter().map(|range| range.map(|at| at + row.start)));
            let first = index * longest + start;
            step.ids[first..(index + 1) * longest].copy_from_slice(&prompt.ids);
            step.positions[first..(index + 1) * longest].copy_from_slice(&prompt.positions);
            for span in &prompt.images {
                for patch in 0..span.grid.tokens() {
                    source[first + span.start + patch] = (places + image.len()) as i32;
                    image.push(grids.len() as i32);
                    at[0].push((patch / span.grid.cols) as i32);
                    at[1].push((patch % span.grid.cols) as i32);
                }
                pixels.extend_from_slice(&span.patches);
                grids.push(span.grid);
            }
        }
        if !grids.is_empty() {
            let clean = self.config.schedule.clean_timestep();
            let numbers = self.config.patch_dim();
            let noisy = TensorData::new(pixels, [image.len(), numbers]);
            step.patches = Some(Patches {
                noisy: Tensor::from_data(noisy, &self.device),
                timesteps: vec![clean; grids.len()],
                grids,
                image: self.ints(image),
                at: at.map(|at| self.ints(at)),
                source: self.ints(source),
            });
        }
        step
    }

    /// One image a row as one run of places.
    fn image_step(&self, patches: Tensor<3>, grid: Grid, time: f64) -> Step {
        let [rows, tokens, numbers] = patches.dims();
        assert_eq!([rows, tokens], [self.rows.len(), grid.tokens()]);
        let end = (self.cache.tokens() + tokens) as u32;
        let places = rows * tokens;
        Step {
            ids: vec![0; places],
            positions: self
                .rows
                .iter()
                .flat_map(|row| row.next.clone().image(grid.rows, grid.cols))
                .collect(),
            ranges: self.rows.iter().flat_map(|row| vec![[row.start, end]; tokens]).collect(),
            patches: Some(Patches {
                noisy: patches.reshape([places, numbers]),
                image: self.ints((0..places).map(|place| (place / tokens) as i32).collect()),
                at: [
                    self.ints(
                        (0..places).map(|place| (place % tokens / grid.cols) as i32).collect(),
                    ),
                    self.ints(
                        (0..places).map(|place| (place % tokens % grid.cols) as i32).collect(),
                    ),
                ],
                timesteps: vec![time; rows],
                grids: vec![grid; rows],
                source: self.ints((places as i32..2 * places as i32).collect()),
            }),
        }
    }

    fn ints(&self, numbers: Vec<i32>) -> Tensor<1, Int> {
        let count = numbers.len();
        Tensor::from_data(TensorData::new(numbers, [count]), &self.device)
    }
}

//! Generation: token by token until `[IMG]`, then all patches of the image in parallel, then text
//! again.
//!
//! Grammar is enforced, not hoped for: rows are followed by columns, columns by `[IMG]`, the last
//! patch by `[/IMG]`.

use mm_patch::{Grid, Image};
use mm_text::{Special, StopStrings, TextStream, sample_token};

use super::constrain::{Constrain, Unconstrained};
use super::host::logits_of;
use super::image::{SamplingMethod, SamplingPlan, images_of_async};
use super::options::GenerateOptions;
use super::pass::Network;
use super::session::GenerationSession;
use crate::random::{Purpose, stream};
use crate::{Document, GenerateError, LoadedModel, Segment};
use burn::tensor::read_sync;
use rand::RngExt;

/// Something the model has just made.
#[derive(Debug)]
pub enum Event<'a> {
    /// A piece of text, whole characters.
    Text(&'a str),
    /// A finished image.
    Image(&'a Image),
    /// One denoising step of an image is done: step `.0` of `.1`.
    Step(usize, usize),
}

/// What the model has written.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Written {
    /// Text and images, in order.
    pub document: Document,
    /// Tokens of text.
    pub text_tokens: usize,
    /// Whether the model ended the document or a stop string appeared, and not the limit of tokens.
    pub ended: bool,
}

impl LoadedModel {
    /// Goes on with `prompt` until the model ends the document, a stop string appears or a limit is
    /// reached; `on` hears of every piece as it is made. Returns what was made.
    pub fn generate(
        &self,
        prompt: &Document,
        options: &GenerateOptions,
        on: &mut dyn FnMut(Event<'_>),
    ) -> Result<Document, GenerateError> {
        read_sync(self.generate_async(prompt, options, on))
    }

    /// Does what [`Self::generate`] does where nobody may wait for the device, as in a browser.
    pub async fn generate_async(
        &self,
        prompt: &Document,
        options: &GenerateOptions,
        on: &mut dyn FnMut(Event<'_>),
    ) -> Result<Document, GenerateError> {
        self.check_writing(options)?;
        let session = GenerationSession::after_prompts(self, std::slice::from_ref(prompt))?;
        let writer = Writer::new(self, session, options)?;
        Ok(writer.write(&mut Unconstrained, on).await?.document)
    }

    /// Does what [`Self::generate`] does, with passes through `network`. A `constraint` takes part
    /// in the drawing of every image that the model writes.
    pub fn generate_through(
        &self,
        network: &dyn Network,
        prompt: &Document,
        options: &GenerateOptions,
        constraint: &mut dyn Constrain,
        on: &mut dyn FnMut(Event<'_>),
    ) -> Result<Written, GenerateError> {
        self.check_writing(options)?;
        let prompt = self.sequencer().prompt(prompt)?;
        let session = GenerationSession::through(network, self, &prompt, 1);
        read_sync(Writer::new(self, session, options)?.write(constraint, on))
    }

    /// Checks that this model writes, and these settings.
    pub fn check_writing(&self, options: &GenerateOptions) -> Result<(), GenerateError> {
        self.check_text()?;
        self.check(options)?;
        self.check_words()?;
        StopStrings::new(options.stop.clone())?;
        Ok(())
    }

    /// Writes text after every prompt at once, greedily or by `options.tokens`; no image is drawn.
    pub fn read(
        &self,
        prompts: &[Document],
        options: &GenerateOptions,
    ) -> Result<Vec<String>, GenerateError> {
        read_sync(self.read_async(prompts, options))
    }

    /// Does what [`Self::read`] does where nobody may wait for the device, as in a browser.
    pub async fn read_async(
        &self,
        prompts: &[Document],
        options: &GenerateOptions,
    ) -> Result<Vec<String>, GenerateError> {
        self.check_writing(options)?;
        let special = self.tokenizer.special();
        let mut session = GenerationSession::after_prompts(self, prompts)?;
        let mut ids: Vec<Vec<u32>> = vec![vec![]; prompts.len()];
        let mut done = vec![false; prompts.len()];
        for step in 0..options.max_tokens {
            let logits = logits_of(session.logits()).await?;
            let allowed = |id: u32| id == special.end || !special.is_special(id);
            let next: Vec<u32> = logits
                .iter()
                .enumerate()
                .map(|(row, logits)| choose(logits, allowed, options, [step as u64, row as u64]))
                .collect();
            for (row, &id) in next.iter().enumerate() {
                done[row] |= id == special.end;
                if !done[row] {
                    ids[row].push(id);
                }
            }
            if done.iter().all(|done| *done) {
                break;
            }
            session.push_tokens(&next);
        }
        Ok(ids.iter().map(|ids| self.tokenizer.decode(ids)).collect())
    }

    fn check_text(&self) -> Result<(), GenerateError> {
        if self.config.has_text() { Ok(()) } else { Err(GenerateError::NoText) }
    }

    fn check_words(&self) -> Result<(), GenerateError> {
        if self.model.knows_text() { Ok(()) } else { Err(GenerateError::OnlyDraws) }
    }
}

/// One document being written.
struct Writer<'a> {
    from: &'a LoadedModel,
    options: &'a GenerateOptions,
    session: GenerationSession<'a>,
    /// Size tokens that were written and wait for `[IMG]`.
    size: Vec<usize>,
    text: TextStream,
    stops: StopStrings,
    pending: String,
    made: Document,
    tokens: usize,
    text_tokens: usize,
    images: usize,
}

impl<'a> Writer<'a> {
    fn new(
        from: &'a LoadedModel,
        session: GenerationSession<'a>,
        options: &'a GenerateOptions,
    ) -> Result<Self, GenerateError> {
        Ok(Self {
            from,
            options,
            session,
            size: vec![],
            text: TextStream::new(&from.tokenizer),
            stops: StopStrings::new(options.stop.clone())?,
            pending: String::new(),
            made: Document::default(),
            tokens: 0,
            text_tokens: 0,
            images: 0,
        })
    }

    async fn write(
        mut self,
        constraint: &mut dyn Constrain,
        on: &mut dyn FnMut(Event<'_>),
    ) -> Result<Written, GenerateError> {
        let mut ended = false;
        while self.go_on() {
            let id = self.choose().await?;
            if id == self.special().end {
                ended = true;
                break;
            }
            self.accept(id, constraint, on).await?;
        }
        self.flush(on);
        let ended = ended || self.stops.stopped().is_some();
        Ok(Written { document: self.made, text_tokens: self.text_tokens, ended })
    }

    fn go_on(&self) -> bool {
        self.tokens < self.options.max_tokens && self.stops.stopped().is_none()
    }

    fn special(&self) -> &'a Special {
        self.from.tokenizer.special()
    }

    /// The next token under the grammar.
    async fn choose(&self) -> Result<u32, GenerateError> {
        let special = self.special();
        let images_left = self.images < self.options.max_images;
        let most = self.options.max_patches;
        let allowed = |id: u32| match self.size[..] {
            [] if images_left && special.rows_of(id).is_some_and(|rows| rows <= most) => true,
            [] => id == special.end || !special.is_special(id),
            [rows] => special.cols_of(id).is_some_and(|cols| rows * cols <= most),
            _ => id == special.image,
        };
        let logits = logits_of(self.session.logits()).await?;
        Ok(choose(&logits[0], allowed, self.options, [self.tokens as u64, 0]))
    }

    async fn accept(
        &mut self,
        id: u32,
        constraint: &mut dyn Constrain,
        on: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), GenerateError> {
        let special = self.special();
        self.tokens += 1;
        self.session.push_tokens(&[id]);
        if let Some(side) = special.rows_of(id).or(special.cols_of(id)) {
            self.size.push(side);
        } else if id == special.image {
            self.flush(on);
            self.draw(constraint, on).await?;
            self.session.push_tokens(&[special.image_end]);
        } else {
            self.text_tokens += 1;
            let certain = self.text.push(id);
            self.say(&certain, on);
        }
        Ok(())
    }

    fn say(&mut self, text: &str, on: &mut dyn FnMut(Event<'_>)) {
        let released = self.stops.push(text);
        if !released.is_empty() {
            on(Event::Text(&released));
            self.pending.push_str(&released);
        }
    }

    /// Ends a stretch of text: what was held back is said.
    fn flush(&mut self, on: &mut dyn FnMut(Event<'_>)) {
        let rest =
            std::mem::replace(&mut self.text, TextStream::new(&self.from.tokenizer)).finish();
        self.say(&rest, on);
        if self.stops.stopped().is_none() {
            let fresh = StopStrings::new(self.options.stop.clone()).expect("checked at the start");
            let held = std::mem::replace(&mut self.stops, fresh).finish();
            if !held.is_empty() {
                on(Event::Text(&held));
                self.pending.push_str(&held);
            }
        }
        if !self.pending.is_empty() {
            self.made.segments.push(Segment::target_text(std::mem::take(&mut self.pending)));
        }
    }

    async fn draw(
        &mut self,
        constraint: &mut dyn Constrain,
        on: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), GenerateError> {
        let size = std::mem::take(&mut self.size);
        let grid = Grid {
            channels: self.from.config.network.channels(),
            ..Grid::new(size[0], size[1], self.from.config.patch)
        };
        if let Some(coded) = self.from.model.coded() {
            if !constraint.is_free() {
                return Err(GenerateError::IsCoded);
            }
            let row = stream(self.options.seed, Purpose::Noise, self.images as u64, 0);
            let drawn = self.session.draw_codes(coded, grid, self.options, vec![row]).await?;
            let image = images_of_async(drawn, grid).await?.remove(0);
            on(Event::Image(&image));
            self.made.segments.push(Segment::target_image(image));
            self.images += 1;
            return Ok(());
        }
        self.from.check_constraint(constraint)?;
        let levels = self.from.config.schedule.sampling_levels(self.options.steps)?;
        let method = SamplingMethod::Plain(self.options.sampler);
        let (guidance, negative) = (self.options.guidance, self.options.negative_prompt());
        let sampler = self.session.image_against(grid, guidance, &negative)?;
        let row = stream(self.options.seed, Purpose::Noise, self.images as u64, 0);
        let mut noise = sampler.noise(vec![row]);
        constraint.begin(grid);
        let levels = &levels[constraint.first_step(levels.len())..];
        let start = constraint.start(noise(), levels);
        let plan = SamplingPlan { levels, method };
        let mut done = |done, of| on(Event::Step(done, of));
        let patches = sampler.sample_constrained(plan, start, &mut noise, constraint, &mut done);
        let image = self.from.finished(patches.clone(), grid, &Unconstrained).await?.remove(0);
        let pixels = self.from.config.network.factor() == 1; // which have bounds
        let patches = if pixels { patches.clamp(-1.0, 1.0) } else { patches };
        self.session.push_image(patches, grid);
        on(Event::Image(&image));
        self.made.segments.push(Segment::target_image(image));
        self.images += 1;
        Ok(())
    }
}

fn choose(
    logits: &[f32],
    allowed: impl Fn(u32) -> bool,
    options: &GenerateOptions,
    at: [u64; 2],
) -> u32 {
    let masked: Vec<f32> = (0..)
        .zip(logits)
        .map(|(id, &logit)| if allowed(id) { logit } else { f32::NEG_INFINITY })
        .collect();
    let uniform = stream(options.seed, Purpose::Token, at[0], at[1]).random::<f64>();
    sample_token(&masked, &options.tokens, uniform)
}

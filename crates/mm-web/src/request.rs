//! What may be asked of a model in the browser, as the page sends it: the fields of `mm serve` that
//! mean something without a server. A field that is not known is an error.

use mm_diffusion::Sampler;
use mm_model::{GenerateOptions, LoadedModel};
use mm_patch::Grid;
use mm_text::MAX_SIDE;
use serde::Deserialize;

use crate::error::WebError;

/// The most denoising steps of an image.
const MOST_STEPS: usize = 1000;
/// The most tokens of text that a request makes.
const MOST_TOKENS: usize = 4096;
/// The most patches of an image.
const MOST_PATCHES: usize = 4096;
/// The strongest guidance. Images are long burnt out there.
const MOST_GUIDANCE: f64 = 100.0;

/// A request for one image, or for one edit of an image.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrawRequest {
    /// Text that describes the image.
    #[serde(default)]
    pub prompt: String,
    /// `auto`, or WIDTHxHEIGHT in pixels, both multiples of the model's patch.
    pub size: Option<String>,
    /// Seed of the noise; 0 without it, as in `mm draw`.
    #[serde(default)]
    pub seed: u64,
    /// Number of denoising steps; the model's own without it.
    pub steps: Option<usize>,
    /// Scale of classifier-free guidance; 1 turns it off.
    pub guidance: Option<f64>,
    /// The name of a sampler.
    pub sampler: Option<String>,
    /// Text that the image shall not look like.
    pub negative_prompt: Option<String>,
    /// The share of the steps that an edit makes, starting from the image.
    pub strength: Option<f64>,
}

/// A request for the answer of a conversation.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatRequest {
    /// What was said so far.
    pub messages: Vec<Message>,
    /// How freely tokens are chosen; 0 takes the likeliest.
    pub temperature: Option<f64>,
    /// The most tokens of the answer.
    pub max_tokens: Option<usize>,
    /// Seed of the noise and of the tokens; 0 without it.
    #[serde(default)]
    pub seed: u64,
    /// Number of denoising steps of images.
    pub steps: Option<usize>,
    /// Scale of classifier-free guidance of images.
    pub guidance: Option<f64>,
}

/// What one side said.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who said it.
    pub role: Role,
    /// Texts and images in their order.
    pub content: Vec<Part>,
}

/// Who says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Role {
    /// Instructions, which stand before the conversation.
    System,
    /// The one who asks.
    User,
    /// The model.
    Assistant,
}

/// A text or an image of a message.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
#[non_exhaustive]
pub enum Part {
    /// Words.
    Text {
        /// The words.
        text: String,
    },
    /// An image among those that were given with the request.
    Image {
        /// The number of the image, from 0.
        image: usize,
    },
}

/// A request for the caption of an image.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadRequest {
    /// How freely tokens are chosen; 0 takes the likeliest.
    pub temperature: Option<f64>,
    /// The most tokens of the caption.
    pub max_tokens: Option<usize>,
    /// Seed of the tokens; 0 without it.
    #[serde(default)]
    pub seed: u64,
}

impl DrawRequest {
    /// Returns the model's settings, replaced where the request gives one.
    pub fn options(&self, model: &LoadedModel) -> Result<GenerateOptions, WebError> {
        let mut options = model.options(self.seed);
        set_drawing(&mut options, model, self.steps, self.guidance)?;
        if let Some(sampler) = &self.sampler {
            let wanted = "the name of a sampler, such as euler, heun, ddim or dpm++2m";
            let found: Result<Sampler, _> = sampler.parse();
            options.sampler = found.map_err(|_| wrong("sampler", sampler, wanted))?;
        }
        options.negative = self.negative_prompt.clone().unwrap_or_default();
        Ok(options)
    }

    /// Returns the size that is asked for in whole patches; none for `auto`.
    pub fn grid(&self, model: &LoadedModel) -> Result<Option<Grid>, WebError> {
        let Some(size) = self.size.as_deref().filter(|size| *size != "auto") else {
            return Ok(None);
        };
        let patch = model.config.patch;
        let side =
            |text: &str| text.parse().ok().filter(|side| (1..=MAX_SIDE * patch).contains(side));
        let sides = size.split_once('x').and_then(|(w, h)| Some((side(w)?, side(h)?)));
        let grid = sides.and_then(|(width, height)| Grid::of_size(width, height, patch).ok());
        let own = &model.generation;
        grid.filter(|grid| grid.tokens() <= MOST_PATCHES).map(Some).ok_or_else(|| {
            let wanted = format!(
                "`auto` or WIDTHxHEIGHT in multiples of {patch}, at most {MOST_PATCHES} patches of \
                 {patch} x {patch}; the model was trained on {}x{}",
                own.width, own.height
            );
            wrong("size", size, &wanted)
        })
    }
}

impl ChatRequest {
    /// Returns the model's settings, replaced where the request gives one.
    pub fn options(&self, model: &LoadedModel) -> Result<GenerateOptions, WebError> {
        let mut options = model.options(self.seed);
        options.max_patches = options.max_patches.min(MOST_PATCHES);
        set_drawing(&mut options, model, self.steps, self.guidance)?;
        set_text(&mut options, self.temperature, self.max_tokens)?;
        Ok(options)
    }
}

impl ReadRequest {
    /// Returns the model's settings, replaced where the request gives one.
    pub fn options(&self, model: &LoadedModel) -> Result<GenerateOptions, WebError> {
        let mut options = model.options(self.seed);
        set_text(&mut options, self.temperature, self.max_tokens)?;
        Ok(options)
    }
}

fn set_drawing(
    options: &mut GenerateOptions,
    model: &LoadedModel,
    steps: Option<usize>,
    guidance: Option<f64>,
) -> Result<(), WebError> {
    if let Some(found) = steps {
        options.steps = count("steps", found, MOST_STEPS)?;
        let levels = model.config.schedule.sampling_levels(found);
        levels.map_err(|source| WebError::Steps { found, source })?;
    }
    if let Some(scale) = guidance {
        options.guidance.scale = number("guidance", scale, MOST_GUIDANCE)?;
    }
    Ok(())
}

fn set_text(
    options: &mut GenerateOptions,
    temperature: Option<f64>,
    max_tokens: Option<usize>,
) -> Result<(), WebError> {
    if let Some(heat) = temperature {
        options.tokens.temperature = number("temperature", heat, 2.0)? as f32;
    }
    if let Some(tokens) = max_tokens {
        options.max_tokens = count("max_tokens", tokens, MOST_TOKENS)?;
    }
    Ok(())
}

/// Returns a number from 0 to `most`.
fn number(field: &'static str, found: f64, most: f64) -> Result<f64, WebError> {
    if (0.0..=most).contains(&found) {
        return Ok(found);
    }
    Err(wrong(field, &found.to_string(), &format!("0 to {most}")))
}

/// Returns a whole number from 1 to `most`.
fn count(field: &'static str, found: usize, most: usize) -> Result<usize, WebError> {
    if (1..=most).contains(&found) {
        return Ok(found);
    }
    Err(wrong(field, &found.to_string(), &format!("1 to {most}")))
}

fn wrong(field: &'static str, found: &str, wanted: &str) -> WebError {
    let found = found.chars().take(60).collect();
    WebError::Field { field, found, wanted: wanted.to_owned() }
}

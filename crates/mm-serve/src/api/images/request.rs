//! What a request for images may hold, and how it is checked: every wrong value is an error that
//! names its field.

use mm_diffusion::Guidance;
use mm_model::{Document, GenerateOptions, Segment};
use mm_patch::Grid;
use mm_text::MAX_SIDE;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Array, ArrayBuilder, ObjectBuilder, Type};

use super::super::settings::{Denoising, count, number};
use super::fields::Fields;
use crate::ServedModel;
use crate::encode::{Output, OutputFormat};
use crate::error::{ApiError, beginning};
use crate::id::random_seed;
use crate::state::{AppState, Limits};

/// The most bytes of a prompt for each token that it may have. A longer one is refused before it is
/// cut into tokens.
const MOST_BYTES_OF_A_TOKEN: usize = 16;

/// A request for images. Fields that are not listed are ignored, among them `quality`, `style`,
/// `moderation` and `user`, which change nothing here.
#[derive(Debug, Clone, Default, ToSchema)]
pub(crate) struct ImageRequest {
    /// The name of a served model; the first one without it.
    pub model: Option<String>,
    /// Text that describes the image.
    #[schema(value_type = String, required = true, nullable = false, min_length = 1)]
    pub prompt: Option<String>,
    /// The number of images.
    #[schema(minimum = 1, default = 1)]
    pub n: Option<u64>,
    /// `auto`, which is the size that the model was trained on, or of the image that is edited; or
    /// WIDTHxHEIGHT in pixels, both multiples of the model's patch.
    #[schema(example = "auto", pattern = "^(auto|[1-9][0-9]{0,3}x[1-9][0-9]{0,3})$")]
    pub size: Option<String>,
    /// Repeated in the answer; it changes nothing.
    pub quality: Option<String>,
    /// Format of the image files. PNG and WebP keep every bit.
    #[schema(inline)]
    pub output_format: Option<OutputFormat>,
    /// Quality of JPEG in percent. WebP is written without loss, and so ignores it; PNG takes 100
    /// alone.
    #[schema(minimum = 0, maximum = 100, default = 100)]
    pub output_compression: Option<u8>,
    /// Whether the answer is a stream of events.
    pub stream: Option<bool>,
    /// How many unfinished images a stream shows of every image.
    #[schema(minimum = 0, maximum = 3, default = 0)]
    pub partial_images: Option<u64>,
    /// Seed of the noise; image `i` of a request has the seed `seed + i`. A random one without it.
    pub seed: Option<u64>,
    /// Number of denoising steps; the model's own without it.
    #[schema(minimum = 1)]
    pub steps: Option<u64>,
    /// Scale of classifier-free guidance; 1 turns it off.
    #[schema(minimum = 0, maximum = 100)]
    pub guidance: Option<f64>,
    /// Start and end of guidance as signal fractions, from 0, which is noise, to 1.
    #[schema(schema_with = interval)]
    pub guidance_interval: Option<Vec<f64>>,
    /// One of ddpm, ddim, ddim:ETA, dpm++2m, dpm++2m-uncapped, euler, heun.
    pub sampler: Option<String>,
    /// Text that images shall not look like.
    pub negative_prompt: Option<String>,
    /// The share of the steps that edits and variations make, starting from the image.
    #[schema(ignore)]
    pub strength: Option<f64>,
}

impl ImageRequest {
    /// Takes the fields of a request that are known, and refuses those that cannot be done.
    pub(super) fn take(fields: &mut Fields) -> Result<Self, ApiError> {
        refuse(fields)?;
        Ok(Self {
            model: fields.take("model", "the name of a model")?,
            prompt: fields.take("prompt", "text")?,
            n: fields.take("n", "a whole number from 1")?,
            size: fields.take("size", SIZES)?,
            quality: fields.take("quality", "text")?,
            output_format: fields.take("output_format", "png, jpeg or webp")?,
            output_compression: fields
                .take("output_compression", "a whole number from 0 to 100")?,
            stream: fields.take("stream", "true or false")?,
            partial_images: fields.take("partial_images", "a whole number from 0 to 3")?,
            seed: fields.take("seed", "a whole number from 0")?,
            steps: fields.take("steps", "a whole number from 1")?,
            guidance: fields.take("guidance", "a number from 0 to 100")?,
            guidance_interval: fields.take("guidance_interval", INTERVAL)?,
            sampler: fields.take("sampler", "the name of a sampler")?,
            negative_prompt: fields.take("negative_prompt", "text")?,
            strength: fields.take("strength", "a number from 0 to 1")?,
        })
    }
}

/// The schema of two shares.
fn interval() -> Array {
    let share = ObjectBuilder::new().schema_type(Type::Number).minimum(Some(0)).maximum(Some(1));
    ArrayBuilder::new().items(share).min_items(Some(2)).max_items(Some(2)).build()
}

const SIZES: &str = "`auto` or WIDTHxHEIGHT in pixels";
const INTERVAL: &str = "two numbers such as [0.1, 0.8], from 0 to 1 in order";

/// Refuses what OpenAI's API has and no model here can do.
fn refuse(fields: &mut Fields) -> Result<(), ApiError> {
    let background = fields.take_one_of("background", &["auto", "opaque", "transparent"])?;
    if background.is_some_and(|background| background == "transparent") {
        let message = "images have no transparent pixels here, wanted `auto` or `opaque`";
        return Err(ApiError::unsupported("background", message));
    }
    let form = fields.take_one_of("response_format", &["b64_json", "url"])?;
    if form.is_some_and(|form| form == "url") {
        let message = "no images are stored here, wanted `b64_json`";
        return Err(ApiError::unsupported("response_format", message));
    }
    Ok(())
}

/// A width and a height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api) struct Size {
    pub width: usize,
    pub height: usize,
}

/// How images are made and answered, checked.
#[derive(Debug, Clone)]
pub(in crate::api) struct Settings {
    /// The index of the model.
    pub model: usize,
    /// The model.
    pub served: ServedModel,
    pub prompt: String,
    pub count: usize,
    /// The size that was asked for; none for `auto`.
    pub size: Option<Size>,
    pub quality: String,
    pub output: Output,
    pub stream: bool,
    pub previews: usize,
    pub options: GenerateOptions,
    pub strength: Option<f64>,
}

impl Settings {
    /// Checks a request.
    pub fn of(request: ImageRequest, state: &AppState) -> Result<Self, ApiError> {
        let limits = &state.options.limits;
        let (model, served) = state.model(request.model.as_deref())?;
        let served = served.clone();
        let images = count("n", request.n.unwrap_or(1), 1, limits.drawn)?;
        let previews = count("partial_images", request.partial_images.unwrap_or(0), 0, 3)?;
        let strength = request.strength.map(|strength| number("strength", strength, 0.0, 1.0));
        let stream = request.stream.unwrap_or(false);
        Ok(Self {
            count: images,
            size: request.size.as_deref().map_or(Ok(None), |size| parse_size(size, "size"))?,
            quality: request.quality.clone().unwrap_or_else(|| "auto".to_owned()),
            output: output_of(&request)?,
            stream,
            previews: if stream { previews } else { 0 },
            options: options_of(&request, &served, limits)?,
            strength: strength.transpose()?,
            prompt: request.prompt.unwrap_or_default(),
            model,
            served,
        })
    }

    /// Returns the patches of the size that was asked for, or of the model's own.
    pub fn grid(&self, limits: &Limits) -> Result<Grid, ApiError> {
        match self.size {
            Some(size) => grid_of(size, &self.served, limits),
            None => self.own_grid(),
        }
    }

    /// Returns the patches of the images that the model was trained on.
    pub fn own_grid(&self) -> Result<Grid, ApiError> {
        self.served.model.grid().map_err(|why| ApiError::server(why.to_string()))
    }

    /// Fails if the model cannot read the prompt, or if the prompt is too long with all its images.
    pub fn check_prompt(&self, prompt: &Document, limits: &Limits) -> Result<(), ApiError> {
        let model = &self.served.model;
        let mut tokens = 0;
        for segment in &prompt.segments {
            tokens += match segment {
                Segment::Text { text, .. } if text.is_empty() => 0,
                Segment::Text { .. } | Segment::Image { .. } if !self.reads() => {
                    let message = format!(
                        "the model `{}` draws without a prompt, wanted none",
                        self.served.name
                    );
                    return Err(ApiError::invalid("prompt", message));
                }
                Segment::Text { text, .. } => {
                    check_bytes("prompt", text, limits)?;
                    model.tokenizer.encode(text).len()
                }
                Segment::Image { image, .. } => {
                    let patch = model.config.patch;
                    image.width().div_ceil(patch) * image.height().div_ceil(patch) + 4
                }
            };
        }
        if tokens > limits.prompt_tokens {
            let most = limits.prompt_tokens;
            let message = format!("the prompt has {tokens} tokens with its images, at most {most}");
            return Err(ApiError::invalid("prompt", message).with_code("context_length_exceeded"));
        }
        Ok(())
    }

    /// Says whether the model reads prompts.
    pub fn reads(&self) -> bool {
        let config = &self.served.model.config;
        config.has_prompts() && !config.network.is_unet()
    }
}

/// Fails for a text that is too long whatever its tokens are.
fn check_bytes(param: &str, text: &str, limits: &Limits) -> Result<(), ApiError> {
    let most = limits.prompt_tokens.saturating_mul(MOST_BYTES_OF_A_TOKEN);
    if text.len() <= most {
        return Ok(());
    }
    let message = format!("`{param}` has {} bytes, at most {most}", text.len());
    Err(ApiError::invalid(param, message).with_code("context_length_exceeded"))
}

fn output_of(request: &ImageRequest) -> Result<Output, ApiError> {
    let format = request.output_format.unwrap_or_default();
    let quality = request.output_compression.unwrap_or(100);
    count("output_compression", u64::from(quality), 0, 100)?;
    if format == OutputFormat::Png && quality < 100 {
        let message = format!(
            "`output_compression` is {quality}, and png takes 100 alone since it loses nothing"
        );
        return Err(ApiError::invalid("output_compression", message));
    }
    Ok(Output { format, quality })
}

/// Replaces the model's settings of generation where a field was given.
fn options_of(
    request: &ImageRequest,
    served: &ServedModel,
    limits: &Limits,
) -> Result<GenerateOptions, ApiError> {
    let mut options = served.model.options(request.seed.unwrap_or_else(random_seed));
    Denoising {
        steps: request.steps,
        sampler: request.sampler.as_deref(),
        guidance: request.guidance,
    }
    .set(&mut options, &served.model, limits)?;
    if let Some(interval) = &request.guidance_interval {
        let wrong = || {
            let message = format!("`guidance_interval` is {interval:?}, wanted {INTERVAL}");
            ApiError::invalid("guidance_interval", message)
        };
        let &[from, to] = interval.as_slice() else { return Err(wrong()) };
        options.guidance = Guidance { from, to, ..options.guidance };
        options.guidance.validate().map_err(|_| wrong())?;
    }
    if let Some(negative) = &request.negative_prompt {
        check_bytes("negative_prompt", negative, limits)?;
        let config = &served.model.config;
        if !negative.is_empty() && (!config.has_prompts() || config.network.is_unet()) {
            let message = format!("the model `{}` reads no text, wanted none", served.name);
            return Err(ApiError::invalid("negative_prompt", message));
        }
        let tokens = served.model.tokenizer.encode(negative).len();
        if tokens > limits.prompt_tokens {
            let most = limits.prompt_tokens;
            let message = format!("`negative_prompt` has {tokens} tokens, at most {most}");
            return Err(
                ApiError::invalid("negative_prompt", message).with_code("context_length_exceeded")
            );
        }
        options.negative = negative.clone();
    }
    Ok(options)
}

/// Reads a size; nothing for `auto`. `param` names its field.
pub(in crate::api) fn parse_size(text: &str, param: &str) -> Result<Option<Size>, ApiError> {
    if text == "auto" {
        return Ok(None);
    }
    let side = |text: &str| text.parse().ok().filter(|&side: &usize| side > 0);
    let size = text
        .split_once('x')
        .and_then(|(width, height)| Some(Size { width: side(width)?, height: side(height)? }));
    size.map(Some).ok_or_else(|| {
        ApiError::invalid(param, format!("`{param}` is {}, wanted {SIZES}", beginning(text)))
    })
}

/// Returns the patches of a size; an error names the nearest sizes that can be drawn.
pub(super) fn grid_of(size: Size, served: &ServedModel, limits: &Limits) -> Result<Grid, ApiError> {
    let Size { width, height } = size;
    let patch = served.model.config.patch;
    let own = &served.model.generation;
    let wrong = |why: String| {
        let trained = format!("the model was trained on {}x{}", own.width, own.height);
        let message = format!("`size` is {width}x{height}, {why}; {trained}");
        ApiError::invalid("size", message)
    };
    let most = MAX_SIDE * patch;
    let (across, down) = (width.div_ceil(patch), height.div_ceil(patch));
    if width > most || height > most || across * down > limits.patches {
        let why = format!(
            "wanted sides of at most {most} pixels and at most {} patches of {patch} x {patch}",
            limits.patches
        );
        return Err(wrong(why));
    }
    Grid::of_size(width, height, patch).map_err(|_| {
        let below = |side: usize| (side / patch).max(1) * patch;
        let above = |side: usize| side.div_ceil(patch) * patch;
        wrong(format!(
            "wanted multiples of {patch}; the nearest sizes are {}x{} and {}x{}",
            below(width),
            below(height),
            above(width),
            above(height)
        ))
    })
}

/// Says whether an image has a whole number of patches, and no more than one may have.
pub(super) fn fits(size: Size, served: &ServedModel, limits: &Limits) -> bool {
    grid_of(size, served, limits).is_ok()
}

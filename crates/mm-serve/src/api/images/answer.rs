//! Answers of images: one object, or a stream of events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::http::HeaderValue;
use axum::response::sse::{Event as ServerEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use mm_patch::{Image, PngText};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::super::run::engine_ended;
use super::request::Settings;
use crate::encode::{Output, OutputFormat, size_of, texts_of};
use crate::error::ApiError;
use crate::state::AppState;
use crate::tally::Tally;
use crate::{Event, Ticket, Usage};

/// Images that were made.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ImagesAnswer {
    /// When the request came, in seconds since 1970.
    pub created: u64,
    /// The images, in their order.
    pub data: Vec<ImageData>,
    /// Always `opaque`.
    pub background: &'static str,
    /// The format of the files.
    #[schema(inline)]
    pub output_format: OutputFormat,
    /// What the request said, or `auto`.
    pub quality: String,
    /// Width and height in pixels, such as `32x32`.
    pub size: String,
    /// Tokens that were read and made.
    pub usage: ImagesUsage,
}

/// One image of an answer.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ImageData {
    /// The file in base64.
    pub b64_json: String,
    /// The seed that gives this image again, alone.
    pub seed: u64,
}

/// Tokens that were read and made. A patch of an image is one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ImagesUsage {
    /// Tokens of the prompt.
    pub input_tokens: usize,
    /// Tokens of the prompt by what they are.
    pub input_tokens_details: InputTokens,
    /// Tokens of the images that were made.
    pub output_tokens: usize,
    /// All tokens.
    pub total_tokens: usize,
}

/// Tokens of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct InputTokens {
    /// Those of text.
    pub text_tokens: usize,
    /// Those of images.
    pub image_tokens: usize,
}

impl ImagesUsage {
    fn of(usage: Usage) -> Self {
        let Usage { prompt_text, prompt_images, text, images } = usage;
        let (input_tokens, output_tokens) = (prompt_text + prompt_images, text + images);
        Self {
            input_tokens,
            input_tokens_details: InputTokens {
                text_tokens: prompt_text,
                image_tokens: prompt_images,
            },
            output_tokens,
            total_tokens: input_tokens + output_tokens,
        }
    }
}

/// Which of two families the events of a stream belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// Events named `image_generation.…`.
    Generation,
    /// Events named `image_edit.…`.
    Edit,
}

impl Family {
    fn partial(self) -> &'static str {
        match self {
            Self::Generation => "image_generation.partial_image",
            Self::Edit => "image_edit.partial_image",
        }
    }

    fn completed(self) -> &'static str {
        match self {
            Self::Generation => "image_generation.completed",
            Self::Edit => "image_edit.completed",
        }
    }
}

/// How images are answered.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    family: Family,
    created: u64,
    output: Output,
    quality: String,
    count: usize,
    prompt: String,
    model: String,
    options: mm_model::GenerateOptions,
    strength: Option<f64>,
}

impl Answer {
    /// Keeps what the answer says of a request that came `created` seconds after 1970.
    pub fn of(settings: &Settings, family: Family, created: u64) -> Self {
        Self {
            family,
            created,
            output: settings.output,
            quality: settings.quality.clone(),
            count: settings.count,
            prompt: settings.prompt.clone(),
            model: settings.served.name.clone(),
            options: settings.options.clone(),
            strength: settings.strength,
        }
    }

    fn whole(&self, made: &[Made], usage: Usage) -> Result<ImagesAnswer, ApiError> {
        let data = made.iter().map(|&Made { image, ref pixels }| {
            Ok(ImageData { b64_json: self.base64(image, pixels)?, seed: self.seed(image) })
        });
        Ok(ImagesAnswer {
            created: self.created,
            data: data.collect::<Result<_, ApiError>>()?,
            background: "opaque",
            output_format: self.output.format,
            quality: self.quality.clone(),
            size: made.first().map_or(String::new(), |made| size_of(&made.pixels)),
            usage: ImagesUsage::of(usage),
        })
    }

    fn seed(&self, image: usize) -> u64 {
        self.options.seed.wrapping_add(image as u64)
    }

    fn base64(&self, at: usize, image: &Image) -> Result<String, ApiError> {
        let mut texts = vec![];
        if self.output.format == OutputFormat::Png {
            let options = mm_model::GenerateOptions { seed: self.seed(at), ..self.options.clone() };
            texts = texts_of(&self.prompt, &self.model, &options);
            texts.extend(self.strength.map(|share| PngText::new("Strength", share.to_string())));
        }
        self.output.base64(image, &texts)
    }

    /// Makes the event of an unfinished image.
    fn partial(&self, image: usize, index: usize, pixels: &Image) -> Result<ServerEvent, ApiError> {
        let name = self.family.partial();
        let data = json!({
            "type": name,
            "b64_json": self.base64(image, pixels)?,
            "partial_image_index": index,
            "image_index": image,
            "created_at": self.created,
            "size": size_of(pixels),
            "quality": self.quality,
            "background": "opaque",
            "output_format": self.output.format,
        });
        Ok(ServerEvent::default().event(name).data(data.to_string()))
    }

    /// Makes the event of a finished image. The usages of all events of a request add up to what it
    /// used: the prompt was read once, and counts with the first image.
    fn completed(
        &self,
        image: usize,
        pixels: &Image,
        usage: Usage,
    ) -> Result<ServerEvent, ApiError> {
        let name = self.family.completed();
        let own = match image {
            0 => Usage { images: usage.images / self.count, ..usage },
            _ => Usage { images: usage.images / self.count, ..Usage::default() },
        };
        let data = json!({
            "type": name,
            "b64_json": self.base64(image, pixels)?,
            "image_index": image,
            "seed": self.seed(image),
            "created_at": self.created,
            "size": size_of(pixels),
            "quality": self.quality,
            "background": "opaque",
            "output_format": self.output.format,
            "usage": ImagesUsage::of(own),
        });
        Ok(ServerEvent::default().event(name).data(data.to_string()))
    }
}

/// Sends the answer of a request.
pub(super) struct Sender {
    pub state: AppState,
    pub tally: Arc<Tally>,
    pub answer: Arc<Answer>,
}

impl Sender {
    /// Waits for all images and answers them in one object.
    pub async fn collect(self, mut ticket: Ticket) -> Result<Response, ApiError> {
        let Self { state, tally, answer } = self;
        let mut made = vec![];
        let usage = loop {
            match ticket.events.recv().await {
                Some(Event::Image { image, pixels }) => made.push(Made { image, pixels }),
                Some(Event::Finished { usage, .. }) => break usage,
                Some(Event::Failed(why)) => return Err(ApiError::server(why)),
                Some(_) => {}
                None => return Err(engine_ended()),
            }
        };
        tally.add(&usage);
        let made = all_of(made, answer.count)?;
        let whole = state.blocking(move || answer.whole(&made, usage)).await?;
        Ok(axum::Json(whole).into_response())
    }

    /// Answers with a stream of events. A client that goes away drops the ticket with the stream.
    pub fn stream(self, ticket: Ticket) -> Response {
        let streaming =
            Streaming { sender: self, ticket, made: vec![], ready: VecDeque::new(), ended: false };
        let events = stream::unfold(streaming, |mut streaming| async move {
            let event = streaming.next().await?;
            Some((Ok::<_, Infallible>(event), streaming))
        });
        let mut response = Sse::new(events).keep_alive(KeepAlive::default()).into_response();
        let headers = response.headers_mut();
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        response
    }
}

/// Puts images in their order; fails where one is missing.
fn all_of(mut made: Vec<Made>, count: usize) -> Result<Vec<Made>, ApiError> {
    made.sort_by_key(|made| made.image);
    if made.iter().map(|made| made.image).eq(0..count) { Ok(made) } else { Err(engine_ended()) }
}

/// An image that is finished, and its number.
struct Made {
    image: usize,
    pixels: Image,
}

/// A stream of events on its way.
struct Streaming {
    sender: Sender,
    ticket: Ticket,
    /// Finished images, which wait for the usage.
    made: Vec<Made>,
    ready: VecDeque<ServerEvent>,
    ended: bool,
}

impl Streaming {
    /// Waits for the next event; none at the end.
    async fn next(&mut self) -> Option<ServerEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.ended {
                return None;
            }
            if let Err(why) = self.take().await {
                self.ended = true;
                self.ready.push_back(error_event(&why));
            }
        }
    }

    /// Takes what happens next to the job.
    async fn take(&mut self) -> Result<(), ApiError> {
        let answer = Arc::clone(&self.sender.answer);
        let state = &self.sender.state;
        match self.ticket.events.recv().await {
            Some(Event::Preview { image, index, pixels }) => {
                let event = state.blocking(move || answer.partial(image, index, &pixels));
                self.ready.push_back(event.await?);
            }
            Some(Event::Image { image, pixels }) => self.made.push(Made { image, pixels }),
            Some(Event::Finished { usage, .. }) => {
                self.sender.tally.add(&usage);
                let made = all_of(std::mem::take(&mut self.made), answer.count)?;
                let events = state.blocking(move || {
                    let event = |made: &Made| answer.completed(made.image, &made.pixels, usage);
                    made.iter().map(event).collect::<Result<Vec<_>, ApiError>>()
                });
                self.ready.extend(events.await?);
                self.ended = true;
            }
            Some(Event::Failed(why)) => return Err(ApiError::server(why)),
            Some(_) => {}
            None => return Err(engine_ended()),
        }
        Ok(())
    }
}

/// Makes the event of an error in the middle of a stream, in the form that OpenAI's clients raise.
fn error_event(why: &ApiError) -> ServerEvent {
    let data = json!({ "type": "error", "error": why.error });
    ServerEvent::default().event("error").data(data.to_string())
}

//! How many tokens were read and made, in the words of both APIs.

use serde::Serialize;
use utoipa::ToSchema;

use crate::Usage;

/// Tokens of a chat completion. A patch of an image is a token.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
pub(crate) struct ChatUsage {
    pub prompt_tokens: usize,
    pub completion_tokens: usize,
    pub total_tokens: usize,
    pub prompt_tokens_details: TokenDetails,
    pub completion_tokens_details: TokenDetails,
}

/// Tokens of a response. A patch of an image is a token.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
pub(crate) struct ResponseUsage {
    pub input_tokens: usize,
    pub input_tokens_details: TokenDetails,
    pub output_tokens: usize,
    pub output_tokens_details: TokenDetails,
    pub total_tokens: usize,
}

/// Which tokens they are.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
pub(crate) struct TokenDetails {
    pub text_tokens: usize,
    pub image_tokens: usize,
    /// Always 0: what was computed before is not counted apart.
    pub cached_tokens: usize,
    /// Always 0: this model writes no thoughts.
    pub reasoning_tokens: usize,
    /// Always 0: this model has no sound.
    pub audio_tokens: usize,
}

impl TokenDetails {
    fn of(text_tokens: usize, image_tokens: usize) -> Self {
        Self { text_tokens, image_tokens, ..Self::default() }
    }
}

impl ChatUsage {
    /// Adds what was made for all choices; their prompt is one and counts once.
    pub fn of(jobs: &[Usage]) -> Self {
        let Usage { prompt_text, prompt_images, .. } = jobs.first().copied().unwrap_or_default();
        let text = jobs.iter().map(|usage| usage.text).sum();
        let images = jobs.iter().map(|usage| usage.images).sum();
        let (prompt_tokens, completion_tokens) = (prompt_text + prompt_images, text + images);
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens,
            prompt_tokens_details: TokenDetails::of(prompt_text, prompt_images),
            completion_tokens_details: TokenDetails::of(text, images),
        }
    }
}

impl ResponseUsage {
    pub fn of(usage: &Usage) -> Self {
        let Usage { prompt_text, prompt_images, text, images } = *usage;
        let (input_tokens, output_tokens) = (prompt_text + prompt_images, text + images);
        Self {
            input_tokens,
            input_tokens_details: TokenDetails::of(prompt_text, prompt_images),
            output_tokens,
            output_tokens_details: TokenDetails::of(text, images),
            total_tokens: input_tokens + output_tokens,
        }
    }
}

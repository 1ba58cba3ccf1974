//! How text and images are generated, and the settings that stand in a model's folder.

use mm_backbone::Precision;
use mm_diffusion::{Guidance, GuidanceRule, Sampler, Schedule};
use mm_patch::{Grid, PatchError, PngText};
use mm_text::{MAX_SIDE, TokenSampling};
use serde::{Deserialize, Serialize};

use crate::{ConfigError, Document};

/// How text and images are drawn from the model.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateOptions {
    /// How a token is chosen.
    pub tokens: TokenSampling,
    /// How an image is denoised.
    pub sampler: Sampler,
    /// Denoising steps of an image.
    pub steps: usize,
    /// How strongly an image follows its prompt.
    pub guidance: Guidance,
    /// What images shall not look like: guidance leads away from this caption. With an empty one,
    /// it leads away from what the model draws without a prompt.
    pub negative: String,
    /// Seed of every random choice.
    pub seed: u64,
    /// Most tokens to write, images not counted.
    pub max_tokens: usize,
    /// Most images to draw.
    pub max_images: usize,
    /// Most patches of an image whose size the model writes itself.
    pub max_patches: usize,
    /// Texts that end the generation; they are not part of the output.
    pub stop: Vec<String>,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self {
            tokens: TokenSampling { temperature: 0.0, top_k: None, top_p: None, min_p: None },
            sampler: Sampler::Euler,
            steps: 10,
            guidance: Guidance { scale: 3.0, from: 0.1, ..Guidance::OFF },
            negative: String::new(),
            seed: 0,
            max_tokens: 256,
            max_images: 4,
            max_patches: MAX_SIDE * MAX_SIDE,
            stop: vec![],
        }
    }
}

impl GenerateOptions {
    /// Returns what a PNG file tells of an image that was drawn with these options: the program,
    /// the caption, the model and the settings, in the order in which they are written. Empty texts
    /// are left out.
    ///
    /// ```
    /// use mm_model::GenerateOptions;
    ///
    /// let texts = GenerateOptions::default().png_texts("red K", "glyphs");
    /// let keywords: Vec<&str> = texts.iter().map(|text| text.keyword.as_str()).collect();
    /// let wanted =
    ///     ["Software", "Description", "Model", "Seed", "Sampler", "Steps", "Guidance"];
    /// assert_eq!(keywords, wanted);
    /// ```
    pub fn png_texts(&self, caption: &str, model: &str) -> Vec<PngText> {
        let Self { sampler, steps, guidance, negative, seed, .. } = self;
        let rule = Some(guidance.rule).filter(|rule| *rule != GuidanceRule::Plain);
        let texts = [
            ("Description", caption.to_owned()),
            ("Negative", negative.clone()),
            ("Model", model.to_owned()),
            ("Seed", seed.to_string()),
            ("Sampler", sampler.to_string()),
            ("Steps", steps.to_string()),
            ("Guidance", guidance.scale.to_string()),
            ("Guidance rule", rule.map_or(String::new(), |rule| rule.to_string())),
        ];
        let written = texts.into_iter().filter(|(_, text)| !text.is_empty());
        let written = written.map(|(keyword, text)| PngText::new(keyword, text));
        [PngText::software()].into_iter().chain(written).collect()
    }

    /// Returns the prompt from which guidance leads away.
    pub(super) fn negative_prompt(&self) -> Document {
        let words = self.negative.as_str();
        if words.is_empty() { Document::default() } else { Document::of_text(words) }
    }
}

/// The size of the images that a model was trained on and how it draws them: the contents of
/// `generation_config.json`. The file stands in the model folder, so that a model is used without
/// the recipe that trained it.
///
/// ```
/// use mm_model::GenerationConfig;
///
/// let config = GenerationConfig::of_size(32, 16);
/// assert_eq!(config.grid(8)?.tokens(), 8);
/// # Ok::<(), mm_patch::PatchError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenerationConfig {
    /// Columns of an image, pixels.
    pub width: usize,
    /// Rows of an image, pixels.
    pub height: usize,
    /// How an image is denoised.
    pub sampler: Sampler,
    /// Denoising steps of an image.
    pub steps: usize,
    /// How strongly an image follows its prompt.
    pub guidance: Guidance,
    /// The type that blocks multiply in, which the device must calculate in.
    #[serde(default, skip_serializing_if = "is_f32")]
    pub precision: Precision,
}

/// Says whether nothing is written of the type.
fn is_f32(precision: &Precision) -> bool {
    *precision == Precision::F32
}

impl GenerationConfig {
    /// Returns the usual settings for images of this size: ten steps of Euler's method, guided.
    pub fn of_size(width: usize, height: usize) -> Self {
        let GenerateOptions { sampler, steps, guidance, .. } = GenerateOptions::default();
        Self { width, height, sampler, steps, guidance, precision: Precision::F32 }
    }

    /// Checks every field that can be wrong whatever the model is.
    ///
    /// ```
    /// use mm_model::GenerationConfig;
    ///
    /// let config = GenerationConfig { steps: 0, ..GenerationConfig::of_size(32, 16) };
    /// let why = config.validate().unwrap_err().to_string();
    /// assert_eq!(why, "`steps` is 0, wanted 1 to 1000000");
    /// ```
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.grid(1).map_err(ConfigError::Image)?;
        // No schedule has more steps than the longest.
        let steps = Schedule::Su2024 { steps: self.steps };
        let drawing = steps.validate().and_then(|()| self.sampler.validate());
        drawing.and_then(|()| self.guidance.validate()).map_err(ConfigError::Drawing)
    }

    /// Returns the patches of an image, for square patches of `patch` pixels.
    pub fn grid(&self, patch: usize) -> Result<Grid, PatchError> {
        Grid::of_size(self.width, self.height, patch)
    }

    /// Returns these settings as options with greedy text.
    pub fn options(&self, seed: u64) -> GenerateOptions {
        GenerateOptions {
            sampler: self.sampler,
            steps: self.steps,
            guidance: self.guidance,
            seed,
            ..GenerateOptions::default()
        }
    }
}

//! One model and what it does on request: draw, edit, read, and answer.

use burn::prelude::Device;
use mm_model::{
    Constrain, Document, GenerateOptions, ImageToImage, Inpaint, LoadedModel, Mask, MaskedArea,
    ModelParts, Segment, SoftMask, Turn, Unconstrained,
};
use mm_patch::{DecodeOptions, Grid, Image, PngText};

use crate::error::WebError;
use crate::made::{Made, Told};
use crate::request::{ChatRequest, DrawRequest, ReadRequest};
use crate::shown::{decoded, fitted};
use crate::talk;
use crate::watch::Watch;

/// The pixels around a mask that are drawn with it where an image is too large to be drawn whole.
const PADDING: usize = 8;

/// A model under its name.
#[derive(Debug)]
pub struct WebModel {
    /// The name, which files of images tell.
    pub name: String,
    /// The model.
    pub model: LoadedModel,
}

impl WebModel {
    /// Makes a model from the contents of its four files.
    pub fn load(name: &str, parts: ModelParts<'_>, device: &Device) -> Result<Self, WebError> {
        let model = LoadedModel::from_parts(parts, device)?;
        Ok(Self { name: name.to_owned(), model })
    }

    /// Draws one image: the one that `mm draw` draws from the same settings and seed.
    pub async fn draw(&self, request: &DrawRequest, told: Told<'_>) -> Result<(), WebError> {
        if let Some(strength) = request.strength {
            let (found, wanted) = (strength.to_string(), "none without an image".to_owned());
            return Err(WebError::Field { field: "strength", found, wanted });
        }
        let grid = self.grid_of(request)?;
        let prompt = Document::of_text(&request.prompt);
        self.drawn(&prompt, grid, request, &mut Unconstrained, told).await
    }

    /// Edits an image: what a mask frees is drawn anew; without a mask, the whole image is, from
    /// the image by `strength`, or by the instruction that the prompt is.
    pub async fn edit(
        &self,
        request: &DrawRequest,
        image: &[u8],
        mask: Option<&[u8]>,
        told: Told<'_>,
    ) -> Result<(), WebError> {
        let image = decoded(image, "image")?;
        let prompt = Document::of_text(&request.prompt);
        let patch = self.model.config.patch;
        let strength = request.strength.unwrap_or(1.0);
        let own = Grid::of_size(image.width(), image.height(), patch);
        match (mask, request.strength) {
            (Some(mask), _) => {
                let mask = Mask::decode(mask, &DecodeOptions::default());
                let mask = mask.map_err(|source| WebError::Image { field: "mask", source })?;
                if own.is_ok() {
                    let mut edit = Inpaint::new(image, mask, patch)?.strength(strength)?;
                    return self.drawn(&prompt, edit.grid(), request, &mut edit, told).await;
                }
                let grid = self.own_grid()?;
                let edit = MaskedArea::new(image, mask, PADDING, SoftMask::Blend, grid)?;
                self.drawn(&prompt, grid, request, &mut edit.strength(strength)?, told).await
            }
            (None, Some(strength)) => {
                let mut edit = ImageToImage::new(image, strength, patch)?;
                self.drawn(&prompt, edit.grid(), request, &mut edit, told).await
            }
            (None, None) => {
                let shown = fitted(&self.model, &image, "image")?;
                let grid = request.grid(&self.model)?.map_or_else(|| self.own_grid(), Ok)?;
                let asked = vec![
                    Segment::context_image(shown),
                    Segment::context_text(request.prompt.as_str()),
                ];
                let prompt = Document::of_turns(vec![Turn { asked, answer: vec![] }]);
                self.drawn(&prompt, grid, request, &mut Unconstrained, told).await
            }
        }
    }

    /// Writes a caption of an image, as `mm read` does.
    pub async fn read(&self, request: &ReadRequest, image: &[u8]) -> Result<String, WebError> {
        let options = request.options(&self.model)?;
        let image = fitted(&self.model, &decoded(image, "image")?, "image")?;
        let mut texts = self.model.read_async(&[Document::of_image(image)], &options).await?;
        Ok(texts.pop().unwrap_or_default())
    }

    /// Goes on with a conversation in text and images, in the order in which they are made.
    pub async fn chat(
        &self,
        request: &ChatRequest,
        images: &[Vec<u8>],
        told: Told<'_>,
    ) -> Result<(), WebError> {
        let options = request.options(&self.model)?;
        let prompt = Document::of_turns(talk::turns(&self.model, &request.messages, images)?);
        let mut failed = None;
        let mut on = |event: mm_model::Event<'_>| match event {
            mm_model::Event::Text(text) => told(Made::Text(text.to_owned())),
            mm_model::Event::Step(done, of) => told(Made::Step { done, of, estimate: None }),
            mm_model::Event::Image(image) => {
                match self.finished(image.clone(), "", &options, &[]) {
                    Ok(made) => told(made),
                    Err(why) => failed = Some(why),
                }
            }
        };
        self.model.generate_async(&prompt, &options, &mut on).await?;
        failed.map_or(Ok(()), Err)
    }

    fn own_grid(&self) -> Result<Grid, WebError> {
        let grid = self.model.generation.grid(self.model.config.patch);
        grid.map_err(|source| WebError::Image { field: "size", source })
    }

    fn grid_of(&self, request: &DrawRequest) -> Result<Grid, WebError> {
        request.grid(&self.model)?.map_or_else(|| self.own_grid(), Ok)
    }

    async fn drawn(
        &self,
        prompt: &Document,
        grid: Grid,
        request: &DrawRequest,
        constraint: &mut dyn Constrain,
        told: Told<'_>,
    ) -> Result<(), WebError> {
        let options = request.options(&self.model)?;
        let watch = Watch::new(constraint, options.sampler, told);
        let mut hook = &watch;
        let images = self.model.draw_constrained_async(prompt, 1, grid, &options, &mut hook);
        let images = watch.wait(images).await?;
        let strength = request.strength.map(|share| PngText::new("Strength", share.to_string()));
        for image in images {
            watch.say(self.finished(image, &request.prompt, &options, strength.as_slice())?);
        }
        Ok(())
    }

    /// Writes an image as a file that tells how it was drawn.
    fn finished(
        &self,
        pixels: Image,
        caption: &str,
        options: &GenerateOptions,
        more: &[PngText],
    ) -> Result<Made, WebError> {
        let size = format!("{}x{}", pixels.width(), pixels.height());
        let mut texts = options.png_texts(caption, &self.name);
        texts.push(PngText::new("Size", size));
        texts.extend(more.iter().cloned());
        // PNG does not allow this character in a text.
        let texts: Vec<PngText> = texts
            .into_iter()
            .map(|text| PngText { text: text.text.replace('\0', ""), ..text })
            .collect();
        let png = pixels.encode_png_with(&texts);
        let png = png.map_err(|source| WebError::Image { field: "size", source })?;
        Ok(Made::Image { pixels, png })
    }
}

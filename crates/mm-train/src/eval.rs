//! What a model can do: captions read, glyphs drawn and judged, losses on documents it was never trained on.

use mm_model::random::{Purpose, stream};
use mm_model::{Checkpoint, Document, GenerateOptions, Segment};
use mm_patch::{Grid, Image};
use mm_text::TokenSampling;
use serde::Serialize;

use crate::TrainError;
use crate::alone::alone_grid;
use crate::batch::{Kind, host_batch};
use crate::data::{Combination, DataSet, Example, GlyphSet, Split};
use crate::judge::GlyphJudge;
use crate::recipe::Recipe;

/// Pictures drawn or read in one batch.
const TOGETHER: usize = 64;
/// Most tokens of a caption that is read.
const CAPTION_TOKENS: usize = 32;

/// How many captions were read word for word.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReadScore {
    /// Captions equal to the truth.
    pub right: usize,
    /// Captions asked for.
    pub of: usize,
    /// (truth, read) of every picture.
    pub captions: Vec<(String, String)>,
}

/// How many drawn glyphs the judge found as asked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DrawScore {
    /// Pictures asked for.
    pub of: usize,
    /// Ink colour and background both right.
    pub colours: usize,
    /// Background right.
    pub background: usize,
    /// Character right.
    pub character: usize,
    /// Everything right.
    pub all: usize,
}

/// Settings of generation from a recipe.
pub fn options_of(recipe: &Recipe, seed: u64) -> GenerateOptions {
    GenerateOptions {
        tokens: TokenSampling { temperature: 0.0, top_k: None, top_p: None, min_p: None },
        sampler: recipe.sample.sampler,
        steps: recipe.sample.steps,
        guidance: recipe.sample.guidance,
        seed,
        ..GenerateOptions::default()
    }
}

/// `count` examples of a part, the same for the same seed.
pub fn examples(
    data: &DataSet,
    split: Split,
    count: usize,
    seed: u64,
) -> Result<Vec<Example>, TrainError> {
    let len = data.len(split);
    let count = len.map_or(count, |len| count.min(len as usize));
    (0..count)
        .map(|index| {
            let mut rng = stream(seed, Purpose::Example, u64::MAX, index as u64);
            // Spread over a finite part, whatever its order.
            let at = len.map_or(index as u64, |len| index as u64 * len / count as u64);
            Ok(data.example(split, at, &mut rng)?)
        })
        .collect()
}

/// Reads the captions of `count` pictures of a part, greedily.
pub fn read_score(
    model: &Checkpoint,
    data: &DataSet,
    split: Split,
    count: usize,
    options: &GenerateOptions,
) -> Result<ReadScore, TrainError> {
    let options = GenerateOptions { max_tokens: CAPTION_TOKENS, ..options.clone() };
    let mut captions = vec![];
    for chunk in examples(data, split, count, options.seed)?.chunks(TOGETHER) {
        let prompts: Vec<Document> =
            chunk.iter().map(|example| looking_at(example.image.clone())).collect();
        let read = model.read(&prompts, &options)?;
        captions.extend(chunk.iter().map(|example| example.caption.clone()).zip(read));
    }
    let right = captions.iter().filter(|(truth, read)| truth == read).count();
    Ok(ReadScore { right, of: captions.len(), captions })
}

/// `count` glyphs of a part to ask for, the same for the same seed.
pub fn combinations(glyphs: &GlyphSet, split: Split, count: usize, seed: u64) -> Vec<Combination> {
    let one =
        |index| glyphs.combination(split, &mut stream(seed, Purpose::Example, u64::MAX, index));
    (0..count as u64).map(one).collect()
}

/// Draws every glyph asked for and asks the judge what the pictures show.
pub fn draw_score(
    model: &Checkpoint,
    judge: &GlyphJudge,
    asked: &[Combination],
    grid: Grid,
    options: &GenerateOptions,
) -> Result<DrawScore, TrainError> {
    let mut score = DrawScore { of: asked.len(), colours: 0, background: 0, character: 0, all: 0 };
    for (batch, chunk) in asked.chunks(TOGETHER).enumerate() {
        let prompts: Vec<Document> = chunk.iter().map(|asked| saying(&asked.to_string())).collect();
        let options = GenerateOptions { seed: options.seed + batch as u64, ..options.clone() };
        for (asked, image) in chunk.iter().zip(model.draw(&prompts, grid, &options)?) {
            let verdict = judge.judge(&image);
            let background = verdict.background == asked.background();
            let colours = background && verdict.ink == asked.ink();
            score.background += usize::from(background);
            score.colours += usize::from(colours);
            score.character += usize::from(asked.text().starts_with(verdict.character));
            score.all += usize::from(verdict.agrees(asked));
        }
    }
    Ok(score)
}

/// Losses on documents of a part.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct HeldOutLosses {
    /// Cross-entropy of captions after their pictures, nats a token; no number for images alone.
    pub text: f64,
    /// The same in bits a byte of the captions.
    pub bits_per_byte: f64,
    /// Weighted squared error of pictures after their captions, at the recipe's noise levels.
    pub image: f64,
    /// Documents of each kind.
    pub documents: usize,
}

/// Losses on `count` examples of a part, read and drawn; noise is a pure function of the recipe's seed.
pub fn held_out_losses(
    model: &Checkpoint,
    recipe: &Recipe,
    data: &DataSet,
    split: Split,
    count: usize,
) -> Result<HeldOutLosses, TrainError> {
    let shown = examples(data, split, count, recipe.seed)?;
    let documents = shown.len();
    let (mut text, mut image, mut bytes, mut tokens) = (0.0, 0.0, 0, 0);
    for (chunk_index, chunk) in shown.chunks(TOGETHER).enumerate() {
        let share = chunk.len() as f64 / documents as f64;
        for (kind, total) in [(Kind::Read, &mut text), (Kind::Draw, &mut image)] {
            if kind == Kind::Read && recipe.vocab == 0 {
                *total = f64::NAN; // images alone
                continue;
            }
            let documents = chunk.iter().map(|example| kind.document(shown_to(recipe, example)));
            let documents = documents.zip(0..);
            let batch = host_batch(recipe, &model.tokenizer, documents, chunk_index as u64)?;
            let losses = model.model.losses(
                &batch.to_device(&model.config, &model.model.device()),
                model.config.prediction,
            );
            let scale = recipe.loss.reduction.factor(batch.learnt_numbers(), batch.learnt_images());
            let loss = match kind {
                Kind::Read => losses.text,
                _ => losses.image.map(|loss| loss * scale),
            };
            *total += share * loss.map_or(f64::NAN, |loss| f64::from(loss.into_scalar::<f32>()));
        }
        bytes += chunk.iter().map(|example| example.caption.len()).sum::<usize>();
        tokens += chunk
            .iter()
            .map(|example| model.tokenizer.encode(&example.caption).len() + 1)
            .sum::<usize>();
    }
    let bits_per_byte = text / std::f64::consts::LN_2 * tokens as f64 / bytes.max(1) as f64;
    Ok(HeldOutLosses { text, bits_per_byte, image, documents })
}

/// The example as a document takes it: without its caption where there are images alone.
fn shown_to(recipe: &Recipe, example: &Example) -> Example {
    let caption = if recipe.vocab == 0 { String::new() } else { example.caption.clone() };
    Example { image: example.image.clone(), caption }
}

/// A grid of pictures drawn for held-out captions, each over the real picture of that caption, and a text of what was asked
/// and what was read.
pub fn sample_grid(
    model: &Checkpoint,
    recipe: &Recipe,
    data: &DataSet,
) -> Result<(Image, String), TrainError> {
    if recipe.vocab == 0 {
        return Ok((alone_grid(model, recipe)?, String::new()));
    }
    let split = if data.len(Split::HeldOut) == Some(0) || matches!(data, DataSet::Emoji(_)) {
        Split::Train
    } else {
        Split::HeldOut
    };
    let options = options_of(recipe, recipe.seed);
    let shown = examples(data, split, recipe.sample.count, recipe.seed)?;
    let patch = recipe.image.patch;
    let grid = Grid { rows: recipe.image.height / patch, cols: recipe.image.width / patch, patch };
    let mut drawn = vec![];
    for chunk in shown.chunks(TOGETHER) {
        let prompts: Vec<Document> = chunk.iter().map(|example| saying(&example.caption)).collect();
        drawn.extend(model.draw(&prompts, grid, &options)?);
    }
    let read = read_score(model, data, split, recipe.sample.count, &options)?;
    let mut text = String::from("asked for, from left to right and top to bottom:\n");
    text.extend(shown.iter().map(|example| format!("  {}\n", example.caption)));
    text += &format!("\nread {} of {} right (truth -> read):\n", read.right, read.of);
    text.extend(read.captions.iter().map(|(truth, read)| format!("  {truth} -> {read}\n")));
    let real: Vec<Image> = shown.into_iter().map(|example| example.image).collect();
    Ok((contact_sheet(&drawn, &real), text))
}

/// Pictures in rows of at most twelve; every row of `drawn` stands over the row of its `real` counterparts, magnified to at
/// least 64 pixels.
pub fn contact_sheet(drawn: &[Image], real: &[Image]) -> Image {
    let Some(first) = drawn.first() else { return Image::filled(1, 1, [255; 3]) };
    let zoom = (64 / first.width().max(first.height())).max(1);
    let (width, height) = (first.width() * zoom + 4, first.height() * zoom + 4);
    let cols = drawn.len().min(12);
    let bands = drawn.len().div_ceil(cols);
    let pair = if real.is_empty() { 1 } else { 2 };
    let mut sheet = Image::filled(cols * width, bands * pair * height, [255; 3]);
    for (kind, images) in [drawn, real].into_iter().enumerate().take(pair) {
        for (at, image) in images.iter().enumerate() {
            let (x, y) = (at % cols * width + 2, (at / cols * pair + kind) * height + 2);
            sheet.paste(&magnified(image, zoom), x, y);
        }
    }
    sheet
}

/// Every pixel `zoom` times as wide and high, without smoothing.
pub fn magnified(image: &Image, zoom: usize) -> Image {
    let mut large = Image::filled(image.width() * zoom, image.height() * zoom, [0; 3]);
    for y in 0..large.height() {
        for x in 0..large.width() {
            large.set_pixel(x, y, image.pixel(x / zoom, y / zoom));
        }
    }
    large
}

/// A prompt that is one picture.
pub fn looking_at(image: Image) -> Document {
    Document { segments: vec![Segment::given_image(image)] }
}

/// A prompt that is one caption.
pub fn saying(caption: &str) -> Document {
    Document { segments: vec![Segment::given_text(caption)] }
}

//! What a model can do: captions read, glyphs drawn and judged, losses on documents it was never trained on.

use mm_model::random::{Purpose, stream};
use mm_model::{Checkpoint, Document, GenerateError, GenerateOptions, Segment};
use mm_patch::{Grid, Image};
use mm_text::TokenSampling;
use serde::Serialize;

use crate::TrainError;
use crate::alone::alone_grid;
use crate::batch::{Kind, host_batch};
use crate::continuation::continuations;
use crate::data::{Combination, DataSet, Example, GlyphSet, Record, Split};
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

/// `count` records of a part, the same for the same seed.
pub fn records(
    data: &DataSet,
    split: Split,
    count: usize,
    seed: u64,
) -> Result<Vec<Record>, TrainError> {
    let len = data.len(split);
    let count = len.map_or(count, |len| count.min(len as usize));
    (0..count)
        .map(|index| {
            let mut rng = stream(seed, Purpose::Example, u64::MAX, index as u64);
            // Spread over a finite part, whatever its order.
            let at = len.map_or(index as u64, |len| index as u64 * len / count as u64);
            Ok(data.record(split, at, &mut rng)?)
        })
        .collect()
}

/// Those of `count` records of a part that are pictures with captions.
pub fn examples(
    data: &DataSet,
    split: Split,
    count: usize,
    seed: u64,
) -> Result<Vec<Example>, TrainError> {
    let captioned = |record| match record {
        Record::Captioned(example) => Some(example),
        Record::Whole(_) => None,
    };
    Ok(records(data, split, count, seed)?.into_iter().filter_map(captioned).collect())
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

/// Losses on documents of a part; a number that there was nothing to take from is absent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct HeldOutLosses {
    /// Cross-entropy of captions after their pictures and of the learnt text of whole documents, nats a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<f64>,
    /// The same in bits a byte of that text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits_per_byte: Option<f64>,
    /// Weighted squared error of pictures after their captions and of the learnt pictures of whole documents, at the recipe's
    /// noise levels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<f64>,
    /// Records.
    pub documents: usize,
}

/// Losses on `count` records of a part: pictures with captions are read and drawn, whole documents taken as they are. Noise is
/// a pure function of the recipe's seed.
pub fn held_out_losses(
    model: &Checkpoint,
    recipe: &Recipe,
    data: &DataSet,
    split: Split,
    count: usize,
) -> Result<HeldOutLosses, TrainError> {
    let shown = records(data, split, count, recipe.seed)?;
    let documents = shown.len();
    let (mut sums, mut counts, mut bytes) = ([0.0; 2], [0; 2], 0);
    for (step, chunk) in (0..).zip(shown.chunks(TOGETHER)) {
        for (which, kind) in [Kind::Read, Kind::Draw].into_iter().enumerate() {
            if kind == Kind::Read && recipe.vocab == 0 {
                continue; // images alone
            }
            let made: Vec<Document> =
                chunk.iter().map(|record| made(recipe, record, kind)).collect();
            if kind == Kind::Read {
                bytes += made.iter().map(learnt_bytes).sum::<usize>();
            }
            let batch = host_batch(recipe, &model.tokenizer, made.into_iter().zip(0..), step)?;
            let device = model.model.device();
            let tensors = batch.to_device(&model.config, &device);
            let losses = model.model.losses(&tensors, model.config.prediction);
            let scale = recipe.loss.reduction.factor(batch.learnt_numbers(), batch.learnt_images());
            let loss = match kind {
                Kind::Read => losses.text,
                _ => losses.image.map(|loss| loss * scale),
            };
            if let Some(loss) = loss {
                let learnt = batch.learnt()[which];
                sums[which] += f64::from(loss.into_scalar::<f32>()) * learnt as f64;
                counts[which] += learnt;
            }
        }
    }
    let mean = |which: usize| (counts[which] > 0).then(|| sums[which] / counts[which] as f64);
    let bits_per_byte = (bytes > 0).then(|| sums[0] / std::f64::consts::LN_2 / bytes as f64);
    Ok(HeldOutLosses { text: mean(0), bits_per_byte, image: mean(1), documents })
}

/// A record's document of a kind; without words where there are images alone.
fn made(recipe: &Recipe, record: &Record, kind: Kind) -> Document {
    match record {
        Record::Captioned(example) if recipe.vocab == 0 => {
            kind.document(Example { image: example.image.clone(), caption: String::new() })
        }
        Record::Captioned(example) => kind.document(example.clone()),
        Record::Whole(document) => document.clone(),
    }
}

/// Bytes of the text that a document teaches to write.
fn learnt_bytes(document: &Document) -> usize {
    let bytes = |segment: &Segment| match segment {
        Segment::Text { text, learn: true } => text.len(),
        _ => 0,
    };
    document.segments.iter().map(bytes).sum()
}

/// A grid of pictures drawn for held-out captions, each over the real picture of that caption, and a text of what was asked
/// and what was read. A model that draws no finite numbers leaves a black picture and says so: a run is not ended by its grid.
pub fn sample_grid(
    model: &Checkpoint,
    recipe: &Recipe,
    data: &DataSet,
) -> Result<(Image, String), TrainError> {
    match grid_and_text(model, recipe, data) {
        Err(TrainError::Generate(why @ GenerateError::NotFinite { .. })) => {
            let black = Image::filled(recipe.image.width, recipe.image.height, [0; 3]);
            Ok((black, format!("{why}\n")))
        }
        made => made,
    }
}

fn grid_and_text(
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
    let grid = Grid::new(recipe.image.height / patch, recipe.image.width / patch, patch);
    let mut drawn = vec![];
    for chunk in shown.chunks(TOGETHER) {
        let words = model.model.knows_text();
        let prompt = |example: &Example| saying(if words { &example.caption } else { "" });
        let prompts: Vec<Document> = chunk.iter().map(prompt).collect();
        drawn.extend(model.draw(&prompts, grid, &options)?);
    }
    if !model.model.knows_text() {
        let real: Vec<Image> = shown.into_iter().map(|example| example.image).collect();
        return Ok((contact_sheet(&drawn, &real), "drawn without words\n".into()));
    }
    let read = read_score(model, data, split, recipe.sample.count, &options)?;
    let mut text = String::from("asked for, from left to right and top to bottom:\n");
    text.extend(shown.iter().map(|example| format!("  {}\n", example.caption)));
    text += &format!("\nread {} of {} right (truth -> read):\n", read.right, read.of);
    text.extend(read.captions.iter().map(|(truth, read)| format!("  {truth} -> {read}\n")));
    text += &continuations(model, data, split, &options)?;
    let real: Vec<Image> = shown.into_iter().map(|example| example.image).collect();
    Ok((contact_sheet(&drawn, &real), text))
}

/// Pictures in rows of at most twelve; every row of `drawn` stands over the row of its `real` counterparts, magnified to at
/// least 64 pixels. Where sizes differ, the largest sets the distance.
pub fn contact_sheet(drawn: &[Image], real: &[Image]) -> Image {
    if drawn.is_empty() {
        return Image::filled(1, 1, [255; 3]);
    }
    let most = |side: fn(&Image) -> usize| drawn.iter().chain(real).map(side).max().unwrap_or(1);
    let (width, height) = (most(Image::width), most(Image::height));
    let zoom = (64 / width.max(height)).max(1);
    let (width, height) = (width * zoom + 4, height * zoom + 4);
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

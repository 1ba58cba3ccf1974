//! `mm codec`: images to codes or latents with a trained codec, back again, and what is lost.

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};
use mm_data::{DataSet, Split};
use mm_eval::{
    CodecScore, See, WordsScore, codec_score, contact_sheet, examples, words_score_through,
};
use mm_model::folder::write_atomic;
use mm_model::{CodeImage, LatentImage, LoadedModel};
use mm_patch::Image;
use mm_train::checkpoint::recipe_beside;
use serde::Serialize;

use crate::device::DeviceArg;
use crate::files::{fitted, format_of, free_file, read_image, within, write_image};
use crate::model::{CommonArgs, cannot, load_to_ask};
use crate::recipes;
use crate::terminal::{Failure, say, usage};

#[derive(Debug, Parser)]
#[command(
    after_help = "A codec is a model folder that one of the recipes codec-fsq, codec-vq-vae, codec-vq-gan, codec-queries
and codec-kl made, or a folder of diffusers' AutoencoderKL as it is published.

Examples:
  mm train codec-fsq
  mm codec measure runs/codec-fsq/model
  mm codec measure runs/codec-words/model --reader runs/words-64/model --count 600
  mm codec encode runs/codec-fsq/model cat.png --out cat.json
  mm codec decode runs/codec-fsq/model cat.json --out again.png"
)]
pub struct CodecArgs {
    #[command(subcommand)]
    command: CodecCommand,
}

#[derive(Debug, Subcommand)]
enum CodecCommand {
    /// Write the codes or the latents of an image.
    Encode(EncodeArgs),
    /// Write the image of codes or latents.
    Decode(DecodeArgs),
    /// Measure what a codec loses, and how many bits it takes.
    Measure(MeasureArgs),
}

#[derive(Debug, Parser)]
struct EncodeArgs {
    /// Model folder of a codec.
    model: PathBuf,
    /// Image file, whose sides must be whole cells of the codec.
    image: PathBuf,
    /// File to write: JSON for codes, safetensors for latents.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Fit the image to the size that the codec was trained on.
    #[arg(long)]
    fit: bool,
    /// Replace a file that exists.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    device: DeviceArg,
}

#[derive(Debug, Parser)]
struct DecodeArgs {
    /// Model folder of a codec.
    model: PathBuf,
    /// File that `mm codec encode` wrote.
    file: PathBuf,
    /// Image file to write: png, jpg, webp or bmp.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Replace a file that exists.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    device: DeviceArg,
}

#[derive(Debug, Parser)]
struct MeasureArgs {
    /// Model folder of a codec.
    model: PathBuf,
    /// Image files, each fitted to the size that the codec was trained on [default: held-out
    /// records of the recipe].
    images: Vec<PathBuf>,
    /// Number of held-out records.
    #[arg(long, value_name = "N", default_value_t = 200)]
    count: usize,
    /// Recipe whose data are measured on [default: the one in the model folder].
    #[arg(long, value_name = "RECIPE")]
    recipe: Option<String>,
    /// Model folder of a reader, trained on originals: counts its character errors on held-out
    /// words, as they are and as the codec leaves them; the data must be words.
    #[arg(long, value_name = "MODEL", conflicts_with = "images")]
    reader: Option<PathBuf>,
    /// Sheet to write: what was decoded, each image over what was encoded.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the sheet if it exists.
    #[arg(long)]
    force: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    common: CommonArgs,
}

pub fn run(args: &CodecArgs) -> Result<(), Failure> {
    match &args.command {
        CodecCommand::Encode(args) => encode(args),
        CodecCommand::Decode(args) => decode(args),
        CodecCommand::Measure(args) => measure(args),
    }
}

fn encode(args: &EncodeArgs) -> Result<(), Failure> {
    free_file(&args.out, args.force)?;
    let image = read_image(&args.image)?;
    let model = load_to_ask(&args.model, &args.device.open()?)?;
    let image = if args.fit { fitted(&image, &model)? } else { image };
    let codes =
        model.codec().map_err(cannot("encode or decode with", &args.model))?.config().codes();
    ends_in(&args.out, codes.is_some())?;
    if codes.is_some() {
        let codes = model.codes(&image).map_err(Failure::usage)?;
        write_atomic(&args.out, &serde_json::to_vec(&codes)?)?;
        let (file, vocabulary) = (args.out.display(), codes.vocabulary);
        say!("{file}: {} x {} codes of {vocabulary}", codes.rows, codes.cols);
    } else {
        let latents = model.latents(&image).map_err(Failure::usage)?;
        write_atomic(&args.out, &latents.to_bytes())?;
        let [channels, rows, cols] = latents.shape;
        say!("{}: {rows} x {cols} cells of {channels} numbers", args.out.display());
    }
    Ok(())
}

fn decode(args: &DecodeArgs) -> Result<(), Failure> {
    free_file(&args.out, args.force)?;
    format_of(&args.out)?;
    let bytes = fs_err::read(&args.file)?;
    let model = load_to_ask(&args.model, &args.device.open()?)?;
    let codes =
        model.codec().map_err(cannot("encode or decode with", &args.model))?.config().codes();
    let unreadable = |why: &dyn std::fmt::Display| {
        usage!("cannot decode `{}`: {why}", args.file.display())
            .hint("`mm codec encode` with this codec writes what can be decoded")
    };
    let image = if codes.is_some() {
        let codes: CodeImage = serde_json::from_slice(&bytes).map_err(|why| unreadable(&why))?;
        model.image_of_codes(&codes)
    } else {
        let latents = LatentImage::from_bytes(&bytes).map_err(|why| unreadable(&why))?;
        model.image_of_latents(&latents)
    };
    write_image(&args.out, &image.map_err(|why| unreadable(&why))?)?;
    say!("{}", args.out.display());
    Ok(())
}

/// Fails unless a file name ends as what is written to it.
fn ends_in(path: &Path, codes: bool) -> Result<(), Failure> {
    let (what, wanted) = if codes { ("codes", "json") } else { ("latents", "safetensors") };
    if path.extension().is_some_and(|ending| ending == wanted) {
        return Ok(());
    }
    Err(usage!(
        "`{}`, wanted a name that ends in .{wanted}, since this codec has {what}",
        path.display()
    ))
}

fn measure(args: &MeasureArgs) -> Result<(), Failure> {
    if let Some(out) = &args.out {
        free_file(out, args.force)?;
        format_of(out)?;
    }
    within("--count", args.count, 100_000)?;
    let model = args.common.load(&args.model)?;
    model.codec().map_err(cannot("encode or decode with", &args.model))?;
    let images = images(args, &model)?;
    let score = codec_score(&model, &images)?;
    let reading = args.reader.as_ref().map(|reader| read(args, &model, reader)).transpose()?;
    if args.json {
        let mut whole = serde_json::to_value(&score)?;
        if let Some(reading) = &reading {
            whole["reading"] = serde_json::to_value(reading)?;
        }
        say!("{whole}");
    } else {
        print(&score);
        if let Some(Reading { original, decoded }) = &reading {
            say!("read, originals      {}", original.all);
            say!("read, decoded        {}", decoded.all);
            for (height, errors) in &decoded.heights {
                let own = original.heights.get(height).map_or(0.0, |own| own.error_rate);
                let [own, rate] = [own, errors.error_rate].map(|rate| 100.0 * rate);
                say!("  {height:2} pixels high     {own:.1} % -> {rate:.1} %");
            }
        }
    }
    if let Some(out) = &args.out {
        let shown = &images[..images.len().min(48)];
        write_image(out, &contact_sheet(&model.reconstruct(shown)?, shown))?;
    }
    Ok(())
}

/// What a reader reads of held-out words, before and after a codec.
#[derive(Debug, Serialize)]
struct Reading {
    original: WordsScore,
    decoded: WordsScore,
}

/// Lets a reader read held-out words, as they are and as the codec leaves them.
fn read(args: &MeasureArgs, codec: &LoadedModel, reader: &Path) -> Result<Reading, Failure> {
    let data = data(args)?;
    let reader = args.common.load(reader)?;
    let options = reader.options(args.common.seed);
    let of = |see: See<'_>| {
        words_score_through(&reader, &data, Split::HeldOut, args.count, &options, see)
    };
    let original = of(&mut Ok)?;
    let decoded = of(&mut |images| Ok(codec.reconstruct(&images)?))?;
    Ok(Reading { original, decoded })
}

/// Returns the images of the command line, or held-out ones of the recipe.
fn images(args: &MeasureArgs, model: &LoadedModel) -> Result<Vec<Image>, Failure> {
    if !args.images.is_empty() {
        return args.images.iter().map(|file| fitted(&read_image(file)?, model)).collect();
    }
    let data = data(args)?;
    let split = if data.len(Split::HeldOut) == Some(0) { Split::Train } else { Split::HeldOut };
    let shown = examples(&data, split, args.count, args.common.seed)?;
    Ok(shown.into_iter().map(|example| example.image).collect())
}

/// Opens the data of the recipe.
fn data(args: &MeasureArgs) -> Result<DataSet, Failure> {
    let recipe = match &args.recipe {
        Some(name) => recipes::find(name)?,
        None => recipe_beside(&args.model)?.ok_or_else(|| {
            usage!("the model folder has no recipe.toml, and no image was given")
                .hint("`--recipe RECIPE` names the data, such as `--recipe glyphs`")
        })?,
    };
    Ok(DataSet::open(&recipe.data, recipe.image)?)
}

fn print(score: &CodecScore) {
    let number = |value: Option<f64>, digits: usize, ends: Option<[f64; 2]>, unit: &str| {
        let Some(value) = value else { return "none".to_owned() };
        let ends = ends.map(|[low, high]| format!(" ({low:.digits$} to {high:.digits$})"));
        format!("{value:.digits$}{unit}{}", ends.unwrap_or_default())
    };
    let percent = score.changed_interval.map(|ends| ends.map(|end| 100.0 * end));
    say!("{} images; means, and their 95 % intervals over images", score.images);
    say!("PSNR                 {}", number(score.psnr, 2, score.psnr_interval, " dB"));
    say!("SSIM                 {}", number(score.ssim, 4, score.ssim_interval, ""));
    say!("bytes changed        {}", number(Some(100.0 * score.changed), 1, percent, " %"));
    say!("bits an image        {:.0}, {:.4} a value", score.bits, score.bits_per_value);
    say!("bits as PNG          {:.0}, as lossless WebP {:.0}", score.png_bits, score.webp_bits);
    if let Some(codes) = score.codes {
        say!(
            "codes used           {:.1} % of {}, as {:.0} evenly used ones: {:.2} bits a code",
            100.0 * codes.used,
            codes.vocabulary,
            codes.perplexity,
            codes.bits
        );
    }
}

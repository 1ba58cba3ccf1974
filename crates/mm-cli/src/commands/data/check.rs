//! `mm data check`: what a source holds, and which of its records are bad.

use std::path::PathBuf;

use clap::Parser;
use mm_data::check::{DataReport, Summary, check};
use mm_data::{DataConfig, DataSet, ImageSettings, Split};
use mm_eval::{contact_sheet, examples};
use mm_patch::Image;

use crate::files::{Size, format_of, free_file, write_image};
use crate::recipes;
use crate::terminal::{Failure, failed, say, usage};

#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  mm data check my-recipe.toml --sheet sheet.png
  mm data check images/ --size 128x128 --patch 8
  mm data check \"shards/train-{000..009}.tar\"")]
pub struct CheckArgs {
    /// Recipe, folder, or pattern of .tar, .parquet, .jsonl or .txt files.
    source: String,
    /// Also write a sheet of images to this file.
    #[arg(long, value_name = "FILE")]
    sheet: Option<PathBuf>,
    /// Width and height of images in pixels, if the source is not a recipe.
    #[arg(long, value_name = "WxH", default_value = "64x64")]
    size: Size,
    /// Width and height of a patch in pixels, if the source is not a recipe.
    #[arg(long, value_name = "P", default_value_t = 8)]
    patch: usize,
    /// Fail if anything is left out, also what was never meant to be a record.
    #[arg(long)]
    strict: bool,
    /// Print one JSON object for each source.
    #[arg(long)]
    json: bool,
    /// Replace a sheet that exists.
    #[arg(long)]
    force: bool,
}

/// The vocabulary of the tokenizer that counts tokens, where no recipe names one.
const VOCAB: usize = 1024;
/// The number of images of a sheet.
const ON_SHEET: usize = 48;
/// The number of bad records that are named one by one.
const NAMED: usize = 10;

/// What is checked: a source, the size of its images, and the vocabulary that counts its tokens.
pub struct Subject {
    pub data: DataConfig,
    pub image: ImageSettings,
    vocab: usize,
}

pub fn run(args: &CheckArgs) -> Result<(), Failure> {
    if let Some(sheet) = &args.sheet {
        free_file(sheet, args.force)?;
        format_of(sheet)?;
    }
    let Subject { data, image, vocab } = subject(&args.source, args.size, args.patch)?;
    let sources: Vec<&DataConfig> = match &data {
        DataConfig::Mixture(mixture) => mixture.parts.iter().map(|part| &part.data).collect(),
        one => vec![one],
    };
    let (mut too_bad, mut left_out) = (false, 0);
    for config in sources {
        let report = check(config, image, vocab)?;
        if args.json {
            say!("{}", serde_json::to_string(&report)?);
        } else {
            print(config, &report);
        }
        too_bad |= report.too_bad;
        left_out += report.left_out.len();
    }
    if let Some(sheet) = &args.sheet {
        let data = DataSet::open(&data.with_max_bad(1.0), image)?;
        let shown = examples(&data, Split::Train, ON_SHEET, 0)?;
        let images: Vec<Image> = shown.into_iter().map(|example| example.image).collect();
        write_image(sheet, &contact_sheet(&images, &[]))?;
    }
    if too_bad {
        return Err(failed!("more records are bad than `max_bad` allows")
            .hint("repair or remove the records that are named above, or raise `max_bad`"));
    }
    if args.strict && left_out > 0 {
        return Err(failed!("{left_out} left out, and `--strict` allows none")
            .hint("repair, rename or remove what is named above"));
    }
    Ok(())
}

/// Returns what a recipe, a folder or a pattern of files names; `size` and `patch` are for the
/// latter two.
pub fn subject(source: &str, size: Size, patch: usize) -> Result<Subject, Failure> {
    if recipes::is_recipe(source) {
        let recipe = recipes::find(source)?;
        return Ok(Subject { data: recipe.data, image: recipe.image, vocab: recipe.vocab });
    }
    let Size { width, height } = size;
    let image = ImageSettings { width, height, patch };
    image.validate().map_err(Failure::usage)?;
    let guess = recipes::guess(source);
    let data = DataConfig::of_path(source).map_err(|why| usage!("{why}{guess}"))?;
    Ok(Subject { data, image, vocab: VOCAB })
}

fn print(config: &DataConfig, report: &DataReport) {
    let settings = toml::to_string(config).unwrap_or_default();
    say!("{}", settings.lines().collect::<Vec<_>>().join(", "));
    let count = |len: Option<u64>| len.map_or("endless".to_owned(), |len| len.to_string());
    let (train, held_out) = (count(report.train), count(report.held_out));
    say!("  training {train}, held out {held_out}; {} read", report.read);
    let mut sizes: Vec<(&String, &usize)> = report.sizes.iter().collect();
    sizes.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let shown = sizes.iter().take(12).map(|(size, count)| format!("{size} ({count})"));
    let shown = shown.collect::<Vec<_>>().join(", ");
    let more = sizes.len().saturating_sub(12);
    let more = if more > 0 { format!(" and {more} more sizes") } else { String::new() };
    say!("  images: {}{more}", if shown.is_empty() { "none" } else { &shown });
    say!("  bytes of text: {}; {} without", summary(&report.text_bytes), report.without_text);
    say!("  tokens per document, with patches: {}", summary(&report.tokens));
    let percent = 100.0 * report.bad as f64 / (report.read + report.bad).max(1) as f64;
    say!("  bad records: {} ({percent:.2} %), {} allowed", report.bad, report.allowed);
    if report.files > 0 {
        say!(
            "  bad files: {} of {}, {:.2} counted by lost content, {:.2} allowed",
            report.bad_files,
            report.files,
            report.lost_files,
            report.allowed_files
        );
    }
    for (path, why) in report.left_out.iter().take(NAMED) {
        say!("    {path}: {why}");
    }
    if report.left_out.len() > NAMED {
        say!("    and {} more left out; --json names all", report.left_out.len() - NAMED);
    }
}

fn summary(of: &Summary) -> String {
    match of.count {
        0 => "none".to_owned(),
        _ => format!("{} to {}, median {}, mean {:.1}", of.least, of.most, of.median, of.mean),
    }
}

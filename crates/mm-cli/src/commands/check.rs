//! `mm data check`: what a source holds, and what is broken in it.

use mm_data::check::{DataReport, Summary, check};
use mm_data::{DataConfig, DataSet, ImageSettings, Split};
use mm_eval::{contact_sheet, examples};
use mm_patch::Image;

use crate::args::CheckArgs;
use crate::output::{format_of, free, write_image};
use crate::recipes;
use crate::report::{Failure, say, usage};

/// Token ids of the tokenizer that counts tokens, where no recipe says it.
const VOCAB: usize = 1024;
/// Pictures of a sheet.
const ON_SHEET: usize = 48;
/// Broken items that are named one by one.
const NAMED: usize = 10;

pub fn run(args: &CheckArgs) -> Result<(), Failure> {
    if let Some(sheet) = &args.sheet {
        free(sheet, args.force)?;
        format_of(sheet)?;
    }
    let (data, image, vocab) = source(args)?;
    let sources: Vec<&DataConfig> = match &data {
        DataConfig::Mixture(mixture) => mixture.parts.iter().map(|part| &part.data).collect(),
        one => vec![one],
    };
    let mut too_bad = 0;
    for config in sources {
        let report = check(config, image, vocab)?;
        match args.json {
            true => say!("{}", serde_json::to_string(&report)?),
            false => print(config, &report),
        }
        too_bad += usize::from(report.too_bad);
    }
    if let Some(sheet) = &args.sheet {
        let data = DataSet::open(&data.with_max_bad(1.0), image)?;
        let shown = examples(&data, Split::Train, ON_SHEET, 0)?;
        let images: Vec<Image> = shown.into_iter().map(|example| example.image).collect();
        write_image(sheet, &contact_sheet(&images, &[]))?;
    }
    match too_bad {
        0 => Ok(()),
        _ => {
            let why = anyhow::anyhow!("more is broken than `max_bad` allows");
            Err(Failure::failed(why).hint("mend or remove what is named above, or raise `max_bad`"))
        }
    }
}

/// The source, the size of its pictures, and the vocabulary that its tokens are counted with.
fn source(args: &CheckArgs) -> Result<(DataConfig, ImageSettings, usize), Failure> {
    let known = recipes::EMBEDDED.iter().any(|(name, _)| *name == args.source);
    if known || args.source.ends_with(".toml") {
        let recipe = recipes::find(&args.source)?;
        return Ok((recipe.data, recipe.image, recipe.vocab));
    }
    let sides = args.size.split_once('x');
    let sides = sides.and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    let (width, height) = sides.ok_or_else(|| {
        usage!("`--size {}` is no size, wanted WIDTHxHEIGHT such as 64x64", args.size)
    })?;
    let image = ImageSettings { width, height, patch: args.patch };
    image.validate().map_err(Failure::usage)?;
    Ok((DataConfig::of_path(&args.source).map_err(Failure::usage)?, image, VOCAB))
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
    let more = if more > 0 { format!(" and {more} sizes more") } else { String::new() };
    say!("  pictures: {}{more}", if shown.is_empty() { "none" } else { &shown });
    say!("  text, bytes: {}; {} without", summary(&report.text_bytes), report.without_text);
    say!("  tokens a document, patches included: {}", summary(&report.tokens));
    let percent = 100.0 * report.bad as f64 / (report.read + report.bad).max(1) as f64;
    say!("  broken: {} ({percent:.2} %), {} allowed", report.bad, report.allowed);
    if report.files > 0 {
        say!(
            "  broken files: {} of {}, by what is lost {:.2}, {:.2} allowed",
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

//! `mm init`: looks at a folder, shards, tables or documents, says what it found, and writes a
//! recipe that fits.

use std::path::{Path, PathBuf};

use clap::Parser;
use mm_data::survey::{Survey, survey};
use mm_data::{DataConfig, DataSet, ImageFit};
use mm_model::folder::write_atomic;
use mm_train::Recipe;

use crate::files::{Size, free_file};
use crate::recipes;
use crate::terminal::{Failure, quoted, say, usage};

#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  mm init images/ --out my.toml
  mm init \"shards/{000..099}.tar\" --out my.toml --size 128x128
  mm plan my.toml && mm train my.toml --out runs/mine")]
pub struct InitArgs {
    /// Folder, or pattern of .tar, .parquet, .jsonl or .txt files.
    source: String,
    /// Recipe to write.
    #[arg(long, value_name = "FILE", default_value = "recipe.toml")]
    out: PathBuf,
    /// Width and height of images in pixels, instead of what fits most of them.
    #[arg(long, value_name = "WxH")]
    size: Option<Size>,
    /// Replace a recipe that exists.
    #[arg(long)]
    force: bool,
}

/// The recipes whose numbers are taken: for images of up to so many pixels.
const SMALL: &str = "emoji-32";
const LARGE: &str = "emoji-64";
const SMALL_PIXELS: usize = 32 * 32;
/// The side of a patch.
const PATCH: usize = 8;
/// How often a run shows every record, within bounds of its steps.
const EPOCHS: u64 = 100;
const STEPS: [u64; 2] = [2_000, 30_000];

pub fn run(args: &InitArgs) -> Result<(), Failure> {
    free_file(&args.out, args.force)?;
    if let Some(size) = args.size.filter(|size| !size.is_whole(PATCH)) {
        return Err(usage!("`--size {size}`, wanted multiples of {PATCH}, the side of a patch"));
    }
    let found = survey(&args.source).map_err(Failure::usage)?;
    let image = args.size.map_or_else(|| fitting(&found), |size| [size.width, size.height]);
    let recipe = recipe(&found, image)?;
    let folder = recipes::folder_of(&args.out)?;
    tell_found(&args.source, &found);
    // What a run would refuse is told now.
    let here = std::path::absolute(".")?;
    let data = DataSet::open(&recipe.data.within(&here), recipe.image)?;
    data.check_trainable(recipe.vocab)?;
    let data = from_folder(&recipe.data, &here, &folder);
    let recipe = Recipe { data, ..recipe };
    let text = format!(
        "# {} by `mm init`: {} records for training, {} held out.\n#\n# command: mm train {} --out runs/mine\n{}",
        args.source.escape_debug(),
        found.train,
        found.held_out,
        args.out.display(),
        toml::to_string_pretty(&recipe)?
    );
    Recipe::from_toml(&text).map_err(Failure::failed)?;
    write_atomic(&args.out, text.as_bytes())?;
    let [width, height] = image;
    say!(
        "{}: images of {width}x{height}, patch {PATCH}, vocab {}, {} steps of {}",
        args.out.display(),
        recipe.vocab,
        recipe.run.steps,
        recipe.run.batch
    );
    say!("  `mm plan {0}` tells the time it takes, `mm train {0}` trains", quoted(&args.out));
    Ok(())
}

fn tell_found(source: &str, found: &Survey) {
    let kind = match &found.data {
        DataConfig::Folder(_) => "a folder of images",
        DataConfig::Webdataset(_) => "shards in the manner of WebDataset",
        DataConfig::Parquet(_) => "Parquet tables",
        _ => "documents",
    };
    say!("{source}: {kind}");
    say!("  training {}, held out {}", found.train, found.held_out);
    if found.widths.count > 0 {
        let (widths, heights) = (&found.widths, &found.heights);
        let differ = if found.shapes_differ { ", of several shapes" } else { "" };
        say!(
            "  images of about {}x{}, from {}x{} to {}x{} (larger ones are shown as 512){differ}",
            widths.median,
            heights.median,
            widths.least,
            heights.least,
            widths.most,
            heights.most
        );
    }
    let bytes = &found.text_bytes;
    match (&found.data, found.has_text) {
        (_, false) => match &found.unread_captions {
            Some(why) => say!("  no captions: {why}"),
            None => say!("  no captions"),
        },
        (DataConfig::Folder(folder), true) => say!(
            "  captions ({}) of {} to {} bytes",
            match folder.captions {
                mm_data::Captions::Folders => "names of folders",
                _ => "written",
            },
            bytes.least,
            bytes.most
        ),
        (_, true) => say!("  text of {} to {} bytes", bytes.least, bytes.most),
    }
    if let Some(first) = &found.first_left_out {
        say!("  left out {}: {first}", found.left_out);
    }
}

/// Returns a width and a height that fit most images: 32 or 64 pixels on a side, or as many in
/// their own shape.
fn fitting(found: &Survey) -> [usize; 2] {
    let [width, height] = [found.widths.median.max(1), found.heights.median.max(1)];
    let side = if width.min(height) < 48 { 32.0 } else { 64.0 };
    let shape = if found.shapes_differ { 1.0 } else { (width as f64 / height as f64).sqrt() };
    [side * shape, side / shape].map(|side| ((side / PATCH as f64).round() as usize).max(1) * PATCH)
}

/// Returns an embedded recipe with the source and what depends on it.
fn recipe(found: &Survey, image: [usize; 2]) -> Result<Recipe, Failure> {
    let [width, height] = image;
    let base = if width * height <= SMALL_PIXELS { SMALL } else { LARGE };
    let mut recipe = recipes::find(base)?;
    recipe.data = found.data.clone();
    if found.shapes_differ {
        recipe.data = recipe.data.with_fit(ImageFit::Aspect);
    }
    recipe.image.width = width;
    recipe.image.height = height;
    recipe.image.patch = PATCH;
    // An image in its own shape may have one row of all the patches.
    let places = if found.shapes_differ { 0 } else { width.max(height) / PATCH };
    if let Some(unified) = recipe.model.network.unified_mut() {
        unified.patch_pos_embed = places;
    }
    let text = found.text_bytes.mean * found.train as f64;
    recipe.vocab = match (found.has_text, text as u64) {
        (false, _) => 0,
        (true, ..20_000) => 512,
        (true, ..1_000_000) => 1024,
        (true, _) => 4096,
    };
    if !found.has_text {
        recipe.mix.draw = [1.0, 1.0];
        recipe.mix.read = [0.0, 0.0];
        recipe.mix.finished = 0.0;
        recipe.mix.caption_drop = 1.0;
        recipe.loss.text = 0.0;
    }
    let [least, most] = STEPS;
    recipe.run.steps = (found.train * EPOCHS / recipe.run.batch as u64).clamp(least, most);
    Ok(recipe)
}

/// Returns a source whose paths are meant from `here` on with paths from the folder of its recipe
/// on, if they lie in it, and whole ones otherwise.
fn from_folder(data: &DataConfig, here: &Path, folder: &Path) -> DataConfig {
    let shorter = |path: &Path| path.strip_prefix(folder).unwrap_or(path).to_owned();
    let mut data = data.within(here);
    let names = |files: &mut Vec<String>| {
        for file in files {
            *file = shorter(Path::new(file)).display().to_string();
        }
    };
    match &mut data {
        DataConfig::Folder(config) => config.path = shorter(&config.path),
        DataConfig::Webdataset(config) => names(&mut config.files),
        DataConfig::Parquet(config) => names(&mut config.files),
        DataConfig::Documents(config) => names(&mut config.files),
        _ => {}
    }
    data
}

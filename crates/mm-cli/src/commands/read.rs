//! `mm read`: a caption for each image.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use clap::Parser;
use mm_data::{EXTENSIONS, is_image};
use mm_model::{Document, GenerateOptions, LoadedModel};
use serde::Serialize;

use crate::files::{fitted, read_image};
use crate::model::{CommonArgs, TokenArgs};
use crate::terminal::{Failure, failed, say, tell, usage};

#[derive(Debug, Parser)]
#[command(
    after_help = "An image that cannot be read is named on standard error and counted; the others are read, and the
exit code is 1.

Examples:
  mm read runs/glyphs/model k.png e.jpg
  mm read runs/glyphs/model drawn/ --json > captions.jsonl"
)]
pub struct ReadArgs {
    /// Model folder.
    model: PathBuf,
    /// Image files and folders. Of a folder, all image files are read in the order of their names,
    /// but not the folders in it. Each image is fitted to the size of the model's images.
    #[arg(required = true, value_name = "IMAGE|DIR")]
    images: Vec<PathBuf>,
    /// Print one JSON object for each image: image and caption, or image and error.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    tokens: TokenArgs,
    #[command(flatten)]
    common: CommonArgs,
}

/// The number of images that are read at once.
const TOGETHER: usize = 16;

/// A line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    image: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caption: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

pub fn run(args: &ReadArgs) -> Result<(), Failure> {
    let files = files(&args.images)?;
    let mut first = None;
    if let ([one], false) = (args.images.as_slice(), args.images[0].is_dir()) {
        // A single bad image is known before the model is loaded. It may be a pipe, which can be
        // read once.
        first = Some(read_image(one)?);
    }
    let model = args.common.load(&args.model)?;
    let options = args.tokens.set(model.options(args.common.seed));
    let mut bad = 0;
    for some in files.chunks(TOGETHER) {
        let decoded = match first.take() {
            Some(image) => vec![fitted(&image, &model).map(Document::of_image)],
            None => some.iter().map(|file| decode(file, &model)).collect(),
        };
        bad += read(args, some, &decoded, &model, &options)?;
    }
    match bad {
        0 => Ok(()),
        bad => Err(failed!("{bad} of {} images cannot be read", files.len())),
    }
}

/// Decodes an image and fits it to the model.
fn decode(file: &Path, model: &LoadedModel) -> Result<Document, Failure> {
    fitted(&read_image(file)?, model).map(Document::of_image)
}

/// Writes captions of some images at once, and returns the number of bad ones.
fn read(
    args: &ReadArgs,
    files: &[PathBuf],
    decoded: &[Result<Document, Failure>],
    model: &LoadedModel,
    options: &GenerateOptions,
) -> Result<usize, Failure> {
    let prompts: Vec<Document> = decoded.iter().flatten().cloned().collect();
    let captions = if prompts.is_empty() { vec![] } else { model.read(&prompts, options)? };
    let mut captions = captions.iter();
    let mut bad = 0;
    for (image, decoded) in files.iter().zip(decoded) {
        let (caption, error) = match decoded {
            Ok(_) => (captions.next().map(String::as_str), None),
            Err(why) => (None, Some(why.chain())),
        };
        bad += usize::from(error.is_some());
        if args.json {
            let image = image.to_string_lossy(); // JSON has no other bytes than text
            let line = Line { image, caption, error: error.as_deref() };
            say!("{}", serde_json::to_string(&line)?);
        } else if let Some(why) = error {
            tell!("{why}");
        } else if let (Some(caption), [_]) = (caption, args.images.as_slice())
            && !args.images[0].is_dir()
        {
            say!("{caption}");
        } else {
            say!("{}: {}", image.display(), caption.unwrap_or_default());
        }
    }
    Ok(bad)
}

/// Returns the files of the command line, and those of its folders in the order of their names.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = vec![];
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = fs_err::read_dir(path)?.collect::<Result<Vec<_>, _>>()?;
        let paths = entries.into_iter().map(|entry| entry.path());
        let mut found: Vec<PathBuf> =
            paths.filter(|file| is_image(file) && file.is_file()).collect();
        found.sort();
        if found.is_empty() {
            let endings = EXTENSIONS.join(", ");
            return Err(usage!("`{}` has no image file, wanted {endings}", path.display()));
        }
        files.extend(found);
    }
    Ok(files)
}

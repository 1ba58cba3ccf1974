//! `mm generate`: a prompt of texts and images in any order, continued with texts and images.

use std::path::PathBuf;

use clap::{ArgMatches, Parser};
use mm_model::{Document, Event, GenerateOptions, Segment, Turn};
use mm_patch::Image;
use mm_text::MAX_SIDE;

use crate::files::{fitted, free, free_folder, read_image, within, write_image_with};
use crate::metadata::{Metadata, MetadataArgs};
use crate::model::{SamplingArgs, cannot_generate};
use crate::terminal::{Failure, say, usage, write_out};

#[derive(Debug, Parser)]
#[command(after_help = "The prompt holds texts and images in the order of the flags. Examples:
  mm generate runs/glyphs/model --text \"red K on yellow\" --out made
  mm generate runs/glyphs/model --image a.png --image b.png
  mm generate runs/glyphs/model --image a.png --text \"red\" --json")]
pub struct GenerateArgs {
    /// Model folder.
    model: PathBuf,
    /// Text of the prompt; can be repeated.
    #[arg(long, value_name = "T")]
    text: Vec<String>,
    /// Image file of the prompt; can be repeated.
    #[arg(long, value_name = "FILE")]
    image: Vec<PathBuf>,
    /// Ask the prompt as one turn of a dialogue, as the recipe `dialogue` trains it.
    #[arg(long)]
    chat: bool,
    /// Folder for the images that are drawn, which are named image-1.png and so on.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Number of answers, each with a seed of its own.
    #[arg(long, value_name = "N", default_value_t = 1)]
    count: usize,
    /// Largest number of images in an answer.
    #[arg(long, value_name = "N", default_value_t = 4)]
    max_images: usize,
    /// Largest number of patches of an image whose size the model writes itself.
    #[arg(long, value_name = "N", default_value_t = MAX_SIDE * MAX_SIDE)]
    max_patches: usize,
    /// Text that ends the answer; can be repeated.
    #[arg(long, value_name = "S")]
    stop: Vec<String>,
    /// Print one JSON object for each answer instead of plain text.
    #[arg(long)]
    json: bool,
    /// Replace files that exist.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    metadata: MetadataArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// A segment of the prompt: an index into the values of `--text` or of `--image`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromptSegment {
    Text(usize),
    Image(usize),
}

/// The largest number of images of all answers together. Each has a file, whose name must be free.
const MOST_IMAGES: usize = 100_000;

/// Returns the segments of the prompt in the order in which `--text` and `--image` were given.
pub fn prompt_order(matches: &ArgMatches) -> Vec<PromptSegment> {
    let indices = |flag: &str| matches.indices_of(flag).into_iter().flatten().enumerate();
    let texts = indices("text").map(|(which, at)| (at, PromptSegment::Text(which)));
    let images = indices("image").map(|(which, at)| (at, PromptSegment::Image(which)));
    let mut segments: Vec<(usize, PromptSegment)> = texts.chain(images).collect();
    segments.sort_by_key(|(at, _)| *at);
    segments.into_iter().map(|(_, segment)| segment).collect()
}

pub fn run(args: &GenerateArgs, order: &[PromptSegment]) -> Result<(), Failure> {
    within("--max-images", args.max_images.max(1), MOST_IMAGES)?;
    within("--count", args.count, MOST_IMAGES / args.max_images.max(1))?;
    if args.stop.iter().any(String::is_empty) {
        return Err(usage!("`--stop` is empty, wanted a text that ends an answer"));
    }
    let images = args.image.iter().map(|path| read_image(path)).collect::<Result<Vec<_>, _>>()?;
    free_folder(&args.out)?;
    for number in 1..=args.count * args.max_images {
        free(&file(args, number), args.force)?;
    }
    let model = args.sampling.load(&args.model)?;
    let segment = |segment: &PromptSegment| match *segment {
        PromptSegment::Text(which) => Ok(Segment::context_text(&args.text[which])),
        PromptSegment::Image(which) => fitted(&images[which], &model).map(Segment::context_image),
    };
    let segments = order.iter().map(segment).collect::<Result<_, Failure>>()?;
    let prompt = if args.chat {
        Document::of_turns(vec![Turn { asked: segments, answer: vec![] }])
    } else {
        Document { segments }
    };
    let base = args.sampling.options(&model);
    let mut written = 0;
    for answer in 0..args.count as u64 {
        let options = GenerateOptions {
            seed: base.seed.wrapping_add(answer),
            max_images: args.max_images,
            max_patches: args.max_patches,
            stop: args.stop.clone(),
            ..base.clone()
        };
        let metadata = Metadata::of(&args.text.join("\n"), &args.model, &options);
        let mut failed = None;
        let made = model.generate(&prompt, &options, &mut |event| {
            if let Err(why) = show(args, event, &metadata, &mut written) {
                failed.get_or_insert(why);
            }
        });
        let made = made.map_err(cannot_generate(&args.model))?;
        if let Some(why) = failed {
            return Err(why);
        }
        finish(args, &made, written);
    }
    Ok(())
}

/// Prints text as it comes, and writes images as they are done.
fn show(
    args: &GenerateArgs,
    event: Event<'_>,
    metadata: &Metadata,
    written: &mut usize,
) -> Result<(), Failure> {
    match event {
        Event::Text(text) if !args.json => write_out(format_args!("{text}")),
        Event::Image(image) => {
            *written += 1;
            save(args, image, metadata, *written)?;
        }
        Event::Text(_) | Event::Step(..) => {}
    }
    Ok(())
}

fn save(
    args: &GenerateArgs,
    image: &Image,
    metadata: &Metadata,
    number: usize,
) -> Result<(), Failure> {
    fs_err::create_dir_all(&args.out)?;
    let path = file(args, number);
    let size = format!("{}x{}", image.width(), image.height());
    let metadata = metadata.clone().with("Size", size);
    write_image_with(&path, image, metadata.texts(&args.metadata))?;
    if !args.json {
        say!("[{}]", path.display());
    }
    Ok(())
}

fn file(args: &GenerateArgs, number: usize) -> PathBuf {
    args.out.join(format!("image-{number}.png"))
}

/// Ends an answer with a line break, or with its JSON object. `written` counts the images so far.
fn finish(args: &GenerateArgs, made: &Document, written: usize) {
    if !args.json {
        say!();
        return;
    }
    let is_image = |segment: &&Segment| matches!(segment, Segment::Image { .. });
    let mut number = written - made.segments.iter().filter(is_image).count();
    let mut segments = vec![];
    for segment in &made.segments {
        segments.push(match segment {
            Segment::Text { text, .. } => serde_json::json!({ "text": text }),
            Segment::Image { .. } => {
                number += 1;
                serde_json::json!({ "image": file(args, number).to_string_lossy() })
            }
        });
    }
    say!("{}", serde_json::json!({ "segments": segments }));
}

//! `mm generate`: an ordered prompt of texts and images, answered in texts and images.

use mm_model::{Document, Event, GenerateOptions, Segment};
use mm_patch::Image;

use super::{cannot_generate, load, options};
use crate::args::{GenerateArgs, Piece};
use crate::output::{fitted, free, read_image, within, write_image};
use crate::report::{Failure, say, write_out};

/// The most images of all answers: each has a file, whose name must be free.
const MOST_IMAGES: usize = 100_000;

pub fn run(args: &GenerateArgs, order: &[Piece]) -> Result<(), Failure> {
    within("--max-images", args.max_images.max(1), MOST_IMAGES)?;
    within("--count", args.count, MOST_IMAGES / args.max_images.max(1))?;
    let images = args.image.iter().map(|path| read_image(path)).collect::<Result<Vec<_>, _>>()?;
    for number in 1..=args.count * args.max_images {
        free(&file(args, number), args.force)?;
    }
    let model = load(&args.model, &args.sampling)?;
    let segment = |piece: &Piece| match *piece {
        Piece::Text(which) => Ok(Segment::context_text(&args.text[which])),
        Piece::Image(which) => fitted(&images[which], &model).map(Segment::context_image),
    };
    let prompt = Document { segments: order.iter().map(segment).collect::<Result<_, Failure>>()? };
    let base = options(&args.sampling, &model);
    let mut written = 0;
    for answer in 0..args.count as u64 {
        let options = GenerateOptions {
            seed: base.seed.wrapping_add(answer),
            max_images: args.max_images,
            stop: args.stop.clone(),
            ..base.clone()
        };
        let mut failed = None;
        let made = model.generate(&prompt, &options, &mut |event| {
            if let Err(why) = tell(args, event, &mut written) {
                failed.get_or_insert(why);
            }
        });
        let made = made.map_err(cannot_generate(&args.model))?;
        if let Some(why) = failed {
            return Err(why);
        }
        finish(args, &made, written)?;
    }
    Ok(())
}

/// Says text as it comes and writes images as they are done.
fn tell(args: &GenerateArgs, event: Event<'_>, written: &mut usize) -> Result<(), Failure> {
    match event {
        Event::Text(text) if !args.json => {
            write_out(format_args!("{text}"));
            Ok(())
        }
        Event::Image(image) => {
            *written += 1;
            save(args, image, *written)
        }
        Event::Text(_) | Event::Step(..) => Ok(()),
    }
}

fn save(args: &GenerateArgs, image: &Image, number: usize) -> Result<(), Failure> {
    fs_err::create_dir_all(&args.out)?;
    let path = file(args, number);
    write_image(&path, image)?;
    if !args.json {
        say!("[{}]", path.display());
    }
    Ok(())
}

fn file(args: &GenerateArgs, number: usize) -> std::path::PathBuf {
    args.out.join(format!("image-{number}.png"))
}

/// Ends an answer: a new line, or its JSON.
fn finish(args: &GenerateArgs, made: &Document, written: usize) -> Result<(), Failure> {
    if !args.json {
        say!();
        return Ok(());
    }
    let images =
        made.segments.iter().filter(|segment| matches!(segment, Segment::Image { .. })).count();
    let mut number = written - images;
    let segments: Vec<serde_json::Value> = made
        .segments
        .iter()
        .map(|segment| match segment {
            Segment::Text { text, .. } => serde_json::json!({ "text": text }),
            Segment::Image { .. } => {
                number += 1;
                serde_json::json!({ "image": file(args, number) })
            }
        })
        .collect();
    say!("{}", serde_json::json!({ "segments": segments }));
    Ok(())
}

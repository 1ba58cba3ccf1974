//! `mm data show`: one record as the model sees it.

use std::path::PathBuf;

use clap::Parser;
use mm_data::{DataSet, Record, Split};
use mm_eval::contact_sheet;
use mm_model::Segment;
use mm_model::random::{Purpose, stream};
use mm_patch::Image;

use super::SplitArg;
use super::check::{Subject, subject};
use crate::files::{Size, format_of, free_file, write_image};
use crate::terminal::{Failure, failed, say, usage};

#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  mm data show my-recipe.toml --record 3 --out 3.png
  mm data show images/ --size 128x128 --record 0 --out 0.png")]
pub struct ShowArgs {
    /// Recipe, folder, or pattern of .tar, .parquet, .jsonl or .txt files.
    source: String,
    /// Number of the record in its split, from 0 on.
    #[arg(long, value_name = "N", default_value_t = 0)]
    record: u64,
    /// Image file to write: png, jpg, webp or bmp. The caption goes to standard output.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Split of the data.
    #[arg(long, value_enum, default_value = "train")]
    split: SplitArg,
    /// Width and height of images in pixels, if the source is not a recipe.
    #[arg(long, value_name = "WxH", default_value = "64x64")]
    size: Size,
    /// Width and height of a patch in pixels, if the source is not a recipe.
    #[arg(long, value_name = "P", default_value_t = 8)]
    patch: usize,
    /// Replace a file that exists.
    #[arg(long)]
    force: bool,
}

pub fn run(args: &ShowArgs) -> Result<(), Failure> {
    free_file(&args.out, args.force)?;
    format_of(&args.out)?;
    let Subject { data, image, .. } = subject(&args.source, args.size, args.patch)?;
    // A bad record is this command's answer, whatever share of the others is bad too.
    let data = DataSet::open(&data.with_max_bad(1.0), image)?;
    let (split, at) = (Split::from(args.split), args.record);
    if let Some(len) = data.len(split).filter(|len| at >= *len) {
        return Err(usage!("`--record {at}`, the split has {len} records, counted from 0"));
    }
    let mut rng = stream(0, Purpose::Example, u64::MAX, at);
    let (text, images) = parts(data.load(split, at, &mut rng).map_err(mm_data::DataError::from)?);
    say!("{text}");
    match images.as_slice() {
        [] => Err(failed!("record {at} has no image, `{}` is not written", args.out.display())),
        [one] => write_image(&args.out, one),
        several => write_image(&args.out, &contact_sheet(several, &[])),
    }
}

/// Returns the text and the images of a record.
fn parts(record: Record) -> (String, Vec<Image>) {
    let (mut text, mut images) = (String::new(), vec![]);
    match record {
        Record::Captioned(example) => {
            text = example.caption;
            images.push(example.image);
        }
        Record::Whole(document) => {
            for segment in document.segments {
                match segment {
                    Segment::Text { text: more, .. } => text += &more,
                    Segment::Image { image, .. } => images.push(image),
                }
            }
        }
    }
    (text, images)
}

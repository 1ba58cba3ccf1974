//! `mm draw`: images for a caption, or for every caption of a file.

mod output;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use clap::Parser;
use mm_eval::{contact_sheet, contact_sheet_at, magnified};
use mm_model::{Document, GenerateOptions, LoadedModel};
use mm_patch::{Grid, Image};
use mm_text::MAX_SIDE;
use serde::Serialize;

use crate::files::{
    Size, at_least_one, format_of, free, free_file, free_folder, most_of, pixels_of,
    pixels_on_sheet, within, write_image_with,
};
use crate::metadata::{Metadata, MetadataArgs};
use crate::model::{CommonArgs, DrawingArgs, cannot_generate};
use crate::terminal::{Failure, say, usage};
use output::Output;

/// `{n}` as help shows it: clap makes a line break of the plain letters, and leaves bold ones.
macro_rules! number {
    () => {
        "\x1b[1m{\x1b[1mn}\x1b[0m"
    };
}

const EXAMPLES: &str = concat!(
    "Examples:
  mm draw runs/glyphs/model \"red K on yellow\" --out k.png --count 4 --zoom 4
  mm draw runs/glyphs/model \"red K on yellow\" --out k-",
    number!(),
    ".png --count 4
  mm draw runs/glyphs/model --captions captions.txt --out drawn/ --json
  mm draw jit-b-16 --class 207 --guidance 3 --out dog.png"
);

const OUT: &str = concat!(
    "What to write. An image file (png, jpg, webp or bmp) holds all images of --count side by side; \
     k-",
    number!(),
    ".png is one file for each image, with its number in place of ",
    number!(),
    ". A folder (a name that ends in / or a folder that exists) gets one file for each image, \
     named by number and caption"
);

#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub struct DrawArgs {
    /// Model folder.
    model: PathBuf,
    /// Text that describes the image.
    #[arg(required_unless_present_any = ["captions", "class"], conflicts_with = "captions")]
    caption: Option<String>,
    /// Number or name of a class, for models that draw classes; the same as a caption that holds
    /// it.
    #[arg(long, value_name = "CLASS", conflicts_with_all = ["caption", "captions"])]
    class: Option<String>,
    /// Text file with one caption on each line, instead of one caption; empty lines are passed
    /// over. Each image has a file of its own in the folder --out.
    #[arg(long, value_name = "FILE")]
    captions: Option<PathBuf>,
    #[arg(long, value_name = "FILE|DIR", help = OUT)]
    out: PathBuf,
    /// Width and height in pixels [default: the model's].
    #[arg(long, value_name = "WxH")]
    size: Option<Size>,
    /// Number of images to draw for each caption; each has the seed after that of the one before.
    #[arg(long, value_name = "N", default_value_t = 1)]
    count: usize,
    /// Factor by which every pixel is magnified [default: 1; in a file of several images, what
    /// makes them 64 pixels wide].
    #[arg(long, value_name = "N")]
    zoom: Option<usize>,
    /// Print one JSON object for each file: image, caption, seed, width and height.
    #[arg(long)]
    json: bool,
    /// Replace files that exist.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    metadata: MetadataArgs,
    #[command(flatten)]
    drawing: DrawingArgs,
    #[command(flatten)]
    common: CommonArgs,
}

/// The largest number of images that one command draws. Each has a file, whose name must be free.
const MOST_IMAGES: usize = 100_000;

/// The most bytes of a caption, as in data: a model reads them all at once.
const LONGEST_CAPTION: usize = 16 * 1024;

/// The number of images that are drawn before they are written.
const TOGETHER: usize = 16;

/// A line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    image: Cow<'a, str>,
    caption: &'a str,
    seed: u64,
    width: usize,
    height: usize,
}

/// A model and how it draws.
struct Drawing<'a> {
    args: &'a DrawArgs,
    model: LoadedModel,
    grid: Grid,
    options: GenerateOptions,
}

pub fn run(args: &DrawArgs) -> Result<(), Failure> {
    at_least_one("--count", args.count)?;
    at_least_one("--zoom", args.zoom.unwrap_or(1))?;
    let output = Output::of(&args.out, args.captions.is_some())?;
    let captions = captions(args)?;
    if matches!(output, Output::Sheet(_)) {
        format_of(&args.out)?;
        free_file(&args.out, args.force)?;
    } else {
        within("--count", args.count, (MOST_IMAGES / captions.len()).max(1))?;
    }
    let captions: Vec<&str> = captions
        .iter()
        .flat_map(|caption| std::iter::repeat_n(caption.as_str(), args.count.min(MOST_IMAGES)))
        .collect();
    let files = output.files(&captions);
    for file in &files {
        match output {
            Output::Folder(_) => free(file, args.force)?, // the folder is made
            _ => free_file(file, args.force)?,
        }
    }
    if let Output::Folder(folder) = &output {
        free_folder(folder)?;
    }
    let model = args.common.load(&args.model)?;
    args.drawing.check(&model)?;
    let grid = grid(args.size, &model)?;
    let zoom = args.zoom.unwrap_or(1);
    within("--zoom", zoom, most_of(pixels_of(grid)).isqrt())?;
    let options = args.drawing.set(model.options(args.common.seed));
    let drawing = Drawing { args, model, grid, options };
    match &output {
        Output::Sheet(path) => drawing.sheet(path, captions[0]),
        Output::Folder(folder) => {
            fs_err::create_dir_all(folder)?;
            drawing.each(&captions, &files)
        }
        Output::Pattern(_) => drawing.each(&captions, &files),
    }
}

/// Returns the caption of the command line, or those of the file.
fn captions(args: &DrawArgs) -> Result<Vec<String>, Failure> {
    let captions: Vec<String> = match &args.captions {
        None => args.caption.iter().chain(&args.class).cloned().collect(),
        Some(file) => lines_of(&fs_err::read_to_string(file)?),
    };
    if let Some(long) = captions.iter().map(String::len).find(|bytes| *bytes > LONGEST_CAPTION) {
        return Err(usage!("a caption has {long} bytes, wanted at most {LONGEST_CAPTION}"));
    }
    let Some(file) = &args.captions else { return Ok(captions) };
    match captions.len() {
        0 => Err(usage!("`{}` has no caption, wanted one on each line", file.display())),
        1..=MOST_IMAGES => Ok(captions),
        found => {
            let file = file.display();
            Err(usage!("`{file}` has {found} captions, wanted at most {MOST_IMAGES}"))
        }
    }
}

/// Returns the lines that are not empty, without the spaces around them and the mark that some
/// editors put before a text.
fn lines_of(text: &str) -> Vec<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

impl Drawing<'_> {
    /// Draws all images of one caption into one file.
    fn sheet(&self, path: &Path, caption: &str) -> Result<(), Failure> {
        let (count, grid) = (self.args.count, self.grid);
        let pixels = match self.args.zoom {
            Some(zoom) => (grid.width() * zoom + 4) * (grid.height() * zoom + 4),
            None => pixels_on_sheet(grid.width(), grid.height()),
        };
        if count > 1 {
            within("--count", count, most_of(pixels))?;
        }
        let prompt = Document::of_text(caption);
        let images = self
            .model
            .draw_many(&prompt, count, grid, &self.options)
            .map_err(cannot_generate(&self.args.model))?;
        let image = match (images.as_slice(), self.args.zoom) {
            ([one], zoom) => magnified(one, zoom.unwrap_or(1)),
            (many, Some(zoom)) => contact_sheet_at(many, &[], zoom),
            (many, None) => contact_sheet(many, &[]),
        };
        let images = if count > 1 { count.to_string() } else { String::new() };
        let metadata = self.metadata(caption, self.options.seed).with("Images", images);
        self.write(path, &image, &metadata)?;
        self.tell(path, caption, self.options.seed, &image);
        Ok(())
    }

    /// Draws an image for each caption into a file of its own. Image `i` has the seed after that of
    /// image `i - 1`, so that `mm draw` with its caption and seed draws it again.
    fn each(&self, captions: &[&str], files: &[PathBuf]) -> Result<(), Failure> {
        let mut seed = self.options.seed;
        for (captions, files) in captions.chunks(TOGETHER).zip(files.chunks(TOGETHER)) {
            let prompts: Vec<Document> =
                captions.iter().map(|caption| Document::of_text(caption)).collect();
            let options = GenerateOptions { seed, ..self.options.clone() };
            let images = self
                .model
                .draw_each(&prompts, self.grid, &options)
                .map_err(cannot_generate(&self.args.model))?;
            for ((image, caption), file) in images.iter().zip(captions).zip(files) {
                let image = magnified(image, self.args.zoom.unwrap_or(1));
                self.write(file, &image, &self.metadata(caption, seed))?;
                self.tell(file, caption, seed, &image);
                seed = seed.wrapping_add(1);
            }
        }
        Ok(())
    }

    fn metadata(&self, caption: &str, seed: u64) -> Metadata {
        let options = GenerateOptions { seed, ..self.options.clone() };
        let pixels = Grid { patch: self.model.config.patch_pixels(), ..self.grid };
        Metadata::of(caption, &self.args.model, &options).size(pixels)
    }

    fn write(&self, path: &Path, image: &Image, metadata: &Metadata) -> Result<(), Failure> {
        write_image_with(path, image, metadata.texts(&self.args.metadata))
    }

    /// Prints the file that was written.
    fn tell(&self, file: &Path, caption: &str, seed: u64, image: &Image) {
        if self.args.json {
            let (width, height) = (image.width(), image.height());
            let image = file.to_string_lossy(); // JSON has no other bytes than text
            let line = Line { image, caption, seed, width, height };
            say!("{}", serde_json::to_string(&line).expect("a line is plain data"));
        } else {
            say!("{}", file.display());
        }
    }
}

/// Returns the patches of an image of this size, or of the model's own size.
pub fn grid(size: Option<Size>, model: &LoadedModel) -> Result<Grid, Failure> {
    let generation = &model.generation;
    match size {
        Some(size) => {
            let grid = model.config.grid(size.width, size.height);
            let grid = grid.map_err(|why| usage!("`--size {size}`: {why}"))?;
            let (rows, cols) = (grid.rows, grid.cols);
            // The size of an image beside text is told in tokens.
            let is_told = model.config.vocab > 0 && model.tokenizer.special().by_rows.is_none();
            if is_told && rows.max(cols) > MAX_SIDE {
                let most = format!("wanted at most {MAX_SIDE} x {MAX_SIDE}");
                return Err(usage!("`--size {size}` has {cols} x {rows} patches, {most}"));
            }
            Ok(grid)
        }
        None => model
            .config
            .grid(generation.width, generation.height)
            .map_err(|why| usage!("`width` and `height` of generation_config.json: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_captions_has_one_on_each_line_that_is_not_empty() {
        assert_eq!(
            lines_of("\u{feff}red K\r\n\r\n  blue A on white \n\n"),
            ["red K", "blue A on white"]
        );
        assert_eq!(lines_of("\n \n"), Vec::<String>::new());
    }
}

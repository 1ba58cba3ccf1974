//! `mm edit`: images changed where they may change and kept where they may not.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use mm_model::{
    Color, Constrain, Deblur, Document, EditError, GenerateOptions, ImageToImage, Inpaint, Kernel,
    LoadedModel, Margins, Mask, MaskedArea, Measurement, Restore, SoftMask, SuperResolution,
    outpaint,
};
use mm_patch::{DecodeOptions, Format, Grid, Image};

use super::draw::grid;
use crate::files::{
    cannot_read, fitted, format_of, free_file, read_image, read_image_bytes, within,
    write_image_with,
};
use crate::metadata::{Metadata, MetadataArgs};
use crate::model::{CommonArgs, DrawingArgs};
use crate::terminal::{Failure, say, usage};

#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub struct EditArgs {
    #[command(subcommand)]
    edit: Edit,
}

const EXAMPLES: &str = "Examples:
  mm edit inpaint runs/glyphs/model k.png \"red 7 on yellow\" --mask m.png --out 7.png
  mm edit outpaint runs/glyphs/model k.png \"red K on yellow\" --left 8 --right 8 --out wide.png
  mm edit img2img runs/glyphs/model k.png \"red K on blue\" --strength 0.6 --out blue.png
  mm edit variations runs/glyphs/model k.png --strength 0.4 --count 4 --out varied.png
  mm edit upscale runs/glyphs/model small.png \"red K on yellow\" --factor 4 --out large.png
  mm edit colorize runs/glyphs/model gray.png \"red K on yellow\" --out color.png";

#[derive(Debug, Subcommand)]
enum Edit {
    /// Draw anew what a mask frees; every other pixel keeps its bytes.
    Inpaint(InpaintArgs),
    /// Draw an image on beyond its borders; its own pixels keep their bytes.
    Outpaint(OutpaintArgs),
    /// Noise an image part of the way and denoise it again; without a caption: variations of it.
    #[command(name = "img2img", visible_alias = "variations")]
    ImageToImage(ImageToImageArgs),
    /// Enlarge an image; averaged down, the result is the given image to the bit.
    Upscale(UpscaleArgs),
    /// Color an image; the result has its luma (BT.601, rounded) to the bit.
    Colorize(RestoreArgs),
    /// Sharpen an image that was blurred by a known kernel.
    Deblur(DeblurArgs),
    /// Draw an image again with another caption, from the noise that it has under its own.
    Swap(SwapArgs),
    /// Draw images between two images or between two captions.
    Between(BetweenArgs),
}

/// Flags of every edit.
#[derive(Debug, Args)]
struct Common {
    /// Image file to write, without loss: png, webp or bmp. With --count, image 2 of k.png is
    /// k-2.png.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Number of images to draw.
    #[arg(long, value_name = "N", default_value_t = 1)]
    count: usize,
    /// Replace a file that exists.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    metadata: MetadataArgs,
    #[command(flatten)]
    drawing: DrawingArgs,
    #[command(flatten)]
    shared: CommonArgs,
}

/// A model, an image and a caption.
#[derive(Debug, Args)]
struct RestoreArgs {
    /// Model folder.
    model: PathBuf,
    /// Image file to edit.
    image: PathBuf,
    /// Text that describes the result.
    #[arg(default_value = "")]
    caption: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct InpaintArgs {
    #[command(flatten)]
    on: RestoreArgs,
    /// Mask file of the size of the image: transparent pixels are drawn anew or, in a file without
    /// any, white ones [default: the transparent pixels of the image].
    #[arg(long, value_name = "FILE")]
    mask: Option<PathBuf>,
    /// Draw anew what the mask keeps, and keep the rest.
    #[arg(long)]
    invert_mask: bool,
    /// Meaning of the gray pixels of the mask.
    #[arg(long, value_name = "MEANING", default_value = "blend")]
    soft: Soft,
    /// Share of the steps that is made, starting from the image; 1 starts from noise.
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    strength: f64,
    /// Edit only a region around the mask, at the size of the model's images; for images of any
    /// size.
    #[arg(long)]
    only_masked: bool,
    /// Pixels around the mask that belong to the region.
    #[arg(long, value_name = "N", default_value_t = 8, requires = "only_masked")]
    padding: usize,
}

/// What gray pixels of a mask mean.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Soft {
    /// A share of the new pixel.
    Blend,
    /// A strength of its own for each pixel.
    Strength,
}

#[derive(Debug, Args)]
struct OutpaintArgs {
    #[command(flatten)]
    on: RestoreArgs,
    /// New columns on the left.
    #[arg(long, value_name = "N", default_value_t = 0)]
    left: usize,
    /// New rows above.
    #[arg(long, value_name = "N", default_value_t = 0)]
    top: usize,
    /// New columns on the right.
    #[arg(long, value_name = "N", default_value_t = 0)]
    right: usize,
    /// New rows below.
    #[arg(long, value_name = "N", default_value_t = 0)]
    bottom: usize,
}

#[derive(Debug, Args)]
struct ImageToImageArgs {
    #[command(flatten)]
    on: RestoreArgs,
    /// Share of the steps that is made: 0 returns the image, 1 draws without it.
    #[arg(long, value_name = "S", default_value_t = 0.75)]
    strength: f64,
}

#[derive(Debug, Args)]
struct UpscaleArgs {
    #[command(flatten)]
    on: RestoreArgs,
    /// Factor by which width and height grow.
    #[arg(long, value_name = "N", default_value_t = 2)]
    factor: usize,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("kernel").required(true).args(["sigma", "square"]))]
struct DeblurArgs {
    #[command(flatten)]
    on: RestoreArgs,
    /// Standard deviation in pixels of the normal distribution that the image was blurred by.
    #[arg(long, value_name = "S")]
    sigma: Option<f64>,
    /// Side in pixels, odd, of the square whose mean the image was blurred by.
    #[arg(long, value_name = "N")]
    square: Option<usize>,
}

#[derive(Debug, Args)]
struct SwapArgs {
    #[command(flatten)]
    on: RestoreArgs,
    /// Text that describes the image as it is; the caption describes the result.
    #[arg(long, value_name = "TEXT", default_value = "")]
    old: String,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("ends").required(true).args(["images", "captions"]))]
struct BetweenArgs {
    /// Model folder.
    model: PathBuf,
    /// Two image files, which are fitted to the size of the model's images.
    #[arg(long, value_names = ["FILE", "FILE"], num_args = 2)]
    images: Vec<PathBuf>,
    /// Two captions.
    #[arg(long, value_names = ["TEXT", "TEXT"], num_args = 2)]
    captions: Vec<String>,
    #[command(flatten)]
    common: Common,
}

pub fn run(args: &EditArgs) -> Result<(), Failure> {
    match &args.edit {
        Edit::Inpaint(args) => inpaint(args),
        Edit::Outpaint(OutpaintArgs { left: 0, top: 0, right: 0, bottom: 0, .. }) => {
            Err(usage!("no side grows, wanted one of `--left`, `--top`, `--right`, `--bottom`"))
        }
        Edit::Outpaint(args) => args.on.run(|image, patch| {
            let OutpaintArgs { left, top, right, bottom, .. } = *args;
            let edit = outpaint(&image, Margins { left, top, right, bottom }, patch)?;
            Ok((edit.grid(), Box::new(edit)))
        }),
        Edit::ImageToImage(args) => args.on.run(|image, patch| {
            let edit = ImageToImage::new(image, args.strength, patch)?;
            Ok((edit.grid(), Box::new(edit)))
        }),
        Edit::Upscale(args) => {
            args.on.restore(|image| Ok(Box::new(SuperResolution::new(image, args.factor)?)))
        }
        Edit::Colorize(args) => args.restore(|image| Ok(Box::new(Color::of_image(&image)))),
        Edit::Deblur(args) => args.on.restore(|image| {
            let kernel = match (args.sigma, args.square) {
                (_, Some(side)) => Kernel::square(side)?,
                (sigma, None) => Kernel::gaussian(sigma.unwrap_or_default())?,
            };
            Ok(Box::new(Deblur::new(&image, &kernel)?))
        }),
        Edit::Swap(args) => swap(args),
        Edit::Between(args) => between(args),
    }
}

/// An edit ready to be drawn, and the patches of what it draws.
type Ready = (Grid, Box<dyn Constrain>);

impl RestoreArgs {
    /// Draws the edit that `prepare` makes of the image, for patches of so many pixels.
    fn run(
        &self,
        prepare: impl FnOnce(Image, usize) -> Result<Ready, EditError>,
    ) -> Result<(), Failure> {
        let opened = self.common.open(&self.model)?;
        let image = read_image(&self.image)?;
        let (grid, mut edit) = prepare(image, opened.model.config.patch).map_err(wrong)?;
        let drawn = self.draw(&opened, grid, edit.as_mut())?;
        self.common.write(&drawn, &self.metadata(&opened.options))
    }

    /// Draws images of the measurement that `measure` makes of the image, and says by how much they
    /// break it.
    fn restore(
        &self,
        measure: impl FnOnce(Image) -> Result<Box<dyn Measurement>, EditError>,
    ) -> Result<(), Failure> {
        let opened = self.common.open(&self.model)?;
        let measurement = measure(read_image(&self.image)?).map_err(wrong)?;
        let mut restore =
            Restore::new(measurement.as_ref(), opened.model.config.patch).map_err(wrong)?;
        let drawn = self.draw(&opened, restore.grid(), &mut restore)?;
        self.common.write(&drawn, &self.metadata(&opened.options))?;
        let error = drawn.iter().map(|image| measurement.largest_error(image)).max();
        say!("largest error of the constraint: {} of 255", error.unwrap_or(0));
        Ok(())
    }

    /// Returns what PNG files tell of the result.
    fn metadata(&self, options: &GenerateOptions) -> Metadata {
        Metadata::of(&self.caption, &self.model, options)
    }

    fn draw(
        &self,
        opened: &Opened,
        grid: Grid,
        edit: &mut dyn Constrain,
    ) -> Result<Vec<Image>, Failure> {
        let prompt = Document::of_text(&self.caption);
        let (count, options) = (self.common.count, &opened.options);
        let drawn = opened.model.draw_constrained(&prompt, count, grid, options, edit);
        drawn.map_err(|why| wrong(why.into()))
    }
}

/// A model and how it draws.
struct Opened {
    model: LoadedModel,
    options: GenerateOptions,
}

/// The most images of one call, each of which has a file.
const MOST_IMAGES: usize = 10_000;

impl Common {
    /// Checks the files to write and opens the model.
    fn open(&self, folder: &Path) -> Result<Opened, Failure> {
        within("--count", self.count, MOST_IMAGES)?;
        if format_of(&self.out)? == Format::Jpeg {
            return Err(usage!(
                "`{}` would lose bytes that an edit keeps, wanted png, webp or bmp",
                self.out.display()
            ));
        }
        for number in 1..=self.count {
            free_file(&self.file(number), self.force)?;
        }
        let model = self.shared.load(folder)?;
        model.check_edits().map_err(|why| wrong(why.into()))?;
        self.drawing.check(&model)?;
        let options = self.drawing.set(model.options(self.shared.seed));
        Ok(Opened { model, options })
    }

    /// Returns the file of image `number`, counted from 1.
    fn file(&self, number: usize) -> PathBuf {
        if number == 1 {
            return self.out.clone();
        }
        let stem = self.out.file_stem().unwrap_or_default().to_string_lossy();
        let ending = self.out.extension().unwrap_or_default().to_string_lossy();
        self.out.with_file_name(format!("{stem}-{number}.{ending}"))
    }

    /// Writes the images with what PNG files tell of them, and prints their names.
    fn write(&self, images: &[Image], metadata: &Metadata) -> Result<(), Failure> {
        for (at, image) in images.iter().enumerate() {
            let file = self.file(at + 1);
            let size = format!("{}x{}", image.width(), image.height());
            let metadata = metadata.clone().with("Size", size);
            let metadata = match images.len() {
                1 => metadata,
                count => metadata.with("Image", format!("{} of {count}", at + 1)),
            };
            write_image_with(&file, image, metadata.texts(&self.metadata))?;
            say!("{}", file.display());
        }
        Ok(())
    }
}

fn inpaint(args: &InpaintArgs) -> Result<(), Failure> {
    let opened = args.on.common.open(&args.on.model)?;
    let image = read_image(&args.on.image)?;
    let mut mask = mask(args)?;
    if args.invert_mask {
        mask = mask.inverted();
    }
    let soft = match args.soft {
        Soft::Blend => SoftMask::Blend,
        Soft::Strength => SoftMask::Strength,
    };
    let drawn = if args.only_masked {
        let grid = grid(None, &opened.model)?;
        let area = MaskedArea::new(image, mask, args.padding, soft, grid);
        let mut area = area.and_then(|area| area.strength(args.strength)).map_err(wrong)?;
        args.on.draw(&opened, grid, &mut area)?
    } else {
        let edit = Inpaint::new(image, mask, opened.model.config.patch);
        let edit = edit.and_then(|edit| edit.soft(soft).strength(args.strength));
        let mut edit = edit.map_err(|why| match why {
            EditError::Divide { .. } => {
                wrong(why).hint("--only-masked edits a region of an image of any size")
            }
            why => wrong(why),
        })?;
        args.on.draw(&opened, edit.grid(), &mut edit)?
    };
    args.on.common.write(&drawn, &args.on.metadata(&opened.options))
}

/// Reads the mask, or the transparent pixels of the image.
fn mask(args: &InpaintArgs) -> Result<Mask, Failure> {
    let options = DecodeOptions::default();
    let read = |path: &Path, read: fn(&[u8], &DecodeOptions) -> Result<Mask, _>| {
        read(&read_image_bytes(path)?, &options).map_err(|why| cannot_read(path, why))
    };
    if let Some(path) = &args.mask {
        return read(path, Mask::decode);
    }
    let mask = read(&args.on.image, Mask::from_alpha)?;
    if mask.is_empty() {
        return Err(usage!(
            "`{}` has no transparent pixel and `--mask` is missing, wanted one of them",
            args.on.image.display()
        ));
    }
    Ok(mask)
}

fn swap(args: &SwapArgs) -> Result<(), Failure> {
    let common = &args.on.common;
    if common.count != 1 {
        let count = common.count;
        return Err(usage!("`--count {count}`, wanted 1: the noise is the image's own"));
    }
    let Opened { model, options } = common.open(&args.on.model)?;
    let image = read_image(&args.on.image)?;
    let (old, new) = (Document::of_text(&args.old), Document::of_text(&args.on.caption));
    let swapped = model.swap_caption(&image, &old, &new, &options).map_err(wrong)?;
    common.write(&[swapped.image], &args.on.metadata(&options))?;
    let error = swapped.error;
    say!("there and back: {:.2} levels of 255 (rms), at most {}", error.rms, error.largest);
    Ok(())
}

fn between(args: &BetweenArgs) -> Result<(), Failure> {
    let Opened { model, options } = args.common.open(&args.model)?;
    let count = args.common.count;
    let drawn = if let [first, last] = &args.captions[..] {
        let prompts = [first, last].map(|caption| Document::of_text(caption));
        let drawn = model.interpolate_captions(&prompts, count, grid(None, &model)?, &options);
        drawn.map_err(EditError::from)
    } else {
        let [first, last] = &args.images[..] else {
            return Err(usage!("`--images` names {} files, wanted 2", args.images.len()));
        };
        let pair = [fitted(&read_image(first)?, &model)?, fitted(&read_image(last)?, &model)?];
        model.interpolate_noise(&pair, &Document::default(), count, &options)
    };
    let metadata = Metadata::of(&args.captions.join("\n"), &args.model, &options);
    args.common.write(&drawn.map_err(wrong)?, &metadata)
}

/// Says what is wrong with an edit: with its files and flags, or with the model.
fn wrong(why: EditError) -> Failure {
    match why {
        EditError::Generate(why) => Failure::failed(why),
        why => Failure::usage(why),
    }
}

//! `mm eval --task fid`, `kid`, `nearest` and `bpd`: the quality of drawings.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueEnum};
use mm_diffusion::likelihood_levels;
use mm_eval::quality::{
    FEWEST_FOR_FRECHET, FEWEST_FOR_KID, FeatureNetwork, Features, ImageSet, Kid, Layout,
    LikelihoodOptions, NamedImage, NetworkSettings, ReferenceFeatures, ReferenceScores, Trace,
    captions_to_draw, drawings, folder_images, likelihood, load_features, median, nearest_others,
    save_comparison, save_features, source_images,
};
use mm_eval::{EvalError, contact_sheet, examples};
use mm_patch::Image;
use serde_json::json;

use super::{EvalArgs, Subject};
use crate::files::{Size, format_of, free_file, most_of, pixels_on_sheet, within, write_image};
use crate::model::cannot_generate;
use crate::terminal::{Failure, failed, say, tell, usage};

/// Flags that say how images are measured.
#[derive(Debug, Args)]
pub struct QualityArgs {
    /// Folder of real images to compare with, without captions [default: the recipe's data].
    #[arg(long, value_name = "DIR", help_heading = "Images (fid, kid, nearest)")]
    pub real: Option<PathBuf>,
    /// Number of real images [default: twice --count; for nearest all, at most 100000].
    #[arg(long, value_name = "N", help_heading = "Images (fid, kid, nearest)")]
    pub real_count: Option<usize>,
    /// Sheet to write, of drawings above their nearest real images (nearest).
    #[arg(long, value_name = "FILE", help_heading = "Images (fid, kid, nearest)")]
    out: Option<PathBuf>,
    /// Replace the files of --out and --keep-features if they exist.
    #[arg(long, help_heading = "Images (fid, kid, nearest)")]
    force: bool,
    /// Network that computes features of images; NAME.toml beside NAME.onnx can hold the flags
    /// below.
    #[arg(long, value_name = "FILE.onnx", help_heading = "Features (fid, kid)")]
    features: Option<PathBuf>,
    /// Folder in which features are kept, by a hash of the network and the images [default:
    /// features, beside the model folder].
    #[arg(long, value_name = "DIR", help_heading = "Features (fid, kid)")]
    cache: Option<PathBuf>,
    /// File for the features of all four sets of images and the subsets of kid, from which
    /// tests/reference/fid_kid.py computes the same numbers.
    #[arg(long, value_name = "FILE.safetensors", help_heading = "Features (fid, kid)")]
    keep_features: Option<PathBuf>,
    /// Width and height of the network's input [default: as the network says].
    #[arg(long, value_name = "WxH", help_heading = "Features (fid, kid)")]
    input_size: Option<Size>,
    /// Number that is subtracted from every byte, or three for red, green and blue [default:
    /// 127.5].
    #[arg(long, value_name = "M", value_parser = colors, help_heading = "Features (fid, kid)")]
    mean: Option<[f32; 3]>,
    /// Number that the difference is divided by, or three for red, green and blue [default: 127.5].
    #[arg(long, value_name = "S", value_parser = colors, help_heading = "Features (fid, kid)")]
    scale: Option<[f32; 3]>,
    /// Order of the axes of the network's input [default: as the network says].
    #[arg(long, value_enum, help_heading = "Features (fid, kid)")]
    layout: Option<LayoutArg>,
    /// Output of the network to use [default: the first].
    #[arg(long, value_name = "NAME", help_heading = "Features (fid, kid)")]
    output: Option<String>,
    /// How the divergence of the flow is computed (bpd).
    #[arg(long, value_enum, default_value = "hutchinson", help_heading = "Likelihood (bpd)")]
    trace: TraceArg,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LayoutArg {
    /// The axes are batch, colors, height, width.
    Nchw,
    /// The axes are batch, height, width, colors.
    Nhwc,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum TraceArg {
    /// Estimate it along one random direction for each image.
    Hutchinson,
    /// Compute it along every direction, which is slow; for small images.
    Exact,
}

impl QualityArgs {
    /// Returns what the flags say about the network.
    fn settings(&self) -> NetworkSettings {
        NetworkSettings {
            size: self.input_size.map(|size| [size.width, size.height]),
            mean: self.mean,
            scale: self.scale,
            layout: self.layout.map(|layout| match layout {
                LayoutArg::Nchw => Layout::Nchw,
                LayoutArg::Nhwc => Layout::Nhwc,
            }),
            output: self.output.clone(),
        }
    }
}

fn colors(text: &str) -> Result<[f32; 3], String> {
    let numbers: Result<Vec<f32>, _> = text.split(',').map(|part| part.trim().parse()).collect();
    match numbers.as_deref() {
        Ok([one]) => Ok([*one; 3]),
        Ok([red, green, blue]) => Ok([*red, *green, *blue]),
        _ => Err("wanted one number, or three with commas such as 123.7,116.3,103.5".to_owned()),
    }
}

/// The largest number of real images for `nearest`, unless more are asked for.
const NEAREST_AMONG: u64 = 100_000;
/// The number of images that are taken of an endless source.
const ENDLESS: u64 = 5000;
/// The steps of the integration of `bpd`, unless others are asked for.
const LIKELIHOOD_STEPS: usize = 100;

pub fn fid(args: &EvalArgs, of: &Subject) -> Result<(), Failure> {
    let (ruler, drawn) = features(args, of, FEWEST_FOR_FRECHET)?;
    let fewest = ruler.fewest(&drawn);
    if fewest <= drawn.dim() {
        tell!(
            "warning: {fewest} images for {} features: no covariance has full rank, so this fid is \
             meaningless; use more images, or --task kid",
            drawn.dim()
        );
    }
    let fid = ruler.frechet(&drawn)?;
    if args.json {
        say!("{}", json!({ "fid": fid, "images": sizes(&ruler, &drawn) }));
        return Ok(());
    }
    say!("fid {:.3} (lower is better)", fid.drawn);
    say!("  other real images        {:.3}", fid.real);
    say!("  their tiles shuffled     {:.3}", fid.shuffled);
    say!("{}", summary(&ruler, &drawn));
    Ok(())
}

pub fn kid(args: &EvalArgs, of: &Subject) -> Result<(), Failure> {
    let (ruler, drawn) = features(args, of, FEWEST_FOR_KID)?;
    let kid: ReferenceScores<Kid> = ruler.kid(&drawn, of.options.seed)?;
    if args.json {
        say!("{}", json!({ "kid": kid, "images": sizes(&ruler, &drawn) }));
        return Ok(());
    }
    let told = |kid: Kid| format!("{:.2} ± {:.2}", 1e3 * kid.value, 1e3 * kid.standard_error);
    say!("kid x 1000: {} (lower is better)", told(kid.drawn));
    say!("  other real images        {}", told(kid.real));
    say!("  their tiles shuffled     {}", told(kid.shuffled));
    say!("{}", summary(&ruler, &drawn));
    Ok(())
}

pub fn nearest(args: &EvalArgs, of: &Subject) -> Result<(), Failure> {
    if let Some(out) = &args.quality.out {
        free_file(out, args.quality.force)?;
        format_of(out)?;
        let image = &of.recipe.image;
        let pair = 2 * pixels_on_sheet(image.width, image.height);
        within("--count", args.count, most_of(pair))?;
    }
    let among = args.quality.real_count.unwrap_or_else(|| all_of(args, of));
    let (names, real): (Vec<String>, Vec<Image>) = real_images(args, of, among)?
        .images
        .into_iter()
        .map(|NamedImage { name, image }| (name, image))
        .unzip();
    let (captions, drawn) = draw(args, of)?;
    let found = mm_eval::quality::nearest(&drawn, &real)?;
    let baseline = nearest_others(&real, args.count).ok();
    if let Some(out) = &args.quality.out {
        let beside: Vec<Image> = found.iter().map(|found| real[found.index].clone()).collect();
        write_image(out, &contact_sheet(&drawn, &beside))?;
    }
    if args.json {
        let mut rows = vec![];
        for (found, caption) in found.iter().zip(&captions) {
            let (distance, nearest) = (found.distance, &names[found.index]);
            rows.push(json!({ "caption": caption, "distance": distance, "nearest": nearest }));
        }
        let (median, among) = (median(&found), real.len());
        let baseline = baseline.as_deref().map(mm_eval::quality::median);
        let all = json!({ "median": median, "real": baseline, "among": among, "drawings": rows });
        say!("{all}");
        return Ok(());
    }
    say!("distance  drawing -> nearest of {} real images", real.len());
    for (found, caption) in found.iter().zip(&captions) {
        let caption = if caption.is_empty() { "(no caption)" } else { caption };
        say!("{:8.2}  {caption} -> {}", found.distance, names[found.index]);
    }
    say!("median {:.2} (copies lie near 0)", median(&found));
    if let Some(baseline) = baseline {
        let (count, others) = (baseline.len(), real.len() - 1);
        say!("  of {count} real images, each to the {others} others {:.2}", median(&baseline));
    }
    Ok(())
}

pub fn bpd(args: &EvalArgs, of: &Subject) -> Result<(), Failure> {
    let exact = of.model.config.network.coded().is_some(); // or refused below
    if exact && args.sampling.drawing.steps.is_some() {
        return Err(usage!("`--steps` does nothing for a model that writes codes or bytes"));
    }
    let steps = args.sampling.drawing.steps.unwrap_or(LIKELIHOOD_STEPS);
    likelihood_levels(&of.model.config.schedule, steps).map_err(Failure::usage)?;
    let mut shown = examples(of.data(), of.split, args.count, of.options.seed)?;
    if shown.is_empty() {
        return Err(of.no_image(args.count));
    }
    if of.recipe.mix.caption_drop >= 1.0 {
        shown.iter_mut().for_each(|example| example.caption.clear());
    }
    let trace = match args.quality.trace {
        TraceArg::Hutchinson => Trace::Hutchinson,
        TraceArg::Exact => Trace::Exact,
    };
    let options = LikelihoodOptions { steps, trace, seed: of.options.seed };
    let found = likelihood(&of.model, &shown, &options)?;
    if let Some(bits) = found.images.iter().find(|bits| !bits.is_finite()) {
        return Err(failed!(
            "the model in `{}` gives {bits} bits per dimension, wanted a finite number",
            args.model.display()
        ));
    }
    if args.json {
        say!("{}", serde_json::to_string(&found)?);
        return Ok(());
    }
    let bits = found.bits_per_dimension;
    let told = match found.standard_error {
        Some(error) => {
            let count = found.images.len();
            format!("{bits:.4} ± {error:.4} bits per dimension over {count} images")
        }
        None => format!("{bits:.4} bits per dimension of one image, which has no standard error"),
    };
    let how =
        if exact { "exact".to_owned() } else { format!("uniform dequantization, {steps} steps") };
    say!("{told}, {how}; a uniform distribution has 8");
    Ok(())
}

/// Computes the features of real images and of drawings. Each set must have `fewest` images, which
/// is checked before anything is drawn.
fn features(
    args: &EvalArgs,
    of: &Subject,
    fewest: usize,
) -> Result<(ReferenceFeatures, Features), Failure> {
    if args.count < fewest {
        return Err(usage!("`--count {}` must be at least {fewest} for this task", args.count));
    }
    if let Some(asked) = args.quality.real_count
        && asked < 2 * fewest
    {
        return Err(usage!("`--real-count {asked}` must be at least {} for this task", 2 * fewest));
    }
    let Some(path) = &args.quality.features else {
        return Err(usage!("this task needs a network that computes features of images")
            .hint("`--features NETWORK.onnx` names it"));
    };
    if let Some(file) = &args.quality.keep_features {
        free_file(file, args.quality.force)?;
    }
    let network = network(path, &args.quality.settings())?;
    let real = real_images(args, of, args.quality.real_count.unwrap_or(2 * args.count))?;
    if real.images.len() < 2 * fewest {
        let (what, found) = ("real images", real.images.len());
        return Err(EvalError::TooFew { what, found, wanted: 2 * fewest }.into());
    }
    if real.images.len() < 2 * args.count {
        tell!("warning: there are {} real images, wanted {}", real.images.len(), 2 * args.count);
    }
    let real: Vec<Image> = real.images.into_iter().map(|found| found.image).collect();
    let folder = args.quality.cache.clone().unwrap_or_else(|| beside(&args.model));
    let mut keep = |images: &[Image]| cached_features(&network, images, &folder);
    let ruler = ReferenceFeatures::new(&real, args.count, of.options.seed, &mut keep)?;
    let (_, drawn) = draw(args, of)?;
    let drawn = timed("features of the drawings", &drawn, |images| network.features(images))?;
    if let Some(file) = &args.quality.keep_features {
        save_comparison(file, &ruler, &drawn, of.options.seed)?;
    }
    Ok((ruler, drawn))
}

/// Loads the network with the settings of the flags, of the TOML file beside it, or its own.
fn network(path: &Path, flags: &NetworkSettings) -> Result<FeatureNetwork, Failure> {
    let onnx = fs_err::read(path)?;
    let toml = path.with_extension("toml");
    let beside = if toml.is_file() {
        let text = fs_err::read_to_string(&toml)?;
        NetworkSettings::from_toml(&text).map_err(|why| cannot_use(&toml, why))?
    } else {
        NetworkSettings::default()
    };
    FeatureNetwork::load(&onnx, &flags.clone().or(beside)).map_err(|why| cannot_use(path, why))
}

/// Names the file of a network or its settings in an error, and says what to do where this build
/// cannot read networks.
fn cannot_use(path: &Path, why: EvalError) -> Failure {
    let no_reader = matches!(why, EvalError::NoReader);
    let why = anyhow::Error::new(why).context(format!("cannot use `{}`", path.display()));
    if no_reader {
        Failure::usage(why)
            .hint("`cargo build --release -p mm-cli --features onnx` adds the reader")
    } else {
        Failure::failed(why)
    }
}

/// Opens the real images, from a folder or from the recipe's data, and names those that are left
/// out.
fn real_images(args: &EvalArgs, of: &Subject, count: usize) -> Result<ImageSet, Failure> {
    let (width, height) = (of.recipe.image.width, of.recipe.image.height);
    let found = match &args.quality.real {
        Some(folder) => folder_images(folder, width, height, count, of.options.seed)?,
        None => source_images(of.data(), of.split, count, of.options.seed)?,
    };
    for skipped in found.skipped.iter().take(5) {
        tell!("skipped `{}`: {}", skipped.path.display(), skipped.why);
    }
    if found.skipped.len() > 5 {
        tell!("skipped {} files in all", found.skipped.len());
    }
    Ok(found)
}

/// Returns how many real images there are, within a bound that is lower for an endless source.
fn all_of(args: &EvalArgs, of: &Subject) -> usize {
    match (&args.quality.real, &of.data) {
        (None, Some(data)) => data.len(of.split).unwrap_or(ENDLESS).min(NEAREST_AMONG) as usize,
        _ => NEAREST_AMONG as usize,
    }
}

/// Returns captions, and what the model draws for them; of a codec, the captions of records, and
/// their images as it decodes them.
fn draw(args: &EvalArgs, of: &Subject) -> Result<(Vec<String>, Vec<Image>), Failure> {
    if of.model.config.network.codec().is_some() {
        let shown = examples(of.data(), of.split, args.count, of.options.seed)?;
        if shown.is_empty() {
            return Err(of.no_image(args.count));
        }
        let (captions, images): (Vec<String>, Vec<Image>) =
            shown.into_iter().map(|example| (example.caption, example.image)).unzip();
        let decoded = of.model.reconstruct(&images).map_err(cannot_generate(&args.model))?;
        return Ok((captions, decoded));
    }
    let drop = of.recipe.mix.caption_drop;
    let captions = match &of.data {
        Some(data) => captions_to_draw(data, of.split, args.count, drop, of.options.seed)?,
        None => vec![String::new(); args.count],
    };
    let start = Instant::now();
    let drawn = drawings(&of.model, &captions, of.grid()?, &of.options, &mut |done| {
        tell!("drawn {done} of {} in {:.1} s", args.count, start.elapsed().as_secs_f64());
    });
    Ok((captions, drawn.map_err(cannot_generate(&args.model))?))
}

/// Returns features that were kept, or computes and keeps them. A cache that cannot be used is
/// ignored.
fn cached_features(
    network: &FeatureNetwork,
    images: &[Image],
    folder: &Path,
) -> Result<Features, EvalError> {
    let made_by = network.made_by(images);
    let path = folder.join(format!("{made_by:016x}.safetensors"));
    match load_features(&path, made_by) {
        Ok(Some(features)) if features.count() == images.len() => return Ok(features),
        Ok(_) => {}
        Err(why) => tell!("warning: the features are computed again: {why}"),
    }
    let features = timed("features of real images", images, |images| network.features(images))?;
    if let Err(why) = save_features(&path, &features, made_by) {
        tell!("warning: the features are not kept: {why}");
    }
    Ok(features)
}

fn timed<T, E>(
    what: &str,
    images: &[Image],
    work: impl FnOnce(&[Image]) -> Result<T, E>,
) -> Result<T, E> {
    let start = Instant::now();
    let made = work(images)?;
    let seconds = start.elapsed().as_secs_f64();
    let each = 1e3 * seconds / images.len().max(1) as f64;
    tell!("{what}: {} in {seconds:.1} s, {each:.1} ms each", images.len());
    Ok(made)
}

/// Returns the folder of kept features, beside the model folder.
fn beside(model: &Path) -> PathBuf {
    model.parent().unwrap_or(model).join("features")
}

fn sizes(ruler: &ReferenceFeatures, drawn: &Features) -> serde_json::Value {
    json!({
        "drawn": drawn.count(),
        "reference": ruler.reference.count(),
        "baselines": ruler.fresh.count(),
        "features": drawn.dim(),
    })
}

fn summary(ruler: &ReferenceFeatures, drawn: &Features) -> String {
    format!(
        "{} drawings and twice {} real images, against {} others; {} features each",
        drawn.count(),
        ruler.fresh.count(),
        ruler.reference.count(),
        drawn.dim()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_that_reads_no_networks_says_how_to_make_one_that_does() {
        let path = Path::new("features.onnx");
        let failure = cannot_use(path, EvalError::NoReader);
        assert_eq!(failure.code(), 2);
        assert!(format!("{failure:?}").contains("-p mm-cli --features onnx"), "{failure:?}");
        let failure = cannot_use(path, EvalError::Network { why: "cut off".to_owned() });
        assert_eq!(failure.code(), 1);
        assert!(!format!("{failure:?}").contains("cargo build"), "{failure:?}");
    }
}

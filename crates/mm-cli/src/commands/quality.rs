//! `mm eval --task fid`, `kid`, `nearest` and `bpd`: how good drawings are.

use std::path::{Path, PathBuf};
use std::time::Instant;

use mm_diffusion::likelihood_levels;
use mm_eval::quality::{
    FEWEST_FOR_FRECHET, FEWEST_FOR_KID, FeatureNetwork, Features, ImageSet, Kid, LikelihoodOptions,
    NamedImage, Nearest, NetworkSettings, ReferenceFeatures, ReferenceScores, captions_to_draw,
    drawings, folder_images, likelihood, load_features, median, save_comparison, save_features,
    source_images,
};
use mm_eval::{EvalError, contact_sheet, examples};
use mm_patch::{Grid, Image};
use serde_json::json;

use super::cannot_generate;
use super::eval::Subject;
use crate::args::EvalArgs;
use crate::output::{format_of, free, most_of, pixels_on_sheet, within, write_image};
use crate::report::{Failure, say, tell, usage};

/// Most real pictures that a drawing is compared with pixel by pixel, unless more are asked for.
const NEAREST_AMONG: u64 = 100_000;
/// The same for a source that makes examples without end.
const ENDLESS: u64 = 5000;
/// Steps of an integration, unless others are asked for.
const LIKELIHOOD_STEPS: usize = 100;

pub fn fid(args: &EvalArgs, of: &Subject) -> Result<(), Failure> {
    let (ruler, drawn) = features(args, of, FEWEST_FOR_FRECHET)?;
    let fewest = ruler.fewest(&drawn);
    if fewest <= drawn.dim() {
        tell!(
            "warning: {fewest} pictures for {} features: no covariance has full rank, so this fid is meaningless; \
             take more pictures, or --task kid",
            drawn.dim()
        );
    }
    let fid = ruler.frechet(&drawn)?;
    if args.json {
        say!("{}", json!({ "fid": fid, "images": sizes(&ruler, &drawn) }));
        return Ok(());
    }
    say!("fid {:.3} (lower is better)", fid.drawn);
    say!("  other real pictures      {:.3}", fid.real);
    say!("  their tiles shuffled     {:.3}", fid.shuffled);
    say!("{}", words(&ruler, &drawn));
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
    say!("  other real pictures      {}", told(kid.real));
    say!("  their tiles shuffled     {}", told(kid.shuffled));
    say!("{}", words(&ruler, &drawn));
    Ok(())
}

pub fn nearest(args: &EvalArgs, of: &Subject) -> Result<(), Failure> {
    if let Some(out) = &args.quality.out {
        free(out, args.quality.force)?;
        format_of(out)?;
        let image = &of.recipe.image;
        let pair = 2 * pixels_on_sheet(image.width, image.height);
        within("--count", args.count, most_of(pair))?;
    }
    let among = args.quality.real_count.unwrap_or_else(|| all_of(args, of));
    let (names, real): (Vec<String>, Vec<Image>) = real_pictures(args, of, among)?
        .images
        .into_iter()
        .map(|NamedImage { name, image }| (name, image))
        .unzip();
    let (captions, drawn) = draw(args, of)?;
    let found = mm_eval::quality::nearest(&drawn, &real)?;
    let apart = args.count.min(real.len() / 2);
    let mark = mm_eval::quality::nearest(&real[..apart], &real[apart..]).ok();
    let mark = mark.filter(|found| !found.is_empty()).map(|found| median(&found));
    if let Some(out) = &args.quality.out {
        let beside: Vec<Image> = found.iter().map(|found| real[found.index].clone()).collect();
        write_image(out, &contact_sheet(&drawn, &beside))?;
    }
    let row = |(found, asked): (&Nearest, &String)| json!({ "caption": asked, "distance": found.distance, "nearest": names[found.index] });
    if args.json {
        let rows: Vec<_> = found.iter().zip(&captions).map(row).collect();
        let median = median(&found);
        say!(
            "{}",
            json!({ "median": median, "real": mark, "among": real.len(), "drawings": rows })
        );
        return Ok(());
    }
    say!("distance  drawing -> nearest of {} real pictures", real.len());
    for (found, asked) in found.iter().zip(&captions) {
        let asked = if asked.is_empty() { "(no caption)" } else { asked };
        say!("{:8.2}  {asked} -> {}", found.distance, names[found.index]);
    }
    say!("median {:.2} (copies lie near 0)", median(&found));
    if let Some(mark) = mark {
        say!("  of {apart} real pictures to the {} others {mark:.2}", real.len() - apart);
    }
    Ok(())
}

pub fn bpd(args: &EvalArgs, of: &Subject) -> Result<(), Failure> {
    let steps = args.sampling.steps.unwrap_or(LIKELIHOOD_STEPS);
    likelihood_levels(&of.checkpoint.config.schedule, steps).map_err(Failure::usage)?;
    let mut shown = examples(of.data(), of.split, args.count, of.options.seed)?;
    if shown.is_empty() {
        return Err(of.no_picture(args.count));
    }
    if of.recipe.mix.caption_drop >= 1.0 {
        shown.iter_mut().for_each(|example| example.caption.clear());
    }
    let options =
        LikelihoodOptions { steps, trace: args.quality.trace.into(), seed: of.options.seed };
    let found = likelihood(&of.checkpoint, &shown, &options)?;
    if let Some(bits) = found.images.iter().find(|bits| !bits.is_finite()) {
        return Err(Failure::failed(anyhow::anyhow!(
            "the model in `{}` gives {bits} bits per dimension, wanted a finite number",
            args.model.display()
        )));
    }
    if args.json {
        say!("{}", serde_json::to_string(&found)?);
        return Ok(());
    }
    let bits = found.bits_per_dimension;
    let told = match found.standard_error {
        Some(error) => {
            format!(
                "{bits:.4} ± {error:.4} bits per dimension over {} pictures",
                found.images.len()
            )
        }
        None => format!("{bits:.4} bits per dimension of one picture, which has no error"),
    };
    say!("{told}, uniform dequantisation, {steps} steps; 8 is no model at all");
    Ok(())
}

/// Features of real pictures and of drawings, of which each set must have `fewest`: said before anything is drawn.
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
        return Err(usage!("this task needs a network that makes features of pictures")
            .hint("--features NETWORK.onnx"));
    };
    if let Some(file) = &args.quality.keep_features {
        free(file, args.quality.force)?;
    }
    let network = network(path, &args.quality.settings())?;
    let real = real_pictures(args, of, args.quality.real_count.unwrap_or(2 * args.count))?;
    if real.images.len() < 2 * fewest {
        let (what, found) = ("real pictures", real.images.len());
        return Err(EvalError::TooFew { what, found, wanted: 2 * fewest }.into());
    }
    if real.images.len() < 2 * args.count {
        tell!("warning: there are {} real pictures, wanted {}", real.images.len(), 2 * args.count);
    }
    let real: Vec<Image> = real.images.into_iter().map(|picture| picture.image).collect();
    let folder = args.quality.cache.clone().unwrap_or_else(|| beside(&args.model));
    let mut keep = |images: &[Image]| kept(&network, images, &folder);
    let ruler = ReferenceFeatures::new(&real, args.count, of.options.seed, &mut keep)?;
    let (_, drawn) = draw(args, of)?;
    let drawn = timed("features of the drawings", &drawn, |images| network.features(images))?;
    if let Some(file) = &args.quality.keep_features {
        save_comparison(file, &ruler, &drawn, of.options.seed)?;
    }
    Ok((ruler, drawn))
}

/// The network with the settings of the flags, those of the TOML file beside it, or its own.
fn network(path: &Path, flags: &NetworkSettings) -> Result<FeatureNetwork, Failure> {
    let onnx = fs_err::read(path)?;
    let toml = path.with_extension("toml");
    let beside = match toml.is_file() {
        true => NetworkSettings::from_toml(&fs_err::read_to_string(&toml)?)
            .map_err(|why| named(&toml, why))?,
        false => NetworkSettings::default(),
    };
    FeatureNetwork::load(&onnx, &flags.clone().or(beside)).map_err(|why| named(path, why))
}

/// What is wrong with a network or its settings, and what to do where this build lacks the reader.
fn named(path: &Path, why: EvalError) -> Failure {
    let lacks = matches!(why, EvalError::NoReader);
    let why = anyhow::Error::new(why).context(format!("cannot use `{}`", path.display()));
    match lacks {
        true => Failure::usage(why)
            .hint("build it in with `cargo build --release -p mm-cli --features onnx`"),
        false => Failure::failed(why),
    }
}

/// Real pictures, from the folder given or else from the recipe's data; what was left out is named.
fn real_pictures(args: &EvalArgs, of: &Subject, count: usize) -> Result<ImageSet, Failure> {
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

/// As many real pictures as there are, within a bound that is lower where there is no end of them.
fn all_of(args: &EvalArgs, of: &Subject) -> usize {
    match (&args.quality.real, of.captioned()) {
        (None, Some(data)) => data.len(of.split).unwrap_or(ENDLESS).min(NEAREST_AMONG) as usize,
        _ => NEAREST_AMONG as usize,
    }
}

/// Captions and what is drawn for them.
fn draw(args: &EvalArgs, of: &Subject) -> Result<(Vec<String>, Vec<Image>), Failure> {
    let image = &of.recipe.image;
    let grid = Grid::of_size(image.width, image.height, of.checkpoint.config.patch)?;
    let drop = of.recipe.mix.caption_drop;
    let captions = match of.captioned() {
        Some(data) => captions_to_draw(data, of.split, args.count, drop, of.options.seed)?,
        None => vec![String::new(); args.count],
    };
    let start = Instant::now();
    let drawn = drawings(&of.checkpoint, &captions, grid, &of.options, &mut |done| {
        tell!("drawn {done} of {} in {:.1} s", args.count, start.elapsed().as_secs_f64());
    });
    Ok((captions, drawn.map_err(cannot_generate(&args.model))?))
}

/// Features that were kept, or are computed and kept now. A cache that cannot be used is not in the way.
fn kept(network: &FeatureNetwork, images: &[Image], folder: &Path) -> Result<Features, EvalError> {
    let made_by = network.made_by(images);
    let path = folder.join(format!("{made_by:016x}.safetensors"));
    match load_features(&path, made_by) {
        Ok(Some(features)) if features.count() == images.len() => return Ok(features),
        Ok(_) => {}
        Err(why) => tell!("warning: computing features again: {why}"),
    }
    let features = timed("features of real pictures", images, |images| network.features(images))?;
    if let Err(why) = save_features(&path, &features, made_by) {
        tell!("warning: features are not kept: {why}");
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

/// The folder of kept features, beside the model folder.
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

fn words(ruler: &ReferenceFeatures, drawn: &Features) -> String {
    format!(
        "{} drawings and twice {} real pictures, against {} others; {} features each",
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
        let path = Path::new("judge.onnx");
        let failure = named(path, EvalError::NoReader);
        assert_eq!(failure.code(), 2);
        assert!(format!("{failure:?}").contains("-p mm-cli --features onnx"), "{failure:?}");
        let failure = named(path, EvalError::Network { why: "cut off".to_owned() });
        assert_eq!(failure.code(), 1);
        assert!(!format!("{failure:?}").contains("cargo build"), "{failure:?}");
    }
}

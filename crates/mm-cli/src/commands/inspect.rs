//! `mm inspect`: what a model folder, an image file, or a recipe and its data hold.

use std::path::Path;

use burn::module::Module;
use clap::Parser;
use mm_backbone::{Init, Precision};
use mm_data::{DataSet, Split};
use mm_model::parameters::shapes_of;
use mm_model::{
    GenerationConfig, ImageCodes, LoadedModel, Model, ModelConfig, NetworkConfig, UnifiedConfig,
};
use mm_patch::{DecodeOptions, Image, PngText, png_texts};
use mm_train::Training;
use serde::Serialize;

use crate::files::{at_least_one, cannot_read, read_image_bytes};
use crate::model::load_to_ask;
use crate::terminal::{Failure, failed, grouped, say, usage};
use crate::{device, recipes};

#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  mm inspect runs/glyphs/model
  mm inspect photo.jpg --patch 16
  mm inspect drawn.png                   also prints caption, seed and model of a drawing
  mm inspect emoji-32")]
pub struct InspectArgs {
    /// Model folder, image file or recipe.
    what: String,
    /// Width and height of a patch in pixels, for an image file [default: 16].
    #[arg(long, value_name = "P")]
    patch: Option<usize>,
}

pub fn run(args: &InspectArgs) -> Result<(), Failure> {
    at_least_one("--patch", args.patch.unwrap_or(PATCH))?;
    let path = Path::new(&args.what);
    if args.patch.is_some() && (path.is_dir() || recipes::is_recipe(&args.what)) {
        return Err(usage!("`--patch` is for an image file, and `{}` is none", args.what));
    }
    if path.is_dir() {
        inspect_model(path)
    } else if recipes::is_recipe(&args.what) {
        inspect_recipe(&args.what)
    } else if path.exists() {
        inspect_image(path, args.patch.unwrap_or(PATCH))
    } else {
        let guess = recipes::guess(&args.what);
        Err(failed!("`{}` is no model folder, image file or recipe{guess}", args.what))
    }
}

/// The side of a patch in pixels, unless another is asked for.
const PATCH: usize = 16;

fn inspect_model(path: &Path) -> Result<(), Failure> {
    let LoadedModel { config, model, generation, .. } = load_to_ask(path, &device::open("auto")?)?;
    let all = model.num_params();
    say!("{} parameters, {} bytes as 32-bit floats", grouped(all), grouped(4 * all));
    let mut parts: Vec<(String, usize)> = vec![];
    for (name, shape) in shapes_of(&model) {
        let part = name.split('.').next().unwrap_or_default().to_owned();
        let count: usize = shape.iter().product();
        match parts.last_mut() {
            Some((last, sum)) if *last == part => *sum += count,
            _ => parts.push((part, count)),
        }
    }
    for (part, count) in parts {
        say!("  {part}: {count}");
    }
    print_network(&config);
    let GenerationConfig { width, height, sampler, steps, guidance, precision } = generation;
    let mut how = format!("sampler {sampler}, {steps} steps");
    if guidance.scale != 1.0 {
        how += &format!(
            ", guidance {} on signal fractions {} to {}",
            guidance.scale, guidance.from, guidance.to
        );
        if !guidance.rule.is_plain() {
            how += &format!(" by {}", guidance.rule);
        }
    }
    if precision != Precision::F32 {
        how += &format!(", products in {}", precision.name());
    }
    say!("generation: images of {width}x{height}, {how}");
    print_sizes(width, height, config.patch_pixels(), config.vocab);
    Ok(())
}

fn print_network(config: &ModelConfig) {
    match &config.network {
        NetworkConfig::Unet(unet) => say!("a U-Net: {}", settings(unet)),
        NetworkConfig::Codec(codec) => say!("a codec: {}", settings(codec)),
        NetworkConfig::Coded(coded) => {
            print_blocks(&coded.unified);
            let codes = match &coded.codes {
                ImageCodes::Codec(codec) => settings(codec),
                ImageCodes::Bytes(bytes) => settings(bytes),
            };
            say!("images as codes, in order {}: {codes}", settings(&coded.order));
        }
        NetworkConfig::Latent(latent) => {
            print_blocks(&latent.unified);
            say!("images as latents: {}", settings(&latent.codec));
        }
        NetworkConfig::Vit(vit) => say!("a network that draws classes: {}", settings(vit)),
        NetworkConfig::Unified(unified) => print_blocks(unified),
    }
    let text = match config.vocab {
        0 => "image-only: documents hold no text".to_owned(),
        vocab => format!("{vocab} token ids"),
    };
    let side = config.patch_pixels();
    say!("patches of {side}x{side} pixels ({} values), {text}", config.patch_dim());
    if let Some(UnifiedConfig { backbone, .. }) = config.network.unified() {
        say!("key-value cache: {} bytes per token", 4 * backbone.cache_numbers_per_token());
    }
}

fn print_blocks(UnifiedConfig { backbone, .. }: &UnifiedConfig) {
    let blocks = settings(&backbone.block);
    say!("width {}, {} blocks: {blocks}", backbone.width, backbone.depth);
}

/// Returns settings in one line, under the names that they have in `config.json` and in recipes.
fn settings(part: &impl Serialize) -> String {
    let json = serde_json::to_string(part).unwrap_or_default();
    json.replace('"', "").replace(',', ", ").replace(':', " = ")
}

/// Prints the number of patches of an image, and the number of tokens that a lossless discrete code
/// would need. At about 3 bits per value (Su 2024), an image of `w x h` takes
/// `w h 3 · 3 / log2(V)` tokens of a vocabulary of `V`.
fn print_sizes(width: usize, height: usize, patch: usize, vocab: usize) {
    let patches = (width / patch) * (height / patch);
    say!("{width}x{height} pixels: {patches} patches of {patch}x{patch}");
    let bits = (width * height * 3 * 3) as f64;
    for vocab in [vocab, 16_384, 262_144].into_iter().filter(|vocab| *vocab > 0) {
        let tokens = bits / (vocab as f64).log2();
        say!("  a lossless code with {vocab} words: {tokens:.0} tokens (at 3 bits per value)");
    }
    say!("  bits in a patch: {:.0}", bits / patches.max(1) as f64);
}

/// The first bytes of every PNG file.
const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

fn inspect_image(path: &Path, patch: usize) -> Result<(), Failure> {
    let bytes = read_image_bytes(path)?;
    let image = Image::decode(&bytes, &DecodeOptions::default());
    let image = image.map_err(|why| cannot_read(path, why))?;
    let (width, height) = (image.width(), image.height());
    if patch > width.min(height) {
        let path = path.display();
        return Err(usage!("`--patch {patch}` is larger than `{path}`, which is {width}x{height}"));
    }
    say!("{}: {width}x{height}", path.display());
    if !width.is_multiple_of(patch) || !height.is_multiple_of(patch) {
        say!("the sides are not multiples of {patch}: a model would fit the image first");
    }
    print_sizes(width, height, patch, 512);
    print_metadata(&bytes)
}

/// Prints the texts of a PNG file, or says that there are none.
fn print_metadata(file: &[u8]) -> Result<(), Failure> {
    if !file.starts_with(PNG_SIGNATURE) {
        say!("no metadata: only PNG files hold caption, seed and model");
        return Ok(());
    }
    let texts = png_texts(file)?;
    if texts.is_empty() {
        say!("no metadata: the file holds no text");
        return Ok(());
    }
    say!("metadata:");
    for PngText { keyword, text } in texts {
        say!("  {keyword}: {}", text.replace('\n', "\n    "));
    }
    Ok(())
}

fn inspect_recipe(name: &str) -> Result<(), Failure> {
    let recipe = recipes::find(name)?;
    // Without text there is no tokenizer to train, so the network is known without the data.
    match (DataSet::open(&recipe.data, recipe.image), recipe.vocab) {
        (Ok(data), _) => print_data(&data),
        (Err(why), 0) => say!("the data cannot be opened: {}", Failure::failed(why).chain()),
        (Err(why), _) => return Err(why.into()),
    }
    print_sizes(recipe.image.width, recipe.image.height, recipe.image.patch, recipe.vocab);
    let device = device::open("auto")?;
    let config = match recipe.vocab {
        0 => recipe.model_config(0),
        _ => Training::start(recipe, &device)?.config,
    };
    let model = Model::drawn(&config, &mut Init::blank(&device))?;
    say!("network: {} parameters", grouped(model.num_params()));
    print_network(&config);
    Ok(())
}

fn print_data(data: &DataSet) {
    let count = |split| data.len(split).map_or("endless".to_owned(), |len| len.to_string());
    say!("records for training: {}, held out: {}", count(Split::Train), count(Split::HeldOut));
    let captions = data.captions();
    say!("{} captions, such as:", captions.len());
    for caption in captions.iter().step_by((captions.len() / 5).max(1)).take(5) {
        say!("  {caption}");
    }
}

//! `mm inspect`: what a model folder, an image or a recipe's data hold.

use std::path::Path;

use burn::module::Module;
use mm_backbone::Init;
use mm_data::{DataSet, Split};
use mm_model::parameters::shapes_of;
use mm_model::{LoadedModel, Model, ModelConfig};
use mm_train::Training;

use crate::args::InspectArgs;
use crate::output::read_image;
use crate::report::{Failure, grouped, say, usage};
use crate::{device, recipes};

pub fn run(args: &InspectArgs) -> Result<(), Failure> {
    if args.patch == 0 {
        return Err(usage!("`--patch` must be at least 1"));
    }
    let path = Path::new(&args.what);
    if path.is_dir() {
        return model(path);
    }
    let recipe = recipes::EMBEDDED.iter().any(|(name, _)| *name == args.what)
        || path.extension().is_some_and(|ending| ending == "toml");
    if recipe { data(&args.what) } else { image(path, args.patch) }
}

fn model(path: &Path) -> Result<(), Failure> {
    let LoadedModel { config, model, .. } = LoadedModel::load(path, &device::open("auto")?)?;
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
    network(&config);
    if let Some(recipe) = mm_train::state::recipe_beside(path)? {
        sizes(recipe.image.width, recipe.image.height, config.patch, config.vocab);
    }
    Ok(())
}

fn network(config: &ModelConfig) {
    let backbone = &config.backbone;
    match &config.unet {
        Some(unet) => say!("{unet:?}"),
        None => say!("width {}, {} blocks of {:?}", backbone.width, backbone.depth, backbone.block),
    }
    let text = match config.vocab {
        0 => "no text: documents are images alone".to_owned(),
        vocab => format!("{vocab} token ids"),
    };
    say!("patch {} ({} numbers), {text}", config.patch, config.patch_dim());
    if config.unet.is_some() {
        return;
    }
    say!("key-value cache: {} bytes a token", 4 * backbone.cache_numbers_per_token());
}

/// Tokens of an image as raw patches, and as a lossless discrete code would need: at about 3 bits a number (Su 2024) an image
/// of w x h takes `w h 3 · 3 / log2(V)` tokens of a vocabulary of V.
fn sizes(width: usize, height: usize, patch: usize, vocab: usize) {
    let patches = (width / patch) * (height / patch);
    say!("{width}x{height} pixels: {patches} patches of {patch}x{patch}");
    let bits = (width * height * 3 * 3) as f64;
    for vocab in [vocab, 16_384, 262_144].into_iter().filter(|vocab| *vocab > 0) {
        let tokens = bits / (vocab as f64).log2();
        say!("  a lossless code of {vocab} words: {tokens:.0} tokens (at 3 bits a number)");
    }
    say!("  bits a patch carries: {:.0}", bits / patches.max(1) as f64);
}

fn image(path: &Path, patch: usize) -> Result<(), Failure> {
    let image = read_image(path)?;
    let (width, height) = (image.width(), image.height());
    let fits = width.is_multiple_of(patch) && height.is_multiple_of(patch);
    say!("{}: {width}x{height}", path.display());
    if !fits {
        say!("not made of whole patches of {patch}x{patch}; it would be fitted first");
    }
    sizes(width, height, patch, 512);
    Ok(())
}

fn data(name: &str) -> Result<(), Failure> {
    let recipe = recipes::find(name)?;
    // Images alone need no captions, so the network is known without the data.
    match (DataSet::open(&recipe.data, recipe.image), recipe.vocab) {
        (Ok(data), _) => examples(&data),
        (Err(why), 0) => say!("no data yet: {why}"),
        (Err(why), _) => return Err(why.into()),
    }
    sizes(recipe.image.width, recipe.image.height, recipe.image.patch, recipe.vocab);
    let device = device::open("auto")?;
    let config = match recipe.vocab {
        0 => recipe.model_config(0),
        _ => Training::start(recipe, &device)?.config,
    };
    let model = Model::drawn(&config, &mut Init::blank(&device))?;
    say!("network: {} parameters", grouped(model.num_params()));
    network(&config);
    Ok(())
}

fn examples(data: &DataSet) {
    let count = |split| data.len(split).map_or("endless".to_owned(), |len| len.to_string());
    say!("training examples: {}, held out: {}", count(Split::Train), count(Split::HeldOut));
    let captions = data.captions();
    say!("{} captions, such as:", captions.len());
    for caption in captions.iter().step_by((captions.len() / 5).max(1)).take(5) {
        say!("  {caption}");
    }
}

//! Tiny published networks, imported from the golden files, as runs that train on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::prelude::*;
use mm_diffusion::{Level, LossWeight};
use mm_import::kinds::open;
use mm_import::published::{Imported, Source};
use mm_model::parameters::with_weights;
use mm_model::{
    Document, HostBatch, ImageNoise, LoadedModel, Model, ModelConfig, Sample, Segment, Sequence,
};
use mm_patch::{Grid, Image, patchify};
use mm_train::Recipe;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use crate::common::{device, tiny};

/// A recipe of emoji.
const EMOJI: &str = include_str!("../crates/mm-cli/recipes/su2024-mini.toml");

/// A file of the folder of golden files.
pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name)
}

/// Numbers of a golden file by name, widened to 32-bit floats, with their shapes.
pub struct Numbers(BTreeMap<String, (Vec<usize>, Vec<f32>)>);

impl Numbers {
    pub fn read(bytes: &[u8]) -> Self {
        let file = SafeTensors::deserialize(bytes).unwrap();
        let widened = |view: &TensorView<'_>| -> Vec<f32> {
            let data = view.data();
            let two = || data.as_chunks().0.iter();
            let four = || data.as_chunks().0.iter();
            match view.dtype() {
                Dtype::F16 => {
                    two().map(|two| burn::tensor::f16::from_le_bytes(*two).to_f32()).collect()
                }
                Dtype::U8 => data.iter().map(|byte| f32::from(*byte)).collect(),
                Dtype::I32 => four().map(|four| i32::from_le_bytes(*four) as f32).collect(),
                _ => four().map(|four| f32::from_le_bytes(*four)).collect(),
            }
        };
        let tensors = file.tensors().into_iter();
        let all = tensors.map(|(name, view)| (name, (view.shape().to_vec(), widened(&view))));
        Self(all.collect())
    }

    /// Returns the names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Returns all numbers of a tensor, last axis fastest.
    pub fn all(&self, name: &str) -> &[f32] {
        &self.0[name].1
    }

    /// Returns the shape of a tensor.
    pub fn shape(&self, name: &str) -> &[usize] {
        &self.0[name].0
    }

    /// Returns the numbers of one entry of the first axis.
    pub fn row(&self, name: &str, row: usize) -> &[f32] {
        let (shape, numbers) = &self.0[name];
        let one = numbers.len() / shape[0];
        &numbers[row * one..(row + 1) * one]
    }
}

/// Imports a folder or a file of published weights.
fn imported(path: &Path) -> LoadedModel {
    let mut imported = open(&Source::new(path).unwrap()).unwrap();
    let weights = imported.all_weights().unwrap();
    let Imported { config, tokenizer, generation, .. } = imported;
    let model = Model::new(&config, 0, &device()).unwrap();
    LoadedModel { model: with_weights(model, &weights), config, tokenizer, generation }
}

/// Copies the tensors of a golden file below a prefix to a file of their own, without it.
fn copy_below(file: &str, prefix: &str, to: &Path) {
    let bytes = fs_err::read(golden(file)).unwrap();
    let all = SafeTensors::deserialize(&bytes).unwrap();
    let own = all.tensors().into_iter();
    let own = own.filter_map(|(name, view)| Some((name.strip_prefix(prefix)?.to_owned(), view)));
    fs_err::write(to, safetensors::serialize(own, None).unwrap()).unwrap();
}

/// The tiny JiT, in a folder as ports have it.
pub fn jit() -> LoadedModel {
    let folder = tempfile::tempdir().unwrap();
    let config = r#"{ "_class_name": "JiTTransformer2DModel", "in_context_start": 1 }"#;
    fs_err::write(folder.path().join("config.json"), config).unwrap();
    let weights = folder.path().join("diffusion_pytorch_model.safetensors");
    copy_below("jit_tiny.safetensors", "weights.", &weights);
    imported(folder.path())
}

/// The tiny U-ViT, as `torch.save` wrote it.
pub fn uvit() -> LoadedModel {
    imported(&golden("uvit_tiny.pth"))
}

/// A recipe that trains an imported network, with some values replaced.
pub fn recipe_for(model: &LoadedModel, weight: LossWeight, changes: &[(&str, &str)]) -> Recipe {
    let ModelConfig { patch, time, schedule, prediction, network, .. } = model.config.clone();
    let mut recipe = tiny(&[]);
    // Images of any size, of which none is drawn: batches come from the tests.
    recipe.data = Recipe::from_toml(EMOJI).unwrap().data;
    recipe.vocab = 0;
    (recipe.image.width, recipe.image.height) = (model.generation.width, model.generation.height);
    recipe.image.patch = patch;
    (recipe.mix.draw, recipe.mix.read) = ([1.0; 2], [0.0; 2]);
    let needs_class = network.classes().is_some_and(|classes| !classes.none);
    recipe.mix.caption_drop = if needs_class { 0.0 } else { 1.0 };
    (recipe.model.time, recipe.model.schedule) = (time, schedule);
    (recipe.model.prediction, recipe.model.network) = (prediction, network);
    (recipe.loss.text, recipe.loss.weight) = (0.0, weight);
    recipe.run.micro_batches = 1;
    let sample = &mut recipe.sample;
    (sample.sampler, sample.steps) = (model.generation.sampler, model.generation.steps.min(4));
    changes.iter().fold(recipe, |recipe, (key, value)| recipe.with(key, value).unwrap())
}

/// One image of a batch.
pub struct Noised<'a> {
    /// Numbers from -1 to 1, `[channels, rows, cols]`.
    pub clean: &'a [f32],
    /// The noise, in the same order.
    pub noise: &'a [f32],
    pub level: Level,
    pub class: Option<u32>,
}

/// The batch of square images, each at its level.
pub fn batch(config: &ModelConfig, weight: &LossWeight, images: &[Noised<'_>]) -> HostBatch {
    let channels = config.network.channels();
    let sample = |image: &Noised<'_>| {
        let side = (image.clean.len() / channels).isqrt();
        let cells = side / config.patch;
        let grid = Grid { channels, ..Grid::new(cells, cells, config.patch) };
        let patches = |numbers: &[f32]| {
            let data = TensorData::new(numbers.to_vec(), [1, channels, side, side]);
            let patches = patchify(Tensor::from_data(data, &device()), grid);
            patches.into_data().try_to_vec::<f32>().unwrap()
        };
        let mut sequence = Sequence::empty(config.network.positions());
        sequence.push_patches(grid, patches(image.clean), true, 0);
        sequence.class = image.class;
        let (level, eps, weight) = (image.level, patches(image.noise), weight.weight(&image.level));
        Sample { sequence, noise: vec![ImageNoise { level, eps, weight }] }
    };
    let samples: Vec<Sample> = images.iter().map(sample).collect();
    HostBatch::pack(&samples, 0, 0, config.patch_dim())
}

/// The tiny Fuyu.
pub fn fuyu() -> LoadedModel {
    imported(&golden("fuyu"))
}

/// A recipe that trains the tiny Fuyu on answers, with some values replaced.
pub fn fuyu_recipe(model: &LoadedModel, changes: &[(&str, &str)]) -> Recipe {
    let mut recipe = recipe_for(model, LossWeight::One, &[]);
    (recipe.vocab, recipe.loss.text, recipe.data) = (model.config.vocab, 1.0, tiny(&[]).data);
    (recipe.mix.draw, recipe.mix.read) = ([0.0; 2], [1.0; 2]);
    changes.iter().fold(recipe, |recipe, (key, value)| recipe.with(key, value).unwrap())
}

/// The image of the golden file of the tiny Fuyu.
pub fn fuyu_image() -> Image {
    let bytes = fs_err::read(golden("fuyu/expected.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&bytes).unwrap();
    let image = expected.tensor("image").unwrap();
    Image::new(image.shape()[1], image.shape()[0], image.data().to_vec()).unwrap()
}

/// A question about an image, whose answer is learned.
pub struct Asked<'a> {
    pub image: &'a Image,
    pub answer: &'a str,
}

/// The batch of some questions.
pub fn questions(model: &LoadedModel, all: &[Asked<'_>]) -> HostBatch {
    let sample = |asked: &Asked<'_>| {
        let (image, _) = model.fit().apply(asked.image, model.config.patch).unwrap();
        let segments = vec![
            Segment::context_image(image),
            Segment::context_text("What is on the mat?\n"),
            Segment::target_text(asked.answer),
        ];
        let sequence = model.sequencer().complete(&Document { segments }).unwrap();
        let noise = vec![ImageNoise::none(&model.config.schedule); sequence.images.len()];
        Sample { sequence, noise }
    };
    let samples: Vec<Sample> = all.iter().map(sample).collect();
    let pad = model.tokenizer.special().pad;
    HostBatch::pack(&samples, 0, pad, model.config.patch_dim())
}

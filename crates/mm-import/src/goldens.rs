//! What tests of importers do with golden files: run an imported network on them, and compare.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;
use mm_diffusion::{Guidance, Level, Sampler};
use mm_model::batch::Inputs;
use mm_model::parameters::with_weights;
use mm_model::{
    Document, GenerationSession, HostBatch, ImageNoise, ImageSpan, LoadedModel, Model, Sample,
    SamplingMethod, SamplingPlan, Sequence,
};
use mm_patch::{Grid, patchify, unpatchify};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use crate::published::{ImportError, Imported, Source, Tensors};

/// A golden file, whose arrays are widened to 32-bit floats.
#[derive(Debug, Clone)]
pub struct Golden {
    arrays: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl Golden {
    pub fn read(bytes: &[u8]) -> Self {
        let file = SafeTensors::deserialize(bytes).unwrap();
        let values = |view: &TensorView<'_>| -> Vec<f32> {
            let data = view.data();
            match view.dtype() {
                Dtype::F16 => {
                    let two = data.as_chunks().0.iter();
                    two.map(|two| burn::tensor::f16::from_le_bytes(*two).to_f32()).collect()
                }
                Dtype::U8 => data.iter().map(|byte| f32::from(*byte)).collect(),
                Dtype::I64 => data
                    .as_chunks()
                    .0
                    .iter()
                    .map(|eight| i64::from_le_bytes(*eight) as f32)
                    .collect(),
                _ => data.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect(),
            }
        };
        let arrays = file.tensors().into_iter();
        let arrays = arrays.map(|(name, view)| (name, (view.shape().to_vec(), values(&view))));
        Self { arrays: arrays.collect() }
    }

    pub fn has(&self, name: &str) -> bool {
        self.arrays.contains_key(name)
    }

    pub fn numbers(&self, name: &str) -> &[f32] {
        &self.arrays[name].1
    }

    /// Returns an array as a tensor with its axes, such as `[images, channels, rows, cols]`.
    pub fn tensor<const D: usize>(&self, name: &str) -> Tensor<D> {
        let (shape, values) = &self.arrays[name];
        Tensor::from_data(TensorData::new(values.clone(), shape.clone()), &Device::flex())
    }

    /// The arrays below a prefix, as a set of tensors of their own.
    pub fn below(&self, prefix: &str) -> Memory {
        let own = |(name, array): (&String, &(Vec<usize>, Vec<f32>))| {
            Some((name.strip_prefix(prefix)?.to_owned(), array.clone()))
        };
        Memory(self.arrays.iter().filter_map(own).collect(), PathBuf::from("golden"))
    }
}

/// Tensors in memory.
#[derive(Debug, Clone)]
pub struct Memory(pub BTreeMap<String, (Vec<usize>, Vec<f32>)>, PathBuf);

impl Memory {
    /// The tensors under other names.
    pub fn renamed(self, name: impl Fn(String) -> String) -> Self {
        Self(self.0.into_iter().map(|(old, array)| (name(old), array)).collect(), self.1)
    }

    pub fn write(&self, path: &Path) {
        let bytes: Vec<(&String, &Vec<usize>, Vec<u8>)> = self
            .0
            .iter()
            .map(|(name, (shape, values))| {
                (name, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())
            })
            .collect();
        let views = bytes.iter().map(|(name, shape, bytes)| {
            let view = TensorView::new(Dtype::F32, (*shape).clone(), bytes).unwrap();
            (name.as_str(), view)
        });
        fs_err::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
    }
}

impl Tensors for Memory {
    fn home(&self) -> &Path {
        &self.1
    }

    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.0.get(name).map(|(shape, _)| shape.clone())
    }

    fn dtype(&self, name: &str) -> Option<Dtype> {
        self.0.contains_key(name).then_some(Dtype::F32)
    }

    fn read(&mut self, name: &str) -> Result<Vec<u8>, ImportError> {
        Ok(self.0[name].1.iter().flat_map(|value| value.to_le_bytes()).collect())
    }
}

/// A folder of diffusers with one network.
pub fn folder(config: &str, weights: &Memory) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs_err::write(folder.path().join("config.json"), config).unwrap();
    weights.write(&folder.path().join("diffusion_pytorch_model.safetensors"));
    folder
}

pub fn open(path: &Path) -> Result<Imported, ImportError> {
    crate::kinds::open(&Source::new(path)?)
}

/// The imported model, its weights on `device`.
pub fn loaded(imported: &mut Imported, device: &Device) -> LoadedModel {
    let weights = imported.all_weights().unwrap();
    let model = with_weights(Model::new(&imported.config, 0, device).unwrap(), &weights);
    LoadedModel {
        config: imported.config.clone(),
        tokenizer: imported.tokenizer.clone(),
        model,
        generation: imported.generation.clone(),
    }
}

/// The patches of images `[images, colors, height, width]` one after another.
pub fn patches_of(images: Tensor<4>, patch: usize) -> (Tensor<3>, Grid) {
    let [_, channels, height, width] = images.dims();
    let grid = Grid { channels, ..Grid::new(height / patch, width / patch, patch) };
    (patchify(images, grid), grid)
}

/// A batch of images, each at a level with noise (or none, where `eps` is empty) and a class.
pub struct Noised {
    pub images: Tensor<4>,
    pub eps: Option<Tensor<4>>,
    pub levels: Vec<Level>,
    pub weights: Vec<f64>,
    pub classes: Vec<Option<u32>>,
}

impl Noised {
    pub fn batch(&self, config: &mm_model::ModelConfig) -> HostBatch {
        let floats = |x: Tensor<4>| {
            let (patches, grid) = patches_of(x, config.patch);
            (patches.into_data().try_to_vec::<f32>().unwrap(), grid)
        };
        let (clean, grid) = floats(self.images.clone());
        let one = grid.tokens() * grid.patch_dim();
        let eps = self.eps.clone().map(|eps| floats(eps).0);
        let sample = |(at, level): (usize, &Level)| {
            let own = at * one..(at + 1) * one;
            let mut sequence = Sequence::empty(config.network.positions());
            sequence.push_patches(grid, clean[own.clone()].to_vec(), true, 0);
            sequence.class = self.classes[at];
            assert!(matches!(&sequence.images[..], [ImageSpan { target: true, .. }]));
            let eps = eps.as_ref().map_or(vec![], |eps| eps[own].to_vec());
            Sample {
                sequence,
                noise: vec![ImageNoise { level: *level, eps, weight: self.weights[at] }],
            }
        };
        let samples: Vec<Sample> = self.levels.iter().enumerate().map(sample).collect();
        HostBatch::pack(&samples, 0, 0, config.patch_dim())
    }
}

/// Images, `[images, channels, rows, cols]`, that are shown as they are, told these timesteps and
/// classes, as what a network takes.
fn shown(
    model: &LoadedModel,
    images: Tensor<4>,
    timesteps: &[f64],
    classes: &[Option<u32>],
) -> Inputs {
    let level = |timestep: &f64| Level { timestep: *timestep, signal: 1.0, noise: 0.0 };
    let levels = timesteps.iter().map(level).collect();
    let (weights, classes) = (vec![1.0; timesteps.len()], classes.to_vec());
    let host = Noised { images, eps: None, levels, weights, classes }.batch(&model.config);
    host.to_device(&model.config, &Device::flex()).inputs
}

/// What the network makes of images that are shown as they are, told these timesteps and classes:
/// `[images, colors, height, width]`.
pub fn output(
    model: &LoadedModel,
    images: Tensor<4>,
    timesteps: &[f64],
    classes: &[Option<u32>],
) -> Tensor<4> {
    let count = timesteps.len();
    let (_, grid) = patches_of(images.clone(), model.config.patch);
    let inputs = shown(model, images, timesteps, classes);
    let drawn = model.model.patches(model.model.hidden(&inputs), &vec![grid; count]);
    unpatchify(drawn.reshape([count, grid.tokens(), grid.patch_dim()]), grid)
}

/// Compares the tokens behind every block, on the way to an [`output`], with `hidden.K` of the
/// golden file, each to within 1e-4 of its largest number. Returns how many blocks there are.
pub fn compare_states(
    model: &LoadedModel,
    golden: &Golden,
    timesteps: &[f64],
    classes: &[Option<u32>],
) -> usize {
    let inputs = shown(model, golden.tensor("noisy"), timesteps, classes);
    let states = model.model.token_states(&inputs);
    for (index, state) in states.iter().enumerate() {
        let name = format!("hidden.{index}");
        let wanted: Tensor<3> = golden.tensor(&name);
        let size = wanted.clone().abs().max().into_scalar::<f32>();
        let apart = apart(state.clone(), wanted);
        assert!(apart <= 1e-4 * size, "{name}: {apart:e} of {size:e} apart");
    }
    assert!(!golden.has(&format!("hidden.{}", states.len())), "a block was left out");
    states.len() - 1
}

/// The clean images that a sampler makes of `start`, `[images, colors, height, width]`, with the
/// noise of every step.
pub fn drawn(
    model: &LoadedModel,
    start: Tensor<4>,
    prompts: &[&str],
    sampler: Sampler,
    steps: usize,
    guidance: Guidance,
    noise: &mut dyn FnMut(usize) -> Tensor<4>,
) -> Tensor<4> {
    let (start, grid) = patches_of(start, model.config.patch);
    let prompts: Vec<Document> = prompts.iter().map(|text| Document::of_text(text)).collect();
    let session = GenerationSession::before_image(model, &prompts, grid).unwrap();
    let image = session.image(grid, guidance).unwrap();
    let levels = model.config.schedule.sampling_levels(steps).unwrap();
    let plan = SamplingPlan { levels: &levels, method: SamplingMethod::Plain(sampler) };
    let mut step = 0;
    let mut fresh = || {
        step += 1;
        patches_of(noise(step - 1), model.config.patch).0
    };
    unpatchify(image.sample(plan, start, &mut fresh, &mut |_, _| ()), grid)
}

/// Returns the greatest distance of two tensors of equal axes, such as
/// `[batch, tokens, channels]`.
pub fn apart<const D: usize>(one: Tensor<D>, other: Tensor<D>) -> f32 {
    assert_eq!(one.dims(), other.dims());
    (one - other).abs().max().into_scalar::<f32>()
}

/// The gradients of the image loss by our names.
pub fn gradients(imported: &mut Imported, noised: &Noised) -> (f32, BTreeMap<String, Vec<f32>>) {
    let device = Device::flex().autodiff();
    let model = loaded(imported, &device);
    let batch = noised.batch(&model.config).to_device(&model.config, &Device::flex());
    let losses = model.model.losses(&batch, model.config.prediction);
    let loss = losses.total(|_| 1.0).unwrap();
    let grads = GradientsParams::from_grads(loss.backward(), &model.model);
    let mut found = Gradients { grads: &grads, path: vec![], found: BTreeMap::new() };
    model.model.visit(&mut found);
    (loss.into_scalar::<f32>(), found.found)
}

struct Gradients<'a> {
    grads: &'a GradientsParams,
    path: Vec<String>,
    found: BTreeMap<String, Vec<f32>>,
}

impl ModuleVisitor for Gradients<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.get::<D>(param.id) {
            let values = grad.into_data().try_to_vec::<f32>().unwrap();
            self.found.insert(self.path.join("."), values);
        }
    }
}

/// Compares the gradients of all weights whose published tensors have one in the golden file, which
/// are arranged as the weights are. Returns how many were compared.
pub fn compare_gradients(
    imported: &Imported,
    found: &BTreeMap<String, Vec<f32>>,
    golden: Memory,
    most: f32,
) -> usize {
    let mut compared = 0;
    let mut sets: Vec<Box<dyn Tensors>> = vec![Box::new(golden.clone())];
    for plan in &imported.weights {
        if !plan.from.iter().all(|origin| golden.0.contains_key(&origin.name)) {
            continue;
        }
        let wanted = plan.values(&mut sets).unwrap();
        let size = wanted.iter().fold(0.0f32, |size, value| size.max(value.abs()));
        let own = &found[&plan.name];
        assert_eq!(own.len(), wanted.len(), "{}", plan.name);
        let apart = own.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart <= most * size.max(1e-3), "{}: {apart:e} of {size:e} apart", plan.name);
        compared += 1;
    }
    compared
}

//! This module compares golden files, which hold what Su Jianlin's own layers computed, with what a
//! model of this workspace computes.
//!
//! ```text
//! in/images, in/eps, in/z   [batch, row, column, channel]      in/steps  [batch, 1], step indices
//! out/images                the predicted noise of in/images    out/loss  batch mean of the summed squared error to in/eps
//! out/ddim10                10 steps of DDIM from in/z, clipped to [-1, 1] (out/ddim10_unclipped: not)
//! grad/NAME                 the gradient of out/loss for the weight that Keras calls NAME
//! ```
//!
//! Files are safetensors. `in/images`, `in/steps` and `out/images` must be there, and those other
//! inputs that an output or gradient of the file is computed from. Whatever the file has below
//! `out/` and `grad/` is compared, or is an error.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;
use mm_diffusion::{Level, ddim};
use mm_import::keras::rows;
use mm_model::{HostBatch, ImageNoise, Model, ModelConfig, Sample, Sequence};
use mm_patch::Grid;

mod file;

use file::Images;
pub use file::{Golden, GoldenError};

/// Counts the steps of the DDIM image in a golden file.
const DDIM_STEPS: usize = 10;

/// The differences between one array of the file and ours.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The array's name in the file.
    pub name: String,
    /// The largest difference.
    pub absolute: f64,
    /// The largest difference as a share of the largest wanted number.
    pub relative: f64,
}

impl Comparison {
    /// Compares equally many numbers.
    fn new(name: &str, found: &[f32], wanted: &[f32]) -> Self {
        let most = |numbers: &mut dyn Iterator<Item = f64>| {
            numbers.fold(
                0.0,
                |most: f64, x| if x.is_nan() || most.is_nan() { f64::NAN } else { most.max(x) },
            )
        };
        let pairs = found.iter().zip(wanted).map(|(a, b)| (f64::from(*a), f64::from(*b)));
        let absolute = most(&mut pairs.map(|(a, b)| (a - b).abs()));
        let largest = most(&mut wanted.iter().map(|x| f64::from(x.abs())));
        let relative = if absolute == 0.0 { 0.0 } else { absolute / largest };
        Self { name: name.to_owned(), absolute, relative }
    }

    /// Says whether the relative difference is at most `tolerance`. It is not if it is no number.
    pub fn within(&self, tolerance: f64) -> bool {
        self.relative <= tolerance
    }
}

/// Compares everything that the file holds. `model` is on a device with autodiff, and its
/// configuration describes one of Su's networks.
pub fn compare(
    model: &Model,
    config: &ModelConfig,
    golden: &Golden<'_>,
) -> Result<Vec<Comparison>, GoldenError> {
    golden.knows_outputs()?;
    let names: BTreeMap<String, String> =
        rows(config)?.into_iter().map(|row| (row.ours, row.keras)).collect();
    let mut all = vec![];
    let images = golden.images("in/images", config.patch)?;
    let steps = golden.steps(images.count(), config.schedule.steps().unwrap_or(0))?;
    let output = predict(model, config, &images, &steps);
    let wanted = golden.images("out/images", config.patch)?;
    images.same_size("out/images", &wanted)?;
    all.push(Comparison::new("out/images", &host(output.clone()), &wanted.numbers()));
    if golden.has("out/loss") || !golden.gradients().is_empty() {
        let eps = golden.images("in/eps", config.patch)?;
        images.same_size("in/eps", &eps)?;
        let target = TensorData::new(eps.numbers(), output.dims());
        let target = Tensor::<2>::from_data(target, &model.device());
        let loss = (output - target).square().sum() / steps.len() as f64;
        if golden.has("out/loss") {
            let wanted = golden.numbers("out/loss", 1)?;
            all.push(Comparison::new("out/loss", &host(loss.clone()), &wanted));
        }
        all.extend(gradients(model, loss, golden, &names)?);
    }
    let drawings = [("out/ddim10", 1.0), ("out/ddim10_unclipped", f32::INFINITY)];
    if drawings.iter().any(|(name, _)| golden.has(name)) {
        let z = golden.images("in/z", config.patch)?;
        let drawn = drawn(model, config, &z)?;
        for (name, limit) in drawings.into_iter().filter(|(name, _)| golden.has(name)) {
            let wanted = golden.images(name, config.patch)?;
            z.same_size(name, &wanted)?;
            let found: Vec<f32> = drawn.iter().map(|x| x.clamp(-limit, limit)).collect();
            all.push(Comparison::new(name, &found, &wanted.numbers()));
        }
    }
    Ok(all)
}

/// Compares every `grad/NAME` of the file. A name that is no weight of the model is an error, and
/// so is a weight without a gradient.
fn gradients(
    model: &Model,
    loss: Tensor<1>,
    golden: &Golden<'_>,
    names: &BTreeMap<String, String>,
) -> Result<Vec<Comparison>, GoldenError> {
    let wanted = golden.gradients();
    if wanted.is_empty() {
        return Ok(vec![]);
    }
    let grads = GradientsParams::from_grads(loss.backward(), model);
    let mut collect = Collect { grads: &grads, path: vec![], found: BTreeMap::new() };
    model.visit(&mut collect);
    let by_name: BTreeMap<&str, Vec<f32>> = collect
        .found
        .into_iter()
        .filter_map(|(path, grad)| Some((names.get(&path)?.as_str(), grad)))
        .collect();
    wanted
        .into_iter()
        .map(|name| {
            let full = format!("grad/{name}");
            let found = by_name
                .get(name.as_str())
                .ok_or_else(|| GoldenError::NoWeight { name: full.clone() })?;
            Ok(Comparison::new(&full, found, &golden.numbers(&full, found.len())?))
        })
        .collect()
}

/// Returns the output of the network for noisy images at their step indices,
/// `[images * patches, patch_dim]`.
fn predict(model: &Model, config: &ModelConfig, images: &Images, steps: &[f64]) -> Tensor<2> {
    let sample = |(noisy, time): (&Vec<f32>, &f64)| {
        let mut sequence = Sequence::empty(config.network.positions());
        sequence.push_patches(images.grid, noisy.clone(), true, 0);
        // The patches are noised already, so they count as signal only.
        let level = Level { timestep: *time, signal: 1.0, noise: 0.0 };
        let noise = vec![ImageNoise { level, eps: vec![0.0; noisy.len()], weight: 1.0 }];
        Sample { sequence, noise }
    };
    let samples: Vec<Sample> = images.each.iter().zip(steps).map(sample).collect();
    let batch = HostBatch::pack(&samples, 0, 0, config.patch_dim());
    let batch = batch.to_device(config, &model.device());
    model.patches(model.hidden(&batch.inputs), &vec![images.grid; samples.len()])
}

/// Returns ten steps of DDIM without noise from `z`, not clipped.
fn drawn(model: &Model, config: &ModelConfig, z: &Images) -> Result<Vec<f32>, GoldenError> {
    let model = model.valid();
    let levels = config.schedule.sampling_levels(DDIM_STEPS)?;
    let Grid { rows, cols, .. } = z.grid;
    let shape = [z.count(), rows * cols, config.patch_dim()];
    let device = model.device();
    let mut denoise = |noisy: Tensor<3>, level: &Level| {
        let now = Images { each: z.split(&host(noisy.clone())), grid: z.grid };
        let output = predict(&model, config, &now, &vec![level.timestep; shape[0]]).reshape(shape);
        config.prediction.to_clean_at(output, noisy, level)
    };
    let start = Tensor::<3>::from_data(TensorData::new(z.numbers(), shape), &device);
    let mut no_noise = |_step: usize| Tensor::zeros(shape, &device);
    Ok(host(ddim(&levels, start, 0.0, &mut denoise, &mut no_noise)))
}

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let data = tensor.without_autodiff().into_data();
    data.try_to_vec::<f32>().expect("activations are 32-bit floats")
}

/// Collects gradients by the paths of their weights.
struct Collect<'a> {
    grads: &'a GradientsParams,
    path: Vec<String>,
    found: BTreeMap<String, Vec<f32>>,
}

impl ModuleVisitor for Collect<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.get::<D>(param.id) {
            self.found.insert(self.path.join("."), host(grad));
        }
    }
}

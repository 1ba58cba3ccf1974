//! The seed author's own layers: prediction, loss and every gradient of a small network of ddpm-gau.py, as computed by
//! bert4keras (Su Jianlin, Keras-DDPM; the file's metadata says how).

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;
use mm_backbone::{BackboneConfig, BlockConfig, PositionScheme};
use mm_diffusion::{Level, Prediction, Schedule, ddim};
use mm_model::parameters::{Weight, Weights, weights_of, with_weights};
use mm_model::{HostBatch, ImageNoise, Model, ModelConfig, Sample, Sequence, TimeConfig};
use mm_patch::{Grid, patchify};
use safetensors::SafeTensors;

use crate::common::device;

const FILE: &[u8] = include_bytes!("golden/ddpm_gau_32p4.safetensors");
const SIDE: usize = 32;
const PATCH: usize = 4;
const NUMBERS: usize = PATCH * PATCH * 3;
const GRID: Grid = Grid { rows: SIDE / PATCH, cols: SIDE / PATCH, patch: PATCH };

fn numbers(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let bytes = file.tensor(name).unwrap().data().to_vec();
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn config() -> ModelConfig {
    ModelConfig {
        patch: PATCH,
        vocab: 2,
        patch_bias: false,
        patch_places: 0,
        patch_convolution: false,
        time: TimeConfig::Table { steps: 1000 },
        schedule: Schedule::Seed { steps: 1000 },
        prediction: Prediction::Noise,
        backbone: BackboneConfig {
            width: 64,
            depth: 2,
            block: BlockConfig::Gau { expansion: 2, key_size: 128, bias: true },
            positions: PositionScheme::Halves,
            rotary_base: 1000.0,
            norm_epsilon: 1e-7,
        },
        unet: None,
    }
}

/// Keras's name of a weight of ours; none for those of the language half.
fn keras_name(path: &str) -> Option<String> {
    let block = |index: &str, rest: &str| {
        let name = match rest {
            "norm.gamma" => return Some(format!("norm_{index}/gamma:0")),
            "joint.weight" => "dense/kernel",
            "joint.bias" => "dense/bias",
            "query.gamma" => "scale_offset/gamma",
            "query.beta" => "scale_offset/beta",
            "key.gamma" => "scale_offset_1/gamma",
            "key.beta" => "scale_offset_1/beta",
            "output.weight" => "dense_1/kernel",
            "output.bias" => "dense_1/bias",
            _ => return None,
        };
        Some(format!("gau_{index}/{name}:0"))
    };
    match path {
        "patch_in.weight" => Some("patch_in/kernel:0".into()),
        "patch_out.weight" => Some("patch_out/kernel:0".into()),
        "backbone.norm.gamma" => Some("norm_out/gamma:0".into()),
        _ if path.starts_with("time.") => Some("time/embeddings:0".into()),
        _ => {
            let (index, rest) = path.strip_prefix("backbone.blocks.")?.split_once('.')?;
            block(index, rest.strip_prefix("Gau.")?)
        }
    }
}

/// The golden network.
fn model(file: &SafeTensors<'_>, device: &Device) -> Model {
    let fresh = Model::new(&config(), 0, device).unwrap();
    let weights: Weights = weights_of(&fresh)
        .into_iter()
        .map(|(path, weight)| match keras_name(&path) {
            Some(name) => {
                let values = numbers(file, &format!("w/{name}"));
                assert_eq!(values.len(), weight.values.len(), "{path}");
                (path, Weight { shape: weight.shape, values })
            }
            None => (path, weight),
        })
        .collect();
    with_weights(fresh, &weights)
}

/// Images `[batch, row, column, channel]` as the patches of each.
fn patches(images: &[f32]) -> Vec<Vec<f32>> {
    let shape = [images.len() / (SIDE * SIDE * 3), SIDE, SIDE, 3];
    let images = Tensor::<4>::from_data(TensorData::new(images.to_vec(), shape), &device());
    let numbers = host(patchify(images.permute([0, 3, 1, 2]), GRID));
    numbers.chunks_exact(SIDE * SIDE * 3).map(<[f32]>::to_vec).collect()
}

/// Gradients by the path of their weight.
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
            self.found.insert(self.path.join("."), grad.into_data().try_to_vec::<f32>().unwrap());
        }
    }
}

/// Largest difference relative to the largest of the wanted numbers.
fn difference(found: &[f32], wanted: &[f32]) -> f32 {
    assert_eq!(found.len(), wanted.len());
    let largest = wanted.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    found.iter().zip(wanted).fold(0.0f32, |most, (a, b)| most.max((a - b).abs())) / largest
}

/// Noisy patches of some images at their step indices, `[images * patches, 48]` -> the predicted noise, of the same shape.
fn predict(model: &Model, noisy: &[Vec<f32>], steps: &[f64]) -> Tensor<2> {
    let config = config();
    let samples: Vec<Sample> = noisy
        .iter()
        .zip(steps)
        .map(|(noisy, &time)| {
            let mut sequence = Sequence::empty(config.backbone.positions);
            sequence.push_patches(GRID, noisy.clone(), true, 0);
            // The patches are noised already: all of them is signal here.
            let level = Level { time, signal: 1.0, noise: 0.0 };
            let noise = vec![ImageNoise { level, eps: vec![0.0; noisy.len()], weight: 1.0 }];
            Sample { sequence, noise }
        })
        .collect();
    let batch = HostBatch::pack(&samples, 0, 0, NUMBERS).to_device(&config, &device());
    model.patches(model.hidden(&batch.inputs), &vec![GRID; noisy.len()])
}

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.without_autodiff().into_data().try_to_vec::<f32>().unwrap()
}

#[test]
fn prediction_loss_and_gradients_agree_with_the_seed_authors_layers() {
    let file = SafeTensors::deserialize(FILE).unwrap();
    let model = model(&file, &device().autodiff());
    let steps: Vec<f64> = (file.tensor("in/steps").unwrap().data().chunks_exact(8))
        .map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap()) as f64)
        .collect();
    let output = predict(&model, &patches(&numbers(&file, "in/images")), &steps);
    let wanted = patches(&numbers(&file, "out/images")).concat();
    let apart = difference(&host(output.clone()), &wanted);
    assert!(apart < 1e-4, "the prediction differs by {apart}");

    let eps = patches(&numbers(&file, "in/eps")).concat();
    let eps = TensorData::new(eps.clone(), [eps.len() / NUMBERS, NUMBERS]);
    let target = Tensor::<2>::from_data(eps, &device());
    let loss = (output - target).square().sum() / steps.len() as f64;
    let grads = GradientsParams::from_grads(loss.backward(), &model);
    let loss = loss.into_scalar::<f32>();
    assert!((loss / numbers(&file, "out/loss")[0] - 1.0).abs() < 1e-4, "{loss}");

    let mut collect = Collect { grads: &grads, path: vec![], found: BTreeMap::new() };
    model.visit(&mut collect);
    let mut compared = 0;
    for (path, grad) in &collect.found {
        if let Some(name) = keras_name(path) {
            let apart = difference(grad, &numbers(&file, &format!("grad/{name}")));
            assert!(apart < 1e-4, "{path}: differs by {apart}");
            compared += 1;
        }
    }
    assert_eq!(compared, 22, "every weight of the file has a gradient");
}

#[test]
fn ten_steps_of_ddim_reach_the_seed_authors_image() {
    let file = SafeTensors::deserialize(FILE).unwrap();
    let model = model(&file, &device());
    let start = patches(&numbers(&file, "in/z"));
    let shape = [start.len(), start[0].len() / NUMBERS, NUMBERS];
    let images = shape[0];
    let mut denoise = |z: Tensor<3>, level: &Level| {
        let noisy = host(z.clone());
        let noisy: Vec<Vec<f32>> =
            noisy.chunks_exact(shape[1] * NUMBERS).map(<[f32]>::to_vec).collect();
        let eps = predict(&model, &noisy, &vec![level.time; images]).reshape(shape);
        let factor = |value: f64| Tensor::full([images, 1, 1], value, &device());
        Prediction::Noise.to_clean(eps, z, factor(level.signal), factor(level.noise))
    };
    let levels = config().schedule.sampling_levels(10).unwrap();
    let z = Tensor::<3>::from_data(TensorData::new(start.concat(), shape), &device());
    let drawn = ddim(&levels, z, 0.0, &mut denoise, &mut |_| unreachable!("eta is 0"));
    let drawn = host(drawn);
    let wanted = patches(&numbers(&file, "out/ddim10_unclipped")).concat();
    let apart = difference(&drawn, &wanted);
    assert!(apart < 1e-4, "the image differs by {apart}");
}

//! The folder for `transformers` computes what this library computes: logits, clean patches, losses
//! and whole drawings. Runs where `MM_PYTHON` names a Python that has torch and transformers.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use burn::prelude::*;
use mm_import::hf::{HfError, SHARD_BYTES, WeightType, write};
use mm_import::kinds::open;
use mm_import::published::Source;
use mm_model::parameters::{Weight, Weights, weights_of, with_weights};
use mm_model::random::{Purpose, normals, stream};
use mm_model::{
    Batch, Document, GenerationSession, HostBatch, IMAGE_LOSS, ImageNoise, LoadedModel, Sample,
    Segment, TEXT_LOSS,
};
use mm_patch::{Grid, Image};
use safetensors::tensor::{Dtype, TensorView};

use crate::common::start;

const GRID: Grid = Grid::new(2, 2, 8);
const CAPTION: &str = "red K [IMG]";

/// Networks that differ in every option that the Python code has.
const NETWORKS: &[&[(&str, &str)]] = &[
    &[],
    &[
        ("model.backbone.block", r#"{ kind = "gau", expansion = 2, key_size = 16, bias = true }"#),
        ("model.backbone.positions", "halves"),
        ("model.schedule", r#"{ kind = "su2024", steps = 50 }"#),
        ("model.time", r#"{ kind = "table", steps = 50 }"#),
        ("model.prediction", "noise"),
        ("model.patch_pos_embed", "0"),
    ],
    &[
        (
            "model.backbone.block",
            r#"{ kind = "multi-head", variant = "dit", heads = 2, key_heads = 2, feed_forward = 48 }"#,
        ),
        ("model.backbone.positions", "rope-tie"),
        ("model.schedule", r#"{ kind = "cosine", steps = 60 }"#),
        ("model.prediction", "velocity"),
        ("model.patch_convolution", "true"),
    ],
    &[
        ("model.backbone.depth", "3"),
        (
            "model.backbone.block",
            r#"{ kind = "multi-head", variant = "uvit", heads = 4, key_heads = 2, feed_forward = 48 }"#,
        ),
        ("model.patch_bias", "false"),
    ],
];

/// A model none of whose weights is zero.
fn model(changes: &[(&str, &str)]) -> LoadedModel {
    let mut model = start(changes).averaged();
    let mut rng = stream(5, Purpose::Adapter, 0, 0);
    let mut moved = weights_of(&model.model);
    for weight in moved.values_mut() {
        let noise = normals(&mut rng, weight.values.len());
        weight.values.iter_mut().zip(noise).for_each(|(value, noise)| *value += 0.1 * noise);
    }
    model.model = with_weights(model.model, &moved);
    model
}

fn image() -> Image {
    let mut image = Image::filled(16, 16, [200, 10, 90]);
    image.set_pixel(3, 9, [0, 255, 7]);
    image
}

fn host<const D: usize>(tensor: Tensor<D>) -> Weight {
    let shape = tensor.dims().to_vec();
    Weight { shape, values: tensor.into_data().try_to_vec::<f32>().unwrap() }
}

/// What this library computes, by the names that the script knows.
fn computed(model: &LoadedModel) -> Weights {
    let mut found = BTreeMap::new();
    let seen = Document {
        segments: vec![Segment::context_image(image()), Segment::context_text(CAPTION)],
    };
    let session = GenerationSession::after_prompts(model, std::slice::from_ref(&seen)).unwrap();
    found.insert("logits".to_owned(), host(session.logits()));

    let noise = normals(&mut stream(9, Purpose::Noise, 0, 0), GRID.tokens() * GRID.patch_dim());
    let data = TensorData::new(noise.clone(), [1, GRID.tokens(), GRID.patch_dim()]);
    let z = Tensor::<3>::from_data(data, &model.model.device());
    found.insert("noise".to_owned(), host(z.clone()));
    let session = GenerationSession::before_image(model, &[seen], GRID).unwrap();
    let level = model.config.schedule.sampling_levels(4).unwrap()[1];
    found.insert("clean".to_owned(), host(session.denoise(z, GRID, &level)));

    let options = model.options(9);
    let drawn = model.draw(&[Document::of_text(CAPTION)], GRID, &options).unwrap().remove(0);
    let bytes = (0..16).flat_map(|y| (0..16).map(move |x| (x, y)));
    let bytes = bytes.flat_map(|(x, y)| drawn.pixel(x, y)).map(f32::from).collect();
    found.insert("drawn".to_owned(), Weight { shape: vec![16, 16, 3], values: bytes });

    let target =
        Document { segments: vec![Segment::context_text(CAPTION), Segment::target_image(image())] };
    let sequence = model.sequencer().complete(&target).unwrap();
    let eps: ImageNoise = ImageNoise { level, weight: 2.5, eps: noise };
    let sample = Sample { sequence, noise: vec![eps] };
    let pad = model.tokenizer.special().pad;
    let batch = HostBatch::pack(&[sample], 0, pad, model.config.patch_dim());
    let batch: Batch = batch.to_device(&model.config, &model.model.device());
    let losses = model.model.losses(&batch, model.config.prediction);
    for name in [TEXT_LOSS, IMAGE_LOSS] {
        found.insert(name.to_owned(), host(losses.value(name).unwrap()));
    }
    found.insert(
        "timestep".to_owned(),
        Weight { shape: vec![1], values: vec![level.timestep as f32] },
    );
    found
}

fn save(path: &Path, tensors: &Weights) {
    let bytes: Vec<(&String, &Weight, Vec<u8>)> = tensors
        .iter()
        .map(|(name, one)| (name, one, one.values.iter().flat_map(|v| v.to_le_bytes()).collect()))
        .collect();
    let views = bytes.iter().map(|(name, one, bytes)| {
        (name.as_str(), TensorView::new(Dtype::F32, one.shape.clone(), bytes).unwrap())
    });
    fs_err::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn the_folder_for_transformers_computes_what_this_library_computes() {
    let python = std::env::var_os("MM_PYTHON").unwrap_or_default();
    let needed = "import torch, transformers, safetensors, PIL";
    let has_them = Command::new(&python).args(["-c", needed]).output();
    if !has_them.is_ok_and(|output| output.status.success()) {
        println!("skipped: MM_PYTHON names no Python with torch, transformers and pillow");
        return;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/reference/hf_model.py");
    for (number, changes) in NETWORKS.iter().enumerate() {
        let model = model(changes);
        let folder = tempfile::tempdir().unwrap();
        // Several files of weights, for every second network.
        let shard_bytes = if number % 2 == 0 { SHARD_BYTES } else { 20_000 };
        let weights = weights_of(&model.model);
        write::<HfError>(&model, &weights, WeightType::F32, shard_bytes, &mut |name, bytes| {
            fs_err::write(folder.path().join(name), bytes).unwrap();
            Ok(())
        })
        .unwrap();
        fs_err::write(folder.path().join("image.png"), image().encode_png()).unwrap();
        save(&folder.path().join("expected.safetensors"), &computed(&model));
        let output = Command::new(&python).arg(script).arg(folder.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        print!("{said}");
        let why = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "network {number}: {said}{why}");

        // What Python saved comes back as it was.
        let mut back = open(&Source::new(&folder.path().join("again")).unwrap()).unwrap();
        assert_eq!(back.config, model.config);
        assert_eq!(back.tokenizer.to_json(), model.tokenizer.to_json());
        assert_eq!(back.all_weights().unwrap(), weights);
    }
}

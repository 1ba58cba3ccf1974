//! Files of models: configurations, weights in two forms, golden files.

use std::fmt::Display;
use std::path::{Component, Path};

use burn::prelude::*;
use mm_diffusion::Schedule;
use mm_eval::golden::{self, Golden};
use mm_import::keras::{self, Su2024Sizes};
use mm_model::folder::{load_config, load_generation_config, load_weights, weight_files};
use mm_model::parameters::shapes_of;
use mm_model::{Model, ModelConfig};

use super::files;

/// `config.json` of a model folder.
pub fn config(bytes: &[u8]) {
    if let Some(config) = in_folder("config.json", bytes, load_config) {
        config.parameters();
        let levels = config.schedule.sampling_levels(2);
        assert!(levels.is_ok() || config.schedule.steps() == Some(1), "{levels:?}");
        config.validate().expect("it was read as valid");
    }
}

/// `generation_config.json` of a model folder.
pub fn generation(bytes: &[u8]) {
    if let Some(found) = in_folder("generation_config.json", bytes, load_generation_config) {
        found.grid(1).expect("it was read as valid");
        Schedule::Linear.sampling_levels(found.steps).expect("it was read as valid");
    }
}

/// `model.safetensors` of a model folder.
pub fn weights(bytes: &[u8]) {
    with_small_network(|_, model| {
        let load = |folder: &Path| load_weights(&folder.join("model.safetensors"), model);
        if let Some(weights) = in_folder("model.safetensors", bytes, load) {
            let shapes = weights.into_iter().map(|(name, weight)| (name, weight.shape)).collect();
            assert_eq!(shapes_of(model), shapes, "other weights than the model's");
        }
    });
}

/// `model.safetensors.index.json` of a model folder: the files that it names are in the folder.
pub fn index(bytes: &[u8]) {
    let list = |folder: &Path| {
        let listed = weight_files(folder);
        let inside = |path: &Path| {
            let below = path.strip_prefix(folder);
            below.is_ok_and(|path| {
                path.components().all(|part| matches!(part, Component::Normal(_)))
            })
        };
        assert!(listed.iter().flatten().all(|path| inside(path)), "{listed:?}");
        listed
    };
    in_folder("model.safetensors.index.json", bytes, list);
}

/// Weights under Keras's names: those that are accepted are the same after one more file.
pub fn keras(bytes: &[u8]) {
    for patch in [2, usize::MAX] {
        if let Some((config, weights)) = accepted(keras::read(bytes, patch)) {
            let (file, _) = keras::write(&config, &weights).expect("a network of Su's kind");
            let (config_again, again) = keras::read(&file, patch).expect("our own file");
            assert!(config_again == config && again == weights, "other weights");
        }
    }
}

/// A golden file beside a small network of Su's kind.
pub fn golden(bytes: &[u8]) {
    let Some(golden) = accepted(Golden::parse(bytes)) else {
        return;
    };
    with_small_network(|config, model| {
        if let Some(found) = accepted(golden::compare(model, config, &golden)) {
            assert!(!found.is_empty(), "a golden file that compares nothing");
        }
    });
}

/// Reads a file of this name in a folder.
fn in_folder<T, E: Display>(
    name: &str,
    bytes: &[u8],
    read: impl FnOnce(&Path) -> Result<T, E>,
) -> Option<T> {
    let folder = files::folder();
    files::write(&folder, name, bytes);
    accepted(read(folder.path()))
}

/// Takes what was read; an error has words.
fn accepted<T, E: Display>(read: Result<T, E>) -> Option<T> {
    read.map_err(|why| assert!(!why.to_string().is_empty(), "an error without words")).ok()
}

/// Lends a network of Su's kind with patches of 2x2 pixels, which each thread makes once.
fn with_small_network(work: impl FnOnce(&ModelConfig, &Model)) {
    thread_local! {
        static SMALL: (ModelConfig, Model) = small_network();
    }
    SMALL.with(|(config, model)| work(config, model));
}

fn small_network() -> (ModelConfig, Model) {
    let sizes = Su2024Sizes {
        patch: 2,
        width: 4,
        depth: 1,
        expanded: 8,
        key_size: 4,
        bias: false,
        steps: 10,
    };
    let config = sizes.config();
    let model = Model::new(&config, 0, &Device::default().autodiff()).expect("a valid config");
    (config, model)
}

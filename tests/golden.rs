//! The seed author's own layers: prediction, loss, every gradient and the image of DDIM of a small network of ddpm-gau.py, as computed by
//! bert4keras (Su Jianlin, Keras-DDPM; the file's metadata says how).

use mm_model::parameters::with_weights;
use mm_model::{Model, keras};
use mm_train::golden::{Comparison, Golden, compare};

use crate::common::device;

const FILE: &[u8] = include_bytes!("golden/ddpm_gau_32p4.safetensors");

fn comparisons() -> Vec<Comparison> {
    let (config, weights) = keras::read(FILE, 4).unwrap();
    let fresh = Model::new(&config, 0, &device().autodiff()).unwrap();
    compare(&with_weights(fresh, &weights), &config, &Golden::parse(FILE).unwrap()).unwrap()
}

#[test]
fn prediction_loss_gradients_and_image_agree_with_the_seed_authors_layers() {
    let found = comparisons();
    for line in &found {
        assert!(line.relative < 1e-4, "{}: differs by {}", line.name, line.relative);
    }
    let gradients = found.iter().filter(|line| line.name.starts_with("grad/")).count();
    assert_eq!(gradients, 22, "every weight of the file has a gradient");
    for name in ["out/images", "out/loss", "out/ddim10", "out/ddim10_unclipped"] {
        assert!(found.iter().any(|line| line.name == name), "{name}");
    }
}

#[test]
fn a_golden_file_of_another_network_is_refused_by_name() {
    let (config, _) = keras::read(FILE, 4).unwrap();
    let model = Model::new(&config, 0, &device().autodiff()).unwrap();
    let patch_of_7 = mm_model::ModelConfig { patch: 7, ..config.clone() };
    let refused = compare(&model, &patch_of_7, &Golden::parse(FILE).unwrap()).unwrap_err();
    let wanted = "array `in/images` is F32 [2, 32, 32, 3], wanted F32 [batch, row, column, 3] in patches of 7";
    assert_eq!(refused.to_string(), wanted);
    assert!(Golden::parse(b"nothing").is_err());
    let fewer = mm_model::ModelConfig {
        time: mm_model::TimeConfig::Table { steps: 3 },
        schedule: mm_diffusion::Schedule::Seed { steps: 3 },
        ..config
    };
    let refused = compare(&model, &fewer, &Golden::parse(FILE).unwrap()).unwrap_err().to_string();
    assert!(refused.contains("wanted 2 step indices from 0 to 2"), "{refused}");
}

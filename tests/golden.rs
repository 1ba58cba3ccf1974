//! A small network of ddpm-gau.py agrees with Su Jianlin's own layers in prediction, loss, every
//! gradient and the DDIM image. bert4keras (Su Jianlin, Keras-DDPM) computed the file, and its
//! metadata says how.

use mm_eval::golden::{Comparison, Golden, GoldenError, compare};
use mm_import::keras;
use mm_model::Model;
use mm_model::parameters::with_weights;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

use crate::common::device;

const FILE: &[u8] = include_bytes!("golden/ddpm_gau_32p4.safetensors");

/// Compares the network of the golden file with `file`.
fn comparisons(file: &[u8]) -> Result<Vec<Comparison>, GoldenError> {
    let (config, weights) = keras::read(FILE, 4).unwrap();
    let fresh = Model::new(&config, 0, &device().autodiff()).unwrap();
    compare(&with_weights(fresh, &weights), &config, &Golden::parse(file)?)
}

/// Returns the golden file without the arrays whose names begin as `left_out` says, and with the
/// first number of `wrong` replaced. Its arrays are renamed by `name`.
fn changed(left_out: &[&str], wrong: &str, name: fn(&str) -> String) -> Vec<u8> {
    let file = SafeTensors::deserialize(FILE).unwrap();
    let mut bytes = file.tensor(wrong).unwrap().data().to_vec();
    bytes[..4].copy_from_slice(&1e6f32.to_le_bytes());
    let kept = file.tensors().into_iter();
    let kept = kept.filter(|(name, _)| !left_out.iter().any(|start| name.starts_with(start)));
    let kept = kept.map(|(old, view)| {
        let bytes = if old == wrong { &bytes } else { view.data() };
        let view = TensorView::new(view.dtype(), view.shape().to_vec(), bytes).unwrap();
        (name(&old), view)
    });
    safetensors::serialize(kept, None).unwrap()
}

#[test]
fn prediction_loss_gradients_and_image_agree_with_the_layers_of_su() {
    let found = comparisons(FILE).unwrap();
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
fn a_gradient_is_compared_whether_or_not_the_file_has_the_loss() {
    let gradient = "grad/norm_0/gamma:0";
    let found = comparisons(&changed(&["out/loss", "out/ddim10"], gradient, str::to_owned));
    let past: Vec<String> = found
        .unwrap()
        .into_iter()
        .filter(|line| !line.within(1e-4))
        .map(|line| line.name)
        .collect();
    assert_eq!(past, [gradient]);
}

#[test]
fn an_output_whose_input_is_missing_or_that_nobody_computes_is_an_error() {
    let said = |left_out: &[&str], name: fn(&str) -> String| {
        let found = comparisons(&changed(left_out, "in/images", name));
        found.unwrap_err().to_string()
    };
    let lacks = |array: &str| format!("the golden file has no array `{array}`");
    assert_eq!(said(&["in/eps"], str::to_owned), lacks("in/eps"));
    assert_eq!(said(&["in/eps", "out/loss"], str::to_owned), lacks("in/eps"));
    assert_eq!(said(&["in/z"], str::to_owned), lacks("in/z"));
    assert_eq!(said(&["in/z", "out/ddim10_unclipped"], str::to_owned), lacks("in/z"));
    assert_eq!(
        said(&[], |name| name.replace("ddim10_unclipped", "ddim20")),
        "array `out/ddim20` is compared with nothing, wanted out/images, out/loss, out/ddim10, out/ddim10_unclipped"
    );
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
        schedule: mm_diffusion::Schedule::Su2024 { steps: 3 },
        ..config
    };
    let refused = compare(&model, &fewer, &Golden::parse(FILE).unwrap()).unwrap_err().to_string();
    assert_eq!(refused, "array `in/steps` is 7 in one place, wanted 2 step indices from 0 to 2");
}

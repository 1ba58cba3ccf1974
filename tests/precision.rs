//! Blocks that multiply in 16 bits learn as those in 32 do, and weights stay 32-bit floats.

use burn::tensor::FloatDType;
use mm_model::parameters::{Weights, weights_of};
use mm_train::batch::Batches;
use mm_train::{TrainError, Training};

use crate::common::{BLOCKS, device, start, tiny};

/// The losses of some steps, and the weights behind them.
fn after(changes: &[(&str, &str)], steps: u64) -> (Vec<f64>, Weights) {
    let mut training = start(changes);
    let (recipe, data) = (training.recipe.clone(), training.data.clone());
    let tokenizer = training.tokenizer.clone();
    let mut batches = Batches::new(&recipe, &data, &tokenizer);
    let losses = (0..steps).map(|step| {
        let report = training.step(&batches.batch(step).unwrap()).unwrap();
        assert!(!report.skipped);
        report.loss
    });
    (losses.collect(), weights_of(&training.raw().model))
}

#[test]
fn in_bf16_every_block_learns_as_in_32_bits_and_weights_keep_32() {
    check_learning("bf16", FloatDType::BF16, &|bits| bits & 0xffff == 0);
}

#[test]
fn in_f16_every_block_learns_as_in_32_bits_and_weights_keep_32() {
    check_learning("f16", FloatDType::F16, &|bits| bits & 0x1fff == 0);
}

/// Checks that blocks learn in a type, where `is_short` says of the bits of a number whether the
/// type holds it.
fn check_learning(name: &str, dtype: FloatDType, is_short: &dyn Fn(u32) -> bool) {
    let precision = ("run.precision", name);
    if !device().supports_dtype(dtype) {
        let refused = Training::start(tiny(&[precision]), &device()).err().unwrap();
        assert!(matches!(refused, TrainError::Precision { .. }), "{refused}");
        return;
    }
    let block = |variant| {
        format!(
            "{{ kind = \"multi-head\", variant = \"{variant}\", heads = 2, key_heads = 1, feed_forward = 64 }}"
        )
    };
    let (uvit, dit) = (block("uvit"), block("dit"));
    for block in [BLOCKS[0], BLOCKS[1], &uvit, &dit] {
        let changes =
            [("run.steps", "20"), ("model.backbone.depth", "3"), ("model.backbone.block", block)];
        let (wide, weights) = after(&changes, 20);
        let (narrow, short) = after(&[&changes[..], &[precision]].concat(), 20);
        for (step, (wide, narrow)) in wide.iter().zip(&narrow).enumerate() {
            let apart = (wide - narrow).abs() / wide;
            assert!(apart < 0.02, "{block}, step {step}: {wide} and {narrow}");
        }
        assert!(narrow[19] < narrow[0], "{block} learns nothing: {narrow:?}");
        assert!(weights != short, "{block} did not multiply in 16 bits");
        for (name, weight) in short.iter().filter(|(name, _)| name.contains("blocks")) {
            let all_short = weight.values.iter().all(|number| is_short(number.to_bits()));
            assert!(!all_short, "{name} was rounded to 16 bits");
        }
    }
}

#[test]
fn a_step_in_16_bits_has_the_same_bits_if_blocks_are_computed_again() {
    if !mm_kernels::has_fused_blocks(&device()) {
        return;
    }
    let bf16 = ("run.precision", "bf16");
    let (losses, weights) = after(&[bf16], 3);
    let again = after(&[bf16, ("run.activation_checkpointing", "true")], 3);
    assert!(again == (losses, weights));
}

#[test]
fn an_automatic_precision_is_the_fastest_of_the_device_and_is_written_down() {
    let fastest = mm_kernels::Precision::fastest(&device());
    let training = Training::start(tiny(&[("run.precision", "auto")]), &device()).unwrap();
    assert_eq!(training.recipe.run.precision, fastest.into());
    assert!(
        after(&[("run.precision", "auto")], 3) == after(&[("run.precision", fastest.name())], 3)
    );
    let on_the_cpu = mm_kernels::has_fused_blocks(&device());
    let vectors = mm_kernels::InstructionSet::has_bf16();
    assert_eq!(fastest == mm_kernels::Precision::Bf16, on_the_cpu && vectors);
}

#[test]
fn an_unknown_precision_is_refused_by_name() {
    let said = tiny(&[]).with("run.precision", "f8").unwrap_err().to_string();
    assert!(said.contains("`run.precision`") && said.contains("bf16"), "{said}");
}

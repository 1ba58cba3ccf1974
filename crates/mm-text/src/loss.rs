//! The text loss: the mean surprise of the model at each next token.

use burn::prelude::*;
use burn::tensor::{DType, FloatDType, activation};

/// Returns the weighted mean cross-entropy of the next token in nats,
/// `sum(w * -ln softmax(logits)[target]) / sum(w)`.
///
/// `logits`: `[tokens, vocab]`, `targets`: `[tokens]`, `weights`: `[tokens]` -> `[1]`. The result
/// is at least `f32` whatever came in, since a 16-bit float cannot hold a sum over many tokens.
///
/// Weights must not be negative. A token of weight 0 has no part in the result, even where its own
/// loss is infinite; its target must still be an id below `vocab`. Where all weights are 0 the loss
/// is 0, and so is its gradient.
///
/// ```
/// use burn::prelude::*;
///
/// let device = Device::flex();
/// let logits = Tensor::<2>::zeros([2, 4], &device); // four ids, all equally likely
/// let targets = Tensor::<1, Int>::from_data([3, 0], &device);
/// let loss = mm_text::next_token_loss(logits, targets, Tensor::ones([2], &device));
/// assert!((loss.into_scalar::<f32>() - 4f32.ln()).abs() < 1e-6);
/// ```
///
/// # Panics
///
/// Panics when the lengths differ.
pub fn next_token_loss(
    logits: Tensor<2>,
    targets: Tensor<1, Int>,
    weights: Tensor<1>,
) -> Tensor<1> {
    let [tokens, _] = logits.dims();
    assert_eq!(weights.dims(), [tokens], "one weight for each row of `logits`");
    let weights = weights.cast(wide(&logits));
    // 0 * infinity is not 0
    let surprise = token_surprises(logits, targets).mask_fill(weights.clone().equal_elem(0.0), 0.0);
    let total = weights.clone().sum();
    let divisor = total.clone().mask_fill(total.equal_elem(0.0), 1.0);
    (surprise * weights).sum() / divisor
}

/// Returns the cross-entropy of each next token in nats, `-ln softmax(logits)[target]`.
///
/// `logits`: `[tokens, vocab]`, `targets`: `[tokens]` -> `[tokens]`, at least `f32`.
///
/// # Panics
///
/// Panics when the lengths differ.
pub fn token_surprises(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let [tokens, _] = logits.dims();
    assert_eq!(targets.dims(), [tokens], "one target for each row of `logits`");
    let wide = wide(&logits);
    activation::log_softmax(logits.cast(wide), 1)
        .gather(1, targets.unsqueeze_dim(1)) // [tokens, 1]
        .squeeze_dim::<1>(1) // [tokens]
        .neg()
}

/// Returns the type in which the loss of `logits` `[tokens, vocab]` is computed.
fn wide(logits: &Tensor<2>) -> FloatDType {
    if logits.dtype() == DType::F64 { FloatDType::F64 } else { FloatDType::F32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [[f32; 3]; 3] = [[0.0, 0.0, 0.0], [1.0, 2.0, 3.0], [-1.0, 4.0, 0.5]];
    const TARGETS: [i32; 3] = [2, 0, 1];

    fn loss(logits: [[f32; 3]; 3], weights: [f32; 3]) -> f32 {
        let device = Device::flex();
        let logits = Tensor::<2>::from_data(logits, &device);
        let targets = Tensor::<1, Int>::from_data(TARGETS, &device);
        let weights = Tensor::<1>::from_data(weights, &device);
        next_token_loss(logits, targets, weights).into_scalar::<f32>()
    }

    /// Computes the same by hand, row by row in `f64`.
    fn by_hand(weights: [f64; 3]) -> f64 {
        let surprise = |row: usize| {
            let total: f64 = LOGITS[row].iter().map(|&logit| f64::from(logit).exp()).sum();
            total.ln() - f64::from(LOGITS[row][TARGETS[row] as usize])
        };
        (0..3).map(|row| weights[row] * surprise(row)).sum::<f64>() / weights.iter().sum::<f64>()
    }

    fn check_weights(weights: [f32; 3]) {
        let (found, wanted) = (loss(LOGITS, weights), by_hand(weights.map(f64::from)));
        assert!(
            (f64::from(found) - wanted).abs() < 1e-6,
            "weights {weights:?}: {found}, wanted {wanted}"
        );
    }

    #[test]
    fn the_loss_is_the_weighted_mean_of_the_surprises() {
        assert!((loss(LOGITS, [1.0, 0.0, 0.0]) - 3f32.ln()).abs() < 1e-6);
        check_weights([1.0, 1.0, 1.0]);
        check_weights([0.25, 0.0, 0.5]);
        check_weights([3.0, 2.0, 0.001]);
    }

    #[test]
    fn the_loss_is_zero_where_all_weights_are_zero() {
        assert_eq!(loss(LOGITS, [0.0; 3]), 0.0);
    }

    #[test]
    fn an_impossible_target_of_weight_zero_leaves_the_loss_finite() {
        let mut logits = LOGITS;
        logits[1][0] = f32::NEG_INFINITY; // the target of that row
        assert_eq!(loss(logits, [1.0, 0.0, 1.0]), loss(LOGITS, [1.0, 0.0, 1.0]));
    }

    #[test]
    fn rows_of_weight_zero_have_no_gradient() {
        let gradient = |logits: [[f32; 3]; 3], weights: [f32; 3]| {
            let device = Device::flex().autodiff();
            let logits = Tensor::<2>::from_data(logits, &device).require_grad();
            let targets = Tensor::<1, Int>::from_data(TARGETS, &device);
            let weights = Tensor::<1>::from_data(weights, &device);
            let gradients = next_token_loss(logits.clone(), targets, weights).backward();
            logits.grad(&gradients).unwrap().into_data().try_to_vec::<f32>().unwrap()
        };
        assert_eq!(gradient(LOGITS, [0.0; 3]), [0.0; 9]);
        let mut logits = LOGITS;
        logits[1][0] = f32::NEG_INFINITY; // the target of that row
        let found = gradient(logits, [1.0, 0.0, 0.0]);
        let mut wanted = [0.0; 9];
        wanted[..3].copy_from_slice(&[1.0 / 3.0, 1.0 / 3.0, -2.0 / 3.0]); // softmax - target
        assert!(
            found.iter().zip(wanted).all(|(found, wanted)| (found - wanted).abs() < 1e-6),
            "{found:?}"
        );
    }

    #[test]
    fn huge_logits_do_not_overflow() {
        let logits = LOGITS.map(|row| row.map(|logit| logit + 1e4));
        assert!((loss(logits, [1.0; 3]) - loss(LOGITS, [1.0; 3])).abs() < 1e-2);
    }
}

//! Updates of weights in one pass each, in pieces of [`PART`] numbers; piece by piece the result is
//! the same whatever the number of threads.

use super::in_parts;
use super::simd::{dot, vectorised};
use crate::AdamW;

/// Numbers that one task takes: so many that waking another thread pays.
const PART: usize = 1 << 18;

/// The factors of a step, ready for single numbers.
#[derive(Clone, Copy)]
struct Factors {
    betas: [f32; 2],
    new: [f32; 2],
    unbias: [f32; 2],
    keep: f32,
    lr: f32,
    epsilon: f32,
}

/// Takes one step of AdamW on weight and moments.
pub(super) fn adamw(adam: &AdamW, weight: &mut [f32], grad: &[f32], m: &mut [f32], v: &mut [f32]) {
    let factors = Factors {
        betas: adam.betas.map(|beta| beta as f32),
        new: adam.betas.map(|beta| (1.0 - beta) as f32),
        unbias: adam.corrections().map(|factor| factor as f32),
        keep: (1.0 - adam.lr * adam.weight_decay) as f32,
        lr: adam.lr as f32,
        epsilon: adam.epsilon as f32,
    };
    let tasks = weight.chunks_mut(PART).zip(grad.chunks(PART));
    let tasks = tasks.zip(m.chunks_mut(PART)).zip(v.chunks_mut(PART)).collect();
    in_parts(tasks, |_, (((weight, grad), m), v)| part(factors, weight, grad, m, v));
}

/// Computes `average + (1 - keep) (weight - average)`.
pub(super) fn moving_average(average: &mut [f32], weight: &[f32], keep: f64) {
    let share = (1.0 - keep) as f32;
    let tasks = average.chunks_mut(PART).zip(weight.chunks(PART)).collect();
    in_parts(tasks, |_, (average, weight)| approach(average, weight, share));
}

/// Computes `Σ x²`.
pub(super) fn sum_of_squares(x: &[f32]) -> f64 {
    let parts = in_parts(x.chunks(PART).collect(), |_, x| {
        let mut sum = 0.0;
        squares(x, &mut sum);
        f64::from(sum)
    });
    parts.iter().sum()
}

vectorised! {
    fn part(factors: Factors, weight: &mut [f32], grad: &[f32], m: &mut [f32], v: &mut [f32]) {
        let Factors { betas, new, unbias, .. } = factors;
        for (m, g) in m.iter_mut().zip(grad) {
            *m = betas[0] * *m + new[0] * g;
        }
        for (v, g) in v.iter_mut().zip(grad) {
            *v = betas[1] * *v + new[1] * (g * g);
        }
        for ((w, m), v) in weight.iter_mut().zip(m.iter()).zip(v.iter()) {
            let delta = m * unbias[0] / ((v * unbias[1]).sqrt() + factors.epsilon);
            *w = *w * factors.keep - factors.lr * delta;
        }
    }

    fn approach(average: &mut [f32], weight: &[f32], share: f32) {
        for (average, weight) in average.iter_mut().zip(weight) {
            *average += share * (weight - *average);
        }
    }

    fn squares(x: &[f32], sum: &mut f32) {
        *sum = dot(x, x);
    }
}

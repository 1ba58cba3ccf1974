//! The learning rate as a pure function of the step.

use crate::recipe::OptimizerConfig;

/// Returns the learning rate of a step: it rises linearly from 0, then falls as half a cosine to
/// the final share at `steps`, and stays there; or it follows the lines through `points`.
///
/// `step` counts from 0 and is the step about to be taken.
///
/// ```
/// let text = include_str!("../../../mm-cli/recipes/glyphs.toml");
/// let recipe = mm_train::Recipe::from_toml(text).unwrap().with("optimizer.warmup_steps", "4");
/// let config = recipe.unwrap().optimizer;
/// assert_eq!(mm_train::learning_rate(&config, 1, 100), config.lr * 2.0 / 4.0);
/// ```
pub fn learning_rate(config: &OptimizerConfig, step: u64, steps: u64) -> f64 {
    if !config.points.is_empty() {
        return config.lr * piecewise_linear(&config.points, step as f64);
    }
    let warmup = config.warmup_steps.min(steps);
    if step < warmup {
        return config.lr * (step + 1) as f64 / warmup as f64;
    }
    let progress = ((step - warmup) as f64 / (steps - warmup).max(1) as f64).min(1.0);
    let cosine = (1.0 + (std::f64::consts::PI * progress).cos()) / 2.0;
    config.lr * (config.final_lr + (1.0 - config.final_lr) * cosine)
}

/// Returns the value at `at` of the lines from the origin through `points`, `[at, value]` each,
/// which are level after the last.
fn piecewise_linear(points: &[[f64; 2]], at: f64) -> f64 {
    let mut before = [0.0, 0.0];
    for &point in points {
        if at < point[0] {
            let share = (at - before[0]) / (point[0] - before[0]);
            return before[1] + share * (point[1] - before[1]);
        }
        before = point;
    }
    before[1]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{EmaStart, LoraConfig, OptimizerKind};
    use expect_test::expect;

    fn rates(points: Vec<[f64; 2]>) -> String {
        let config = OptimizerConfig {
            kind: OptimizerKind::Adamw,
            lr: 1.0,
            final_lr: 0.1,
            warmup_steps: 4,
            points,
            betas: [0.9, 0.95],
            weight_decay: 0.0,
            clip: 1.0,
            ema: 0.999,
            ema_start: EmaStart::Short,
            emas: vec![],
            freeze: vec![],
            lora: LoraConfig::default(),
        };
        let rates = (0..13).map(|step| format!("{:.3}", learning_rate(&config, step, 12)));
        rates.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_rate_goes_through_given_points_and_stays_at_the_last() {
        expect!["0.000 0.250 0.500 0.750 1.000 0.917 0.833 0.750 0.667 0.583 0.500 0.500 0.500"]
            .assert_eq(&rates(vec![[4.0, 1.0], [10.0, 0.5]]));
    }

    #[test]
    fn the_rate_rises_linearly_and_falls_as_a_cosine() {
        expect!["0.250 0.500 0.750 1.000 1.000 0.966 0.868 0.722 0.550 0.378 0.232 0.134 0.100"]
            .assert_eq(&rates(vec![]));
    }
}

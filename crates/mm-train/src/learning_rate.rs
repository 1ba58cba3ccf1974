//! The learning rate as a pure function of the step.

use crate::recipe::OptimizerConfig;

/// Linear warm-up from 0, then half a cosine down to the final share at `steps`, constant after that.
///
/// `step` counts from 0 and is the step about to be taken.
pub fn learning_rate(config: &OptimizerConfig, step: u64, steps: u64) -> f64 {
    let warm = config.warm_up.min(steps);
    if step < warm {
        return config.rate * (step + 1) as f64 / warm as f64;
    }
    let progress = ((step - warm) as f64 / (steps - warm).max(1) as f64).min(1.0);
    let cosine = (1.0 + (std::f64::consts::PI * progress).cos()) / 2.0;
    config.rate * (config.final_rate + (1.0 - config.final_rate) * cosine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::OptimizerKind;
    use expect_test::expect;

    #[test]
    fn the_rate_rises_linearly_and_falls_as_a_cosine() {
        let config = OptimizerConfig {
            kind: OptimizerKind::Adamw,
            rate: 1.0,
            final_rate: 0.1,
            warm_up: 4,
            betas: [0.9, 0.95],
            weight_decay: 0.0,
            clip: 1.0,
            ema: 0.999,
        };
        let rates: Vec<String> =
            (0..13).map(|step| format!("{:.3}", learning_rate(&config, step, 12))).collect();
        expect!["0.250 0.500 0.750 1.000 1.000 0.966 0.868 0.722 0.550 0.378 0.232 0.134 0.100"]
            .assert_eq(&rates.join(" "));
    }
}

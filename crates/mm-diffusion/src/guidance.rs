//! Classifier-free guidance (Ho and Salimans 2022, arXiv:2207.12598), switched on inside an
//! interval of noise levels (Kynkäänniemi et al. 2024, arXiv:2404.07724).

mod rule;

use burn::prelude::*;
use burn::tensor::assert_shape;
use serde::{Deserialize, Serialize};

pub use self::rule::GuidanceRule;
use crate::{DiffusionError, Level};

/// How far, and where, samples are pushed from the unconditional towards the conditional
/// prediction; [`active`](Self::active) has an example.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guidance {
    /// The strength: 1 is off and costs nothing, 0 would be unconditional. The paper's w (its eq.
    /// 6) is `scale - 1`.
    pub scale: f64,
    /// The start of the interval, as a signal fraction `signal / (signal + noise)`: 0 is pure
    /// noise.
    pub from: f64,
    /// The end of the interval, included; 1 is the clean image.
    pub to: f64,
    /// How the two predictions are combined.
    #[serde(default, skip_serializing_if = "GuidanceRule::is_plain")]
    pub rule: GuidanceRule,
}

impl Guidance {
    /// No guidance, so the conditional prediction alone.
    pub const OFF: Guidance =
        Guidance { scale: 1.0, from: 0.0, to: 1.0, rule: GuidanceRule::Plain };

    /// Checks that the scale is finite and at least 0 and that the interval lies in [0, 1].
    pub fn validate(&self) -> Result<(), DiffusionError> {
        let Guidance { scale, from, to, rule } = *self;
        rule.validate()?;
        DiffusionError::unless(
            scale.is_finite() && scale >= 0.0,
            "scale",
            scale,
            "a finite number from 0",
        )?;
        DiffusionError::unless(
            (0.0..=1.0).contains(&from),
            "from",
            from,
            "a signal fraction from 0 to 1",
        )?;
        DiffusionError::unless(
            (from..=1.0).contains(&to),
            "to",
            to,
            "a signal fraction from `from` to 1",
        )
    }

    /// Says whether the unconditional prediction is needed at `level`.
    ///
    /// ```
    /// use mm_diffusion::{Guidance, Schedule};
    /// let guidance = Guidance { scale: 3.0, from: 0.1, ..Guidance::OFF };
    /// assert!(!guidance.active(&Schedule::Linear.level(0.0)));
    /// assert!(guidance.active(&Schedule::Linear.level(0.5)));
    /// ```
    pub fn active(&self, level: &Level) -> bool {
        let inside = (self.from..=self.to).contains(&level.signal_fraction());
        self.scale != 1.0 && (inside || self.rule.rests(level))
    }

    /// Returns unconditional + scale · (conditional - unconditional), eq. 6 of Ho and Salimans.
    ///
    /// The paper guides the noise. As every conversion is affine in the output, guiding the clean
    /// patches (as the samplers here do) or the velocity gives the same step.
    ///
    /// `conditional`, `unconditional`: `[batch, tokens, channels]` ->
    /// `[batch, tokens, channels]`.
    pub fn combine(&self, conditional: Tensor<3>, unconditional: Tensor<3>) -> Tensor<3> {
        let [batch, tokens, channels] = conditional.dims();
        assert_shape!(unconditional, [batch, tokens, channels]);
        unconditional.clone() + (conditional - unconditional) * self.scale
    }

    /// Combines the two predictions of the clean patches behind `noisy` by the
    /// [rule](Self::rule).
    ///
    /// All tensors: `[batch, tokens, channels]` -> `[batch, tokens, channels]`.
    pub fn combine_at(
        &self,
        conditional: Tensor<3>,
        unconditional: Tensor<3>,
        noisy: Tensor<3>,
        level: &Level,
    ) -> Tensor<3> {
        match self.rule {
            GuidanceRule::Plain => self.combine(conditional, unconditional),
            GuidanceRule::CfgZero { .. } if self.rule.rests(level) => noisy / level.scale(),
            GuidanceRule::CfgZero { .. } => {
                rule::cfg_zero(self.scale, conditional, unconditional, noisy / level.scale())
            }
            GuidanceRule::Rescaled { share } => {
                rule::rescaled(share, conditional.clone(), self.combine(conditional, unconditional))
            }
            GuidanceRule::Channels { guided, all } => {
                let whole = self.combine(conditional.clone(), unconditional);
                rule::channels(guided, all, conditional, whole)
            }
            GuidanceRule::Projected { parallel, norm } => {
                rule::projected(self.scale, parallel, norm, conditional, unconditional)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::{Prediction, Schedule};

    fn number(value: f64) -> Tensor<3> {
        Tensor::full([1, 1, 1], value, &Device::flex())
    }

    #[test]
    fn guidance_goes_past_the_conditional_prediction() {
        let at = |scale| {
            let guidance = Guidance { scale, ..Guidance::OFF };
            guidance.combine(number(0.5), number(0.25)).into_scalar::<f32>()
        };
        assert_eq!([0.0, 1.0, 3.0].map(at), [0.25, 0.5, 1.0]);
    }

    #[test]
    fn guiding_the_noise_is_guiding_the_image() {
        let guidance = Guidance { scale: 2.5, ..Guidance::OFF };
        let level = Schedule::Su2024 { steps: 1000 }.level(300.0);
        let to_clean = |eps: Tensor<3>| {
            Prediction::Noise.to_clean(eps, number(0.7), number(level.signal), number(level.noise))
        };
        let (with, without) = (number(0.9), number(-0.4));
        let first = to_clean(guidance.combine(with.clone(), without.clone())).into_scalar::<f32>();
        let last = guidance.combine(to_clean(with), to_clean(without)).into_scalar::<f32>();
        assert!((first - last).abs() < 1e-5, "{first} and {last}");
    }

    #[test]
    fn guidance_is_active_inside_its_interval_only() {
        let guidance = Guidance { scale: 2.0, from: 0.25, to: 0.75, ..Guidance::OFF };
        let active = [0.0, 0.2, 0.25, 0.5, 0.75, 0.8, 1.0]
            .map(|t| guidance.active(&Schedule::Linear.level(t)));
        assert_eq!(active, [false, false, true, true, true, false, false]);
        let su2024 = Schedule::Su2024 { steps: 1000 };
        assert_eq!(
            [0.0, 250.0, 999.0].map(|t| guidance.active(&su2024.level(t))),
            [false, true, false]
        );
        assert!(
            !Guidance::OFF.active(&Schedule::Linear.level(0.5)),
            "a scale of 1 needs no second prediction"
        );
    }

    #[test]
    fn an_interval_that_ends_before_it_starts_is_refused_by_name() {
        let refused = Guidance { scale: 2.0, from: 0.5, to: 0.25, ..Guidance::OFF }
            .validate()
            .unwrap_err()
            .to_string();
        expect!["`to` is 0.25, wanted a signal fraction from `from` to 1"].assert_eq(&refused);
        assert!(Guidance { scale: f64::NAN, ..Guidance::OFF }.validate().is_err());
        assert!(Guidance { from: -0.1, ..Guidance::OFF }.validate().is_err());
        assert!(Guidance::OFF.validate().is_ok());
    }
}

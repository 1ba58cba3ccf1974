//! How two predictions are combined into a guided one: plainly, or by a rule that keeps a large
//! scale from burning the colors. Each rule is one function with its paper.

use std::fmt;
use std::str::FromStr;

use burn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{DiffusionError, Level};

/// Names a rule: `cfg`, `cfg-zero`, `cfg-zero:UNTIL`, `rescaled:SHARE`, `apg`, `apg:PARALLEL`,
/// `apg:PARALLEL:NORM` or `channels:GUIDED:ALL`.
///
/// ```
/// use mm_diffusion::GuidanceRule;
///
/// let rule: GuidanceRule = "rescaled:0.7".parse()?;
/// assert_eq!(rule, GuidanceRule::Rescaled { share: 0.7 });
/// assert_eq!("apg".parse::<GuidanceRule>()?.to_string(), "apg");
/// # Ok::<(), mm_diffusion::DiffusionError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(try_from = "String", into = "String")]
pub enum GuidanceRule {
    /// Plain classifier-free guidance, [`Guidance::combine`](crate::Guidance::combine).
    #[default]
    Plain,
    /// CFG-Zero* (Fan et al. 2025, arXiv:2503.18886).
    CfgZero {
        /// The signal fraction below which the velocity is zero (section 4.2: "zero-init").
        until: f64,
    },
    /// Guidance rescaled to the deviation of the conditional prediction (Lin et al. 2023,
    /// arXiv:2305.08891).
    Rescaled {
        /// The share of the rescaled prediction, φ in [0, 1].
        share: f64,
    },
    /// Guidance of the first channels of a pixel alone, as in the code of DiT (Peebles & Xie 2022,
    /// arXiv:2212.09748), which guides three of the four of a latent.
    Channels {
        /// The channels that are guided.
        guided: usize,
        /// All channels of a pixel or latent.
        all: usize,
    },
    /// Adaptive projected guidance (Sadat et al. 2024, arXiv:2410.02416), without its momentum.
    Projected {
        /// The factor η of the part that is parallel to the conditional prediction; 0 drops it.
        parallel: f64,
        /// The largest norm r of the difference of the predictions; infinite for no limit.
        norm: f64,
    },
}

impl GuidanceRule {
    /// Says whether this is plain guidance.
    pub fn is_plain(&self) -> bool {
        *self == Self::Plain
    }

    /// Checks that every parameter is in its range.
    pub fn validate(&self) -> Result<(), DiffusionError> {
        let share = |name, found| {
            let right = (0.0..=1.0).contains(&found);
            DiffusionError::unless(right, name, found, "a number from 0 to 1")
        };
        match *self {
            Self::Plain => Ok(()),
            Self::CfgZero { until } => share("until", until),
            Self::Rescaled { share: found } => share("share", found),
            Self::Channels { guided, all } => {
                let right = (1..=all).contains(&guided);
                let wanted = "a number from 1 to that of all channels";
                DiffusionError::unless(right, "guided", guided as f64, wanted)
            }
            Self::Projected { parallel, norm } => {
                share("parallel", parallel)?;
                DiffusionError::unless(norm > 0.0, "norm", norm, "a number above 0")
            }
        }
    }

    /// Says whether the rule sets the velocity to zero at `level`.
    pub(super) fn rests(&self, level: &Level) -> bool {
        matches!(*self, Self::CfgZero { until } if level.signal_fraction() < until)
    }
}

impl fmt::Display for GuidanceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Plain => f.write_str("cfg"),
            Self::CfgZero { until: 0.0 } => f.write_str("cfg-zero"),
            Self::CfgZero { until } => write!(f, "cfg-zero:{until}"),
            Self::Rescaled { share } => write!(f, "rescaled:{share}"),
            Self::Channels { guided, all } => write!(f, "channels:{guided}:{all}"),
            Self::Projected { parallel: 0.0, norm: f64::INFINITY } => f.write_str("apg"),
            Self::Projected { parallel, norm: f64::INFINITY } => write!(f, "apg:{parallel}"),
            Self::Projected { parallel, norm } => write!(f, "apg:{parallel}:{norm}"),
        }
    }
}

impl FromStr for GuidanceRule {
    type Err = DiffusionError;

    fn from_str(text: &str) -> Result<Self, DiffusionError> {
        let unknown = || DiffusionError::GuidanceRule { found: text.to_owned() };
        let number = |text: &str| text.parse().map_err(|_| unknown());
        let parts: Vec<&str> = text.split(':').collect();
        let rule = match parts[..] {
            ["cfg"] => Self::Plain,
            ["cfg-zero"] => Self::CfgZero { until: 0.0 },
            ["cfg-zero", until] => Self::CfgZero { until: number(until)? },
            ["rescaled", share] => Self::Rescaled { share: number(share)? },
            ["channels", guided, all] => {
                let count = |text: &str| text.parse().map_err(|_| unknown());
                Self::Channels { guided: count(guided)?, all: count(all)? }
            }
            ["apg"] => Self::Projected { parallel: 0.0, norm: f64::INFINITY },
            ["apg", parallel] => {
                Self::Projected { parallel: number(parallel)?, norm: f64::INFINITY }
            }
            ["apg", parallel, norm] => {
                Self::Projected { parallel: number(parallel)?, norm: number(norm)? }
            }
            _ => return Err(unknown()),
        };
        rule.validate()?;
        Ok(rule)
    }
}

impl TryFrom<String> for GuidanceRule {
    type Error = DiffusionError;

    fn try_from(text: String) -> Result<Self, DiffusionError> {
        text.parse()
    }
}

impl From<GuidanceRule> for String {
    fn from(rule: GuidanceRule) -> String {
        rule.to_string()
    }
}

/// CFG-Zero* (Fan et al. 2025, arXiv:2503.18886, eqs. 6 and 11): the unconditional velocity is
/// first scaled by s = ⟨v_c, v_u⟩ / |v_u|², which brings it as near to the conditional one as it
/// gets, so v = (1 - w) s v_u + w v_c.
///
/// On the linear path v = (x̂ - y) / (1 - t), where y is z / (s + n), so differences to `y` stand
/// for velocities.
pub(super) fn cfg_zero(
    scale: f64,
    conditional: Tensor<3>,
    unconditional: Tensor<3>,
    y: Tensor<3>,
) -> Tensor<3> {
    let (with, without) = (conditional - y.clone(), unconditional - y.clone());
    let s = dot(&with, &without) / dot(&without, &without).clamp_min(TINY);
    y + without * s * (1.0 - scale) + with * scale
}

/// Rescaled guidance (Lin et al. 2023, arXiv:2305.08891, eqs. 14 to 16): the guided prediction gets
/// the standard deviation of the conditional one, and φ of the result is mixed with 1 - φ of the
/// plain one. The factor is `φ σ_c / σ + 1 - φ`.
pub(super) fn rescaled(share: f64, conditional: Tensor<3>, guided: Tensor<3>) -> Tensor<3> {
    let deviation = |x: &Tensor<3>| {
        let centered = x.clone() - x.clone().mean_dim(2).mean_dim(1);
        dot(&centered, &centered).sqrt()
    };
    let factor = deviation(&conditional) / deviation(&guided).clamp_min(TINY);
    guided * (factor * share + (1.0 - share))
}

/// Guidance of the first `guided` of every `all` channels; the others are those of the conditional
/// prediction. Patches that are not of so many channels are guided whole.
pub(super) fn channels(
    guided: usize,
    all: usize,
    conditional: Tensor<3>,
    whole: Tensor<3>,
) -> Tensor<3> {
    let [batch, tokens, numbers] = whole.dims();
    if !numbers.is_multiple_of(all) || guided >= all {
        return whole;
    }
    let pixels = |x: Tensor<3>| -> Tensor<4> { x.reshape([batch, tokens, numbers / all, all]) };
    let first = pixels(whole).narrow(3, 0, guided);
    let rest = pixels(conditional).narrow(3, guided, all - guided);
    Tensor::cat(vec![first, rest], 3).reshape([batch, tokens, numbers])
}

/// Adaptive projected guidance (Sadat et al. 2024, arXiv:2410.02416, section 5): the difference Δ
/// of the predictions is shortened to the norm r, and its part parallel to the conditional
/// prediction, which only saturates the image, is multiplied by η: x = x_c + (w - 1) (Δ⊥ + η Δ∥).
pub(super) fn projected(
    scale: f64,
    parallel: f64,
    norm: f64,
    conditional: Tensor<3>,
    unconditional: Tensor<3>,
) -> Tensor<3> {
    let mut difference = conditional.clone() - unconditional;
    if norm.is_finite() {
        let length = dot(&difference, &difference).sqrt().clamp_min(TINY);
        difference = difference * (length.recip() * norm).clamp_max(1.0);
    }
    let along = dot(&difference, &conditional) / dot(&conditional, &conditional).clamp_min(TINY);
    let along = conditional.clone() * along;
    conditional + (difference + along * (parallel - 1.0)) * (scale - 1.0)
}

/// The least divisor, so that two equal predictions of zeros give no NaN.
const TINY: f64 = 1e-20;

/// Returns the scalar product of two images a row: `[batch, tokens, channels]` -> `[batch, 1, 1]`.
fn dot(first: &Tensor<3>, last: &Tensor<3>) -> Tensor<3> {
    (first.clone() * last.clone()).sum_dim(2).sum_dim(1)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;
    use expect_test::expect;

    use super::*;
    use crate::{Guidance, Schedule};

    fn random() -> Tensor<3> {
        Tensor::random([2, 4, 6], Distribution::Normal(0.2, 1.0), &Device::flex())
    }

    fn largest(x: Tensor<3>) -> f32 {
        x.abs().max().into_scalar::<f32>()
    }

    fn guided(rule: &str, [with, without, noisy]: &[Tensor<3>; 3]) -> Tensor<3> {
        let guidance = Guidance { scale: 3.0, rule: rule.parse().unwrap(), ..Guidance::OFF };
        let level = Schedule::Linear.level(0.4);
        guidance.combine_at(with.clone(), without.clone(), noisy.clone(), &level)
    }

    #[test]
    fn rules_without_their_part_are_plain_guidance() {
        let all = [random(), random(), random()];
        let plain = guided("cfg", &all);
        for rule in ["rescaled:0", "apg:1", "apg:1:1000000", "channels:6:6", "channels:1:4"] {
            assert!(largest(guided(rule, &all) - plain.clone()) < 1e-5, "{rule}");
        }
        for rule in ["rescaled:0.7", "apg", "apg:1:0.5", "cfg-zero"] {
            assert!(largest(guided(rule, &all) - plain.clone()) > 1e-2, "{rule}");
        }
    }

    #[test]
    fn rescaled_guidance_has_the_deviation_of_the_conditional_prediction() {
        let all = [random(), random(), random()];
        let deviation = |x: Tensor<3>| x.reshape([2, 24]).var(1).sqrt();
        let found = deviation(guided("rescaled:1", &all));
        assert!((found - deviation(all[0].clone())).abs().max().into_scalar::<f32>() < 1e-5);
    }

    #[test]
    fn projected_guidance_moves_across_the_conditional_prediction_and_no_further_than_its_norm() {
        let all = [random(), random(), random()];
        let moved = guided("apg", &all) - all[0].clone();
        assert!(largest(dot(&moved, &all[0])) < 1e-4);
        let moved = guided("apg:1:0.5", &all) - all[0].clone();
        let lengths = dot(&moved, &moved).sqrt(); // (3 - 1) * 0.5
        assert!(largest(lengths - 1.0) < 1e-5);
    }

    #[test]
    fn cfg_zero_scales_the_unconditional_velocity_to_the_nearest_point_and_starts_at_rest() {
        let all = [random(), random(), random()];
        let (with, without) = (all[0].clone() - all[2].clone(), all[1].clone() - all[2].clone());
        let v = guided("cfg-zero", &all) - all[2].clone(); // on the linear path y is z
        let rest = (v - with.clone()) / 2.0; // (w - 1) (v_c - s v_u), without the factor
        assert!(largest(dot(&rest, &without)) < 1e-3, "the rest is orthogonal to v_u");
        assert!(largest(guided("cfg-zero:0.5", &all) - all[2].clone()) == 0.0);
        let guidance = Guidance {
            scale: 2.0,
            from: 0.5,
            rule: GuidanceRule::CfgZero { until: 0.1 },
            ..Guidance::OFF
        };
        let active = [0.0, 0.2, 0.6].map(|t| guidance.active(&Schedule::Linear.level(t)));
        assert_eq!(active, [true, false, true]);
    }

    #[test]
    fn only_the_first_channels_of_a_pixel_are_guided() {
        let all = [random(), random(), random()];
        let (plain, some) = (guided("cfg", &all), guided("channels:2:3", &all)); // of two pixels
        for channel in 0..6 {
            let of = |x: &Tensor<3>| x.clone().narrow(2, channel, 1).into_data();
            let wanted = if channel % 3 < 2 { &plain } else { &all[0] };
            assert_eq!(of(&some), of(wanted), "{channel}");
        }
    }

    #[test]
    fn equal_predictions_stay_as_they_are_under_every_rule() {
        for x in [random(), Tensor::zeros([2, 4, 6], &Device::flex())] {
            for rule in ["cfg", "cfg-zero", "rescaled:0.7", "apg", "apg:0.5:2"] {
                let found = guided(rule, &[x.clone(), x.clone(), random()]);
                assert!(largest(found - x.clone()) < 1e-5, "{rule}");
            }
        }
    }

    #[test]
    fn a_rule_is_written_as_it_is_read_and_an_unknown_one_is_refused() {
        for rule in
            ["cfg", "cfg-zero", "cfg-zero:0.04", "rescaled:0.7", "apg", "apg:0.5", "apg:0:15"]
                .into_iter()
                .chain(["channels:3:4"])
        {
            assert_eq!(rule.parse::<GuidanceRule>().unwrap().to_string(), rule);
        }
        let refused = |rule: &str| rule.parse::<GuidanceRule>().unwrap_err().to_string();
        expect!["guidance rule is `apg:x`, wanted `cfg`, `cfg-zero`, `cfg-zero:UNTIL`, `rescaled:SHARE`, `apg`, `apg:PARALLEL`, `apg:PARALLEL:NORM` or `channels:GUIDED:ALL`"]
            .assert_eq(&refused("apg:x"));
        expect!["`share` is 1.5, wanted a number from 0 to 1"].assert_eq(&refused("rescaled:1.5"));
        expect!["`norm` is NaN, wanted a number above 0"].assert_eq(&refused("apg:0:NaN"));
        let old: Guidance = serde_json::from_str(r#"{"scale":2,"from":0,"to":1}"#).unwrap();
        assert_eq!(old.rule, GuidanceRule::Plain);
        assert_eq!(serde_json::to_string(&old).unwrap(), r#"{"scale":2.0,"from":0.0,"to":1.0}"#);
    }
}

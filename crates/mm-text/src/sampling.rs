//! Sampling one token from the logits of one position, as a pure function of a number that the
//! caller drew.

use serde::{Deserialize, Serialize};

use crate::TextError;

/// How the next token is drawn. The steps are taken in the order of the fields, each on what the
/// one before has left.
///
/// ```
/// use mm_text::{TokenSampling, sample_token};
///
/// let how = TokenSampling { temperature: 0.8, top_p: Some(0.95), ..TokenSampling::GREEDY };
/// how.validate()?;
/// assert_eq!(sample_token(&[0.0, 5.0, 1.0], &how, 0.5), 1);
/// # Ok::<(), mm_text::TextError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSampling {
    /// Divides the logits: below 1 likely tokens gain, above 1 they lose. 0 takes the likeliest
    /// token.
    pub temperature: f32,
    /// Keeps the `top_k` likeliest tokens (Fan et al. 2018, arXiv:1805.04833).
    #[serde(default)]
    pub top_k: Option<usize>,
    /// Keeps the fewest likeliest tokens whose probabilities sum to at least `top_p` (nucleus
    /// sampling, Holtzman et al. 2019, arXiv:1904.09751).
    #[serde(default)]
    pub top_p: Option<f32>,
    /// Keeps the tokens at least `min_p` times as likely as the likeliest (Nguyen et al. 2024,
    /// arXiv:2407.01082).
    #[serde(default)]
    pub min_p: Option<f32>,
}

impl TokenSampling {
    /// Takes the likeliest token.
    pub const GREEDY: TokenSampling =
        TokenSampling { temperature: 0.0, top_k: None, top_p: None, min_p: None };

    /// Checks every field's range.
    pub fn validate(&self) -> Result<(), TextError> {
        let check = |field, fine: bool, found: String, wanted| {
            if fine { Ok(()) } else { Err(TextError::Sampling { field, found, wanted }) }
        };
        let heat = self.temperature;
        check(
            "temperature",
            heat.is_finite() && heat >= 0.0,
            heat.to_string(),
            "a finite number of at least 0",
        )?;
        if let Some(top_k) = self.top_k {
            check("top_k", top_k >= 1, top_k.to_string(), "at least 1")?;
        }
        if let Some(top_p) = self.top_p {
            check(
                "top_p",
                top_p > 0.0 && top_p <= 1.0,
                top_p.to_string(),
                "above 0 and at most 1",
            )?;
        }
        if let Some(min_p) = self.min_p {
            check("min_p", (0.0..=1.0).contains(&min_p), min_p.to_string(), "between 0 and 1")?;
        }
        Ok(())
    }
}

/// Draws one token: `uniform`, from `[0, 1)`, falls into one token's share of the line from 0 to 1,
/// on which the tokens that may be drawn lie by id.
///
/// The filters prefer the lower id among equally likely tokens. A token whose logit is NaN or minus
/// infinity is never drawn; where all are of that kind the answer is 0. Options that
/// [`TokenSampling::validate`] refuses do not panic, because at least one token always remains.
///
/// # Panics
///
/// Panics when `logits` is empty.
pub fn sample_token(logits: &[f32], how: &TokenSampling, uniform: f64) -> u32 {
    assert!(!logits.is_empty(), "`logits` has no token to draw");
    let candidates = candidates(logits, how);
    let total: f64 = candidates.iter().map(|token| token.weight).sum();
    let mut before = 0.0;
    for token in &candidates {
        before += token.weight;
        if before > uniform * total {
            return token.id;
        }
    }
    // This is reached when rounding, or `uniform`, passes the end.
    candidates.last().map_or(0, |token| token.id)
}

/// A token that may be drawn. The likeliest one has weight 1.
#[derive(Clone, Copy)]
struct Candidate {
    id: u32,
    weight: f64,
}

/// Returns the tokens that `how` leaves, by id. There is none only where no logit is a number above
/// minus infinity.
fn candidates(logits: &[f32], how: &TokenSampling) -> Vec<Candidate> {
    let possible = |logit: &f32| *logit > f32::NEG_INFINITY; // false for NaN
    let finite = |logit: f32| f64::from(logit.min(f32::MAX));
    let Some(best) = logits.iter().copied().filter(possible).reduce(f32::max).map(finite) else {
        return Vec::new();
    };
    let greedy = how.temperature <= 0.0 || how.temperature.is_nan();
    let temperature = if greedy { 1.0 } else { f64::from(how.temperature) };

    let mut left: Vec<Candidate> = (0u32..)
        .zip(logits)
        .filter(|(_, logit)| possible(logit))
        .map(|(id, &logit)| Candidate { id, weight: ((finite(logit) - best) / temperature).exp() })
        .filter(|token| token.weight > 0.0)
        .collect();

    keep_top_k(&mut left, if greedy { Some(1) } else { how.top_k });
    keep_top_p(&mut left, how.top_p);
    left.retain(|token| !how.min_p.is_some_and(|min_p| token.weight < f64::from(min_p.min(1.0))));
    left.sort_unstable_by_key(|token| token.id);
    left
}

/// Orders the likelier token first, then the lower id.
fn by_weight(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    b.weight.total_cmp(&a.weight).then(a.id.cmp(&b.id))
}

fn keep_top_k(left: &mut Vec<Candidate>, top_k: Option<usize>) {
    let Some(keep) = top_k.map(|top_k| top_k.max(1)).filter(|&keep| keep < left.len()) else {
        return;
    };
    left.select_nth_unstable_by(keep - 1, by_weight);
    left.truncate(keep);
}

fn keep_top_p(left: &mut Vec<Candidate>, top_p: Option<f32>) {
    let Some(top_p) = top_p.filter(|&top_p| top_p < 1.0) else { return };
    left.sort_unstable_by(by_weight);
    let wanted = f64::from(top_p) * left.iter().map(|token| token.weight).sum::<f64>();
    let mut mass = 0.0;
    let enough = left.iter().position(|token| {
        mass += token.weight;
        mass >= wanted
    });
    left.truncate(enough.map_or(left.len(), |last| last + 1));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAN: f32 = f32::NAN;
    const NEVER: f32 = f32::NEG_INFINITY;
    const PLAIN: TokenSampling = TokenSampling { temperature: 1.0, ..TokenSampling::GREEDY };

    /// Returns how often each token is drawn over a fine grid of `uniform`.
    fn shares(logits: &[f32], how: &TokenSampling) -> Vec<f64> {
        const GRID: usize = 20_000;
        let mut shares = vec![0.0; logits.len()];
        for i in 0..GRID {
            let id = sample_token(logits, how, (i as f64 + 0.5) / GRID as f64);
            shares[id as usize] += 1.0 / GRID as f64;
        }
        shares
    }

    fn check_shares(logits: &[f32], how: TokenSampling, wanted: &[f64]) {
        let found = shares(logits, &how);
        let near = found.iter().zip(wanted).all(|(found, wanted)| (found - wanted).abs() < 2e-4);
        assert!(near && found.len() == wanted.len(), "{how:?}: {found:?}, wanted {wanted:?}");
    }

    fn logs(probabilities: &[f64]) -> Vec<f32> {
        probabilities.iter().map(|p| p.ln() as f32).collect()
    }

    #[test]
    fn tokens_are_drawn_as_often_as_they_are_likely() {
        let logits = logs(&[0.1, 0.4, 0.2, 0.3]);
        check_shares(&logits, PLAIN, &[0.1, 0.4, 0.2, 0.3]);
        // At half the temperature the squares count: 0.01 + 0.16 + 0.04 + 0.09 = 0.3.
        let half = TokenSampling { temperature: 0.5, ..PLAIN };
        check_shares(&logits, half, &[0.1 / 3.0, 1.6 / 3.0, 0.4 / 3.0, 0.9 / 3.0]);
        let twice = TokenSampling { temperature: 2.0, ..PLAIN }; // square roots
        let roots = [0.1f64, 0.4, 0.2, 0.3].map(f64::sqrt);
        check_shares(&logits, twice, &roots.map(|root| root / roots.iter().sum::<f64>()));
    }

    #[test]
    fn the_filters_keep_the_tokens_they_promise() {
        let logits = logs(&[0.1, 0.4, 0.2, 0.3]);
        let top_k = |k| TokenSampling { top_k: Some(k), ..PLAIN };
        check_shares(&logits, top_k(1), &[0.0, 1.0, 0.0, 0.0]);
        check_shares(&logits, top_k(2), &[0.0, 4.0 / 7.0, 0.0, 3.0 / 7.0]);
        check_shares(&logits, top_k(9), &[0.1, 0.4, 0.2, 0.3]);

        let top_p = |p| TokenSampling { top_p: Some(p), ..PLAIN };
        check_shares(&logits, top_p(0.01), &[0.0, 1.0, 0.0, 0.0]);
        check_shares(&logits, top_p(0.41), &[0.0, 4.0 / 7.0, 0.0, 3.0 / 7.0]);
        check_shares(&logits, top_p(0.71), &[0.0, 4.0 / 9.0, 2.0 / 9.0, 3.0 / 9.0]);
        check_shares(&logits, top_p(1.0), &[0.1, 0.4, 0.2, 0.3]);

        let min_p = |p| TokenSampling { min_p: Some(p), ..PLAIN };
        check_shares(&logits, min_p(0.0), &[0.1, 0.4, 0.2, 0.3]);
        check_shares(&logits, min_p(0.3), &[0.0, 4.0 / 9.0, 2.0 / 9.0, 3.0 / 9.0]);
        check_shares(&logits, min_p(1.0), &[0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn filters_apply_in_order_each_to_what_is_left() {
        let logits = logs(&[0.1, 0.4, 0.2, 0.3]);
        // Of the two that top-k leaves the first has 4/7 > 0.5, so it alone makes the nucleus. Of
        // all four it has 0.4.
        let both = TokenSampling { top_k: Some(2), top_p: Some(0.5), ..PLAIN };
        check_shares(&logits, both, &[0.0, 1.0, 0.0, 0.0]);
        // At temperature 0.5 the weights are 1 : 16 : 4 : 9, and 4 / 16 is below min-p.
        let cold = TokenSampling { temperature: 0.5, min_p: Some(0.3), ..PLAIN };
        check_shares(&logits, cold, &[0.0, 0.64, 0.0, 0.36]);
    }

    #[test]
    fn greedy_takes_the_likeliest_and_the_lower_id_of_equals() {
        let pick = |logits: &[f32]| sample_token(logits, &TokenSampling::GREEDY, 0.999);
        assert_eq!(pick(&[1.0, 3.0, 3.0, 2.0]), 1);
        assert_eq!(pick(&[NAN, NEVER, -7.0]), 2);
        assert_eq!(pick(&[1.0, f32::INFINITY, f32::INFINITY, NAN]), 1);
        assert_eq!(pick(&[NAN, NEVER]), 0);
    }

    #[test]
    fn equals_are_cut_by_id() {
        let how = TokenSampling { top_k: Some(2), ..PLAIN };
        check_shares(&[0.0; 4], how, &[0.5, 0.5, 0.0, 0.0]);
        check_shares(
            &[0.0; 4],
            TokenSampling { top_p: Some(0.6), ..PLAIN },
            &[1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, 0.0],
        );
    }

    #[test]
    fn impossible_logits_are_never_drawn() {
        check_shares(&[NAN, 0.0, NEVER, 0.0, NEVER], PLAIN, &[0.0, 0.5, 0.0, 0.5, 0.0]);
        check_shares(&[f32::INFINITY, 0.0], PLAIN, &[1.0, 0.0]);
    }

    #[test]
    fn options_out_of_range_are_refused_by_name() {
        let message = |how: TokenSampling| how.validate().unwrap_err().to_string();
        let refused = [
            message(TokenSampling { temperature: -1.0, ..PLAIN }),
            message(TokenSampling { temperature: NAN, ..PLAIN }),
            message(TokenSampling { top_k: Some(0), ..PLAIN }),
            message(TokenSampling { top_p: Some(0.0), ..PLAIN }),
            message(TokenSampling { top_p: Some(NAN), ..PLAIN }),
            message(TokenSampling { min_p: Some(1.5), ..PLAIN }),
        ];
        expect_test::expect![[r#"
            `temperature` is -1, wanted a finite number of at least 0
            `temperature` is NaN, wanted a finite number of at least 0
            `top_k` is 0, wanted at least 1
            `top_p` is 0, wanted above 0 and at most 1
            `top_p` is NaN, wanted above 0 and at most 1
            `min_p` is 1.5, wanted between 0 and 1"#]]
        .assert_eq(&refused.join("\n"));
    }

    #[test]
    fn options_are_read_by_name_and_misspelled_ones_refused() {
        let read = |text| serde_json::from_str::<TokenSampling>(text);
        let wanted = TokenSampling { top_k: Some(3), ..TokenSampling::GREEDY };
        assert_eq!(read(r#"{ "temperature": 0, "top_k": 3 }"#).unwrap(), wanted);
        assert!(
            read(r#"{ "temperature": 0, "topk": 3 }"#).unwrap_err().to_string().contains("`topk`")
        );
    }

    fn any_logit() -> impl Strategy<Value = f32> {
        prop_oneof![8 => -30f32..30.0, 1 => any::<f32>(), 1 => Just(NEVER), 1 => Just(NAN)]
    }

    proptest! {
        #[test]
        fn whatever_comes_in_a_possible_token_comes_out(
            logits in prop::collection::vec(any_logit(), 1..40),
            temperature in any::<f32>(),
            top_k in prop::option::of(0usize..50),
            top_p in prop::option::of(any::<f32>()),
            min_p in prop::option::of(any::<f32>()),
            uniform in prop_oneof![4 => 0.0..1.0, 1 => any::<f64>()],
        ) {
            let how = TokenSampling { temperature, top_k, top_p, min_p };
            let id = sample_token(&logits, &how, uniform) as usize;
            prop_assert!(id < logits.len());
            let possible = |logit: &f32| *logit > NEVER;
            prop_assert!(possible(&logits[id]) || !logits.iter().any(possible));
        }
    }
}

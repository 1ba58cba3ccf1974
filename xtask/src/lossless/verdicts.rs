//! This module says of the sentences of the article whether they held, by the intervals of what was
//! measured, for every seed.

use serde_json::Value;

use super::results::Results;
use super::runs::{CELL, CELLS, Family, Kind, READER, Road, Run, SIDE};

/// A number with the ends of its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Range {
    value: f64,
    low: f64,
    high: f64,
}

impl Range {
    /// Reads the number of this name and its ends, in percent.
    fn percent(found: &Value, name: &str) -> Option<Self> {
        let of = |name: &str| Some(100.0 * found[name].as_f64()?);
        Some(Self { value: of(name)?, low: of("low")?, high: of("high")? })
    }

    /// Returns a number with 1.96 standard errors on each side.
    fn around(value: f64, error: f64) -> Self {
        Self { value, low: value - 1.96 * error, high: value + 1.96 * error }
    }

    fn words(self, digits: usize) -> String {
        let Self { value, low, high } = self;
        format!("{value:.digits$} ({low:.digits$} to {high:.digits$})")
    }
}

/// Says what measurements tell of a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Held,
    DidNotHold,
    NotTold,
}

impl Verdict {
    fn words(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::DidNotHold => "did not hold",
            Self::NotTold => "not told",
        }
    }

    /// A sentence that says that the first of each pair is the greater one holds if all intervals
    /// say so, and does not if all say the opposite.
    fn above(pairs: &[(Range, Range)]) -> Self {
        let all =
            |greater: fn(&(Range, Range)) -> bool| !pairs.is_empty() && pairs.iter().all(greater);
        if all(|(one, other)| one.low > other.high) {
            Self::Held
        } else if all(|(one, other)| one.high < other.low) {
            Self::DidNotHold
        } else {
            Self::NotTold
        }
    }
}

/// Returns a paragraph for every sentence of which something was measured.
pub fn paragraphs(results: &Results) -> Vec<String> {
    let all = [text_is_lost, bits_must_hold, reads_best, draws_best, byte_by_byte, edits, apart];
    all.iter().filter_map(|paragraph| paragraph(results)).collect()
}

fn paragraph(sentence: &str, verdict: Verdict, measured: &str) -> String {
    format!("**{sentence}: {}.** {measured}", verdict.words())
}

/// Joins what was measured with each seed.
fn each<T: Copy>(values: &[T], words: impl Fn(T) -> String) -> String {
    values.iter().map(|value| words(*value)).collect::<Vec<_>>().join(" and ")
}

/// Returns what was measured of a kind with every seed; nothing unless the first seed has it.
fn of_seeds<T>(
    results: &Results,
    kind: Kind,
    measured: impl Fn(&Results, &str) -> Option<T>,
) -> Option<Vec<T>> {
    let of = |seed| measured(results, &Run { kind, seed }.name());
    let found: Vec<T> = (0..results.seeds).map_while(of).collect();
    (!found.is_empty()).then_some(found)
}

/// Returns the character error of the reader behind a codec.
fn behind(results: &Results, name: &str) -> Option<Range> {
    let decoded = &results.of(&format!("codec {name}"))["reading"]["decoded"]["all"];
    Range::percent(decoded, "error_rate")
}

/// Returns the character error of a transformer that reads.
fn read(results: &Results, name: &str) -> Option<Range> {
    Range::percent(&results.of(&format!("eval {name}"))["all"], "error_rate")
}

/// Returns the kernel distance of what a transformer draws, times 1000.
fn distance(results: &Results, name: &str) -> Option<Range> {
    let drawn = &results.of(&format!("kid {name}"))["kid"]["drawn"];
    Some(Range::around(1e3 * drawn["value"].as_f64()?, 1e3 * drawn["standard_error"].as_f64()?))
}

/// Returns the bits of an image by the exact model.
fn exact(results: &Results, name: &str) -> Option<Range> {
    let found = results.of(&format!("bpd {name}"));
    let values = (SIDE * SIDE * 3) as f64;
    let of = |name: &str| Some(values * found[name].as_f64()?);
    Some(Range::around(of("bits_per_dimension")?, of("standard_error")?))
}

fn codec(family: Family, cell: usize) -> Kind {
    Kind::Codec { family, cell }
}

/// Pairs what was measured of one kind with what was measured of another, seed by seed.
fn beside(ones: &[Range], others: &[Range]) -> Vec<(Range, Range)> {
    ones.iter().copied().zip(others.iter().copied()).collect()
}

fn text_is_lost(results: &Results) -> Option<String> {
    let first =
        results.of(&format!("codec {}", Run { kind: codec(Family::Fsq, CELL), seed: 0 }.name()));
    let original = Range::percent(&first["reading"]["original"]["all"], "error_rate")?;
    let mut pairs = vec![];
    let mut said = vec![];
    for family in [Family::Fsq, Family::VqVae, Family::VqGan] {
        for cell in CELLS {
            let Some(errors) = of_seeds(results, codec(family, cell), behind) else { continue };
            pairs.extend(errors.iter().map(|error| (*error, original)));
            if family == Family::Fsq {
                let errors = each(&errors, |error| error.words(1));
                said.push(format!("{errors} behind `fsq` in cells of {cell} pixels"));
            }
        }
    }
    let said = format!(
        "The reader `{}` makes {} % character errors on originals, and {}; `vq-vae` and `vq-gan` stand in the table and count too.",
        READER.name(),
        original.words(1),
        said.join(", ")
    );
    Some(paragraph("Codes lose small text", Verdict::above(&pairs), &said))
}

/// Sets the bits that codes carry beside those that an image needs, by the exact model: this tells
/// nothing of words, which have far fewer bits than any code.
fn bits_must_hold(results: &Results) -> Option<String> {
    let needs = of_seeds(results, Kind::Drawing(Road::Bytes), exact)?;
    let carried = CELLS.into_iter().rev().filter_map(|cell| {
        let run = Run { kind: codec(Family::Fsq, cell), seed: 0 };
        results.of(&format!("codec {}", run.name()))["bits"].as_f64()
    });
    let carried: Vec<f64> = carried.collect();
    let said = format!(
        "By the exact model over bytes, hardly trained, an image needs at most {} bits, and codes of `fsq` carry {}. But \
         letters, height, colors and place of such a word are chosen with about 20 bits, for which every code has room. So \
         what is lost here is lost for want of training or of a better code; photographs would have to tell.",
        each(&needs, |need| need.words(0)),
        each(&carried, |bits| format!("{bits:.0}")),
    );
    Some(paragraph("`L log2 V` must hold the bits of an image", Verdict::NotTold, &said))
}

fn reads_best(results: &Results) -> Option<String> {
    let patches = of_seeds(results, Kind::Reading(Road::Patches), read)?;
    let mut pairs = vec![];
    let mut said =
        format!("Character errors are {} % over patches", each(&patches, |error| error.words(1)));
    for road in [Road::Latents, Road::Codes, Road::Bytes] {
        let Some(errors) = of_seeds(results, Kind::Reading(road), read) else { continue };
        pairs.extend(beside(&errors, &patches));
        said += &format!(", {} over {}", each(&errors, |error| error.words(1)), road.name());
    }
    let said = said + ", in the same time.";
    Some(paragraph("Raw patches are read best", Verdict::above(&pairs), &said))
}

fn draws_best(results: &Results) -> Option<String> {
    let patches = of_seeds(results, Kind::Drawing(Road::Patches), distance)?;
    let mut pairs = vec![];
    let mut said = format!("KID x 1000 is {} over patches", each(&patches, |kid| kid.words(0)));
    for road in [Road::Latents, Road::Codes] {
        let Some(distances) = of_seeds(results, Kind::Drawing(road), distance) else { continue };
        pairs.extend(beside(&distances, &patches));
        said += &format!(", {} over {}", each(&distances, |kid| kid.words(0)), road.name());
    }
    said += ", in the same time of training.";
    let characters = |results: &Results, name: &str| {
        Range::percent(&results.of(&format!("eval {name}"))["characters"], "value")
    };
    for road in [Road::Patches, Road::Latents, Road::Codes] {
        if let Some(shares) = of_seeds(results, Kind::Drawing(road), characters) {
            let shares = each(&shares, |share| share.words(1));
            said += &format!(" Over {}, {shares} % of characters are read as asked.", road.name());
        }
    }
    said += " Guessing gives 2.8 %.";
    Some(paragraph("Raw patches draw as well as what a codec makes", Verdict::above(&pairs), &said))
}

fn byte_by_byte(results: &Results) -> Option<String> {
    let seconds = |results: &Results, name: &str| {
        let found = results.of(&format!("eval {name}"));
        let seconds = found["seconds"].as_f64()? / found["count"].as_f64()?;
        Some(Range { value: seconds, low: seconds, high: seconds })
    };
    let bytes = of_seeds(results, Kind::Drawing(Road::Bytes), seconds)?;
    let patches = of_seeds(results, Kind::Drawing(Road::Patches), seconds)?;
    let said = format!(
        "An image of {SIDE}x{SIDE} pixels takes {} calls of the network and {} s byte by byte, {} calls and {} s over patches. \
         Whether bytes draw as well is not told: in the same time they saw a hundredth of the images.",
        Road::Bytes.calls(),
        each(&bytes, |s| format!("{:.1}", s.value)),
        Road::Patches.calls(),
        each(&patches, |s| format!("{:.3}", s.value)),
    );
    let verdict = Verdict::above(&beside(&bytes, &patches));
    Some(paragraph("Byte by byte loses nothing and is slow", verdict, &said))
}

fn edits(results: &Results) -> Option<String> {
    let changed = |results: &Results, name: &str| {
        let found = results.of(&format!("edit {name}"));
        Some([found["changed"].as_f64()?, found["outside"].as_f64()?])
    };
    let patches = of_seeds(results, Kind::Drawing(Road::Patches), changed)?;
    let untouched = patches.iter().all(|[changed, _]| *changed == 0.0);
    let verdict = if untouched { Verdict::Held } else { Verdict::DidNotHold };
    let said = format!(
        "Patches change {} bytes outside of a mask; what codecs change without any edit stands in the table.",
        each(&patches, |[changed, all]| format!("{changed} of {all}")),
    );
    Some(paragraph("An edit of raw patches leaves the rest as it was", verdict, &said))
}

/// Compares the mean of what is right of equal and of different pairs, where one answer to all
/// gives 50 %.
fn apart(results: &Results) -> Option<String> {
    let told = |results: &Results, name: &str| {
        let shares = &results.of(&format!("pairs {name}"))["shares"];
        let share = |name: &str| {
            let (right, of) = (shares[name]["right"].as_f64()?, shares[name]["of"].as_f64()?);
            Some([right, of])
        };
        let mut different = [0.0, 0.0];
        for detail in ["stroke", "block", "letter"] {
            let [right, of] = share(&format!("different-{detail}"))?;
            different = [different[0] + right, different[1] + of];
        }
        let parts = [share("same")?, different].map(|[right, of]| {
            let share: f64 = right / of;
            (share, share * (1.0 - share) / of)
        });
        let [(same, spread), (different, other)] = parts;
        let error = 0.5 * (spread + other).sqrt();
        Some(Range::around(50.0 * (same + different), 100.0 * error))
    };
    let patches = of_seeds(results, Kind::Pairs(Road::Patches), told)?;
    let learned = patches.iter().all(|share| share.low > 50.0);
    let mut said = format!(
        "Whether two images differ is told by {} % over patches",
        each(&patches, |share| share.words(0))
    );
    let mut pairs = vec![];
    for road in [Road::Codes, Road::Latents] {
        let Some(shares) = of_seeds(results, Kind::Pairs(road), told) else { continue };
        pairs.extend(beside(&patches, &shares));
        said += &format!(", {} over {}", each(&shares, |share| share.words(0)), road.name());
    }
    said += " (the mean of equal and of different pairs; guessing gives 50).";
    let verdict = if learned { Verdict::above(&pairs) } else { Verdict::NotTold };
    if !learned {
        said += " Over patches this is not learned in that time, so it says nothing about features that were encoded apart.";
    }
    Some(paragraph("Two images are compared best in one sequence", verdict, &said))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn range(value: f64, half: f64) -> Range {
        Range { value, low: value - half, high: value + half }
    }

    #[test]
    fn a_sentence_holds_if_every_seed_says_so_beyond_its_intervals() {
        let of = |pairs: &[(f64, f64)]| {
            let pairs: Vec<_> =
                pairs.iter().map(|(one, other)| (range(*one, 1.0), range(*other, 1.0))).collect();
            Verdict::above(&pairs)
        };
        assert_eq!(of(&[(5.0, 1.0), (4.0, 1.5)]), Verdict::Held);
        assert_eq!(of(&[(1.0, 5.0), (1.5, 4.0)]), Verdict::DidNotHold);
        assert_eq!(of(&[(5.0, 1.0), (2.0, 1.5)]), Verdict::NotTold);
        assert_eq!(of(&[(5.0, 1.0), (1.0, 5.0)]), Verdict::NotTold);
        assert_eq!(of(&[]), Verdict::NotTold);
    }

    fn errors(rate: f64) -> Value {
        json!({ "error_rate": rate, "low": rate - 0.02, "high": rate + 0.02 })
    }

    #[test]
    fn paragraphs_tell_of_what_was_measured_alone() {
        let mut results = Results::new(10.0, 2, false);
        assert!(paragraphs(&results).is_empty());
        for seed in 0..2 {
            results.set(&format!("eval read-patches-{seed}"), json!({ "all": errors(0.03) }));
            results.set(&format!("eval read-codes-{seed}"), json!({ "all": errors(0.85) }));
            let reading =
                json!({ "original": { "all": errors(0.03) }, "decoded": { "all": errors(0.5) } });
            results
                .set(&format!("codec fsq-4-{seed}"), json!({ "reading": reading, "bits": 638.0 }));
        }
        let said = paragraphs(&results);
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].starts_with("**Codes lose small text: held.**"), "{}", said[0]);
        assert!(
            said[0]
                .contains("50.0 (48.0 to 52.0) and 50.0 (48.0 to 52.0) behind `fsq` in cells of 4")
        );
        assert!(
            said[1].contains("are read best: held.** Character errors are 3.0 (1.0 to 5.0) and")
        );
    }

    #[test]
    fn one_answer_to_every_pair_tells_nothing() {
        let mut results = Results::new(10.0, 1, false);
        let share = |right: u32| json!({ "right": right, "of": 100 });
        let answers = |same: u32, different: u32| {
            json!({ "shares": { "same": share(same), "different-stroke": share(different),
                "different-block": share(different), "different-letter": share(different) } })
        };
        results.set("pairs pairs-patches-0", answers(100, 0));
        results.set("pairs pairs-codes-0", answers(80, 80));
        let said = paragraphs(&results);
        assert!(said[0].contains("in one sequence: not told.**"), "{}", said[0]);
        assert!(
            said[0].contains("50 (50 to 50) % over patches, 80 (75 to 85) over codes"),
            "{}",
            said[0]
        );
        results.set("pairs pairs-patches-0", answers(95, 95));
        assert!(paragraphs(&results)[0].contains("in one sequence: held.**"));
    }
}

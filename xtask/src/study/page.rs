//! This module writes the page of a study: tables, curves, rows of drawings, and what they say
//! about the sentences of the article.

use std::{fmt::Write, path::Path};

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use super::results::{Baselines, Kid, Measured, Results};
use super::runs::{self, NETWORKS, PATCH, PATCHES, Target};
use super::{DRAWINGS, SAMPLER_STEPS, SAMPLERS};
use crate::chart::{self, Chart, Curve};

/// Names the networks on patches.
const PATCHED: [&str; 4] = ["gau", "transformer", "uvit", "dit"];

/// Writes `README.md`, `results.json` and the curves into a folder; the rows of drawings are there
/// already.
pub fn write(sh: &Shell, results: &Results, out: &Path) -> Result<()> {
    let date = cmd!(sh, "date -u +%Y-%m-%d").quiet().ignore_status().read()?;
    sh.write_file(out.join("results.json"), results.write()? + "\n")?;
    for (name, chart) in charts(results) {
        sh.write_file(out.join(name), chart::svg(&chart)?)?;
    }
    sh.write_file(out.join("README.md"), page(results, &date)?)?;
    Ok(())
}

fn charts(results: &Results) -> Vec<(&'static str, Chart<'static>)> {
    let kids = |run: &Measured| {
        run.kids.iter().map(|(step, kid)| (*step as f64, 1e3 * kid.value)).collect()
    };
    let losses = |run: &Measured| run.losses.clone();
    let networks = |points: &dyn Fn(&Measured) -> Vec<(f64, f64)>| {
        let curve =
            |name: &str| Curve { name: name.to_owned(), points: points(&results.runs[name]) };
        NETWORKS.map(curve).into()
    };
    let of_steps =
        |title, y, curves| Chart { title, x: "training steps", y, curves, doubling: true };
    let kid = of_steps("KID of five networks of one size", "KID x 1000", networks(&kids));
    let loss = of_steps("Loss of five networks of one size", "image loss", networks(&losses));
    let by_steps = SAMPLERS.map(|sampler| {
        let point = |steps| Some((steps as f64, 1e3 * results.sampled(sampler, steps)?.value));
        let points = SAMPLER_STEPS.into_iter().filter_map(point).collect();
        Curve { name: sampler.to_owned(), points }
    });
    let title = "KID of one model by every sampler";
    let (x, y, curves) = ("sampling steps", "KID x 1000", by_steps.into());
    let samplers = Chart { title, x, y, curves, doubling: true };
    vec![("networks-kid.svg", kid), ("networks-loss.svg", loss), ("samplers.svg", samplers)]
}

fn page(results: &Results, date: &str) -> Result<String> {
    let Results { steps, minutes, .. } = results;
    let images = match &results.data {
        None => "the Twemoji of animals and food, 64x64 pixels, without captions".to_owned(),
        Some(folder) => format!("the images of `{folder}`, 64x64 pixels"),
    };
    let Baselines { real, shuffled } = results.baselines.context("nothing was judged")?;
    let mut text = format!(
        "# Convergence\n\nMade on {date} by `cargo xtask study convergence --minutes {minutes}`. \
         The images are {images}. Every run makes {steps} steps of 16 images with AdamW and the noise \
         schedule `su2024`, in the same order and with the same noise. The tables show KID x 1000 of \
         {DRAWINGS} drawings (DDIM in 20 steps where nothing else is said) against training images, \
         made by the average of the weights; ± is its standard error. Other real images have {}, and \
         images with their tiles shuffled have {}. All numbers are in [results.json](results.json).\n\n",
        real.words(),
        shuffled.words()
    );
    text += "## What the article says\n\n";
    for sentence in [converges(results), more_steps(results), ten_steps(results), no_skip(results)]
    {
        writeln!(text, "- {sentence}")?;
    }
    writeln!(
        text,
        "\nEvery run has one random seed, so a difference between two runs holds more chance than the ± \
         of the judge. {steps} steps are few: runs that are equal here may differ later, and runs that \
         differ here may become equal.{}",
        far(results, real, shuffled)
    )?;
    networks(results, &mut text)?;
    targets(results, &mut text)?;
    samplers(results, &mut text)?;
    Ok(text)
}

fn networks(results: &Results, text: &mut String) -> Result<()> {
    let of = |name: &str| &results.runs[name];
    writeln!(
        text,
        "\n## Networks\n\nPatches have {PATCH}x{PATCH} pixels, and the target is the noise. U-ViT has no \
         closing convolution here, so that it differs from the transformer in its skips alone.\n"
    )?;
    let heading: String =
        of("gau").kids.iter().map(|(step, _)| format!(" {step} steps |")).collect();
    writeln!(text, "| network | parameters | s a step |{heading}")?;
    writeln!(text, "| --- | ---: | ---: |{}", " ---: |".repeat(of("gau").kids.len()))?;
    for name in NETWORKS {
        let run = of(name);
        let kids: String = run.kids.iter().map(|(_, kid)| format!(" {} |", kid.words())).collect();
        let seconds = run.seconds / results.steps as f64;
        writeln!(text, "| {name} | {} | {seconds:.3} |{kids}", run.parameters)?;
    }
    *text += "\n![KID over training steps](networks-kid.svg)\n\n![loss over training steps](networks-loss.svg)\n\n";
    for name in NETWORKS {
        writeln!(text, "{name}: ![drawings]({name}.png)\n")?;
    }
    Ok(())
}

fn targets(results: &Results, text: &mut String) -> Result<()> {
    *text += "\n## Targets and patches\n\nThese are the gated attention units at the end of the run. Noise and \
              velocity count all levels alike; the clean image is weighted so that the loss is the \
              squared error of the velocity.\n\n";
    let heading = "| patch | s a step | noise | clean | velocity |";
    writeln!(text, "{heading}\n| ---: | ---: | ---: | ---: | ---: |")?;
    for patch in PATCHES {
        let names = Target::ALL.map(|target| runs::target(target, patch).name);
        let seconds = results.runs[&names[0]].seconds / results.steps as f64;
        let kids: String =
            names.iter().map(|name| format!(" {} |", results.last(name).words())).collect();
        writeln!(text, "| {patch} | {seconds:.3} |{kids}")?;
    }
    text.push('\n');
    for patch in PATCHES {
        for target in Target::ALL {
            let name = runs::target(target, patch).name;
            writeln!(text, "{} at patch {patch}: ![drawings]({name}.png)\n", target.name())?;
        }
    }
    Ok(())
}

fn samplers(results: &Results, text: &mut String) -> Result<()> {
    let Some(model) = results.samplers.first().map(|of| &of.model) else { return Ok(()) };
    writeln!(
        text,
        "\n## Samplers\n\nThe model is `{model}`, the best of the gated attention units with patches of \
         {PATCH}. Heun asks the network twice a step. A step of Euler is a step of DDIM (Song et al. \
         2021, section 4.3), so their rows agree.\n"
    )?;
    let heading: String = SAMPLER_STEPS.iter().map(|steps| format!(" {steps} steps |")).collect();
    writeln!(text, "| sampler |{heading}\n| --- |{}", " ---: |".repeat(SAMPLER_STEPS.len()))?;
    for sampler in SAMPLERS {
        let kids = SAMPLER_STEPS.map(|steps| match results.sampled(sampler, steps) {
            Some(kid) => format!(" {} |", kid.words()),
            None => " - |".to_owned(),
        });
        writeln!(text, "| {sampler} |{}", kids.concat())?;
    }
    *text += "\n![KID over sampling steps](samplers.svg)\n\n";
    for steps in SAMPLER_STEPS {
        writeln!(text, "ddim, {steps} steps: ![drawings](ddim-{steps}.png)\n")?;
    }
    Ok(())
}

/// Says what cannot be told where even the best run is far from real images: a tenth of the way to
/// shuffled ones, or more.
fn far(results: &Results, real: Kid, shuffled: Kid) -> String {
    let ends = results.runs.keys().map(|name| (name, results.last(name)));
    let best = ends.min_by(|(_, one), (_, other)| one.value.total_cmp(&other.value));
    let Some((name, best)) = best else { return String::new() };
    if best.value - real.value < 0.1 * (shuffled.value - real.value) {
        return String::new();
    }
    format!(
        " No run is near the real images: the best, `{name}`, ends at {}, and \
         real images have {}. \"Converge\" therefore means no more here than that KIDs fall: this budget \
         cannot tell how good any of these networks becomes, and whether those on patches catch up with \
         the U-Net.",
        best.words(),
        real.words()
    )
}

/// Says whether two values are further apart than chance makes them, at twice the standard error.
fn apart(one: Kid, other: Kid) -> bool {
    (one.value - other.value).abs() > 2.0 * one.standard_error.hypot(other.standard_error)
}

/// Judges "patch transformers converge".
fn converges(results: &Results) -> String {
    let said = PATCHED.into_iter().map(|name| {
        let (first, last) = (results.runs[name].kids[0].1, results.last(name));
        let verdict = if !apart(first, last) {
            "does not move beyond its error"
        } else if last.value < first.value {
            "falls"
        } else {
            "rises"
        };
        format!("{name} {verdict} ({} to {})", first.words(), last.words())
    });
    let said: Vec<String> = said.collect();
    let falling = said.iter().filter(|words| words.contains(" falls ")).count();
    let verdict = match falling {
        count if count == said.len() => "held",
        0 => "did not hold within this budget",
        _ => "held for some",
    };
    format!(
        "**Transformers on patches converge: {verdict}.** From the first eighth of the run to its end KID \
         goes as follows: {}.",
        said.join("; ")
    )
}

/// The end of a network beside the end of the U-Net.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Ahead,
    /// The two differ no more than chance makes them.
    Level,
    Behind,
}

/// Judges "they need more steps than the U-Net".
fn more_steps(results: &Results) -> String {
    let unet = &results.runs["unet"];
    let (steps, end) = (results.steps, results.last("unet"));
    let standing = |name: &str| {
        let kid = results.last(name);
        if !apart(kid, end) {
            Standing::Level
        } else if kid.value > end.value {
            Standing::Behind
        } else {
            Standing::Ahead
        }
    };
    let says = |name: &str| {
        let kid = results.last(name);
        let cost = unet.seconds / results.runs[name].seconds;
        let said = match (standing(name), reached(&unet.kids, kid.value)) {
            (Standing::Level, _) => "differs from the U-Net no more than chance does".to_owned(),
            (Standing::Ahead, _) => "is ahead of the U-Net".to_owned(),
            (Standing::Behind, Some(step)) => format!(
                "is where the U-Net was after {step:.0} steps: {:.1} times as many{}",
                steps as f64 / step,
                ratio_range(&unet.kids, kid, steps)
            ),
            (Standing::Behind, None) => format!(
                "is where the U-Net was before its first checkpoint: at least {} times as many",
                runs::EIGHTHS
            ),
        };
        let words = kid.words();
        format!(
            "{name} ({words}) {said}, and {cost:.1} of its steps take the time of one of the U-Net"
        )
    };
    let standings = PATCHED.map(standing);
    let verdict = match standings.iter().filter(|of| **of == Standing::Behind).count() {
        count if count == standings.len() => "held",
        _ if standings == [Standing::Level; PATCHED.len()] => "the budget was too small to tell",
        0 => "did not hold within this budget",
        _ => "held for some",
    };
    format!(
        "**They need more steps than the U-Net: {verdict}.** The U-Net ends at {}. After all {steps} \
         steps {}.",
        end.words(),
        PATCHED.map(says).join("; ")
    )
}

/// Spells the range of a ratio of steps, which the errors of both KIDs leave: that of the network,
/// and that of the U-Net where it stood as well.
fn ratio_range(kids: &[(u64, Kid)], end: Kid, steps: u64) -> String {
    let near = kids.iter().min_by(|(_, one), (_, other)| {
        let far = |kid: &Kid| (kid.value - end.value).abs();
        far(one).total_cmp(&far(other))
    });
    let Some((_, near)) = near else { return String::new() };
    let error = end.standard_error.hypot(near.standard_error);
    let times = |value: f64| reached(kids, value).map(|step| steps as f64 / step);
    let low = times(end.value - error).map_or("1 or more".to_owned(), |low| format!("{low:.1}"));
    let high = times(end.value + error)
        .map_or("more than the first checkpoint tells".to_owned(), |high| format!("{high:.1}"));
    format!(" ({low} to {high} within one standard error of both)")
}

/// Returns the step at which falling KIDs first reach a value, between checkpoints on a line over
/// the logarithm of steps; `None` if the first is below already.
fn reached(kids: &[(u64, Kid)], wanted: f64) -> Option<f64> {
    kids.windows(2).find_map(|pair| {
        let [(from, high), (to, low)] = [pair[0], pair[1]];
        if high.value < wanted || low.value > wanted {
            return None;
        }
        let share = (high.value - wanted) / (high.value - low.value).max(f64::MIN_POSITIVE);
        let [from, to] = [from, to].map(|step| (step as f64).ln());
        Some((from + share * (to - from)).exp())
    })
}

/// Judges "ten steps of sampling suffice".
fn ten_steps(results: &Results) -> String {
    let claim = "**Ten steps of sampling suffice: ";
    let said = SAMPLERS.into_iter().filter_map(|sampler| {
        let [ten, all] = [10, 250].map(|steps| results.sampled(sampler, steps));
        let (ten, all) = (ten?, all?);
        let verdict = if !apart(ten, all) {
            "not told"
        } else if ten.value < all.value {
            "held"
        } else {
            "did not hold"
        };
        let difference = Kid {
            value: ten.value - all.value,
            standard_error: ten.standard_error.hypot(all.standard_error),
        };
        let words = format!(
            "{sampler} {} in 10, {} in 250, a difference of {}: {verdict}",
            ten.words(),
            all.words(),
            difference.words()
        );
        Some((verdict, words))
    });
    let (verdicts, said): (Vec<&str>, Vec<String>) = said.unzip();
    let count = |wanted: &str| verdicts.iter().filter(|verdict| **verdict == wanted).count();
    let verdict = match (count("held"), count("did not hold")) {
        (held, _) if held == verdicts.len() => "held for every sampler",
        (0, failed) if failed == verdicts.len() => "did not hold",
        (0, 0) => "not told",
        (0, _) => "did not hold for some samplers, and is not told for the others",
        (_, 0) => "held for some samplers, and is not told for the others",
        _ => "held for some samplers and not for others",
    };
    format!("{claim}{verdict}.** {}.", said.join("; "))
}

/// Judges "no long skip is needed".
fn no_skip(results: &Results) -> String {
    let [plain, skips, gated] = ["transformer", "uvit", "gau"].map(|name| results.last(name));
    let verdict = if !apart(plain, skips) {
        "not told"
    } else if plain.value < skips.value {
        "held"
    } else {
        "did not hold within this budget"
    };
    let difference = Kid {
        value: plain.value - skips.value,
        standard_error: plain.standard_error.hypot(skips.standard_error),
    };
    format!(
        "**No long skip connection is needed: {verdict}.** The plain transformer \
         ends at {}, the transformer with U-ViT's skips at {}: the difference is {}. The gated attention \
         units, which have no skips, end at {}.",
        plain.words(),
        skips.words(),
        difference.words(),
        gated.words()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::results::{Sampled, tests::made_up};

    fn with_samplers(mut results: Results, kid: impl Fn(&str, usize) -> f64) -> Results {
        for sampler in SAMPLERS {
            for steps in SAMPLER_STEPS {
                let kid = Kid { value: 1e-3 * kid(sampler, steps), standard_error: 1e-3 };
                results.samplers.push(Sampled {
                    model: "gau".into(),
                    sampler: sampler.into(),
                    steps,
                    kid,
                });
            }
        }
        results
    }

    #[test]
    fn the_sentences_follow_the_numbers() {
        let results = made_up(|name| match name {
            "unet" => [300.0, 200.0, 100.0, 80.0],
            "uvit" => [400.0, 300.0, 250.0, 199.0],
            _ => [400.0, 350.0, 300.0, 200.0],
        });
        let results = with_samplers(results, |sampler, steps| match sampler {
            "ddpm" => 1000.0 / steps as f64,
            _ => 100.0,
        });
        assert!(converges(&results).contains("converge: held.**"));
        let more = more_steps(&results);
        assert!(more.contains("U-Net: held.**"), "{more}");
        assert!(
            more.contains("gau (200.0 ± 2.0) is where the U-Net was after 200 steps: 4.0 times"),
            "{more}"
        );
        assert!(more.contains("as many (3.9 to 4.1 within one standard error of both)"), "{more}");
        let ten = ten_steps(&results);
        assert!(ten.contains("suffice: did not hold for some samplers, and is not told"), "{ten}");
        assert!(ten.contains("a difference of 96.0 ± 1.4: did not hold"), "{ten}");
        assert!(
            no_skip(&results).contains("needed: not told.**")
                && no_skip(&results).contains("the difference is 1.0 ± 2.8")
        );
        let page = page(&results, "2026-01-02").unwrap();
        assert!(
            page.contains("the best, `unet`, ends at 80.0 ± 2.0, and real images have 0.5 ± 2.0"),
            "{page}"
        );
        assert!(page.contains("| unet | 1000000 | 0.075 | 300.0 ± 2.0 |"), "{page}");
        assert!(page.contains("| ddpm | 250.0 ± 1.0 | 100.0 ± 1.0 |"), "{page}");
        for name in runs::all().iter().map(|run| &run.name) {
            assert!(page.contains(&format!("({name}.png)")), "{name}");
        }
    }

    #[test]
    fn a_budget_that_was_too_small_is_called_so() {
        let results = made_up(|_| [400.0, 400.0, 401.0, 400.0]);
        assert!(converges(&results).contains("did not hold within this budget"));
        assert!(more_steps(&results).contains("too small to tell"));
        let turned = made_up(|name| match name {
            "unet" => [400.0; 4],
            _ => [300.0, 250.0, 200.0, 150.0],
        });
        assert!(
            more_steps(&turned)
                .contains("U-Net: did not hold within this budget.** The U-Net ends at 400.0")
        );
    }

    #[test]
    fn every_curve_is_drawn() {
        let results = with_samplers(made_up(|_| [4.0, 3.0, 2.0, 1.0]), |_, _| 1.0);
        let charts = charts(&results);
        assert_eq!(charts.len(), 3);
        for (name, chart) in charts {
            let image = chart::svg(&chart).unwrap();
            assert!(image.matches("<polyline").count() >= 5, "{name}");
        }
    }
}

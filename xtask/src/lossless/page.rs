//! This module writes the page of the study: one table a part, and what each says of the article.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;
use serde_json::Value;
use xshell::{Shell, cmd};

use super::images;
use super::results::Results;
use super::runs::{self, CELL, CELLS, Family, Kind, READER, Road, Run, SIDE, STEPS_OF_DRAWING};
use super::verdicts;
use crate::chart;

/// Is the folder of the images of the page, from the page on.
const IMAGES: &str = "images/lossless";

/// Writes `lossless.md`, the results beside it as `lossless.json`, curves, and copies of the images
/// that stand in the folder of the study.
pub fn write(sh: &Shell, results: &Results, work: &Path, out: &Path) -> Result<()> {
    let date = cmd!(sh, "date -u +%Y-%m-%d").quiet().ignore_status().read()?;
    let folder = out.join(IMAGES);
    sh.create_dir(&folder)?;
    images::copy(sh, work, &folder)?;
    for (name, chart) in images::charts(results)? {
        sh.write_file(folder.join(name), chart::svg(&chart)?)?;
    }
    let there = |name: &str| sh.path_exists(folder.join(name));
    sh.write_file(out.join("lossless.json"), results.write()? + "\n")?;
    sh.write_file(out.join("lossless.md"), page(results, &date, &there)?)?;
    Ok(())
}

/// Writes the page; `there` says which of its images exist.
fn page(results: &Results, date: &str, there: &dyn Fn(&str) -> bool) -> Result<String> {
    let (minutes, seeds) = (results.minutes, seeds(results).count());
    let quick = if results.quick { " --quick" } else { "" };
    let mut text = format!(
        "# What a codec loses\n\nMade on {date} by `cargo xtask study lossless --minutes {minutes}{quick}`, from \
         [lossless.json](lossless.json). Images are words of one or two letters and digits, 5 to 12 pixels high, on \
         {SIDE}x{SIDE} pixels; all numbers are of held-out words. Runs of one kind have the same time, by steps \
         that a trial decided before anything was trained; seeds: {seeds}. ± and intervals are of 95 %, over images and not over seeds, so a difference between two \
         runs holds more chance than they say. A dash is what was not measured.\n\n"
    );
    if results.quick {
        text += "**This is a trial of a few steps. No number on this page means anything.**\n\n";
    }
    verdicts(results, &mut text)?;
    trained(results, &mut text)?;
    information(results, &mut text)?;
    reconstruction(results, &mut text)?;
    curve("errors-by-height.svg", "character errors by height", there, &mut text)?;
    let is_codec = |run: &Run| matches!(run.kind, Kind::Codec { .. });
    show(CODECS_SHOWN, is_codec, there, &mut text)?;
    editing(results, &mut text)?;
    reading(results, &mut text)?;
    curve("reading-loss.svg", "text loss over seconds of training", there, &mut text)?;
    pairs(results, &mut text)?;
    drawing(results, &mut text)?;
    let draws = |run: &Run| matches!(run.kind, Kind::Drawing(_));
    show(DRAWINGS_SHOWN, draws, there, &mut text)?;
    text.truncate(text.trim_end().len());
    Ok(text + "\n")
}

const CODECS_SHOWN: &str =
    "Held-out words behind every codec of the first seed, each above its original:";
const DRAWINGS_SHOWN: &str =
    "What each draws when it is asked for `I7`, a held-out word, eight times:";

/// Adds a chart, if it exists.
fn curve(name: &str, what: &str, there: &dyn Fn(&str) -> bool, text: &mut String) -> Result<()> {
    if there(name) {
        writeln!(text, "![{what}]({IMAGES}/{name})\n")?;
    }
    Ok(())
}

/// Adds the images of these runs that exist, below a line that says what they are.
fn show(
    line: &str,
    of: impl Fn(&Run) -> bool,
    there: &dyn Fn(&str) -> bool,
    text: &mut String,
) -> Result<()> {
    let runs = images::shown().into_iter().filter(|run| of(run) && there(&images::file(run)));
    let runs: Vec<Run> = runs.collect();
    if runs.is_empty() {
        return Ok(());
    }
    writeln!(text, "{line}\n\n| run | |\n| --- | --- |")?;
    for run in runs {
        let (name, file) = (run.name(), images::file(&run));
        writeln!(text, "| {name} | ![{name}]({IMAGES}/{file}) |")?;
    }
    text.push('\n');
    Ok(())
}

/// Adds what the measurements say of the sentences of the article.
fn verdicts(results: &Results, text: &mut String) -> Result<()> {
    let paragraphs = verdicts::paragraphs(results);
    if paragraphs.is_empty() {
        return Ok(());
    }
    *text += "## What the article says\n\nA sentence held where the intervals of both sides lie apart, for every seed; \
              where not all do, it is not told.\n\n";
    for paragraph in paragraphs {
        writeln!(text, "- {paragraph}")?;
    }
    *text += "\n";
    Ok(())
}

/// Returns the seeds of which something was trained; the first always stands in the tables.
fn seeds(results: &Results) -> impl Iterator<Item = u64> + use<'_> {
    (0..results.seeds).filter(|seed| {
        let trained = |run: &Run| results.has(&format!("run {}", run.name()));
        *seed == 0 || runs::of_seed(*seed).iter().any(trained)
    })
}

/// Returns the first runs of every kind, in the order of the tables.
fn codecs(results: &Results) -> Vec<Run> {
    let mut all = vec![];
    for cell in CELLS {
        for family in Family::ALL {
            let kind = Kind::Codec { family, cell };
            all.extend(seeds(results).map(|seed| Run { kind, seed }));
        }
    }
    all
}

/// Returns the runs of a kind over these representations, in the order of the tables.
fn roads(results: &Results, roads: &[Road], kind: fn(Road) -> Kind) -> Vec<Run> {
    let of = |road: &Road| {
        let kind = kind(*road);
        seeds(results).map(move |seed| Run { kind, seed })
    };
    roads.iter().flat_map(of).collect()
}

/// Counts the bits of a value as it is stored; a model that needs more says nothing.
const BITS_OF_BYTES: f64 = 8.0;

/// Spells a number with so many digits, or a dash.
fn number(value: &Value, digits: usize) -> String {
    value.as_f64().map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

/// Spells a number with its interval, which it may lack.
fn with_ends(value: &Value, ends: &Value, digits: usize) -> String {
    let value = number(value, digits);
    if ends.is_null() {
        return value;
    }
    let [low, high] = [&ends[0], &ends[1]].map(|end| number(end, digits));
    format!("{value} ({low} to {high})")
}

/// Spells a share of right answers in percent, with its interval.
fn share(value: &Value) -> String {
    in_percent(value, "value")
}

/// Spells a character error in percent, with its interval.
fn errors(value: &Value) -> String {
    in_percent(value, "error_rate")
}

/// Spells the share that has this `name` in percent, with its interval.
fn in_percent(value: &Value, name: &str) -> String {
    let percent = |name: &str| value[name].as_f64().map(|share| 100.0 * share);
    match (percent(name), percent("low"), percent("high")) {
        (Some(share), Some(low), Some(high)) => format!("{share:.1} ({low:.1} to {high:.1})"),
        _ => "-".to_owned(),
    }
}

/// Spells a kernel distance, times 1000, with its interval.
fn kernel_distance(value: &Value) -> String {
    let of = |name: &str| value[name].as_f64().map(|distance| 1e3 * distance);
    match (of("value"), of("standard_error")) {
        (Some(value), Some(error)) => format!("{value:.1} ± {:.1}", 1.96 * error),
        _ => "-".to_owned(),
    }
}

fn trained(results: &Results, text: &mut String) -> Result<()> {
    *text += "## What was trained\n\n| run | parameters | steps | seconds |\n| --- | ---: | ---: | ---: |\n";
    for run in seeds(results).flat_map(runs::of_seed) {
        let found = results.of(&format!("run {}", run.name()));
        let of = |name: &str| number(&found[name], 0);
        writeln!(
            text,
            "| {} | {} | {} | {} |",
            run.name(),
            of("parameters"),
            of("steps"),
            of("seconds")
        )?;
    }
    *text += "\nA name has the side of a cell in pixels and the seed. Seconds are as they passed, on a machine that may \
              do other work. `bytes` is trained with 2 images a step, all \
              others with 16. `codes` and `latents` count their frozen codec too. Transformers are trained with Muon, \
              codecs with AdamW.\n\n";
    Ok(())
}

fn information(results: &Results, text: &mut String) -> Result<()> {
    let some = results.of(&format!("codec {}", codecs(results)[0].name()));
    let values = (SIDE * SIDE * 3) as f64;
    writeln!(
        text,
        "## Information\n\nThe article says that a code of `L` cells of `V` codes must hold the image: `L log2 V` >= \
         its bits. Upper bounds of those bits are what lossless files and models need; bytes as they are take {:.0}.\n",
        8.0 * values
    )?;
    writeln!(
        text,
        "| what holds everything | bits an image | bits a value |\n| --- | ---: | ---: |"
    )?;
    let mut row = |name: &str, bits: Option<f64>, how: &str| -> Result<()> {
        let spell = |bits: Option<f64>, digits: usize| {
            bits.map_or_else(|| "-".to_owned(), |bits| format!("{bits:.digits$}"))
        };
        let each = spell(bits.map(|bits| bits / values), 3);
        let all = if bits.is_none() && !how.is_empty() { String::new() } else { spell(bits, 0) };
        writeln!(text, "| {name} | {all}{how} | {each} |")?;
        Ok(())
    };
    row("PNG", some["png_bits"].as_f64(), "")?;
    row("lossless WebP", some["webp_bits"].as_f64(), "")?;
    for run in roads(results, &[Road::Patches, Road::Bytes], Kind::Drawing) {
        let found = results.of(&format!("bpd {}", run.name()));
        let how = match found["standard_error"].as_f64() {
            Some(error) => format!(" ± {:.0}", 1.96 * error * values),
            None => String::new(),
        };
        let kind = if run.kind == Kind::Drawing(Road::Bytes) {
            "exact"
        } else {
            "by the flow, dequantized"
        };
        let name = format!("a model of {}, {kind}", run.name());
        match found["bits_per_dimension"].as_f64() {
            // The flow of a model that is not sharp near the data leads far from the noise.
            Some(bits) if bits > BITS_OF_BYTES => row(&name, None, "more than bytes as they are")?,
            bits => row(&name, bits.map(|bits| bits * values), &how)?,
        }
    }
    writeln!(text, "\n| codec | bits it carries | of PNG's, % |\n| --- | ---: | ---: |")?;
    for run in codecs(results).into_iter().filter(|run| run.seed == 0) {
        let found = results.of(&format!("codec {}", run.name()));
        let share = found["bits"].as_f64().zip(found["png_bits"].as_f64());
        let share =
            share.map_or_else(|| "-".to_owned(), |(own, png)| format!("{:.0}", 100.0 * own / png));
        writeln!(text, "| {} | {} | {share} |", run.name(), number(&found["bits"], 0))?;
    }
    *text += "\nThe numbers of `kl` are counted as they are stored, 32 bits each; how many of those say something is \
              not told by them.\n\n";
    Ok(())
}

fn reconstruction(results: &Results, text: &mut String) -> Result<()> {
    let reader = READER.name();
    writeln!(
        text,
        "## Reconstruction\n\nOne reader, `{reader}`, was trained on originals and reads each image behind a codec. \
         The error is of characters, in percent.\n"
    )?;
    let first = results.of(&format!("codec {}", codecs(results)[0].name()));
    let heights: Vec<String> = first["reading"]["original"]["heights"]
        .as_object()
        .map(|heights| heights.keys().cloned().collect())
        .unwrap_or_default();
    let mut heights: Vec<u64> = heights.iter().filter_map(|height| height.parse().ok()).collect();
    heights.sort_unstable();
    let heading: String = heights.iter().map(|height| format!(" {height} px |")).collect();
    writeln!(text, "| images | n | bits | PSNR, dB | SSIM | KID x 1000 | all heights |{heading}")?;
    writeln!(
        text,
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |{}",
        " ---: |".repeat(heights.len())
    )?;
    let by_height = |reading: &Value| -> String {
        let rate = |height: &u64| &reading["heights"][height.to_string()]["error_rate"];
        let percent = |value: &Value| {
            value.as_f64().map_or_else(|| "-".to_owned(), |rate| format!("{:.0}", 100.0 * rate))
        };
        heights.iter().map(|height| format!(" {} |", percent(rate(height)))).collect()
    };
    let original = &first["reading"]["original"];
    writeln!(
        text,
        "| originals, as raw patches have them | {} | {} | lossless | 1 | {} | {} |{}",
        number(&original["all"]["texts"], 0),
        8 * SIDE * SIDE * 3,
        kernel_distance(&results.of(&format!("kid {}", codecs(results)[0].name()))["kid"]["real"]),
        errors(&original["all"]),
        by_height(original)
    )?;
    for run in codecs(results) {
        let found = results.of(&format!("codec {}", run.name()));
        let decoded = &found["reading"]["decoded"];
        let psnr = with_ends(&found["psnr"], &found["psnr_interval"], 1);
        let ssim = with_ends(&found["ssim"], &found["ssim_interval"], 3);
        writeln!(
            text,
            "| {} | {} | {} | {psnr} | {ssim} | {} | {} |{}",
            run.name(),
            number(&decoded["all"]["texts"], 0),
            number(&found["bits"], 0),
            kernel_distance(&results.of(&format!("kid {}", run.name()))["kid"]["drawn"]),
            errors(&decoded["all"]),
            by_height(decoded)
        )?;
    }
    *text += "\nKID is the kernel distance between features of decoded and of other held-out images, by a network \
              that was trained on photographs: smaller is nearer. It needs `--judge`.\n\n";
    Ok(())
}

fn editing(results: &Results, text: &mut String) -> Result<()> {
    *text += "## Editing\n\nAn edit should change nothing outside of its mask. Raw patches were asked to draw the \
              middle quarter of images anew (`mm edit inpaint`). Codes and latents cannot do better outside than \
              encoding and decoding an image without any edit, which is what is counted for them.\n\n\
              | images | n | share of bytes changed outside |\n| --- | ---: | ---: |\n";
    for run in roads(results, &[Road::Patches], Kind::Drawing) {
        let found = results.of(&format!("edit {}", run.name()));
        let share = found["changed"].as_f64().zip(found["outside"].as_f64());
        let share =
            share.map_or_else(|| "-".to_owned(), |(part, all)| format!("{:.4}", part / all));
        writeln!(text, "| {} | {} | {share} |", run.name(), number(&found["count"], 0))?;
    }
    for run in codecs(results) {
        let found = results.of(&format!("codec {}", run.name()));
        let changed = with_ends(&found["changed"], &found["changed_interval"], 3);
        writeln!(text, "| {} | {} | {changed} |", run.name(), number(&found["images"], 0))?;
    }
    *text += "\n";
    Ok(())
}

fn reading(results: &Results, text: &mut String) -> Result<()> {
    writeln!(
        text,
        "## Reading\n\nOne transformer that only reads, the same minutes, and an image as what it is: raw patches of {CELL}x{CELL} \
         pixels, codes of `fsq-{CELL}`, latents of `kl-{CELL}`, or bytes. Character error of held-out words, in \
         percent.\n"
    )?;
    writeln!(text, "| run | n | character error | words right |\n| --- | ---: | ---: | ---: |")?;
    for run in roads(results, &Road::ALL, Kind::Reading) {
        let all = &results.of(&format!("eval {}", run.name()))["all"];
        writeln!(
            text,
            "| {} | {} | {} | {} |",
            run.name(),
            number(&all["texts"], 0),
            errors(all),
            number(&all["right"], 0)
        )?;
    }
    *text += "\n";
    Ok(())
}

/// Writes what transformers say of two images.
fn pairs(results: &Results, text: &mut String) -> Result<()> {
    writeln!(
        text,
        "## Two images, apart or together\n\nTwo images that are equal, or of which one has a stroke, a block or \
         another letter more. Raw patches of both stand in one sequence; codes and latents come from a frozen \
         encoder, which saw each image alone. Right answers in percent; \"differ\" is `same` or `different`, which \
         has two answers, and \"which\" is `first` or `second`. 100 in one column \
         and 0 in its opposite is one answer to everything, from which nothing was learned.\n"
    )?;
    let kinds = ["same", "different", "which"];
    writeln!(
        text,
        "| run | n | all | same | differ: stroke | block | letter | which: stroke | block | letter |"
    )?;
    writeln!(text, "| --- | ---: | ---: |{}", " ---: |".repeat(7))?;
    for run in roads(results, &Road::OF_PAIRS, Kind::Pairs) {
        let found = results.of(&format!("pairs {}", run.name()));
        let part = |name: String| {
            let value = found["shares"][&name]["value"].as_f64();
            value.map_or_else(|| "-".to_owned(), |value| format!("{:.0}", 100.0 * value))
        };
        let details = ["stroke", "block", "letter"];
        let mut cells = vec![part(kinds[0].to_owned())];
        for kind in &kinds[1..] {
            cells.extend(details.map(|detail| part(format!("{kind}-{detail}"))));
        }
        let (n, all) = (number(&found["all"]["of"], 0), share(&found["all"]));
        writeln!(text, "| {} | {n} | {all} | {} |", run.name(), cells.join(" | "))?;
    }
    *text += "\n";
    Ok(())
}

fn drawing(results: &Results, text: &mut String) -> Result<()> {
    writeln!(
        text,
        "## Drawing\n\nThe same transformer, which only learns to draw. Each draws held-out words, patches and latents in {STEPS_OF_DRAWING} steps without guidance, \
         codes and bytes at temperature 1; the reader of originals reads the drawings. A character is right where the \
         reader sees it at its place.\n"
    )?;
    writeln!(
        text,
        "| run | n | words read as asked, % | characters, % | calls of the network an image | seconds an image | KID x 1000 |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    )?;
    for run in roads(results, &Road::ALL, Kind::Drawing) {
        let found = results.of(&format!("eval {}", run.name()));
        let seconds = found["seconds"].as_f64().zip(found["count"].as_f64());
        let seconds =
            seconds.map_or_else(|| "-".to_owned(), |(all, count)| format!("{:.3}", all / count));
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {seconds} | {} |",
            run.name(),
            number(&found["count"], 0),
            share(&found["words"]),
            share(&found["characters"]),
            number(&found["calls"], 0),
            kernel_distance(&results.of(&format!("kid {}", run.name()))["kid"]["drawn"]),
        )?;
    }
    *text += "\nSeconds are of a whole `mm draw`, its start included, on a machine that may do other work.\n\n";
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_page_has_every_part_and_dashes_for_what_is_missing() {
        let mut results = Results::new(10.0, 1, true);
        let reading = |rate: f64| {
            let errors =
                json!({ "texts": 40, "error_rate": rate, "low": 0.1, "high": 0.9, "right": 3 });
            json!({ "all": errors, "heights": { "5": errors, "12": errors } })
        };
        results.set(
            "codec fsq-8-0",
            json!({
                "images": 40, "psnr": 20.0, "psnr_interval": [19.0, 21.0], "ssim": 0.5,
                "ssim_interval": [0.45, 0.55],
                "bits": 1600.0, "png_bits": 6400.0, "webp_bits": 5000.0, "changed": 0.75,
                "changed_interval": [0.73, 0.77],
                "reading": { "original": reading(0.2), "decoded": reading(0.5) },
            }),
        );
        let right = json!({ "value": 0.125, "low": 0.02, "high": 0.47 });
        let half = json!({ "value": 0.5, "low": 0.25, "high": 0.75 });
        let drawn = json!({ "count": 8, "words": right, "characters": half, "seconds": 4.0, "calls": 3072 });
        results.set("eval draw-bytes-0", drawn);
        let answers = json!({ "of": 700, "value": 0.5, "low": 0.46, "high": 0.54 });
        let pairs = json!({ "all": answers, "shares": { "which-block": answers } });
        results.set("pairs pairs-codes-0", pairs);
        results
            .set("bpd draw-patches-0", json!({ "bits_per_dimension": 9.0, "standard_error": 0.1 }));
        results
            .set("bpd draw-bytes-0", json!({ "bits_per_dimension": 2.0, "standard_error": 0.01 }));
        let text = page(&results, "2026-01-01", &|name| name == "fsq-8-0.png").unwrap();
        for wanted in [
            "No number on this page means anything",
            "| fsq-8-0 | 1600 | 25 |",
            "| a model of draw-patches-0, by the flow, dequantized | more than bytes as they are | - |",
            "| a model of draw-bytes-0, exact | 6144 ± 60 | 2.000 |",
            "| fsq-8-0 | 40 | 1600 | 20.0 (19.0 to 21.0) | 0.500 (0.450 to 0.550) | - | 50.0 (10.0 to 90.0) | 50 | 50 |",
            " 5 px | 12 px |",
            "| fsq-8-0 | 40 | 0.750 (0.730 to 0.770) |",
            "| draw-bytes-0 | 8 | 12.5 (2.0 to 47.0) | 50.0 (25.0 to 75.0) | 3072 | 0.500 | - |",
            "| kl-2-0 | - | - | - | - | - | - | - | - |",
            "| fsq-8-0 | ![fsq-8-0](images/lossless/fsq-8-0.png) |",
            "| pairs-codes-0 | 700 | 50.0 (46.0 to 54.0) | - | - | - | - | - | 50 | - |",
        ] {
            assert!(text.contains(wanted), "{wanted} is not in\n{text}");
        }
        assert_eq!(text.matches("![").count(), 1, "what is missing has no link");
    }
}

//! This module makes the images of the page: what codecs leave of words, what transformers draw,
//! and curves.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::results::Results;
use super::runs::{self, CELL, Family, Kind, Road, Run};
use super::{Study, metrics};
use crate::chart::{Chart, Curve};
use crate::mm;

/// Counts the words on the sheet of a codec.
const SHOWN: usize = 12;
/// Counts the drawings of a transformer.
const DRAWN: usize = 8;
/// Is the word that is drawn, which no run was trained on.
const WORD: &str = "I7";
/// Counts the points of a curve.
const POINTS: usize = 24;

/// Returns the name of the file that shows a run.
pub fn file(run: &Run) -> String {
    format!("{}.png", run.name())
}

/// Returns the runs that the page shows: the first seed's codecs, and what draws.
pub fn shown() -> Vec<Run> {
    let is_shown = |run: &Run| matches!(run.kind, Kind::Codec { .. } | Kind::Drawing(_));
    runs::of_seed(0).into_iter().filter(is_shown).collect()
}

impl Study<'_> {
    /// Makes the images that are missing.
    pub fn images(&self) -> Result<()> {
        let folder = self.work.join("images");
        self.sh.create_dir(&folder)?;
        for run in shown() {
            let path = folder.join(file(&run));
            if self.sh.path_exists(&path) {
                continue;
            }
            println!("showing {}", run.name());
            let mut show = match run.kind {
                Kind::Codec { .. } => {
                    let mut measure = self.mm(&["codec", "measure"]);
                    measure.arg(self.model(&run)).args(["--count", &SHOWN.to_string()]);
                    measure
                }
                _ => {
                    let mut draw = self.mm(&["draw", "--zoom", "2", "--no-metadata"]);
                    draw.arg(self.model(&run)).args([WORD, "--count", &DRAWN.to_string()]);
                    draw
                }
            };
            mm::quietly(show.args(["--device", &self.device]).arg("--out").arg(&path))?;
        }
        Ok(())
    }

    /// Keeps how the text loss of transformers that read fell over the seconds of their training.
    pub fn curves(&self, all: &[Run], results: &mut Results) -> Result<()> {
        for run in all.iter().filter(|run| matches!(run.kind, Kind::Reading(_))) {
            self.once(&format!("curve {}", run.name()), results, || {
                let file = self.work.join(run.name()).join("metrics.jsonl");
                Ok(json!(thinned(&metrics(&self.sh.read_file(file)?)?)))
            })?;
        }
        Ok(())
    }
}

/// Returns the seconds and the mean text losses of so many parts of a run.
fn thinned(lines: &[Value]) -> Vec<[f64; 2]> {
    let all: Vec<[f64; 2]> = lines
        .iter()
        .filter_map(|line| Some([line["seconds"].as_f64()?, line["text"].as_f64()?]))
        .collect();
    let part = all.len().div_ceil(POINTS).max(1);
    all.chunks(part)
        .map(|part| {
            let loss = part.iter().map(|[_, loss]| loss).sum::<f64>() / part.len() as f64;
            let round = |value: f64| (1e4 * value).round() / 1e4;
            [round(part[part.len() - 1][0]), round(loss)]
        })
        .collect()
}

/// Returns the charts of the page for which there are points.
pub fn charts(results: &Results) -> Result<Vec<(&'static str, Chart<'static>)>> {
    let heights = Chart {
        title: "Character errors behind codecs (side of a cell in the name)",
        x: "height of capitals, pixels",
        y: "character errors, %",
        curves: by_height(results)?,
        doubling: false,
    };
    let reading = Chart {
        title: "Learning to read, by what an image is",
        x: "seconds of training",
        y: "text loss, nats a token",
        curves: Road::ALL.into_iter().filter_map(|road| learned(results, road)).collect(),
        doubling: false,
    };
    let all = [("errors-by-height.svg", heights), ("reading-loss.svg", reading)];
    Ok(all.into_iter().filter(|(_, chart)| !chart.curves.is_empty()).collect())
}

fn learned(results: &Results, road: Road) -> Option<Curve> {
    let run = Run { kind: Kind::Reading(road), seed: 0 };
    let points: Vec<(f64, f64)> =
        serde_json::from_value(results.of(&format!("curve {}", run.name())).clone()).ok()?;
    Some(Curve { name: road.name().to_owned(), points }).filter(|curve| !curve.points.is_empty())
}

/// Returns the errors of the first seed by height: of originals, and behind the codecs that leave
/// the most, and the sizes of cells that transformers see.
fn by_height(results: &Results) -> Result<Vec<Curve>> {
    let of = |name: &str, part: &str, run: Run| -> Result<Option<Curve>> {
        let found = results.of(&format!("codec {}", run.name()));
        let Some(heights) = found["reading"][part]["heights"].as_object() else { return Ok(None) };
        let mut points = BTreeMap::new();
        for (height, errors) in heights {
            let height: u32 = height.parse().context("a height is no number")?;
            let rate = errors["error_rate"].as_f64().context("a height has no error rate")?;
            points.insert(height, 100.0 * rate);
        }
        let points = points.into_iter().map(|(height, rate)| (f64::from(height), rate)).collect();
        Ok(Some(Curve { name: name.to_owned(), points }))
    };
    let codec = |family, cell| Run { kind: Kind::Codec { family, cell }, seed: 0 };
    let mut curves = vec![of("originals", "original", codec(Family::Fsq, CELL))?];
    for (family, cell) in [
        (Family::Fsq, 2),
        (Family::Kl, 2),
        (Family::Fsq, CELL),
        (Family::Kl, CELL),
        (Family::VqVae, CELL),
    ] {
        curves.push(of(&format!("{}-{cell}", family.name()), "decoded", codec(family, cell))?);
    }
    Ok(curves.into_iter().flatten().collect())
}

/// Copies the images that were made into a folder of the documentation.
pub fn copy(sh: &xshell::Shell, work: &Path, out: &Path) -> Result<()> {
    for run in shown() {
        let path = work.join("images").join(file(&run));
        if sh.path_exists(&path) {
            sh.copy_file(path, out)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart;

    #[test]
    fn a_curve_has_the_mean_of_each_part_at_its_last_second() {
        let line = |at: u32| json!({ "seconds": f64::from(at), "text": f64::from(at % 2) });
        let lines: Vec<Value> = (1..=48).map(line).collect();
        let points = thinned(&lines);
        assert_eq!((points.len(), points[0], points[23]), (24, [2.0, 0.5], [48.0, 0.5]));
        assert_eq!(thinned(&[json!({ "seconds": 1.0, "text": null })]), Vec::<[f64; 2]>::new());
    }

    #[test]
    fn charts_show_what_was_measured_and_nothing_else() {
        let mut results = Results::new(10.0, 1, true);
        assert!(charts(&results).unwrap().is_empty());
        let errors = |rate: f64| json!({ "heights": { "5": { "error_rate": rate }, "12": { "error_rate": 0.0 } } });
        let reading = json!({ "original": errors(0.1), "decoded": errors(0.5) });
        results.set("codec fsq-4-0", json!({ "reading": reading }));
        results.set("curve read-bytes-0", json!([[1.0, 3.5], [2.0, 3.0]]));
        let charts = charts(&results).unwrap();
        let curves = |at: usize| &charts[at].1.curves;
        assert_eq!(curves(0).len(), 2);
        assert_eq!(curves(0)[1].points, vec![(5.0, 50.0), (12.0, 0.0)]);
        assert_eq!(curves(1)[0].name, "bytes");
        for (name, chart) in &charts {
            assert!(chart::svg(chart).unwrap().contains("<polyline"), "{name}");
        }
    }
}

//! This module holds what a study has found so far, and reads and writes it as one JSON file.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Counts the points that a loss curve is thinned to.
const POINTS: u64 = 40;

/// A kernel inception distance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kid {
    pub value: f64,
    pub standard_error: f64,
}

impl Kid {
    /// Reads a distance from `mm eval --json`, or from a file of results.
    pub fn read(value: &Value) -> Result<Self> {
        let number =
            |name: &str| value[name].as_f64().with_context(|| format!("a KID has no `{name}`"));
        Ok(Self { value: number("value")?, standard_error: number("standard_error")? })
    }

    /// Spells the distance times 1000, with its error, as published numbers are.
    pub fn words(&self) -> String {
        format!("{:.1} ± {:.1}", 1e3 * self.value, 1e3 * self.standard_error)
    }

    fn write(&self) -> Value {
        json!({ "value": self.value, "standard_error": self.standard_error })
    }
}

/// A trained run.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    pub parameters: u64,
    /// Counts the time of training.
    pub seconds: f64,
    /// Holds the image loss over the steps, a mean over each fortieth of the run.
    pub losses: Vec<(f64, f64)>,
    /// Holds the KID after numbers of steps.
    pub kids: Vec<(u64, Kid)>,
}

/// The KID of one model by a sampler.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampled {
    pub model: String,
    pub sampler: String,
    pub steps: usize,
    pub kid: Kid,
}

/// Distances of images that were not drawn, between which those of drawings lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Baselines {
    /// Is the KID of other real images.
    pub real: Kid,
    /// Is the KID of real images whose tiles are shuffled.
    pub shuffled: Kid,
}

/// Everything that a study has found.
#[derive(Debug, Clone, PartialEq)]
pub struct Results {
    /// Counts the steps of every run.
    pub steps: u64,
    /// Counts the minutes that were asked for.
    pub minutes: f64,
    /// Names the folder of images, if they were not the emoji.
    pub data: Option<String>,
    pub runs: BTreeMap<String, Measured>,
    pub samplers: Vec<Sampled>,
    pub baselines: Option<Baselines>,
}

impl Results {
    /// Returns the results of a study that begins.
    pub fn new(steps: u64, minutes: f64, data: Option<String>) -> Self {
        Self { steps, minutes, data, runs: BTreeMap::new(), samplers: vec![], baselines: None }
    }

    /// Returns the KID at the end of a run.
    pub fn last(&self, run: &str) -> Kid {
        let kids = self.runs.get(run).map(|run| run.kids.as_slice()).unwrap_or_default();
        let worst = Kid { value: f64::INFINITY, standard_error: 0.0 };
        kids.iter().max_by_key(|(step, _)| *step).map_or(worst, |(_, kid)| *kid)
    }

    /// Returns the KID of a sampler in a number of steps, if it was measured.
    pub fn sampled(&self, sampler: &str, steps: usize) -> Option<Kid> {
        let found = self.samplers.iter().find(|of| of.sampler == sampler && of.steps == steps);
        found.map(|found| found.kid)
    }

    /// Writes the results as JSON.
    pub fn write(&self) -> Result<String> {
        let runs: BTreeMap<&String, Value> = self
            .runs
            .iter()
            .map(|(name, run)| {
                let kids =
                    run.kids.iter().map(|(step, kid)| json!({ "step": step, "kid": kid.write() }));
                let value = json!({
                    "parameters": run.parameters,
                    "seconds": run.seconds,
                    "losses": run.losses,
                    "kids": kids.collect::<Vec<_>>(),
                });
                (name, value)
            })
            .collect();
        let samplers = self.samplers.iter().map(|of| {
            json!({ "model": of.model, "sampler": of.sampler, "steps": of.steps, "kid": of.kid.write() })
        });
        let whole = json!({
            "steps": self.steps,
            "minutes": self.minutes,
            "data": self.data,
            "runs": runs,
            "samplers": samplers.collect::<Vec<_>>(),
            "baselines": self.baselines.map(|of| {
                json!({ "real": of.real.write(), "shuffled": of.shuffled.write() })
            }),
        });
        Ok(serde_json::to_string_pretty(&whole)?)
    }

    /// Reads the results from JSON.
    pub fn read(text: &str) -> Result<Self> {
        let whole: Value = serde_json::from_str(text).context("results.json is no JSON")?;
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let mut results = Self::new(
            whole["steps"].as_u64().context("results.json has no `steps`")?,
            whole["minutes"].as_f64().context("results.json has no `minutes`")?,
            whole["data"].as_str().map(String::from),
        );
        for (name, run) in whole["runs"].as_object().context("results.json has no `runs`")? {
            let point = |pair: &Value| Some((pair[0].as_f64()?, pair[1].as_f64()?));
            let kid = |at: &Value| {
                Ok((at["step"].as_u64().context("a KID has no step")?, Kid::read(&at["kid"])?))
            };
            results.runs.insert(
                name.clone(),
                Measured {
                    parameters: run["parameters"].as_u64().context("a run has no `parameters`")?,
                    seconds: run["seconds"].as_f64().context("a run has no `seconds`")?,
                    losses: list(&run["losses"]).iter().filter_map(point).collect(),
                    kids: list(&run["kids"]).iter().map(kid).collect::<Result<_>>()?,
                },
            );
        }
        for of in list(&whole["samplers"]) {
            let text =
                |name: &str| of[name].as_str().map(String::from).context("a sampler has no name");
            results.samplers.push(Sampled {
                model: text("model")?,
                sampler: text("sampler")?,
                steps: of["steps"].as_u64().context("a sampler has no steps")? as usize,
                kid: Kid::read(&of["kid"])?,
            });
        }
        let baselines = &whole["baselines"];
        if !baselines.is_null() {
            let read = |name: &str| Kid::read(&baselines[name]);
            results.baselines =
                Some(Baselines { real: read("real")?, shuffled: read("shuffled")? });
        }
        Ok(results)
    }
}

/// Returns the image losses of a run, a mean over each fortieth of its steps.
pub fn smoothed(lines: &[Value], steps: u64) -> Vec<(f64, f64)> {
    let width = (steps / POINTS).max(10);
    let mut bins: BTreeMap<u64, (f64, u32)> = BTreeMap::new();
    for line in lines {
        let (Some(step), Some(loss)) = (line["step"].as_u64(), line["image"].as_f64()) else {
            continue;
        };
        let bin = bins.entry(step.saturating_sub(1) / width).or_default();
        *bin = (bin.0 + loss, bin.1 + 1);
    }
    let middle = |bin: u64| (bin as f64 + 0.5) * width as f64;
    bins.into_iter().map(|(bin, (sum, count))| (middle(bin), sum / f64::from(count))).collect()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Makes up a whole study: the networks by name, each with KIDs after 100, 200, 400 and 800
    /// steps.
    pub fn made_up(of: impl Fn(&str) -> [f64; 4]) -> Results {
        let mut results = Results::new(800, 5.0, None);
        let kid = |value: f64| Kid { value: 1e-3 * value, standard_error: 2e-3 };
        for run in crate::study::runs::all() {
            let kids = [100, 200, 400, 800].into_iter().zip(of(&run.name).map(kid)).collect();
            let losses = vec![(10.0, 1.0), (790.0, 0.25)];
            let measured = Measured { parameters: 1_000_000, seconds: 60.0, losses, kids };
            results.runs.insert(run.name, measured);
        }
        results.baselines = Some(Baselines { real: kid(0.5), shuffled: kid(400.0) });
        results
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut results = made_up(|_| [400.0, 300.0, 200.0, 100.0]);
        let kid = Kid { value: 0.25, standard_error: 0.125 };
        results.samplers.push(Sampled {
            model: "gau".into(),
            sampler: "ddim".into(),
            steps: 10,
            kid,
        });
        assert_eq!(Results::read(&results.write().unwrap()).unwrap(), results);
        assert_eq!(results.sampled("ddim", 10), Some(kid));
        assert_eq!(results.last("gau").value, 0.1);
        assert!(Results::read("{}").is_err());
    }

    #[test]
    fn a_loss_curve_is_a_mean_over_parts_of_the_run() {
        let line = |step: u64, loss: f64| json!({ "step": step, "image": loss });
        let lines =
            [line(10, 4.0), line(20, 2.0), line(30, 1.0), json!({ "step": 30, "validation": {} })];
        assert_eq!(smoothed(&lines, 800), [(10.0, 3.0), (30.0, 1.0)]);
    }
}

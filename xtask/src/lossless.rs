//! `cargo xtask study lossless` measures what the article says of other roads than raw patches: the
//! bits that codecs carry, what a reader of originals still reads behind them, and how
//! transformers read and draw over patches, codes, latents and bytes.
//!
//! Everything stands in `runs/study-lossless`: run folders, and `results.json`, which is written
//! after every number. A study that was stopped goes on from there.

mod images;
mod measure;
mod page;
mod results;
mod runs;
mod verdicts;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use xshell::Shell;

use crate::{flags, mm};
use results::Results;
use runs::{Kind, READER, Run};

/// Is the folder of the run folders.
const WORK: &str = "runs/study-lossless";
/// Counts the minutes of the whole study, unless others are asked for: six hours of two cores.
const MINUTES: f64 = 180.0;
/// Is the share of the time that is training.
const TRAINING: f64 = 0.75;
/// Counts the minutes from which on every run is trained with two seeds.
const TWO_SEEDS: f64 = 90.0;
/// Counts the steps of a run of `--quick`.
const FEW_STEPS: u64 = 4;
/// Counts the steps of a trial, whose second half is timed.
const TRIED: u64 = 20;

/// Trains, measures and writes.
pub fn run(flags: &flags::Study, sh: &Shell) -> Result<ExitCode> {
    let out = flags.out.clone().unwrap_or_else(|| "docs".into());
    let out = sh.current_dir().join(out);
    let work = sh.current_dir().join(if flags.quick { "runs/study-lossless-quick" } else { WORK });
    let file = work.join("results.json");
    if flags.page {
        page::write(sh, &Results::read(&sh.read_file(file)?)?, &work, &out)?;
        return Ok(ExitCode::SUCCESS);
    }
    let minutes = flags.minutes.unwrap_or(MINUTES);
    ensure!(minutes.is_finite() && minutes > 0.0, "`--minutes {minutes}` must be above 0");
    sh.create_dir(&work)?;
    let program = match &flags.program {
        Some(program) => sh.current_dir().join(program),
        None => built(sh, flags)?,
    };
    let device = flags.device.clone().unwrap_or_else(|| "flex".to_owned());
    let judge = flags.judge.as_ref().map(|judge| sh.current_dir().join(judge));
    let study = Study { sh, program, work, device, quick: flags.quick, judge };
    let mut results = study.open(minutes)?;
    study.plan(&mut results)?;
    for seed in 0..results.seeds {
        study.of_seed(seed, &mut results)?;
        page::write(sh, &results, &study.work, &out)?;
    }
    println!("\nread {}", out.join("lossless.md").display());
    Ok(ExitCode::SUCCESS)
}

/// Builds the release program, with the reader of networks if one judges.
fn built(sh: &Shell, flags: &flags::Study) -> Result<PathBuf> {
    let feature = flags.device.as_deref().map(mm::feature_of).transpose()?.flatten();
    let reader = flags.judge.is_some().then_some("onnx");
    mm::build_with(sh, feature.into_iter().chain(reader).collect())
}

/// Holds what all parts of the study share.
struct Study<'a> {
    sh: &'a Shell,
    program: PathBuf,
    work: PathBuf,
    device: String,
    quick: bool,
    /// Names the network that judges, if there is one.
    judge: Option<PathBuf>,
}

impl Study<'_> {
    /// Returns the results so far, or those of a new study.
    fn open(&self, minutes: f64) -> Result<Results> {
        let path = self.work.join("results.json");
        if self.sh.path_exists(&path) {
            println!("going on with the study in {}", self.work.display());
            return Results::read(&self.sh.read_file(&path)?);
        }
        let seeds = if minutes >= TWO_SEEDS && !self.quick { 2 } else { 1 };
        let results = Results::new(minutes, seeds, self.quick);
        self.keep(&results)?;
        Ok(results)
    }

    /// Times a few steps of every kind of run, one after another so that all see the same machine,
    /// and decides how many steps fit the share of each.
    ///
    /// What needs a codec takes the one of the trial before it.
    fn plan(&self, results: &mut Results) -> Result<()> {
        let trials = self.work.join("trials");
        self.sh.create_dir(&trials)?;
        let all = runs::all(results.seeds);
        let whole: f64 = all.iter().map(|run| run.kind.share()).sum();
        let training = TRAINING * results.minutes * 60.0;
        for run in all.iter().filter(|run| run.seed == 0) {
            let name = format!("plan {}", run.name());
            if results.has(&name) {
                continue;
            }
            let found = if self.quick {
                json!({ "steps": FEW_STEPS })
            } else {
                let one = self.seconds_a_step(run, &trials)?;
                let own = training * run.kind.share() / whole;
                let steps = ((own / one) as u64).max(TRIED);
                println!("{}: {steps} steps of {one:.3} s", run.name());
                json!({ "steps": steps, "seconds_a_step": one })
            };
            results.set(&name, found);
            self.keep(results)?;
        }
        Ok(())
    }

    /// Takes a few steps of a run in `trials`, and returns the seconds of one.
    fn seconds_a_step(&self, run: &Run, trials: &Path) -> Result<f64> {
        let (recipe, out) = (trials.join("recipe.toml"), trials.join(run.name()));
        self.sh.write_file(&recipe, run.recipe(trials, TRIED))?;
        self.sh.remove_path(&out)?;
        let mut train = self.mm(&["train", "--device", &self.device]);
        mm::quietly(train.arg(&recipe).arg("--out").arg(&out))?;
        let lines = metrics(&self.sh.read_file(out.join("metrics.jsonl"))?)?;
        let at = |step: u64| {
            let line = lines.iter().find(|line| line["step"] == step);
            line.and_then(|line| line["seconds"].as_f64()).context("a run left no times")
        };
        Ok((at(TRIED)? - at(TRIED / 2)?) / (TRIED / 2) as f64)
    }

    /// Trains and measures everything of a seed, part by part: what needs codecs alone, then
    /// reading, drawing and pairs. So a study that is stopped has its first parts.
    fn of_seed(&self, seed: u64, results: &mut Results) -> Result<()> {
        let all = runs::of_seed(seed);
        let train = |results: &mut Results, part: fn(Kind) -> bool| -> Result<()> {
            let mut runs = all.iter().filter(|run| part(run.kind));
            runs.try_for_each(|run| self.trained(run, results))
        };
        self.trained(&READER, results)?;
        train(results, |kind| matches!(kind, Kind::Codec { .. }))?;
        self.reconstruction(&all, results)?;
        train(results, |kind| matches!(kind, Kind::Reading(_)))?;
        self.reading(&all, results)?;
        self.curves(&all, results)?;
        train(results, |kind| matches!(kind, Kind::Drawing(_)))?;
        self.drawing(&all, results)?;
        self.editing(&all, results)?;
        if seed == 0 {
            self.images()?;
        }
        train(results, |kind| matches!(kind, Kind::Pairs(_)))?;
        self.pairs(&all, results)
    }

    /// Trains a run, or the rest of it.
    fn trained(&self, run: &Run, results: &mut Results) -> Result<()> {
        let name = run.name();
        if results.has(&format!("run {name}")) {
            return Ok(());
        }
        println!("training {name}");
        let (out, file) = (self.work.join(&name), self.work.join(format!("{name}.toml")));
        let mut train = self.mm(&["train", "--device", &self.device]);
        if self.sh.path_exists(out.join("recipe.toml")) {
            train.arg("--resume");
        } else {
            let planned = results.of(&format!("plan {}", Run { seed: 0, ..*run }.name()));
            let steps = planned["steps"].as_u64().context("a run has no planned steps")?;
            self.sh.write_file(&file, run.recipe(&self.work, steps))?;
            train.arg(&file);
        }
        mm::quietly(train.arg("--out").arg(&out))?;
        let lines = metrics(&self.sh.read_file(out.join("metrics.jsonl"))?)?;
        let last = lines.last().context("a run left no metrics")?;
        let said = mm::quietly(self.mm(&["inspect"]).arg(out.join("model")))?;
        let digits = said.split(" parameters").next().unwrap_or_default().replace(',', "");
        let parameters: u64 = digits.trim().parse().context("`mm inspect` said no parameters")?;
        let found = json!({
            "steps": last["step"],
            "seconds": last["seconds"],
            "parameters": parameters,
            "image": last["image"],
            "text": last["text"],
        });
        results.set(&format!("run {name}"), found);
        self.keep(results)
    }

    /// Returns the model folder of a run.
    fn model(&self, run: &Run) -> PathBuf {
        self.work.join(run.name()).join("model")
    }

    /// Measures something unless it was measured before.
    fn once(
        &self,
        name: &str,
        results: &mut Results,
        measure: impl FnOnce() -> Result<Value>,
    ) -> Result<()> {
        if results.has(name) {
            return Ok(());
        }
        println!("measuring {name}");
        results.set(name, measure()?);
        self.keep(results)
    }

    fn keep(&self, results: &Results) -> Result<()> {
        let (path, scratch) = (self.work.join("results.json"), self.work.join("results.tmp"));
        self.sh.write_file(&scratch, results.write()?)?;
        fs_err::rename(scratch, path)?;
        Ok(())
    }

    fn mm(&self, args: &[&str]) -> Command {
        let mut command = Command::from(self.sh.cmd(&self.program));
        command.args(args);
        command
    }

    /// Runs a command that prints one JSON object.
    fn json(&self, command: &mut Command) -> Result<Value> {
        let said = mm::quietly(command.args(["--device", &self.device]))?;
        serde_json::from_str(&said).with_context(|| format!("{command:?} printed no JSON"))
    }
}

/// Reads the lines of `metrics.jsonl` that tell of a step.
fn metrics(text: &str) -> Result<Vec<Value>> {
    let lines = text.lines().map(|line| Ok(serde_json::from_str(line)?));
    let lines: Vec<Value> = lines.collect::<Result<_>>()?;
    Ok(lines.into_iter().filter(|line| line["loss"].is_number()).collect())
}

/// Returns a path as an argument.
fn text_of(path: &Path) -> String {
    path.display().to_string()
}

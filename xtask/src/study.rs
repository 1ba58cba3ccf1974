//! `cargo xtask study convergence` measures the sentences of the article. It trains the runs of
//! `runs.rs`, judges their drawings by KID, draws one model by every sampler, and writes a page
//! with images and numbers (`page.rs`).
//!
//! All that is expensive stands in `runs/study-convergence`: run folders, and `results.json`, which
//! is written after every number. A study that was stopped goes on from there.

mod page;
mod results;
mod runs;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xshell::{Shell, cmd};

use crate::{flags, lossless, mm};
use results::{Baselines, Kid, Measured, Results, Sampled};
use runs::{Run, Target};

/// Is the folder of the run folders.
const WORK: &str = "runs/study-convergence";
/// Counts the minutes of two cores that make five hours of one.
const MINUTES: f64 = 150.0;
/// Is the share of the time that is training; the rest goes to drawing and judging.
const TRAINING: f64 = 0.75;
/// Counts the drawings that a KID is taken of.
const DRAWINGS: usize = 128;
/// Holds the checkpoints of a network that are judged, in eighths of the run.
const JUDGED: [u64; 6] = [1, 2, 3, 4, 6, 8];
/// Names what one trained model is drawn with.
const SAMPLERS: [&str; 5] = ["ddpm", "ddim", "dpm++2m", "euler", "heun"];
const SAMPLER_STEPS: [usize; 5] = [4, 10, 20, 50, 250];

impl flags::Study {
    /// Trains, judges and writes.
    pub fn run(&self, sh: &Shell) -> Result<ExitCode> {
        if self.name == "lossless" {
            return lossless::run(self, sh);
        }
        ensure!(
            self.name == "convergence",
            "no study is called `{}`, there are convergence and lossless",
            self.name
        );
        ensure!(!self.quick, "`--quick` is for the study lossless");
        let out = self.out.clone().unwrap_or_else(|| "docs/studies/convergence".into());
        let out = sh.current_dir().join(out);
        if self.page {
            let results = sh.read_file(sh.current_dir().join(WORK).join("results.json"))?;
            return written(sh, &Results::read(&results)?, &out);
        }
        let judge = self.judge.as_deref().context(
            "`--judge FILE.onnx` is missing: a network that makes features of images (docs/evaluation.md says which will do)",
        )?;
        ensure!(judge.is_file(), "`--judge {}` is no file", judge.display());
        let minutes = self.minutes.unwrap_or(MINUTES);
        ensure!(minutes.is_finite() && minutes > 0.0, "`--minutes {minutes}` must be above 0");
        let work = sh.current_dir().join(WORK);
        let study = Study {
            sh,
            program: build(sh, self.device.as_deref(), &work)?,
            work,
            judge: sh.current_dir().join(judge),
            data: self.data.as_ref().map(|folder| sh.current_dir().join(folder)),
            device: self.device.clone().unwrap_or_else(|| "flex".to_owned()),
        };
        let mut results = study.open(minutes)?;
        study.networks(&mut results)?;
        study.targets(&mut results)?;
        study.samplers(&mut results)?;
        study.images(&results, &out)?;
        written(sh, &results, &out)
    }
}

/// Writes the page and says where it is.
fn written(sh: &Shell, results: &Results, out: &Path) -> Result<ExitCode> {
    page::write(sh, results, out)?;
    println!("\nread {}", out.join("README.md").display());
    Ok(ExitCode::SUCCESS)
}

/// Builds the release program with the reader of judges, and returns a copy of it, so that nobody's
/// next build changes what the study runs on.
fn build(sh: &Shell, device: Option<&str>, work: &Path) -> Result<PathBuf> {
    let mut features = vec!["onnx"];
    if let Some(device) = device {
        features.extend(mm::feature_of(device)?);
    }
    let built = mm::build_with(sh, features)?;
    let copy = work.join("mm").with_extension(std::env::consts::EXE_EXTENSION);
    sh.create_dir(work)?;
    sh.copy_file(built, &copy)?;
    Ok(copy)
}

/// Holds what all parts of the study share.
struct Study<'a> {
    sh: &'a Shell,
    program: PathBuf,
    work: PathBuf,
    judge: PathBuf,
    data: Option<PathBuf>,
    device: String,
}

impl Study<'_> {
    /// Returns the results so far; those of a new study say how many steps fit the time.
    fn open(&self, minutes: f64) -> Result<Results> {
        let path = self.work.join("results.json");
        if self.sh.path_exists(&path) {
            let results = Results::read(&self.sh.read_file(&path)?)?;
            let data = results.data.as_deref().map(Path::new);
            ensure!(
                data == self.data.as_deref(),
                "{} holds a study of other images: remove the folder, or give the same `--data`",
                self.work.display()
            );
            println!("going on with a study of {} steps a run in {WORK}", results.steps);
            return Ok(results);
        }
        let (mut a_step, mut sizes) = (0.0, vec![]);
        for run in runs::all() {
            let Trial { seconds, parameters } = self.tried(&run)?;
            println!("{:18} {seconds:.4} s a step, {parameters} parameters", run.name);
            a_step += seconds;
            if runs::NETWORKS.contains(&run.name.as_str()) {
                sizes.push(parameters);
            }
        }
        let [least, most] =
            [sizes.iter().min(), sizes.iter().max()].map(|size| *size.unwrap_or(&0));
        ensure!(
            least as f64 >= 0.95 * most as f64,
            "the networks have {least} to {most} parameters, wanted 5 % at most between them"
        );
        let steps = (TRAINING * minutes * 60.0 / a_step) as u64 / runs::EIGHTHS * runs::EIGHTHS;
        ensure!(
            steps >= 80,
            "`--minutes {minutes}` is too little: {steps} steps a run fit, wanted 80 or more"
        );
        println!("{steps} steps a run fit {minutes} minutes");
        let data = self.data.as_ref().map(|folder| folder.display().to_string());
        let results = Results::new(steps, minutes, data);
        self.keep(&results)?;
        Ok(results)
    }

    /// Trains twenty steps and times the second ten.
    fn tried(&self, run: &Run) -> Result<Trial> {
        let scratch = self.sh.create_temp_dir()?;
        let (recipe, out) = (scratch.path().join("recipe.toml"), scratch.path().join("run"));
        self.sh.write_file(&recipe, run.recipe(self.data.as_deref(), 20))?;
        let few = ["--set", "sample.count=1", "--set", "sample.steps=1"];
        let mut train = self.mm(&["train", "--device", &self.device]);
        mm::quietly(train.arg(&recipe).arg("--out").arg(&out).args(few))?;
        let lines = metrics(&self.sh.read_file(out.join("metrics.jsonl"))?)?;
        let at = |step: u64| {
            let line = lines.iter().find(|line| line["step"] == step);
            line.and_then(|line| line["seconds"].as_f64()).context("a run left no times")
        };
        let seconds = (at(20)? - at(10)?) / 10.0;
        Ok(Trial { seconds, parameters: self.parameters(&out.join("model"))? })
    }

    /// Trains the five networks and judges each on its way.
    fn networks(&self, results: &mut Results) -> Result<()> {
        for run in runs::NETWORKS.map(runs::network) {
            self.trained(&run, results)?;
            for eighth in JUDGED {
                self.judged(&run, eighth * runs::every(results.steps), results)?;
            }
        }
        Ok(())
    }

    /// Trains what the comparison of targets adds, and judges the ends.
    fn targets(&self, results: &mut Results) -> Result<()> {
        for patch in runs::PATCHES {
            for target in Target::ALL {
                let run = runs::target(target, patch);
                self.trained(&run, results)?;
                self.judged(&run, results.steps, results)?;
            }
        }
        Ok(())
    }

    /// Draws the best of the gated attention units by every sampler in any number of steps.
    fn samplers(&self, results: &mut Results) -> Result<()> {
        let names = Target::ALL.map(|target| runs::target(target, runs::PATCH).name);
        let best = names
            .into_iter()
            .min_by(|one, other| results.last(one).value.total_cmp(&results.last(other).value));
        let model = best.expect("there are three");
        for sampler in SAMPLERS {
            for steps in SAMPLER_STEPS {
                if results.sampled(sampler, steps).is_some() {
                    continue;
                }
                let folder = self.work.join(&model).join("model");
                let kid = self.kid(&folder, sampler, steps, results)?;
                println!("{sampler} in {steps} steps: kid x 1000 {:.1}", 1e3 * kid.value);
                let sampler = sampler.to_owned();
                results.samplers.push(Sampled { model: model.clone(), sampler, steps, kid });
                self.keep(results)?;
            }
        }
        Ok(())
    }

    /// Trains a run, or the rest of it.
    fn trained(&self, run: &Run, results: &mut Results) -> Result<()> {
        if results.runs.contains_key(&run.name) {
            return Ok(());
        }
        println!("\ntraining {}", run.name);
        let out = self.work.join(&run.name);
        let recipe = self.work.join(format!("{}.toml", run.name));
        self.sh.write_file(&recipe, run.recipe(self.data.as_deref(), results.steps))?;
        let mut train = self.mm(&["train", "--device", &self.device]);
        let is_begun = self.sh.path_exists(out.join("recipe.toml"));
        if is_begun {
            train.arg("--resume");
        } else {
            train.arg(&recipe);
        }
        train.arg("--out").arg(&out);
        ensure!(mm::attached(&mut train)? == ExitCode::SUCCESS, "training {} failed", run.name);
        let lines = metrics(&self.sh.read_file(out.join("metrics.jsonl"))?)?;
        let seconds = lines.last().and_then(|line| line["seconds"].as_f64());
        results.runs.insert(
            run.name.clone(),
            Measured {
                parameters: self.parameters(&out.join("model"))?,
                seconds: seconds.context("a run left no times")?,
                losses: results::smoothed(&lines, results.steps),
                kids: vec![],
            },
        );
        self.keep(results)
    }

    /// Returns the number of parameters of a model folder.
    fn parameters(&self, model: &Path) -> Result<u64> {
        let said = mm::quietly(self.mm(&["inspect"]).arg(model))?;
        let digits = said.split(" parameters").next().unwrap_or_default().replace(',', "");
        digits.parse().with_context(|| format!("`mm inspect` said `{digits}`"))
    }

    /// Measures the KID of a run's average after `step`.
    fn judged(&self, run: &Run, step: u64, results: &mut Results) -> Result<()> {
        if results.runs[&run.name].kids.iter().any(|(at, _)| *at == step) {
            return Ok(());
        }
        let folder = self.model_of(&run.name, step)?;
        let kid = self.kid(&folder, "ddim", 20, results)?;
        println!("{} after {step} steps: kid x 1000 {:.1}", run.name, 1e3 * kid.value);
        let measured = results.runs.get_mut(&run.name).context("judged before it was trained")?;
        measured.kids.push((step, kid));
        self.keep(results)
    }

    /// Makes a model folder of the average in a checkpoint; the parts that do not change are those
    /// of the run's own model.
    fn model_of(&self, name: &str, step: u64) -> Result<PathBuf> {
        let run = self.work.join(name);
        let folder = run.join(format!("model-{step}"));
        self.sh.create_dir(&folder)?;
        for part in ["config.json", "tokenizer.json", "recipe.toml"] {
            self.sh.copy_file(run.join("model").join(part), folder.join(part))?;
        }
        let average = run.join(format!("checkpoints/step-{step:09}/average.safetensors"));
        self.sh.copy_file(average, folder.join("model.safetensors"))?;
        Ok(folder)
    }

    /// Measures the KID of drawings against the training images; the two baselines go into the
    /// results.
    fn kid(&self, model: &Path, sampler: &str, steps: usize, results: &mut Results) -> Result<Kid> {
        let (count, steps) = (DRAWINGS.to_string(), steps.to_string());
        let mut eval = self.mm(&["eval", "--task", "kid", "--json", "--count", &count]);
        eval.args(["--sampler", sampler, "--steps", &steps, "--device", &self.device]);
        eval.arg("--features").arg(&self.judge).arg("--cache").arg(self.work.join("features"));
        let said = mm::quietly(eval.arg(model))?;
        let said: Value =
            serde_json::from_str(&said).context("`mm eval --json` printed no JSON")?;
        let read = |of: &str| Kid::read(&said["kid"][of]);
        let baselines = Baselines { real: read("real")?, shuffled: read("shuffled")? };
        results.baselines = Some(baselines);
        read("drawn")
    }

    /// Draws one row of every run, from the same noise.
    fn images(&self, results: &Results, out: &Path) -> Result<()> {
        self.sh.create_dir(out)?;
        for name in results.runs.keys() {
            self.row(name, 20, &out.join(format!("{name}.png")))?;
        }
        if let Some(Sampled { model, .. }) = results.samplers.first() {
            for steps in SAMPLER_STEPS {
                self.row(model, steps, &out.join(format!("ddim-{steps}.png")))?;
            }
        }
        Ok(())
    }

    /// Draws a row of a run by DDIM.
    fn row(&self, run: &str, steps: usize, image: &Path) -> Result<()> {
        let steps = steps.to_string();
        let mut sample = self.mm(&["sample", "--count", "12", "--cols", "12", "--force"]);
        sample.args(["--sampler", "ddim", "--steps", &steps, "--device", &self.device]);
        sample.arg("--out").arg(image).arg(self.work.join(run).join("model"));
        mm::quietly(&mut sample).map(drop)
    }

    fn keep(&self, results: &Results) -> Result<()> {
        self.sh.create_dir(&self.work)?;
        let (path, scratch) = (self.work.join("results.json"), self.work.join("results.tmp"));
        self.sh.write_file(&scratch, results.write()?)?;
        cmd!(self.sh, "mv {scratch} {path}").quiet().run()?;
        Ok(())
    }

    fn mm(&self, args: &[&str]) -> Command {
        let mut command = Command::from(self.sh.cmd(&self.program));
        command.args(args);
        command
    }
}

/// The cost of a run, from a short trial.
struct Trial {
    /// Counts seconds a step.
    seconds: f64,
    parameters: u64,
}

/// Reads the lines of `metrics.jsonl`.
fn metrics(text: &str) -> Result<Vec<Value>> {
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

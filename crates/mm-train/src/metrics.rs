//! What a run writes for people: `metrics.jsonl`, one object a line, and sample grids with their
//! texts.

use std::io::Write;
use std::path::{Path, PathBuf};

use mm_model::folder::write_atomic;
use mm_patch::{Image, PngText};
use serde::Serialize;

use crate::TrainError;
use crate::held_out::Validation;
use crate::step::StepReport;

/// One line of `metrics.jsonl`.
#[derive(Debug, Clone, Serialize)]
pub struct MetricLine<'a> {
    /// The numbers of the step.
    #[serde(flatten)]
    pub report: &'a StepReport,
    /// The seconds of training so far, over all resumes.
    pub seconds: f64,
    /// The speed of the run.
    #[serde(flatten)]
    pub speed: Speed,
}

/// The speed of a run, as means since the previous line.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Speed {
    /// The number of tokens and patches per second.
    pub tokens_per_second: f64,
    /// The number of images per second.
    pub images_per_second: f64,
    /// The share of the time that the trainer waited for data.
    pub data_wait: f64,
    /// The share of the time in which gradients were added over the ranks, if there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradient_sum: Option<f64>,
    /// The bytes of gradients that every rank adds to those of the others in each step, if there
    /// are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradient_bytes: Option<usize>,
}

/// A line of `metrics.jsonl` that holds a measurement on held-out documents.
#[derive(Debug, Clone, Serialize)]
pub struct ValidationLine<'a> {
    /// The step after which it was taken.
    pub step: u64,
    /// The numbers.
    pub validation: &'a Validation,
}

/// Appends lines to `metrics.jsonl`.
#[derive(Debug)]
pub struct MetricsLog {
    file: fs_err::File,
}

impl MetricsLog {
    /// Opens the log for a run that has taken `step` steps; later lines of an interrupted run are
    /// dropped.
    pub fn open(path: &Path, step: u64) -> Result<Self, TrainError> {
        if path.exists() {
            let text = fs_err::read_to_string(path)?;
            let kept: Vec<&str> =
                text.lines().filter(|line| step_of(line).is_some_and(|at| at <= step)).collect();
            let text = kept.iter().map(|line| format!("{line}\n")).collect::<String>();
            write_atomic(path, text.as_bytes())?;
        }
        let file = fs_err::OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { file })
    }

    /// Adds one line: an object with a `step`.
    pub fn write(&mut self, line: &impl Serialize) -> Result<(), TrainError> {
        let mut text = serde_json::to_string(line).expect("numbers are plain data");
        text.push('\n');
        Ok(self.file.write_all(text.as_bytes())?)
    }
}

/// Returns the last step that a file of metrics tells of, or 0.
pub(crate) fn last_step(metrics: &Path) -> u64 {
    let lines = fs_err::read_to_string(metrics).unwrap_or_default();
    lines.lines().filter_map(step_of).max().unwrap_or(0)
}

fn step_of(line: &str) -> Option<u64> {
    serde_json::from_str::<serde_json::Value>(line).ok()?.get("step")?.as_u64()
}

/// Writes a sample grid and its texts as `step-N.png` and `step-N.txt`; returns the path of the
/// image.
pub fn write_samples(
    folder: &Path,
    step: u64,
    grid: &Image,
    text: &str,
) -> Result<PathBuf, TrainError> {
    let path = folder.join(format!("step-{step:09}.png"));
    write_atomic(&path, &png(grid, &path))?;
    write_atomic(&path.with_extension("txt"), text.as_bytes())?;
    Ok(path)
}

/// Writes the grid drawn with the weights themselves beside that of their average, as
/// `step-N-raw.png`.
pub fn write_raw_samples(averaged: &Path, grid: &Image) -> Result<(), TrainError> {
    let name = averaged.file_stem().unwrap_or_default().to_string_lossy();
    let path = averaged.with_file_name(format!("{name}-raw.png"));
    Ok(write_atomic(&path, &png(grid, &path))?)
}

/// Returns a grid as a PNG file that names this program and the step of the training.
fn png(grid: &Image, path: &Path) -> Vec<u8> {
    let step = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let texts = [PngText::software(), PngText::new("Title", step)];
    grid.encode_png_with(&texts).expect("PNG allows these keywords")
}

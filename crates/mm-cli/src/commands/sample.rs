//! `mm sample`: pictures that no caption describes, by any sampler.

mod analytic;

use std::path::Path;

use mm_data::{Captions, DataConfig, FolderConfig};
use mm_diffusion::{Analytic, DiffusionError, Level, Sampler};
use mm_eval::{image_table, magnified, square_cols};
use mm_model::{LoadedModel, Walk};
use mm_patch::Grid;
use mm_train::Recipe;
use mm_train::state::recipe_beside;

use super::cannot_generate;
use super::draw::grid;
use crate::args::{Method, SampleArgs, WalkArgs};
use crate::device;
use crate::output::{format_of, free, most_of, pixels_of, within, write_image};
use crate::recipes;
use crate::report::{Failure, say, usage};

pub fn run(args: &SampleArgs) -> Result<(), Failure> {
    free(&args.out, args.walk.force)?;
    format_of(&args.out)?;
    if args.count == 0 || args.walk.zoom == 0 || args.cols == Some(0) {
        return Err(usage!("`--count`, `--cols` and `--zoom` must be at least 1"));
    }
    let way = Way::open(&args.model, &args.walk)?;
    let grid = grid(args.size.as_deref(), &way.checkpoint)?;
    let cols = columns(args, grid)?;
    let schedule = way.checkpoint.config.schedule;
    let steps = way.steps(schedule.steps());
    let levels = match (args.stride, args.start, args.walk.steps) {
        (Some(stride), ..) => schedule.strided_levels(stride),
        (None, Some(start), Some(steps)) => schedule.levels_from(start, steps),
        (None, Some(start), None) => {
            schedule.levels_from(start, steps.min(start.saturating_add(1)))
        }
        (None, None, _) => schedule.sampling_levels(steps),
    };
    let levels = levels.map_err(|why| named(args, why))?;
    let drawn = way.walk(&levels, |walk| {
        let drawn = way.checkpoint.sample(grid, 0..args.count as u64, walk, args.walk.seed);
        drawn.map_err(cannot_generate(&args.model))
    })?;
    write_image(&args.out, &magnified(&image_table(&drawn, cols), args.walk.zoom))?;
    say!("{}", args.out.display());
    Ok(())
}

/// What is wrong with the steps, by the flags that say them.
fn named(args: &SampleArgs, why: DiffusionError) -> Failure {
    let DiffusionError::Start { found, least, most } = why else { return Failure::usage(why) };
    match args.walk.steps {
        Some(steps) => {
            usage!(
                "`--start {found}` with `--steps {steps}`, wanted an index from {least} to {most}"
            )
        }
        None => usage!("`--start {found}`, wanted an index from 0 to {most}"),
    }
}

/// Pictures in a row of the table, which must be no larger than a picture may be.
fn columns(args: &SampleArgs, grid: Grid) -> Result<usize, Failure> {
    let pixels = pixels_of(grid);
    within("--count", args.count, most_of(pixels))?;
    let cols = args.cols.unwrap_or_else(|| square_cols(args.count)).min(args.count);
    let table = pixels * cols * args.count.div_ceil(cols);
    within("--zoom", args.walk.zoom, most_of(table).isqrt())?;
    Ok(cols)
}

/// A model, its recipe and the sampler asked for.
pub(super) struct Way<'a> {
    pub(super) checkpoint: LoadedModel,
    pub(super) recipe: Option<Recipe>,
    folder: &'a Path,
    args: &'a WalkArgs,
    method: Method,
}

impl<'a> Way<'a> {
    pub(super) fn open(folder: &'a Path, args: &'a WalkArgs) -> Result<Self, Failure> {
        let device = device::open(&args.device)?;
        let checkpoint = super::load_on(folder, &device)?;
        let mut recipe = match &args.recipe {
            Some(name) => Some(recipes::find(name)?),
            None => recipe_beside(folder)?,
        };
        if let (Some(recipe), Some(real)) = (&mut recipe, &args.real) {
            let real = FolderConfig::of(fs_err::canonicalize(real)?);
            recipe.data = DataConfig::Folder(FolderConfig { captions: Captions::None, ..real });
        }
        let usual = checkpoint.generation.sampler;
        let method = args.sampler.unwrap_or(Method::Plain(usual));
        Ok(Self { checkpoint, recipe, folder, args, method })
    }

    /// The number of steps that was asked for, else the recipe's if the sampler is the recipe's, else all indices for DDPM and 10
    /// for the others.
    pub(super) fn steps(&self, all: Option<usize>) -> usize {
        if let Some(steps) = self.args.steps {
            return steps;
        }
        let own = &self.checkpoint.generation;
        match self.method {
            Method::Plain(sampler) if own.sampler == sampler => own.steps,
            Method::Plain(Sampler::Ddpm) => all.unwrap_or(1000),
            _ => 10,
        }
    }

    /// Calls `go` with the way over `levels`; for Analytic-DPM what the network leaves unexplained is measured first, or read.
    pub(super) fn walk<T>(
        &self,
        levels: &[Level],
        go: impl FnOnce(Walk<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        match self.method {
            Method::Plain(sampler) => go(Walk { levels, method: mm_model::Method::Plain(sampler) }),
            Method::Analytic { eta } => {
                let unexplained = analytic::unexplained_at(self, levels, self.args.batches)?;
                let with = Analytic { eta, unexplained: &unexplained };
                go(Walk { levels, method: mm_model::Method::Analytic(with) })
            }
        }
    }
}

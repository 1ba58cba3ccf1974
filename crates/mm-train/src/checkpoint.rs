//! The run folder and its checkpoints. A checkpoint is a folder, written under another name and
//! then renamed, so that what has its final name is complete.
//!
//! ```text
//! RUN/recipe.toml            the recipe
//! RUN/metrics.jsonl          one JSON object a line
//! RUN/samples/               grids of images and texts
//! RUN/model/                 the averaged weights of the latest checkpoint, to generate with
//! RUN/model-best/            those that measured best on held-out documents, with `run.best`
//! RUN/model-ema-0.9999/      another average of `optimizer.emas`
//! RUN/checkpoints/step-000000500/{model.bpk, optimizer.bpk, average.safetensors, tokenizer.json,
//!                                 recipe.toml, progress.json, checksums.json}
//! RUN/lock                   locked while a process trains here
//! ```
//!
//! The position in the data is the step: batches are a pure function of seed and step.

mod averages;
mod changes;
mod instructions;
mod lock;
mod manifest;
mod parts;
pub(crate) mod seen;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::prelude::*;
use mm_data::DataSet;
use mm_model::folder::{self, write_atomic};

use crate::TrainError;
use crate::metrics::last_step;
use crate::recipe::{BestBy, Recipe};
use crate::setup::check_device;
use crate::training::Training;
use manifest::Manifest;

pub use seen::Seen;

/// The ending of what is being written or removed.
const UNFINISHED: &str = "tmp";

/// The folder into which a run writes.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// Keeps other processes out, if this one writes.
    _lock: Option<fs_err::File>,
}

impl RunFolder {
    /// Makes a new run folder and puts the recipe into it. A folder that already holds a run is
    /// refused, and so is one in which another process trains.
    pub fn create(path: &Path, recipe: &Recipe) -> Result<Self, TrainError> {
        let folder = Self::claim(path)?;
        folder.write_recipe(recipe)?;
        Ok(folder)
    }

    /// Makes a new run folder for a run that starts at other weights than its seed draws. They are
    /// its checkpoint of step 0, which is there before the recipe is, so a resumed run starts at
    /// them.
    pub fn create_from(path: &Path, training: &Training) -> Result<Self, TrainError> {
        let folder = Self::claim(path)?;
        folder.write(training, || Ok(()))?;
        folder.write_recipe(&training.recipe)?;
        Ok(folder)
    }

    /// Opens the folder of an earlier run and reads its recipe; what a killed run was writing is
    /// removed. A folder in which another process trains is refused.
    pub fn open(path: &Path) -> Result<(Self, Recipe), TrainError> {
        let (mut folder, recipe) = Self::look(path)?;
        folder.occupy()?;
        folder.sweep()?;
        Ok((folder, recipe))
    }

    /// Takes a folder that holds no run.
    fn claim(path: &Path) -> Result<Self, TrainError> {
        let mut folder = Self::of_other_rank(path);
        folder.check_vacant()?;
        folder.occupy()?;
        folder.check_vacant()?; // another process may have been faster
        let first = folder.checkpoint(0);
        if first.exists() {
            // It is of a start at a model that ended before there was a recipe.
            fs_err::remove_dir_all(first)?;
        }
        Ok(folder)
    }

    fn check_vacant(&self) -> Result<(), TrainError> {
        let parts = [
            (self.recipe_path(), "a run"),
            (self.model(), "a model"),
            (self.metrics(), "the metrics of a run"),
        ];
        match parts.into_iter().find(|(part, _)| part.exists()) {
            Some((_, what)) => Err(TrainError::RunExists { path: self.path.clone(), what }),
            None => Ok(()),
        }
    }

    /// Locks the folder, and makes what is missing of it.
    fn occupy(&mut self) -> Result<(), TrainError> {
        fs_err::create_dir_all(self.checkpoints())?;
        fs_err::create_dir_all(self.samples())?;
        self._lock = Some(lock::take(&self.path)?);
        Ok(())
    }

    fn write_recipe(&self, recipe: &Recipe) -> Result<(), TrainError> {
        let text = toml::to_string_pretty(recipe).expect("a recipe is plain data");
        Ok(write_atomic(&self.recipe_path(), text.as_bytes())?)
    }

    /// Returns the folder of an earlier run and its recipe, for a rank that does not write.
    pub fn look(path: &Path) -> Result<(Self, Recipe), TrainError> {
        let folder = Self::of_other_rank(path);
        let recipe = read_recipe(&folder.recipe_path())?;
        Ok((folder, recipe))
    }

    /// Returns the folder into which another rank writes.
    pub fn of_other_rank(path: &Path) -> Self {
        Self { path: path.to_owned(), _lock: None }
    }

    /// Removes what a killed run was writing or removing.
    fn sweep(&self) -> Result<(), TrainError> {
        for folder in [self.checkpoints(), self.model(), self.samples(), self.path.clone()] {
            if !folder.is_dir() {
                continue;
            }
            for entry in fs_err::read_dir(folder)? {
                let path = entry?.path();
                if path.extension().is_none_or(|ending| ending != UNFINISHED) {
                    continue;
                }
                if path.is_dir() {
                    fs_err::remove_dir_all(path)?;
                } else {
                    fs_err::remove_file(path)?;
                }
            }
        }
        Ok(())
    }

    /// Returns the folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the folder of the model to generate with.
    pub fn model(&self) -> PathBuf {
        self.path.join("model")
    }

    /// Returns the folder of the model that measured best on held-out documents.
    pub fn best_model(&self) -> PathBuf {
        self.path.join("model-best")
    }

    /// Returns the folder of the grids of samples.
    pub fn samples(&self) -> PathBuf {
        self.path.join("samples")
    }

    /// Returns the path of `metrics.jsonl`.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    fn recipe_path(&self) -> PathBuf {
        self.path.join("recipe.toml")
    }

    fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Says whether the run has no checkpoint yet, complete or not, so that it begins at its first
    /// step. A run that has a model and went past its first checkpoint had some: it would train
    /// over what it has learned. (Where a run is killed in its first checkpoint, it may have a
    /// model, too.)
    pub fn is_untrained(&self) -> Result<bool, TrainError> {
        if !self.list()?.is_empty() {
            return Ok(false);
        }
        let first = read_recipe(&self.recipe_path())?.run.checkpoint_every;
        if self.model().exists() && last_step(&self.metrics()) > first {
            return Err(TrainError::NoCheckpoint { path: self.path.clone() });
        }
        Ok(true)
    }

    /// Writes a checkpoint as one unit, with the models to generate with, and removes the oldest
    /// beyond `keep`; the best stays.
    ///
    /// The checkpoint gets its final name last: where it has one, the model beside it is its own,
    /// except for that of step 0, which has none.
    pub fn save(&self, training: &Training) -> Result<PathBuf, TrainError> {
        let step = training.progress.step;
        let target = self.write(training, || self.save_model(training))?;
        // Later ones are broken ones that were skipped; they take the place of no complete one.
        let best = training.progress.early_stopping.best().map(|best| best.step);
        let best = best.filter(|_| training.recipe.run.best != BestBy::None);
        let earlier: Vec<_> = self.list()?.into_iter().filter(|one| one.step < step).collect();
        let others = earlier.iter().rev().filter(|one| Some(one.step) != best);
        for old in others.skip(training.recipe.run.keep - 1) {
            let doomed = self.unfinished(old.step); // half a checkpoint never has a final name
            fs_err::rename(&old.path, &doomed)?;
            fs_err::remove_dir_all(&doomed)?;
        }
        Ok(target)
    }

    /// Writes a checkpoint under another name, then what belongs `beside` it, and then renames it.
    fn write(
        &self,
        training: &Training,
        beside: impl FnOnce() -> Result<(), TrainError>,
    ) -> Result<PathBuf, TrainError> {
        let step = training.progress.step;
        let (target, scratch) = (self.checkpoint(step), self.unfinished(step));
        let written = parts::write(training, &scratch)
            .and_then(|()| beside())
            .and_then(|()| self.put_in_place(&scratch, &target));
        if let Err(error) = written {
            let _ = fs_err::remove_dir_all(&scratch); // the first error is the one to report
            return Err(error);
        }
        Ok(target)
    }

    /// Writes the averaged weights as the best model.
    pub(crate) fn save_best(&self, training: &Training) -> Result<(), TrainError> {
        training.averaged().save(&self.best_model())?;
        fs_err::copy(self.recipe_path(), self.best_model().join("recipe.toml"))?;
        Ok(())
    }

    /// Writes the model of a finished run if it is not there, and returns whether it was written.
    /// An unfinished run writes it with its next checkpoint.
    pub fn restore_model(&self, training: &Training) -> Result<bool, TrainError> {
        let is_finished = training.progress.step >= training.recipe.run.steps;
        let is_lost = is_finished && !self.model().join("model.safetensors").exists();
        if is_lost {
            self.save_model(training)?;
        }
        Ok(is_lost)
    }

    fn save_model(&self, training: &Training) -> Result<(), TrainError> {
        training.averaged().save(&self.model())?;
        self.save_averages(training)?;
        let recipe = fs_err::read(self.recipe_path())?;
        write_atomic(&self.model().join("recipe.toml"), &recipe)?;
        manifest::sync_folder(&self.model())
    }

    fn put_in_place(&self, scratch: &Path, target: &Path) -> Result<(), TrainError> {
        if target.exists() {
            fs_err::remove_dir_all(target)?; // a broken one that was skipped
        }
        fs_err::rename(scratch, target)?;
        manifest::sync_folder(&self.checkpoints())
    }

    fn checkpoint(&self, step: u64) -> PathBuf {
        self.checkpoints().join(format!("step-{step:09}"))
    }

    fn unfinished(&self, step: u64) -> PathBuf {
        self.checkpoints().join(format!(".step-{step:09}.{UNFINISHED}"))
    }

    /// Resumes from the newest complete checkpoint. The second value is a sentence for each
    /// checkpoint that was skipped, with the reason, for one without checksums that was taken as it
    /// is, and for every difference in recipe and data since the checkpoint.
    ///
    /// What is wrong with the recipe or its data is told before any checkpoint is read. A recipe
    /// that does not fit the checkpoint is refused by the field.
    pub fn resume(
        &self,
        recipe: Recipe,
        device: &Device,
    ) -> Result<(Training, Vec<String>), TrainError> {
        recipe.validate()?;
        let recipe = recipe.with_precision_of(device);
        check_device(&recipe, device)?;
        let data = Arc::new(DataSet::open(&recipe.data, recipe.image)?);
        self.resume_with(&recipe, &data, device)
    }

    /// Resumes with an open data set, such as one of a source of one's own; `recipe.data` is not
    /// read.
    pub fn resume_with(
        &self,
        recipe: &Recipe,
        data: &Arc<DataSet>,
        device: &Device,
    ) -> Result<(Training, Vec<String>), TrainError> {
        let recipe = &recipe.clone().with_precision_of(device);
        let mut notes = vec![];
        for found in self.list()?.into_iter().rev() {
            match self.resume_from(found, recipe, data, device) {
                Ok((training, more)) => {
                    notes.extend(more);
                    return Ok((training, notes));
                }
                // No other checkpoint would do better.
                Err(
                    why @ (TrainError::Recipe(_)
                    | TrainError::Changed { .. }
                    | TrainError::Threads { .. }),
                ) => return Err(why),
                Err(why) => {
                    let why = told(&why);
                    notes.push(format!("skipped a checkpoint that is not whole: {why}"));
                }
            }
        }
        let skipped = notes.iter().map(|note| format!("; {note}")).collect();
        Err(TrainError::NothingToResume { path: self.path.clone(), skipped })
    }

    /// Resumes from one checkpoint, and returns what is to be said about it.
    fn resume_from(
        &self,
        found: Found,
        recipe: &Recipe,
        data: &Arc<DataSet>,
        device: &Device,
    ) -> Result<(Training, Vec<String>), TrainError> {
        let Found { step, path } = found;
        let mut notes = vec![];
        if manifest::check(&path)? == Manifest::Absent {
            notes.push(format!("`{}` has no checksums and is taken as it is", path.display()));
        }
        notes.extend(changes::since(step, &path, recipe, &self.recipe_path())?);
        let training = parts::read(&path, recipe.clone(), data.clone(), device)?;
        let saw = training.progress.data;
        notes.extend(saw.and_then(|saw| saw.changed(&Seen::of(data))));
        notes.extend(instructions::changed(
            training.progress.instructions,
            instructions::of(device),
        ));
        Ok((training, notes))
    }

    /// Lists the checkpoints that have a final name, oldest first.
    fn list(&self) -> Result<Vec<Found>, TrainError> {
        let mut found = vec![];
        for entry in fs_err::read_dir(self.checkpoints())? {
            let entry = entry?;
            let name = entry.file_name();
            let step = name
                .to_str()
                .and_then(|name| name.strip_prefix("step-"))
                .and_then(|step| step.parse().ok());
            found.extend(step.map(|step| Found { step, path: entry.path() }));
        }
        found.sort();
        Ok(found)
    }
}

/// A checkpoint in a run folder.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    step: u64,
    path: PathBuf,
}

/// Writes an error with its causes.
fn told(why: &TrainError) -> String {
    let mut told = why.to_string();
    for cause in std::iter::successors(why.source(), |why| (*why).source()) {
        let cause = cause.to_string();
        if !told.contains(&cause) {
            told += &format!(": {cause}");
        }
    }
    told
}

fn read_recipe(path: &Path) -> Result<Recipe, TrainError> {
    let text = fs_err::read_to_string(path)?;
    Recipe::from_toml(&text)
        .map_err(|why| TrainError::RecipeFile { path: path.to_owned(), source: Box::new(why) })
}

/// Reads the recipe that a model folder or its run folder carries, if there is one.
pub fn recipe_beside(model: &Path) -> Result<Option<Recipe>, TrainError> {
    let path = model.join("recipe.toml");
    if !path.exists() {
        return Ok(None);
    }
    Ok(Some(read_recipe(&path)?))
}

/// Checks that a model folder is readable, without its weights.
pub fn is_model_folder(path: &Path) -> bool {
    folder::load_config(path).is_ok()
}

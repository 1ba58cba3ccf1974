//! What can go wrong in a recipe or a run.

use std::path::{Path, PathBuf};

use mm_data::DataError;

/// A recipe that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// The text is not a recipe; the message shows the line.
    #[error("{}", .0.to_string().trim_end())]
    Toml(Box<toml::de::Error>),
    /// A key or a word has another name now.
    #[error("`{key}` is now `{is}`")]
    Renamed {
        /// The dotted path, with the value if that is what changed.
        key: String,
        /// What took its place.
        is: String,
    },
    /// A key of the file is unknown or missing, or its value is of the wrong type.
    #[error("{}`{key}`{why}", in_line(*line))]
    Key {
        /// The dotted path.
        key: String,
        /// The line of the file, counted from 1.
        line: Option<usize>,
        /// The end of the message: what is wrong.
        why: String,
    },
    /// Several things are wrong.
    #[error("{} errors:{}", .0.len(), lines(.0))]
    Many(Vec<RecipeError>),
    /// `--set` names a key that the recipe does not have.
    #[error("the recipe has no key `{key}`{guess}")]
    NoKey {
        /// The dotted path.
        key: String,
        /// The end of the message, which proposes a key that is like it; empty if none is.
        guess: String,
    },
    /// `--set` gives a value of the wrong type.
    #[error("`{key}`: {why}")]
    Value {
        /// The dotted path.
        key: String,
        /// The words of the parser.
        why: String,
    },
    /// A value is out of range, or does not go with another.
    #[error("`{field}` is {found}, wanted {wanted}")]
    Field {
        /// The dotted path.
        field: &'static str,
        /// The value.
        found: String,
        /// The values that are allowed.
        wanted: &'static str,
    },
    /// The table `[data]` is wrong.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The table `[model]` is wrong.
    #[error("in `model`: {0}")]
    Model(#[from] mm_model::ConfigError),
    /// A noise or sampling setting is wrong.
    #[error(transparent)]
    Diffusion(mm_diffusion::DiffusionError),
    /// Any of these, in a file.
    #[error("in `{path}`: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<RecipeError>,
    },
}

/// Begins a message with the line of the file.
fn in_line(line: Option<usize>) -> String {
    line.map_or(String::new(), |line| format!("line {line}: "))
}

/// Puts every error on a line of its own.
fn lines(errors: &[RecipeError]) -> String {
    errors.iter().map(|why| format!("\n  {why}")).collect()
}

impl RecipeError {
    /// Makes one error of several; nothing if there are none.
    pub(crate) fn of(mut errors: Vec<RecipeError>) -> Option<Self> {
        match errors.len() {
            0 | 1 => errors.pop(),
            _ => Some(Self::Many(errors)),
        }
    }

    /// Adds the name of the file that holds the recipe.
    pub fn in_file(self, path: &Path) -> Self {
        Self::File { path: path.to_owned(), source: Box::new(self) }
    }
}

/// A run that cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The recipe is wrong.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The recipe in a run folder or beside a model is wrong.
    #[error("in `{path}`")]
    RecipeFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<RecipeError>,
    },
    /// The data are wrong.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The tokenizer cannot be made.
    #[error(transparent)]
    Text(#[from] mm_text::TextError),
    /// An image or a caption does not fit the model.
    #[error(transparent)]
    Document(#[from] mm_model::DocumentError),
    /// A measurement cannot be taken.
    #[error(transparent)]
    Eval(#[from] mm_eval::EvalError),
    /// Samples cannot be drawn.
    #[error(transparent)]
    Generate(#[from] mm_model::GenerateError),
    /// The model's folder cannot be written or read.
    #[error(transparent)]
    Checkpoint(#[from] mm_model::FolderError),
    /// The file system said no; the message names the path.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A checkpoint of the trainer cannot be read or written.
    #[error("`{path}`: {why}")]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The system gives no threads for the micro-batches of a batch.
    #[error("cannot start {count} threads, one for each of `run.micro_batches`: {why}")]
    Threads {
        /// The number that was wanted.
        count: usize,
        /// What the system said.
        why: String,
    },
    /// There are more ranks than documents in a step, or no such rank.
    #[error(
        "rank {rank} of {ranks}, wanted a rank below their number, and at most `run.batch` = \
         {batch} of them"
    )]
    Ranks {
        /// The rank.
        rank: usize,
        /// The number of ranks.
        ranks: usize,
        /// The number of documents in a step.
        batch: usize,
    },
    /// `--resume` found nothing to resume.
    #[error("`{path}` holds no whole checkpoint{skipped}")]
    NothingToResume {
        /// The run folder.
        path: PathBuf,
        /// What was found and why it cannot be used.
        skipped: String,
    },
    /// The run folder is already in use.
    #[error("`{path}` exists already and holds {what}")]
    RunExists {
        /// The run folder.
        path: PathBuf,
        /// What of a run is in it.
        what: &'static str,
    },
    /// A run has a model and no checkpoint to go on from.
    #[error("`{path}` has a trained model and no checkpoint, which `--resume` needs")]
    NoCheckpoint {
        /// The run folder.
        path: PathBuf,
    },
    /// A model to start from has a weight that is not finite.
    #[error("the weight `{name}` of the model to start from is not finite")]
    BrokenStart {
        /// The weight.
        name: String,
    },
    /// Another process trains in the run folder.
    #[error("another process is training in `{path}`")]
    Busy {
        /// The run folder.
        path: PathBuf,
    },
    /// A model to start from is of another kind than the recipe's.
    #[error(
        "the model does not fit the recipe: `{field}` is {found} in the model, {wanted} in the \
         recipe"
    )]
    Misfit {
        /// Where they differ first.
        field: String,
        /// The value of the model.
        found: String,
        /// The value of the recipe.
        wanted: String,
    },
    /// The recipe of a run was changed in what its checkpoints depend on.
    #[error("`{path}`: `{field}` is {found}, wanted {wanted} as in the checkpoint of step {step}")]
    Changed {
        /// The recipe.
        path: PathBuf,
        /// Where they differ first.
        field: String,
        /// What the recipe has.
        found: String,
        /// What the checkpoint was made with.
        wanted: String,
        /// The step of the checkpoint.
        step: u64,
    },
    /// Too many steps in a row gave no usable gradient.
    #[error(
        "{steps} steps in a row had a loss or gradient that is not finite, the last at step {step}"
    )]
    NotFinite {
        /// The number of steps.
        steps: u64,
        /// The last of them.
        step: u64,
    },
    /// A weight is not finite, which no later step mends.
    #[error(
        "after step {step} the weights are not finite, `{name}` among them; step {changed} was the \
         last that changed them"
    )]
    Diverged {
        /// The step.
        step: u64,
        /// The last that was not skipped.
        changed: u64,
        /// The first of these weights, by name.
        name: String,
    },
    /// Several processes were started and the program was built without MPI.
    #[error("{launched} processes were started, this program was built without MPI")]
    NoMpi {
        /// The number of processes.
        launched: usize,
    },
    /// MPI connects fewer processes than were started.
    #[error("{launched} processes were started, MPI connects {connected} of them")]
    MpiSize {
        /// The number of processes that the launcher started.
        launched: usize,
        /// The number of processes that MPI connects.
        connected: usize,
    },
    /// MPI can be started once in a process.
    #[error("MPI was started twice")]
    MpiTwice,
    /// Processes that should be the same are not.
    #[error("rank {rank} has {what} {found}, rank 0 has {first}")]
    RanksDiffer {
        /// What differs.
        what: &'static str,
        /// Which process.
        rank: usize,
        /// What it has.
        found: f64,
        /// What rank 0 has.
        first: f64,
    },
    /// Too many steps in a row had a loss far above the latest ones.
    #[error(
        "{steps} steps in a row had a loss that is not finite or above {factor} times the latest \
         (`run.spike`), the last at step {step}"
    )]
    Spikes {
        /// The number of steps.
        steps: u64,
        /// The last of them.
        step: u64,
        /// What the recipe allows.
        factor: f64,
    },
    /// The device does not calculate in the type that the recipe asks for.
    #[error(
        "`{device}` does not calculate in {wanted}, which `run.precision` asks for, but in {has}"
    )]
    Precision {
        /// The device, as it names itself.
        device: String,
        /// The type.
        wanted: &'static str,
        /// The types that it calculates in.
        has: String,
    },
    /// The device has no memory for a step.
    #[error(
        "the device has no memory for step {step}, `run.batch` = {batch} in `run.micro_batches` = \
         {micro_batches} ({wanted}){fits}"
    )]
    Memory {
        /// The step.
        step: u64,
        /// The allocation that failed, in the backend's words.
        wanted: String,
        /// The number of documents in a step.
        batch: usize,
        /// The number of micro-batches that are computed at once.
        micro_batches: usize,
        /// The end of the message: settings with which a step would fit, if any are known.
        fits: String,
    },
    /// The device was lost in a step.
    #[error("the device was lost in step {step} ({words}); earlier checkpoints are kept")]
    DeviceLost {
        /// The step.
        step: u64,
        /// What happened, in the backend's words.
        words: String,
    },
    /// The machine has less memory than the run would take.
    #[error(
        "{what} about {needed:.1} GB of memory and {free:.1} GB are free, with `run.batch` = \
         {batch} in `run.micro_batches` = {micro_batches}{fits}"
    )]
    NoRoom {
        /// What takes it, with its verb.
        what: &'static str,
        /// The memory that is needed, in GB.
        needed: f64,
        /// The memory that is free, in GB.
        free: f64,
        /// The number of documents in a step.
        batch: usize,
        /// The number of micro-batches that are computed at once.
        micro_batches: usize,
        /// The end of the message: settings with which a step would fit, if any are known.
        fits: String,
    },
    /// A recipe gives documents without anything to learn.
    #[error("step {step} has nothing to learn: no text and no image is a target")]
    NothingToLearn {
        /// The step.
        step: u64,
    },
}

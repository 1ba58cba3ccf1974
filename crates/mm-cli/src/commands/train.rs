//! `mm train`: starts or resumes a run, shows it, and says what to do next.

mod dashboard;
mod devices;
mod hints;
mod screen;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use burn::prelude::Device;
use clap::{Parser, ValueEnum};
use mm_data::DataConfig;
use mm_model::TimeConfig;
use mm_train::{
    Ending, MpiGroup, ProcessGroup, Recipe, RunFolder, TrainEvent, Training, memory, steps_in,
    train,
};

use super::report::tensorboard::Board;
use crate::device::DeviceArg;
use crate::model::load;
use crate::recipes;
use crate::terminal::{Failure, failed, quoted, tell, usage};
use hints::explain;
use screen::Screen;

#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  mm train glyphs
  mm train glyphs --out runs/quick --minutes 5 --set optimizer.lr=0.001
  mm train my-images.toml --out runs/mine --device wgpu --max-bad 5%
  mm train my-images.toml --out runs/mine --devices cuda:0,cuda:1
  mm train --out runs/glyphs --resume
  mm train mine.toml --init runs/glyphs/model --out runs/mine --set optimizer.lora.rank=8")]
pub struct TrainArgs {
    /// Name of a recipe (`mm data recipes` lists them), or a TOML file; not with --resume.
    #[arg(required_unless_present = "resume")]
    recipe: Option<String>,
    /// Run folder, which will hold metrics, samples, checkpoints and the model [default: runs/NAME
    /// for the recipe NAME].
    #[arg(long, value_name = "DIR", required_if_eq("resume", "true"))]
    out: Option<PathBuf>,
    /// Number of optimizer steps, instead of the recipe's.
    #[arg(long, value_name = "N", conflicts_with_all = ["minutes", "resume"])]
    steps: Option<u64>,
    /// Train for about this many minutes; the speed is measured first.
    #[arg(long, value_name = "M", conflicts_with = "resume")]
    minutes: Option<f64>,
    #[command(flatten)]
    device: DeviceArg,
    /// Devices of this machine that train together, separated by commas, such as cuda:0,cuda:1.
    #[arg(long, value_name = "D,D", value_delimiter = ',', conflicts_with = "device")]
    devices: Vec<String>,
    /// How several devices sum their gradients.
    #[arg(long, value_enum, default_value_t, requires = "devices")]
    all_reduce: AllReduce,
    /// Seed of all random values, instead of the recipe's.
    #[arg(long, value_name = "S", conflicts_with = "resume")]
    seed: Option<u64>,
    /// Continue from the newest complete checkpoint of the run folder.
    #[arg(long, conflicts_with = "set")]
    resume: bool,
    /// Also write TensorBoard event files, to the folder `tensorboard` of the run folder.
    #[arg(long)]
    tensorboard: bool,
    /// Show the run in a dashboard (needs the cargo feature `tui`); the key q stops the run, as
    /// Ctrl-C does.
    #[arg(long)]
    tui: bool,
    /// Start from the weights and the tokenizer of a model folder, instead of new ones.
    #[arg(long, value_name = "MODEL", conflicts_with = "resume")]
    init: Option<PathBuf>,
    /// Share of the records that may be bad, such as 1% or 0.01, instead of the recipe's
    /// `data.max_bad`.
    #[arg(long, value_name = "SHARE", value_parser = share, conflicts_with = "resume")]
    max_bad: Option<f64>,
    /// Keep only the input of each block for the backward pass, and compute the block again; this
    /// needs less memory and more time.
    #[arg(long, conflicts_with = "resume")]
    activation_checkpointing: bool,
    /// Replace one value of the recipe, such as optimizer.lr=0.001; can be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl TrainArgs {
    /// Returns the run folder: that of the command line, or one below `runs` that is named as the
    /// recipe.
    fn out(&self) -> PathBuf {
        match (&self.out, &self.recipe) {
            (Some(out), _) => out.clone(),
            (None, recipe) => {
                let recipe = Path::new(recipe.as_deref().unwrap_or_default());
                Path::new("runs").join(recipe.file_stem().unwrap_or_default())
            }
        }
    }
}

/// How several devices sum their gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum AllReduce {
    /// Use NCCL where that is possible, else host memory.
    #[default]
    Auto,
    /// Use NVIDIA's library NCCL, which sends from card to card.
    Nccl,
    /// Sum in host memory, in the order of the devices.
    Host,
}

pub fn run(args: &TrainArgs) -> Result<(), Failure> {
    if !args.devices.is_empty() {
        return devices::run(args);
    }
    let device = args.device.open()?; // before MPI, which starts threads
    let group = MpiGroup::open().map_err(explain)?;
    let speaks = group.ranks.writes() && !args.tui;
    let done = run_rank(args, &device, &group.ranks, || stop_flag(speaks));
    end(&group, done)
}

/// Passes on how this process ended. A failure of one of several is said, and ends the others too.
fn end(group: &MpiGroup, done: Result<(), Failure>) -> Result<(), Failure> {
    match done {
        Err(failure) if group.ranks.count > 1 => {
            if !group.ranks.writes() {
                // What all have in common is said once: rank 0 ends this process before it speaks.
                std::thread::sleep(Duration::from_secs(1));
                tell!("on rank {}:", group.ranks.rank);
            }
            failure.print();
            group.abort(failure.code())
        }
        done => done,
    }
}

/// Runs one rank; the first rank prints and writes for all. `stop` makes the flag that is set when
/// this rank is asked to stop. All ranks then stop after the same step.
fn run_rank(
    args: &TrainArgs,
    device: &Device,
    ranks: &ProcessGroup,
    stop: impl FnOnce() -> Result<Arc<AtomicBool>, Failure>,
) -> Result<(), Failure> {
    if args.tui && ranks.writes() {
        dashboard::check()?;
    }
    let (folder, mut training) =
        if args.resume { resume(args, device, ranks)? } else { start(args, device, ranks)? };
    training.join(ranks.clone()).map_err(explain)?;
    let stop = stop()?;
    if !ranks.writes() {
        let quiet = &mut |_: TrainEvent<'_>| !stop.load(Ordering::Relaxed);
        return train(&mut training, &folder, quiet).map(|_| ()).map_err(explain);
    }
    introduce(&training, &folder, ranks);
    let mut board = if args.tensorboard {
        Some(Board::create(&folder.path().join("tensorboard"), folder.metrics())?)
    } else {
        None
    };
    tell!("preparing the first batch and step ...");
    let mut screen = if args.tui { Screen::dashboard(&training) } else { Screen::bar(&training) };
    let mut step = training.progress.step;
    let mut samples: Option<PathBuf> = None;
    let ending = train(&mut training, &folder, &mut |event| {
        screen.show(&event);
        match &event {
            TrainEvent::Step { report, .. } => step = report.step,
            TrainEvent::Samples(path) => samples = Some((*path).to_owned()),
            _ => {}
        }
        let written = board.as_mut().map(|board| match &event {
            TrainEvent::Samples(path) => board.follow().and_then(|()| board.samples(step, path)),
            TrainEvent::RolledBack(_) => board.roll_back(),
            _ => board.follow(),
        });
        if let Some(Err(why)) = written {
            screen.say(format!("warning: no more TensorBoard events are written: {why}"));
            board = None;
        }
        !(stop.load(Ordering::Relaxed) || screen.asks_to_stop())
    });
    screen.close();
    let ending = ending.map_err(explain)?;
    if let Some(Err(why)) = board.map(|mut board| board.follow()) {
        tell!("warning: the last TensorBoard events are not written: {why}");
    }
    conclude(&training, &folder, ending, samples);
    Ok(())
}

fn start(
    args: &TrainArgs,
    device: &Device,
    ranks: &ProcessGroup,
) -> Result<(RunFolder, Training), Failure> {
    let name = args.recipe.as_deref().expect("clap asks for it");
    let mut recipe = recipes::find_with(name, &args.set)?;
    if let Some(share) = args.max_bad {
        recipe = recipes::with_max_bad(recipe, share)?;
    }
    // The recipe that the run keeps is read from any working folder.
    let here = std::path::absolute(".")?;
    recipe.data = recipe.data.within(&here);
    recipe.codec = recipe.codec.map(|codec| here.join(codec));
    recipe.seed = args.seed.unwrap_or(recipe.seed);
    recipe.run.steps = args.steps.unwrap_or(recipe.run.steps);
    recipe.run.activation_checkpointing |= args.activation_checkpointing;
    if let Some(minutes) = args.minutes {
        if !(minutes.is_finite() && minutes > 0.0) {
            return Err(usage!("`--minutes {minutes}` must be above 0"));
        }
        if ranks.count > 1 {
            let why = usage!("`--minutes` measures one process and {} were started", ranks.count);
            return Err(why.hint("give `--steps`"));
        }
        tell!("measuring the speed of this machine ...");
        recipe.run.steps = steps_in(&recipe, device, minutes * 60.0).map_err(explain)?;
    }
    recipe.validate().map_err(Failure::usage)?;
    check_batch(args, recipe.run.batch, ranks)?;
    tell_preparing(ranks);
    let training = match &args.init {
        Some(model) => Training::from_model(recipe, &load(model, device)?, device),
        None if recipe.model.network.vit().is_some_and(|vit| vit.factor() > 1) => {
            let why = usage!("a DiT of latents needs the autoencoder that it was trained with");
            return Err(why.hint("give `--init` the folder that `mm import hf` wrote"));
        }
        None => Training::start(recipe, device),
    };
    let training = training.map_err(explain)?;
    memory::check(&training, ranks.count).map_err(explain)?; // before there is a run folder
    let folder = if !ranks.writes() {
        RunFolder::of_other_rank(&args.out())
    } else if args.init.is_some() {
        RunFolder::create_from(&args.out(), &training).map_err(explain)?
    } else {
        RunFolder::create(&args.out(), &training.recipe).map_err(explain)?
    };
    Ok((folder, training))
}

fn tell_preparing(ranks: &ProcessGroup) {
    if ranks.writes() {
        tell!("preparing: listing the data, making the tokenizer and the weights ...");
    }
}

/// Fails if there are more ranks than documents in a batch; `--devices` names the ranks, or a
/// launcher has started them.
fn check_batch(args: &TrainArgs, batch: usize, ranks: &ProcessGroup) -> Result<(), Failure> {
    let count = ranks.count;
    if count <= batch {
        return Ok(());
    }
    if args.devices.is_empty() {
        let why = usage!("{count} ranks cannot share a batch of {batch} documents");
        return Err(why.hint("start fewer, or raise `run.batch`"));
    }
    let why = usage!("`--devices` names {count}, which cannot share a batch of {batch} documents");
    Err(why.hint("name fewer, or raise `run.batch`"))
}

fn resume(
    args: &TrainArgs,
    device: &Device,
    ranks: &ProcessGroup,
) -> Result<(RunFolder, Training), Failure> {
    if args.recipe.is_some() {
        return Err(usage!("`--resume` uses the recipe in the run folder").hint("give no recipe"));
    }
    let out = args.out();
    if out.join("config.json").is_file() {
        let above = out.parent().filter(|above| !above.as_os_str().is_empty());
        let above = above.unwrap_or(Path::new(".")).display();
        let why = usage!("`{}` is a model folder, wanted the folder of its run", out.display());
        return Err(why.hint(format!("which may be `{above}`")));
    }
    if !out.join("recipe.toml").is_file() {
        let out = out.display();
        return Err(failed!("`{out}` is not a run folder: it has no `recipe.toml`"));
    }
    let opened =
        if ranks.writes() { RunFolder::open(&args.out()) } else { RunFolder::look(&args.out()) };
    let (folder, recipe) = opened.map_err(explain)?;
    check_batch(args, recipe.run.batch, ranks)?;
    tell_preparing(ranks);
    let say = |note: &str| {
        if ranks.writes() {
            tell!("{note}");
        }
    };
    if folder.is_untrained().map_err(explain)? {
        say("there is no checkpoint yet, so the run begins with its first step");
        return Ok((folder, Training::start(recipe, device).map_err(explain)?));
    }
    let (training, notes) = folder.resume(recipe, device).map_err(explain)?;
    notes.iter().for_each(|note| say(note));
    if ranks.writes() && folder.restore_model(&training).map_err(explain)? {
        say(&format!("{} was not there: written anew", folder.model().display()));
    }
    Ok((folder, training))
}

/// Returns the flag that the first Ctrl-C or SIGTERM sets, which is answered if this process
/// `speaks`. The second one ends the program at once.
fn stop_flag(speaks: bool) -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        if speaks {
            tell!("\nstopping after this step; press Ctrl-C again to end without saving");
        }
    })?;
    Ok(stop)
}

fn introduce(training: &Training, folder: &RunFolder, ranks: &ProcessGroup) {
    let (recipe, progress) = (&training.recipe, &training.progress);
    if progress.step >= recipe.run.steps {
        let folder = folder.path().display();
        tell!(
            "the run in {folder} is finished: all {} steps are done. To train on, raise `run.steps` \
             in {folder}/recipe.toml and resume again",
            recipe.run.steps
        );
        return;
    }
    tell!(
        "training {} parameters, images of {}x{} in patches of {}, {} token ids",
        training.parameters(),
        recipe.image.width,
        recipe.image.height,
        recipe.image.patch,
        training.config.vocab
    );
    tell!(
        "steps {} to {}, {} documents each; the run folder is {}",
        progress.step + 1,
        recipe.run.steps,
        recipe.run.batch,
        folder.path().display()
    );
    if ranks.count > 1 {
        let bytes = training.gradient_bytes() as f64;
        let sent = 2.0 * (1.0 - 1.0 / ranks.count as f64) * bytes; // in a ring, which is the least
        tell!(
            "{} ranks; every step sums {:.2} MB of gradients, for which each rank sends and receives {:.2} MB or \
             more",
            ranks.count,
            bytes / 1e6,
            sent / 1e6
        );
    }
}

fn conclude(training: &Training, folder: &RunFolder, ending: Ending, samples: Option<PathBuf>) {
    let progress = training.progress;
    let seconds = progress.milliseconds / 1000;
    let (minutes, seconds) = (seconds / 60, seconds % 60);
    tell!(
        "{} after {} steps and {} images, {minutes} min {seconds:02} s; {} steps skipped",
        match ending {
            Ending::Complete => "done",
            Ending::Stopped => "stopped",
            Ending::EarlyStopped => "stopped early, without progress on held-out documents,",
        },
        progress.step,
        progress.images,
        progress.skipped
    );
    let left_out = training.data.skipped();
    for skipped in left_out.iter().take(5) {
        tell!("left out {}: {}", skipped.path.display(), skipped.why);
    }
    if left_out.len() > 5 {
        tell!("and {} more left out; `mm data check` names them", left_out.len() - 5);
    }
    if let Some(samples) = samples {
        tell!("newest samples: {}", samples.display());
    }
    if let Some(best) = progress.early_stopping.best().filter(|_| folder.best_model().is_dir()) {
        tell!("best model: {}, of step {}", folder.best_model().display(), best.step);
    }
    match ending {
        Ending::Stopped => {
            tell!("continue with: mm train --out {} --resume", quoted(folder.path()));
        }
        Ending::Complete | Ending::EarlyStopped => propose(training, &folder.model()),
    }
}

/// Says what can be done with a model that is trained.
fn propose(training: &Training, model: &Path) {
    let (recipe, model) = (&training.recipe, quoted(model));
    if let Some(codec) = recipe.model.network.codec() {
        let file = if codec.codes().is_some() { "codes.json" } else { "latents.safetensors" };
        tell!("try: mm codec measure {model} --out sheet.png");
        tell!("     mm codec encode {model} IMAGE --out {file}");
    } else if training.config.time == TimeConfig::None {
        tell!("try: mm read {model} IMAGE"); // a network without time draws nothing
    } else if matches!(recipe.data, DataConfig::Words(_)) {
        tell!("try: mm eval {model} --task words");
        tell!("     mm draw {model} \"SEED 42\" --out drawn.png --zoom 4");
    } else if recipe.vocab == 0 {
        tell!("try: mm sample {model} --out drawn.png --zoom 4");
    } else if training.progress.images == 0 {
        tell!("try: mm generate {model} --text \"the beginning of a text\"");
    } else if matches!(recipe.data, DataConfig::Dialogue(_)) {
        tell!("try: mm generate {model} --chat --text \"draw red K on yellow\"");
        tell!("     mm generate {model} --chat --image image-1.png --text \"make it blue\"");
    } else {
        let caption = example_caption(recipe);
        tell!("try: mm draw {model} \"{caption}\" --out drawn.png --zoom 8");
        tell!("     mm read {model} drawn.png");
    }
}

/// Returns a caption that fits the data of the recipe.
fn example_caption(recipe: &Recipe) -> &'static str {
    match recipe.data {
        DataConfig::Glyphs(_) => "red K on yellow",
        DataConfig::Emoji(_) => "red apple",
        DataConfig::Words(_) => "HELLO 42",
        _ => "a caption of your data",
    }
}

/// Parses a share such as `0.01` or `1%`.
fn share(text: &str) -> Result<f64, String> {
    let number = |text: &str| text.trim_end().parse::<f64>().ok();
    let share = match text.strip_suffix('%') {
        Some(percent) => number(percent).map(|percent| percent / 100.0),
        None => number(text),
    };
    let share = share.filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "wanted 0 to 1 such as 0.01, or 0% to 100% such as 1%".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<TrainArgs, String> {
        let args = ["train", "glyphs", "--out", "x"].into_iter().chain(args.iter().copied());
        TrainArgs::try_parse_from(args).map_err(|why| why.to_string())
    }

    #[test]
    fn a_run_without_a_folder_of_its_own_is_in_runs_under_the_name_of_the_recipe() {
        let out = |args: &[&str]| {
            let args = TrainArgs::try_parse_from([&["train"], args].concat());
            args.map(|args| args.out()).map_err(|why| why.to_string())
        };
        assert_eq!(out(&["glyphs"]), Ok(PathBuf::from("runs/glyphs")));
        assert_eq!(out(&["recipes/mine.toml"]), Ok(PathBuf::from("runs/mine")));
        assert_eq!(out(&["glyphs", "--out", "x"]), Ok(PathBuf::from("x")));
        assert!(out(&["--resume"]).unwrap_err().contains("--out"));
    }

    #[test]
    fn what_may_be_broken_is_a_share_or_a_percentage() {
        for (text, wanted) in [
            ("0", 0.0),
            ("0.01", 0.01),
            ("1", 1.0),
            ("1%", 0.01),
            ("2.5 %", 0.025),
            ("0%", 0.0),
            ("100%", 1.0),
        ] {
            assert_eq!(parsed(&["--max-bad", text]).unwrap().max_bad, Some(wanted), "{text}");
        }
        assert_eq!(parsed(&[]).unwrap().max_bad, None);
    }

    #[test]
    fn a_wrong_share_is_refused_with_the_flag_what_was_found_and_what_was_wanted() {
        for text in ["1.5", "101%", "-1", "-1%", "nan", "inf", "one", "%", "1%%"] {
            let said = parsed(&[&format!("--max-bad={text}")]).unwrap_err();
            let found = format!("'{text}'");
            for part in [found.as_str(), "--max-bad", "0 to 1 such as 0.01", "1%"] {
                assert!(said.contains(part), "`{part}` in: {said}");
            }
        }
    }
}

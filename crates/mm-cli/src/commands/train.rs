//! `mm train`: opens or resumes a run, shows it, says what to do next.

mod dashboard;
mod devices;
mod screen;
mod tensorboard;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::prelude::Device;
use mm_data::{DataConfig, DataError};
use mm_model::LoadedModel;
use mm_train::{
    Ending, Happening, ProcessGroup, Recipe, RunFolder, TrainError, Training, memory, steps_in,
    train,
};

use crate::args::TrainArgs;
use crate::ranks::Group;
use crate::report::{Failure, tell, usage};
use crate::{device, recipes};
use screen::Screen;
use tensorboard::Board;

pub fn run(args: &TrainArgs) -> Result<(), Failure> {
    if !args.devices.is_empty() {
        return devices::run(args);
    }
    let device = device::open(&args.device)?; // before MPI, which starts threads
    let group = Group::open()?;
    let speaks = group.ranks.writes() && !args.tui;
    let done = run_as(args, &device, &group.ranks, || stop_flag(speaks));
    group.end(done)
}

/// The run of one rank; the first speaks and writes for all. `stop` gives what is set when this rank is asked to stop, which all
/// ranks then do after the same step.
fn run_as(
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
        let quiet = &mut |_: Happening<'_>| !stop.load(Ordering::Relaxed);
        return train(&mut training, &folder, quiet).map(|_| ()).map_err(explain);
    }
    introduce(&training, &folder, ranks);
    let mut board = match args.tensorboard {
        true => Some(Board::create(&folder.path().join("tensorboard"))?),
        false => None,
    };
    let mut screen = match args.tui {
        true => Screen::dashboard(&training),
        false => Screen::bar(&training),
    };
    let mut step = training.progress.step;
    let mut picture: Option<PathBuf> = None;
    let ending = train(&mut training, &folder, &mut |happening| {
        screen.show(&happening);
        if let Happening::Step { report, .. } = happening {
            step = report.step;
        }
        if let Some(Err(why)) = board.as_mut().map(|board| board.note(step, &happening)) {
            screen.say(format!("no more TensorBoard events: {why}"));
            board = None;
        }
        if let Happening::Samples(path) = happening {
            picture = Some(path.to_owned());
        }
        !(stop.load(Ordering::Relaxed) || screen.asks_to_stop())
    });
    screen.close();
    let ending = ending.map_err(explain)?;
    conclude(&training, &folder, ending, picture);
    Ok(())
}

fn start(
    args: &TrainArgs,
    device: &Device,
    ranks: &ProcessGroup,
) -> Result<(RunFolder, Training), Failure> {
    let name = args.recipe.as_deref().expect("clap asks for it");
    let mut recipe = recipes::with_settings(recipes::find(name)?, &args.set)?;
    if let Some(share) = args.max_bad {
        recipe = recipes::with_max_bad(recipe, share)?;
    }
    recipe.seed = args.seed.unwrap_or(recipe.seed);
    recipe.run.steps = args.steps.unwrap_or(recipe.run.steps);
    recipe.run.recompute |= args.recompute;
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
    shared(args, recipe.run.batch, ranks)?;
    let training = match &args.init {
        Some(model) => Training::from_model(recipe, &LoadedModel::load(model, device)?, device),
        None => Training::start(recipe, device),
    };
    let training = training.map_err(explain)?;
    memory::check(&training, ranks.count).map_err(explain)?; // before there is a run folder
    let folder = match (ranks.writes(), &args.init) {
        (true, None) => RunFolder::create(&args.out, &training.recipe).map_err(explain)?,
        (true, Some(_)) => RunFolder::create_from(&args.out, &training).map_err(explain)?,
        (false, _) => RunFolder::of_other_rank(&args.out),
    };
    Ok((folder, training))
}

/// Refuses more ranks than there are documents in a step; `--devices` named them, or a launcher started them.
fn shared(args: &TrainArgs, batch: usize, ranks: &ProcessGroup) -> Result<(), Failure> {
    let count = ranks.count;
    if count <= batch {
        return Ok(());
    }
    let (who, few) = match args.devices.is_empty() {
        true => (format!("{count} ranks"), "start"),
        false => (format!("`--devices` names {count}, which"), "name"),
    };
    let why = usage!("{who} cannot share a batch of {batch} documents");
    Err(why.hint(format!("{few} fewer, or raise `run.batch`")))
}

fn resume(
    args: &TrainArgs,
    device: &Device,
    ranks: &ProcessGroup,
) -> Result<(RunFolder, Training), Failure> {
    if args.recipe.is_some() {
        return Err(
            usage!("--resume takes the recipe from the run folder").hint("leave the recipe out")
        );
    }
    let opened = match ranks.writes() {
        true => RunFolder::open(&args.out),
        false => RunFolder::look(&args.out),
    };
    let (folder, recipe) = opened.map_err(explain)?;
    shared(args, recipe.run.batch, ranks)?;
    let say = |note: &str| {
        if ranks.writes() {
            tell!("{note}");
        }
    };
    if folder.is_untrained().map_err(explain)? {
        say("there is no checkpoint yet: the run begins at its first step");
        return Ok((folder, Training::start(recipe, device).map_err(explain)?));
    }
    let (training, notes) = folder.resume(recipe, device).map_err(explain)?;
    notes.iter().for_each(|note| say(note));
    Ok((folder, training))
}

/// The failure of an error, with what to do about it.
fn explain(error: TrainError) -> Failure {
    let hint = hint(&error);
    let failure = match &error {
        TrainError::Recipe(_)
        | TrainError::RecipeFile { .. }
        | TrainError::RunExists { .. }
        | TrainError::Changed { .. }
        | TrainError::Misfit { .. } => Failure::usage(error),
        _ => Failure::failed(error),
    };
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// What to do about an error.
fn hint(error: &TrainError) -> Option<String> {
    Some(match error {
        TrainError::RunExists { path } => format!(
            "`mm train --out {} --resume` goes on with it; or choose another --out",
            path.display()
        ),
        TrainError::Busy { .. } => {
            "wait until it has ended, or end it: Ctrl-C and SIGTERM save first; or choose another --out".to_owned()
        }
        TrainError::NotFinite { .. } | TrainError::Spikes { .. } | TrainError::Diverged { .. } => {
            "a smaller `optimizer.rate` usually helps; checkpoints written before are kept".to_owned()
        }
        TrainError::Misfit { .. } => {
            "the recipe beside the model (`recipe.toml`) fits it: change its data and optimizer, not its `model` and `image`"
                .to_owned()
        }
        TrainError::Changed { .. } => {
            "set it back to go on with this run; another network, vocabulary or optimizer is another run, which may start at \
             this one's weights by `--init RUN/model` where the network is the same"
                .to_owned()
        }
        TrainError::Precision { .. } => {
            "`mm devices` lists the types of every device; all calculate in f32, which is `run.precision` unless set"
                .to_owned()
        }
        TrainError::Data(DataError::TooManyBad { .. }) => {
            "`mm data check` names all that is broken: mend it, or allow more, a new run by `--max-bad`, one that has begun by \
             `max_bad` in `RUN/recipe.toml`; that then goes on with `mm train --out RUN --resume`"
                .to_owned()
        }
        TrainError::RanksDiffer { what, .. } if what.contains("data") || what.contains("records") => {
            "every host must see the same files under the paths of the recipe".to_owned()
        }
        TrainError::Memory { batch, .. } => format!(
            "lower `run.batch`, as in `--set run.batch={}`, or the size of `image` or `model.backbone`; checkpoints written \
             before are kept",
            (batch / 2).max(1)
        ),
        TrainError::NoRoom { batch, .. } => format!(
            "lower `run.batch`, as in `--set run.batch={}`, compute it in turns, as in `--set run.accumulate=4`, or lower the size \
             of `image` or `model.backbone`; `mm plan` tells what takes how much",
            (batch / 2).max(1)
        ),
        _ => return None,
    })
}

/// Set by the first Ctrl-C or SIGTERM, which is answered if this process `speaks`; the second ends the program at once.
fn stop_flag(speaks: bool) -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        if speaks {
            tell!("\nstopping after this step; once more ends it without saving");
        }
    })?;
    Ok(stop)
}

fn introduce(training: &Training, folder: &RunFolder, ranks: &ProcessGroup) {
    let (recipe, progress) = (&training.recipe, &training.progress);
    tell!(
        "training {} parameters, images of {}x{} in patches of {}, {} token ids",
        training.parameters(),
        recipe.image.width,
        recipe.image.height,
        recipe.image.patch,
        training.config.vocab
    );
    tell!(
        "steps {} to {}, {} documents each; everything goes to {}",
        progress.step + 1,
        recipe.run.steps,
        recipe.run.batch,
        folder.path().display()
    );
    if ranks.count > 1 {
        let bytes = training.bytes_a_step() as f64;
        let sent = 2.0 * (1.0 - 1.0 / ranks.count as f64) * bytes; // what a ring of ranks needs, the least there is
        tell!(
            "{} ranks; every step sums {:.2} MB of gradients over them: each sends and receives {:.2} MB or more",
            ranks.count,
            bytes / 1e6,
            sent / 1e6
        );
    }
}

fn conclude(training: &Training, folder: &RunFolder, ending: Ending, picture: Option<PathBuf>) {
    let progress = training.progress;
    let seconds = progress.milliseconds / 1000;
    let (minutes, seconds) = (seconds / 60, seconds % 60);
    tell!(
        "{} after {} steps and {} images, {minutes} min {seconds:02} s; {} steps skipped",
        match ending {
            Ending::Complete => "done",
            Ending::Stopped => "stopped",
            Ending::Stalled => "ended for want of progress on held-out documents",
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
    if let Some(picture) = picture {
        tell!("newest samples: {}", picture.display());
    }
    if let Some(best) = progress.watch.best().filter(|_| folder.best_model().is_dir()) {
        tell!("best: {}, of step {}", folder.best_model().display(), best.step);
    }
    let model = folder.model();
    let model = model.display();
    match ending {
        Ending::Stopped => {
            tell!("go on with: mm train --out {} --resume", folder.path().display())
        }
        Ending::Complete | Ending::Stalled if training.recipe.vocab == 0 => {
            tell!("try: mm sample {model} --out drawn.png --zoom 4");
        }
        Ending::Complete | Ending::Stalled if progress.images == 0 => {
            tell!("try: mm generate {model} --text \"a beginning like yours\"");
        }
        Ending::Complete | Ending::Stalled => {
            let caption = example_caption(&training.recipe);
            tell!("try: mm draw {model} \"{caption}\" --out drawn.png --zoom 8");
            tell!("     mm read {model} drawn.png");
        }
    }
}

/// A caption that fits the recipe's data.
fn example_caption(recipe: &Recipe) -> &'static str {
    match recipe.data {
        DataConfig::Glyphs(_) => "red K on yellow",
        DataConfig::Emoji(_) => "red apple",
        _ => "a caption like yours",
    }
}

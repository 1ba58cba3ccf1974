//! `mm distill`: a finished model teaches a copy of itself to draw in few steps.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;
use mm_data::Split;
use mm_eval::examples;
use mm_model::folder::write_atomic;
use mm_model::{Document, LoadedModel};
use mm_train::batch::Batches;
use mm_train::checkpoint::recipe_beside;
use mm_train::{Recipe, Training, drawing_distance, with_batches};

use crate::files::{free, within};
use crate::model::{CommonArgs, cannot_generate, load};
use crate::recipes;
use crate::terminal::{Failure, quoted, say, tell, usage};

#[derive(Debug, Parser)]
#[command(
    after_help = "The model must be a transformer that predicts clean images on the linear path, as the
recipes glyphs, dialogue, words-64 and emoji-* train them, and it must not be distilled already. Its
number of steps, sampler and guidance are what the new model learns to draw at once. `--guidance` of
the new model is an input of its network, so that a drawing in two steps takes two passes and not
four. It reads as before. Steps are taken in memory: a run that is stopped has to begin anew.

Example:
  mm distill runs/glyphs/model --steps 2 --out runs/glyphs-2
  mm draw runs/glyphs-2 \"red K on yellow\" --out k.png"
)]
pub struct DistillArgs {
    /// Model folder of the teacher.
    model: PathBuf,
    /// Number of steps in which the new model draws.
    #[arg(long, value_name = "K", default_value_t = 2)]
    steps: usize,
    /// Model folder to write.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Recipe that names the data [default: the one in the model folder].
    #[arg(long, value_name = "RECIPE")]
    recipe: Option<String>,
    /// Number of training steps.
    #[arg(long, value_name = "N", default_value_t = 4000)]
    run_steps: u64,
    /// Replace one value of the recipe, such as optimizer.lr=0.001; can be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Replace a folder that exists.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    common: CommonArgs,
}

/// The most steps that a drawing is distilled to; with more, there is nothing to gain.
const MOST_STEPS: usize = 16;
/// The most training steps.
const MOST_RUN_STEPS: usize = 100_000_000;
/// The number of training steps between two lines of progress.
const TELL_EVERY: u64 = 200;
/// The number of drawings that are compared with the teacher's.
const COMPARED: usize = 64;

pub fn run(args: &DistillArgs) -> Result<(), Failure> {
    free(&args.out, args.force)?;
    if args.out.exists() && fs_err::canonicalize(&args.out)? == fs_err::canonicalize(&args.model)? {
        return Err(usage!("`--out` is the model that is to be distilled, wanted another folder"));
    }
    within("--steps", args.steps, MOST_STEPS)?;
    within("--run-steps", usize::try_from(args.run_steps).unwrap_or(usize::MAX), MOST_RUN_STEPS)?;
    let device = args.common.device.open()?;
    let teacher = load(&args.model, &device)?;
    let recipe = recipe(args)?;
    let mut training = Training::distill(recipe, &teacher, &device)?;
    train(&mut training)?;
    let student = training.averaged();
    student.save(&args.out).map_err(Failure::failed)?;
    let text = toml::to_string(&training.recipe)?;
    write_atomic(&args.out.join("recipe.toml"), text.as_bytes())?;
    compare(args, &training, &student, &teacher)?;
    tell!("try: mm draw {} CAPTION --out drawn.png --zoom 8", quoted(&args.out));
    Ok(())
}

/// Returns the recipe of the distillation: the teacher's, with what was set.
fn recipe(args: &DistillArgs) -> Result<Recipe, Failure> {
    let recipe = match &args.recipe {
        Some(name) => recipes::find(name)?,
        None => recipe_beside(&args.model)?.ok_or_else(|| {
            usage!("the model folder has no recipe.toml")
                .hint("`--recipe RECIPE` names the data, such as `--recipe glyphs`")
        })?,
    };
    let recipe = recipe.distilled(args.steps, args.run_steps).map_err(Failure::usage)?;
    recipes::with_settings(Recipe { seed: args.common.seed, ..recipe }, &args.set)
}

/// Takes all steps, and tells of the loss and of the speed now and then.
fn train(training: &mut Training) -> Result<(), Failure> {
    let recipe = training.recipe.clone();
    let (data, tokenizer) = (training.data.clone(), training.tokenizer.clone());
    let batches = Batches::new(&recipe, &data, &tokenizer).of_model(training.model());
    let start = Instant::now();
    with_batches(batches, 0..recipe.run.steps, |receive| {
        for batch in receive {
            let report = training.step(&batch?)?;
            if report.step.is_multiple_of(TELL_EVERY) || report.step == recipe.run.steps {
                let one = start.elapsed().as_secs_f64() / report.step as f64;
                let (step, of, loss) = (report.step, recipe.run.steps, report.loss);
                tell!("step {step} of {of}: loss {loss:.5}, {one:.3} s a step");
            }
        }
        Ok(())
    })
}

/// Says how near the new drawings are to the teacher's, and how near the teacher itself would be in
/// as few steps.
fn compare(
    args: &DistillArgs,
    training: &Training,
    student: &LoadedModel,
    teacher: &LoadedModel,
) -> Result<(), Failure> {
    let shown = examples(&training.data, Split::Train, COMPARED, args.common.seed)?;
    if shown.is_empty() {
        return Ok(()); // whole documents have no caption to draw after
    }
    let caption = |caption: &str| match training.recipe.vocab {
        0 => Document::default(),
        _ => Document::of_text(caption),
    };
    let prompts: Vec<Document> = shown.iter().map(|one| caption(&one.caption)).collect();
    let off = |model: &LoadedModel, folder: &Path| {
        drawing_distance(model, args.steps, teacher, &prompts, args.common.seed)
            .map_err(cannot_generate(folder))
    };
    let (new, old) = (off(student, &args.out)?, off(teacher, &args.model)?);
    let (steps, all) = (args.steps, teacher.generation.steps);
    let root = |distance: f64| 255.0 * distance.sqrt();
    say!(
        "steps {steps}, against the teacher's {all}: root of the mean squared difference of bytes \
         in {} drawings {:.1} now, {:.1} by the teacher in as few steps",
        prompts.len(),
        root(new),
        root(old)
    );
    Ok(())
}

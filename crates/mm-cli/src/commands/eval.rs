//! `mm eval`: measures of a model, on data that it was not trained on unless the measure says so.

mod quality;

use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Parser, ValueEnum};
use mm_data::{DataSet, GlyphSet, Split};
use mm_eval::classifier::GlyphClassifier;
use mm_eval::golden::{Golden, compare};
use mm_eval::{
    HeldOutLosses, Share, combinations, dialogue_score, draw_score, held_out_losses, pairs_score,
    read_score, words_score,
};
use mm_model::{GenerateOptions, LoadedModel};
use mm_patch::Grid;
use mm_train::Recipe;
use mm_train::batch::collator;
use mm_train::checkpoint::recipe_beside;
use serde::Serialize;

use super::data::SplitArg;
use crate::files::within;
use crate::model::{SamplingArgs, cannot, cannot_generate, load};
use crate::recipes;
use crate::terminal::{Failure, failed, say, usage};

#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  mm eval runs/glyphs/model --task read --count 200
  mm eval runs/words/model --task words --count 1200
  mm eval runs/faces/model --task kid --real faces --features features.onnx --count 500
  mm eval runs/faces/model --task nearest --count 36 --out nearest.png
  mm eval runs/faces/model --task bpd --count 64 --steps 100
  mm eval faces --task golden --golden golden.safetensors")]
pub struct EvalArgs {
    /// Model folder.
    model: PathBuf,
    /// What to measure.
    #[arg(long, value_enum)]
    task: Task,
    /// Number of records.
    #[arg(long, value_name = "N", default_value_t = 200)]
    count: usize,
    /// Split of the data [default: held-out; train for fid, kid and nearest].
    #[arg(long, alias = "part", value_enum)]
    split: Option<SplitArg>,
    /// Recipe that names the data [default: the one in the model folder].
    #[arg(long, value_name = "RECIPE")]
    recipe: Option<String>,
    /// Safetensors file of inputs, outputs and gradients, for --task golden.
    #[arg(long, value_name = "FILE", required_if_eq("task", "golden"))]
    golden: Option<PathBuf>,
    /// Largest relative difference that passes, for --task golden.
    #[arg(long, value_name = "T", default_value_t = 1e-4, value_parser = tolerance)]
    tolerance: f64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    quality: quality::QualityArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Task {
    /// Captions that the model writes exactly.
    Read,
    /// Glyphs that the model draws correctly, as the glyph classifier sees them.
    Draw,
    /// Questions about held-out glyphs, answered in words and images.
    Dialogue,
    /// Character errors of held-out words that the model reads, by the height of the letters.
    Words,
    /// Questions about two images that are the same or differ in one detail.
    Pairs,
    /// Losses of text and images.
    Loss,
    /// Values that Su Jianlin's own layers computed, compared with an imported network.
    Golden,
    /// Fréchet distance between features of drawings, or of what a codec decodes, and of real
    /// images.
    Fid,
    /// Kernel distance between features of drawings, or of what a codec decodes, and of real
    /// images.
    Kid,
    /// Bits per dimension of images, by the probability-flow equation.
    Bpd,
    /// Distance of each drawing from its nearest training image.
    Nearest,
}

/// Flags that not every task uses, by their names in this program, and the tasks that do. A flag
/// that would do nothing is refused.
const FLAGS: &[(&[&str], &[Task])] = {
    use Task::{Bpd, Dialogue, Draw, Fid, Golden, Kid, Loss, Nearest, Pairs, Read, Words};
    &[
        (&["count", "recipe"], &[Read, Words, Pairs, Draw, Dialogue, Loss, Fid, Kid, Bpd, Nearest]),
        (&["split"], &[Read, Words, Pairs, Draw, Loss, Fid, Kid, Bpd, Nearest]),
        (&["seed"], &[Read, Words, Pairs, Draw, Dialogue, Fid, Kid, Bpd, Nearest]),
        (&["steps"], &[Draw, Dialogue, Fid, Kid, Bpd, Nearest]),
        (&["sampler", "guidance"], &[Draw, Dialogue, Fid, Kid, Nearest]),
        (&["negative", "guidance_rule", "guidance_interval"], &[Draw, Dialogue, Fid, Kid, Nearest]),
        (&["temperature", "top_k", "top_p", "min_p"], &[Read, Words, Pairs, Dialogue]),
        (&["max_tokens"], &[Read, Dialogue]),
        (&["precision"], &[Read, Draw, Words, Pairs, Dialogue, Fid, Kid, Nearest]),
        (&["golden", "tolerance"], &[Golden]),
        (&["real", "real_count", "force"], &[Fid, Kid, Nearest]),
        (&["out"], &[Nearest]),
        (&["features", "cache", "keep_features", "input_size", "mean", "scale"], &[Fid, Kid]),
        (&["layout", "output"], &[Fid, Kid]),
        (&["trace"], &[Bpd]),
    ]
};

/// Fails if a flag was given that the task does not use.
fn refuse_idle(task: Task, matches: &ArgMatches) -> Result<(), Failure> {
    let name =
        |task: &Task| task.to_possible_value().expect("no task is hidden").get_name().to_owned();
    for (flags, tasks) in FLAGS.iter().filter(|(_, tasks)| !tasks.contains(&task)) {
        let given = |flag: &&&str| matches.value_source(flag) == Some(ValueSource::CommandLine);
        if let Some(flag) = flags.iter().find(given) {
            let (flag, task) = (flag.replace('_', "-"), name(&task));
            let tasks: Vec<String> = tasks.iter().map(name).collect();
            return Err(usage!("`--{flag}` does nothing for `--task {task}`")
                .hint(format!("it is for the tasks {}", tasks.join(", "))));
        }
    }
    Ok(())
}

/// The largest number of records; more do not fit in memory.
const MOST_RECORDS: usize = 10_000_000;

fn tolerance(text: &str) -> Result<f64, String> {
    let found = text.parse().ok().filter(|found: &f64| *found >= 0.0 && found.is_finite());
    found.ok_or_else(|| "wanted a finite number, at least 0".to_owned())
}

/// A model, and the data on which it is measured.
struct Subject {
    model: LoadedModel,
    recipe: Recipe,
    /// The recipe's data; absent where images of a folder and no captions are enough.
    data: Option<DataSet>,
    split: Split,
    options: GenerateOptions,
}

impl Subject {
    fn open(args: &EvalArgs) -> Result<Self, Failure> {
        let model = args.sampling.load(&args.model)?;
        let recipe: Recipe = match &args.recipe {
            Some(name) => recipes::find(name)?,
            None => recipe_beside(&args.model)?.ok_or_else(|| {
                usage!("the model folder has no recipe.toml")
                    .hint("`--recipe RECIPE` names the data, such as `--recipe glyphs`")
            })?,
        };
        let options = args.sampling.options(&model);
        let of_images = matches!(args.task, Task::Fid | Task::Kid | Task::Nearest);
        let usual = if of_images { SplitArg::Train } else { SplitArg::HeldOut };
        // Images of a folder are compared with drawings without captions, so the recipe's own data
        // need not be on this machine.
        let decodes = model.config.network.codec().is_some();
        let without =
            of_images && args.quality.real.is_some() && recipe.mix.caption_drop >= 1.0 && !decodes;
        let data = if without { None } else { Some(DataSet::open(&recipe.data, recipe.image)?) };
        let split = args.split.unwrap_or(usual).into();
        let empty = |data: &DataSet| data.len(Split::HeldOut) == Some(0);
        if split == Split::HeldOut && data.as_ref().is_some_and(empty) {
            return Err(usage!("the data of the recipe has no held-out records")
                .hint("`--split train` measures on the records that the model was trained on"));
        }
        Ok(Self { model, recipe, data, split, options })
    }

    /// Returns the recipe's data, for the tasks that need it.
    fn data(&self) -> &DataSet {
        self.data.as_ref().expect("opened for this task")
    }

    /// Returns the patches of an image of the recipe's size.
    fn grid(&self) -> Result<Grid, Failure> {
        let image = &self.recipe.image;
        Ok(self.model.config.grid(image.width, image.height)?)
    }

    /// Fails if the recipe's data are of another source than the task asks about.
    fn needs(&self, wanted: &str) -> Result<(), Failure> {
        let found = recipes::source_of(&self.recipe.data);
        if found == wanted {
            return Ok(());
        }
        Err(failed!("the data set is not `{wanted}`, the recipe names `{found}`")
            .hint(format!("`--recipe RECIPE` names one whose data have the source `{wanted}`")))
    }

    /// Makes the error of records among which none is what the task needs.
    fn no_image(&self, count: usize) -> Failure {
        let split = self.split.name();
        usage!("no image with a caption among {count} records of the {split} split")
            .hint("`--task loss` measures text")
    }
}

pub fn run(args: &EvalArgs, matches: &ArgMatches) -> Result<(), Failure> {
    refuse_idle(args.task, matches)?;
    within("--count", args.count, MOST_RECORDS)?;
    within("--real-count", args.quality.real_count.unwrap_or(1), MOST_RECORDS)?;
    if let (Task::Golden, Some(file)) = (args.task, &args.golden) {
        return golden(args, file);
    }
    let subject = Subject::open(args)?;
    match args.task {
        Task::Read => read(args, &subject),
        Task::Draw => draw(args, &subject),
        Task::Dialogue => dialogue(args, &subject),
        Task::Words => words(args, &subject),
        Task::Pairs => pairs(args, &subject),
        Task::Loss => loss(args, &subject),
        Task::Golden => unreachable!("clap asks for its file"),
        Task::Fid => quality::fid(args, &subject),
        Task::Kid => quality::kid(args, &subject),
        Task::Bpd => quality::bpd(args, &subject),
        Task::Nearest => quality::nearest(args, &subject),
    }
}

fn read(args: &EvalArgs, of: &Subject) -> Result<(), Failure> {
    let score = read_score(&of.model, of.data(), of.split, args.count, &of.options)?;
    if score.of == 0 {
        return Err(of.no_image(args.count));
    }
    if args.json {
        say!("{}", with_shares(&score, &[("right", Share::new(score.right, score.of))])?);
        return Ok(());
    }
    print_share("read correctly", score.right, score.of);
    let mut wrong = score.captions.iter().filter(|(truth, read)| truth != read).take(5).peekable();
    if wrong.peek().is_some() {
        say!("some wrong captions (true -> read):");
        for (truth, read) in wrong {
            say!("  {truth} -> {read}");
        }
    }
    Ok(())
}

fn draw(args: &EvalArgs, of: &Subject) -> Result<(), Failure> {
    let Some(glyphs) = of.data().downcast_ref::<GlyphSet>() else {
        return Err(usage!(
            "`--task draw` classifies glyphs only, and the data of this recipe is not glyphs"
        ));
    };
    let classifier = GlyphClassifier::new(of.recipe.image.width, of.recipe.image.height)?;
    let asked = combinations(glyphs, of.split, args.count, of.options.seed);
    let score = draw_score(&of.model, glyphs, &classifier, &asked, of.grid()?, &of.options)
        .map_err(cannot_generate(&args.model))?;
    if args.json {
        say!("{}", with_shares(&score, &score.shares())?);
        return Ok(());
    }
    print_share("background correct", score.background, score.of);
    print_share("color and background correct", score.colors, score.of);
    print_share("character correct", score.character, score.of);
    print_share("everything correct", score.all, score.of);
    if let Some(crispness) = score.crispness {
        say!("crispness: {crispness}");
    }
    Ok(())
}

fn dialogue(args: &EvalArgs, of: &Subject) -> Result<(), Failure> {
    of.needs("dialogue")?;
    let score = dialogue_score(&of.model, of.data(), args.count, &of.options)
        .map_err(cannot("measure", &args.model))?;
    if args.json {
        say!("{}", serde_json::to_string(&score)?);
        return Ok(());
    }
    for (name, share) in &score.shares {
        say!("{name}: {share}");
    }
    if !score.wrong.is_empty() {
        say!("some wrong answers (asked -> wanted -> answered):");
        for [asked, wanted, answered] in score.wrong.iter().take(5) {
            say!("  {asked} -> {wanted} -> {answered}");
        }
    }
    Ok(())
}

fn words(args: &EvalArgs, of: &Subject) -> Result<(), Failure> {
    of.needs("words")?;
    let score = words_score(&of.model, of.data(), of.split, args.count, &of.options)
        .map_err(cannot("measure", &args.model))?;
    if args.json {
        say!("{}", serde_json::to_string(&score)?);
        return Ok(());
    }
    for (height, errors) in &score.heights {
        say!("character error at {height} pixels: {errors}");
    }
    say!("character error at all heights: {}", score.all);
    if !score.wrong.is_empty() {
        say!("some wrong texts (height, true -> read):");
        for wrong in score.wrong.iter().take(5) {
            say!("  {}, {} -> {}", wrong.height, wrong.truth, wrong.read);
        }
    }
    Ok(())
}

fn pairs(args: &EvalArgs, of: &Subject) -> Result<(), Failure> {
    of.needs("pairs")?;
    let score = pairs_score(&of.model, of.data(), of.split, args.count, &of.options)
        .map_err(cannot("measure", &args.model))?;
    if args.json {
        say!("{}", serde_json::to_string(&score)?);
        return Ok(());
    }
    for (name, share) in &score.shares {
        say!("{name}: {share}");
    }
    say!("all: {}", score.all);
    Ok(())
}

fn print_share(name: &str, count: usize, of: usize) {
    say!("{name}: {}", Share::new(count, of));
}

/// Returns a score as JSON, with the key `shares` beside its counts.
fn with_shares(
    score: &impl Serialize,
    shares: &[(&str, Share)],
) -> Result<serde_json::Value, Failure> {
    let mut whole = serde_json::to_value(score)?;
    whole["shares"] =
        shares.iter().map(|(name, share)| (*name, serde_json::json!(share))).collect();
    Ok(whole)
}

fn loss(args: &EvalArgs, of: &Subject) -> Result<(), Failure> {
    let model = &of.model;
    let collator = collator(&of.recipe, &model.config, &model.tokenizer, model.model.encoder());
    let reduction = of.recipe.loss.reduction;
    let losses = held_out_losses(model, &collator, reduction, of.data(), of.split, args.count)?;
    if losses.text.is_none() && losses.image.is_none() {
        return Err(usage!("the {} split of the data holds nothing to measure", of.split.name()));
    }
    if [losses.text, losses.image].into_iter().flatten().any(|loss| !loss.is_finite()) {
        return Err(failed!(
            "a loss is not finite: the model's weights are broken or far too large"
        ));
    }
    if args.json {
        say!("{}", serde_json::to_string(&losses)?);
        return Ok(());
    }
    let HeldOutLosses { text, bits_per_byte, image, documents } = losses;
    let mut parts = vec![];
    match (text, bits_per_byte) {
        (Some(text), Some(bits)) => {
            parts.push(format!("text {text:.4} nats per token, {bits:.4} bits per byte"));
        }
        (Some(text), None) => parts.push(format!("text {text:.4} nats per token")),
        (None, _) => {}
    }
    parts.extend(image.map(|image| format!("image {image:.4}")));
    say!("{} over {documents} documents", parts.join("; "));
    Ok(())
}

/// Compares an imported network with what Su Jianlin's own layers computed.
fn golden(args: &EvalArgs, file: &Path) -> Result<(), Failure> {
    let bytes = fs_err::read(file)?;
    let cannot = |why| Failure::because(format!("cannot compare with `{}`", file.display()), why);
    let golden = Golden::parse(&bytes).map_err(cannot)?;
    let device = args.sampling.common.device.open()?.autodiff();
    let loaded = load(&args.model, &device)?;
    let found = compare(&loaded.model, &loaded.config, &golden).map_err(cannot)?;
    for line in &found {
        let (name, absolute, relative) = (&line.name, line.absolute, line.relative);
        if args.json {
            let line =
                serde_json::json!({ "name": name, "absolute": absolute, "relative": relative });
            say!("{line}");
        } else {
            say!("{name}: absolute {absolute:.2e}, relative {relative:.2e}");
        }
    }
    match found.iter().filter(|line| !line.within(args.tolerance)).count() {
        0 => Ok(()),
        far => Err(failed!(
            "{far} of {} arrays differ by more than {:e} of their largest value",
            found.len(),
            args.tolerance
        )),
    }
}

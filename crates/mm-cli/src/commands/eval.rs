//! `mm eval`: how much of what a model was never trained on it reads and draws.

use mm_data::{DataSet, Split};
use mm_eval::classifier::GlyphClassifier;
use mm_eval::{HeldOutLosses, combinations, draw_score, held_out_losses, read_score};
use mm_model::{GenerateOptions, LoadedModel};
use mm_patch::Grid;
use mm_train::Recipe;
use mm_train::batch::collator;
use mm_train::state::recipe_beside;

mod golden;

use super::{cannot_generate, load, options, quality};
use crate::args::{EvalArgs, Part, Task};
use crate::output::within;
use crate::recipes;
use crate::report::{Failure, say, usage};

/// More examples fit no memory.
const MOST_EXAMPLES: usize = 10_000_000;

/// A model and what it is measured on.
pub(super) struct Subject {
    pub(super) checkpoint: LoadedModel,
    pub(super) recipe: Recipe,
    /// Absent only where nothing is asked of it.
    data: Option<DataSet>,
    pub(super) split: Split,
    pub(super) options: GenerateOptions,
}

impl Subject {
    /// The recipe's data, for the tasks that cannot do without.
    pub(super) fn data(&self) -> &DataSet {
        self.data.as_ref().expect("opened for this task")
    }

    /// None of the records that were looked at is what a task needs.
    pub(super) fn no_picture(&self, count: usize) -> Failure {
        let part = self.split.name();
        let why = usage!("no picture with a caption among {count} records of the {part} part");
        why.hint("`--task loss` measures text")
    }

    /// The recipe's data, if captions are to be drawn.
    pub(super) fn captioned(&self) -> Option<&DataSet> {
        self.data.as_ref()
    }
}

pub fn run(args: &EvalArgs) -> Result<(), Failure> {
    within("--count", args.count, MOST_EXAMPLES)?;
    within("--real-count", args.quality.real_count.unwrap_or(1), MOST_EXAMPLES)?;
    if let (Task::Golden, Some(file)) = (args.task, &args.golden) {
        return golden::run(args, file);
    }
    let checkpoint = load(&args.model, &args.sampling)?;
    let none =
        || usage!("the model folder has no recipe.toml").hint("name the data: --recipe glyphs");
    let recipe: Recipe = match &args.recipe {
        Some(name) => recipes::find(name)?,
        None => recipe_beside(&args.model)?.ok_or_else(none)?,
    };
    let options = options(&args.sampling, &checkpoint);
    let (part, of_pictures) = match args.task {
        Task::Fid | Task::Kid | Task::Nearest => (Part::Train, true),
        Task::Read | Task::Draw | Task::Loss | Task::Bpd | Task::Golden => (Part::HeldOut, false),
    };
    // Pictures of a folder against drawings without captions: the recipe's own data need not be on this machine.
    let without = of_pictures && args.quality.real.is_some() && recipe.mix.caption_drop >= 1.0;
    let open = || DataSet::open(&recipe.data, recipe.image);
    let data = if without { None } else { Some(open()?) };
    let split = args.part.unwrap_or(part).into();
    let subject = Subject { checkpoint, recipe, data, split, options };
    match args.task {
        Task::Read => read(args, &subject),
        Task::Draw => draw(args, &subject),
        Task::Loss => loss(args, &subject),
        Task::Golden => unreachable!("clap asks for its file"),
        Task::Fid => quality::fid(args, &subject),
        Task::Kid => quality::kid(args, &subject),
        Task::Bpd => quality::bpd(args, &subject),
        Task::Nearest => quality::nearest(args, &subject),
    }
}

fn read(args: &EvalArgs, of: &Subject) -> Result<(), Failure> {
    let score = read_score(&of.checkpoint, of.data(), of.split, args.count, &of.options)?;
    if score.of == 0 {
        return Err(of.no_picture(args.count));
    }
    print_score(args, &score, &[("read right", score.right)], score.of);
    let mut wrong = score.captions.iter().filter(|(truth, read)| truth != read).take(5).peekable();
    if !args.json && wrong.peek().is_some() {
        say!("some that were wrong (truth -> read):");
        for (truth, read) in wrong {
            say!("  {truth} -> {read}");
        }
    }
    Ok(())
}

fn draw(args: &EvalArgs, of: &Subject) -> Result<(), Failure> {
    let DataSet::Glyphs(glyphs) = of.data() else {
        return Err(usage!(
            "`--task draw` judges glyphs alone, this recipe's data are of another kind"
        ));
    };
    let (width, height) = (of.recipe.image.width, of.recipe.image.height);
    let judge = GlyphClassifier::new(width, height)?;
    let grid = Grid::of_size(width, height, of.checkpoint.config.patch)?;
    let asked = combinations(glyphs, of.split, args.count, of.options.seed);
    let score = draw_score(&of.checkpoint, &judge, &asked, grid, &of.options)
        .map_err(cannot_generate(&args.model))?;
    let rows = [
        ("background right", score.background),
        ("colour and background right", score.colors),
        ("character right", score.character),
        ("everything right", score.all),
    ];
    print_score(args, &score, &rows, score.of);
    Ok(())
}

fn loss(args: &EvalArgs, of: &Subject) -> Result<(), Failure> {
    let model = &of.checkpoint;
    let collator = collator(&of.recipe, &model.config, &model.tokenizer);
    let reduction = of.recipe.loss.reduction;
    let losses = held_out_losses(model, &collator, reduction, of.data(), of.split, args.count)?;
    if losses.text.is_none() && losses.image.is_none() {
        return Err(usage!("the {} part of the data holds nothing to measure", of.split.name()));
    }
    match args.json {
        true => say!("{}", serde_json::to_string(&losses)?),
        false => {
            let HeldOutLosses { text, bits_per_byte, image, documents } = losses;
            let text = text.map(|text| format!("text {text:.4} nats a token"));
            let bits = bits_per_byte.map(|bits| format!("{bits:.4} bits a byte"));
            let image = image.map(|image| format!("image {image:.4}"));
            let text: Vec<String> = [text, bits].into_iter().flatten().collect();
            let text = (!text.is_empty()).then(|| text.join(", "));
            let parts: Vec<String> = [text, image].into_iter().flatten().collect();
            say!("{} over {documents} documents", parts.join("; "));
        }
    }
    Ok(())
}

fn print_score(args: &EvalArgs, score: &impl serde::Serialize, rows: &[(&str, usize)], of: usize) {
    if args.json {
        say!("{}", serde_json::to_string(score).expect("a score is plain data"));
        return;
    }
    for (name, count) in rows {
        say!("{name}: {count} of {of} ({:.1} %)", 100.0 * *count as f64 / of.max(1) as f64);
    }
}

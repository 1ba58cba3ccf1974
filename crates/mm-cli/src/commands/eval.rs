//! `mm eval`: how much of what a model was never trained on it reads and draws.

use mm_patch::Grid;
use mm_train::Recipe;
use mm_train::data::{DataSet, Split};
use mm_train::eval::{combinations, draw_score, held_out_losses, read_score};
use mm_train::judge::GlyphJudge;

use super::{load, options};
use crate::args::{EvalArgs, Part, Task};
use crate::recipes;
use crate::report::{Failure, say, usage};

pub fn run(args: &EvalArgs) -> Result<(), Failure> {
    if args.count == 0 {
        return Err(usage!("`--count` must be at least 1"));
    }
    let (checkpoint, beside) = load(&args.model, &args.sampling)?;
    let recipe: Recipe = match &args.recipe {
        Some(name) => recipes::find(name)?,
        None => beside.ok_or_else(|| {
            usage!("the model folder has no recipe.toml").hint("name the data: --recipe glyphs")
        })?,
    };
    let data = DataSet::open(&recipe.data, recipe.image)?;
    let options = options(&args.sampling, Some(&recipe));
    let split = match args.part {
        Part::HeldOut => Split::HeldOut,
        Part::Train => Split::Train,
    };
    match args.task {
        Task::Read => {
            let score = read_score(&checkpoint, &data, split, args.count, &options)?;
            let wrong = score.captions.iter().filter(|(truth, read)| truth != read).take(5);
            let wrong: Vec<String> =
                wrong.map(|(truth, read)| format!("  {truth} -> {read}")).collect();
            print_score(args, &score, &[("read right", score.right)], score.of);
            if !args.json && !wrong.is_empty() {
                say!("some that were wrong (truth -> read):\n{}", wrong.join("\n"));
            }
        }
        Task::Draw => {
            let DataSet::Glyphs(glyphs) = &data else {
                return Err(usage!(
                    "`--task draw` judges glyphs alone, this recipe's data are of another kind"
                ));
            };
            let judge = GlyphJudge::new(recipe.image.width, recipe.image.height)?;
            let grid =
                Grid::of_size(recipe.image.width, recipe.image.height, checkpoint.config.patch)?;
            let asked = combinations(glyphs, split, args.count, options.seed);
            let score = draw_score(&checkpoint, &judge, &asked, grid, &options)?;
            let rows = [
                ("background right", score.background),
                ("colour and background right", score.colours),
                ("character right", score.character),
                ("everything right", score.all),
            ];
            print_score(args, &score, &rows, score.of);
        }
        Task::Loss => {
            let losses = held_out_losses(&checkpoint, &recipe, &data, split, args.count)?;
            match args.json {
                true => say!("{}", serde_json::to_string(&losses)?),
                false => say!(
                    "text {:.4} nats a token, {:.4} bits a byte; image {:.4} over {} documents",
                    losses.text,
                    losses.bits_per_byte,
                    losses.image,
                    losses.documents
                ),
            }
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

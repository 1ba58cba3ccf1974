//! One thing has one name, and that is the name it has in its field: the table below holds the
//! words that the workspace no longer uses, with the words that took their place.
//!
//! `docs/glossary.md` explains the words; `search.rs` looks for them. A word that is plain English
//! elsewhere has a narrow pattern here, such as `pub rate :` or the key `optimizer.rate`.

mod search;

use super::Problem;
use super::source::Source;

/// How a word is recognized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pattern {
    /// A sequence of tokens, parted by spaces: in code, and in what documents mark as code. A
    /// single name with `_` is looked for in strings and in prose as well.
    Code(&'static str),
    /// A word with or without a plural `s`: in prose, strings, names of files and parts of names.
    Word(&'static str),
    /// Several words as they stand: in prose and strings.
    Phrase(&'static str),
    /// A key of a recipe: `name =` in TOML and in strings, and `table.name` everywhere.
    Key { table: &'static str, name: &'static str },
    /// A text with no letter before or behind it: in every line and in names of files.
    Text(&'static str),
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
struct Word {
    was: Pattern,
    is: &'static str,
    /// Holds the beginnings of the paths that the row counts for; none stands for all.
    only: &'static [&'static str],
    /// Holds the beginnings of the paths that the row does not count for.
    except: &'static [&'static str],
}

const fn word(was: Pattern, is: &'static str) -> Word {
    Word { was, is, only: &[], except: &[] }
}

const fn code(was: &'static str, is: &'static str) -> Word {
    word(Pattern::Code(was), is)
}

const fn key(table: &'static str, name: &'static str, is: &'static str) -> Word {
    word(Pattern::Key { table, name }, is)
}

const fn phrase(was: &'static str, is: &'static str) -> Word {
    word(Pattern::Phrase(was), is)
}

const fn text(was: &'static str, is: &'static str) -> Word {
    word(Pattern::Text(was), is)
}

impl Word {
    const fn only(self, only: &'static [&'static str]) -> Self {
        Self { only, ..self }
    }

    const fn except(self, except: &'static [&'static str]) -> Self {
        Self { except, ..self }
    }
}

/// Names the files that speak of the old words: this table, the glossary, the list of changes with
/// its table for those who move, and the hints that lead from an old key of a recipe to its new
/// one.
const MIGRATION: &[&str] = &[
    "CHANGELOG.md",
    "crates/mm-cli/tests/cli/migration.rs",
    "crates/mm-train/src/recipe/renamed.rs",
    "docs/glossary.md",
    "xtask/src/tidy/words.rs",
    "xtask/src/tidy/words/",
];

const BLOCKS: &[&str] = &["crates/mm-backbone/", "crates/mm-kernels/"];
const KERNELS: &[&str] =
    &["crates/mm-backbone/", "crates/mm-cli/src/commands/compare", "crates/mm-kernels/"];
const DATA: &[&str] = &["crates/mm-data/", "crates/mm-train/"];
const DOCUMENTS: &[&str] = &["crates/mm-data/", "crates/mm-model/", "crates/mm-train/"];
const MODEL: &[&str] = &["crates/mm-model/"];
const SAMPLING: &[&str] = &[
    "crates/mm-cli/src/commands/interpolate",
    "crates/mm-cli/src/commands/sample",
    "crates/mm-model/",
    "crates/mm-train/",
];
const MEASURES: &[&str] = &[
    "crates/mm-cli/src/commands/eval",
    "crates/mm-cli/src/commands/quality",
    "crates/mm-eval/",
    "crates/mm-train/",
    "xtask/src/study",
];

/// The words that are gone, in the order of the glossary.
const WORDS: &[Word] = &[
    // training
    code("Happening", "TrainEvent"),
    code("Stalled", "EarlyStopped"),
    code("Watch", "EarlyStopping and SpikeDetector").only(&["crates/mm-cli/", "crates/mm-train/"]),
    code("Ranks :: alone", "ProcessGroup::single"),
    code("struct Ranks", "ProcessGroup"),
    code("mod validate", "evaluate_held_out").only(&["crates/mm-train/src/lib.rs"]),
    code("pub terms :", "losses"),
    code(". terms", "losses"),
    code("final_rate", "final_lr"),
    code("warm_up", "warmup_steps"),
    code("pub rate :", "lr"),
    code("optimizer . rate", "lr"),
    key("optimizer", "rate", "lr"),
    code("row_tokens", "pack_len"),
    code("pub shards :", "micro_batches").except(&["crates/mm-data/"]),
    code("run . shards", "micro_batches"),
    key("run", "shards", "micro_batches"),
    code("pub accumulate :", "grad_accum_steps"),
    code("run . accumulate", "grad_accum_steps"),
    key("run", "accumulate", "grad_accum_steps"),
    code("recompute", "activation_checkpointing").except(&["crates/mm-cli/src/args/"]), // a flag
    key("run", "recompute", "activation_checkpointing"),
    code("pub times :", "timesteps"),
    code("loss . times", "timesteps"),
    code("images . times", "timesteps"),
    key("loss", "times", "timesteps"),
    // models
    code("alone", "image_only, or single for a group of one rank"),
    code("alone_grid", "image_only_grid"),
    code("Painter", "ImageSampler"),
    code("Canvas", "ImageSampler"),
    code("Walk", "SamplingPlan").only(SAMPLING),
    code("Way", "SamplingPlan").only(SAMPLING),
    code("struct Decoder", "GenerationSession").only(MODEL),
    code("Decoder :: new", "GenerationSession").only(MODEL),
    code("struct Checkpoint", "LoadedModel").only(MODEL),
    code("mm_model :: Checkpoint", "LoadedModel"),
    code("patch_places", "patch_pos_embed"),
    code("pub places :", "tokens, or a token index"),
    code("pub ( crate ) places :", "tokens, or a token index"),
    code(". places", "tokens, or a token index"),
    code("pub numbers :", "patch_dim"),
    code("fn numbers", "patch_dim").only(&["crates/mm-model/", "crates/mm-patch/"]),
    code("pub learn :", "loss_mask"),
    code("learn : bool", "loss_mask"),
    code("learn : true", "loss_mask"),
    code("learn : false", "loss_mask"),
    code(". learn", "loss_mask"),
    word(Pattern::Word("learnt"), "target, or learned in prose"),
    code("pub given :", "context"),
    code(". given", "context"),
    // blocks
    code("Attend", "AttentionContext"),
    code("Places", "RotaryTables"),
    code("forward_behind", "forward_with_prefix"),
    code("News", "KvUpdate"),
    code("Past", "KvPrefix"),
    code("ordinary", "reference").only(KERNELS),
    phrase("ordinary operation", "reference operation"),
    phrase("ordinary operations", "reference operations"),
    code("joint :", "in_proj or qkv_proj").only(BLOCKS),
    code(". joint", "in_proj or qkv_proj").only(BLOCKS),
    text("joint.weight", "in_proj.weight or qkv_proj.weight"),
    code("up :", "gate_up_proj").only(BLOCKS),
    code(". up", "gate_up_proj").only(BLOCKS),
    code("feed :", "mlp").only(BLOCKS),
    code(". feed", "mlp").only(BLOCKS),
    code("Closing", "FinalLayer"),
    // data
    code("Errand", "DocumentSpec"),
    code("enum Kind", "Task").only(DATA),
    code("enum Direction", "Task").only(DOCUMENTS),
    code("Halves", "Splits").only(DATA),
    code("Ledger", "BadRecords"),
    code("Seal", "Manifest"),
    code("enum Part", "Split").only(DATA),
    // measures
    code("struct Judge", "GlyphClassifier"),
    code("mod judge", "GlyphClassifier"),
    code("Ruler", "ReferenceScores"),
    code("marks", "baselines").only(MEASURES),
    // recipes and their sources
    code("Schedule :: Seed", "Schedule::Su2024"),
    text("kind = \"seed\"", "kind = \"su2024\""),
    text("kind = \\\"seed\\\"", "kind = \\\"su2024\\\""),
    text("seed-64", "su2024-64"),
    text("seed-128", "su2024-128"),
    text("seed-mini", "su2024-mini"),
    text("neighbour-unet", "baseline-unet"),
    text("neighbour-uvit", "baseline-uvit"),
    text("neighbour-dit", "baseline-dit"),
    phrase("the seed's", "Su's; a seed is a random seed only"),
    phrase("in the seed", "in Su's scripts; a seed is a random seed only"),
    phrase("as the seed", "as Su's scripts; a seed is a random seed only"),
    phrase("(the seed", "(Su's scripts; a seed is a random seed only"),
    phrase("the seed author", "Su Jianlin"),
    phrase("the seed has", "Su's scripts have; a seed is a random seed only"),
    phrase("the seed trained", "Su's scripts trained; a seed is a random seed only"),
    phrase("the seed reads", "Su's scripts read; a seed is a random seed only"),
    // spelling
    word(Pattern::Word("picture"), "image"),
    word(Pattern::Word("colour"), "color"),
    word(Pattern::Word("coloured"), "colored"),
];

/// Checks source, recipes, documents and scripts for the words that are gone.
pub fn are_those_of_the_glossary(source: &Source) -> Vec<Problem> {
    if source.is_in(MIGRATION) {
        return vec![];
    }
    let counts = |word: &&Word| {
        (word.only.is_empty() || source.is_in(word.only)) && !source.is_in(word.except)
    };
    let words: Vec<&Word> = WORDS.iter().filter(counts).collect();
    let mut found = search::search(source, &words);
    found.dedup_by_key(|it| (it.line, it.word.is)); // several rows may see the same word
    let message = |word: &Word| format!("`{}` is gone, wanted `{}`", word.was.shown(), word.is);
    found.into_iter().map(|it| Problem::new(&source.path, it.line, message(it.word))).collect()
}

impl Pattern {
    fn shown(self) -> String {
        match self {
            Self::Code(was) => {
                let signs = [" . ", " :: ", " :", "( ", " )"];
                let tight = |text: String, sign: &str| text.replace(sign, sign.trim());
                signs
                    .into_iter()
                    .fold(was.to_owned(), tight)
                    .replace("pub (", "pub(")
                    .replace(". ", ".")
            }
            Self::Word(was) | Self::Phrase(was) | Self::Text(was) => was.into(),
            Self::Key { table, name } => format!("{table}.{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str, wanted: &[&str]) {
        let problems = are_those_of_the_glossary(&Source::new(path, text));
        let found: Vec<String> = problems
            .iter()
            .map(|problem| {
                let word = problem.message.split('`').nth(1).unwrap();
                format!("{} {word}", problem.line)
            })
            .collect();
        assert_eq!(found, wanted, "{path}: {text}");
    }

    #[test]
    fn a_name_is_found_in_code_and_in_what_documents_mark_as_code() {
        let path = "crates/mm-train/src/step.rs";
        check(
            path,
            "//! Sends a [`Happening`].\nfn f(it: Happening) {}\n",
            &["1 Happening", "2 Happening"],
        );
        check(path, "/// Happening to be so.\nfn f() -> Happenings {}\n", &[]);
        check(path, "/// ```\n/// let a: Happening;\n/// ```\n", &["2 Happening"]);
        check(
            "docs/a.md",
            "A `Painter`.\n\n```rust\nCanvas\n```\nPainter\n",
            &["1 Painter", "4 Canvas"],
        );
    }

    #[test]
    fn a_name_of_several_words_is_found_in_strings_and_prose_too() {
        let path = "crates/mm-train/src/recipe.rs";
        check(path, "let a = \"the warm_up\";\n// warm_up\n", &["1 warm_up", "2 warm_up"]);
        check(path, "let warm_ups = a_warm_up;\n", &[]);
        check(
            "crates/mm-cli/recipes/a.toml",
            "warm_up = 3\nrow_tokens = 0\n",
            &["1 warm_up", "2 row_tokens"],
        );
    }

    #[test]
    fn a_sequence_is_found_only_where_its_row_counts() {
        check("crates/mm-train/src/a.rs", "enum Kind {}\nlet kind: Kind;\n", &["1 enum Kind"]);
        check("crates/mm-cli/src/a.rs", "enum Kind {}\n", &[]);
        check("crates/mm-train/src/a.rs", "pub rate: f64,\nrate: f64,\n", &["1 pub rate:"]);
        check("crates/mm-backbone/src/a.rs", "Positions::Halves;\nself.joint;\n", &["2 .joint"]);
    }

    #[test]
    fn a_key_of_a_recipe_is_found_in_toml_strings_and_documents() {
        check(
            "crates/mm-cli/recipes/a.toml",
            "rate = 1e-3\nsample_rate = 1\n# the rate\n",
            &["1 optimizer.rate"],
        );
        check(
            "docs/a.md",
            "`run.shards` and `--set run.accumulate=4`; tar shards\n",
            &["1 run.shards", "1 run.accumulate"],
        );
        check(
            "crates/mm-train/src/a.rs",
            "let a = \"rate = 3\\nb = 4\";\nlet rate = 3;\n",
            &["1 optimizer.rate"],
        );
        check("crates/mm-train/src/a.rs", "let a = \"rate == 3\";\n", &[]);
    }

    #[test]
    fn a_word_is_found_in_prose_and_within_names() {
        check(
            "crates/mm-data/src/a.rs",
            "// Pictures.\nfn newest_picture() {}\nstruct PictureRow;\n",
            &["1 picture", "2 picture", "3 picture"],
        );
        check("docs/a.md", "In Colour. Depicture\n", &["1 colour"]);
    }

    #[test]
    fn a_recipe_is_found_in_every_text_and_in_names_of_files() {
        check("crates/mm-cli/recipes/seed-64.toml", "# seed-640\n", &["1 seed-64"]);
        check("docs/a.md", "train seed-64 with a seed\n", &["1 seed-64"]);
        check(
            "crates/mm-train/src/a.rs",
            "/// Is as in the seed.\n/// The seed of a stream.\n",
            &["1 in the seed"],
        );
        check(
            "xtask/src/study/runs.rs",
            "\"schedule = {{ kind = \\\"seed\\\" }}\"\n",
            &["1 kind = \\\"seed\\\""],
        );
    }

    #[test]
    fn those_who_lead_from_the_old_words_to_the_new_may_name_them() {
        check("CHANGELOG.md", "`Happening` is `TrainEvent`, `warm_up` is `warmup_steps`\n", &[]);
        check("crates/mm-cli/src/args/train.rs", "pub recompute: bool,\n", &[]);
        check("docs/a.md", "`mm train --recompute`\n", &[]);
    }
}

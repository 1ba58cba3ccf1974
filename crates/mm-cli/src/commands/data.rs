//! `mm data`: recipes, tokenizers and sheets of examples.

use std::path::Path;

use mm_data::DataSet;
use mm_eval::{contact_sheet, examples};
use mm_model::folder::write_atomic;
use mm_patch::Image;
use mm_text::Tokenizer;

use crate::args::{DataArgs, DataCommand, Part};
use crate::output::{format_of, free, write_image};
use crate::recipes;
use crate::report::{Failure, say, usage, write_out};

pub fn run(args: &DataArgs) -> Result<(), Failure> {
    match &args.command {
        DataCommand::Recipes { name: Some(name) } => print(name),
        DataCommand::Recipes { name: None } => {
            for (name, text) in recipes::EMBEDDED {
                let first = text.lines().next().unwrap_or_default();
                say!("{name}: {}", first.trim_start_matches("# "));
            }
            Ok(())
        }
        DataCommand::Tokenizer { recipe, out, vocab, force } => {
            tokenizer(recipe, out, *vocab, *force)
        }
        DataCommand::Check(args) => super::check::run(args),
        DataCommand::Sheet { recipe, out, count, part, force } => {
            sheet(recipe, out, (*count, *part), *force)
        }
    }
}

fn print(name: &str) -> Result<(), Failure> {
    let found = recipes::EMBEDDED.iter().find(|(known, _)| *known == name);
    let (_, text) = found.ok_or_else(|| {
        usage!("there is no recipe `{name}`").hint("`mm data recipes` lists them")
    })?;
    write_out(format_args!("{text}"));
    Ok(())
}

fn tokenizer(recipe: &str, out: &Path, vocab: Option<usize>, force: bool) -> Result<(), Failure> {
    free(out, force)?;
    let recipe = recipes::find(recipe)?;
    let data = DataSet::open(&recipe.data, recipe.image)?;
    let captions = data.captions();
    let tokenizer = Tokenizer::train(captions.clone().into_iter(), vocab.unwrap_or(recipe.vocab))
        .map_err(Failure::usage)?;
    write_atomic(out, tokenizer.to_json().as_bytes())?;
    let (bytes, tokens) = captions.iter().fold((0, 0), |(bytes, tokens), caption| {
        (bytes + caption.len(), tokens + tokenizer.encode(caption).len())
    });
    say!(
        "{}: {} ids, {:.2} bytes a token",
        out.display(),
        tokenizer.vocab(),
        bytes as f64 / tokens.max(1) as f64
    );
    Ok(())
}

fn sheet(
    recipe: &str,
    out: &Path,
    (count, part): (usize, Part),
    force: bool,
) -> Result<(), Failure> {
    free(out, force)?;
    format_of(out)?;
    let recipe = recipes::find(recipe)?;
    let data = DataSet::open(&recipe.data, recipe.image)?;
    let split = part.into();
    let shown = examples(&data, split, count, recipe.seed)?;
    for example in &shown {
        say!("{}", example.caption);
    }
    let images: Vec<Image> = shown.into_iter().map(|example| example.image).collect();
    write_image(out, &contact_sheet(&images, &[]))
}

//! The recipes that are part of the program, and those in files.

use std::path::{Path, PathBuf};

use mm_data::DataConfig;
use mm_train::{Recipe, did_you_mean};

use crate::terminal::{Failure, usage};

/// The name and the text of every embedded recipe.
pub const EMBEDDED: [(&str, &str); 16] = [
    ("glyphs", include_str!("../recipes/glyphs.toml")),
    ("dialogue", include_str!("../recipes/dialogue.toml")),
    ("words-64", include_str!("../recipes/words-64.toml")),
    ("emoji-32", include_str!("../recipes/emoji-32.toml")),
    ("emoji-64", include_str!("../recipes/emoji-64.toml")),
    ("su2024-64", include_str!("../recipes/su2024-64.toml")),
    ("su2024-128", include_str!("../recipes/su2024-128.toml")),
    ("su2024-mini", include_str!("../recipes/su2024-mini.toml")),
    ("baseline-unet", include_str!("../recipes/baseline-unet.toml")),
    ("baseline-uvit", include_str!("../recipes/baseline-uvit.toml")),
    ("baseline-dit", include_str!("../recipes/baseline-dit.toml")),
    ("codec-fsq", include_str!("../recipes/codec-fsq.toml")),
    ("codec-vq-vae", include_str!("../recipes/codec-vq-vae.toml")),
    ("codec-vq-gan", include_str!("../recipes/codec-vq-gan.toml")),
    ("codec-queries", include_str!("../recipes/codec-queries.toml")),
    ("codec-kl", include_str!("../recipes/codec-kl.toml")),
];

/// Returns whether this is the name of an embedded recipe or of a TOML file.
pub fn is_recipe(name: &str) -> bool {
    is_embedded(name) || name.ends_with(".toml")
}

fn is_embedded(name: &str) -> bool {
    EMBEDDED.iter().any(|(known, _)| *known == name)
}

/// Guesses which recipe a misspelled name means.
pub fn guess(name: &str) -> String {
    did_you_mean(name, &EMBEDDED.map(|(name, _)| name))
}

/// Names the source of data.
pub fn source_of(data: &DataConfig) -> &'static str {
    match data {
        DataConfig::Glyphs(_) => "glyphs",
        DataConfig::Emoji(_) => "emoji",
        DataConfig::Dialogue(_) => "dialogue",
        DataConfig::Words(_) => "words",
        DataConfig::Pairs(_) => "pairs",
        DataConfig::Folder(_) => "folder",
        DataConfig::Webdataset(_) => "webdataset",
        DataConfig::Parquet(_) => "parquet",
        DataConfig::Documents(_) => "documents",
        DataConfig::Mixture(_) => "mixture",
    }
}

/// Returns the recipe of this name, or the one in a file whose name ends in `.toml`, whose data are
/// where its paths lead from the folder of that file on.
pub fn find(name: &str) -> Result<Recipe, Failure> {
    let recipe = unchecked(name)?;
    match recipe.validate() {
        Ok(()) => Ok(recipe),
        Err(why) if is_embedded(name) => Err(Failure::usage(why)),
        Err(why) => Err(Failure::usage(why.in_file(Path::new(name)))),
    }
}

/// Returns the recipe that [`find`] finds, with the values of `--set KEY=VALUE` in place of its
/// own. They may repair a value that is out of range.
pub fn find_with(name: &str, settings: &[String]) -> Result<Recipe, Failure> {
    if settings.is_empty() { find(name) } else { with_settings(unchecked(name)?, settings) }
}

/// Returns a recipe whose keys are right, and whose values may be out of range.
fn unchecked(name: &str) -> Result<Recipe, Failure> {
    if let Some((_, text)) = EMBEDDED.iter().find(|(known, _)| *known == name) {
        return Recipe::parse(text).map_err(Failure::usage);
    }
    let path = Path::new(name);
    if path.extension().is_none_or(|ending| ending != "toml") {
        let names = EMBEDDED.map(|(name, _)| name).join(", ");
        let guess = guess(name);
        return Err(usage!("there is no recipe `{name}`, wanted {names} or a .toml file{guess}"));
    }
    let text = fs_err::read_to_string(path)?;
    let recipe = Recipe::parse(&text).map_err(|why| Failure::usage(why.in_file(path)))?;
    let folder = folder_of(path)?;
    let data = recipe.data.within(&folder);
    let codec = recipe.codec.as_ref().map(|codec| folder.join(codec));
    Ok(Recipe { data, codec, ..recipe })
}

/// Returns the whole path of the folder that a file lies in; a bare name lies in the working
/// folder.
pub fn folder_of(file: &Path) -> std::io::Result<PathBuf> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    std::path::absolute(folder.unwrap_or(Path::new(".")))
}

/// Returns the recipe with the values of `--set KEY=VALUE` in place of its own.
pub fn with_settings(recipe: Recipe, settings: &[String]) -> Result<Recipe, Failure> {
    let pairs = settings.iter().map(|set| {
        set.split_once('=').ok_or_else(|| usage!("`--set {set}` has no `=`, wanted KEY=VALUE"))
    });
    let pairs = pairs.collect::<Result<Vec<_>, _>>()?;
    recipe.with_all(&pairs).map_err(|why| {
        let failure = Failure::usage(why);
        if pairs.iter().any(|(key, _)| *key == "data.source") {
            return failure.hint(
                "each source has keys of its own; a whole table is replaced by \
                 --set 'data={ source = \"folder\", path = \"DIR\" }'",
            );
        }
        failure
    })
}

/// Returns the recipe with the share of `--max-bad` as `data.max_bad`; in a mixture, as that of
/// every source that has one.
pub fn with_max_bad(recipe: Recipe, share: f64) -> Result<Recipe, Failure> {
    if recipe.data.has_max_bad() {
        let data = recipe.data.with_max_bad(share);
        return Ok(Recipe { data, ..recipe });
    }
    let source = source_of(&recipe.data);
    Err(usage!(
        "`--max-bad` sets `data.max_bad`, and the source `{source}` has none; wanted folder, \
         webdataset, parquet, documents, or a mixture with one of them"
    ))
}

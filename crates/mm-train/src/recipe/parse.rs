//! Reads the text of a recipe and collects everything that is wrong with it.
//!
//! Serde stops at the first error. So what it refuses is reported and taken out of the tree, or put
//! under the key that was meant, and the tree is read again, until nothing more is refused. A table
//! that lacks a key because it was taken out goes as a whole, without a word.

use mm_model::plain_words;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::{Recipe, renamed};
use crate::RecipeError;
use crate::similar::UnknownName;

/// The most errors that are shown.
const MOST: usize = 50;

impl Recipe {
    /// Reads the text of a recipe without checking its values, as [`Self::validate`] does. Every
    /// wrong key is named with its line, and an old one with the key that took its place.
    pub fn parse(text: &str) -> Result<Self, RecipeError> {
        let mut tree: Table =
            toml::from_str(text).map_err(|why| RecipeError::Toml(Box::new(why)))?;
        let mut reader = Reader { text, taken: vec![], moved: vec![], errors: vec![] };
        reader.renamed(&mut tree);
        let recipe = reader.read(tree);
        match (recipe, RecipeError::of(reader.errors)) {
            (Some(recipe), None) => Ok(recipe),
            (_, Some(why)) => Err(why),
            (None, None) => unreachable!("what is refused is reported"),
        }
    }
}

/// Collects what is wrong with a recipe.
struct Reader<'a> {
    text: &'a str,
    /// The dotted paths of what was taken out of the tree.
    taken: Vec<String>,
    /// The dotted paths of new keys that hold what stood under old ones.
    moved: Vec<String>,
    errors: Vec<RecipeError>,
}

impl Reader<'_> {
    /// Reports old keys and words, puts values under their new keys, and takes old words out.
    fn renamed(&mut self, tree: &mut Table) {
        for renamed::Found { path, why, is } in renamed::find(tree) {
            self.errors.push(why);
            let value = take(tree, path);
            match (is, value) {
                (Some(is), Some(value)) => {
                    put(tree, is, value);
                    self.moved.push(is.to_owned());
                }
                _ => self.taken.push(path.to_owned()),
            }
        }
    }

    /// Reads the tree, and reports what serde refuses until it refuses nothing more.
    fn read(&mut self, mut tree: Table) -> Option<Recipe> {
        while self.errors.len() < MOST {
            let why = match tree.clone().try_into::<Recipe>() {
                Ok(recipe) => return Some(recipe),
                Err(why) => why,
            };
            let (table, words) = (path_of(&why), why.message().to_owned());
            let refused =
                match words.strip_prefix("missing field `").and_then(|s| s.split_once('`')) {
                    Some((field, _)) => {
                        self.missing(&join(&table, field));
                        table
                    }
                    None => {
                        let culprit = culprit(&tree, &table, &words);
                        self.refused(&culprit, &words);
                        if let Some(meant) = meant(&culprit, &words)
                            && at(&tree, &meant).is_none()
                            && let Some(value) = take(&mut tree, &culprit)
                        {
                            put(&mut tree, &meant, value);
                            continue;
                        }
                        culprit
                    }
                };
            if refused.is_empty() || take(&mut tree, &refused).is_none() {
                break; // there is no table left around it
            }
            self.taken.push(refused);
        }
        None
    }

    /// Reports a key that is not there, unless it was taken out.
    fn missing(&mut self, path: &str) {
        let field = last(path);
        let inside = |taken: &String| last(taken) == field && taken.starts_with(parent(path));
        if !self.taken.iter().any(inside) {
            let line = line_of(self.text, parent(path));
            self.errors.push(RecipeError::Key {
                key: path.to_owned(),
                line,
                why: " is missing".to_owned(),
            });
        }
    }

    /// Reports a key that serde refuses with these words, unless that follows from an error that is
    /// reported: the key took the place of an old one, or something was taken out below it.
    fn refused(&mut self, path: &str, words: &str) {
        let below = |taken: &String| parent(taken) == path;
        if self.moved.iter().any(|moved| moved == path) || self.taken.iter().any(below) {
            return;
        }
        let why = match UnknownName::in_message(words) {
            Some(name) if name.is_field && name.found == last(path) => match name.guess() {
                guess if guess.is_empty() => {
                    let wanted = name.wanted.iter().map(|name| format!("`{name}`"));
                    format!(" is unknown, wanted {}", wanted.collect::<Vec<_>>().join(", "))
                }
                guess => format!(" is unknown{guess}"),
            },
            Some(name) => format!(": {words}{}", name.guess()),
            None => format!(": {}", plain_words(words)),
        };
        let line = line_of(self.text, path);
        self.errors.push(RecipeError::Key { key: path.to_owned(), line, why });
    }
}

/// Returns the path of the key that a misspelled one means.
fn meant(path: &str, words: &str) -> Option<String> {
    let name = UnknownName::in_message(words)?;
    if !name.is_field || name.found != last(path) {
        return None;
    }
    Some(join(parent(path), name.closest()?))
}

/// Returns the dotted path that an error of a tree names, which is empty for the root.
fn path_of(why: &toml::de::Error) -> String {
    let text = why.to_string();
    let last = text.trim_end().lines().last().unwrap_or_default();
    let path = last.strip_prefix("in `").and_then(|rest| rest.strip_suffix('`'));
    path.unwrap_or_default().to_owned()
}

/// Returns the path of the key in or below `table` that serde means with its words: without it,
/// serde says something else. Of a tagged enum and of a list, serde names the table alone.
fn culprit(tree: &Table, table: &str, words: &str) -> String {
    let name = UnknownName::in_message(words);
    let may_be = |key: &str, value: &Value| match &name {
        Some(name) if name.is_field => key == name.found,
        Some(name) => value.as_str() == Some(name.found),
        None => match value {
            Value::String(text) => words.contains(&format!("{text:?}")),
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => {
                words.contains(&format!("`{value}`"))
            }
            _ => false,
        },
    };
    let is_it = |path: &String| {
        let mut without = tree.clone();
        take(&mut without, path);
        without.try_into::<Recipe>().err().is_none_or(|why| why.message() != words)
    };
    let mut found = vec![];
    if let Some(below) = at(tree, table) {
        candidates(&below, table, &may_be, &mut found);
    }
    found.into_iter().find(is_it).unwrap_or_else(|| table.to_owned())
}

/// Collects the paths of the keys below a value for which a test holds, the nearest first.
fn candidates(
    below: &Value,
    path: &str,
    may_be: &dyn Fn(&str, &Value) -> bool,
    found: &mut Vec<String>,
) {
    let Some(table) = below.as_table() else { return };
    let here = table.iter().filter(|(key, value)| may_be(key, value));
    found.extend(here.map(|(key, _)| join(path, key)));
    for (key, value) in table {
        candidates(value, &join(path, key), may_be, found);
    }
}

fn at(tree: &Table, path: &str) -> Option<Value> {
    let root = Value::Table(tree.clone());
    parts(path).try_fold(root, |at, part| at.get(part).cloned())
}

/// Takes the value at a dotted path out of the tree.
fn take(tree: &mut Table, path: &str) -> Option<Value> {
    let table = parts(parent(path)).try_fold(tree, |at, part| at.get_mut(part)?.as_table_mut())?;
    table.remove(last(path))
}

/// Puts a value at a dotted path whose table is there.
fn put(tree: &mut Table, path: &str, value: Value) {
    let table = parts(parent(path)).try_fold(tree, |at, part| at.get_mut(part)?.as_table_mut());
    if let Some(table) = table {
        table.insert(last(path).to_owned(), value);
    }
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('.').filter(|part| !part.is_empty())
}

fn join(table: &str, key: &str) -> String {
    if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(parent, _)| parent)
}

fn last(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(_, last)| last)
}

/// Returns the line of the key at a dotted path, counted from 1.
fn line_of(text: &str, path: &str) -> Option<usize> {
    let root = DeTable::parse(text).ok()?;
    let mut table = root.get_ref();
    let mut parts = parts(path).peekable();
    loop {
        let part = parts.next()?;
        let (key, value) = table.iter().find(|(key, _)| key.get_ref() == part)?;
        if parts.peek().is_none() {
            return Some(text[..key.span().start].matches('\n').count() + 1);
        }
        let DeValue::Table(below) = value.get_ref() else { return None };
        table = below;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GLYPHS: &str = include_str!("../../../mm-cli/recipes/glyphs.toml");

    /// What is said about the default recipe with some words replaced.
    fn said(changes: &[(&str, &str)]) -> String {
        let mut text = GLYPHS.to_owned();
        for (was, is) in changes {
            assert!(text.contains(was), "{was}");
            text = text.replacen(was, is, 1);
        }
        Recipe::from_toml(&text).unwrap_err().to_string()
    }

    fn line(of: &str) -> usize {
        GLYPHS[..GLYPHS.find(of).unwrap()].matches('\n').count() + 1
    }

    #[test]
    fn one_wrong_key_is_one_line_with_a_guess() {
        let at = line("warmup_steps");
        let wanted =
            format!("line {at}: `optimizer.warmup` is unknown, did you mean `warmup_steps`?");
        let found = said(&[("warmup_steps", "warmup")]);
        assert!(found.contains(&wanted), "{found}");
    }

    #[test]
    fn all_wrong_keys_types_and_words_are_said_at_once() {
        let found = said(&[
            ("warmup_steps", "warmup"),
            ("source = \"glyphs\"", "source = \"glyfs\""),
            ("\nvocab", "\nvocabb"),
            ("checkpoint_every", "checkpont_every"),
            ("sampler = \"", "sampler = \"x"),
        ]);
        for wanted in [
            "`optimizer.warmup` is unknown, did you mean `warmup_steps`?",
            "`data.source`",
            "did you mean `glyphs`?",
            "`vocabb` is unknown, did you mean `vocab`?",
            "`run.checkpont_every` is unknown, did you mean `checkpoint_every`?",
            "`sample.sampler`",
        ] {
            assert!(found.contains(wanted), "`{wanted}` in: {found}");
        }
        assert!(!found.contains("missing"), "{found}");
    }

    #[test]
    fn a_wrong_type_is_named_with_its_key_also_below_a_tag() {
        let found = said(&[("letters = [1, 1]", "letters = \"two\"")]);
        assert!(found.contains("`data.letters`: found the text \"two\", wanted "), "{found}");
    }

    #[test]
    fn a_wrong_type_is_told_without_the_names_of_rust() {
        let number = "a whole number, 0 or more";
        for (from, to, found, wanted) in [
            ("steps = 8000", "steps = \"many\"", "the text \"many\"", number),
            ("\nbatch = 32", "\nbatch = -3", "-3", number),
            ("\nbatch = 32", "\nbatch = 2.5", "2.5", number),
            ("\nbatch = 32", "\nbatch = [1]", "a list", number),
            ("\nvocab = ", "\nvocab = true # ", "true", number),
            ("\nweight_decay = ", "\nweight_decay = \"x\" # ", "the text \"x\"", "a number"),
        ] {
            let said = said(&[(from, to)]);
            assert!(said.ends_with(&format!("found {found}, wanted {wanted}")), "{said}");
        }
        let said = Recipe::from_toml(GLYPHS).unwrap().with("model", "3").unwrap_err().to_string();
        assert_eq!(said, "`model`: found 3, wanted a table of fields");
    }

    #[test]
    fn a_key_that_is_missing_is_named_with_its_table() {
        let at = line("[optimizer]");
        let text = GLYPHS.replacen("\nweight_decay", "\n#weight_decay", 1);
        let found = Recipe::from_toml(&text).unwrap_err().to_string();
        assert_eq!(found, format!("line {at}: `optimizer.weight_decay` is missing"));
    }

    #[test]
    fn a_text_that_is_no_toml_is_shown_with_its_line() {
        let found = Recipe::from_toml("seed = \n").unwrap_err().to_string();
        assert!(found.contains("line 1"), "{found}");
    }
}

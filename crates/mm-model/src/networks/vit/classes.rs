//! The classes that a network draws, and how a prompt names one.

use burn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{ConfigError, Document, DocumentError, Segment};

/// More classes than this fill no table of use.
const MOST: usize = 1 << 20;

/// The classes of a network.
///
/// ```
/// use mm_model::{Classes, Document};
///
/// let names = vec!["tench".to_owned(), "goldfish, Carassius auratus".to_owned()];
/// let classes = Classes { count: 2, none: true, names };
/// assert_eq!(classes.of(&Document::of_text("1"))?, Some(1));
/// assert_eq!(classes.of(&Document::of_text("Goldfish"))?, Some(1));
/// assert_eq!(classes.of(&Document::default())?, None);
/// assert!(classes.of(&Document::of_text("2")).is_err());
/// # Ok::<(), mm_model::DocumentError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Classes {
    /// The number of classes; 0 for a network that knows none.
    pub count: usize,
    /// Whether there is an embedding of no class, which guidance leads away from.
    #[serde(default)]
    pub none: bool,
    /// The names of the classes in order, each with its synonyms between commas; empty where they
    /// are not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

impl Classes {
    /// Checks every field that can be wrong.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let wrong = |field, found: String, wanted| Err(ConfigError::Field { field, found, wanted });
        let (count, names) = (self.count, self.names.len());
        if count > MOST {
            return wrong("vit.classes.count", count.to_string(), "at most 1048576");
        }
        if self.none && count == 0 {
            return wrong("vit.classes.none", "true".to_owned(), "false where there is no class");
        }
        if names != 0 && names != count {
            return wrong("vit.classes.names", format!("{names} names"), "one for each class");
        }
        Ok(())
    }

    /// Returns the rows of the table of embeddings: the classes, then none of them.
    pub fn rows(&self) -> usize {
        self.count + usize::from(self.none)
    }

    /// Returns the class that a prompt names, by its number or its name; nothing of an empty
    /// prompt.
    pub fn of(&self, prompt: &Document) -> Result<Option<u32>, DocumentError> {
        let texts = prompt.segments.iter().filter_map(|segment| match segment {
            Segment::Text { text, .. } => Some(text.trim()),
            Segment::Image { .. } => None,
        });
        let text = texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ");
        if self.count == 0 && !text.is_empty() {
            let found = format!("the text `{text}`");
            return Err(DocumentError::NotImageOnly { found, wanted: "no text" });
        }
        if text.is_empty() && (self.count == 0 || self.none) {
            return Ok(None);
        }
        let is_named = |names: &String| {
            names.split(',').any(|name| name.trim().eq_ignore_ascii_case(&text))
                || names.trim().eq_ignore_ascii_case(&text)
        };
        let number = text.parse().ok().filter(|class| *class < self.count);
        match number.or_else(|| self.names.iter().position(is_named)) {
            Some(class) => Ok(Some(class as u32)),
            None => Err(self.unknown(&text)),
        }
    }

    /// Returns the row of every image's class in the table, `[images]`.
    pub(crate) fn rows_of(&self, classes: &[Option<u32>], device: &Device) -> Tensor<1, Int> {
        let row =
            |class: &Option<u32>| class.map_or(self.rows() - 1, |class| class as usize) as i32;
        let rows: Vec<i32> = classes.iter().map(row).collect();
        Tensor::from_data(TensorData::new(rows, [classes.len()]), device)
    }

    fn unknown(&self, text: &str) -> DocumentError {
        let found = if text.is_empty() { "empty".to_owned() } else { format!("`{text}`") };
        let last = self.count - 1;
        let names = if self.names.is_empty() { "" } else { " or its name" };
        let nothing = if self.none { ", or nothing" } else { "" };
        let wanted = format!("a class from 0 to {last}{names}{nothing}");
        DocumentError::Class { found, wanted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_a_number_a_name_or_nothing_and_everything_else_is_refused() {
        let names = ["tench, Tinca tinca", "cock"].map(str::to_owned).to_vec();
        let all = Classes { count: 2, none: true, names };
        let of = |classes: &Classes, text: &str| {
            classes.of(&Document::of_text(text)).map_err(|why| why.to_string())
        };
        assert_eq!(of(&all, " 0 "), Ok(Some(0)));
        assert_eq!(of(&all, "tinca TINCA"), Ok(Some(0)));
        assert_eq!(of(&all, "tench, Tinca tinca"), Ok(Some(0)));
        assert_eq!(of(&all, ""), Ok(None));
        let wanted = "the prompt is `hen`, wanted a class from 0 to 1 or its name, or nothing";
        assert_eq!(of(&all, "hen"), Err(wanted.to_owned()));
        let only = Classes { count: 2, ..Classes::default() };
        let wanted = "the prompt is empty, wanted a class from 0 to 1";
        assert_eq!(of(&only, ""), Err(wanted.to_owned()));
        let without = Classes::default();
        assert_eq!(of(&without, ""), Ok(None));
        assert!(of(&without, "3").unwrap_err().contains("the text `3`, wanted no text"));
    }
}

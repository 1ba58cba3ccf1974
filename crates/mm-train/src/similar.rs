//! Guesses which word a misspelled one means, for messages about wrong names.

/// The least similarity of a word that is proposed: 1 is the same word.
const SIMILAR: f64 = 0.8;

/// Returns the word among `known` that is most like `word`, if one is like it at all. Words that
/// begin alike count as more similar (Jaro and Winkler 1990).
///
/// ```
/// use mm_train::closest;
/// assert_eq!(closest("glyfs", &["emoji-32", "glyphs"]), Some("glyphs"));
/// assert_eq!(closest("momentum", &["lr", "betas"]), None);
/// ```
pub fn closest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let likeness = |known: &str| strsim::jaro_winkler(&word.to_lowercase(), known);
    let best = known.iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)))?;
    (likeness(best) >= SIMILAR && *best != word).then_some(*best)
}

/// Returns the end of a message that proposes the closest word, or nothing.
///
/// ```
/// use mm_train::did_you_mean;
/// assert_eq!(did_you_mean("eulr", &["euler", "heun"]), ", did you mean `euler`?");
/// assert_eq!(did_you_mean("plms", &["euler", "heun"]), "");
/// ```
pub fn did_you_mean(word: &str, known: &[&str]) -> String {
    closest(word, known).map_or(String::new(), |known| format!(", did you mean `{known}`?"))
}

/// A name that serde does not know, and the names that it knows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnknownName<'a> {
    /// The name that was found.
    pub found: &'a str,
    /// Whether it is the name of a field, or else of a variant.
    pub is_field: bool,
    /// The names that are wanted, in their order.
    pub wanted: Vec<&'a str>,
}

impl<'a> UnknownName<'a> {
    /// Reads serde's words about an unknown field or variant, and those of other parsers: "sampler
    /// is `x`, wanted `y` or `z`".
    pub(crate) fn in_message(message: &'a str) -> Option<Self> {
        let variant = || message.strip_prefix("unknown variant `");
        let word = || message.contains("`, wanted `").then(|| message.split_once(" is `"))?;
        let (rest, is_field) = match message.strip_prefix("unknown field `") {
            Some(rest) => (rest, true),
            None => (variant().or_else(|| Some(word()?.1))?, false),
        };
        let (found, rest) = rest.split_once('`')?;
        let wanted = rest.split('`').skip(1).step_by(2).collect();
        Some(Self { found, is_field, wanted })
    }

    /// Returns the closest name.
    pub(crate) fn closest(&self) -> Option<&'a str> {
        closest(self.found, &self.wanted)
    }

    /// Returns the end of a message that proposes the closest name.
    pub(crate) fn guess(&self) -> String {
        did_you_mean(self.found, &self.wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_pen_are_guessed_and_other_words_are_not() {
        let keys = ["lr", "final_lr", "warmup_steps", "weight_decay", "clip", "ema", "betas"];
        for (word, wanted) in [
            ("warmup", Some("warmup_steps")),
            ("weigth_decay", Some("weight_decay")),
            ("Clip", Some("clip")),
            ("beta", Some("betas")),
            ("momentum", None),
            ("", None),
        ] {
            assert_eq!(closest(word, &keys), wanted, "{word}");
        }
        assert_eq!(closest("a", &[]), None);
    }

    #[test]
    fn the_words_of_serde_are_read() {
        let found = UnknownName::in_message("unknown field `a`, expected one of `b`, `c`").unwrap();
        assert_eq!(found, UnknownName { found: "a", is_field: true, wanted: vec!["b", "c"] });
        let found = UnknownName::in_message("unknown variant `x`, expected `y`").unwrap();
        assert_eq!(found, UnknownName { found: "x", is_field: false, wanted: vec!["y"] });
        let found = UnknownName::in_message("sampler is `eulr`, wanted `ddpm` or `euler`").unwrap();
        assert_eq!((found.found, found.guess().as_str()), ("eulr", ", did you mean `euler`?"));
        assert_eq!(UnknownName::in_message("missing field `a`"), None);
    }
}

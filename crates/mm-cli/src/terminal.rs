//! What the program prints: results, messages, errors with their causes and a hint, and exit codes.

use std::borrow::Cow;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

/// Returns a path as a shell takes it: in quotes where it has other signs than names usually have.
pub fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |sign: char| sign.is_alphanumeric() || "/._-+=:,@%\\".contains(sign);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// A command that failed.
#[derive(Debug)]
pub struct Failure {
    /// The exit code: 1 where the command failed, 2 where it was used wrongly.
    code: u8,
    error: anyhow::Error,
    hint: Option<String>,
}

impl Failure {
    /// Makes the failure of a command that was used wrongly; the exit code is 2.
    pub fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { code: 2, error: error.into(), hint: None }
    }

    /// Makes the failure of a command that could not do its work; the exit code is 1.
    pub fn failed(error: impl Into<anyhow::Error>) -> Self {
        Self { code: 1, error: error.into(), hint: None }
    }

    /// Makes a failure whose error is put behind `what`, such as "cannot read `a.png`".
    pub fn because(what: String, why: impl Into<anyhow::Error>) -> Self {
        Self::failed(why.into().context(what))
    }

    /// Adds a hint: what to do about the failure.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Returns the exit code.
    pub fn code(&self) -> i32 {
        self.code.into()
    }

    /// Returns the error without its causes.
    #[cfg(test)]
    pub fn words(&self) -> String {
        self.error.to_string()
    }

    /// Returns the error and its causes in one line.
    pub fn chain(&self) -> String {
        let mut said = self.error.to_string();
        for cause in self.error.chain().skip(1).map(ToString::to_string) {
            if !said.contains(&cause) {
                said += &format!(": {cause}");
            }
        }
        said
    }

    /// Writes the error, its causes and the hint to standard error.
    pub fn print(&self) -> ExitCode {
        tell!("error: {}", self.error);
        let mut said = self.error.to_string();
        for cause in self.error.chain().skip(1) {
            let cause = cause.to_string();
            if !said.contains(&cause) {
                tell!("  caused by: {cause}");
                said = cause;
            }
        }
        if let Some(hint) = &self.hint {
            tell!("\nhint: {hint}");
        }
        ExitCode::from(self.code)
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::failed(error)
    }
}

/// Makes the failure of wrong usage from a format string.
macro_rules! usage {
    ($($word:tt)*) => { $crate::terminal::Failure::usage(anyhow::anyhow!($($word)*)) };
}
pub(crate) use usage;

/// Makes the failure of a command from a format string.
macro_rules! failed {
    ($($word:tt)*) => { $crate::terminal::Failure::failed(anyhow::anyhow!($($word)*)) };
}
pub(crate) use failed;

/// Silences panics that end as an error of their own: for want of device memory, and of a parser
/// that a damaged file surprised.
pub fn silence_handled_panics() {
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !mm_train::memory::is_out_of_memory(panic.payload()) && !mm_patch::is_guarded() {
            loud(panic);
        }
    }));
}

/// Returns a text as a terminal may show it: characters that would steer the terminal, or change
/// the direction of what follows, are written as `\\u001b` and the like, which JSON reads back.
/// Line breaks and tabs stay.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if steers(character) {
            shown += &format!("\\u{:04x}", character as u32);
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// Returns whether a character steers a terminal: control characters of both sets, and the marks
/// that override the direction of text.
fn steers(character: char) -> bool {
    let direction = matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    character.is_control() && !matches!(character, '\n' | '\t') || direction
}

/// Writes to standard output; a terminal gets only what is [`printable`]. Where the reader is gone
/// (`mm inspect | head`), the program ends quietly; where anything else prevents writing, such as a
/// full disk, it ends with an error.
pub fn write_out(text: std::fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    let written = if out.is_terminal() {
        out.write_all(printable(&text.to_string()).as_bytes())
    } else {
        out.write_fmt(text)
    };
    if let Err(why) = written.and_then(|()| out.flush()) {
        if why.kind() == std::io::ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        tell!("error: cannot write to standard output: {why}");
        std::process::exit(1);
    }
}

/// Writes a line to standard output.
macro_rules! say {
    () => { $crate::terminal::write_out(format_args!("\n")) };
    ($format:literal $($rest:tt)*) => {
        $crate::terminal::write_out(format_args!("{}\n", format_args!($format $($rest)*)))
    };
}
pub(crate) use say;

/// Writes to standard error in one piece; a terminal gets only what is [`printable`]. What cannot
/// be written is lost: a reader that is gone (`mm train ... 2>&1 | head`) or a full disk must not
/// end the work.
pub fn write_err(text: std::fmt::Arguments<'_>) {
    let mut err = std::io::stderr();
    let text = text.to_string();
    let shown = if err.is_terminal() { printable(&text) } else { Cow::Borrowed(text.as_str()) };
    let _ = err.write_all(shown.as_bytes());
}

/// Writes a line to standard error.
macro_rules! tell {
    ($format:literal $($rest:tt)*) => {
        $crate::terminal::write_err(format_args!("{}\n", format_args!($format $($rest)*)))
    };
}
pub(crate) use tell;

/// Writes a count with a comma between thousands.
pub fn grouped(count: usize) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_a_shell_would_divide_is_quoted() {
        let of = |path: &str| quoted(Path::new(path));
        assert_eq!(of("runs/größe-32.toml"), "runs/größe-32.toml");
        assert_eq!(of("my runs/a"), "'my runs/a'");
        assert_eq!(of("it's"), r"'it'\''s'");
    }

    #[test]
    fn what_would_steer_a_terminal_is_spelled_and_all_other_text_stays() {
        for (text, wanted) in [
            ("red K\n\tüber 赤 👍\n", "red K\n\tüber 赤 👍\n"),
            ("\x1b]0;title\x07 \x1b[31mred", "\\u001b]0;title\\u0007 \\u001b[31mred"),
            ("over\rwrite \x08\x7f", "over\\u000dwrite \\u0008\\u007f"),
            ("\u{9b}31m", "\\u009b31m"),
            ("a\u{202e}b\u{2066}c", "a\\u202eb\\u2066c"),
        ] {
            assert_eq!(printable(text), wanted);
        }
    }

    #[test]
    fn a_json_line_says_the_same_after_it_was_made_printable() {
        let value = serde_json::json!({ "text": "a\u{9b}b\x1bc\u{202e}d" });
        let shown = printable(&value.to_string()).into_owned();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}

//! What a person reads when something goes wrong, and the exit code.

use std::process::ExitCode;

/// A failed command.
#[derive(Debug)]
pub struct Failure {
    /// 1 failed, 2 wrong usage.
    code: u8,
    error: anyhow::Error,
    hint: Option<String>,
}

impl Failure {
    /// The command was used wrongly: exit code 2.
    pub fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { code: 2, error: error.into(), hint: None }
    }

    /// The command could not do its work: exit code 1.
    pub fn failed(error: impl Into<anyhow::Error>) -> Self {
        Self { code: 1, error: error.into(), hint: None }
    }

    /// The same with a piece of advice.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The exit code.
    pub fn code(&self) -> i32 {
        self.code.into()
    }

    /// What went wrong, without its causes.
    #[cfg(test)]
    pub fn words(&self) -> String {
        self.error.to_string()
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

/// A usage error in one line.
macro_rules! usage {
    ($($word:tt)*) => { $crate::report::Failure::usage(anyhow::anyhow!($($word)*)) };
}
pub(crate) use usage;

/// Keeps quiet about panics for want of device memory: they end as an error of their own.
pub fn leave_memory_to_errors() {
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !mm_train::memory::is_out_of_memory(panic.payload()) {
            loud(panic);
        }
    }));
}

/// Writes to standard output. A reader that went away (`mm inspect | head`) ends the program quietly; anything else that
/// stops the writing, such as a full disk, ends it as a failure.
pub fn write_out(text: std::fmt::Arguments<'_>) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    if let Err(why) = out.write_fmt(text).and_then(|()| out.flush()) {
        if why.kind() == std::io::ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        tell!("error: cannot write to standard output: {why}");
        std::process::exit(1);
    }
}

/// A line on standard output.
macro_rules! say {
    () => { $crate::report::write_out(format_args!("\n")) };
    ($format:literal $($rest:tt)*) => {
        $crate::report::write_out(format_args!("{}\n", format_args!($format $($rest)*)))
    };
}
pub(crate) use say;

/// Writes to standard error, a text at once. What cannot be written is lost: a reader that went away (`mm train ... 2>&1 | head`)
/// or a full disk must not end the work that is told of.
pub fn write_err(text: std::fmt::Arguments<'_>) {
    use std::io::Write;
    let _ = std::io::stderr().write_all(text.to_string().as_bytes());
}

/// A line on standard error.
macro_rules! tell {
    ($format:literal $($rest:tt)*) => {
        $crate::report::write_err(format_args!("{}\n", format_args!($format $($rest)*)))
    };
}
pub(crate) use tell;

/// A count with a comma between thousands.
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

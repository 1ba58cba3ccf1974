//! `cargo xtask test` runs everything that a change must pass, in the order in which a mistake is
//! cheapest to find.
//!
//! Every step is one command line, so that a failing one can be repeated by hand. All steps run
//! even when one fails: the table at the end then says all that is left to do. Cargo's own lines
//! (`test result: ...`) are passed through.

use std::{
    fmt::{self, Write},
    io::{BufRead, BufReader, IsTerminal},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use xshell::{Shell, cmd};

use crate::{costs, flags};

/// One command line and the name of what it proves.
pub struct Step {
    /// Is what the tables call it.
    pub name: &'static str,
    /// Says in a few words what it checks.
    pub says: &'static str,
    /// Holds `NAME=value` for the command, several with `;` between them; it is empty for none.
    pub env: &'static str,
    /// Is the command line.
    pub command: &'static str,
    /// Says whether `--quick` runs it too.
    pub in_quick: bool,
}

/// The steps of `cargo xtask test`.
pub const STEPS: &[Step] = &[
    Step {
        name: "format",
        says: "code looks as rustfmt makes it",
        env: "",
        command: "cargo fmt --all --check",
        in_quick: true,
    },
    Step {
        name: "tidy",
        says: "the rules of the workspace that no compiler knows",
        env: "",
        command: "cargo xtask tidy",
        in_quick: true,
    },
    Step {
        name: "clippy",
        says: "lints of all code, tests and examples",
        env: "",
        command: "cargo clippy --workspace --all-targets -- -D warnings",
        in_quick: true,
    },
    Step {
        name: "tests",
        says: "unit tests, the tests of the library and of the program",
        env: "",
        command: "cargo test --workspace --tests --no-fail-fast",
        in_quick: true,
    },
    Step {
        name: "doc tests",
        says: "the examples in doc comments",
        env: "",
        command: "cargo test --workspace --doc --no-fail-fast",
        in_quick: false,
    },
    Step {
        name: "documentation",
        says: "rustdoc without warnings, links, the book if mdbook is there",
        env: "",
        command: "cargo xtask docs",
        in_quick: false,
    },
    Step {
        name: "ranks",
        says: "training over processes, if MPI is there",
        env: "",
        command: "cargo test --workspace --features mm-cli/mpi --test cli -- ranks --nocapture",
        in_quick: false,
    },
    Step {
        name: "no backend",
        says: "the libraries build without a backend",
        env: "",
        command: "cargo check -p mm-train",
        in_quick: false,
    },
];

impl flags::Test {
    /// Runs the steps, prints the table, and fails if a step did.
    pub fn run(&self, sh: &Shell) -> Result<()> {
        let steps: Vec<&Step> = STEPS.iter().filter(|step| step.in_quick || !self.quick).collect();
        let disk = if self.quick { costs::QUICK_TEST_DISK } else { costs::TEST_DISK };
        println!("{}", announcement(&steps, disk));
        run_all(sh, &steps, self.quick)
    }
}

/// Says what the steps do and what they cost, before the first one begins.
pub fn announcement(steps: &[&Step], disk: Option<f64>) -> String {
    let mut text = format!(
        "{} steps, one after another; a step that fails does not stop the others.\n\n",
        steps.len()
    );
    let all = costs::sum(steps.iter().map(|step| costs::of_step(step.name)));
    let mut row = |name: &str, first: &str, later: &str, says: &str| {
        let mut line = format!("{name:<14}");
        for (cell, known) in [(first, all.first), (later, all.later)] {
            if known.is_some() {
                let _ = write!(line, " {cell:>10}");
            }
        }
        let _ = writeln!(text, "{}", format!("{line}  {says}").trim_end());
    };
    row("step", "first", "later", "what it checks");
    for step in steps {
        let costs::Minutes { first, later } = costs::of_step(step.name);
        row(step.name, &costs::minutes(first), &costs::minutes(later), step.says);
    }
    row("together", &costs::minutes(all.first), &costs::minutes(all.later), "");
    text.push('\n');
    let counts = [
        all.first.map(|_| "`first` counts where nothing is built yet."),
        all.later.map(|_| "`later` counts after a small change."),
    ];
    let sentences = counts.into_iter().flatten().map(str::to_owned);
    let sentences = sentences.chain([costs::disk(disk), costs::measured()]);
    let sentences: Vec<String> = sentences.filter(|sentence| !sentence.is_empty()).collect();
    text + &sentences.join(" ")
}

/// Runs these steps one after another, prints the table, and fails if a step did.
pub fn run_all(sh: &Shell, steps: &[&Step], quick: bool) -> Result<()> {
    let mut rows = Vec::new();
    let began = Instant::now();
    for (done, step) in steps.iter().enumerate() {
        let place = Place { number: done + 1, of: steps.len(), name: step.name, began };
        let costs::Minutes { first, later } = costs::of_step(step.name);
        println!("\n== {place}{}: {}", usual(first, later), step.typed());
        if let Some(program) = step.lacks(sh) {
            println!("== {}: left out, there is no `{program}`", step.name);
            continue;
        }
        let row = step.run(sh, &place)?;
        let space = costs::free_disk(sh).map(|free| format!(", {free:.1} GiB of disk are free"));
        let space = space.unwrap_or_default();
        println!("== {}: {}, {}{space}", step.name, row.word(), seconds(row.took));
        if !row.passed {
            println!("== repeat it with: {}", step.typed());
        }
        rows.push(row);
    }
    println!("\n{}", table(&rows));
    finish(&rows, quick)
}

/// Where the steps are: which of how many, and since when.
struct Place {
    number: usize,
    of: usize,
    name: &'static str,
    began: Instant,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passed = self.began.elapsed().as_secs();
        write!(f, "{} of {}, {}", self.number, self.of, self.name)?;
        if passed > 0 { write!(f, " ({} so far)", clock(passed)) } else { Ok(()) }
    }
}

/// Spells seconds, as in `2 min 05 s`.
fn clock(seconds: u64) -> String {
    match seconds / 60 {
        0 => format!("{seconds} s"),
        minutes => format!("{minutes} min {:02} s", seconds % 60),
    }
}

/// Says how long a step usually takes, as far as that was measured.
fn usual(first: Option<f64>, later: Option<f64>) -> String {
    match (first, later) {
        (Some(first), Some(later)) => format!(", usually {later:.1} to {first:.1} min"),
        (Some(most), None) => format!(", up to {most:.1} min"),
        (None, Some(later)) => format!(", usually {later:.1} min"),
        (None, None) => String::new(),
    }
}

/// The time between two lines that say where a step is, where Cargo shows no progress bar.
const BEAT: Duration = Duration::from_secs(60);

/// Waits for a command whose standard error is read: passes its lines on, and says once in a while
/// where it is and what Cargo is doing.
fn follow(mut child: Child, place: &Place) -> Result<ExitStatus> {
    let (send, lines) = mpsc::channel();
    let errors = BufReader::new(child.stderr.take().context("standard error is not read")?);
    let reader = thread::spawn(move || {
        for line in errors.split(b'\n').map_while(Result::ok) {
            if send.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                break;
            }
        }
    });
    let mut doing = String::new();
    let mut next = Instant::now() + BEAT;
    loop {
        match lines.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                eprintln!("{line}");
                doing = what_cargo_does(&line).map_or(doing, str::to_owned);
            }
            Err(RecvTimeoutError::Timeout) => {
                let doing = if doing.is_empty() { String::new() } else { format!(": {doing}") };
                println!("== {place}{doing}");
                next = Instant::now() + BEAT;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let _ = reader.join();
    Ok(child.wait()?)
}

/// Returns the part of a line of Cargo that says what it compiles or runs.
fn what_cargo_does(line: &str) -> Option<&str> {
    let line = line.trim();
    let verb = line.split(' ').next()?;
    let says = ["Compiling", "Checking", "Documenting", "Running", "Doc-tests"].contains(&verb);
    says.then(|| line.split(" (").next().unwrap_or(line))
}

impl Step {
    /// Returns the program that this step needs and the machine does not have.
    fn lacks(&self, sh: &Shell) -> Option<&'static str> {
        let needed = match self.name {
            "ranks" => "mpicc",
            _ => return None,
        };
        cmd!(sh, "{needed} --version").quiet().ignore_stderr().read().is_err().then_some(needed)
    }

    /// Runs the command. On a terminal Cargo shows what it compiles; elsewhere, this says it.
    fn run(&self, sh: &Shell, place: &Place) -> Result<Row<'_>> {
        let started = Instant::now();
        let mut command = self.command(sh);
        let shows = std::io::stderr().is_terminal();
        let stderr = if shows { Stdio::inherit() } else { Stdio::piped() };
        let child = command.stderr(stderr).spawn();
        let mut child = child.with_context(|| format!("cannot start `{}`", self.command))?;
        let status = if shows { child.wait()? } else { follow(child, place)? };
        Ok(Row { step: self, passed: status.success(), took: started.elapsed() })
    }

    fn command(&self, sh: &Shell) -> Command {
        let mut words = self.command.split(' ');
        let mut command = Command::from(sh.cmd(words.next().unwrap_or_default()).args(words));
        command.envs(self.variables());
        command
    }

    /// Returns names and values of what is set for the command.
    fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.env.split(';').filter_map(|variable| variable.split_once('='))
    }

    /// Returns the command as one types it in a shell.
    fn typed(&self) -> String {
        let set = self.variables().map(|(name, value)| format!("{name}='{value}' "));
        set.collect::<String>() + self.command
    }
}

/// The result of a step.
struct Row<'a> {
    step: &'a Step,
    passed: bool,
    took: Duration,
}

impl Row<'_> {
    fn word(&self) -> &'static str {
        if self.passed { "ok" } else { "FAILED" }
    }
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

/// Draws the steps, a line each, and the sum of their times.
fn table(rows: &[Row<'_>]) -> String {
    let line = |name: &str, word: &str, took: Duration| {
        format!("{name:<14} {word:<7} {:>9}\n", seconds(took))
    };
    let total = rows.iter().map(|row| row.took).sum();
    let mut table = format!("{:<14} {:<7} {:>9}\n", "step", "result", "time");
    table.extend(rows.iter().map(|row| line(row.step.name, row.word(), row.took)));
    table + &line("together", "", total)
}

/// Says what to do next, and fails if a step did.
fn finish(rows: &[Row<'_>], quick: bool) -> Result<()> {
    let failed: Vec<String> =
        rows.iter().filter(|row| !row.passed).map(|row| row.step.typed()).collect();
    if !failed.is_empty() {
        println!(
            "Next: mend what these report, then run `cargo xtask test` again.\n  {}",
            failed.join("\n  ")
        );
        bail!("{} of {} steps failed", failed.len(), rows.len());
    }
    if quick {
        println!("The quick steps passed. Next: `cargo xtask test` before you send the change.");
    } else {
        println!(
            "All steps passed. Next: send the change, or watch a model learn with `cargo xtask train`."
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    fn row(index: usize, passed: bool, millis: u64) -> Row<'static> {
        Row { step: &STEPS[index], passed, took: Duration::from_millis(millis) }
    }

    #[test]
    fn the_table_has_a_line_for_every_step_and_the_sum_of_their_times() {
        let wanted = "
step           result       time
format         ok          0.4 s
clippy         FAILED     12.0 s
together                  12.4 s
";
        assert_eq!(format!("\n{}", table(&[row(0, true, 400), row(2, false, 12_000)])), wanted);
    }

    #[test]
    fn one_failed_step_fails_the_whole() {
        assert!(finish(&[row(0, true, 1), row(1, true, 1)], false).is_ok());
        let error = finish(&[row(0, true, 1), row(1, false, 1)], false).unwrap_err();
        assert_eq!(error.to_string(), "1 of 2 steps failed");
    }

    #[test]
    fn a_step_is_repeated_by_the_line_it_prints() {
        let step = Step {
            name: "a",
            says: "b",
            env: "RUSTDOCFLAGS=-D warnings;C=d",
            command: "cargo doc --no-deps",
            in_quick: false,
        };
        assert_eq!(step.typed(), "RUSTDOCFLAGS='-D warnings' C='d' cargo doc --no-deps");
        let command = step.command(&Shell::new().unwrap());
        assert_eq!(command.get_args().collect::<Vec<_>>(), ["doc", "--no-deps"]);
        let set = (OsStr::new("RUSTDOCFLAGS"), Some(OsStr::new("-D warnings")));
        assert!(command.get_envs().any(|pair| pair == set));
    }

    #[test]
    fn the_steps_and_their_costs_are_said_before_the_first_begins() {
        let steps: Vec<&Step> = STEPS.iter().filter(|step| step.in_quick).collect();
        let text = announcement(&steps, Some(9.5));
        assert!(text.starts_with("4 steps, one after another"), "{text}");
        for step in &steps {
            assert!(text.contains(step.name) && text.contains(step.says), "{text}");
        }
        assert!(text.contains("`target` takes 9.5 GiB of disk space."), "{text}");
        let text = announcement(&steps, None);
        for unknown in ["disk space", "?", "measured it"] {
            assert!(!text.contains(unknown), "{text}");
        }
    }

    #[test]
    fn a_step_says_which_of_how_many_it_is_and_since_when() {
        let began = Instant::now() - Duration::from_secs(125);
        let place = Place { number: 3, of: 8, name: "clippy", began };
        assert_eq!(place.to_string(), "3 of 8, clippy (2 min 05 s so far)");
        let place = Place { number: 1, of: 8, name: "format", began: Instant::now() };
        assert_eq!(place.to_string(), "1 of 8, format");
        assert_eq!(usual(Some(9.0), Some(0.5)), ", usually 0.5 to 9.0 min");
        assert_eq!(usual(None, None), "");
    }

    #[test]
    fn cargos_lines_say_what_it_does() {
        let doing = what_cargo_does("   Compiling burn-flex v0.22.1 (/a/b)");
        assert_eq!(doing, Some("Compiling burn-flex v0.22.1"));
        let doing = what_cargo_does("     Running tests/main.rs (target/debug/deps/mm-1)");
        assert_eq!(doing, Some("Running tests/main.rs"));
        assert_eq!(what_cargo_does("warning: unused"), None);
    }

    #[test]
    fn a_command_that_is_followed_ends_with_its_own_status() {
        let place = Place { number: 1, of: 1, name: "a", began: Instant::now() };
        for (line, passes) in [("--version", true), ("--no-such-flag", false)] {
            let mut command = Command::new("rustc");
            command.arg(line).stdout(Stdio::null()).stderr(Stdio::piped());
            let status = follow(command.spawn().unwrap(), &place).unwrap();
            assert_eq!(status.success(), passes);
        }
    }
}

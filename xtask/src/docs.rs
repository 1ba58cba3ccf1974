//! `cargo xtask docs` builds what a reader reads: the documentation of the crates and the book.
//!
//! A warning of rustdoc is an error, and so is a link of a document that leads nowhere.

use anyhow::{Result, bail};
use xshell::{Shell, cmd};

use crate::{flags, mm, tidy};

/// Names the settings of the book; without this file there is no book.
const BOOK: &str = "docs/book.toml";

impl flags::Docs {
    /// Checks links, builds both, and says where they are; all parts run even when one fails.
    pub fn run(&self, sh: &Shell) -> Result<()> {
        let target = mm::target(sh)?;
        let mut failed = vec![];
        println!("== 1 of 3, links of the documents");
        let broken = tidy::broken_links(sh)?;
        for link in &broken {
            println!("{link}");
        }
        if !broken.is_empty() {
            failed.push("links");
        }
        println!("== 2 of 3, documentation of the crates");
        let book = book(sh);
        let open = (self.open && book != Book::Buildable).then_some("--open");
        let rustdoc = cmd!(sh, "cargo doc --workspace --no-deps {open...}");
        if rustdoc.env("RUSTDOCFLAGS", "-D warnings").run().is_err() {
            failed.push("documentation of the crates");
        }
        println!("== 3 of 3, book");
        let folder = target.join("book");
        match book {
            Book::NoSettings => println!("there is no `{BOOK}`, so no book is built"),
            Book::NoProgram => println!(
                "`mdbook` is not installed, so no book is built; to install it: cargo install mdbook --locked"
            ),
            Book::Buildable => {
                let open = self.open.then_some("--open");
                if cmd!(sh, "mdbook build docs --dest-dir {folder} {open...}").run().is_err() {
                    failed.push("book");
                }
            }
        }
        if !failed.is_empty() {
            bail!("{} of 3 parts failed: {}", failed.len(), failed.join(", "));
        }
        println!("crates: {}", target.join("doc/mm_model/index.html").display());
        if book == Book::Buildable {
            println!("book: {}", folder.join("index.html").display());
        }
        Ok(())
    }
}

/// Whether the book can be built here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Book {
    Buildable,
    NoProgram,
    NoSettings,
}

fn book(sh: &Shell) -> Book {
    if !sh.path_exists(BOOK) {
        return Book::NoSettings;
    }
    let asked = cmd!(sh, "mdbook --version").quiet().ignore_stdout().ignore_stderr().run();
    if asked.is_ok() { Book::Buildable } else { Book::NoProgram }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_settings_there_is_no_book() {
        let sh = Shell::new().unwrap();
        let folder = sh.create_temp_dir().unwrap();
        sh.change_dir(folder.path());
        assert_eq!(book(&sh), Book::NoSettings);
        sh.write_file(BOOK, "[book]\n").unwrap();
        assert_ne!(book(&sh), Book::NoSettings);
    }
}

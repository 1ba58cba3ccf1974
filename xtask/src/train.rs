//! `cargo xtask train RECIPE`: from a fresh checkout to a trained model and its first picture, in one command.
//!
//! A run never touches an earlier one: if `runs/RECIPE` is taken, it goes to `runs/RECIPE-2`, and so on.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result};
use xshell::Shell;

use crate::{flags, mm};

impl flags::Train {
    /// Builds, trains, and says where the pictures are and what to type next.
    pub fn run(&self, sh: &Shell, extra: &[OsString]) -> Result<ExitCode> {
        let recipe = self.recipe.as_deref().unwrap_or("glyphs");
        let device = self.device.clone().or_else(|| mm::device_of(extra));
        let program = mm::build(sh, device.as_deref())?;
        let out = fresh(recipe, |folder| sh.path_exists(folder))?;

        let mut train = Command::from(sh.cmd(program));
        train.args(["train", recipe, "--out", &out]);
        if let Some(device) = &self.device {
            train.args(["--device", device]);
        }
        println!("training `{recipe}` into {out}");
        let code = mm::attached(train.args(extra))?;
        if code == ExitCode::SUCCESS {
            let picture = newest_picture(sh, &Path::new(&out).join("samples"));
            print!("{}", what_next(recipe, &out, device.as_deref(), picture.as_deref()));
        }
        Ok(code)
    }
}

/// The first of `runs/NAME`, `runs/NAME-2`, ... that is not taken; NAME is the recipe's, without folder and ending.
fn fresh(recipe: &str, taken: impl Fn(&str) -> bool) -> Result<String> {
    let name = Path::new(recipe).file_stem().and_then(|name| name.to_str());
    let first = format!("runs/{}", name.with_context(|| format!("`{recipe}` names no recipe"))?);
    if !taken(&first) {
        return Ok(first);
    }
    let mut later = (2..).map(|number| format!("{first}-{number}"));
    later.find(|folder| !taken(folder)).context("every number is taken")
}

/// The picture written last, if the folder has one.
fn newest_picture(sh: &Shell, samples: &Path) -> Option<PathBuf> {
    let mut pictures = sh.read_dir(samples).unwrap_or_default();
    pictures.retain(|path| path.extension().is_some_and(|ending| ending == "png"));
    pictures.into_iter().max_by_key(|path| {
        sh.current_dir().join(path).metadata().and_then(|file| file.modified()).ok()
    })
}

/// The words after a finished run.
fn what_next(recipe: &str, out: &str, device: Option<&str>, picture: Option<&Path>) -> String {
    let picture = match picture {
        Some(picture) => format!("newest picture: {}", picture.display()),
        None => format!("no picture in {out}/samples yet"),
    };
    let device = device.map(|device| format!(" --device {device}")).unwrap_or_default();
    let (prompt, file) = match recipe.contains("emoji") {
        true => ("red apple", "red-apple.png"),
        false => ("red K on yellow", "red-k.png"),
    };
    format!(
        "\n{picture}\n\nTry next:\n  \
         cargo xtask mm draw {out}/model \"{prompt}\" --out {file}{device}\n  \
         cargo xtask mm read {out}/model {file}{device}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_fresh(recipe: &str, taken: &[&str], wanted: &str) {
        let found = fresh(recipe, |folder| taken.contains(&folder)).unwrap();
        assert_eq!(found, wanted, "{recipe} beside {taken:?}");
    }

    #[test]
    fn a_run_never_goes_into_a_folder_that_is_taken() {
        check_fresh("glyphs", &[], "runs/glyphs");
        check_fresh("glyphs", &["runs/glyphs"], "runs/glyphs-2");
        check_fresh("glyphs", &["runs/glyphs", "runs/glyphs-2"], "runs/glyphs-3");
        check_fresh("my/own.toml", &["runs/glyphs"], "runs/own");
        assert!(fresh("..", |_| false).is_err());
    }

    #[test]
    fn the_words_after_a_run_can_be_typed_as_they_stand() {
        let picture = Path::new("runs/glyphs/samples/2.png");
        let words = what_next("glyphs", "runs/glyphs", Some("vulkan"), Some(picture));
        let wanted = "
newest picture: runs/glyphs/samples/2.png

Try next:
  cargo xtask mm draw runs/glyphs/model \"red K on yellow\" --out red-k.png --device vulkan
  cargo xtask mm read runs/glyphs/model red-k.png --device vulkan
";
        assert_eq!(words, wanted);
    }

    #[test]
    fn the_newest_picture_is_a_picture_and_none_is_no_error() {
        let sh = Shell::new().unwrap();
        let folder = sh.create_temp_dir().unwrap();
        sh.change_dir(folder.path());
        assert_eq!(newest_picture(&sh, Path::new("samples")), None);
        sh.write_file("samples/1.png", "").unwrap();
        sh.write_file("samples/log.txt", "").unwrap();
        let found = newest_picture(&sh, Path::new("samples")).unwrap();
        assert!(found.ends_with("samples/1.png"), "{}", found.display());
    }
}

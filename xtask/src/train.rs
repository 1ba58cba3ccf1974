//! `cargo xtask train RECIPE` leads from a fresh checkout to a trained model and its first image,
//! in one command.
//!
//! A run never touches an earlier one: if `runs/RECIPE` is taken, it goes to `runs/RECIPE-2`, and
//! so on.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result};
use xshell::Shell;

use crate::{costs, flags, mm};

impl flags::Train {
    /// Says what comes and what it costs, builds, trains, and says where the images are and what to
    /// type next.
    pub fn run(&self, sh: &Shell, extra: &[OsString]) -> Result<ExitCode> {
        let recipe = self.recipe.as_deref().unwrap_or("glyphs");
        let device = self.device.clone().or_else(|| mm::device_of(extra));
        let out = fresh(recipe, |folder| sh.path_exists(folder))?;
        println!("{}", announcement(recipe, &out, time_of(sh, recipe).as_deref()));
        println!("\n== 1 of 2, build of the release program");
        let program = mm::build(sh, device.as_deref())?;

        let mut train = Command::from(sh.cmd(program));
        train.args(["train", recipe, "--out", &out]);
        if let Some(device) = &self.device {
            train.args(["--device", device]);
        }
        println!("\n== 2 of 2, training of `{recipe}` into {out}");
        let code = mm::attached(train.args(extra))?;
        if code == ExitCode::SUCCESS {
            let image = newest_image(sh, &Path::new(&out).join("samples"));
            print!("{}", what_next(recipe, &out, device.as_deref(), image.as_deref()));
        }
        Ok(code)
    }
}

/// Says what the command does and what it costs, before the build begins.
fn announcement(recipe: &str, out: &str, time: Option<&str>) -> String {
    let costs::Minutes { first, later } = costs::RELEASE_BUILD;
    let build = match (first, later) {
        (None, None) => String::new(),
        (Some(first), None) => format!(": {first:.1} min the first time"),
        (None, Some(later)) => format!(": {later:.1} min after a small change"),
        (Some(first), Some(later)) => {
            format!(": {first:.1} min the first time, {later:.1} min after a small change")
        }
    };
    format!(
        "2 steps:\n1. build the release program{build}\n2. train `{recipe}` into {out}: {}\n{} {}",
        time.unwrap_or("its recipe says no time"),
        costs::disk(costs::RELEASE_DISK),
        costs::measured()
    )
}

/// Returns what the head of a recipe says about its time.
fn time_of(sh: &Shell, recipe: &str) -> Option<String> {
    let own = format!("crates/mm-cli/recipes/{recipe}.toml");
    let path = if sh.path_exists(&own) { own } else { recipe.to_owned() };
    let text = sh.read_file(path).ok()?;
    let head = text.lines().take_while(|line| line.starts_with('#'));
    head.filter_map(|line| line.strip_prefix("# time: ")).next().map(String::from)
}

/// Returns the first of `runs/NAME`, `runs/NAME-2`, ... that is not taken; NAME is the recipe's,
/// without folder and ending.
fn fresh(recipe: &str, taken: impl Fn(&str) -> bool) -> Result<String> {
    let name = Path::new(recipe).file_stem().and_then(|name| name.to_str());
    let first = format!("runs/{}", name.with_context(|| format!("`{recipe}` names no recipe"))?);
    if !taken(&first) {
        return Ok(first);
    }
    let mut later = (2..).map(|number| format!("{first}-{number}"));
    later.find(|folder| !taken(folder)).context("every number is taken")
}

/// Returns the image written last, if the folder has one.
fn newest_image(sh: &Shell, samples: &Path) -> Option<PathBuf> {
    let mut images = sh.read_dir(samples).unwrap_or_default();
    images.retain(|path| path.extension().is_some_and(|ending| ending == "png"));
    images.into_iter().max_by_key(|path| {
        sh.current_dir().join(path).metadata().and_then(|file| file.modified()).ok()
    })
}

/// Says after a finished run where the newest image is and what to type next.
fn what_next(recipe: &str, out: &str, device: Option<&str>, image: Option<&Path>) -> String {
    let image = match image {
        Some(image) => format!("newest image: {}", image.display()),
        None => format!("no image in {out}/samples yet"),
    };
    let device = device.map(|device| format!(" --device {device}")).unwrap_or_default();
    let (prompt, file) = if recipe.contains("emoji") {
        ("red apple", "red-apple.png")
    } else {
        ("red K on yellow", "red-k.png")
    };
    format!(
        "\n{image}\n\nTry next:\n  \
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
    fn the_time_of_a_recipe_stands_in_its_head() {
        let sh = Shell::new().unwrap();
        let folder = sh.create_temp_dir().unwrap();
        sh.change_dir(folder.path());
        let text = "# What it is.\n#\n# time: 4 min on two cores\nseed = 0\n# time: 9 min\n";
        sh.write_file("crates/mm-cli/recipes/a.toml", text).unwrap();
        sh.write_file("b.toml", "seed = 0\n").unwrap();
        assert_eq!(time_of(&sh, "a").as_deref(), Some("4 min on two cores"));
        assert_eq!(time_of(&sh, "b.toml"), None);
        assert_eq!(time_of(&sh, "none"), None);
        let text = announcement("a", "runs/a", Some("4 min on two cores"));
        assert!(text.contains("\n2. train `a` into runs/a: 4 min on two cores\n"), "{text}");
    }

    #[test]
    fn the_words_after_a_run_can_be_typed_as_they_stand() {
        let image = Path::new("runs/glyphs/samples/2.png");
        let words = what_next("glyphs", "runs/glyphs", Some("vulkan"), Some(image));
        let wanted = "
newest image: runs/glyphs/samples/2.png

Try next:
  cargo xtask mm draw runs/glyphs/model \"red K on yellow\" --out red-k.png --device vulkan
  cargo xtask mm read runs/glyphs/model red-k.png --device vulkan
";
        assert_eq!(words, wanted);
    }

    #[test]
    fn the_newest_image_is_an_image_and_none_is_no_error() {
        let sh = Shell::new().unwrap();
        let folder = sh.create_temp_dir().unwrap();
        sh.change_dir(folder.path());
        assert_eq!(newest_image(&sh, Path::new("samples")), None);
        sh.write_file("samples/1.png", "").unwrap();
        sh.write_file("samples/log.txt", "").unwrap();
        let found = newest_image(&sh, Path::new("samples")).unwrap();
        assert!(found.ends_with("samples/1.png"), "{}", found.display());
    }
}

//! What PNG files tell of their images: caption, seed, model and settings, as named texts.
//!
//! The texts hold no time and no folder of this machine, so that one drawing gives the same bytes
//! everywhere. Files of other formats hold none.

use std::path::Path;

use clap::Args;
use mm_model::GenerateOptions;
use mm_patch::{Grid, PngText};

/// The flag of commands that write images.
#[derive(Debug, Args)]
pub struct MetadataArgs {
    /// Leave caption, seed, model and settings out of the PNG file.
    #[arg(long)]
    no_metadata: bool,
}

/// The texts of one image, in the order in which they are written.
#[derive(Debug, Clone)]
pub struct Metadata {
    texts: Vec<PngText>,
}

impl Metadata {
    /// Starts with the program that writes the image.
    pub fn new() -> Self {
        Self { texts: vec![PngText::software()] }
    }

    /// Starts with the program, the caption, the model folder, and how an image is denoised.
    pub fn of(caption: &str, folder: &Path, options: &GenerateOptions) -> Self {
        Self { texts: options.png_texts(caption, &model_name(folder)) }
    }

    /// Adds a text under a keyword. An empty one is left out.
    pub fn with(mut self, keyword: &str, text: impl ToString) -> Self {
        let text = text.to_string();
        if !text.is_empty() {
            self.texts.push(PngText::new(keyword, text));
        }
        self
    }

    /// Adds the name of a model folder.
    pub fn model(self, folder: &Path) -> Self {
        self.with("Model", model_name(folder))
    }

    /// Adds how an image is denoised.
    pub fn sampling(self, sampler: impl ToString, steps: usize, seed: u64) -> Self {
        self.with("Seed", seed).with("Sampler", sampler).with("Steps", steps)
    }

    /// Adds the size in which an image is drawn.
    pub fn size(self, grid: Grid) -> Self {
        self.with("Size", format!("{}x{}", grid.width(), grid.height()))
    }

    /// Returns the texts to write, which are none where the flag says so.
    pub fn texts(&self, flag: &MetadataArgs) -> &[PngText] {
        if flag.no_metadata { &[] } else { &self.texts }
    }

    /// Returns all texts.
    pub fn all(&self) -> &[PngText] {
        &self.texts
    }
}

/// Returns the name of a model folder without the folders around it. The folders of a
/// run, such as `model` and `model-best`, have the name of the run before them, as in
/// `glyphs/model`.
fn model_name(folder: &Path) -> String {
    let whole = fs_err::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let Some(last) = name(&whole) else { return String::new() };
    match whole.parent().and_then(name) {
        Some(run) if last == "model" || last.starts_with("model-") => {
            format!("{run}/{last}")
        }
        _ => last,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_named_without_the_folders_around_its_run() {
        let name = |path: &str| model_name(Path::new(path));
        assert_eq!(name("/nowhere/runs/glyphs/model"), "glyphs/model");
        assert_eq!(name("/nowhere/secret/faces"), "faces");
        assert_eq!(name("/nowhere/runs/glyphs/model-best/"), "glyphs/model-best");
    }

    #[test]
    fn empty_texts_are_left_out() {
        let metadata = Metadata::new().with("Description", "").with("Seed", 7);
        let keywords: Vec<&str> = metadata.all().iter().map(|text| text.keyword.as_str()).collect();
        assert_eq!(keywords, ["Software", "Seed"]);
    }
}

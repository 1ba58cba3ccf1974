//! Where `mm draw` writes: one file, a folder, or files of a pattern. The names of files in a
//! folder are made of captions, and are safe and unique on every system.

use std::path::{Path, PathBuf};

use crate::files::format_of;
use crate::terminal::{Failure, usage};

/// The place of the number in a pattern.
const NUMBER: &str = "{n}";

/// The most characters of a caption in a file name.
const MOST_CHARACTERS: usize = 48;

/// What `--out` asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// One image file.
    Sheet(PathBuf),
    /// A folder with one file for each image.
    Folder(PathBuf),
    /// A file name with `{n}` in it, one file for each image.
    Pattern(String),
}

impl Output {
    /// Tells what `--out` asks for. With `many` captions, an image file cannot hold the images, and
    /// any other name is a folder.
    pub fn of(out: &Path, many: bool) -> Result<Self, Failure> {
        let text = out.to_string_lossy();
        let is_folder = text.ends_with(std::path::is_separator) || out.is_dir();
        if text.contains(NUMBER) && !is_folder {
            format_of(out)?;
            let name = out.file_name().unwrap_or_default().to_string_lossy();
            if !name.contains(NUMBER) {
                return Err(usage!(
                    "`--out {text}` has `{NUMBER}` in a folder, wanted in the file name"
                ));
            }
            return Ok(Self::Pattern(text.into_owned()));
        }
        if is_folder || many && out.extension().is_none() {
            return Ok(Self::Folder(out.to_owned()));
        }
        if many {
            return Err(usage!("`--out {text}` is one file, wanted a folder for the images of --captions")
                .hint(format!("`--out {text}/` is a folder, and `{NUMBER}` in the name makes one file for each image")));
        }
        Ok(Self::Sheet(out.to_owned()))
    }

    /// Returns the files of images with these captions, in their order; for a sheet there are none.
    /// Numbers start at 1 and have as many digits as the last.
    pub fn files(&self, captions: &[&str]) -> Vec<PathBuf> {
        let digits = captions.len().to_string().len();
        let number = |at: usize| format!("{:0digits$}", at + 1);
        match self {
            Self::Sheet(_) => vec![],
            Self::Folder(folder) => {
                let name = |(at, caption): (usize, &&str)| {
                    folder.join(format!(
                        "{}.png",
                        [number(at), slug(caption)].join("-").trim_end_matches('-')
                    ))
                };
                captions.iter().enumerate().map(name).collect()
            }
            Self::Pattern(pattern) => {
                let file = |at| PathBuf::from(pattern.replace(NUMBER, &number(at)));
                (0..captions.len()).map(file).collect()
            }
        }
    }
}

/// Returns the beginning of a caption in letters and digits that every file system takes, with `-`
/// in place of all else.
fn slug(caption: &str) -> String {
    let mut slug = String::new();
    for character in caption.chars().flat_map(char::to_lowercase) {
        if slug.chars().count() >= MOST_CHARACTERS {
            break;
        }
        if character.is_alphanumeric() {
            slug.push(character);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_file_a_pattern_or_a_folder() {
        let of = |out: &str, many| Output::of(Path::new(out), many).map_err(|why| why.words());
        assert_eq!(of("k.png", false), Ok(Output::Sheet("k.png".into())));
        assert_eq!(of("k-{n}.webp", false), Ok(Output::Pattern("k-{n}.webp".into())));
        assert_eq!(of("drawn/", false), Ok(Output::Folder("drawn/".into())));
        assert_eq!(of("drawn", true), Ok(Output::Folder("drawn".into())));
        assert_eq!(of("k-{n}.png", true), Ok(Output::Pattern("k-{n}.png".into())));
        assert!(of("k.png", true).unwrap_err().contains("wanted a folder"));
        assert!(of("k-{n}.tiff", false).unwrap_err().contains("wanted png, jpg, webp or bmp"));
        assert!(of("a{n}/k.png", false).unwrap_err().contains("wanted in the file name"));
    }

    #[test]
    fn files_of_a_folder_are_safe_and_unique() {
        let long = "a".repeat(300);
        let mut captions = vec![
            "../../etc/passwd",
            "CON",
            "red K on yellow",
            "red K on yellow",
            "",
            "\x1b[31m:*?",
        ];
        captions.extend(["ГРУША 梨", &long, "x", "y"]);
        let files = Output::Folder("out".into()).files(&captions);
        let names: Vec<&str> = files.iter().map(|file| file.to_str().unwrap()).collect();
        assert_eq!(
            names[..7],
            [
                "out/01-etc-passwd.png",
                "out/02-con.png",
                "out/03-red-k-on-yellow.png",
                "out/04-red-k-on-yellow.png",
                "out/05.png",
                "out/06-31m.png",
                "out/07-груша-梨.png",
            ]
        );
        assert_eq!(names[7], format!("out/08-{}.png", "a".repeat(48)));
    }

    #[test]
    fn a_pattern_has_the_number_in_its_place() {
        let files = Output::Pattern("k-{n}.png".to_owned()).files(&["a"; 2]);
        assert_eq!(files, [Path::new("k-1.png"), Path::new("k-2.png")]);
    }
}

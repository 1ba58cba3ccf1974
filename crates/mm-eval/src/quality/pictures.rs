//! The real pictures that drawings are compared with: from any folder, without captions, or from a recipe's own data.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use mm_model::random::{Purpose, stream};
use mm_patch::{DecodeOptions, Fit, Image};
use rand::seq::SliceRandom;
use rayon::prelude::*;

use super::QualityError;
use mm_data::{DataSet, EXTENSIONS, Skipped, Split};

/// A picture and what it is called.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// Its path below the folder, or its caption.
    pub name: String,
    /// The pixels.
    pub image: Image,
}

/// Pictures of one size.
#[derive(Debug, Clone, PartialEq)]
pub struct Pictures {
    /// At least one.
    pub pictures: Vec<Picture>,
    /// Files that look like pictures and were tried, but cannot be read.
    pub skipped: Vec<Skipped>,
}

/// `count` pictures (or all, if there are fewer) of a folder and what is below it, in an order that `seed` decides, cropped
/// about the centre to `width` x `height` as in training. Files that cannot be read are left out and named.
pub fn folder_pictures(
    folder: &Path,
    [width, height]: [usize; 2],
    count: usize,
    seed: u64,
) -> Result<Pictures, QualityError> {
    let mut files = vec![];
    list(folder, &mut files)?;
    files.sort();
    files.shuffle(&mut order(seed));
    let fit = Fit::CenterCrop { width, height };
    let (mut found, mut tried) = (Pictures { pictures: vec![], skipped: vec![] }, 0);
    while found.pictures.len() < count && tried < files.len() {
        let wanted = count - found.pictures.len();
        let next = &files[tried..files.len().min(tried + wanted)];
        let read: Vec<_> = next.par_iter().map(|path| (path, read(path, fit))).collect();
        for (path, read) in read {
            match read {
                Ok(image) => {
                    let below = path.strip_prefix(folder).unwrap_or(path);
                    found.pictures.push(Picture { name: below.display().to_string(), image });
                }
                Err(why) => found.skipped.push(Skipped { path: path.clone(), why }),
            }
        }
        tried += next.len();
    }
    if found.pictures.is_empty() {
        let first = found.skipped.first();
        let first = first.map(|skipped| format!(": `{}`: {}", skipped.path.display(), skipped.why));
        return Err(QualityError::NoPicture {
            path: folder.into(),
            listed: files.len(),
            first: first.unwrap_or_default(),
        });
    }
    Ok(found)
}

/// `count` pictures of a part of a data set (or all, if there are fewer), in an order that `seed` decides.
pub fn source_pictures(
    data: &DataSet,
    split: Split,
    count: usize,
    seed: u64,
) -> Result<Pictures, QualityError> {
    let mut indices: Vec<u64> = (0..data.len(split).unwrap_or(count as u64)).collect();
    indices.shuffle(&mut order(seed));
    indices.truncate(count);
    let one = |&index: &u64| {
        let mut rng = stream(seed, Purpose::Example, u64::MAX - 2, index);
        let example = data.example(split, index, &mut rng)?;
        Ok(example.map(|example| Picture { name: example.caption, image: example.image }))
    };
    let pictures = indices.par_iter().map(one).collect::<Result<Vec<_>, QualityError>>()?;
    let pictures: Vec<Picture> = pictures.into_iter().flatten().collect();
    if pictures.is_empty() {
        return Err(QualityError::TooFew { what: "real pictures", found: 0, wanted: 1 });
    }
    Ok(Pictures { pictures, skipped: data.skipped() })
}

fn order(seed: u64) -> rand_chacha::ChaCha8Rng {
    stream(seed, Purpose::Order, u64::MAX - 2, 0)
}

/// Files whose names end as pictures' do; hidden ones and linked folders are passed over.
fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), QualityError> {
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let ending = path.extension().and_then(OsStr::to_str).map(str::to_ascii_lowercase);
        if hidden {
            continue;
        }
        if fs_err::symlink_metadata(&path)?.is_dir() {
            list(&path, files)?;
        } else if ending.is_some_and(|ending| EXTENSIONS.contains(&ending.as_str())) {
            files.push(path);
        }
    }
    Ok(())
}

fn read(path: &Path, fit: Fit) -> Result<Image, String> {
    let options = DecodeOptions::default();
    let bytes = fs_err::metadata(path).map_err(|why| chain(&why))?.len();
    if bytes > options.max_bytes {
        return Err(format!("the file has {bytes} bytes, at most {} are read", options.max_bytes));
    }
    let file = fs_err::read(path).map_err(|why| chain(&why))?;
    let image = Image::decode(&file, &options).map_err(|why| chain(&why))?;
    Ok(fit.apply(&image, 1).map_err(|why| chain(&why))?.0)
}

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!(": {}", chain(cause)));
    format!("{error}{}", cause.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mm_patch::Format;

    fn folder(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = folder.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, bytes).unwrap();
        }
        folder
    }

    fn png(shade: u8) -> Vec<u8> {
        Image::filled(9, 6, [shade; 3]).encode_png()
    }

    #[test]
    fn broken_files_are_named_and_the_others_come_at_the_wanted_size() {
        let jpeg = Image::filled(30, 10, [200; 3]).encode(Format::Jpeg).unwrap();
        let folder = folder(&[
            ("a.png", png(1)),
            ("below/b.PNG", png(2)),
            ("c.jpg", jpeg),
            ("cut.png", png(3)[..20].to_vec()),
            ("empty.gif", vec![]),
            ("notes.txt", b"no picture".to_vec()),
            (".hidden.png", png(4)),
        ]);
        let found = folder_pictures(folder.path(), [4, 4], 100, 0).unwrap();
        assert_eq!((found.pictures.len(), found.skipped.len()), (3, 2));
        assert!(found.pictures.iter().all(|p| (p.image.width(), p.image.height()) == (4, 4)));
        assert!(found.pictures.iter().any(|p| p.name.ends_with("b.PNG")));
    }

    #[test]
    fn broken_files_are_made_up_for_and_a_seed_decides_which_are_taken() {
        let mut files = vec![("broken.png".to_owned(), b"no".to_vec())];
        files.extend((0..20).map(|n| (format!("{n}.png"), png(n))));
        let files: Vec<(&str, Vec<u8>)> =
            files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
        let folder = folder(&files);
        let take = |count, seed| folder_pictures(folder.path(), [4, 4], count, seed).unwrap();
        assert_eq!(take(20, 0).pictures.len(), 20);
        assert_eq!(take(5, 3), take(5, 3));
        assert_ne!(take(5, 3).pictures, take(5, 4).pictures);
    }

    #[test]
    fn a_folder_without_pictures_is_refused_with_the_reason() {
        let said = |folder: &tempfile::TempDir| {
            folder_pictures(folder.path(), [4, 4], 9, 0).unwrap_err().to_string()
        };
        assert!(said(&folder(&[])).contains("0 were tried"));
        let one = folder(&[("a.png", vec![])]);
        assert!(said(&one).contains("1 were tried: `") && said(&one).contains("empty"));
        assert!(folder_pictures(&one.path().join("gone"), [4, 4], 9, 0).is_err());
    }
}

//! This module makes the sets of images that are compared: real ones from any folder, without
//! captions, or from a recipe's own data; drawings; and real ones with their tiles shuffled.

use std::path::Path;

use mm_data::{DataSet, Skipped, Split, image_files};
use mm_model::random::{Purpose, part_seed, stream};
use mm_model::{Document, GenerateOptions, LoadedModel};
use mm_patch::{DecodeOptions, Fit, Grid, Image};
use rand::RngExt;
use rand::seq::SliceRandom;
use rayon::prelude::*;

use crate::EvalError;

/// Counts the images that are drawn in one batch.
const TOGETHER: usize = 32;
/// Counts the tiles along each side of an image whose tiles are shuffled.
const TILES: usize = 8;

/// An image with its name.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedImage {
    /// The path below the folder, or the caption.
    pub name: String,
    /// The pixels.
    pub image: Image,
}

/// Images of one size.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageSet {
    /// The images, of which there is at least one.
    pub images: Vec<NamedImage>,
    /// The files that were tried and cannot be read.
    pub skipped: Vec<Skipped>,
}

/// Reads `count` images of a folder and its folders, or all images if there are fewer, in an order
/// that `seed` decides. They are cropped about the center to `width` x `height` as in training.
/// Files that cannot be read are left out and named.
pub fn folder_images(
    folder: &Path,
    width: usize,
    height: usize,
    count: usize,
    seed: u64,
) -> Result<ImageSet, EvalError> {
    let mut files = image_files(folder)?;
    files.sort();
    files.shuffle(&mut order(seed));
    let fit = Fit::CenterCrop { width, height };
    let (mut found, mut tried) = (ImageSet { images: vec![], skipped: vec![] }, 0);
    while found.images.len() < count && tried < files.len() {
        let wanted = count - found.images.len();
        let next = &files[tried..files.len().min(tried + wanted)];
        let read: Vec<_> = next.par_iter().map(|path| (path, read(path, fit))).collect();
        for (path, read) in read {
            match read {
                Ok(image) => {
                    let below = path.strip_prefix(folder).unwrap_or(path);
                    found.images.push(NamedImage { name: below.display().to_string(), image });
                }
                Err(why) => found.skipped.push(Skipped { path: path.clone(), why }),
            }
        }
        tried += next.len();
    }
    if found.images.is_empty() {
        let first = found.skipped.first();
        let first = first.map(|skipped| format!(": `{}`: {}", skipped.path.display(), skipped.why));
        return Err(EvalError::NoImage {
            path: folder.into(),
            listed: files.len(),
            first: first.unwrap_or_default(),
        });
    }
    Ok(found)
}

/// Returns `count` images of a split of a data set, or all images if there are fewer, in an order
/// that `seed` decides. Their names are their captions.
pub fn source_images(
    data: &DataSet,
    split: Split,
    count: usize,
    seed: u64,
) -> Result<ImageSet, EvalError> {
    let mut indices: Vec<u64> = (0..data.len(split).unwrap_or(count as u64)).collect();
    indices.shuffle(&mut order(seed));
    indices.truncate(count);
    let one = |&index: &u64| {
        let mut rng = stream(seed, Purpose::Example, u64::MAX - 2, index);
        let example = data.example(split, index, &mut rng)?;
        Ok(example.map(|example| NamedImage { name: example.caption, image: example.image }))
    };
    let images = indices.par_iter().map(one).collect::<Result<Vec<_>, EvalError>>()?;
    let images: Vec<NamedImage> = images.into_iter().flatten().collect();
    if images.is_empty() {
        return Err(EvalError::TooFew { what: "real images", found: 0, wanted: 1 });
    }
    Ok(ImageSet { images, skipped: data.skipped() })
}

/// Returns `count` captions of a split of the data, again from the first if there are fewer. Each
/// is left out with the probability `drop`, as in training.
pub fn captions_to_draw(
    data: &DataSet,
    split: Split,
    count: usize,
    drop: f64,
    seed: u64,
) -> Result<Vec<String>, EvalError> {
    let real = source_images(data, split, count, seed)?.images;
    let mut captions = Vec::with_capacity(count);
    for (index, image) in (0..count as u64).zip(real.iter().cycle()) {
        let uniform: f64 = stream(seed, Purpose::Order, u64::MAX - 3, index).random();
        captions.push(if uniform < drop { String::new() } else { image.name.clone() });
    }
    Ok(captions)
}

/// Draws an image after each caption. An empty caption is no condition at all. `drawn` is told how
/// many images are done. The noise of an image depends only on the seed and on its index.
pub fn drawings(
    model: &LoadedModel,
    captions: &[String],
    grid: Grid,
    options: &GenerateOptions,
    drawn: &mut dyn FnMut(usize),
) -> Result<Vec<Image>, EvalError> {
    let mut images = vec![];
    for (batch, captions) in (0u64..).zip(captions.chunks(TOGETHER)) {
        let mut prompts = vec![];
        for caption in captions {
            let none = caption.is_empty();
            prompts.push(if none { Document::default() } else { Document::of_text(caption) });
        }
        let mut options = options.clone();
        options.seed = part_seed(options.seed, batch);
        if captions.iter().all(String::is_empty) {
            options.guidance.scale = 1.0; // there is no condition to guide towards
        }
        images.extend(model.draw(&prompts, grid, &options)?);
        drawn(images.len());
    }
    Ok(images)
}

/// Returns an image cut into eight by eight tiles that are put back in another order, a pure
/// function of `seed` and `index`. Colors and texture stay, what the image shows is lost.
///
/// Pixels to the right of and below the last whole tile stay where they are. An image of fewer than
/// two pixels a side stays as it is.
pub fn shuffled_tiles(image: &Image, seed: u64, index: u64) -> Image {
    let [cols, rows] = [image.width(), image.height()].map(|side| side.min(TILES));
    let [width, height] = [image.width() / cols, image.height() / rows];
    let corner = |tile: usize| (tile % cols * width, tile / cols * height);
    let mut order: Vec<usize> = (0..cols * rows).collect();
    order.shuffle(&mut stream(seed, Purpose::Example, u64::MAX - 1, index));
    let mut shuffled = image.clone();
    for (to, from) in order.into_iter().enumerate() {
        let ((x, y), (left, top)) = (corner(to), corner(from));
        shuffled.paste(&image.crop(left, top, width, height), x, y);
    }
    shuffled
}

fn order(seed: u64) -> rand_chacha::ChaCha8Rng {
    stream(seed, Purpose::Order, u64::MAX - 2, 0)
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

/// Returns an error with its causes on one line, without a cause that it says itself.
fn chain(error: &dyn std::error::Error) -> String {
    let said = error.to_string();
    match error.source().map(chain) {
        Some(cause) if !said.ends_with(&cause) => format!("{said}: {cause}"),
        _ => said,
    }
}

#[cfg(test)]
mod tests {
    use mm_patch::Format;

    use super::*;

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
            ("notes.txt", b"no image".to_vec()),
            (".hidden.png", png(4)),
        ]);
        let found = folder_images(folder.path(), 4, 4, 100, 0).unwrap();
        assert_eq!((found.images.len(), found.skipped.len()), (3, 2));
        assert!(found.images.iter().all(|p| (p.image.width(), p.image.height()) == (4, 4)));
        assert!(found.images.iter().any(|p| p.name.ends_with("b.PNG")));
    }

    #[test]
    fn broken_files_are_made_up_for_and_a_seed_decides_which_are_taken() {
        let mut files = vec![("broken.png".to_owned(), b"no".to_vec())];
        files.extend((0..20).map(|n| (format!("{n}.png"), png(n))));
        let files: Vec<(&str, Vec<u8>)> =
            files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
        let folder = folder(&files);
        let take = |count, seed| folder_images(folder.path(), 4, 4, count, seed).unwrap();
        assert_eq!(take(20, 0).images.len(), 20);
        assert_eq!(take(5, 3), take(5, 3));
        assert_ne!(take(5, 3).images, take(5, 4).images);
    }

    #[test]
    fn a_folder_without_images_is_refused_with_the_reason() {
        let said = |folder: &tempfile::TempDir| {
            folder_images(folder.path(), 4, 4, 9, 0).unwrap_err().to_string()
        };
        assert!(said(&folder(&[])).contains("0 were tried"));
        let one = folder(&[("a.png", vec![])]);
        assert!(said(&one).contains("1 were tried: `") && said(&one).contains("empty"));
        assert!(folder_images(&one.path().join("gone"), 4, 4, 9, 0).is_err());
    }

    #[test]
    fn every_tile_is_somewhere_else_or_in_place_and_none_is_lost() {
        let pixel = |at: usize| [(at % 19) as u8, (at / 19) as u8, 0];
        let image = Image::new(19, 16, (0..19 * 16).flat_map(pixel).collect()).unwrap();
        let shuffled = shuffled_tiles(&image, 1, 2);
        let sorted = |image: &Image| {
            let mut pixels: Vec<[u8; 3]> = image.rgb().as_chunks::<3>().0.to_vec();
            pixels.sort_unstable();
            pixels
        };
        assert_ne!(shuffled, image);
        assert_eq!(sorted(&shuffled), sorted(&image));
        assert_eq!(shuffled.crop(16, 0, 3, 16), image.crop(16, 0, 3, 16));
        assert_eq!(shuffled, shuffled_tiles(&image, 1, 2));
        assert_ne!(shuffled, shuffled_tiles(&image, 1, 3));
    }

    #[test]
    fn an_image_of_one_pixel_is_no_error() {
        let image = Image::filled(1, 1, [3; 3]);
        assert_eq!(shuffled_tiles(&image, 0, 0), image);
    }
}

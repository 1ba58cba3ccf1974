//! This module tells whether a drawing is a copy of a training image: it finds the nearest one,
//! pixel by pixel.
//!
//! The distance is the root of the mean squared difference of bytes, so 255 is black against white.
//! Whether it is small is told by the same distance of images that the model was never trained on:
//! a model that learned by heart draws nearer than those lie.

use mm_patch::Image;
use rayon::prelude::*;
use serde::Serialize;

use crate::EvalError;

/// The nearest of many images.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Nearest {
    /// The index of the image.
    pub index: usize,
    /// The root of the mean squared difference of bytes.
    pub distance: f64,
}

/// Returns the nearest of `among` for every image. All images have one size.
///
/// ```
/// use mm_eval::quality::nearest;
/// use mm_patch::Image;
///
/// let [black, gray, white] = [0, 100, 255].map(|shade| Image::filled(4, 4, [shade; 3]));
/// let found = nearest(&[gray], &[white, black])?;
/// assert_eq!((found[0].index, found[0].distance), (1, 100.0));
/// # Ok::<(), mm_eval::EvalError>(())
/// ```
pub fn nearest(images: &[Image], among: &[Image]) -> Result<Vec<Nearest>, EvalError> {
    let Some(first) = among.first() else {
        return Err(EvalError::TooFew { what: "training images", found: 0, wanted: 1 });
    };
    let size = |image: &Image| (image.width(), image.height());
    if let Some(other) = images.iter().chain(among).find(|image| size(image) != size(first)) {
        return Err(EvalError::Size { found: size(other), wanted: size(first) });
    }
    Ok(images.par_iter().map(|image| nearest_but(image, among, None)).collect())
}

/// Returns, for each of the first `count` images, the nearest of all the others: a baseline for
/// drawings that are compared with as many images.
///
/// ```
/// use mm_eval::quality::nearest_others;
/// use mm_patch::Image;
///
/// let all = [0, 100, 255].map(|shade| Image::filled(4, 4, [shade; 3]));
/// let found = nearest_others(&all, 2)?;
/// assert_eq!((found[0].index, found[1].index), (1, 0));
/// # Ok::<(), mm_eval::EvalError>(())
/// ```
pub fn nearest_others(images: &[Image], count: usize) -> Result<Vec<Nearest>, EvalError> {
    if images.len() < 2 {
        let (what, found, wanted) = ("training images", images.len(), 2);
        return Err(EvalError::TooFew { what, found, wanted });
    }
    let first = &images[..count.min(images.len())];
    let others = first.par_iter().enumerate();
    Ok(others.map(|(at, image)| nearest_but(image, images, Some(at))).collect())
}

/// Returns the nearest of `among` but the one at `out`. All images have one size.
fn nearest_but(image: &Image, among: &[Image], out: Option<usize>) -> Nearest {
    let mut best = (0, u64::MAX);
    for (index, other) in among.iter().enumerate().filter(|(index, _)| Some(*index) != out) {
        let squares = squared_difference(image, other, best.1);
        if squares < best.1 {
            best = (index, squares);
        }
    }
    Nearest { index: best.0, distance: (best.1 as f64 / image.rgb().len() as f64).sqrt() }
}

/// Returns the median of distances: the mean of the middle two where their number is even, and not
/// a number where there are none.
pub fn median(nearest: &[Nearest]) -> f64 {
    let mut distances: Vec<f64> = nearest.iter().map(|nearest| nearest.distance).collect();
    distances.sort_by(f64::total_cmp);
    let middle = distances.len() / 2;
    match distances.len() % 2 {
        0 if middle > 0 => (distances[middle - 1] + distances[middle]) / 2.0,
        _ => distances.get(middle).copied().unwrap_or(f64::NAN),
    }
}

/// Returns the sum of squared differences, or any number from `limit` on once the sum reaches it.
fn squared_difference(one: &Image, other: &Image, limit: u64) -> u64 {
    let mut sum = 0;
    for (one, other) in one.rgb().chunks(1024).zip(other.rgb().chunks(1024)) {
        let part: u32 = one.iter().zip(other).map(|(a, b)| u32::from(a.abs_diff(*b)).pow(2)).sum();
        sum += u64::from(part);
        if sum >= limit {
            break;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(shade: u8) -> Image {
        Image::filled(40, 30, [shade; 3])
    }

    #[test]
    fn the_nearest_image_is_found_with_its_distance() {
        let among: Vec<Image> = [0, 100, 200, 100].map(flat).into();
        let found = nearest(&[flat(97), flat(255), flat(0)], &among).unwrap();
        let wanted = [(1, 3.0), (2, 55.0), (0, 0.0)];
        assert_eq!(found, wanted.map(|(index, distance)| Nearest { index, distance }));
        assert_eq!((median(&found), median(&found[..2])), (3.0, 29.0));
    }

    /// Each image has one that is near it. A comparison of one half with the other would part them.
    #[test]
    fn an_image_is_compared_with_all_others_and_not_with_itself() {
        let all: Vec<Image> = [0, 200, 2, 203].map(flat).into();
        let found = nearest_others(&all, 3).unwrap();
        let wanted = [(2, 2.0), (3, 3.0), (0, 2.0)];
        assert_eq!(found, wanted.map(|(index, distance)| Nearest { index, distance }));
        assert_eq!(nearest_others(&all, 9).unwrap().len(), 4);
        assert!(nearest_others(&all[..1], 1).is_err());
    }

    #[test]
    fn images_of_another_size_or_none_at_all_are_refused() {
        let said = nearest(&[flat(0)], &[Image::filled(4, 30, [0; 3])]).unwrap_err().to_string();
        assert_eq!(said, "an image of (40, 30) pixels is compared with one of (4, 30)");
        assert!(nearest(&[flat(0)], &[]).is_err());
    }
}

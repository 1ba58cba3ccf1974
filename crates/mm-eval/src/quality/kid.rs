//! This module computes the kernel distance of two sets of features (KID; Bińkowski et al. 2018,
//! arXiv:1801.01401).
//!
//! It is the squared maximum mean discrepancy under the kernel k(x, y) = (x·y / d + 1)³ (their
//! section 4), by the unbiased estimate of Gretton et al. 2012 (lemma 6), a mean over pairs of
//! different images:
//!
//! ```text
//! Σ_{i≠j} k(x_i, x_j) / m(m-1)  +  Σ_{i≠j} k(y_i, y_j) / m(m-1)  -  2 Σ_{i,j} k(x_i, y_j) / m²
//! ```
//!
//! The value is its mean over random subsets of `m` images of each set, at most 1000, as is usual.
//! It has no bias at any number of images and may fall below zero.
//!
//! The spread of the subsets is not the error of their mean, because they share images. Given the
//! images, the mean of B subsets varies by 1/B times their variance about the estimate over all
//! images. That estimate varies with the images as [`variance`] says, also near zero,
//! where the statistic is degenerate. The two are uncorrelated and add up:
//!
//! ```text
//! standard error = √(variance over images + spread² / B)        B = 50
//! ```

mod variance;

use mm_model::random::{Purpose, stream};
use nalgebra::DMatrix;
use rand::seq::index::sample;
use rayon::prelude::*;
use serde::Serialize;

use super::Features;
use crate::EvalError;

/// Counts the subsets that are drawn.
const SUBSETS: usize = 50;
/// Counts the most images of a subset.
const MOST: usize = 1000;

/// Counts the fewest images of a set: a subset is at most half of it, and has pairs.
pub const FEWEST_FOR_KID: usize = 4;

/// A kernel distance.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Kid {
    /// The mean over subsets.
    pub value: f64,
    /// The standard deviation of the value over other images of the same kind and other subsets.
    pub standard_error: f64,
    /// The standard deviation over subsets, which publications give instead.
    pub spread: f64,
    /// The number of images of a subset.
    pub subset: usize,
}

/// Returns the kernel distance of two sets of at least four images each. `seed` chooses the
/// subsets.
///
/// ```
/// use mm_eval::quality::{Features, kid};
///
/// let one = Features::new(1, (0..40).map(|at| at as f32 / 40.0).collect())?;
/// let other = Features::new(1, (0..40).map(|at| 2.0 + at as f32 / 40.0).collect())?;
/// let kid = kid(&one, &other, 0)?;
/// assert!(kid.value > 4.0 * kid.standard_error && kid.subset == 20);
/// # Ok::<(), mm_eval::EvalError>(())
/// ```
pub fn kid(one: &Features, other: &Features, seed: u64) -> Result<Kid, EvalError> {
    one.same_dim(other)?;
    let chosen = kid_subsets(one.count(), other.count(), seed)?;
    let values = kid_over(one, other, &chosen);
    Ok(summary(&values, chosen[0][0].len(), variance_over_images(one, other)))
}

/// Estimates how the estimate over all images varies with the images. Its parts are taken from the
/// first images of either set, at most [`MOST`].
fn variance_over_images(one: &Features, other: &Features) -> f64 {
    let first =
        |features: &Features| rows(features, &(0..MOST.min(features.count())).collect::<Vec<_>>());
    let (x, y) = (first(one), first(other));
    let (n, m) = (one.count(), other.count());
    variance::variance(kernel(&x, &x), kernel(&y, &y), &kernel(&x, &y), n, m)
}

/// Joins the estimates from subsets of `subset` images; the one over all images has this
/// `variance`.
fn summary(values: &[f64], subset: usize, variance: f64) -> Kid {
    let subsets = values.len() as f64;
    let value = values.iter().sum::<f64>() / subsets;
    let squares: f64 = values.iter().map(|found| (found - value).powi(2)).sum();
    let spread = (squares / (subsets - 1.0)).sqrt();
    let standard_error = (variance + spread * spread / subsets).sqrt();
    Kid { value, standard_error, spread, subset }
}

/// Returns the pairs of subsets that [`kid`] takes of sets of `one` and `other` images.
pub fn kid_subsets(one: usize, other: usize, seed: u64) -> Result<Vec<[Vec<usize>; 2]>, EvalError> {
    let count = one.min(other);
    if count < FEWEST_FOR_KID {
        let (what, found, wanted) = ("images", count, FEWEST_FOR_KID);
        return Err(EvalError::TooFew { what, found, wanted });
    }
    Ok(subsets(one, other, MOST.min(count / 2), SUBSETS, seed))
}

/// Returns `count` pairs of subsets of `size` out of sets of `one` and `other` images, a pure
/// function of the arguments.
pub fn subsets(
    one: usize,
    other: usize,
    size: usize,
    count: usize,
    seed: u64,
) -> Vec<[Vec<usize>; 2]> {
    let chosen = |images: usize, index: usize| {
        let rng = &mut stream(seed, Purpose::Order, u64::MAX - 1, index as u64);
        sample(rng, images, size).into_vec()
    };
    (0..count).map(|pair| [chosen(one, 2 * pair), chosen(other, 2 * pair + 1)]).collect()
}

/// Returns the unbiased estimate from each pair of subsets, given as indices of images.
pub fn kid_over(one: &Features, other: &Features, subsets: &[[Vec<usize>; 2]]) -> Vec<f64> {
    subsets
        .par_iter()
        .map(|[first, second]| unbiased(&rows(one, first), &rows(other, second)))
        .collect()
}

fn rows(features: &Features, chosen: &[usize]) -> DMatrix<f64> {
    let numbers = chosen.iter().flat_map(|&row| features.row(row)).map(|&n| f64::from(n));
    DMatrix::from_row_iterator(chosen.len(), features.dim(), numbers)
}

fn unbiased(x: &DMatrix<f64>, y: &DMatrix<f64>) -> f64 {
    let within = |of: &DMatrix<f64>| {
        let kernel = kernel(of, of);
        let pairs = of.nrows() as f64 * (of.nrows() - 1) as f64;
        (kernel.sum() - kernel.trace()) / pairs
    };
    within(x) + within(y) - 2.0 * kernel(x, y).mean()
}

/// Returns the kernel of every pair of rows.
fn kernel(x: &DMatrix<f64>, y: &DMatrix<f64>) -> DMatrix<f64> {
    (x * y.transpose()).map(|product| (product / x.ncols() as f64 + 1.0).powi(3))
}

#[cfg(test)]
mod tests {
    use mm_model::random::normals;

    use super::*;

    fn normal(count: usize, seed: u64, shift: f32) -> Features {
        let numbers = normals(&mut stream(seed, Purpose::Noise, 0, 0), count * 8);
        Features::new(8, numbers.into_iter().map(|number| number + shift).collect()).unwrap()
    }

    #[test]
    fn the_estimate_is_the_mean_over_pairs_of_different_images() {
        let x = Features::new(1, vec![1.0, 2.0, 3.0]).unwrap();
        let y = Features::new(1, vec![0.0, 1.0]).unwrap();
        let k = |a: f64, b: f64| (a * b + 1.0).powi(3);
        let within = (k(1., 2.) + k(1., 3.) + k(2., 3.)) / 3.0 + k(0., 1.);
        let across: f64 =
            [1., 2., 3.].iter().flat_map(|&a| [k(a, 0.), k(a, 1.)]).sum::<f64>() / 6.0;
        let found = kid_over(&x, &y, &[[vec![0, 1, 2], vec![1, 0]]]);
        assert!((found[0] - (within - 2.0 * across)).abs() < 1e-12);
    }

    #[test]
    fn like_sets_differ_by_a_few_standard_errors_and_unlike_ones_by_many() {
        let like = kid(&normal(200, 1, 0.0), &normal(200, 2, 0.0), 0).unwrap();
        assert!(like.value.abs() < 4.0 * like.standard_error, "{like:?}");
        let unlike = kid(&normal(200, 1, 0.0), &normal(200, 2, 0.5), 0).unwrap();
        assert!(unlike.value > 4.0 * unlike.standard_error, "{unlike:?}");
    }

    /// Returns what standard errors claim as a share of what is seen, which is the spread of the
    /// value over draws of other images.
    fn claimed(all: &[Kid]) -> f64 {
        let draws = all.len() as f64;
        let mean = all.iter().map(|kid| kid.value).sum::<f64>() / draws;
        let squares = all.iter().map(|kid| (kid.value - mean).powi(2)).sum::<f64>();
        let claimed = all.iter().map(|kid| kid.standard_error).sum::<f64>() / draws;
        claimed / (squares / (draws - 1.0)).sqrt()
    }

    #[test]
    fn the_standard_error_is_the_spread_over_other_images() {
        let draw = |draw: u64| kid(&normal(60, 2 * draw, 0.0), &normal(60, 2 * draw + 1, 0.4), 0);
        let all: Vec<Kid> = (0..40).map(|at| draw(at).unwrap()).collect();
        assert!((0.8..1.3).contains(&claimed(&all)), "{}", claimed(&all));
    }

    /// Here the statistic is degenerate. A jackknife over subsets claims 1.7 times too much.
    #[test]
    fn the_standard_error_of_like_images_is_the_spread_over_other_images() {
        for (count, draws) in [(12, 300), (60, 200)] {
            let draw = |draw: u64| {
                kid(&normal(count, 2 * draw, 0.0), &normal(count, 2 * draw + 1, 0.0), draw)
            };
            let all: Vec<Kid> = (0..draws).map(|at| draw(at).unwrap()).collect();
            assert!((0.9..1.3).contains(&claimed(&all)), "{count}: {}", claimed(&all));
        }
    }

    /// Sets of different sizes, as the baseline of real images and the drawings have.
    #[test]
    fn the_standard_error_holds_for_sets_of_different_sizes() {
        for shift in [0.0, 0.4] {
            let draw =
                |draw: u64| kid(&normal(30, 2 * draw, 0.0), &normal(120, 2 * draw + 1, shift), 0);
            let all: Vec<Kid> = (0..150).map(|at| draw(at).unwrap()).collect();
            assert!((0.8..1.3).contains(&claimed(&all)), "{shift}: {}", claimed(&all));
        }
    }

    /// Subsets of 8 out of 800 images share few, so most of the error comes from the small number
    /// of subsets.
    #[test]
    fn the_standard_error_of_many_images_counts_how_few_subsets_there_are() {
        let draw = |draw| {
            let (one, other) = (normal(800, 2 * draw, 0.0), normal(800, 2 * draw + 1, 0.4));
            let values = kid_over(&one, &other, &subsets(800, 800, 8, 50, draw));
            summary(&values, 8, variance_over_images(&one, &other))
        };
        let all: Vec<Kid> = (0..100).map(draw).collect();
        assert!((0.8..1.35).contains(&claimed(&all)), "{}", claimed(&all));
    }

    #[test]
    fn three_images_are_too_few() {
        let said = kid(&normal(3, 1, 0.0), &normal(9, 2, 0.0), 0).unwrap_err().to_string();
        assert_eq!(said, "3 images, wanted at least 4");
    }
}

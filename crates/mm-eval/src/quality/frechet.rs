//! This module computes the Fréchet distance of two sets of features (FID; Heusel et al. 2017,
//! arXiv:1706.08500, eq. 6).
//!
//! Each set is taken as normal, N(μ, Σ). Dowson and Landau 1982 give the distance of two normals:
//!
//! ```text
//! |μ₁ - μ₂|² + tr Σ₁ + tr Σ₂ - 2 tr (Σ₁^½ Σ₂ Σ₁^½)^½
//! ```
//!
//! Both roots are of symmetric matrices without negative eigenvalues, so they come from
//! eigenvalues: no iteration may fail, and no imaginary part is thrown away. Rounding leaves some
//! eigenvalues a little below zero; they count as zero.
//!
//! Σ is the unbiased estimate. The distance is biased upward all the same, more so for fewer images
//! (Bińkowski et al. 2018, arXiv:1801.01401, section 4). If there are no more images than features,
//! Σ is singular and the distance has no meaning. Its rank is known then, and eigenvalues beyond
//! it, which only rounding made, are left out.

use nalgebra::{DMatrix, DVector, SymmetricEigen};

use super::Features;
use crate::EvalError;

/// Counts the fewest images of a set: one image has no covariance.
pub const FEWEST_FOR_FRECHET: usize = 2;

/// The mean and the covariance of features.
#[derive(Debug, Clone)]
pub struct Gaussian {
    mean: DVector<f64>,
    covariance: DMatrix<f64>,
    /// The highest rank that the covariance can have.
    rank: usize,
}

impl Gaussian {
    /// Computes the mean and the unbiased covariance of the features of at least two images.
    pub fn of(features: &Features) -> Result<Self, EvalError> {
        let (count, dim) = (features.count(), features.dim());
        if count < FEWEST_FOR_FRECHET {
            let (what, found, wanted) = ("images", count, FEWEST_FOR_FRECHET);
            return Err(EvalError::TooFew { what, found, wanted });
        }
        let numbers = features.numbers().iter().map(|&number| f64::from(number));
        let mut rows = DMatrix::from_row_iterator(count, dim, numbers);
        let mean = rows.row_mean();
        for mut row in rows.row_iter_mut() {
            row -= &mean;
        }
        let covariance = rows.transpose() * &rows / (count - 1) as f64;
        Ok(Self { mean: mean.transpose(), covariance, rank: dim.min(count - 1) })
    }

    /// Adds the root of the covariance, to measure the distances of several others.
    pub fn rooted(self) -> Result<GaussianRoot, EvalError> {
        let SymmetricEigen { eigenvalues, eigenvectors } = eigen(self.covariance.clone())?;
        let mut scaled = eigenvectors.clone();
        for (mut column, value) in scaled.column_iter_mut().zip(&eigenvalues) {
            column *= value.max(0.0).sqrt();
        }
        Ok(GaussianRoot { root: scaled * eigenvectors.transpose(), of: self })
    }
}

/// A Gaussian and the symmetric root of its covariance.
#[derive(Debug, Clone)]
pub struct GaussianRoot {
    of: Gaussian,
    root: DMatrix<f64>,
}

impl GaussianRoot {
    /// Returns the squared Fréchet distance to another Gaussian.
    pub fn distance(&self, other: &Gaussian) -> Result<f64, EvalError> {
        let (found, wanted) = (other.mean.len(), self.of.mean.len());
        if found != wanted {
            return Err(EvalError::Dimensions { found, wanted });
        }
        let product = &self.root * &other.covariance * &self.root;
        let product = (&product + product.transpose()) * 0.5; // rounding breaks the symmetry
        let mut values: Vec<f64> = product.symmetric_eigenvalues().iter().copied().collect();
        values.sort_unstable_by(|one, next| next.total_cmp(one));
        values.truncate(self.of.rank.min(other.rank));
        let shared: f64 = values.iter().map(|value| value.max(0.0).sqrt()).sum();
        let apart = (&self.of.mean - &other.mean).norm_squared();
        Ok(apart + self.of.covariance.trace() + other.covariance.trace() - 2.0 * shared)
    }
}

/// Returns the squared Fréchet distance of two sets of features.
///
/// ```
/// use mm_eval::quality::{Features, frechet};
///
/// let square = Features::new(2, vec![1.0, 1.0, 1.0, -1.0, -1.0, 1.0, -1.0, -1.0])?;
/// let moved = Features::new(2, vec![4.0, 1.0, 4.0, -1.0, 2.0, 1.0, 2.0, -1.0])?;
/// assert!((frechet(&square, &moved)? - 9.0).abs() < 1e-9); // 3 to the right
/// # Ok::<(), mm_eval::EvalError>(())
/// ```
pub fn frechet(one: &Features, other: &Features) -> Result<f64, EvalError> {
    one.same_dim(other)?;
    Gaussian::of(one)?.rooted()?.distance(&Gaussian::of(other)?)
}

fn eigen(matrix: DMatrix<f64>) -> Result<SymmetricEigen<f64, nalgebra::Dyn>, EvalError> {
    let size = matrix.nrows();
    SymmetricEigen::try_new(matrix, f64::EPSILON, 0).ok_or(EvalError::Eigenvalues { size })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(count: usize, scales: &[f64], seed: u64) -> Features {
        let mut rng = mm_model::random::stream(seed, mm_model::random::Purpose::Noise, 0, 0);
        let numbers = mm_model::random::normals(&mut rng, count * scales.len());
        let scaled =
            numbers.iter().enumerate().map(|(i, n)| n * scales[i % scales.len()] as f32).collect();
        Features::new(scales.len(), scaled).unwrap()
    }

    #[test]
    fn a_set_has_no_distance_to_itself_and_the_distance_has_no_direction() {
        let (one, other) = (normal(60, &[1.0, 2.0, 0.1], 1), normal(50, &[1.0, 1.0, 1.0], 2));
        assert!(frechet(&one, &one).unwrap().abs() < 1e-10);
        let (there, back) = (frechet(&one, &other).unwrap(), frechet(&other, &one).unwrap());
        assert!((there - back).abs() < 1e-10 * there, "{there} {back}");
    }

    #[test]
    fn scaled_images_are_as_far_as_the_formula_says() {
        // Σ₂ = 9 Σ₁ and means 3 μ₁: tr Σ₁ (1 + 9 - 2·3) + 4 |μ₁|².
        let one = normal(40, &[1.0, 0.5], 3);
        let other = Features::new(2, one.numbers().iter().map(|n| 3.0 * n).collect()).unwrap();
        let of = Gaussian::of(&one).unwrap();
        let wanted = 4.0 * of.covariance.trace() + 4.0 * of.mean.norm_squared();
        assert!((frechet(&one, &other).unwrap() / wanted - 1.0).abs() < 1e-6);
    }

    #[test]
    fn fewer_images_than_features_still_give_a_finite_number() {
        let (few, many) = (normal(3, &[1.0; 5], 4), normal(30, &[1.0; 5], 5));
        assert!(frechet(&few, &many).unwrap() > 0.0);
    }

    #[test]
    fn what_rounding_leaves_beyond_the_rank_adds_nothing() {
        let few = normal(10, &[1.0; 40], 6);
        assert!(frechet(&few, &few).unwrap().abs() < 1e-10, "{:?}", frechet(&few, &few));
    }

    #[test]
    fn one_image_and_features_of_two_networks_are_refused() {
        let of = |count, dim| Features::new(dim, vec![0.0; count * dim]).unwrap();
        let said = |one: &Features, other: &Features| frechet(one, other).unwrap_err().to_string();
        assert_eq!(said(&of(1, 2), &of(4, 2)), "1 images, wanted at least 2");
        assert!(said(&of(4, 3), &of(4, 2)).starts_with("3 features an image against 2"));
    }
}

//! Deblurring: an image that, blurred by a known kernel, is the given one.

use std::collections::BTreeMap;

use mm_patch::Image;

use super::{Measurement, bytes_of, check_size, image_of};
use crate::generate::edit::error::EditError;

/// The weights of a blur, square and of an odd side. Beyond the border of an image, its border
/// pixels are repeated.
#[derive(Debug, Clone, PartialEq)]
pub struct Kernel {
    side: usize,
    weights: Vec<f64>,
}

impl Kernel {
    /// Makes a kernel of its weights, row by row, which are divided by their sum.
    pub fn new(weights: Vec<f64>) -> Result<Self, EditError> {
        let side = weights.len().isqrt();
        let sum: f64 = weights.iter().sum();
        let square = side * side == weights.len() && side % 2 == 1 && side <= 63;
        let right = weights.iter().all(|&weight| weight >= 0.0) && sum > 0.0 && sum.is_finite();
        EditError::unless(
            square && right,
            "kernel",
            format!("{} weights of sum {sum}", weights.len()),
            "n x n weights from 0, not all 0, with n odd and at most 63",
        )?;
        Ok(Self { side, weights: weights.into_iter().map(|weight| weight / sum).collect() })
    }

    /// Makes a normal distribution of standard deviation `sigma` pixels, cut off at three of them.
    pub fn gaussian(sigma: f64) -> Result<Self, EditError> {
        EditError::unless(sigma > 0.0 && sigma <= 10.0, "sigma", sigma, "above 0, at most 10")?;
        let reach = (3.0 * sigma).ceil() as i64;
        let tap = |at: i64| (-0.5 * (at as f64 / sigma).powi(2)).exp();
        let taps = (-reach..=reach).flat_map(|y| (-reach..=reach).map(move |x| tap(x) * tap(y)));
        Self::new(taps.collect())
    }

    /// Makes the mean of a square of `side` x `side` pixels, an odd number.
    pub fn square(side: usize) -> Result<Self, EditError> {
        let odd = side % 2 == 1 && side <= 63;
        EditError::unless(odd, "side", side, "an odd number up to 63")?;
        Self::new(vec![1.0; side * side])
    }

    /// Returns the place and the weight of everything that pixel `(x, y)` is blurred from.
    fn taps(&self, x: usize, y: usize, width: usize, height: usize) -> Vec<(usize, f64)> {
        let reach = self.side / 2;
        let inside =
            |at: usize, by: usize, side: usize| (at + by).saturating_sub(reach).min(side - 1);
        let mut taps = BTreeMap::new(); // pixels of the border are met several times
        for (at, &weight) in self.weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
            let (col, row) = (inside(x, at % self.side, width), inside(y, at / self.side, height));
            *taps.entry(row * width + col).or_insert(0.0) += weight;
        }
        taps.into_iter().collect()
    }
}

/// An image blurred by a known kernel, each value rounded to the nearest byte.
///
/// The kernel forgets fine detail almost entirely, so that an exact solution would be made of
/// amplified rounding errors. The projection therefore goes towards the least change by conjugate
/// gradients and ends as soon as every blurred value rounds to the given byte.
#[derive(Debug, Clone)]
pub struct Deblur {
    width: usize,
    height: usize,
    /// The planes of the blurred image.
    blurred: Vec<u8>,
    /// What each pixel of a plane is blurred from.
    taps: Vec<Vec<(usize, f64)>>,
}

/// The largest error of a blurred value that rounding hides, with a little room.
const HIDDEN: f64 = 0.49;

/// The most weights that are held in memory, 1 GiB of them.
const MOST_TAPS: usize = 1 << 26;

/// The error at which the repair aims, which leaves room for the rounding of pixels.
const AIM: f64 = 0.3;

/// The most steps of conjugate gradients of one projection.
const MOST_STEPS: usize = 50;

/// The most steps of gradients of the repair.
const MOST_GRADIENTS: usize = 1000;

/// The most rounds of the repair over all pixels.
const MOST_ROUNDS: usize = 50;

impl Deblur {
    /// Asks for an image that this kernel blurs to the given one.
    ///
    /// The weights of every pixel are held in memory, and too many of them are an error.
    pub fn new(blurred: &Image, kernel: &Kernel) -> Result<Self, EditError> {
        let (width, height) = (blurred.width(), blurred.height());
        let most = MOST_TAPS / (kernel.side * kernel.side);
        EditError::unless(
            width * height <= most,
            "image",
            format!("{width} x {height} pixels under {0} x {0} weights", kernel.side),
            "at most 2^26 weights of pixels in all",
        )?;
        let taps = (0..width * height)
            .map(|at| kernel.taps(at % width, at / width, width, height))
            .collect();
        Ok(Self { width, height, blurred: bytes_of(blurred), taps })
    }

    /// Returns an image blurred by a kernel.
    pub fn blur(image: &Image, kernel: &Kernel) -> Result<Image, EditError> {
        let measurement = Self::new(image, kernel)?;
        let (width, height) = (image.width(), image.height());
        let planes: Vec<f64> = measurement.blurred.iter().map(|&byte| f64::from(byte)).collect();
        let blurred = planes.chunks_exact(width * height).flat_map(|plane| measurement.map(plane));
        let bytes: Vec<u8> = blurred.map(|value| value.round() as u8).collect();
        Ok(image_of(&bytes, width, height))
    }

    /// Returns one plane blurred.
    fn map(&self, plane: &[f64]) -> Vec<f64> {
        let blurred = |taps: &Vec<(usize, f64)>| {
            taps.iter().map(|&(place, weight)| plane[place] * weight).sum()
        };
        self.taps.iter().map(blurred).collect()
    }

    /// Returns the transpose of the blur applied to one plane.
    fn transposed(&self, plane: &[f64]) -> Vec<f64> {
        let mut sums = vec![0.0; plane.len()];
        for (taps, &value) in self.taps.iter().zip(plane) {
            for &(place, weight) in taps {
                sums[place] += value * weight;
            }
        }
        sums
    }

    /// Moves a plane within the range of bytes to where every blurred value rounds to the given
    /// byte, by projected gradients of the squares of what is left. That is a convex problem, and
    /// an image that was blurred and rounded solves it.
    fn descend(&self, plane: &mut [f64], color: usize) {
        let sums = self.transposed(&vec![1.0; plane.len()]);
        let step = 1.9 / sums.iter().copied().fold(1.0, f64::max); // rows of the blur sum to 1
        for _ in 0..MOST_GRADIENTS {
            for value in plane.iter_mut() {
                *value = value.clamp(0.0, 255.0);
            }
            let mut left = self.missing(plane, color);
            for value in &mut left {
                *value -= value.clamp(-AIM, AIM);
            }
            if left.iter().all(|&value| value == 0.0) {
                break;
            }
            for (value, by) in plane.iter_mut().zip(self.transposed(&left)) {
                *value += step * by;
            }
        }
    }

    /// Returns by how much each blurred pixel of a plane falls short of what is wanted.
    fn missing(&self, plane: &[f64], color: usize) -> Vec<f64> {
        let wanted = &self.blurred[color * plane.len()..(color + 1) * plane.len()];
        self.map(plane)
            .iter()
            .zip(wanted)
            .map(|(found, &wanted)| f64::from(wanted) - found)
            .collect()
    }
}

impl Measurement for Deblur {
    fn width(&self) -> usize {
        self.width
    }

    fn height(&self) -> usize {
        self.height
    }

    /// Conjugate gradients on `A Aᵀ λ = y - A x` (Hestenes and Stiefel 1952), with `x + Aᵀ λ` kept
    /// up to date.
    fn project(&self, planes: &mut [f64]) {
        for (color, plane) in planes.chunks_exact_mut(self.width * self.height).enumerate() {
            let mut rest = self.missing(plane, color);
            let mut direction = rest.clone();
            let mut square = dot(&rest, &rest);
            for _ in 0..MOST_STEPS {
                if rest.iter().all(|value| value.abs() < HIDDEN) {
                    break;
                }
                let change = self.transposed(&direction);
                let length = square / dot(&change, &change);
                if !length.is_finite() {
                    break; // the blur loses all of what is missing, so nothing can bring it back
                }
                for (pixel, change) in plane.iter_mut().zip(&change) {
                    *pixel += length * change;
                }
                for (rest, image) in rest.iter_mut().zip(self.map(&change)) {
                    *rest -= length * image;
                }
                let next = dot(&rest, &rest);
                for (direction, rest) in direction.iter_mut().zip(&rest) {
                    *direction = rest + *direction * (next / square);
                }
                square = next;
            }
        }
    }

    /// Goes down the gradient of the errors that rounding does not hide, within the range of bytes,
    /// rounds, and moves single pixels by one level as long as that helps. Kernels overlap, so that
    /// this need not end at no error; [`largest_error`](Measurement::largest_error) tells.
    fn repair(&self, bytes: &mut [u8], exact: &[f64]) {
        let mut planes = exact.to_vec();
        for (color, plane) in planes.chunks_exact_mut(self.width * self.height).enumerate() {
            self.descend(plane, color);
        }
        for (byte, value) in bytes.iter_mut().zip(&planes) {
            *byte = value.round() as u8;
        }
        let mut reached = vec![vec![]; self.taps.len()]; // what each pixel is blurred into
        for (to, taps) in self.taps.iter().enumerate() {
            for &(place, weight) in taps {
                reached[place].push((to, weight));
            }
        }
        for (color, bytes) in bytes.chunks_exact_mut(self.width * self.height).enumerate() {
            let plane: Vec<f64> = bytes.iter().map(|&byte| f64::from(byte)).collect();
            let mut rest = self.missing(&plane, color);
            for _ in 0..MOST_ROUNDS {
                let mut moved = false;
                for (byte, reached) in bytes.iter_mut().zip(&reached) {
                    moved |= moved_by_one(byte, reached, &mut rest);
                }
                if !moved {
                    break;
                }
            }
        }
    }

    fn largest_error(&self, image: &Image) -> u8 {
        check_size(self, image);
        let planes: Vec<f64> = bytes_of(image).iter().map(|&byte| f64::from(byte)).collect();
        let blurred =
            planes.chunks_exact(self.width * self.height).flat_map(|plane| self.map(plane));
        let errors = blurred.zip(&self.blurred).map(|(a, b)| (a.round() as u8).abs_diff(*b));
        errors.max().unwrap_or(0)
    }
}

/// Moves one byte by one level if that lowers the squares of the errors that rounding does not
/// hide. `reached` says which blurred values it is part of, and `rest` what those still miss.
fn moved_by_one(byte: &mut u8, reached: &[(usize, f64)], rest: &mut [f64]) -> bool {
    let cost = |by: f64| -> f64 {
        let over = |&(to, weight): &(usize, f64)| (rest[to] - by * weight).abs() - HIDDEN;
        reached.iter().map(|tap| over(tap).max(0.0).powi(2)).sum()
    };
    let now = cost(0.0);
    if now == 0.0 {
        return false;
    }
    for (by, next) in [(1.0, byte.checked_add(1)), (-1.0, byte.checked_sub(1))] {
        let Some(next) = next else { continue };
        if cost(by) < now - 1e-12 {
            *byte = next;
            for &(to, weight) in reached {
                rest[to] -= by * weight;
            }
            return true;
        }
    }
    false
}

/// Returns the scalar product of two planes.
fn dot(first: &[f64], last: &[f64]) -> f64 {
    first.iter().zip(last).map(|(a, b)| a * b).sum()
}

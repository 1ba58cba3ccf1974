//! How much of an image is left after a codec: PSNR, SSIM, and how its codes are used.
//!
//! ```text
//! PSNR = 10 log₁₀(255² / mean squared error of the bytes)          decibels
//! SSIM = mean over windows of ((2 μx μy + c₁)(2 σxy + c₂)) / ((μx² + μy² + c₁)(σx² + σy² + c₂))
//! ```
//!
//! SSIM is Wang et al.'s (2004), of the luma, in windows of 11x11 pixels weighed by a Gaussian of
//! 1.5 pixels that lie whole in the image, with `c₁ = (0.01 · 255)²` and `c₂ = (0.03 · 255)²`.

use mm_patch::Image;

/// The pixels from the middle of a window to its border.
const RADIUS: usize = 5;
/// The standard deviation of the weights of a window, pixels.
const SIGMA: f64 = 1.5;
const C1: f64 = (0.01 * 255.0) * (0.01 * 255.0);
const C2: f64 = (0.03 * 255.0) * (0.03 * 255.0);

/// Returns the mean squared error of the bytes of two images of one size.
///
/// # Panics
///
/// Panics if the images are not of one size.
pub fn squared_error(one: &Image, other: &Image) -> f64 {
    same_size(one, other);
    let error = |(a, b): (&u8, &u8)| (f64::from(*a) - f64::from(*b)).powi(2);
    let sum: f64 = one.rgb().iter().zip(other.rgb()).map(error).sum();
    sum / one.rgb().len() as f64
}

/// Returns the peak signal-to-noise ratio of a mean squared error of bytes in decibels; infinite
/// where there is none.
///
/// ```
/// assert_eq!(mm_eval::psnr(0.0), f64::INFINITY);
/// assert!((mm_eval::psnr(65025.0 / 1000.0) - 30.0).abs() < 1e-9);
/// ```
pub fn psnr(squared_error: f64) -> f64 {
    10.0 * (255.0 * 255.0 / squared_error).log10()
}

/// Returns the structural similarity of two images of one size, at most 1; nothing for images that
/// have no window of 11x11 pixels.
///
/// # Panics
///
/// Panics if the images are not of one size.
pub fn ssim(one: &Image, other: &Image) -> Option<f64> {
    same_size(one, other);
    let (width, height) = (one.width(), one.height());
    if width <= 2 * RADIUS || height <= 2 * RADIUS {
        return None;
    }
    let (x, y) = (luma(one), luma(other));
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).collect::<Vec<_>>();
    let means = |numbers: &[f64]| window_means(numbers, width);
    let (mx, my) = (means(&x), means(&y));
    let (xx, yy, xy) = (means(&product(&x, &x)), means(&product(&y, &y)), means(&product(&x, &y)));
    let one = |at: usize| {
        let (a, b) = (mx[at], my[at]);
        let (va, vb, covariance) = (xx[at] - a * a, yy[at] - b * b, xy[at] - a * b);
        (2.0 * a * b + C1) * (2.0 * covariance + C2) / ((a * a + b * b + C1) * (va + vb + C2))
    };
    Some((0..mx.len()).map(one).sum::<f64>() / mx.len() as f64)
}

fn same_size(one: &Image, other: &Image) {
    let size = |image: &Image| (image.width(), image.height());
    assert_eq!(size(one), size(other), "images of one size are compared");
}

/// The brightness of every pixel (ITU-R BT.601).
fn luma(image: &Image) -> Vec<f64> {
    let one = |rgb: &[u8]| {
        0.299 * f64::from(rgb[0]) + 0.587 * f64::from(rgb[1]) + 0.114 * f64::from(rgb[2])
    };
    image.rgb().chunks_exact(3).map(one).collect()
}

/// Weighed means of all windows that lie whole in rows of `width` numbers.
fn window_means(numbers: &[f64], width: usize) -> Vec<f64> {
    let weights: Vec<f64> = (0..=2 * RADIUS)
        .map(|at| (-(at as f64 - RADIUS as f64).powi(2) / (2.0 * SIGMA * SIGMA)).exp())
        .collect();
    let sum: f64 = weights.iter().sum();
    let height = numbers.len() / width;
    let (cols, rows) = (width - 2 * RADIUS, height - 2 * RADIUS);
    let across: Vec<f64> = (0..height * cols)
        .map(|at| {
            let start = at / cols * width + at % cols;
            let window = &numbers[start..start + weights.len()];
            window.iter().zip(&weights).map(|(number, weight)| number * weight).sum::<f64>() / sum
        })
        .collect();
    (0..rows * cols)
        .map(|at| {
            let down = weights.iter().enumerate();
            down.map(|(row, weight)| across[at + row * cols] * weight).sum::<f64>() / sum
        })
        .collect()
}

/// How often each code was used.
#[derive(Debug, Clone, PartialEq)]
pub struct CodeUsage {
    counts: Vec<u64>,
}

impl CodeUsage {
    /// Makes a count of a vocabulary of so many codes.
    pub fn new(codes: usize) -> Self {
        Self { counts: vec![0; codes] }
    }

    /// Counts codes of the vocabulary.
    pub fn add(&mut self, codes: &[u32]) {
        for code in codes {
            self.counts[*code as usize] += 1;
        }
    }

    /// Returns the size of the vocabulary.
    pub fn codes(&self) -> usize {
        self.counts.len()
    }

    /// Returns the share of codes that were used at all.
    pub fn share(&self) -> f64 {
        let used = self.counts.iter().filter(|count| **count > 0).count();
        used as f64 / self.counts.len().max(1) as f64
    }

    /// Returns the entropy of the codes in bits a code: what one carries on average, if codes are
    /// taken one by one.
    pub fn bits(&self) -> f64 {
        let all = self.counts.iter().sum::<u64>().max(1) as f64;
        let term = |count: &u64| {
            let share = *count as f64 / all;
            if *count == 0 { 0.0 } else { -share * share.log2() }
        };
        self.counts.iter().map(term).sum()
    }

    /// Returns the perplexity of the codes: how many evenly used ones would carry as much.
    pub fn perplexity(&self) -> f64 {
        self.bits().exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two images of 16x13 pixels, one a distorted copy of the other, made of whole numbers.
    fn pair() -> [Image; 2] {
        let byte =
            |x: usize, y: usize, c: usize| ((x * 17 + y * 29 + c * 53 + x * y * 3) % 256) as u8;
        let mut images = [Image::filled(16, 13, [0; 3]), Image::filled(16, 13, [0; 3])];
        for y in 0..13 {
            for x in 0..16 {
                let pixel = [0, 1, 2].map(|c| byte(x, y, c));
                images[0].set_pixel(x, y, pixel);
                let moved = pixel.map(|byte| byte / 2 + ((x * 7 + y * 5) % 40) as u8);
                images[1].set_pixel(x, y, moved);
            }
        }
        images
    }

    #[test]
    fn psnr_and_ssim_are_those_of_scikit_image() {
        let [one, other] = pair();
        let (error, similar) = (squared_error(&one, &other), ssim(&one, &other).unwrap());
        assert!((psnr(error) - PSNR).abs() < 1e-9, "{}", psnr(error));
        assert!((similar - SSIM).abs() < 1e-9, "{similar}");
    }

    /// `tests/reference/ssim.py`
    const PSNR: f64 = 12.847537951773276;
    /// `tests/reference/ssim.py`
    const SSIM: f64 = 0.748449169654378;

    #[test]
    fn an_image_is_itself_and_too_small_a_one_has_no_window() {
        let [one, _] = pair();
        assert_eq!(squared_error(&one, &one), 0.0);
        assert!((ssim(&one, &one).unwrap() - 1.0).abs() < 1e-12);
        let small = Image::filled(10, 30, [7; 3]);
        assert_eq!(ssim(&small, &small), None);
    }

    #[test]
    fn usage_counts_what_codes_carry() {
        let mut usage = CodeUsage::new(8);
        usage.add(&[0, 1, 2, 3]);
        assert_eq!((usage.share(), usage.bits(), usage.perplexity()), (0.5, 2.0, 4.0));
        usage.add(&[0, 0, 0, 0]);
        let bits = 0.625 * (1.0f64 / 0.625).log2() + 3.0 * 0.125 * 3.0;
        assert!((usage.bits() - bits).abs() < 1e-12);
    }
}

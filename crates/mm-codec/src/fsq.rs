//! Finite scalar quantization (Mentzer et al. 2023, arXiv:2309.15505): every channel of a cell is
//! rounded to one of a few levels, and a code is the number that these digits write:
//!
//! ```text
//! h = (L - 1) / 2,   o = 0 for odd L, ½ for even L
//! digit = round(h a(z + a⁻¹(o / h)) - o),    value = digit / ⌊L / 2⌋ in -1..1
//! code = Σ_i (digit_i + ⌊L_i / 2⌋) Π_{j<i} L_j
//! ```
//!
//! There is no codebook, nothing to learn and nothing that can die. `a` is the hyperbolic tangent,
//! or the sigmoid curve `2 σ(1.6 z) - 1` of iFSQ, which spreads normal numbers evenly over the
//! levels. The gradient of the rounding is that of the identity.

use burn::prelude::*;
use burn::tensor::activation::sigmoid;
use serde::{Deserialize, Serialize};

use crate::CodecError;

/// How a number is bounded before it is rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FsqActivation {
    /// The hyperbolic tangent, as in the paper.
    #[default]
    Tanh,
    /// The curve `2 σ(1.6 z) - 1` of iFSQ.
    Sigmoid,
}

/// The slope of iFSQ's curve.
const SLOPE: f64 = 1.6;
/// How much the outermost levels are widened, so that rounding reaches them.
const WIDER: f64 = 1e-3;
/// The most codes, which fit a token id with room to spare.
const MOST_CODES: usize = 1 << 24;

/// A quantizer that rounds every channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fsq {
    /// The number of levels of every channel, such as `[8, 5, 5, 5]` for 1000 codes.
    pub levels: Vec<usize>,
    /// How a number is bounded.
    #[serde(default)]
    pub activation: FsqActivation,
}

impl Fsq {
    /// Checks the levels.
    pub fn validate(&self) -> Result<(), CodecError> {
        let levels = &self.levels;
        let found = || format!("{levels:?}");
        let usable =
            !levels.is_empty() && levels.iter().all(|levels| (2..=1 << 16).contains(levels));
        CodecError::check("levels", usable, found(), "2 to 65536 levels for every channel")?;
        let codes = levels.iter().try_fold(1usize, |codes, levels| codes.checked_mul(*levels));
        let fits = codes.is_some_and(|codes| codes <= MOST_CODES);
        CodecError::check("levels", fits, found(), "a product of at most 16777216 codes")
    }

    /// Returns the number of codes.
    pub fn codes(&self) -> usize {
        self.levels.iter().product()
    }

    /// Rounds cells to levels in -1..1: `[images, channels, rows, cols]` -> the same shape. The
    /// gradient passes the rounding unchanged.
    pub fn quantize(&self, z: Tensor<4>) -> Tensor<4> {
        let bounded = self.bounded(z);
        let rounded = bounded.clone() + (bounded.clone().round() - bounded).detach();
        rounded.clone() / self.row(&rounded, &width)
    }

    /// Bounds cells to the range of their digits, which are what is rounded: `[images, channels,
    /// rows, cols]` -> the same shape.
    fn bounded(&self, z: Tensor<4>) -> Tensor<4> {
        let half = self.row(&z, &half_of);
        let shift = self.row(&z, &|levels| self.inverse(offset(levels) / half_of(levels)));
        let offset = self.row(&z, &offset);
        self.bound(z + shift) * half - offset
    }

    /// Returns what [`quantize`](Self::quantize) would return if nothing was rounded: `[images,
    /// channels, rows, cols]` -> the same shape.
    #[cfg(test)]
    pub(crate) fn smooth(&self, z: Tensor<4>) -> Tensor<4> {
        let bounded = self.bounded(z);
        bounded.clone() / self.row(&bounded, &width)
    }

    /// Returns one number for every channel, as `of` gives it for the channel's levels, on the
    /// device and in the type of cells `[images, channels, rows, cols]`: `[1, channels, 1, 1]`.
    fn row(&self, cells: &Tensor<4>, of: &dyn Fn(f64) -> f64) -> Tensor<4> {
        let numbers: Vec<f64> = self.levels.iter().map(|levels| of(*levels as f64)).collect();
        let numbers = TensorData::new(numbers, [1, self.levels.len(), 1, 1]);
        Tensor::from_data(numbers, (&cells.device(), cells.dtype()))
    }

    /// Returns the code of every cell of [quantized](Self::quantize) numbers: `[images, channels,
    /// rows, cols]` -> `[images, rows * cols]`.
    pub fn codes_of(&self, cells: Tensor<4>) -> Tensor<2, Int> {
        let [images, _, rows, cols] = cells.dims();
        let mut codes = Tensor::<4, Int>::zeros([images, 1, rows, cols], &cells.device());
        for (at, (levels, place)) in self.places().enumerate() {
            let digit = cells.clone().narrow(1, at, 1) * width(levels as f64);
            codes = codes + (digit + width(levels as f64)).round().int() * place as i64;
        }
        codes.reshape([images, rows * cols])
    }

    /// Returns the numbers of codes in reading order: `[images, rows * cols]` -> `[images,
    /// channels, rows, cols]`.
    pub fn cells_of(&self, codes: Tensor<2, Int>, grid: [usize; 2]) -> Tensor<4> {
        let [images, _] = codes.dims();
        let codes = codes.reshape([images, 1, grid[0], grid[1]]);
        let channel = |(levels, place): (usize, usize)| {
            let digit = (codes.clone() / place as i64) % levels as i64;
            (digit.float() - width(levels as f64)) / width(levels as f64)
        };
        Tensor::cat(self.places().map(channel).collect(), 1)
    }

    /// Returns the levels of every channel, and by what its digit is multiplied in a code.
    fn places(&self) -> impl Iterator<Item = (usize, usize)> {
        self.levels.iter().scan(1, |place, levels| {
            let own = *place;
            *place *= levels;
            Some((*levels, own))
        })
    }

    fn bound(&self, z: Tensor<4>) -> Tensor<4> {
        match self.activation {
            FsqActivation::Tanh => z.tanh(),
            FsqActivation::Sigmoid => sigmoid(z * SLOPE) * 2.0 - 1.0,
        }
    }

    /// Returns the number that is bounded to `y`.
    fn inverse(&self, y: f64) -> f64 {
        match self.activation {
            FsqActivation::Tanh => y.atanh(),
            FsqActivation::Sigmoid => ((1.0 + y) / (1.0 - y)).ln() / SLOPE,
        }
    }
}

/// Half of the span of the levels, `h`, a little wider.
fn half_of(levels: f64) -> f64 {
    (levels - 1.0) * (1.0 + WIDER) / 2.0
}

/// What is subtracted, so that an even number of levels is rounded to as many whole numbers.
fn offset(levels: f64) -> f64 {
    if levels % 2.0 == 0.0 { 0.5 } else { 0.0 }
}

/// What digits are divided by.
fn width(levels: f64) -> f64 {
    (levels / 2.0).floor()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn fsq(levels: &[usize], activation: FsqActivation) -> Fsq {
        Fsq { levels: levels.to_vec(), activation }
    }

    #[test]
    fn every_channel_takes_exactly_its_levels() {
        for activation in [FsqActivation::Tanh, FsqActivation::Sigmoid] {
            for levels in 2..=9 {
                let fsq = fsq(&[levels], activation);
                let z = Tensor::<1, Int>::arange(-800..800, &Device::flex()).float() / 100.0;
                let found = fsq.quantize(z.reshape([1, 1, 40, 40])).into_data();
                let found = found.try_to_vec::<f32>().unwrap();
                assert!(found.is_sorted(), "the order of numbers stays");
                let width = (levels / 2) as i32;
                let digits: BTreeSet<i32> =
                    found.iter().map(|value| (value * width as f32).round() as i32).collect();
                let wanted: BTreeSet<i32> = (0..levels as i32).map(|at| at - width).collect();
                assert_eq!(digits, wanted, "{activation:?} {levels}");
            }
        }
    }

    #[test]
    fn codes_count_through_all_levels_and_lead_back() {
        let fsq = fsq(&[3, 4, 5], FsqActivation::Tanh);
        assert_eq!(fsq.codes(), 60);
        let codes = Tensor::<1, Int>::arange(0..60, &Device::flex()).reshape([1, 60]);
        let cells = fsq.cells_of(codes.clone(), [6, 10]);
        assert_eq!(cells.dims(), [1, 3, 6, 10]);
        assert_eq!(fsq.codes_of(cells.clone()).into_data(), codes.into_data());
        assert!(cells.abs().max().into_scalar::<f32>() <= 1.0);
    }

    #[test]
    fn the_gradient_is_that_of_the_curve_without_the_rounding() {
        let device = Device::flex().autodiff();
        for activation in [FsqActivation::Tanh, FsqActivation::Sigmoid] {
            let fsq = fsq(&[5, 4], activation);
            let numbers: Vec<f32> = (0..8).map(|at| at as f32 * 0.4 - 1.5).collect();
            let data = TensorData::new(numbers.clone(), [1, 2, 2, 2]);
            let z = Tensor::<4>::from_data(data, &device).require_grad();
            let grads = fsq.quantize(z.clone()).sum().backward();
            let found = z.grad(&grads).unwrap().into_data().try_to_vec::<f32>().unwrap();
            for (at, (&z, found)) in numbers.iter().zip(found).enumerate() {
                let levels = [5.0, 4.0][at / 4];
                let shift = fsq.inverse(offset(levels) / half_of(levels));
                let smooth = |z: f64| {
                    let z = Tensor::<4>::full([1, 1, 1, 1], z + shift, &Device::flex());
                    f64::from(fsq.bound(z).into_scalar::<f32>()) * half_of(levels) / width(levels)
                };
                let step = 1e-2;
                let wanted =
                    (smooth(f64::from(z) + step) - smooth(f64::from(z) - step)) / 2.0 / step;
                assert!((f64::from(found) - wanted).abs() < 1e-3, "{at}: {found}, {wanted}");
            }
        }
    }

    #[test]
    fn levels_that_make_no_code_are_refused() {
        let said = |levels: &[usize]| fsq(levels, FsqActivation::Tanh).validate().unwrap_err();
        let wanted = "`levels` is [8, 1], wanted 2 to 65536 levels for every channel";
        assert_eq!(said(&[8, 1]).to_string(), wanted);
        assert!(said(&[65536, 65536]).to_string().ends_with("a product of at most 16777216 codes"));
        assert!(said(&[]).to_string().starts_with("`levels` is []"));
    }
}

//! Vector quantization (van den Oord et al. 2017, arXiv:1711.00937): a cell becomes the nearest
//! vector of a codebook, which follows the cells as a moving average (its appendix A.1):
//!
//! ```text
//! N_k <- γ N_k + (1 - γ) n_k,   m_k <- γ m_k + (1 - γ) Σ z,   e_k = m_k / N_k
//! ```
//!
//! Here `n_k` is the share of cells that are nearest to `e_k`, and `Σ z` their sum over all cells.
//! The gradient of a quantized cell is that of the cell.
//!
//! Those shares and sums must be of a whole batch, which is computed in parts and on several
//! machines. So they travel as gradients do: [`Codebook::statistics`] is zero, and its gradients of
//! the two parameters are `n_k` and `Σ z`. An optimizer must not see them.
//!
//! A code that no cell is nearest to dies. It is revived as in the splitting of Linde, Buzo and
//! Gray (1980): it takes half of the cells of a much used code, a little beside it.

use burn::module::Param;
use burn::prelude::*;
use mm_backbone::Init;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};

use crate::CodecError;

/// Sizes of a codebook.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodebookConfig {
    /// The number of codes.
    pub codes: usize,
    /// Channels of a cell.
    pub channels: usize,
    /// The decay `γ` of the moving average.
    #[serde(default = "decay")]
    pub decay: f64,
    /// A code is dead that fewer cells are nearest to than this share of an even one.
    #[serde(default = "dead_below")]
    pub dead_below: f64,
}

fn decay() -> f64 {
    0.99
}

fn dead_below() -> f64 {
    0.02
}

impl CodebookConfig {
    /// Checks every field.
    pub fn validate(&self) -> Result<(), CodecError> {
        let Self { codes, channels, decay, dead_below } = *self;
        CodecError::check("codes", (2..=1 << 20).contains(&codes), codes, "2 to 1048576")?;
        CodecError::check("channels", (1..=4096).contains(&channels), channels, "1 to 4096")?;
        CodecError::check("decay", (0.0..1.0).contains(&decay), decay, "0 to below 1")?;
        let usable = (0.0..1.0).contains(&dead_below);
        CodecError::check("dead_below", usable, dead_below, "0 to below 1")
    }
}

/// The vectors of all codes, as a moving average.
#[derive(Module, Debug)]
pub struct Codebook {
    /// The share of cells of every code, `[codes]`.
    pub counts: Param<Tensor<1>>,
    /// The mean over all cells of the cells of every code, `[codes, channels]`.
    pub sums: Param<Tensor<2>>,
    #[module(skip)]
    config: CodebookConfig,
}

/// How far a revived code stands from the one that it was split from, in parts of the size of a
/// number.
const BESIDE: f64 = 0.01;
/// No share is smaller, so that no vector is divided by nothing.
const LEAST: f64 = 1e-9;

impl Codebook {
    pub(crate) fn new(init: &mut Init, config: &CodebookConfig) -> Self {
        let even = 1.0 / config.codes as f64;
        Self {
            counts: init.constant([config.codes], even),
            sums: init.normal([config.codes, config.channels], even),
            config: *config,
        }
    }

    /// Returns the vectors, `[codes, channels]`; no gradient reaches them.
    pub fn vectors(&self) -> Tensor<2> {
        let [codes, _] = self.sums.dims();
        self.sums.val().detach() / self.counts.val().detach().clamp_min(LEAST).reshape([codes, 1])
    }

    /// Returns the code of every cell: `[images, channels, rows, cols]` -> `[images, rows * cols]`.
    pub fn codes_of(&self, cells: Tensor<4>) -> Tensor<2, Int> {
        let [images, _, rows, cols] = cells.dims();
        let cells = flat(cells.detach());
        let vectors = self.vectors();
        let [codes, _] = vectors.dims();
        // |z - e|² without |z|², which is the same for all codes
        let sizes = vectors.clone().square().sum_dim(1).reshape([1, codes]);
        let distances = sizes - cells.matmul(vectors.transpose()) * 2.0;
        distances.argmin(1).reshape([images, rows * cols])
    }

    /// Returns the vectors of codes in reading order: `[images, rows * cols]` -> `[images,
    /// channels, rows, cols]`.
    pub fn cells_of(&self, codes: Tensor<2, Int>, grid: [usize; 2]) -> Tensor<4> {
        let [images, cells] = codes.dims();
        let vectors = self.vectors();
        let [_, channels] = vectors.dims();
        vectors
            .select(0, codes.reshape([images * cells]))
            .reshape([images, cells, channels])
            .swap_dims(1, 2)
            .reshape([images, channels, grid[0], grid[1]])
    }

    /// Replaces cells by the nearest vectors, `[images, channels, rows, cols]` -> the same shape.
    /// The gradient is that of the cells.
    pub fn quantize(&self, cells: Tensor<4>) -> Tensor<4> {
        let nearest = self.nearest(cells.clone());
        cells.clone() + (nearest - cells).detach()
    }

    /// Returns the nearest vectors, `[images, channels, rows, cols]` -> the same shape.
    fn nearest(&self, cells: Tensor<4>) -> Tensor<4> {
        let [_, _, rows, cols] = cells.dims();
        self.cells_of(self.codes_of(cells), [rows, cols])
    }

    /// Returns the mean squared distance of cells `[images, channels, rows, cols]` from their
    /// vectors, `[1]`: the commitment of an encoder.
    pub fn commitment(&self, cells: Tensor<4>) -> Tensor<1> {
        (cells.clone() - self.nearest(cells)).square().mean()
    }

    /// Returns zero, `[1]`, whose gradients are what [`Codebook::followed`] takes: the share of the
    /// cells `[images, channels, rows, cols]` of every code and their sum over all cells.
    pub fn statistics(&self, cells: Tensor<4>) -> Tensor<1> {
        let [codes, _] = self.sums.dims();
        let found = self.codes_of(cells.clone());
        let cells = flat(cells.detach());
        let [count, _] = cells.dims();
        let one_hot = found.reshape([count]).one_hot::<2>(codes).float();
        let of_code = one_hot.transpose(); // [codes, cells]
        let shares = of_code.clone().mean_dim(1).reshape([codes]);
        let sums = of_code.matmul(cells) / count as f64;
        let value = (self.counts.val() * shares).sum() + (self.sums.val() * sums).sum();
        value.clone() - value.detach()
    }

    /// Returns the codebook after a batch of these shares `[codes]` and sums `[codes, channels]`;
    /// dead codes are revived. The result is a pure function of its arguments.
    pub fn followed(self, shares: Tensor<1>, sums: Tensor<2>, step: u64) -> Self {
        let decay = self.config.decay;
        let host = |old: Tensor<1>, new: Tensor<1>| -> Vec<f64> {
            let mixed = old.without_autodiff() * decay + new.without_autodiff() * (1.0 - decay);
            let mixed = mixed.into_data().convert::<f32>();
            let mixed = mixed.try_to_vec::<f32>().expect("32-bit floats");
            mixed.into_iter().map(f64::from).collect()
        };
        let [codes, channels] = self.sums.dims();
        let whole = codes * channels;
        let mut counts = host(self.counts.val(), shares);
        let mut vectors = host(self.sums.val().reshape([whole]), sums.reshape([whole]));
        revive(&self.config, &mut counts, &mut vectors, step);
        let single = |numbers: Vec<f64>| numbers.into_iter().map(|number| number as f32).collect();
        let (counts, vectors): (Vec<f32>, Vec<f32>) = (single(counts), single(vectors));
        Self {
            counts: replaced(self.counts, counts),
            sums: replaced(self.sums, vectors),
            config: self.config,
        }
    }
}

/// Splits the most used codes, one for each dead code, as long as they are used twice as much as a
/// dead one may be.
fn revive(config: &CodebookConfig, counts: &mut [f64], sums: &mut [f64], step: u64) {
    let least = config.dead_below / config.codes as f64;
    let channels = config.channels;
    let mut order: Vec<usize> = (0..counts.len()).collect();
    order.sort_by(|a, b| counts[*b].total_cmp(&counts[*a]).then(a.cmp(b)));
    let size = sums.iter().map(|sum| sum * sum).sum::<f64>();
    let size = (size / sums.len() as f64).sqrt() * config.codes as f64; // of a number of a vector
    let mut rng = ChaCha8Rng::seed_from_u64(step);
    let dead: Vec<usize> =
        order.iter().rev().copied().take_while(|code| counts[*code] < least).collect();
    for (dead, used) in dead.into_iter().zip(order) {
        if counts[used] < 2.0 * least {
            break;
        }
        let half = counts[used] / 2.0;
        counts[used] = half;
        counts[dead] = half;
        for at in 0..channels {
            let own = sums[used * channels + at] / 2.0;
            let beside = rng.sample::<f64, _>(StandardNormal) * BESIDE * size * half;
            sums[used * channels + at] = own;
            sums[dead * channels + at] = own + beside;
        }
    }
}

fn replaced<const D: usize>(param: Param<Tensor<D>>, numbers: Vec<f32>) -> Param<Tensor<D>> {
    param.map(|old| {
        let new = Tensor::from_data(TensorData::new(numbers, old.dims()), &old.device());
        if old.is_require_grad() { new.require_grad() } else { new }
    })
}

/// `[images, channels, rows, cols]` -> `[images * rows * cols, channels]`.
fn flat(cells: Tensor<4>) -> Tensor<2> {
    let [images, channels, rows, cols] = cells.dims();
    cells.permute([0, 2, 3, 1]).reshape([images * rows * cols, channels])
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: CodebookConfig =
        CodebookConfig { codes: 4, channels: 2, decay: 0.5, dead_below: 0.1 };

    fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.without_autodiff().into_data().try_to_vec::<f32>().unwrap()
    }

    /// A codebook of the corners of a square; three cells are near the first, one near the last.
    fn square(device: &Device) -> (Codebook, Tensor<4>) {
        let mut init = Init::new(0, device);
        let mut codebook = Codebook::new(&mut init, &CONFIG);
        let corners = vec![-0.25, -0.25, -0.25, 0.25, 0.25, -0.25, 0.25, 0.25];
        codebook.sums = init.given([4, 2], corners);
        let cells = vec![-1.0f32, -0.5, -2.0, 3.0, -1.0, -1.5, -1.0, 4.0];
        (codebook, Tensor::from_data(TensorData::new(cells, [1, 2, 2, 2]), device))
    }

    #[test]
    fn a_cell_becomes_the_nearest_vector_and_keeps_its_gradient() {
        let device = Device::flex().autodiff();
        let (codebook, cells) = square(&device);
        let cells = cells.require_grad();
        let codes = codebook.codes_of(cells.clone());
        let codes = codes.into_data().convert::<i32>();
        assert_eq!(codes.try_to_vec::<i32>().unwrap(), [0, 0, 0, 3]);
        let quantized = codebook.quantize(cells.clone());
        let wanted = [-1.0, -1.0, -1.0, 1.0, -1.0, -1.0, -1.0, 1.0];
        assert_eq!(numbers(quantized.clone()), wanted);
        let factors = Tensor::<1, Int>::arange(1..9, &device).float().reshape([1, 2, 2, 2]);
        let grads = (quantized * factors.clone()).sum().backward();
        assert_eq!(numbers(cells.grad(&grads).unwrap()), numbers(factors));
        assert!(codebook.sums.val().grad(&grads).is_none(), "no gradient reaches the codebook");
    }

    #[test]
    fn shares_and_sums_travel_as_gradients_and_the_average_follows_them() {
        let device = Device::flex().autodiff();
        let (codebook, cells) = square(&device);
        let zero = codebook.statistics(cells.clone());
        assert_eq!(zero.clone().into_scalar::<f32>(), 0.0);
        let grads = zero.backward();
        let shares = codebook.counts.val().grad(&grads).unwrap();
        let sums = codebook.sums.val().grad(&grads).unwrap();
        assert_eq!(numbers(shares.clone()), [0.75, 0.0, 0.0, 0.25]);
        // The cells of code 0 are (-1, -1), (-0.5, -1.5) and (-2, -1); that of code 3 is (3, 4).
        assert_eq!(numbers(sums.clone()), [-0.875, -0.875, 0.0, 0.0, 0.0, 0.0, 0.75, 1.0]);
        let followed = codebook.followed(shares, sums, 1);
        assert_eq!(numbers(followed.counts.val()), [0.5, 0.125, 0.125, 0.25]);
        let vectors = numbers(followed.vectors());
        let wanted = [-1.125, -1.125, -1.0, 1.0, 1.0, -1.0, 2.0, 2.5];
        for (found, wanted) in vectors.iter().zip(wanted) {
            assert!((found - wanted).abs() < 1e-6, "{vectors:?}");
        }
    }

    #[test]
    fn a_dead_code_takes_half_of_the_cells_of_the_most_used_one() {
        let mut counts = [0.6, 0.001, 0.3, 0.1];
        let mut sums = [0.6, 1.2, 5.0, 5.0, 0.3, 0.3, 0.1, 0.1];
        revive(&CONFIG, &mut counts, &mut sums, 7);
        assert_eq!(counts, [0.3, 0.3, 0.3, 0.1]);
        assert_eq!(sums[..2], [0.3, 0.6]);
        let vector = [sums[2] / counts[1], sums[3] / counts[1]];
        assert!((vector[0] - 1.0).abs() < 1.0 && (vector[1] - 2.0).abs() < 1.0, "{vector:?}");
        assert!(vector != [1.0, 2.0], "it stands beside, not upon it");
        let (before, kept) = (counts, sums);
        revive(&CONFIG, &mut counts, &mut sums, 8);
        assert_eq!((counts, sums), (before, kept), "nothing is dead now");
    }
}

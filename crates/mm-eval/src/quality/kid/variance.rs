//! The variance of the kernel distance over draws of other images.
//!
//! The unbiased estimate over all images, n of one kind and m of the other, is a U-statistic. Its
//! variance is exactly a sum of uncorrelated parts (Hoeffding 1948; Serfling 1980, section 5.2):
//!
//! ```text
//! 4 σ²_x / n + 4 σ²_y / m  +  2 τ_xx / n(n-1) + 2 τ_yy / m(m-1) + 4 τ_xy / nm
//! ```
//!
//! σ² is the variance of the witness E k(x, x') - E k(x, y) over images of one kind, and τ is the
//! mean square of the kernel once its means over either argument are taken away. Where both kinds
//! are alike, the witness is constant and the statistic is degenerate: only the τ are left, which
//! fall with 1/n² and which a jackknife counts several times, because those of subsets of half the
//! images are four times as large. Every part is estimated without bias here: the τ within one kind
//! by the U-centered kernel (Székely and Rizzo 2014, arXiv:1310.2926), τ_xy by the residual of two
//! means, and σ² by the variance of the rows' means, less what the τ add to it.

use nalgebra::{DMatrix, DVector};

/// The kernel within one kind of images.
struct Within {
    /// Each row's sum without the diagonal, over n - 2, by which it varies as the row's own mean.
    means: DVector<f64>,
    /// τ, the mean square of what the means leave.
    rest: f64,
    /// How many images the kernel is of.
    seen: f64,
}

impl Within {
    fn of(mut kernel: DMatrix<f64>) -> Self {
        kernel.fill_diagonal(0.0);
        let n = kernel.nrows() as f64;
        let means = kernel.column_sum() / (n - 2.0);
        let all = kernel.sum() / ((n - 1.0) * (n - 2.0));
        let mut squares = 0.0;
        for col in 0..kernel.ncols() {
            for row in (0..kernel.nrows()).filter(|row| *row != col) {
                squares += (kernel[(row, col)] - means[row] - means[col] + all).powi(2);
            }
        }
        Self { means, rest: squares / (n * (n - 3.0)), seen: n }
    }

    /// Returns σ², given each row's mean `across` to the other kind, which is over so many images
    /// and leaves `rest`.
    fn witness(&self, across: &DVector<f64>, rest: f64, others: f64) -> f64 {
        let spread = (&self.means - across).variance() * self.seen / (self.seen - 1.0);
        spread - self.rest / (self.seen - 2.0) - rest / others
    }
}

/// Estimates the variance of the unbiased estimate over `n` and `m` images from the kernels within
/// each kind and between them, of some of these images, at least four of each kind.
pub(super) fn variance(
    xx: DMatrix<f64>,
    yy: DMatrix<f64>,
    xy: &DMatrix<f64>,
    n: usize,
    m: usize,
) -> f64 {
    let (n, m) = (n as f64, m as f64);
    let (x, y) = (Within::of(xx), Within::of(yy));
    let (rows, cols) = (xy.column_mean(), xy.row_mean().transpose());
    let mean = xy.mean();
    let mut squares = 0.0;
    for col in 0..xy.ncols() {
        for row in 0..xy.nrows() {
            squares += (xy[(row, col)] - rows[row] - cols[col] + mean).powi(2);
        }
    }
    let rest = squares / ((x.seen - 1.0) * (y.seen - 1.0));
    let linear = 4.0 * (x.witness(&rows, rest, y.seen) / n + y.witness(&cols, rest, x.seen) / m);
    let within = 2.0 * (x.rest / (n * (n - 1.0)) + y.rest / (m * (m - 1.0)));
    linear.max(0.0) + within + 4.0 * rest / (n * m)
}

//! Tables of rotary position embedding (Su et al. 2021, arXiv:2104.09864) on two axes: the channel
//! pair `(2p, 2p + 1)` of a token turns by `position · θ_p`.

use std::sync::Arc;

/// The axis of the plane that one channel pair follows, and how fast it turns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AxisFrequency {
    /// The coordinate that the pair follows: 0 for the row, 1 for the column.
    pub axis: usize,
    /// The angle for one unit of that coordinate, in radians.
    pub theta: f64,
}

/// Cosines and sines of the angles by which every channel pair of every token turns.
///
/// ```
/// use mm_kernels::{AxisFrequency, RotaryTables};
///
/// let row = AxisFrequency { axis: 0, theta: std::f64::consts::FRAC_PI_2 };
/// let tables = RotaryTables::new(&[row], &[[0.0, 7.0], [1.0, 7.0]]);
/// assert_eq!(tables.cos()[0], 1.0); // the token of row 0 does not turn
/// assert_eq!(tables.sin()[1], 1.0); // the token of row 1 turns by a quarter
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct RotaryTables {
    /// `[batch, tokens, pairs]`, flat.
    cos: Arc<Vec<f32>>,
    /// `[batch, tokens, pairs]`, flat.
    sin: Arc<Vec<f32>>,
    pairs: usize,
}

impl RotaryTables {
    /// Computes the angles of all pairs, one [`AxisFrequency`] each, at `positions`,
    /// `[row, column]` of every token of every row of the batch.
    pub fn new(frequencies: &[AxisFrequency], positions: &[[f64; 2]]) -> Self {
        let count = positions.len() * frequencies.len();
        let (mut cos, mut sin) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for position in positions {
            for frequency in frequencies {
                let (s, c) = (position[frequency.axis] * frequency.theta).sin_cos();
                cos.push(c as f32);
                sin.push(s as f32);
            }
        }
        Self { cos: Arc::new(cos), sin: Arc::new(sin), pairs: frequencies.len() }
    }

    /// Returns the cosines, `[batch, tokens, pairs]`, last axis fastest.
    pub fn cos(&self) -> &[f32] {
        &self.cos
    }

    /// Returns the sines, `[batch, tokens, pairs]`, last axis fastest.
    pub fn sin(&self) -> &[f32] {
        &self.sin
    }

    /// Returns the number of channel pairs that turn.
    pub fn pairs(&self) -> usize {
        self.pairs
    }

    /// Returns the number of tokens in all rows of the batch.
    pub fn tokens(&self) -> usize {
        self.cos.len().checked_div(self.pairs).unwrap_or(0)
    }
}

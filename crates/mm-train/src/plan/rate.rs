//! How many operations a device computes in a second, measured by products of a model's sizes.

use std::time::Instant;

use burn::prelude::*;

use crate::TrainError;
use crate::workers::Workers;

/// The seconds that a measurement takes at least; it takes at most about four times as many.
const ENOUGH: f64 = 0.1;
/// The operations of the first products, which no device takes long for.
const FEW: f64 = 1e9;

/// A pair of products as in the second half of a block: `[rows, width]` by `[width, 4 width]`, and
/// back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Product {
    /// The tokens of a micro-batch.
    pub rows: usize,
    /// The channels of a token.
    pub width: usize,
}

/// What a device computes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeasuredRate {
    /// The pair that was measured.
    pub product: Product,
    /// The floating point operations in a second.
    pub flops: f64,
    /// The seconds that the measurement took.
    pub seconds: f64,
}

impl Product {
    /// Returns the floating point operations of the pair.
    pub fn flops(self) -> f64 {
        16.0 * self.rows as f64 * (self.width as f64).powi(2)
    }

    /// Measures the pair on a device, on as many threads at once as a step has micro-batches.
    ///
    /// ```
    /// use burn::prelude::Device;
    /// use mm_train::Product;
    ///
    /// let found = Product { rows: 64, width: 32 }.measure(&Device::flex(), 1).unwrap();
    /// assert!(found.flops > 1e5 && found.flops < 1e16);
    /// ```
    pub fn measure(
        self,
        device: &Device,
        micro_batches: usize,
    ) -> Result<MeasuredRate, TrainError> {
        let start = Instant::now();
        let workers = Workers::new(micro_batches)?;
        let measured = |product: Self| -> f64 {
            workers.each(vec![(); micro_batches], |()| product.rate_of_thread(device)).iter().sum()
        };
        let mut product = self.of_few_rows();
        let mut flops = measured(product);
        // A fast device is measured by products that are large enough for it.
        if product != self && self.flops() < ENOUGH * flops {
            product = self;
            flops = measured(product);
        }
        Ok(MeasuredRate { product, flops, seconds: start.elapsed().as_secs_f64() })
    }

    /// Returns the pair with as many of its rows as take [`FEW`] operations.
    fn of_few_rows(self) -> Self {
        let most = (FEW / Self { rows: 1, ..self }.flops()) as usize;
        Self { rows: self.rows.min(most).max(1), ..self }
    }

    /// Returns the operations in a second of one thread. Twice as many pairs are computed again and
    /// again until they take long enough.
    fn rate_of_thread(self, device: &Device) -> f64 {
        let Self { rows, width } = self;
        let inner = 4 * width;
        let full = |shape: [usize; 2], number: f64| Tensor::<2>::full(shape, number, device);
        let up = full([width, inner], 1.0 / width as f64);
        let down = full([inner, width], 1.0 / inner as f64);
        let pairs = |count: usize| {
            let mut x = full([rows, width], 1.0);
            for _ in 0..count {
                x = x.matmul(up.clone()).matmul(down.clone()); // ones again
            }
            x.sum().into_scalar::<f32>() // waits for the device
        };
        pairs(1); // compiles, allocates
        let mut count = 1;
        loop {
            let start = Instant::now();
            pairs(count);
            let seconds = start.elapsed().as_secs_f64();
            if seconds >= ENOUGH {
                return self.flops() * count as f64 / seconds;
            }
            count *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_device_is_asked_for_few_rows() {
        let wide = Product { rows: 1 << 20, width: 2048 };
        let few = wide.of_few_rows();
        assert!(few.rows >= 1 && few.flops() <= FEW && 2.0 * few.flops() > FEW, "{few:?}");
        let huge = Product { rows: 8, width: 1 << 17 };
        assert_eq!(huge.of_few_rows().rows, 1);
        let small = Product { rows: 64, width: 32 };
        assert_eq!(small.of_few_rows(), small);
        assert_eq!(small.flops(), (2 * 64 * 32 * 128 * 2) as f64);
    }
}

//! Products of a few rows with a matrix of 16-bit floats, as a generated token needs them.
//!
//! The matrix is read once and widened on the way, so no copy of it in 32-bit floats is made, and
//! half as many bytes come from memory. The inputs are cut into parts, one task each, whose sums
//! are added in order, so the number of threads changes no bit.

use burn::backend::flex::FlexTensor;
use burn::backend::{DType, Flex};
use burn::prelude::*;
use burn::tensor::{bf16, f16};
use rayon::prelude::*;

use super::simd::vectorised;

/// The most rows that are multiplied here. For more of them, a product of the widened matrix is
/// faster.
const MOST_ROWS: usize = 8;
/// The inputs whose part of all sums is one task. Their rows of the matrix stand one after another
/// in memory, so that it is read as fast as it can be.
const PART: usize = 128;
/// The inputs whose rows are added to the sums at once.
const TOGETHER: usize = 8;

/// Computes `x W` for at most eight rows, `[rows, inputs]` -> `[rows, outputs]`; nothing for more
/// of them, with autodiff, or where a tensor lies elsewhere.
pub(crate) fn few_rows(x: Tensor<2>, weight: &Tensor<2>) -> Option<Tensor<2>> {
    let ([rows, inputs], [_, outputs]) = (x.dims(), weight.dims());
    if rows == 0 || rows > MOST_ROWS || inputs == 0 || x.dtype() != DType::F32 {
        return None;
    }
    let x = contiguous(x.try_into_primitive::<Flex>().ok()?);
    let weight = contiguous(weight.clone().try_into_primitive::<Flex>().ok()?);
    let x = x.as_slice::<f32>()?;
    let y = match weight.dtype() {
        DType::BF16 => product(x, weight.as_slice::<bf16>()?, outputs, add_bf16),
        DType::F16 => product(x, weight.as_slice::<f16>()?, outputs, add_f16),
        _ => return None,
    };
    let y = FlexTensor::from_data(TensorData::new(y, [rows, outputs]));
    Some(Tensor::from_primitive::<Flex>(y))
}

fn contiguous(tensor: FlexTensor) -> FlexTensor {
    if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() }
}

/// Adds rows to sums, each times its factor.
type AddRows<T> = fn(&mut [f32], [&[T]; TOGETHER], [f32; TOGETHER]);

/// Computes the sums over parts of the inputs, and adds them up in their order.
fn product<T: Sync>(x: &[f32], weight: &[T], outputs: usize, add: AddRows<T>) -> Vec<f32> {
    let inputs = weight.len() / outputs.max(1);
    let parts: Vec<Vec<f32>> = (0..inputs.div_ceil(PART))
        .into_par_iter()
        .map(|part| part_of_product(x, weight, outputs, part * PART, add))
        .collect();
    let mut parts = parts.into_iter();
    let mut y = parts.next().expect("there is an input");
    for part in parts {
        y.iter_mut().zip(part).for_each(|(sum, more)| *sum += more);
    }
    y
}

/// Computes the sums of all rows, `[rows, outputs]`, over the inputs of a part.
fn part_of_product<T>(
    x: &[f32],
    weight: &[T],
    outputs: usize,
    from: usize,
    add: AddRows<T>,
) -> Vec<f32> {
    let inputs = weight.len() / outputs;
    let mut sums = vec![0.0; x.len() / inputs * outputs];
    for first in (from..inputs.min(from + PART)).step_by(TOGETHER) {
        // Behind the last input, its row is taken again, times zero.
        let at: [usize; TOGETHER] = std::array::from_fn(|k| (first + k).min(inputs - 1));
        let rows = at.map(|input| &weight[input * outputs..][..outputs]);
        for (x, sums) in x.chunks(inputs).zip(sums.chunks_mut(outputs)) {
            let factor = |k: usize| if first + k < inputs { x[at[k]] } else { 0.0 };
            add(sums, rows, std::array::from_fn(factor));
        }
    }
    sums
}

/// Widens a number, which is its upper half.
#[inline(always)]
fn wide_bf16(x: bf16) -> f32 {
    f32::from_bits(u32::from(x.to_bits()) << 16)
}

/// Widens a number without a branch: the exponent is moved by a product, which makes small numbers
/// normal too, and that of infinity and NaN is set.
#[inline(always)]
fn wide_f16(x: f16) -> f32 {
    const SHIFT: f32 = f32::from_bits((127 + 112) << 23); // 2^112
    const LARGEST: u32 = 0x0f80_0000; // the exponent of infinity, in its place
    let bits = u32::from(x.to_bits());
    let magnitude = (bits & 0x7fff) << 13;
    let special = if magnitude >= LARGEST { 0x7f80_0000 } else { 0 };
    let value = (f32::from_bits(magnitude) * SHIFT).to_bits() | special;
    f32::from_bits(value | (bits & 0x8000) << 16)
}

vectorised! {
    /// Computes `sums += Σ factor · row`.
    fn add_bf16(sums: &mut [f32], rows: [&[bf16]; TOGETHER], factors: [f32; TOGETHER]) {
        let rows = rows.map(|row| &row[..sums.len()]);
        for (i, sum) in sums.iter_mut().enumerate() {
            let one = |k: usize| factors[k] * wide_bf16(rows[k][i]);
            let two = |k: usize| one(k) + one(k + 1);
            *sum += (two(0) + two(2)) + (two(4) + two(6));
        }
    }

    /// Computes `sums += Σ factor · row`.
    fn add_f16(sums: &mut [f32], rows: [&[f16]; TOGETHER], factors: [f32; TOGETHER]) {
        let rows = rows.map(|row| &row[..sums.len()]);
        for (i, sum) in sums.iter_mut().enumerate() {
            let one = |k: usize| factors[k] * wide_f16(rows[k][i]);
            let two = |k: usize| one(k) + one(k + 1);
            *sum += (two(0) + two(2)) + (two(4) + two(6));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_half_is_widened_as_its_type_says() {
        for bits in 0..=u16::MAX {
            let (found, wanted) = (wide_f16(f16::from_bits(bits)), f16::from_bits(bits).to_f32());
            assert!(found == wanted || (found.is_nan() && wanted.is_nan()), "{bits:#06x}");
            let (found, wanted) =
                (wide_bf16(bf16::from_bits(bits)), bf16::from_bits(bits).to_f32());
            assert!(found == wanted || (found.is_nan() && wanted.is_nan()), "{bits:#06x}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn a_product_with_halves_is_that_with_the_same_numbers_in_32_bits(
            rows in 1usize..=MOST_ROWS, inputs in 1usize..40, outputs in prop_oneof![1usize..70, 1000usize..2100],
            seed in any::<u32>(), wide in any::<bool>(),
        ) {
            let device = Device::flex();
            let number = |at: usize| ((at as u32 ^ seed).wrapping_mul(0x9E37_79B9) >> 24) as f32 / 64.0 - 2.0;
            let tensor = |count: usize, shape: [usize; 2]| {
                let numbers: Vec<f32> = (0..count).map(number).collect();
                Tensor::<2>::from_data(TensorData::new(numbers, shape), &device)
            };
            let x = tensor(rows * inputs, [rows, inputs]);
            let weight = tensor(inputs * outputs, [inputs, outputs]);
            let half = weight.clone().cast(if wide { DType::BF16 } else { DType::F16 });
            let found = few_rows(x.clone(), &half).unwrap();
            let wanted = x.matmul(half.cast(DType::F32));
            let most = (found - wanted).abs().max().into_scalar::<f32>();
            prop_assert!(most < 1e-3, "{most}");
        }
    }
}

//! Plain loops that the compiler turns into vector instructions, and the functions inside them.
//!
//! [`vectorised!`] compiles a function for AVX-512, for AVX2 and for nothing, and takes at run time
//! what the processor has (NEON needs no choice). Loops that write several slices stand in
//! functions that take each as an argument of its own: only so does the compiler know them apart.
//! The arithmetic is written without fused multiply-add and sums run over sixteen lanes everywhere,
//! so these loops give the same bits on every processor; matrix products do not.

/// Lanes of a sum.
const LANES: usize = 16;

/// Defines functions in several versions of machine code, of which the best for this processor
/// runs. What they call must be `#[inline(always)]` to be part of it.
macro_rules! vectorised {
    ($($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $body:block)+) => {$(
        $(#[$meta])*
        $vis fn $name($($arg: $type),*) {
            #[inline(always)]
            fn plain($($arg: $type),*) $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $type),*) {
                    plain($($arg),*)
                }
                #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512cd,avx512dq,avx512vl")]
                fn avx512($($arg: $type),*) {
                    plain($($arg),*)
                }
                match $crate::InstructionSet::of_this_processor() {
                    // SAFETY: the processor was found to have these instructions.
                    $crate::InstructionSet::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: the processor was found to have these instructions too.
                    $crate::InstructionSet::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::InstructionSet::Baseline => {}
                }
            }
            plain($($arg),*)
        }
    )+};
}
pub(crate) use vectorised;

/// Computes `e^x` within 2 units in the last place for `x` in -87.3..88.3 and, beyond, the value at
/// the nearest of these ends. NaN stays NaN.
///
/// `x = n ln 2 + r` with `|r| <= ln(2) / 2`, then a polynomial of degree 7 in `r` (Cephes `expf`,
/// Moshier 1989), then `2^n` through the exponent bits.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LOWEST: f32 = -87.336_54;
    const HIGHEST: f32 = 88.376_26;
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2^23: adding it leaves the integer in the low bits
    const LN_2_HIGH: f32 = 355.0 / 512.0; // nine bits, so that n times it is exact
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = if x < LOWEST { LOWEST } else { x };
    let x = if x > HIGHEST { HIGHEST } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let p = 1.987_569_1e-4 * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let y = p * (r * r) + r + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    y * f32::from_bits(exponent)
}

/// Computes the logistic function `1 / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Combines sixteen lanes pairwise.
#[inline(always)]
fn lanes_sum(lanes: [f32; LANES]) -> f32 {
    let mut lanes = lanes;
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// Computes `Σ a`.
#[inline(always)]
pub(crate) fn sum(a: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let chunks = a.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += x;
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane += x;
    }
    lanes_sum(lanes)
}

/// Computes `Σ a b`.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let (left, right) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = (left.remainder(), right.remainder());
    for (left, right) in left.zip(right) {
        for i in 0..LANES {
            lanes[i] += left[i] * right[i];
        }
    }
    for (lane, (x, y)) in lanes.iter_mut().zip(rest.0.iter().zip(rest.1)) {
        *lane += x * y;
    }
    lanes_sum(lanes)
}

/// Returns the largest of `a`, which is -infinity if there is none.
#[inline(always)]
pub(crate) fn max(a: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = a.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = if x > *lane { x } else { *lane };
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = if x > *lane { x } else { *lane };
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
}

/// Computes `Σ a b c`.
#[inline(always)]
pub(crate) fn dot3(a: &[f32], b: &[f32], c: &[f32]) -> f32 {
    let n = a.len();
    let (b, c) = (&b[..n], &c[..n]);
    let mut lanes = [0.0; LANES];
    let whole = n / LANES * LANES;
    let chunks = a.chunks_exact(LANES).zip(b.chunks_exact(LANES)).zip(c.chunks_exact(LANES));
    for ((a, b), c) in chunks {
        for i in 0..LANES {
            lanes[i] += a[i] * b[i] * c[i];
        }
    }
    for (lane, i) in (whole..n).enumerate() {
        lanes[lane] += a[i] * b[i] * c[i];
    }
    lanes_sum(lanes)
}

vectorised! {
    /// Computes `a += b`.
    pub(crate) fn add(a: &mut [f32], b: &[f32]) {
        for (a, b) in a.iter_mut().zip(b) {
            *a += b;
        }
    }

    /// Computes `a *= b`.
    pub(crate) fn multiply(a: &mut [f32], b: &[f32]) {
        for (a, b) in a.iter_mut().zip(b) {
            *a *= b;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Measures the distance from the exact value in units of the last place of its 32-bit
    /// neighborhood.
    fn error_in_ulps(x: f32) -> f64 {
        let exact = f64::from(x).exp();
        let nearest = exact as f32;
        let ulp = f64::from(f32::from_bits(nearest.to_bits() + 1)) - f64::from(nearest);
        (f64::from(exp(x)) - exact).abs() / ulp
    }

    #[test]
    fn the_exponential_is_within_two_units_in_the_last_place() {
        let (mut worst, mut at) = (0.0, 0.0);
        for step in 0..2_000_000 {
            let x = -87.3 + 175.6 * step as f32 / 2_000_000.0;
            let error = error_in_ulps(x);
            if error > worst {
                (worst, at) = (error, x);
            }
        }
        assert!(worst <= 2.0, "{worst} units at {at}");
    }

    #[test]
    fn the_exponential_is_right_at_the_ends_and_keeps_nan() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), exp(-87.336_54));
        assert!(exp(f32::NEG_INFINITY) < 1.3e-38);
        assert!(exp(f32::INFINITY) > 2.3e38);
        assert!(exp(f32::NAN).is_nan());
    }

    proptest! {
        #[test]
        fn sums_and_maxima_equal_their_definitions(
            a in proptest::collection::vec(-8i16..8, 0..70),
            b in proptest::collection::vec(-8i16..8, 70),
        ) {
            let a: Vec<f32> = a.into_iter().map(f32::from).collect();
            let b: Vec<f32> = b.into_iter().map(f32::from).take(a.len()).collect();
            prop_assert_eq!(sum(&a), a.iter().sum::<f32>());
            prop_assert_eq!(dot(&a, &b), a.iter().zip(&b).map(|(x, y)| x * y).sum::<f32>());
            prop_assert_eq!(max(&a), a.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }
}

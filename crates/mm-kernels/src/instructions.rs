//! The vector instructions of the processor, which decide the order of sums in matrix products.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The vector instructions that the kernels of the CPU use.
///
/// Matrix products add in another order with each of them, so the same seed gives the same bits
/// only on processors with the same instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum InstructionSet {
    /// What every processor of its family has.
    Baseline,
    /// 256 bits on x86: AVX2 with FMA.
    Avx2,
    /// 512 bits on x86: AVX-512 F, BW, CD, DQ and VL.
    Avx512,
}

impl InstructionSet {
    /// Returns what this processor has; the standard library remembers the answers.
    #[inline]
    pub fn of_this_processor() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            use std::is_x86_feature_detected as has;
            if !(has!("avx2") && has!("fma")) {
                Self::Baseline
            } else if has!("avx512f")
                && has!("avx512bw")
                && has!("avx512cd")
                && has!("avx512dq")
                && has!("avx512vl")
            {
                Self::Avx512
            } else {
                Self::Avx2
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        Self::Baseline
    }

    /// Says whether this processor multiplies numbers of 16 bits, bfloat16, in vectors of 512 bits
    /// (AVX512-BF16). Where it does not, products in bf16 give the same and take longer than those
    /// in 32 bits.
    #[inline]
    pub fn has_bf16() -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            let all = Self::of_this_processor() == Self::Avx512;
            all && std::is_x86_feature_detected!("avx512bf16")
        }
        #[cfg(not(target_arch = "x86_64"))]
        false
    }
}

impl fmt::Display for InstructionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Baseline => "baseline",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        })
    }
}

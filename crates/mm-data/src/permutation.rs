//! A shuffle of any length that needs no memory: a Feistel network (Luby and Rackoff 1988) over the
//! next power of four, walked until it lands inside the length (Black and Rogaway 2002). For
//! sources too long to hold a shuffled list of.

/// Rounds of the network; four make it pseudo-random, two more cost nothing.
const ROUNDS: u64 = 6;

/// Returns where `index` goes in the shuffle of `0..len` that `key` names; `index` must be below
/// `len`.
pub(crate) fn permuted(index: u64, len: u64, key: u64) -> u64 {
    assert!(index < len, "an index of the length");
    let half = (u64::BITS - (len - 1).leading_zeros()).div_ceil(2).max(1);
    let mask = (1 << half) - 1;
    let mut at = index;
    loop {
        let (mut left, mut right) = (at >> half, at & mask);
        for round in 0..ROUNDS {
            (left, right) = (right, left ^ (mixed(right, key, round) & mask));
        }
        at = (left << half) | right;
        if at < len {
            return at;
        }
    }
}

/// Computes the finalizer of SplitMix64 (Steele, Lea, Flood 2014) over what a round sees.
fn mixed(value: u64, key: u64, round: u64) -> u64 {
    let mut z = value ^ key.wrapping_add((round + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::permuted;

    #[test]
    fn every_index_comes_once_at_any_length() {
        for len in (1..70).chain([1000, 4096, 4097]) {
            let seen: HashSet<u64> = (0..len).map(|index| permuted(index, len, 7)).collect();
            assert_eq!(seen.len() as u64, len);
            assert!(seen.iter().all(|at| *at < len));
        }
    }

    #[test]
    fn long_shuffles_reach_everywhere_and_differ_by_key() {
        let len = 3_000_000_000;
        let of = |key| (0..1000).map(|index| permuted(index, len, key)).collect::<Vec<u64>>();
        let mean = of(1).iter().sum::<u64>() as f64 / 1000.0 / len as f64;
        assert!((mean - 0.5).abs() < 0.05, "{mean}");
        assert!(of(1).iter().zip(of(2)).filter(|(a, b)| *a == b).count() < 3);
    }
}

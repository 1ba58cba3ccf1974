//! The work memory that the fused kernels of the CPU hold after some steps, told from sizes alone.
//!
//! What a step gives back waits for the next, by size. So there are as many buffers of every size as some step had at once, and
//! batches of changing lengths hold more than any one of them takes.

use std::collections::BTreeMap;

use crate::BackboneConfig;

/// Tokens that one task takes through a whole block: enough for fast matrix products, few enough for the cache.
const PART: usize = 256;
/// The same for blocks of at least [`WIDE`] channels, whose weights do not stay in the cache from one task to the next and
/// are packed anew for each.
const WIDE_PART: usize = 512;
/// From so many channels on a block is wide.
const WIDE: usize = 512;

/// Most tokens, about, of one task in blocks of `width` channels.
pub(crate) fn part_tokens(width: usize) -> usize {
    if width >= WIDE { WIDE_PART } else { PART }
}

/// Numbers of the buffer that is taken for `len`: the least of `k · 2^n`, `k` in 4..8, that is at least `len` and 64.
pub(crate) fn buffer_size(len: usize) -> usize {
    let len = len.max(64);
    let quarter = (len.next_power_of_two() / 8).max(1);
    len.div_ceil(quarter) * quarter
}

/// How many buffers of every size there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkMemory(BTreeMap<usize, usize>);

impl WorkMemory {
    /// Parts of a batch, of so many tokens each, go through forward and backward at once; `blocks` of the stack's blocks keep
    /// what their backward pass needs.
    pub fn train(&mut self, config: &BackboneConfig, blocks: usize, parts: &[usize]) {
        let mut taken: BTreeMap<usize, usize> = BTreeMap::new();
        let mut take = |len: usize, count: usize| {
            *taken.entry(buffer_size(len)).or_default() += count;
        };
        for &tokens in parts {
            let tasks = tokens.div_ceil(part_tokens(config.width)).max(1);
            let own = tokens.div_ceil(tasks);
            config.kept_arrays().iter().for_each(|numbers| take(tokens * numbers, blocks));
            config.backward_arrays().iter().for_each(|numbers| take(tokens * numbers, 1));
            config.task_arrays().iter().for_each(|numbers| take(own * numbers, 1));
        }
        for (size, count) in taken {
            let most = self.0.entry(size).or_default();
            *most = count.max(*most);
        }
    }

    /// Numbers of all buffers.
    pub fn numbers(&self) -> usize {
        self.0.iter().map(|(size, count)| size * count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BlockConfig, PositionScheme};

    fn after(steps: &[&[usize]]) -> usize {
        let config = BackboneConfig {
            width: 64,
            depth: 3,
            block: BlockConfig::Transformer { heads: 2, key_heads: 2, feed_forward: 128 },
            positions: PositionScheme::RopeTv,
            rotary_base: 100.0,
            norm_epsilon: 1e-6,
        };
        let mut memory = WorkMemory::default();
        steps.iter().for_each(|parts| memory.train(&config, config.depth, parts));
        memory.numbers()
    }

    #[test]
    fn buffers_of_one_size_are_taken_again_and_other_sizes_are_added() {
        let one = after(&[&[512]]);
        assert_eq!(after(&[&[512], &[512]]), one);
        assert_eq!(after(&[&[512], &[510]]), one);
        assert_eq!(after(&[&[512, 512]]), 2 * one);
        assert!(after(&[&[512], &[1024]]) > after(&[&[1024]]));
        assert_eq!(after(&[&[512], &[1024]]), after(&[&[1024], &[512]]));
        assert_eq!(after(&[]), 0);
    }

    #[test]
    fn a_step_holds_what_its_arrays_count() {
        // Of 512 tokens everything is a power of two but the joint array of 3 · 64 numbers, which a size fits too.
        let kept = 512 * (3 * 64 + 64 + 2 + 64 + 2 * 128);
        let backward = 512 * (3 * 64 + 128);
        let task = 256 * (6 * 64 + 128);
        assert_eq!(after(&[&[512]]), 3 * kept + backward + task);
    }
}

//! The work memory that the fused kernels of the CPU hold after some steps, told from sizes alone.
//!
//! What a step gives back waits for the next, by size. So there are as many buffers of every size
//! as some step had at once, and batches of changing lengths hold more than any one of them takes.

use std::collections::BTreeMap;

/// Tokens that one task takes through a whole block: enough for fast matrix products, few enough
/// for the cache.
const PART: usize = 256;
/// Tokens of such a task in blocks of at least [`WIDE`] channels, whose weights do not stay in the
/// cache from one task to the next and are packed anew for each.
const WIDE_PART: usize = 512;
/// From so many channels on a block is wide.
const WIDE: usize = 512;

/// Returns about how many tokens one task takes at most in blocks of `width` channels.
pub(crate) fn part_tokens(width: usize) -> usize {
    if width >= WIDE { WIDE_PART } else { PART }
}

/// Returns the numbers of the buffer that is taken for `len`: the least of `k · 2^n`, `k` in 4..8,
/// that is at least `len` and 64.
pub(crate) fn buffer_size(len: usize) -> usize {
    let len = len.max(64);
    let quarter = (len.next_power_of_two() / 8).max(1);
    len.div_ceil(quarter) * quarter
}

/// The arrays that the fused kernels of the CPU take for one block, as numbers a token of each. The
/// headers of the kernels say what they are.
///
/// ```
/// use mm_kernels::WorkArrays;
///
/// let unit = WorkArrays::gau(64, 128, 16); // 64 channels, 128 of gate and values, 16 of keys
/// assert_eq!(unit.kept_numbers(), 3 * 128 + 16 + 1);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkArrays {
    /// Channels of a token.
    pub width: usize,
    /// Arrays that stay from the forward to the backward pass, the block's input not counted.
    pub kept: Vec<usize>,
    /// Arrays that the backward pass takes for all tokens besides those.
    pub backward: Vec<usize>,
    /// Arrays that one task of the backward pass takes for its own tokens alone.
    pub task: Vec<usize>,
}

impl WorkArrays {
    /// Counts those of a gated attention unit.
    pub fn gau(width: usize, expanded: usize, key_size: usize) -> Self {
        let projected = 2 * expanded + key_size;
        Self {
            width,
            kept: vec![projected, expanded, 1],
            backward: vec![width, expanded],
            task: [vec![projected, projected, expanded], vec![key_size; 4], vec![width]].concat(),
        }
    }

    /// Counts those of a multi-head block.
    pub fn multi_head(width: usize, heads: usize, key_heads: usize, feed_forward: usize) -> Self {
        let head = width / heads;
        let (projected, keys) = ((heads + 2 * key_heads) * head, key_heads * head);
        Self {
            width,
            kept: vec![projected, width, heads, width, 2 * feed_forward],
            backward: vec![width, width, width, feed_forward],
            task: vec![width, feed_forward, width, keys, width, keys, keys],
        }
    }

    /// Returns the numbers of a token that stay from the forward to the backward pass.
    pub fn kept_numbers(&self) -> usize {
        self.kept.iter().sum()
    }

    /// Returns the numbers of a token that the backward pass takes besides: its arrays, and the
    /// gradients of the block's input and output.
    pub fn backward_numbers(&self) -> usize {
        self.backward.iter().sum::<usize>() + 2 * self.width
    }
}

/// How many buffers of every size there are.
///
/// ```
/// use mm_kernels::{WorkArrays, WorkMemory};
///
/// let mut memory = WorkMemory::default();
/// memory.train(&WorkArrays::multi_head(64, 2, 2, 128), 3, &[512]); // 3 blocks, 512 tokens
/// assert!(memory.numbers() > 0);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkMemory(BTreeMap<usize, usize>);

impl WorkMemory {
    /// Takes parts of a batch, of so many tokens each, through forward and backward at once;
    /// `blocks` of the stack's blocks keep what their backward pass needs.
    pub fn train(&mut self, block: &WorkArrays, blocks: usize, parts: &[usize]) {
        let mut taken: BTreeMap<usize, usize> = BTreeMap::new();
        let mut take = |len: usize, count: usize| {
            *taken.entry(buffer_size(len)).or_default() += count;
        };
        for &tokens in parts {
            let tasks = tokens.div_ceil(part_tokens(block.width)).max(1);
            let own = tokens.div_ceil(tasks);
            block.kept.iter().for_each(|numbers| take(tokens * numbers, blocks));
            block.backward.iter().for_each(|numbers| take(tokens * numbers, 1));
            block.task.iter().for_each(|numbers| take(own * numbers, 1));
        }
        for (size, count) in taken {
            let most = self.0.entry(size).or_default();
            *most = count.max(*most);
        }
    }

    /// Returns the numbers of all buffers.
    pub fn numbers(&self) -> usize {
        self.0.iter().map(|(size, count)| size * count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(steps: &[&[usize]]) -> usize {
        let block = WorkArrays::multi_head(64, 2, 2, 128);
        let mut memory = WorkMemory::default();
        steps.iter().for_each(|parts| memory.train(&block, 3, parts));
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
        // Of 512 tokens everything is a power of two but the array of queries, keys and values of 3
        // · 64 numbers, which a size fits too.
        let kept = 512 * (3 * 64 + 64 + 2 + 64 + 2 * 128);
        let backward = 512 * (3 * 64 + 128);
        let task = 256 * (6 * 64 + 128);
        assert_eq!(after(&[&[512]]), 3 * kept + backward + task);
    }
}

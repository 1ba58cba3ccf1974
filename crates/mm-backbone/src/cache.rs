//! The key-value cache: what later tokens need to know of earlier ones.

use burn::prelude::*;
use mm_kernels::KeyValue;

/// Keys and values of a prefix, one entry a block; empty until something is appended.
///
/// ```
/// use burn::prelude::*;
/// use mm_backbone::{Cache, KeyValue};
///
/// let tokens = |count| Tensor::<4>::zeros([1, 1, count, 8], &Device::flex());
/// let mut cache = Cache::new();
/// cache.append(vec![KeyValue { keys: tokens(3), values: tokens(3) }]); // of a stack of one block
/// cache.append(vec![KeyValue { keys: tokens(2), values: tokens(2) }]);
/// cache.truncate(4);
/// assert_eq!(cache.tokens(), 4);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Cache {
    blocks: Vec<KeyValue>,
}

impl Cache {
    /// Makes a cache of no tokens.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the number of tokens held, the same in every row.
    pub fn tokens(&self) -> usize {
        self.blocks.first().map_or(0, KeyValue::tokens)
    }

    /// Appends what [`Backbone::forward_cached`](crate::Backbone::forward_cached) returned for the
    /// next tokens.
    ///
    /// # Panics
    ///
    /// Panics unless there is one entry for each block.
    pub fn append(&mut self, new: Vec<KeyValue>) {
        if self.blocks.is_empty() {
            self.blocks = new;
            return;
        }
        assert_eq!(self.blocks.len(), new.len(), "one entry a block");
        for (old, new) in self.blocks.iter_mut().zip(new) {
            *old = new.after(Some(old));
        }
    }

    /// Returns the cache of these rows followed by `copies` copies of the one row of `other`. The
    /// shorter tokens are padded with zeros on the left up to as many as the longer ones. Ranges of
    /// keys must leave the padding out.
    pub fn with_copies_of(&self, other: &Cache, copies: usize) -> Cache {
        let mut all = vec![self];
        all.resize(copies + 1, other);
        Self::join(&all)
    }

    /// Returns the rows of several caches, one after another. Shorter ones are padded with zeros on
    /// the left up to as many tokens as the longest has. Ranges of keys must leave the padding out.
    ///
    /// # Panics
    ///
    /// Panics unless all have as many blocks.
    pub fn join(caches: &[&Cache]) -> Cache {
        let tokens = caches.iter().map(|cache| cache.tokens()).max().unwrap_or(0);
        let blocks = caches.first().map_or(0, |cache| cache.blocks.len());
        assert!(caches.iter().all(|cache| cache.blocks.len() == blocks), "as many blocks");
        let join = |of: &dyn Fn(&KeyValue) -> &Tensor<4>, block: usize| {
            let rows = caches.iter().map(|cache| padded(of(&cache.blocks[block]), tokens));
            Tensor::cat(rows.collect(), 0)
        };
        let blocks = (0..blocks).map(|block| KeyValue {
            keys: join(&|block| &block.keys, block),
            values: join(&|block| &block.values, block),
        });
        Cache { blocks: blocks.collect() }
    }

    /// Says whether nothing was appended.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Returns how many values the keys and values of all blocks hold.
    pub fn values(&self) -> usize {
        let count = |x: &Tensor<4>| x.dims().iter().product::<usize>();
        self.blocks.iter().map(|block| count(&block.keys) + count(&block.values)).sum()
    }

    /// Keeps the first `tokens` tokens.
    pub fn truncate(&mut self, tokens: usize) {
        if tokens == 0 {
            self.blocks.clear();
        }
        if tokens >= self.tokens() {
            return;
        }
        for block in &mut self.blocks {
            block.keys = block.keys.clone().narrow(2, 0, tokens);
            block.values = block.values.clone().narrow(2, 0, tokens);
        }
    }

    /// Returns the keys and values of one block, if there are any.
    pub(crate) fn block(&self, index: usize) -> Option<&KeyValue> {
        self.blocks.get(index)
    }
}

/// Returns `[rows, heads, tokens, channels]` with zeros on the left of fewer tokens.
fn padded(x: &Tensor<4>, tokens: usize) -> Tensor<4> {
    let [rows, heads, found, channels] = x.dims();
    if found == tokens {
        return x.clone();
    }
    let zeros = Tensor::<4>::zeros([rows, heads, tokens - found, channels], &x.device());
    Tensor::cat(vec![zeros.cast(x.dtype()), x.clone()], 2)
}

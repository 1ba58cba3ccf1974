//! Keys and values of tokens before those at hand.

use super::{in_parts, next_pieces};
use crate::context::HostContext;

/// Keys and values of a prefix, and where those of new tokens go:
/// `[rows, key_heads, tokens, channels]` each.
pub(crate) struct KvPrefix<'a> {
    /// Keys and values before these tokens.
    pub old: [&'a [f32]; 2],
    /// How many tokens they hold.
    pub tokens: usize,
    /// Keys and values of these tokens; empty when nobody asks for them, as while an image is
    /// denoised.
    pub new: [&'a mut [f32]; 2],
}

/// Runs a block behind a prefix in parts: `work` is given the first row, its part of `x`, of the
/// prefix and of the output. Returns the output, which is shaped as `x`.
pub(super) fn with_prefix(
    context: &HostContext,
    x: &[f32],
    prefix: KvPrefix<'_>,
    work: impl Fn(usize, &[f32], KvPrefix<'_>, &mut [f32]) + Sync,
) -> Vec<f32> {
    let rows = context.ranges.batch();
    let size = context.rows_in_part(x.len() / (rows * context.tokens()));
    let mut output = vec![0.0; x.len()];
    let [new_keys, new_values] = prefix.new;
    let old_row = prefix.old.map(|old| old.len() / rows);
    let new_row = [new_keys.len() / rows, new_values.len() / rows];
    let mut tasks = vec![];
    {
        let mut y = output.chunks_mut(size * (x.len() / rows));
        let mut keys = new_keys.chunks_mut((size * new_row[0]).max(1));
        let mut values = new_values.chunks_mut((size * new_row[1]).max(1));
        for (index, x) in x.chunks(size * (x.len() / rows)).enumerate() {
            next_pieces!(y);
            let (keys, values) =
                (keys.next().unwrap_or_default(), values.next().unwrap_or_default());
            let (first, count) = (index * size, size.min(rows - index * size));
            let piece = |side: usize| {
                &prefix.old[side][first * old_row[side]..(first + count) * old_row[side]]
            };
            let prefix =
                KvPrefix { old: [piece(0), piece(1)], tokens: prefix.tokens, new: [keys, values] };
            tasks.push((x, prefix, y));
        }
    }
    in_parts(tasks, |index, (x, prefix, y)| work(index * size, x, prefix, y));
    output
}

/// Writes one head's keys or values in one piece, `[tokens, channels]`: the prefix, then those of
/// the new tokens, which stand `stride` apart in `new`.
pub(super) fn join(all: &mut [f32], old: &[f32], new: &[f32], stride: usize, channels: usize) {
    let (head, tail) = all.split_at_mut(old.len());
    head.copy_from_slice(old);
    for (to, from) in tail.chunks_exact_mut(channels).zip(new.chunks(stride)) {
        to.copy_from_slice(&from[..channels]);
    }
}

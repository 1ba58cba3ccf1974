//! Rotation of one head's channels: pairs `(a, b)` become `(a cos - b sin, b cos + a sin)`; the
//! backward pass turns the other way.

/// Turns the pairs of `x`, `[2 pairs]`, by the angles `[pairs]`.
#[inline(always)]
pub(crate) fn turn(x: &mut [f32], cos: &[f32], sin: &[f32]) {
    for ((pair, cos), sin) in x.chunks_exact_mut(2).zip(cos).zip(sin) {
        let (a, b) = (pair[0], pair[1]);
        pair[0] = a * cos - b * sin;
        pair[1] = b * cos + a * sin;
    }
}

/// Turns them back, which is also the gradient of [`turn`].
#[inline(always)]
pub(crate) fn turn_back(x: &mut [f32], cos: &[f32], sin: &[f32]) {
    for ((pair, cos), sin) in x.chunks_exact_mut(2).zip(cos).zip(sin) {
        let (a, b) = (pair[0], pair[1]);
        pair[0] = a * cos + b * sin;
        pair[1] = b * cos - a * sin;
    }
}

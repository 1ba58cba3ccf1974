//! Group norm (Wu & He 2018, arXiv:1803.08494) as one operation, with swish behind it or not.
//!
//! ```text
//! z = γ x̂ + β,  x̂ = r (x - μ),  r = 1 / sqrt(mean((x - μ)²) + ε),  y = z or swish(z)
//! ```
//!
//! `μ` and `r` belong to one group of channels of one image. Backward, with `dz = dy` or
//! `dy swish'(z)` and `g = γ dz`: `dx = r (g - mean(g) - x̂ mean(g x̂))`, `dγ = Σ dz x̂`,
//! `dβ = Σ dz`. Only `μ` and `r` are kept.

use super::buffer::{Buffer, take};
use super::simd::{sigmoid, sum, vectorised};
use super::{Forward, Op, add_up, in_parts, next_pieces};
use crate::{GroupMembers, GroupNormOptions};

/// A group norm of inputs `x`: `[images, channels, height, width]`, `γ` and `β`: `[channels]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupNormOp {
    /// Channels of an image.
    pub channels: usize,
    /// Pixels of a channel.
    pub pixels: usize,
    /// All else.
    pub options: GroupNormOptions,
}

/// The mean of a group and `1 / sqrt(variance + ε)`.
#[derive(Clone, Copy)]
struct Moments {
    mean: f32,
    scale: f32,
}

/// A channel's `z = scale · (x - mean) + offset`.
#[derive(Clone, Copy)]
struct Line {
    mean: f32,
    scale: f32,
    offset: f32,
}

/// A channel's `dx = along · dz - slope · (x - mean) - offset`.
#[derive(Clone, Copy)]
struct BackLine {
    mean: f32,
    along: f32,
    slope: f32,
    offset: f32,
}

const IDENTITY: Line = Line { mean: 0.0, scale: 1.0, offset: 0.0 };

/// What one image of the backward pass reads and writes.
struct BackPart<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    moments: &'a [f32],
    dx: &'a mut [f32],
}

impl GroupNormOp {
    /// Numbers of an image.
    fn image(&self) -> usize {
        self.channels * self.pixels
    }

    /// Numbers of a group.
    fn group_len(&self) -> usize {
        self.image() / self.options.groups
    }

    /// Returns the group of a channel.
    fn group(&self, channel: usize) -> usize {
        let groups = self.options.groups;
        match self.options.members {
            GroupMembers::Neighbors => channel / (self.channels / groups),
            GroupMembers::Strided => channel % groups,
        }
    }

    /// Adds a number of every channel of an image to the sum of its group, in 64 bits.
    fn by_group(&self, of: impl Fn(usize) -> f32) -> Vec<f64> {
        let mut sums = vec![0.0; self.options.groups];
        for channel in 0..self.channels {
            sums[self.group(channel)] += f64::from(of(channel));
        }
        sums
    }

    /// Returns the moments of every group of an image. Where squares overflow, the scale is not a
    /// number: with 0 a model that has diverged would look finite.
    fn moments(&self, x: &[f32]) -> Vec<Moments> {
        let plane = |channel: usize| &x[channel * self.pixels..][..self.pixels];
        let count = self.group_len() as f64;
        let mean: Vec<f32> =
            self.by_group(|at| sum_of(plane(at))).iter().map(|sum| (sum / count) as f32).collect();
        let squares = self.by_group(|at| squares_of(plane(at), mean[self.group(at)]));
        let scale = |squares: f64| {
            let variance = (squares / count) as f32;
            let scale = 1.0 / (variance + self.options.epsilon as f32).sqrt();
            if variance == f32::INFINITY { f32::NAN } else { scale }
        };
        mean.iter()
            .zip(squares)
            .map(|(&mean, squares)| Moments { mean, scale: scale(squares) })
            .collect()
    }

    fn line(&self, moments: &[Moments], gamma: &[f32], beta: &[f32], channel: usize) -> Line {
        let Moments { mean, scale } = moments[self.group(channel)];
        Line { mean, scale: scale * gamma[channel], offset: beta[channel] }
    }

    fn forward_image(&self, inputs: &[&[f32]], x: &[f32], y: &mut [f32], kept: &mut [f32]) {
        let moments = self.moments(x);
        for (kept, moments) in kept.chunks_exact_mut(2).zip(&moments) {
            kept.copy_from_slice(&[moments.mean, moments.scale]);
        }
        let planes = x.chunks_exact(self.pixels).zip(y.chunks_exact_mut(self.pixels));
        for (channel, (x, y)) in planes.enumerate() {
            let line = self.line(&moments, inputs[1], inputs[2], channel);
            if self.options.swish { swish_of_line(x, line, y) } else { line_of(x, line, y) }
        }
    }

    /// Writes `dx` of an image; returns its parts of `dγ` and `dβ`.
    fn backward_image(&self, inputs: &[&[f32]], part: BackPart<'_>) -> [Vec<f32>; 2] {
        let BackPart { x, dy, moments, dx } = part;
        let moments: Vec<Moments> =
            moments.chunks_exact(2).map(|pair| Moments { mean: pair[0], scale: pair[1] }).collect();
        let (gamma, beta) = (inputs[1], inputs[2]);
        // `dx` holds `dz` until it is known what is to be taken off.
        let (mut dgamma, mut dbeta) = (vec![0.0; self.channels], vec![0.0; self.channels]);
        let planes = || x.chunks_exact(self.pixels);
        let all = planes().zip(dy.chunks_exact(self.pixels));
        for (channel, ((x, dy), dz)) in all.zip(dx.chunks_exact_mut(self.pixels)).enumerate() {
            if self.options.swish {
                swish_back(x, dy, self.line(&moments, gamma, beta, channel), dz);
            } else {
                dz.copy_from_slice(dy);
            }
            let Moments { mean, scale } = moments[self.group(channel)];
            dbeta[channel] = sum_of(dz);
            dgamma[channel] = scale * product_of(x, mean, dz);
        }
        let count = self.group_len() as f64;
        let straight = self.by_group(|at| gamma[at] * dbeta[at]);
        let along = self.by_group(|at| gamma[at] * dgamma[at]);
        for (channel, (x, dx)) in planes().zip(dx.chunks_exact_mut(self.pixels)).enumerate() {
            let group = self.group(channel);
            let Moments { mean, scale } = moments[group];
            let slope = scale * scale * (along[group] / count) as f32;
            let offset = scale * (straight[group] / count) as f32;
            back_line(x, BackLine { mean, along: scale * gamma[channel], slope, offset }, dx);
        }
        [dgamma, dbeta]
    }
}

impl Op for GroupNormOp {
    fn forward(&self, inputs: &[&[f32]]) -> Forward {
        let (x, size) = (inputs[0], self.image());
        let mut output = vec![0.0; x.len()];
        let mut kept = take(x.len() / size * 2 * self.options.groups);
        let images = x.chunks(size).zip(output.chunks_mut(size));
        let tasks = images.zip(kept.chunks_mut(2 * self.options.groups)).collect();
        in_parts(tasks, |_, ((x, y), kept)| self.forward_image(inputs, x, y, kept));
        Forward { output, kept: vec![kept] }
    }

    fn backward(&self, inputs: &[&[f32]], kept: Vec<Buffer>, dy: &[f32]) -> Vec<Vec<f32>> {
        let (x, size) = (inputs[0], self.image());
        let mut dx = vec![0.0; x.len()];
        let mut tasks = vec![];
        {
            let (mut dy, mut dx) = (dy.chunks(size), dx.chunks_mut(size));
            let mut moments = kept[0].chunks(2 * self.options.groups);
            for x in x.chunks(size) {
                next_pieces!(dy, dx, moments);
                tasks.push(BackPart { x, dy, moments, dx });
            }
        }
        let parts = in_parts(tasks, |_, part| self.backward_image(inputs, part));
        let [dgamma, dbeta] = add_up(parts);
        vec![dx, dgamma, dbeta]
    }
}

/// Swish, `y = x / (1 + e^-x)`, as an operation on numbers of any shape.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SwishOp;

/// Numbers that one task takes.
const PART: usize = 1 << 15;

impl Op for SwishOp {
    fn forward(&self, inputs: &[&[f32]]) -> Forward {
        let x = inputs[0];
        let mut output = vec![0.0; x.len()];
        let tasks = x.chunks(PART).zip(output.chunks_mut(PART)).collect();
        in_parts(tasks, |_, (x, y)| swish_of_line(x, IDENTITY, y));
        Forward { output, kept: vec![] }
    }

    fn backward(&self, inputs: &[&[f32]], _: Vec<Buffer>, dy: &[f32]) -> Vec<Vec<f32>> {
        let x = inputs[0];
        let mut dx = vec![0.0; x.len()];
        let tasks = x.chunks(PART).zip(dy.chunks(PART)).zip(dx.chunks_mut(PART)).collect();
        in_parts(tasks, |_, ((x, dy), dx)| {
            swish_back(x, dy, IDENTITY, dx);
        });
        vec![dx]
    }
}

#[inline(always)]
fn swish_slope(z: f32) -> f32 {
    let share = sigmoid(z);
    share + z * share * (1.0 - share)
}

/// Computes the swish of a line for sixteen numbers at once.
#[inline(always)]
fn swish_block(x: [f32; 16], line: Line) -> [f32; 16] {
    let mut y = [0.0; 16];
    for i in 0..16 {
        let z = line.scale * (x[i] - line.mean) + line.offset;
        y[i] = z * sigmoid(z);
    }
    y
}

/// Computes `dy swish'(z)` for sixteen numbers at once.
#[inline(always)]
fn swish_back_block(x: [f32; 16], dy: [f32; 16], line: Line) -> [f32; 16] {
    let mut dz = [0.0; 16];
    for i in 0..16 {
        dz[i] = dy[i] * swish_slope(line.scale * (x[i] - line.mean) + line.offset);
    }
    dz
}

vectorised! {
    /// Adds `Σ x` to `total`.
    fn add_sum(x: &[f32], total: &mut f32) {
        *total += sum(x);
    }

    /// Adds `Σ (x - mean)²` to `total`.
    fn add_squares(x: &[f32], mean: f32, total: &mut f32) {
        *total += lanes_of(x, x, |x, _| (x - mean) * (x - mean));
    }

    /// Adds `Σ (x - mean) dz` to `total`.
    fn add_product(x: &[f32], mean: f32, dz: &[f32], total: &mut f32) {
        *total += lanes_of(x, dz, |x, dz| (x - mean) * dz);
    }

    /// Computes a line.
    fn line_of(x: &[f32], line: Line, y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = line.scale * (x - line.mean) + line.offset;
        }
    }

    /// Computes the swish of a line.
    fn swish_of_line(x: &[f32], line: Line, y: &mut [f32]) {
        let ((x, x_end), (y, y_end)) = (x.as_chunks::<16>(), y.as_chunks_mut::<16>());
        for (y, x) in y.iter_mut().zip(x) {
            *y = swish_block(*x, line);
        }
        for (y, x) in y_end.iter_mut().zip(x_end) {
            let z = line.scale * (x - line.mean) + line.offset;
            *y = z * sigmoid(z);
        }
    }

    /// Computes `dz = dy swish'(z)`.
    fn swish_back(x: &[f32], dy: &[f32], line: Line, dz: &mut [f32]) {
        let ((x, x_end), (dy, dy_end)) = (x.as_chunks::<16>(), dy.as_chunks::<16>());
        let (dz, dz_end) = dz.as_chunks_mut::<16>();
        for ((dz, dy), x) in dz.iter_mut().zip(dy).zip(x) {
            *dz = swish_back_block(*x, *dy, line);
        }
        for ((dz, dy), x) in dz_end.iter_mut().zip(dy_end).zip(x_end) {
            *dz = dy * swish_slope(line.scale * (x - line.mean) + line.offset);
        }
    }

    /// Turns `dz` into `dx`.
    fn back_line(x: &[f32], line: BackLine, dx: &mut [f32]) {
        for (dx, x) in dx.iter_mut().zip(x) {
            *dx = line.along * *dx - line.slope * (x - line.mean) - line.offset;
        }
    }
}

fn sum_of(x: &[f32]) -> f32 {
    let mut total = 0.0;
    add_sum(x, &mut total);
    total
}

fn squares_of(x: &[f32], mean: f32) -> f32 {
    let mut total = 0.0;
    add_squares(x, mean, &mut total);
    total
}

fn product_of(x: &[f32], mean: f32, dz: &[f32]) -> f32 {
    let mut total = 0.0;
    add_product(x, mean, dz, &mut total);
    total
}

/// Sums what two numbers give, over sixteen lanes.
#[inline(always)]
fn lanes_of(a: &[f32], b: &[f32], of: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; 16];
    let ((a, a_end), (b, b_end)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    for (a, b) in a.iter().zip(b) {
        for i in 0..16 {
            lanes[i] += of(a[i], b[i]);
        }
    }
    for ((lane, a), b) in lanes.iter_mut().zip(a_end).zip(b_end) {
        *lane += of(*a, *b);
    }
    sum(&lanes)
}

#[cfg(test)]
mod tests {
    use burn::prelude::*;
    use burn::tensor::Tolerance;

    use crate::flex::FlexKernels;
    use crate::testing::normal;
    use crate::{BlockKernels, GroupMembers, GroupNormOptions, Reference};

    fn close(found: Tensor<4>, wanted: Tensor<4>) {
        assert_eq!(found.dims(), wanted.dims());
        let largest = wanted.clone().abs().max().into_scalar::<f32>();
        let close = Tolerance::<f32>::rel_abs(1e-5, 2e-6 * largest.max(1.0));
        found.into_data().assert_approx_eq::<f32>(&wanted.into_data(), close);
    }

    #[test]
    fn a_group_norm_and_its_gradients_equal_their_definition() {
        for (seed, [images, channels, groups, height, width]) in
            (1..).zip([[2, 6, 3, 5, 7], [1, 8, 4, 2, 3], [3, 32, 8, 16, 16], [5, 4, 1, 3, 3]])
        {
            let x = normal(seed, [images, channels, height, width], 2.0) + 0.7;
            let gamma = normal(seed + 50, [channels, 1, 1, 1], 0.5).reshape([channels]) + 1.0;
            let beta = normal(seed + 60, [channels, 1, 1, 1], 0.5).reshape([channels]);
            let dy = normal(seed + 70, [images, channels, height, width], 1.0);
            for members in [GroupMembers::Neighbors, GroupMembers::Strided] {
                for swish in [false, true] {
                    let options = GroupNormOptions { groups, members, epsilon: 1e-6, swish };
                    let of = |kernels: &dyn BlockKernels| {
                        let x = x.clone().autodiff().require_grad();
                        let [gamma, beta] =
                            [gamma.clone(), beta.clone()].map(|one| one.autodiff().require_grad());
                        let y = kernels.group_norm(x.clone(), gamma.clone(), beta.clone(), options);
                        let grads = (y.clone() * dy.clone()).sum().backward();
                        let flat = |of: Tensor<1>| of.reshape([channels, 1, 1, 1]);
                        let small = [gamma, beta].map(|one| flat(one.grad(&grads).unwrap()));
                        let [gamma, beta] = small;
                        [y.without_autodiff(), x.grad(&grads).unwrap(), gamma, beta]
                    };
                    let both = of(&FlexKernels).into_iter().zip(of(&Reference));
                    both.for_each(|(found, wanted)| close(found, wanted));
                }
            }
        }
    }

    #[test]
    fn swish_and_its_gradient_equal_their_definition() {
        let (x, dy) = (normal(1, [2, 3, 5, 7], 4.0), normal(2, [2, 3, 5, 7], 1.0));
        let of = |kernels: &dyn BlockKernels| {
            let x = x.clone().autodiff().require_grad();
            let y = kernels.swish(x.clone());
            let grads = (y.clone() * dy.clone()).sum().backward();
            [y.without_autodiff(), x.grad(&grads).unwrap()]
        };
        let both = of(&FlexKernels).into_iter().zip(of(&Reference));
        both.for_each(|(found, wanted)| close(found, wanted));
    }

    #[test]
    fn an_image_has_the_same_bits_in_every_batch() {
        let x = normal(3, [4, 8, 6, 6], 1.0);
        let [gamma, beta] = [1.5, -0.25].map(|of| Tensor::full([8], of, &Device::flex()));
        let options = GroupNormOptions {
            groups: 4,
            members: GroupMembers::Strided,
            epsilon: 1e-6,
            swish: true,
        };
        let of = |x: Tensor<4>| FlexKernels.group_norm(x, gamma.clone(), beta.clone(), options);
        let all = of(x.clone());
        for image in 0..4 {
            let single = of(x.clone().narrow(0, image, 1));
            assert_eq!(single.into_data(), all.clone().narrow(0, image, 1).into_data());
        }
    }

    #[test]
    fn numbers_whose_squares_overflow_do_not_become_finite() {
        let x = normal(4, [1, 4, 2, 2], 1e25);
        let [gamma, beta] = [1.0, 0.0].map(|of| Tensor::full([4], of, &Device::flex()));
        let options = GroupNormOptions {
            groups: 2,
            members: GroupMembers::Neighbors,
            epsilon: 1e-6,
            swish: false,
        };
        for kernels in [&FlexKernels as &dyn BlockKernels, &Reference] {
            let y = kernels.group_norm(x.clone(), gamma.clone(), beta.clone(), options);
            assert!(y.is_nan().all().into_scalar::<bool>());
        }
    }
}

//! From an image back to the noise that a deterministic sampler would make it of.

use burn::prelude::*;

use crate::samplers::velocity;
use crate::{Denoise, Level};

/// Follows the probability-flow equation of [`euler`](crate::euler) backwards, from the clean image
/// `x` to the noisy patches of the noisiest of `levels`, which are noisiest first.
///
/// The order of the method is that of the [sampler](crate::Sampler) whose way is gone back: Euler's
/// method (Song et al. 2021, arXiv:2010.02502, section 4.3, whose DDIM is Euler's method here) or,
/// with `second_order`, that of Heun. The error of the noise falls with the number of steps, or
/// with its square. Going there and back ends beside `x` by an error that falls with the number of
/// steps, or with its third power: the leading errors of there and back are equal, and in a method
/// of even order they have opposite signs.
///
/// The velocity is not defined at the clean end, which is where the way starts. The first step
/// takes that of the least noisy level: at `x`, and in the second order then once more where that
/// leads to, because the sampler's last step starts there.
///
/// `x`: `[batch, tokens, channels]` -> `[batch, tokens, channels]`.
///
/// ```
/// use burn::prelude::*;
/// use mm_diffusion::{Level, Schedule, euler, invert};
///
/// // Normal data of deviation 0.5, whose best estimate is a formula.
/// let mut denoise = |z: Tensor<3>, level: &Level| {
///     let Level { signal, noise, .. } = *level;
///     z * (0.25 * signal / (0.25 * signal * signal + noise * noise))
/// };
/// let levels = Schedule::Linear.sampling_levels(50)?;
/// let x = Tensor::<3>::full([1, 1, 1], 0.5, &Device::flex());
/// let noise = invert(&levels, x.clone(), true, &mut denoise);
/// let back = euler(&levels, noise, &mut denoise);
/// assert!((back - x).into_scalar::<f32>().abs() < 0.02);
/// # Ok::<(), mm_diffusion::DiffusionError>(())
/// ```
pub fn invert(
    levels: &[Level],
    x: Tensor<3>,
    second_order: bool,
    denoise: &mut Denoise<'_>,
) -> Tensor<3> {
    let (Some(noisiest), Some(last)) = (levels.first(), levels.last()) else { return x };
    let dt = last.signal_fraction() - 1.0;
    let mut y = x.clone() + velocity(x.clone(), last, denoise) * dt;
    if second_order {
        y = x + velocity(y, last, denoise) * dt;
    }
    for pair in levels.windows(2).rev() {
        let (next, now) = (&pair[0], &pair[1]);
        let dt = next.signal_fraction() - now.signal_fraction();
        let v = velocity(y.clone(), now, denoise);
        y = if second_order {
            let ahead = velocity(y.clone() + v.clone() * dt, next, denoise);
            y + (v + ahead) * (dt / 2.0)
        } else {
            y + v * dt
        };
    }
    y * noisiest.scale()
}

#[cfg(test)]
mod tests {
    use burn::tensor::DType;

    use super::*;
    use crate::gaussian::{WIDE, rows};
    use crate::{Sampler, Schedule};

    /// Returns by how much an image differs from itself after the way to its noise and back.
    fn there_and_back(schedule: Schedule, steps: usize, sampler: &str, second_order: bool) -> f64 {
        let levels = schedule.sampling_levels(steps).unwrap();
        let x = || rows(vec![0.9, -1.4, 0.1, -0.2, 0.6, 0.8], DType::F64);
        let mut denoise = |z: Tensor<3>, level: &Level| WIDE.denoise(z, level);
        let noise = invert(&levels, x(), second_order, &mut denoise);
        let sampler: Sampler = sampler.parse().unwrap();
        let back = sampler.sample(&levels, noise, &mut denoise, &mut |_| unreachable!());
        (back - x()).abs().max().into_scalar::<f64>()
    }

    /// Returns the order with which an error falls from 50 to 200 steps.
    fn order(error: impl Fn(usize) -> f64) -> f64 {
        (error(50) / error(200)).log(4.0)
    }

    #[test]
    fn there_and_back_errs_less_with_more_steps_as_the_order_of_the_solver_says() {
        for schedule in [Schedule::Linear, Schedule::Cosine { steps: 100_000 }] {
            for (sampler, second, wanted) in
                [("euler", false, 1.0), ("ddim", false, 1.0), ("heun", true, 3.0)]
            {
                let found = order(|steps| there_and_back(schedule, steps, sampler, second));
                assert!((found - wanted).abs() < 0.35, "{schedule:?} {sampler}: {found}");
            }
        }
    }

    #[test]
    fn the_noise_of_normal_data_is_normal_by_an_error_of_the_order_of_the_solver() {
        // The flow of normal data carries every quantile along: x = mean + q std ends at z = q.
        let q = [0.5, -1.0, 2.0];
        let x: Vec<f64> = (0..3).map(|at| WIDE.mean[at] + q[at] * WIDE.std[at]).collect();
        let error = |steps, second_order| {
            let levels = Schedule::Linear.sampling_levels(steps).unwrap();
            let mut denoise = |z: Tensor<3>, level: &Level| WIDE.denoise(z, level);
            let noise = invert(&levels, rows(x.clone(), DType::F64), second_order, &mut denoise);
            (noise - rows(q.to_vec(), DType::F64)).abs().max().into_scalar::<f64>()
        };
        for (second_order, wanted) in [(false, 1.0), (true, 2.0)] {
            let found = order(|steps| error(steps, second_order));
            assert!((found - wanted).abs() < 0.35, "{found}, wanted {wanted}");
        }
        assert!(error(400, true) < 1e-4);
    }
}

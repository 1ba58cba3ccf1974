//! All randomness: a pure function of (seed, purpose, step, sample), drawn on the host, so that the
//! same seed gives the same run on every backend up to rounding, and a resumed run repeats an
//! uninterrupted one.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

/// What numbers are for; different purposes never share a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Which example comes next.
    Order,
    /// How an example looks (fonts, places, augmentation).
    Example,
    /// How far an image is noised.
    Time,
    /// The noise itself.
    Noise,
    /// Choosing a token.
    Token,
    /// First numbers of low-rank adapters.
    Adapter,
    /// Seeds of parts that draw like a whole.
    Part,
    /// Where in its Gaussian a latent lies.
    Latent,
}

/// The stream of one sample of one step.
///
/// ```
/// use mm_model::random::{Purpose, stream};
/// use rand::Rng;
///
/// assert_eq!(stream(7, Purpose::Noise, 3, 0).next_u64(), stream(7, Purpose::Noise, 3, 0).next_u64());
/// assert_ne!(stream(7, Purpose::Noise, 3, 0).next_u64(), stream(7, Purpose::Noise, 3, 1).next_u64());
/// ```
pub fn stream(seed: u64, purpose: Purpose, step: u64, sample: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (part, number) in key.chunks_exact_mut(8).zip([seed, purpose as u64, step, sample]) {
        part.copy_from_slice(&number.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// Returns the seed of part `part` of what `seed` decides, such as one batch of an evaluation.
///
/// It is drawn, because `seed + part` would give part 1 of seed 0 and part 0 of seed 1 the same
/// numbers.
///
/// ```
/// use mm_model::random::part_seed;
///
/// assert_eq!(part_seed(0, 1), part_seed(0, 1));
/// assert_ne!(part_seed(0, 1), part_seed(1, 0));
/// ```
pub fn part_seed(seed: u64, part: u64) -> u64 {
    stream(seed, Purpose::Part, 0, part).next_u64()
}

/// `count` independent standard normal numbers.
pub fn normals(rng: &mut impl Rng, count: usize) -> Vec<f32> {
    (0..count).map(|_| rng.sample::<f32, _>(StandardNormal)).collect()
}

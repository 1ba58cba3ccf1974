//! This module holds [`FeatureNetwork`] with its [`NetworkSettings`], the resizing of images for
//! it, and the hash of what made its features.

use mm_patch::Image;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Features;
use crate::EvalError;

/// The order in which a network takes the numbers of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// The order is `[batch, colors, height, width]`.
    Nchw,
    /// The order is `[batch, height, width, colors]`.
    Nhwc,
}

/// The settings that an ONNX file does not hold, or does not always hold: how bytes are scaled, and
/// which output is taken. A byte `b` becomes `(b - mean) / scale`.
///
/// ```
/// use mm_eval::quality::NetworkSettings;
///
/// let text = "size = [224, 224]\nmean = [127, 127, 127]\nscale = [128, 128, 128]\noutput = 'feat'";
/// assert_eq!(NetworkSettings::from_toml(text)?.size, Some([224, 224]));
/// assert!(NetworkSettings::from_toml("sise = [224, 224]").is_err());
/// # Ok::<(), mm_eval::EvalError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkSettings {
    /// The width and height of the input. By default they are those that the file declares.
    pub size: Option<[usize; 2]>,
    /// The mean of red, green and blue. By default it is 127.5.
    pub mean: Option<[f32; 3]>,
    /// The scale of red, green and blue. By default it is 127.5.
    pub scale: Option<[f32; 3]>,
    /// The order of the input. By default it follows the axis where the file has three colors.
    pub layout: Option<Layout>,
    /// The name of the output to take. By default it is the first output.
    pub output: Option<String>,
}

impl NetworkSettings {
    /// Reads the text of the TOML file beside a network.
    pub fn from_toml(text: &str) -> Result<Self, EvalError> {
        toml::from_str(text).map_err(|why| EvalError::Toml(Box::new(why)))
    }

    /// Returns these settings, with those of `other` where they are absent.
    pub fn or(self, other: Self) -> Self {
        Self {
            size: self.size.or(other.size),
            mean: self.mean.or(other.mean),
            scale: self.scale.or(other.scale),
            layout: self.layout.or(other.layout),
            output: self.output.or(other.output),
        }
    }
}

/// Computes the features of a batch from the numbers of its images.
pub(super) type RunNetwork = dyn Fn(Vec<f32>) -> Result<Vec<f32>, EvalError> + Send + Sync;

/// A network that computes features of images. `FeatureNetwork::load` reads it from an ONNX file.
pub struct FeatureNetwork {
    pub(super) size: [usize; 2],
    pub(super) mean: [f32; 3],
    pub(super) scale: [f32; 3],
    pub(super) layout: Layout,
    pub(super) batch: usize,
    pub(super) dim: usize,
    pub(super) fingerprint: Fingerprint,
    pub(super) run: Box<RunNetwork>,
}

impl std::fmt::Debug for FeatureNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { size, layout, batch, dim, .. } = self;
        write!(f, "FeatureNetwork {{ {size:?} {layout:?}, {batch} together, {dim} features }}")
    }
}

impl FeatureNetwork {
    /// Returns the number of features of an image.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Returns a hash of the network, its settings and the images. Equal hashes mean equal
    /// features.
    pub fn made_by(&self, images: &[Image]) -> u64 {
        let mut hash = self.fingerprint;
        for image in images {
            hash = hash.word(image.width() as u64).word(image.height() as u64).bytes(image.rgb());
        }
        hash.finish()
    }

    /// Computes the features of every image, in batches spread over the cores.
    pub fn features(&self, images: &[Image]) -> Result<Features, EvalError> {
        let batches = images.par_chunks(self.batch).map(|images| {
            let mut numbers: Vec<f32> = images.iter().flat_map(|image| self.input(image)).collect();
            numbers.resize(numbers.len() / images.len() * self.batch, 0.0); // the last may be short
            let mut features = (self.run)(numbers)?;
            features.truncate(images.len() * self.dim);
            Ok(features)
        });
        let batches = batches.collect::<Result<Vec<_>, EvalError>>()?;
        Features::new(self.dim, batches.concat())
    }

    /// Returns the numbers of one image, in the order of the network.
    fn input(&self, image: &Image) -> Vec<f32> {
        let [width, height] = self.size;
        let mut pixels = resized(image, width, height);
        for (at, number) in pixels.iter_mut().enumerate() {
            *number = (*number - self.mean[at % 3]) / self.scale[at % 3];
        }
        match self.layout {
            Layout::Nhwc => pixels,
            Layout::Nchw => {
                (0..3).flat_map(|color| pixels.iter().skip(color).step_by(3).copied()).collect()
            }
        }
    }
}

/// A 64-bit hash of what made a result, so that a kept result is used only for the same cause. It
/// guards against mistakes and not against an adversary.
///
/// The hash is FNV-1a over words of eight bytes, finished as SplitMix64 finishes (Steele, Lea,
/// Flood 2014).
#[derive(Debug, Clone, Copy)]
pub(super) struct Fingerprint(u64);

impl Default for Fingerprint {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fingerprint {
    /// Adds bytes and their number.
    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self = self.word(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.word(u64::from_le_bytes(last)).word(bytes.len() as u64)
    }

    fn finish(self) -> u64 {
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn word(self, word: u64) -> Self {
        // The rotation lets high bits of a word reach low bits of the hash. A product alone never
        // does.
        Self((self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29))
    }
}

/// The pixels of the old line that make one pixel of the new line, with their shares.
struct Taps {
    first: usize,
    shares: Vec<f32>,
}

/// Returns an image at another size as numbers from 0 to 255, `[height, width, colors]` in reading
/// order. They are not rounded to bytes.
///
/// The filter is the triangle ("bilinear"), widened when it shrinks so that no pixel is passed
/// over, as Parmar, Zhang and Zhu 2022 (arXiv:2104.11222) found necessary: distances between
/// features depend on how images were resized.
///
/// ```
/// use mm_eval::quality::resized;
/// use mm_patch::Image;
///
/// let two = Image::new(2, 1, vec![0, 0, 0, 100, 100, 100])?;
/// let four = resized(&two, 4, 1);
/// assert_eq!([four[0], four[3], four[6], four[9]], [0.0, 25.0, 75.0, 100.0]);
/// # Ok::<(), mm_patch::PatchError>(())
/// ```
pub fn resized(image: &Image, width: usize, height: usize) -> Vec<f32> {
    let (across, down) = (taps(image.width(), width), taps(image.height(), height));
    let mut lines = Vec::with_capacity(image.height() * width * 3); // [old height, width, colors]
    for line in image.rgb().chunks_exact(3 * image.width()) {
        for Taps { first, shares } in &across {
            let pixels = line[3 * first..].chunks_exact(3);
            let mut sum = [0.0; 3];
            for (pixel, share) in pixels.zip(shares) {
                (0..3).for_each(|color| sum[color] += share * f32::from(pixel[color]));
            }
            lines.extend(sum);
        }
    }
    let mut all = vec![0.0; height * width * 3];
    for (to, Taps { first, shares }) in all.chunks_exact_mut(3 * width).zip(&down) {
        for (line, share) in lines.chunks_exact(3 * width).skip(*first).zip(shares) {
            to.iter_mut().zip(line).for_each(|(to, number)| *to += share * number);
        }
    }
    all
}

/// Returns a triangle about the middle of every new pixel, as wide as two pixels of the coarser
/// line.
fn taps(old: usize, new: usize) -> Vec<Taps> {
    let scale = old as f64 / new as f64;
    let reach = scale.max(1.0);
    let one = |at: usize| {
        let middle = (at as f64 + 0.5) * scale;
        let first = (middle - reach + 0.5).floor().max(0.0) as usize;
        let end = ((middle + reach + 0.5).floor() as usize).clamp(first + 1, old);
        let height = |at: usize| (1.0 - (at as f64 + 0.5 - middle).abs() / reach).max(0.0);
        let sum: f64 = (first..end).map(height).sum();
        Taps { first, shares: (first..end).map(|at| (height(at) / sum) as f32).collect() }
    };
    (0..new).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(values: &[u8]) -> Image {
        Image::new(values.len(), 1, values.iter().flat_map(|&v| [v; 3]).collect()).unwrap()
    }

    fn check(values: &[u8], width: usize, expected: &[f32]) {
        let found: Vec<f32> = resized(&line(values), width, 1).into_iter().step_by(3).collect();
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-3, "{values:?} to {width}: {found} {expected}");
        }
        assert_eq!(found.len(), width);
    }

    #[test]
    fn a_line_is_resized_by_triangles() {
        check(&[0, 100], 2, &[0.0, 100.0]);
        check(&[0, 100], 4, &[0.0, 25.0, 75.0, 100.0]);
        // The four nearest have shares 1/4 3/4 3/4 1/4, of which those outside the line are left
        // out.
        check(&[0, 0, 100, 100], 2, &[100.0 / 7.0, 600.0 / 7.0]);
        check(&[7, 7, 7, 7, 7], 3, &[7.0, 7.0, 7.0]);
    }

    #[test]
    fn rows_and_columns_are_treated_alike() {
        let wide = line(&[10, 200, 30]);
        let tall = Image::new(1, 3, wide.rgb().to_vec()).unwrap();
        assert_eq!(resized(&wide, 7, 1), resized(&tall, 1, 7));
    }

    #[test]
    fn bytes_order_and_length_all_count() {
        let of = |parts: &[&[u8]]| {
            parts.iter().fold(Fingerprint::default(), |hash, part| hash.bytes(part)).finish()
        };
        let all = [
            of(&[b""]),
            of(&[b"\0"]),
            of(&[b"ab"]),
            of(&[b"ba"]),
            of(&[b"a", b"b"]),
            of(&[b"abcdefgh"]),
            of(&[b"abcdefg\0"]),
            of(&[b"abcdefgi"]),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[at + 1..].contains(one), "{at}");
        }
        assert_eq!(of(&[b"abc"]), of(&[b"abc"]));
    }
}

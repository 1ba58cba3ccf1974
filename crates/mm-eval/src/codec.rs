//! What a codec loses, and how many bits it takes for what it keeps.

use mm_codec::ImageCodec;
use mm_model::{GenerateError, LoadedModel};
use mm_patch::{Format, Image};
use serde::Serialize;

use crate::EvalError;
use crate::fidelity::{CodeUsage, psnr, squared_error, ssim};

/// A codec measured on images.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CodecScore {
    /// The number of images.
    pub images: usize,
    /// The peak signal-to-noise ratio of the mean squared error over all images, decibels; absent
    /// where nothing was lost.
    pub psnr: Option<f64>,
    /// The 95 % interval of that, by the normal distribution of the mean squared error; absent
    /// where nothing was lost, of a single image, and where its lower end is below 0.
    pub psnr_interval: Option<[f64; 2]>,
    /// The mean structural similarity, over the images that are large enough for one.
    pub ssim: Option<f64>,
    /// The 95 % interval of that, by the normal distribution; absent of a single image.
    pub ssim_interval: Option<[f64; 2]>,
    /// The share of bytes that changed, a mean over the images.
    pub changed: f64,
    /// The 95 % interval of that, by the normal distribution; absent of a single image.
    pub changed_interval: Option<[f64; 2]>,
    /// The bits that say what an image is encoded to, a mean over the images.
    pub bits: f64,
    /// Those bits for each value of the image.
    pub bits_per_value: f64,
    /// The bits of the images as PNG files, which lose nothing, a mean over the images.
    pub png_bits: f64,
    /// The bits of the images as lossless WebP files, a mean over the images.
    pub webp_bits: f64,
    /// How the codes are used, where there are any.
    pub codes: Option<UsageScore>,
}

/// How the codes of a vocabulary are used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct UsageScore {
    /// The number of codes that there are.
    pub vocabulary: usize,
    /// The share of them that was used at all.
    pub used: f64,
    /// How many evenly used ones would carry as much.
    pub perplexity: f64,
    /// The bits that a code carries on average.
    pub bits: f64,
}

/// Encodes and decodes images with the codec of a folder, and measures what is left of them.
pub fn codec_score(model: &LoadedModel, images: &[Image]) -> Result<CodecScore, EvalError> {
    if images.is_empty() {
        return Err(EvalError::NoImages);
    }
    let codec = model.codec()?;
    let mut usage = codec.config().codes().map(CodeUsage::new);
    let decoded = model.reconstruct(images)?;
    let (mut values, mut bits, mut png, mut webp) = (0, 0.0, 0, 0);
    let (mut errors, mut changed, mut similar) = (vec![], vec![], vec![]);
    for (image, decoded) in images.iter().zip(&decoded) {
        let own = image.rgb().len();
        errors.push(squared_error(image, decoded));
        values += own;
        let other = image.rgb().iter().zip(decoded.rgb()).filter(|(a, b)| a != b).count();
        changed.push(other as f64 / own as f64);
        similar.extend(ssim(image, decoded));
        bits += codec.bits_per_image(image.height(), image.width()).map_err(GenerateError::from)?;
        png += 8 * image.encode(Format::Png)?.len();
        webp += 8 * image.encode(Format::Webp)?.len();
        if let Some(usage) = &mut usage {
            usage.add(&model.codes(image)?.codes);
        }
    }
    let count = images.len() as f64;
    let (error, of_error) = mean_and_error(&errors);
    let (ssim, ssim_interval) = mean_and_interval(&similar);
    let (changed, changed_interval) = mean_and_interval(&changed);
    let found = psnr(error);
    let ends = of_error.map(|of| [psnr(error + 1.96 * of), psnr(error - 1.96 * of)]);
    Ok(CodecScore {
        images: images.len(),
        psnr: found.is_finite().then_some(found),
        psnr_interval: ends.filter(|ends| ends.iter().all(|end| end.is_finite())),
        ssim: (!similar.is_empty()).then_some(ssim),
        ssim_interval,
        changed,
        changed_interval,
        bits: bits / count,
        bits_per_value: bits / values as f64,
        png_bits: png as f64 / count,
        webp_bits: webp as f64 / count,
        codes: usage.map(|usage| UsageScore {
            vocabulary: usage.codes(),
            used: usage.share(),
            perplexity: usage.perplexity(),
            bits: usage.bits(),
        }),
    })
}

/// Returns the mean of some numbers and its standard error, which a single number has not.
fn mean_and_error(numbers: &[f64]) -> (f64, Option<f64>) {
    let count = numbers.len() as f64;
    let mean = numbers.iter().sum::<f64>() / count;
    let squares: f64 = numbers.iter().map(|number| (number - mean).powi(2)).sum();
    let error = (squares / (count - 1.0) / count).sqrt();
    (mean, (numbers.len() > 1).then_some(error))
}

/// Returns the mean of numbers up to 1 and its 95 % interval, by the normal distribution; fewer
/// than two numbers have no interval.
fn mean_and_interval(numbers: &[f64]) -> (f64, Option<[f64; 2]>) {
    let (mean, error) = mean_and_error(numbers);
    (mean, error.map(|error| [mean - 1.96 * error, (mean + 1.96 * error).min(1.0)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standard_error_is_that_of_a_mean() {
        let (mean, error) = mean_and_error(&[1.0, 3.0, 5.0, 7.0]);
        assert_eq!(mean, 4.0);
        assert!((error.unwrap() - (20.0f64 / 3.0 / 4.0).sqrt()).abs() < 1e-12);
        assert_eq!(mean_and_error(&[2.0]), (2.0, None));
    }

    #[test]
    fn an_interval_is_around_its_mean_and_ends_at_1() {
        let interval = |numbers: &[f64]| mean_and_interval(numbers).1;
        let [low, high] = interval(&[0.1, 0.2, 0.3]).unwrap();
        let width = 1.96 * 0.1 / 3f64.sqrt();
        assert!((low - (0.2 - width)).abs() < 1e-12 && (high - (0.2 + width)).abs() < 1e-12);
        assert_eq!(interval(&[0.9, 1.0]).unwrap()[1], 1.0);
        assert_eq!((interval(&[0.5]), interval(&[])), (None, None));
    }
}

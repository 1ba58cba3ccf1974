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
    /// The mean structural similarity, over the images that are large enough for one.
    pub ssim: Option<f64>,
    /// The share of bytes that changed.
    pub changed: f64,
    /// The bits that say what an image is encoded to, a mean over the images.
    pub bits: f64,
    /// Those bits for each value of the image.
    pub bits_per_value: f64,
    /// The bits of the images as PNG files, which lose nothing, a mean over the images.
    pub png_bits: f64,
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
    let (mut errors, mut values, mut changed, mut bits, mut png) = (0.0, 0, 0, 0.0, 0);
    let mut similar = vec![];
    for (image, decoded) in images.iter().zip(&decoded) {
        let own = image.rgb().len();
        errors += squared_error(image, decoded) * own as f64;
        values += own;
        changed += image.rgb().iter().zip(decoded.rgb()).filter(|(a, b)| a != b).count();
        similar.extend(ssim(image, decoded));
        bits += codec.bits_per_image(image.height(), image.width()).map_err(GenerateError::from)?;
        png += 8 * image.encode(Format::Png)?.len();
        if let Some(usage) = &mut usage {
            usage.add(&model.codes(image)?.codes);
        }
    }
    let count = images.len() as f64;
    let psnr = psnr(errors / values as f64);
    Ok(CodecScore {
        images: images.len(),
        psnr: psnr.is_finite().then_some(psnr),
        ssim: (!similar.is_empty()).then(|| similar.iter().sum::<f64>() / similar.len() as f64),
        changed: changed as f64 / values as f64,
        bits: bits / count,
        bits_per_value: bits / values as f64,
        png_bits: png as f64 / count,
        codes: usage.map(|usage| UsageScore {
            vocabulary: usage.codes(),
            used: usage.share(),
            perplexity: usage.perplexity(),
            bits: usage.bits(),
        }),
    })
}

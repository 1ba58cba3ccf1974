//! Images as the latents of a codec: what the joined transformer denoises instead of pixels.

use burn::module::Module;
use burn::prelude::*;
use mm_codec::{CodecError, KlAutoencoder, Posterior};
use mm_patch::{Grid, Image, image_to_patches, patchify, unpatchify};

/// What makes latents of unit variance around zero: a diffusion model is shown
/// `(z - shift_factor) * scaling_factor` (Rombach et al. 2022, arXiv:2112.10752, appendix G).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatentScale {
    /// One over the standard deviation of all numbers of latents.
    pub scaling_factor: f64,
    /// The mean of all numbers of latents.
    pub shift_factor: f64,
}

impl LatentScale {
    /// Measures the latents of images under a codec. Images that have no whole cells are an error,
    /// and so are latents that do not vary.
    pub fn measured(codec: &KlAutoencoder, images: &[Image]) -> Result<Self, CodecError> {
        let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
        for image in images {
            codec.config().network.cells(image.height(), image.width())?;
            let grid = Grid::new(image.height(), image.width(), 1);
            let patches = image_to_patches(image, grid).expect("every image is of whole pixels");
            for number in host(latents(codec, patches, grid)) {
                let number = f64::from(number);
                (count, sum, squares) = (count + 1.0, sum + number, squares + number * number);
            }
        }
        let mean = sum / count;
        let variance = squares / count - mean * mean;
        if !(variance.is_finite() && variance > 1e-12) {
            return Err(CodecError::Constant { variance });
        }
        Ok(Self { scaling_factor: 1.0 / variance.sqrt(), shift_factor: mean })
    }
}

/// Encodes the patches of an image, whose `grid` is that of its pixels; returns patches of scaled
/// latents in reading order, and their grid. A patch is a whole number of cells.
pub(crate) fn latent_patches(
    codec: &KlAutoencoder,
    patches: Vec<f32>,
    grid: Grid,
) -> (Vec<f32>, Grid) {
    let own = grid_of_latents(codec, grid);
    let latents = codec.scaled(latents(codec, patches, grid));
    (host(patchify(latents, own)), own)
}

/// Does what [`latent_patches`] does, but draws the latents from their Gaussians, as published
/// latent diffusion is trained. `noise` returns so many standard normal numbers, which belong to
/// the latents in the order `[channels, rows, cols]`.
pub(crate) fn drawn_latent_patches(
    codec: &KlAutoencoder,
    patches: Vec<f32>,
    grid: Grid,
    noise: impl FnOnce(usize) -> Vec<f32>,
) -> (Vec<f32>, Grid) {
    let own = grid_of_latents(codec, grid);
    let posterior = posterior(codec, patches, grid);
    let shape = posterior.mean.dims();
    let noise = TensorData::new(noise(shape.iter().product()), shape);
    let drawn = posterior.sample(Tensor::from_data(noise, &posterior.mean.device()));
    (host(patchify(codec.scaled(drawn), own)), own)
}

/// Returns the grid of the latents of an image, from that of its pixels.
fn grid_of_latents(codec: &KlAutoencoder, grid: Grid) -> Grid {
    let config = codec.config();
    let patch = grid.patch / config.network.factor();
    Grid { patch, channels: config.latent_channels, ..grid }
}

/// Encodes the patches of one image to the means of its latents, `[1, channels, rows, cols]`.
fn latents(codec: &KlAutoencoder, patches: Vec<f32>, grid: Grid) -> Tensor<4> {
    posterior(codec, patches, grid).mean
}

/// Encodes the patches of one image to the Gaussians of its latents.
fn posterior(codec: &KlAutoencoder, patches: Vec<f32>, grid: Grid) -> Posterior {
    let shape = [1, grid.tokens(), grid.patch_dim()];
    let codec = codec.valid(); // which is frozen
    let patches = TensorData::new(patches, shape);
    let patches = Tensor::from_data(patches, &codec.device());
    codec.encode(unpatchify(patches, grid))
}

/// Copies numbers to the host, whatever their axes are.
fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec_as::<f32>().expect("activations are floats")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use mm_backbone::Init;
    use mm_codec::{AutoencoderSizes, KlConfig};
    use mm_diffusion::{ForwardProcess, Prediction, Schedule};

    use crate::random::{Purpose, normals, stream};
    use crate::{
        Classes, Collator, DitConfig, Document, IMAGE_LOSS, Model, ModelConfig, NetworkConfig,
        Segment, TimeConfig, VitConfig, image_only,
    };

    /// A codec that halves images and gives two numbers a cell.
    pub(crate) fn config() -> KlConfig {
        KlConfig {
            network: AutoencoderSizes {
                block_out_channels: vec![4, 4],
                layers_per_block: 1,
                norm_num_groups: 2,
                mid_block_add_attention: false,
            },
            latent_channels: 2,
            colors: 3,
            scaling_factor: 1.0,
            shift_factor: 0.0,
            use_quant_conv: true,
            use_post_quant_conv: true,
        }
    }

    fn image(seed: usize) -> Image {
        let bytes = (0..12 * 8 * 3).map(|at| (at * (7 + 2 * seed) % 256) as u8);
        Image::new(12, 8, bytes.collect()).unwrap()
    }

    #[test]
    fn scaled_latents_of_the_images_that_were_measured_have_unit_variance() {
        let device = Device::flex();
        let plain = KlAutoencoder::drawn(&config(), &mut Init::new(4, &device));
        let images = [image(0), image(1), image(2)];
        let LatentScale { scaling_factor, shift_factor } =
            LatentScale::measured(&plain, &images).unwrap();
        let config = KlConfig { scaling_factor, shift_factor, ..config() };
        let codec = KlAutoencoder::drawn(&config, &mut Init::new(4, &device));
        let grid = Grid::new(2, 3, 4);
        let mut all = vec![];
        for image in &images {
            let patches = image_to_patches(image, grid).unwrap();
            let (patches, own) = latent_patches(&codec, patches, grid);
            assert_eq!(own, Grid { rows: 2, cols: 3, patch: 2, channels: 2 });
            assert_eq!(patches.len(), 2 * 3 * 2 * 2 * 2);
            all.extend(patches.into_iter().map(f64::from));
        }
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        let variance = all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / all.len() as f64;
        assert!(mean.abs() < 1e-4 && (variance - 1.0).abs() < 1e-4, "{mean} {variance}");
        let said = LatentScale::measured(&plain, &[]).unwrap_err().to_string();
        assert!(said.starts_with("latents of variance NaN"), "{said}");
        let odd = [Image::filled(7, 8, [0; 3])];
        let said = LatentScale::measured(&plain, &odd).unwrap_err().to_string();
        assert!(said.contains("7 x 8 pixels, wanted sides that are multiples of 2"), "{said}");
    }

    /// A DiT of the codec's latents.
    fn dit() -> ModelConfig {
        let dit = DitConfig {
            classes: Classes { count: 3, none: true, names: vec![] },
            channels: 2,
            width: 16,
            depth: 1,
            heads: 2,
            inner: 10,
            norm_epsilon: 1e-5,
            own_embeddings: false,
            codec: Some(KlConfig { scaling_factor: 0.5, ..config() }),
        };
        ModelConfig {
            patch: 2,
            vocab: 0,
            time: TimeConfig::Sinusoidal { channels: 8, scale: 0.5 },
            schedule: Schedule::LinearBeta { steps: 20 },
            prediction: Prediction::Noise,
            network: NetworkConfig::Vit(VitConfig::Dit(dit)),
        }
    }

    #[test]
    fn a_network_that_only_draws_latents_learns_such_as_are_drawn_from_their_gaussians() {
        let (device, config, tokenizer) = (Device::flex(), dit(), image_only::tokenizer());
        let model = Model::new(&config, 3, &device).unwrap();
        let codec = model.encoder().unwrap();
        let process = ForwardProcess::uniform(config.schedule);
        let collator = Collator {
            tokenizer: &tokenizer,
            config: &config,
            process,
            pack_len: 0,
            seed: 5,
            encoder: Some(codec),
        };
        let segments = vec![Segment::context_text("2"), Segment::target_image(image(1))];
        let documents = [(Document { segments }, 4)];
        let batch = collator.batch(documents.into_iter(), 7).unwrap().to_device(&config, &device);
        let grid = Grid::new(2, 3, 4);
        let posterior = posterior(codec, image_to_patches(&image(1), grid).unwrap(), grid);
        let noise = normals(&mut stream(5, Purpose::Latent, 7, 4), 2 * 4 * 6);
        let noise = Tensor::from_data(TensorData::new(noise, [1, 2, 4, 6]), &device);
        let own = Grid { rows: 2, cols: 3, patch: 2, channels: 2 };
        let wanted =
            patchify((posterior.mean + (posterior.log_variance / 2.0).exp() * noise) * 0.5, own);
        let target = batch.targets.image.as_ref().unwrap();
        assert_eq!(target.grids, [own]);
        let apart = (target.clean.clone() - wanted.squeeze_dim(0)).abs().max().into_scalar::<f32>();
        assert!(apart < 1e-6, "{apart}");
        assert_eq!(batch.inputs.patches.as_ref().unwrap().classes, [Some(2)]);
        let loss = model.losses(&batch, config.prediction).value(IMAGE_LOSS).unwrap();
        assert!(loss.into_scalar::<f32>().is_finite());
    }

    #[test]
    fn patches_of_latents_put_together_are_the_latents_of_the_whole_image() {
        let codec = KlAutoencoder::drawn(&config(), &mut Init::new(4, &Device::flex()));
        let grid = Grid::new(2, 3, 4);
        let patches = image_to_patches(&image(1), grid).unwrap();
        let whole = codec.scaled(latents(&codec, patches.clone(), grid));
        let (patches, own) = latent_patches(&codec, patches, grid);
        let patches = TensorData::new(patches, [1, own.tokens(), own.patch_dim()]);
        let again = unpatchify(Tensor::from_data(patches, &Device::flex()), own);
        assert_eq!(again.into_data(), whole.into_data());
    }
}

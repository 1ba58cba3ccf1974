//! Documents to training batches: sequences, noise for every image that is a target, and packing.

use mm_codec::KlAutoencoder;
use mm_diffusion::ForwardProcess;
use mm_text::Tokenizer;
use rand::RngExt;
use rand_distr::StandardNormal;

use crate::latents::drawn_latent_patches;
use crate::masks::training_mask;
use crate::random::{Purpose, normals, stream};
use crate::{
    Document, DocumentError, HostBatch, ImageNoise, ModelConfig, Sample, Sequence, Sequencer,
};

/// Turns documents into batches. The noise of a document is a pure function of the seed, the step
/// and the document's index in the step.
#[derive(Debug, Clone)]
pub struct Collator<'a> {
    /// The tokenizer of the model.
    pub tokenizer: &'a Tokenizer,
    /// The patch size and the position scheme.
    pub config: &'a ModelConfig,
    /// How images that are targets are noised.
    pub process: ForwardProcess,
    /// Tokens in a packed row; 0 for one document a row.
    pub pack_len: usize,
    /// The seed of the noise.
    pub seed: u64,
    /// What encodes images, where the network knows latents and no pixels: [`Model::encoder`]. A
    /// batch that is only counted needs none.
    ///
    /// [`Model::encoder`]: crate::Model::encoder
    pub encoder: Option<&'a KlAutoencoder>,
}

impl Collator<'_> {
    /// Makes one batch of documents, each with its index in the step.
    pub fn batch(
        &self,
        documents: impl Iterator<Item = (Document, u64)>,
        step: u64,
    ) -> Result<HostBatch, DocumentError> {
        let network = &self.config.network;
        let sequencer = Sequencer {
            tokenizer: self.tokenizer,
            patch: self.config.patch_pixels(),
            positions: network.positions(),
            layout: network.layout(),
            encoder: self.encoder,
        };
        let mut samples = vec![];
        for (document, index) in documents {
            let mut sequence = match self.config.vocab {
                0 => self.image_alone(&document, step, index)?,
                _ => sequencer.complete(&document)?,
            };
            self.mask(&mut sequence, step, index);
            let noise = self.noise(&sequence, step, index);
            samples.push(Sample { sequence, noise });
        }
        let pad = self.tokenizer.special().pad;
        Ok(HostBatch::pack(&samples, self.pack_len, pad, self.config.patch_dim()))
    }

    /// Makes the sequence of an image alone. Where the network draws latents, they are drawn from
    /// the Gaussians that the image is encoded to.
    fn image_alone(
        &self,
        document: &Document,
        step: u64,
        index: u64,
    ) -> Result<Sequence, DocumentError> {
        let mut sequence = self.config.image_sequence(document)?;
        let Some(encoder) = self.encoder else { return Ok(sequence) };
        for span in &mut sequence.images {
            let mut rng = stream(self.seed, Purpose::Latent, step, index);
            let patches = std::mem::take(&mut span.patches);
            let noise = |count| normals(&mut rng, count);
            (span.patches, span.grid) = drawn_latent_patches(encoder, patches, span.grid, noise);
        }
        Ok(sequence)
    }

    /// Draws the masks of the images of a sequence that are targets, if their codes are drawn in no
    /// fixed order. Context is shown whole.
    fn mask(&self, sequence: &mut Sequence, step: u64, index: u64) {
        let coded = self.config.network.coded();
        let Some(mask) = coded.and_then(|coded| coded.mask(self.config.vocab)) else { return };
        let mut rng = stream(self.seed, Purpose::Noise, step, index);
        for span in sequence.images.iter_mut().filter(|span| span.target) {
            let places = span.places();
            span.masked = training_mask(places.len(), &mut rng);
            for (id, masked) in sequence.ids[places].iter_mut().zip(&span.masked) {
                if *masked {
                    *id = mask;
                }
            }
        }
    }

    /// Draws noise for every image of a sequence: targets get a level and noise, context stays
    /// clean.
    fn noise(&self, sequence: &Sequence, step: u64, index: u64) -> Vec<ImageNoise> {
        // Codes are predicted, and never denoised.
        let coded = self.config.network.coded().is_some();
        let mut times = stream(self.seed, Purpose::Time, step, index);
        let mut noise = stream(self.seed, Purpose::Noise, step, index);
        let scale = self.config.network.noise_scale() as f32;
        sequence
            .images
            .iter()
            .map(|span| {
                if !span.target || coded {
                    return ImageNoise::none(&self.process.schedule);
                }
                let uniform = times.random::<f64>();
                let normal = times.sample::<f64, _>(StandardNormal);
                let mut eps = normals(&mut noise, span.patches.len());
                if scale != 1.0 {
                    eps.iter_mut().for_each(|eps| *eps *= scale);
                }
                self.process.draw(uniform, normal, eps)
            })
            .collect()
    }
}

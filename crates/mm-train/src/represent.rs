//! What images are to the network, from the folder of a codec: its sizes, its weights, and the
//! scale of its latents.

use burn::prelude::*;
use mm_codec::{CodecConfig, KlConfig};
use mm_data::{DataSet, Record, Split};
use mm_model::folder::load_config;
use mm_model::parameters::{weights_of, with_weights};
use mm_model::{
    BytesConfig, CodedConfig, ImageCodes, LatentConfig, LatentScale, LoadedModel, Model,
    NetworkConfig, Segment,
};

use crate::TrainError;
use crate::recipe::{Recipe, Represent};

/// The number of records whose latents are measured.
const MEASURED: usize = 256;

impl Recipe {
    /// Returns the recipe with all sizes of a network whose images are codes, latents or bytes: the
    /// codec that `image.codec` names becomes `model.codec`. Another recipe stays as it is. The
    /// result is checked.
    pub fn with_sizes_of_codec(mut self) -> Result<Self, TrainError> {
        if let NetworkConfig::Coded(coded) = &mut self.model.network {
            coded.order = self.order;
        }
        self.validate()?;
        let NetworkConfig::Unified(unified) = &self.model.network else { return Ok(self) };
        let (unified, order) = (unified.clone(), self.order);
        let codec = match &self.codec {
            Some(folder) => load_config(folder)?.network.codec().cloned(),
            None => None,
        };
        self.model.network = match (self.represent, codec) {
            (Represent::Patches, _) => return Ok(self),
            (Represent::Codes, Some(CodecConfig::Codes(codec))) => {
                NetworkConfig::Coded(CodedConfig {
                    unified,
                    codes: ImageCodes::Codec(codec),
                    order,
                })
            }
            (Represent::Bytes, _) => {
                let codes = ImageCodes::Bytes(BytesConfig::default());
                NetworkConfig::Coded(CodedConfig { unified, codes, order })
            }
            (Represent::Latents, Some(CodecConfig::Kl(codec))) => {
                NetworkConfig::Latent(LatentConfig { unified, codec })
            }
            (Represent::Codes, _) => {
                let wanted = "a model folder of a codec of codes";
                return Err(self.refused("image.codec", wanted).into());
            }
            (Represent::Latents, _) => {
                let wanted =
                    "a model folder of a codec of latents, such as `mm train codec-kl` makes";
                return Err(self.refused("image.codec", wanted).into());
            }
        };
        self.validate()?;
        Ok(self)
    }

    /// Returns the recipe with the scale that gives the latents of its data unit variance, if the
    /// codec has none of its own. Nothing is measured where `model.codec` is known already.
    pub(crate) fn with_scale_of_latents(
        mut self,
        data: &DataSet,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let (NetworkConfig::Latent(latent), Some(folder)) = (&self.model.network, &self.codec)
        else {
            return Ok(self);
        };
        let KlConfig { scaling_factor, shift_factor, .. } = latent.codec;
        if (scaling_factor, shift_factor) != (1.0, 0.0) {
            return Ok(self);
        }
        let trained = LoadedModel::load(folder, device)?;
        let Some(mm_codec::Codec::Kl(codec)) = trained.model.codec() else {
            let wanted = "a model folder of a codec of latents";
            return Err(self.refused("image.codec", wanted).into());
        };
        let mut images = vec![];
        for record in mm_eval::records(data, Split::Train, MEASURED, self.seed)? {
            match record {
                Record::Captioned(example) => images.push(example.image),
                Record::Whole(document) => {
                    for segment in document.segments {
                        if let Segment::Image { image, .. } = segment {
                            images.push(image);
                        }
                    }
                }
            }
        }
        let scale = LatentScale::measured(codec, &images).map_err(mm_model::GenerateError::from)?;
        if let NetworkConfig::Latent(latent) = &mut self.model.network {
            latent.codec.scaling_factor = scale.scaling_factor;
            latent.codec.shift_factor = scale.shift_factor;
        }
        Ok(self)
    }

    /// Returns the recipe with the codec of a trained `network`, if both are the same transformer
    /// over what the recipe asks for and the recipe does not say the codec's sizes itself.
    pub(crate) fn with_representation_of(mut self, network: &NetworkConfig) -> Self {
        let represent = match network {
            NetworkConfig::Coded(coded) if coded.codec().is_none() => Represent::Bytes,
            NetworkConfig::Coded(_) => Represent::Codes,
            NetworkConfig::Latent(_) => Represent::Latents,
            _ => Represent::Patches,
        };
        let NetworkConfig::Unified(own) = &self.model.network else { return self };
        if represent == self.represent && network.unified() == Some(own) {
            self.model.network = network.clone();
        }
        self
    }
}

/// Gives a transformer over codes or latents the weights of the codec that the recipe names.
pub(crate) fn with_trained_codec(
    recipe: &Recipe,
    model: Model,
    device: &Device,
) -> Result<Model, TrainError> {
    let wanted = match &recipe.model.network {
        NetworkConfig::Coded(coded) => coded.codec().cloned().map(CodecConfig::Codes),
        NetworkConfig::Latent(latent) => Some(CodecConfig::Kl(latent.codec.clone())),
        _ => None,
    };
    let (Some(wanted), Some(folder)) = (wanted, &recipe.codec) else { return Ok(model) };
    let trained = LoadedModel::load(folder, device)?;
    match trained.model.codec() {
        Some(codec) if unscaled(codec.config()) == unscaled(wanted) => {
            let weights = weights_of(codec);
            Ok(model.with_codec(|own| with_weights(own, &weights)))
        }
        _ => {
            let wanted = "the folder of the codec whose sizes `model.codec` has";
            Err(recipe.refused("image.codec", wanted).into())
        }
    }
}

/// Returns the sizes alone, without the scale of latents.
fn unscaled(config: CodecConfig) -> CodecConfig {
    match config {
        CodecConfig::Kl(kl) => {
            CodecConfig::Kl(KlConfig { scaling_factor: 1.0, shift_factor: 0.0, ..kl })
        }
        other => other,
    }
}

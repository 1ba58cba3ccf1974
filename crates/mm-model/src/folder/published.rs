//! Folders of diffusers' `AutoencoderKL`, which are read as they are published: `config.json` and
//! `diffusion_pytorch_model.safetensors`.

use std::path::Path;

use burn::prelude::*;
use mm_codec::{Codec, CodecConfig, CodecError, KlAutoencoder, KlConfig};
use mm_diffusion::{Prediction, Schedule};
use serde::Deserialize;

use super::open;
use crate::loaded::CONFIG;
use crate::stored::Stored;
use crate::{
    ConfigError, FileError, FolderError, GenerationConfig, LoadedModel, Model, ModelConfig,
    NetworkConfig, TimeConfig, image_only,
};

/// The file of the weights.
const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";
/// The side of the images that these autoencoders are used for, unless a flag asks for another.
const SIDE: usize = 256;

/// What tells a published folder from a model folder.
#[derive(Deserialize)]
struct Class {
    _class_name: Option<String>,
}

/// Says whether the contents of `config.json` are diffusers'.
pub(super) fn is_published(config: &[u8]) -> bool {
    let class: Option<Class> = serde_json::from_slice(config).ok();
    class.is_some_and(|class| class._class_name.is_some())
}

/// Reads a published autoencoder onto `device`, from a folder with this `config.json`.
pub(super) fn load(
    folder: &Path,
    bytes: &[u8],
    device: &Device,
) -> Result<LoadedModel, FolderError> {
    let wrong =
        |why: CodecError| FileError::from(ConfigError::from(why)).in_file(folder.join(CONFIG));
    let config = KlConfig::from_diffusers(bytes).map_err(wrong)?;
    let path = folder.join(WEIGHTS);
    let mut stored = Stored::new(path.clone(), vec![(path.clone(), open(&path)?)])?;
    let mut read = |name: &str, shape: &[usize]| -> Result<Vec<f32>, Failed> {
        let old = KlAutoencoder::old_name(name).filter(|_| !stored.has(name));
        Ok(stored.read(old.as_deref().unwrap_or(name), shape)?)
    };
    let codec =
        KlAutoencoder::from_weights(&config, device, &mut read).map_err(|why| match why {
            Failed::Folder(why) => why,
            Failed::Codec(why) => wrong(why),
        })?;
    let config = ModelConfig {
        patch: config.network.factor(),
        vocab: 0,
        time: TimeConfig::Sinusoidal { channels: 2, scale: 1000.0 },
        schedule: Schedule::Linear,
        prediction: Prediction::Clean,
        network: NetworkConfig::Codec(CodecConfig::Kl(config)),
    };
    config.validate().map_err(|why| FileError::from(why).in_file(folder.join(CONFIG)))?;
    Ok(LoadedModel {
        config,
        tokenizer: image_only::tokenizer(),
        model: Model::Codec(Codec::Kl(codec)),
        generation: GenerationConfig::of_size(SIDE, SIDE),
    })
}

/// What can go wrong while weights are read.
enum Failed {
    Folder(FolderError),
    Codec(CodecError),
}

impl From<FolderError> for Failed {
    fn from(why: FolderError) -> Self {
        Self::Folder(why)
    }
}

impl From<CodecError> for Failed {
    fn from(why: CodecError) -> Self {
        Self::Codec(why)
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Module;
    use mm_backbone::Init;
    use mm_patch::Image;

    use super::*;
    use crate::parameters::{Weights, weights_of, weights_to_bytes};

    const CONFIG_TEXT: &str = r#"{ "_class_name": "AutoencoderKL", "_diffusers_version": "0.4.2", "in_channels": 3,
        "out_channels": 3, "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"], "up_block_types":
        ["UpDecoderBlock2D", "UpDecoderBlock2D"], "block_out_channels": [4, 8], "layers_per_block": 1,
        "latent_channels": 2, "norm_num_groups": 2, "sample_size": 32, "act_fn": "silu" }"#;

    fn published(rename: bool) -> (tempfile::TempDir, KlAutoencoder) {
        let folder = tempfile::tempdir().unwrap();
        let config = KlConfig::from_diffusers(CONFIG_TEXT.as_bytes()).unwrap();
        let codec = KlAutoencoder::drawn(&config, &mut Init::new(5, &Device::flex()));
        let mut weights: Weights = weights_of(&codec);
        if rename {
            let old = |name: String| KlAutoencoder::old_name(&name).unwrap_or(name);
            weights = weights.into_iter().map(|(name, weight)| (old(name), weight)).collect();
        }
        fs_err::write(folder.path().join(CONFIG), CONFIG_TEXT).unwrap();
        let bytes = weights_to_bytes(&weights).unwrap();
        fs_err::write(folder.path().join(WEIGHTS), bytes).unwrap();
        (folder, codec)
    }

    #[test]
    fn a_published_folder_is_a_codec_under_new_and_old_names() {
        for rename in [false, true] {
            let (folder, codec) = published(rename);
            let model = LoadedModel::load(folder.path(), &Device::flex()).unwrap();
            assert_eq!(weights_of(&model.model), weights_of(&codec));
            assert_eq!(model.model.num_params(), codec.num_params());
            let image = Image::filled(6, 4, [10, 200, 90]);
            let decoded = model.reconstruct(&[image]).unwrap();
            assert_eq!((decoded[0].width(), decoded[0].height()), (6, 4));
            let said = model.codes(&decoded[0]).unwrap_err().to_string();
            assert!(said.starts_with("this codec has latents"), "{said}");
            let said = model.reconstruct(&[Image::filled(5, 4, [0; 3])]).unwrap_err().to_string();
            assert!(said.contains("5 x 4 pixels, wanted sides that are multiples of 2"), "{said}");
        }
    }

    #[test]
    fn a_folder_of_another_class_is_refused_by_name() {
        let (folder, _) = published(false);
        let other = CONFIG_TEXT.replace("AutoencoderKL", "VQModel");
        fs_err::write(folder.path().join(CONFIG), other).unwrap();
        let said = LoadedModel::load(folder.path(), &Device::flex()).unwrap_err().to_string();
        assert!(
            said.contains("`_class_name` is Some(\"VQModel\"), wanted AutoencoderKL"),
            "{said}"
        );
    }
}

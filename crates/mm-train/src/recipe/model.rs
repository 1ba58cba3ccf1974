//! The table `[model]` of a recipe.

use mm_backbone::{BackboneConfig, InitLaw};
use mm_codec::CodecConfig;
use mm_diffusion::{Prediction, Schedule};
use mm_model::{
    BytesConfig, ConfigError, NetworkConfig, NetworkFields, Order, TimeConfig, UnetConfig,
    VitConfig,
};
use serde::{Deserialize, Serialize};

/// Holds the table `[model]`: the network, as far as the data do not decide it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "ModelTable", into = "ModelTable")]
pub struct ModelSettings {
    /// Says how the weights of linear maps are drawn at first.
    pub init: InitLaw,
    /// Says how the network is told the noise level.
    pub time: TimeConfig,
    /// Says how images are noised.
    pub schedule: Schedule,
    /// Says what the network predicts for patches.
    pub prediction: Prediction,
    /// The network and its sizes.
    pub network: NetworkConfig,
}

/// The table as it is written: the fields of [`NetworkFields`] stand beside the others.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelTable {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    patch_bias: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    patch_pos_embed: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    patch_convolution: Option<bool>,
    #[serde(default)]
    init: InitLaw,
    time: TimeConfig,
    schedule: Schedule,
    prediction: Prediction,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backbone: Option<BackboneConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unet: Option<UnetConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    codec: Option<CodecConfig>,
    vit: Option<VitConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<BytesConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    order: Option<Order>,
}

impl TryFrom<ModelTable> for ModelSettings {
    type Error = ConfigError;

    fn try_from(table: ModelTable) -> Result<Self, ConfigError> {
        let ModelTable { init, time, schedule, prediction, .. } = table;
        let network = NetworkFields {
            patch_bias: table.patch_bias,
            patch_pos_embed: table.patch_pos_embed,
            patch_convolution: table.patch_convolution,
            backbone: table.backbone,
            unet: table.unet,
            codec: table.codec,
            vit: table.vit,
            bytes: table.bytes,
            order: table.order,
        };
        Ok(Self { init, time, schedule, prediction, network: network.try_into()? })
    }
}

impl From<ModelSettings> for ModelTable {
    fn from(settings: ModelSettings) -> Self {
        let ModelSettings { init, time, schedule, prediction, network } = settings;
        let NetworkFields {
            patch_bias,
            patch_pos_embed,
            patch_convolution,
            backbone,
            unet,
            vit,
            codec,
            bytes,
            order,
        } = network.into();
        Self {
            patch_bias,
            patch_pos_embed,
            patch_convolution,
            init,
            time,
            schedule,
            prediction,
            backbone,
            unet,
            codec,
            vit,
            bytes,
            order,
        }
    }
}

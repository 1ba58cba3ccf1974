//! A small model that was never trained, for examples about how a model is driven.

use burn::prelude::*;
use mm_backbone::{BackboneConfig, BlockConfig, GauConfig};
use mm_diffusion::{Prediction, Schedule};
use mm_model::{
    GenerationConfig, LoadedModel, Model, ModelConfig, NetworkConfig, PositionScheme, TimeConfig,
    UnifiedConfig,
};
use mm_text::Tokenizer;

/// Makes a model of 16x16 images and byte-level text.
pub fn model() -> LoadedModel {
    let texts = ["red", "blue"].map(str::to_owned);
    let tokenizer = Tokenizer::train(texts.into_iter(), 400).expect("a vocabulary of this size");
    let config = ModelConfig {
        patch: 8,
        vocab: tokenizer.vocab(),
        time: TimeConfig::Sinusoidal { channels: 16, scale: 1000.0 },
        schedule: Schedule::Linear,
        prediction: Prediction::Clean,
        network: NetworkConfig::Unified(UnifiedConfig {
            patch_bias: true,
            patch_pos_embed: 2,
            patch_convolution: false,
            backbone: BackboneConfig {
                width: 32,
                depth: 2,
                block: BlockConfig::Gau(GauConfig { expansion: 2, key_size: 16, bias: false }),
                positions: PositionScheme::RopeTv,
                rotary_base: 10_000.0,
                norm_epsilon: 1e-6,
            },
        }),
    };
    let model = Model::new(&config, 0, &Device::flex()).expect("a valid config");
    LoadedModel { config, tokenizer, model, generation: GenerationConfig::of_size(16, 16) }
}

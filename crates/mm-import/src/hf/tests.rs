//! Tests of folders for `transformers`, without Python; `tests/reference/hf_model.py` loads them.

use std::collections::BTreeMap;

use burn::prelude::*;
use mm_backbone::{BackboneConfig, BlockConfig, GauConfig, PositionScheme};
use mm_diffusion::{Prediction, Schedule};
use mm_model::parameters::weights_of;
use mm_model::{Model, TimeConfig, UnifiedConfig};
use mm_text::Tokenizer;
use safetensors::SafeTensors;

use mm_model::NetworkConfig;

use super::*;

fn model() -> LoadedModel {
    let tokenizer = Tokenizer::train(["ab"].map(str::to_owned).into_iter(), 389).unwrap();
    let backbone = BackboneConfig {
        width: 8,
        depth: 2,
        block: BlockConfig::Gau(GauConfig { expansion: 2, key_size: 4, bias: true }),
        positions: PositionScheme::RopeTv,
        rotary_base: 100.0,
        norm_epsilon: 1e-6,
    };
    let config = ModelConfig {
        patch: 2,
        vocab: tokenizer.vocab(),
        time: TimeConfig::Table { steps: 10 },
        schedule: Schedule::Su2024 { steps: 10 },
        prediction: Prediction::Noise,
        network: NetworkConfig::Unified(UnifiedConfig {
            patch_bias: true,
            patch_pos_embed: 2,
            patch_convolution: false,
            backbone,
        }),
    };
    let model = Model::new(&config, 1, &Device::flex()).unwrap();
    LoadedModel { config, tokenizer, model, generation: GenerationConfig::of_size(4, 4) }
}

fn files(dtype: WeightType, shard_bytes: usize) -> BTreeMap<String, Vec<u8>> {
    let (model, mut files) = (model(), BTreeMap::new());
    let weights = weights_of(&model.model);
    let take: TakeFile<'_, HfError> = &mut |name, bytes| {
        assert!(files.insert(name.to_owned(), bytes.to_vec()).is_none());
        Ok(())
    };
    write(&model, &weights, dtype, shard_bytes, take).unwrap();
    files
}

#[test]
fn weights_keep_their_names_and_values_in_one_file_or_several() {
    let weights = weights_of(&model().model);
    let whole = files(WeightType::F32, SHARD_BYTES);
    let found = SafeTensors::deserialize(&whole["model.safetensors"]).unwrap();
    assert_eq!(found.len(), weights.len());
    let several = files(WeightType::F32, 1000);
    let index: Value = serde_json::from_slice(&several["model.safetensors.index.json"]).unwrap();
    let map = index["weight_map"].as_object().unwrap();
    assert_eq!(map.len(), weights.len());
    let total: usize = weights.values().map(|weight| 4 * weight.values.len()).sum();
    assert_eq!(index["metadata"]["total_size"], total);
    for (name, weight) in &weights {
        let bytes: Vec<u8> = weight.values.iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(found.tensor(name).unwrap().data(), bytes);
        let shard = &several[map[name].as_str().unwrap()];
        let shard = SafeTensors::deserialize(shard).unwrap();
        assert_eq!(shard.tensor(name).unwrap().data(), bytes);
    }
    let largest = several.iter().filter(|(name, _)| name.contains("-of-")).count();
    assert!(largest > 2, "{largest} files");
}

#[test]
fn half_precision_is_rounded_to_nearest_and_what_has_none_is_refused_by_name() {
    for (dtype, within) in [(WeightType::Bf16, 1.0 / 256.0), (WeightType::F16, 1.0 / 2048.0)] {
        let file = files(dtype, SHARD_BYTES);
        let found = SafeTensors::deserialize(&file["model.safetensors"]).unwrap();
        for (name, weight) in weights_of(&model().model) {
            let pairs = found.tensor(&name).unwrap().data().chunks(2).zip(&weight.values);
            for (bytes, value) in pairs {
                let bytes = [bytes[0], bytes[1]];
                let read = match dtype {
                    WeightType::Bf16 => bf16::from_le_bytes(bytes).to_f32(),
                    _ => f16::from_le_bytes(bytes).to_f32(),
                };
                assert!((read - value).abs() <= within * value.abs() + 1e-7, "{name}");
            }
        }
    }
    let model = model();
    let mut weights = weights_of(&model.model);
    weights.get_mut("patch_in.bias").unwrap().values[3] = 1e6;
    let refused: Result<(), HfError> =
        write(&model, &weights, WeightType::F16, SHARD_BYTES, &mut |_, _| Ok(()));
    let said = refused.unwrap_err().to_string();
    assert_eq!(said, "`patch_in.bias` holds 1000000, wanted at most 65504 for `f16`");
}

#[test]
fn the_code_that_comes_along_is_short_enough_to_read() {
    for code in [MODELING, GENERATION] {
        assert!(code.lines().count() <= 300);
    }
}

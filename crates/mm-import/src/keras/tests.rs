//! Weights under Keras's names: there and back, and everything that can be wrong with a file.

use std::sync::LazyLock;

use burn::prelude::*;
use expect_test::expect;
use mm_backbone::{MultiHeadConfig, MultiHeadVariant};
use proptest::prelude::*;

use super::*;
use crate::fuzz::splices;
use mm_model::parameters::weights_of;
use mm_model::{Model, NetworkConfig, UnetConfig, UnifiedConfig};

const SIZES: Su2024Sizes =
    Su2024Sizes { patch: 2, width: 8, depth: 2, expanded: 16, key_size: 4, bias: true, steps: 5 };

fn weights(config: &ModelConfig) -> Weights {
    weights_of(&Model::new(config, 7, &Device::flex()).unwrap())
}

/// Tensors under Keras's names, changed and written as a file.
fn file(change: impl FnOnce(&mut BTreeMap<String, Weight>)) -> Vec<u8> {
    let own = weights(&SIZES.config());
    let named = SIZES.rows().into_iter().map(|row| (row.keras, own[&row.ours].clone()));
    let mut tensors: BTreeMap<String, Weight> = named.collect();
    change(&mut tensors);
    let bytes: Vec<(&String, &Weight, Vec<u8>)> = tensors
        .iter()
        .map(|(name, weight)| {
            (name, weight, weight.values.iter().flat_map(|v| v.to_le_bytes()).collect())
        })
        .collect();
    let views = bytes.iter().map(|(name, weight, bytes)| {
        (name.as_str(), TensorView::new(Dtype::F32, weight.shape.clone(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

fn zeros(shape: &[usize]) -> Weight {
    Weight { shape: shape.to_vec(), values: vec![0.0; shape.iter().product()] }
}

#[test]
fn every_weight_of_the_network_has_a_name_of_keras_and_the_same_shape() {
    for bias in [true, false] {
        let sizes = Su2024Sizes { bias, ..SIZES };
        let own = weights(&sizes.config());
        let rows = sizes.rows();
        assert_eq!(own.len(), rows.len());
        for row in rows {
            assert_eq!(own[&row.ours].shape, row.shape, "{}", row.ours);
        }
    }
}

#[test]
fn what_is_written_is_read_again_with_any_sizes() {
    for sizes in [
        SIZES,
        Su2024Sizes { depth: 1, expanded: 8, bias: false, ..SIZES },
        Su2024Sizes {
            patch: 4,
            width: 12,
            depth: 11,
            expanded: 36,
            key_size: 8,
            steps: 17,
            ..SIZES
        },
    ] {
        let (config, own) = (sizes.config(), weights(&sizes.config()));
        let (bytes, left_out) = write(&config, &own).unwrap();
        assert!(left_out.is_empty());
        assert_eq!(read(&bytes, sizes.patch).unwrap(), (config, own));
    }
}

#[test]
fn names_may_have_a_prefix_and_lack_their_output_number() {
    let plain = read(&file(|_| ()), 2).unwrap();
    let renamed = |name: fn(String) -> String| {
        file(|tensors| {
            *tensors = std::mem::take(tensors).into_iter().map(|(n, w)| (name(n), w)).collect();
        })
    };
    assert_eq!(read(&renamed(|name| format!("w/{name}")), 2).unwrap(), plain);
    assert_eq!(read(&renamed(|name| name.replace(":0", "")), 2).unwrap(), plain);
    let golden = file(|tensors| {
        *tensors =
            std::mem::take(tensors).into_iter().map(|(n, w)| (format!("w/{n}"), w)).collect();
        tensors.insert("out/loss".to_owned(), zeros(&[1]));
    });
    assert_eq!(read(&golden, 2).unwrap(), plain);
}

#[test]
fn a_weight_beside_prefixed_ones_is_not_overlooked_and_neither_is_a_second_of_its_name() {
    let wrong = file(|tensors| {
        *tensors =
            std::mem::take(tensors).into_iter().map(|(n, w)| (format!("w/{n}"), w)).collect();
        tensors.insert("grad/norm_0/gamma:0".to_owned(), zeros(&[8]));
        tensors.insert("gau_7/dense/kernel:0".to_owned(), zeros(&[8, 36]));
        tensors.insert("norm_0/gamma:0".to_owned(), zeros(&[8]));
        tensors.insert("w/norm_1/gamma".to_owned(), zeros(&[8]));
    });
    expect![[r#"
        3 of the tensors do not fit the network
          `gau_7/dense/kernel:0`: found [8, 36], wanted no name without `w/` but of `in/`, `out/` or `grad/`
          `norm_0/gamma:0`: found [8], wanted no name without `w/` but of `in/`, `out/` or `grad/`
          `w/norm_1/gamma:0`: found [8], wanted a name once, with `:0` or without"#]]
    .assert_eq(&read(&wrong, 2).unwrap_err().to_string());
}

#[test]
fn unknown_missing_and_misshaped_tensors_are_told_in_one_error() {
    let wrong = file(|tensors| {
        tensors.remove("norm_1/gamma:0");
        tensors.insert("gau_0/dense/kernel:0".to_owned(), zeros(&[8, 35]));
        tensors.insert("gau_0/dense_2/kernel:0".to_owned(), zeros(&[8]));
        tensors.insert("gau_4000000/dense/bias:0".to_owned(), zeros(&[1]));
    });
    expect![[r#"
        4 of the tensors do not fit the network
          `gau_0/dense/kernel:0`: found [8, 35], wanted [8, 36]
          `norm_1/gamma:0`: found none, wanted [8]
          `gau_0/dense_2/kernel:0`: found [8], wanted no tensor of this name
          `gau_4000000/dense/bias:0`: found [1], wanted no tensor of this name"#]]
    .assert_eq(&read(&wrong, 2).unwrap_err().to_string());
    let said = read(&file(|_| ()), 4).unwrap_err().to_string();
    assert!(said.contains("`patch_in/kernel:0`: found [12, 8], wanted [48, 8]"), "{said}");
    assert!(said.starts_with("2 of the tensors"), "{said}");
    assert!(read(b"no safetensors", 2).unwrap_err().to_string().starts_with("not a valid"));
    let empty = read(&file(BTreeMap::clear), 2).unwrap_err().to_string();
    assert!(empty.contains("`patch_in/kernel:0`: found none"), "{empty}");
    let huge = file(|tensors| {
        tensors.insert("time/embeddings:0".to_owned(), zeros(&[0, usize::MAX]));
    });
    assert!(read(&huge, 2).unwrap_err().to_string().contains("`time/embeddings:0`: found [0, "));
}

#[test]
fn weights_of_another_type_are_told_with_the_type_that_is_wanted() {
    let bytes = file(|_| ());
    let whole = SafeTensors::deserialize(&bytes).unwrap();
    let half = vec![0; 2 * 8];
    let views = whole.tensors().into_iter().map(|(name, view)| match name.as_str() {
        "norm_1/gamma:0" => (name, TensorView::new(Dtype::F16, vec![8], &half).unwrap()),
        _ => (name, view),
    });
    let wrong = safetensors::serialize(views, None).unwrap();
    expect![[r#"
        1 of the tensors do not fit the network
          `norm_1/gamma:0`: found F16 [8], wanted F32 [8]"#]]
    .assert_eq(&read(&wrong, 2).unwrap_err().to_string());
}

#[test]
fn weights_that_are_no_finite_numbers_are_refused_by_name() {
    let wrong = file(|tensors| {
        tensors.get_mut("norm_1/gamma:0").unwrap().values[3] = f32::NAN;
        tensors.get_mut("time/embeddings:0").unwrap().values[0] = f32::NEG_INFINITY;
    });
    expect![[r#"
        2 of the tensors do not fit the network
          `time/embeddings:0`: found -inf among its numbers, wanted finite ones
          `norm_1/gamma:0`: found NaN among its numbers, wanted finite ones"#]]
    .assert_eq(&read(&wrong, 2).unwrap_err().to_string());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_spliced_file_is_read_or_refused(splice in splices(), prefixed in any::<bool>()) {
        static WHOLE: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
            let named = |tensors: &mut BTreeMap<String, Weight>| {
                let all = std::mem::take(tensors).into_iter();
                *tensors = all.map(|(name, weight)| (format!("w/{name}"), weight)).collect();
            };
            [file(|_| ()), file(named)]
        });
        let _ = read(&splice.of(&WHOLE[usize::from(prefixed)]), SIZES.patch);
    }
}

fn unified(config: &mut ModelConfig) -> &mut UnifiedConfig {
    config.network.unified_mut().unwrap()
}

#[test]
fn a_text_side_is_left_out_and_named_and_another_network_is_refused() {
    let with_text = ModelConfig { vocab: 3, ..SIZES.config() };
    let (_, left_out) = write(&with_text, &weights(&with_text)).unwrap();
    assert_eq!(left_out, ["token_embed", "token_out.weight"]);
    let refused = |change: fn(&mut ModelConfig)| {
        let mut config = SIZES.config();
        change(&mut config);
        write(&config, &weights(&config)).unwrap_err().to_string()
    };
    assert_eq!(
        refused(|config| config.prediction = Prediction::Clean),
        "`prediction` is clean, Su's network has noise"
    );
    assert_eq!(
        refused(|config| unified(config).backbone.rotary_base = 10_000.0),
        "`backbone.rotary_base` is 10000, Su's network has 1000"
    );
    let heads = BlockConfig::MultiHead(MultiHeadConfig {
        variant: MultiHeadVariant::Plain,
        heads: 1,
        key_heads: 1,
        feed_forward: 4,
    });
    let mut config = SIZES.config();
    unified(&mut config).backbone.block = heads;
    let said = write(&config, &weights(&config)).unwrap_err().to_string();
    assert!(said.contains("`backbone.block`"), "{said}");
    assert_eq!(
        refused(|config| unified(config).patch_convolution = true),
        "`patch_convolution` is true, Su's network has false"
    );
    let growth = vec![1, 2];
    let unet =
        UnetConfig { width: 8, growth, blocks: 1, groups: 4, smallest: 4, attention: vec![] };
    let config = ModelConfig { network: NetworkConfig::Unet(unet), ..SIZES.config() };
    let said = rows(&config).unwrap_err().to_string();
    assert_eq!(said, "`unet` is given, Su's network has none");
}

#[test]
fn red_and_blue_change_places_in_both_maps_and_back() {
    let own = weights(&SIZES.config());
    let mut turned = own.clone();
    swap_red_and_blue(&mut turned);
    let [old, new] = [&own, &turned].map(|weights| &weights["patch_in.weight"].values);
    assert_eq!(new[..8], old[16..24]); // the first pixel's red takes the row of its blue
    assert_eq!(new[8..16], old[8..16]);
    assert_eq!(turned["patch_out.weight"].values[0], own["patch_out.weight"].values[2]);
    swap_red_and_blue(&mut turned);
    assert_eq!(turned, own);
}

//! A tiny JiT, by its PyTorch definition: `tests/reference/jit_golden.py`.

use std::sync::LazyLock;

use burn::prelude::*;
use mm_diffusion::{LossWeight, Sampler};

use super::*;
use crate::goldens::{
    Golden, Memory, Noised, apart, compare_gradients, compare_states, drawn, folder, gradients,
    loaded, open, output,
};

static GOLDEN: LazyLock<Golden> =
    LazyLock::new(|| Golden::read(include_bytes!("../../../../tests/golden/jit_tiny.safetensors")));

const CONFIG: &str = r#"{ "_class_name": "JiTTransformer2DModel", "in_context_start": 1 }"#;

fn imported(weights: &Memory) -> Result<Imported, ImportError> {
    open(folder(CONFIG, weights).path())
}

/// The tiny network under the names of the authors, in a folder of the port that keeps them.
fn tiny() -> Imported {
    let weights = GOLDEN.below("weights.").renamed(|name| format!("transformer.{name}"));
    // The tensors are read later, so the folder stays.
    open(&folder(CONFIG, &weights).keep()).unwrap()
}

/// Splits `attn.qkv` and takes the flat names of the later ports.
fn split(weights: Memory) -> Memory {
    let mut weights = weights.renamed(|name| {
        name.replace("attn.proj", "attn.to_out.0")
            .replace("q_norm", "norm_q")
            .replace("k_norm", "norm_k")
            .replace("adaLN_modulation.1", "adaLN_modulation")
            .replace("final_layer.norm_final", "norm_final")
            .replace("final_layer.linear", "linear_final")
            .replace("final_layer.adaLN_modulation", "adaLN_modulation_final")
    });
    let fused: Vec<String> =
        weights.0.keys().filter(|name| name.contains("attn.qkv")).cloned().collect();
    for name in fused {
        let (mut shape, values) = weights.0.remove(&name).unwrap();
        shape[0] /= 3;
        for (part, values) in ["to_q", "to_k", "to_v"].iter().zip(values.chunks(values.len() / 3)) {
            weights.0.insert(name.replace("qkv", part), (shape.clone(), values.to_vec()));
        }
    }
    weights
}

#[test]
fn a_forward_pass_is_that_of_the_reference() {
    let model = loaded(&mut tiny(), &Device::flex());
    let times: Vec<f64> = GOLDEN.numbers("time").iter().map(|time| f64::from(*time)).collect();
    // Class 5 of five is none.
    let found = output(&model, GOLDEN.tensor("noisy"), &times, &[Some(2), None]);
    let wanted: Tensor<4> = GOLDEN.tensor("output");
    let size = wanted.clone().abs().max().into_scalar::<f32>();
    let found = apart(found, wanted);
    println!("output: {found:.1e} of {size:.3} apart");
    assert!(found < 1e-4, "{found} of {size}");
}

#[test]
fn tokens_behind_every_block_are_those_of_the_reference() {
    let model = loaded(&mut tiny(), &Device::flex());
    let times: Vec<f64> = GOLDEN.numbers("time").iter().map(|time| f64::from(*time)).collect();
    assert_eq!(compare_states(&model, &GOLDEN, &times, &[Some(2), None]), 3);
}

#[test]
fn a_drawing_with_guidance_in_its_interval_is_that_of_the_reference() {
    let model = loaded(&mut tiny(), &Device::flex());
    let guidance = model.generation.guidance;
    assert_eq!((model.generation.sampler, guidance.scale), (Sampler::Heun, 3.0));
    let found = drawn(
        &model,
        GOLDEN.tensor("start"),
        &["2", "0"],
        Sampler::Heun,
        10,
        guidance,
        &mut |_| unreachable!("no noise"),
    );
    let wanted: Tensor<4> = GOLDEN.tensor("drawn");
    let most = wanted.clone().abs().max().into_scalar::<f32>().max(1.0);
    let found = apart(found, wanted);
    println!("drawing: {found:.1e} of {most:.3} apart");
    assert!(found < 1e-4 * most, "{found} of {most}");
}

#[test]
fn loss_and_gradients_of_a_step_are_those_of_the_reference() {
    let mut tiny = tiny();
    let process = LossWeight::Velocity { min_noise: 0.05 };
    let times = GOLDEN.numbers("time").iter().map(|time| f64::from(*time));
    let levels: Vec<_> = times.map(|time| Schedule::Linear.level(time)).collect();
    let noised = Noised {
        images: GOLDEN.tensor("clean"),
        eps: Some(GOLDEN.tensor("noise")),
        weights: levels.iter().map(|level| process.weight(level)).collect(),
        levels,
        classes: vec![Some(2), None],
    };
    let (loss, found) = gradients(&mut tiny, &noised);
    let wanted = GOLDEN.numbers("loss")[0];
    println!("loss: {:.1e} of {wanted:.3} apart", (loss - wanted).abs());
    assert!((loss - wanted).abs() < 1e-4 * wanted, "{loss}, {wanted}");
    let golden = GOLDEN.below("grads.").renamed(|name| format!("transformer.{name}"));
    let compared = compare_gradients(&tiny, &found, golden, 1e-4);
    assert_eq!(compared, tiny.weights.len());
}

#[test]
fn fused_and_split_names_with_any_prefix_give_the_same_weights() {
    let plain = GOLDEN.below("weights.");
    let wanted = open(&folder(CONFIG, &plain).keep()).unwrap().all_weights().unwrap();
    let net = GOLDEN.below("weights.").renamed(|name| format!("net.{name}"));
    for weights in [net, split(plain)] {
        let mut found = open(&folder(CONFIG, &weights).keep()).unwrap();
        assert_eq!(found.all_weights().unwrap(), wanted);
    }
}

#[test]
fn a_pipeline_of_the_port_is_known_by_its_network() {
    let folder = tempfile::tempdir().unwrap();
    // The port names its pipeline by a module and a class.
    let index = r#"{ "_class_name": ["pipeline_jit", "JiTPipeline"] }"#;
    fs_err::write(folder.path().join("model_index.json"), index).unwrap();
    let network = folder.path().join("transformer");
    fs_err::create_dir(&network).unwrap();
    fs_err::write(network.join("config.json"), CONFIG).unwrap();
    GOLDEN.below("weights.").write(&network.join(format!("{STEM}.safetensors")));
    assert!(open(folder.path()).is_ok());
}

#[test]
fn a_file_alone_is_known_by_its_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jit.safetensors");
    GOLDEN.below("weights.").write(&path);
    let why = open(&path).unwrap_err().to_string();
    // Three blocks are no published depth.
    assert!(why.contains("`in_context_start` is absent, wanted the number of a block"), "{why}");
}

#[test]
fn another_table_of_places_and_tensors_that_do_not_fit_are_refused_by_name() {
    let refused = |change: &dyn Fn(&mut Memory)| {
        let mut weights = GOLDEN.below("weights.");
        change(&mut weights);
        imported(&weights).unwrap_err().to_string()
    };
    let why = refused(&|weights| weights.0.get_mut("pos_embed").unwrap().1[3] += 0.5);
    assert!(why.contains("`pos_embed` is 0.5 from the sines"), "{why}");
    let why = refused(&|weights| drop(weights.0.remove("blocks.1.mlp.w3.bias")));
    assert!(why.contains("`blocks.1.mlp.w3.bias` is missing, wanted [16]"), "{why}");
    let why = refused(&|weights| drop(weights.0.insert("more".into(), (vec![1], vec![0.0]))));
    assert!(why.contains("`more` is [1], wanted no tensor of this name"), "{why}");
    let why = refused(&|weights| weights.0.get_mut("in_context_posemb").unwrap().0 = vec![64]);
    assert!(why.contains("`in_context_posemb` is [64], wanted 3 axes"), "{why}");
}

#[test]
fn the_published_networks_have_the_published_sizes() {
    let sizes = |width, depth, heads, inner, bottleneck, context_start| {
        let classes = Classes { count: 1000, none: true, names: vec![] };
        let jit = JitConfig {
            classes,
            width,
            depth,
            heads,
            inner,
            bottleneck,
            context_tokens: 32,
            context_start,
            norm_epsilon: 1e-6,
            min_noise: 0.05,
            noise_scale: 1.0,
        };
        let config = Sizes { jit, patch: 16, side: 16 }.config();
        config.validate().unwrap();
        (config.parameters() as f64 / 1e6).round()
    };
    // 131M, 459M and 953M (Li & He 2025, table 4).
    assert_eq!(sizes(768, 12, 12, 2048, 128, 4), 131.0);
    assert_eq!(sizes(1024, 24, 16, 2730, 128, 8), 459.0);
    assert_eq!(sizes(1280, 32, 16, 3413, 256, 10), 953.0);
}

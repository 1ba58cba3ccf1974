//! A tiny DiT of diffusers: `tests/reference/dit_golden.py`.

use std::path::PathBuf;
use std::sync::LazyLock;

use burn::prelude::*;
use mm_diffusion::GuidanceRule;
use mm_model::{Document, GenerationSession, SamplingMethod, SamplingPlan};
use safetensors::SafeTensors;

use super::*;
use crate::goldens::{
    Golden, Memory, Noised, apart, compare_gradients, compare_states, gradients, loaded, open,
    output, patches_of,
};

const FILE: &[u8] = include_bytes!("../../../../tests/golden/dit_tiny.safetensors");

static GOLDEN: LazyLock<Golden> = LazyLock::new(|| Golden::read(FILE));

/// Writes the folder of the pipeline; `change` is given the weights of the network, and the
/// configurations by file.
fn folder(change: impl FnOnce(&mut Memory, &mut serde_json::Map<String, Value>)) -> PathBuf {
    let (_, header) = SafeTensors::read_metadata(FILE).unwrap();
    let configs = &header.metadata().as_ref().unwrap()["configs"];
    let mut configs: serde_json::Map<String, Value> = serde_json::from_str(configs).unwrap();
    let mut network = GOLDEN.below("transformer.");
    change(&mut network, &mut configs);
    let folder = tempfile::tempdir().unwrap().keep();
    for part in ["transformer", "vae", "scheduler"] {
        fs_err::create_dir(folder.join(part)).unwrap();
    }
    for (file, text) in &configs {
        let file = match file.split_once('.') {
            Some((part @ ("transformer" | "vae" | "scheduler"), rest)) => format!("{part}/{rest}"),
            _ => file.clone(),
        };
        fs_err::write(folder.join(file), text.as_str().unwrap()).unwrap();
    }
    network.write(&folder.join("transformer").join(format!("{STEM}.safetensors")));
    GOLDEN.below("vae.").write(&folder.join("vae").join(format!("{STEM}.safetensors")));
    folder
}

fn tiny() -> Imported {
    open(&folder(|_, _| ())).unwrap()
}

fn timesteps() -> Vec<f64> {
    GOLDEN.numbers("timestep").iter().map(|timestep| f64::from(*timestep)).collect()
}

#[test]
fn a_forward_pass_is_that_of_diffusers_without_the_learned_variance() {
    let model = loaded(&mut tiny(), &Device::flex());
    let found = output(&model, GOLDEN.tensor("noisy"), &timesteps(), &[Some(207), None]);
    let wanted: Tensor<4> = GOLDEN.tensor("output");
    let size = wanted.clone().abs().max().into_scalar::<f32>();
    let found = apart(found, wanted.narrow(1, 0, 4));
    println!("output: {found:.1e} of {size:.3} apart");
    assert!(found < 1e-4, "{found}");
}

#[test]
fn tokens_behind_every_block_are_those_of_diffusers() {
    let model = loaded(&mut tiny(), &Device::flex());
    assert_eq!(compare_states(&model, &GOLDEN, &timesteps(), &[Some(207), None]), 2);
}

#[test]
fn an_image_of_the_pipeline_with_guidance_is_that_of_diffusers() {
    let model = loaded(&mut tiny(), &Device::flex());
    let grid = model.grid().unwrap();
    assert_eq!((grid.rows, grid.cols, grid.channels), (4, 4, 4));
    let prompts = ["207", "1"].map(Document::of_text);
    let session = GenerationSession::before_image(&model, &prompts, grid).unwrap();
    let drawn = |guidance: Guidance| {
        let sampler = session.image(grid, guidance).unwrap();
        let levels = model.config.schedule.sampling_levels(10).unwrap();
        let method = SamplingMethod::Plain(model.generation.sampler);
        let (start, _) = patches_of(GOLDEN.tensor("start"), 2);
        let plan = SamplingPlan { levels: &levels, method };
        sampler.sample(plan, start, &mut || unreachable!("no noise"), &mut |_, _| ())
    };
    let images = model.images_of(drawn(model.generation.guidance), grid).unwrap();
    let wanted: Tensor<4> = GOLDEN.tensor("image");
    let wanted = wanted.permute([0, 2, 3, 1]).into_data().try_to_vec::<f32>().unwrap();
    let found = images.iter().flat_map(|image| image.rgb().to_vec());
    let apart = found.zip(&wanted).map(|(byte, wanted)| (f32::from(byte) - 255.0 * wanted).abs());
    let apart = apart.fold(0.0, f32::max);
    println!("image: {apart:.2} of 255 apart");
    assert!(apart <= 2.0, "{apart} of 255");
    // Guidance of the first three channels leaves the fourth as the class alone makes it.
    let rule: GuidanceRule = "channels:3:4".parse().unwrap();
    let some = drawn(Guidance { rule, ..model.generation.guidance });
    let channel = |x: Tensor<3>, at: usize| {
        x.reshape([2, 16, 4, 4]).narrow(3, at, 1).into_data().try_to_vec::<f32>().unwrap()
    };
    assert_ne!(channel(some, 3), channel(drawn(model.generation.guidance), 3));
}

#[test]
fn loss_and_gradients_of_a_step_are_those_of_diffusers() {
    let mut tiny = tiny();
    let levels = timesteps().into_iter().map(|at| tiny.config.schedule.level(at)).collect();
    let noised = Noised {
        images: GOLDEN.tensor("clean"),
        eps: Some(GOLDEN.tensor("eps")),
        levels,
        weights: vec![1.0; 2],
        classes: vec![Some(207), None],
    };
    let (loss, found) = gradients(&mut tiny, &noised);
    let wanted = GOLDEN.numbers("loss")[0];
    println!("loss: {:.1e} of {wanted:.3} apart", (loss - wanted).abs());
    assert!((loss - wanted).abs() < 1e-4 * wanted, "{loss}, {wanted}");
    let compared = compare_gradients(&tiny, &found, GOLDEN.below("grads."), 1e-3);
    assert_eq!(compared, 34);
}

#[test]
fn embeddings_that_all_blocks_share_are_kept_once() {
    let network = |imported: &Imported| match imported.config.network.vit() {
        Some(VitConfig::Dit(dit)) => dit.clone(),
        other => panic!("{other:?}"),
    };
    assert!(network(&tiny()).own_embeddings);
    let mut shared = open(&folder(|weights, _| {
        for part in PARTS {
            let name = |block| format!("transformer_blocks.{block}.norm1.emb.{part}");
            let first = weights.0[&name(0)].clone();
            weights.0.insert(name(1), first);
        }
    }))
    .unwrap();
    assert!(!network(&shared).own_embeddings);
    let names = shared.all_weights().unwrap();
    assert!(
        names.contains_key("embeds.0.class_embed") && !names.contains_key("embeds.1.class_embed")
    );
    assert!(names.keys().any(|name| name.starts_with("codec.decoder.")));
}

#[test]
fn settings_that_would_change_the_computation_are_refused_by_name() {
    let refused = |file: &str, field: &str, value: Value| {
        let folder = folder(|_, configs| {
            let mut config: Value = serde_json::from_str(configs[file].as_str().unwrap()).unwrap();
            config[field] = value;
            configs.insert(file.to_owned(), config.to_string().into());
        });
        open(&folder).unwrap_err().to_string()
    };
    let scheduler = "scheduler.scheduler_config.json";
    let why = refused(scheduler, "prediction_type", "v_prediction".into());
    assert!(why.ends_with("`prediction_type` is \"v_prediction\", wanted epsilon"), "{why}");
    let why = refused(scheduler, "beta_end", 0.03.into());
    assert!(why.ends_with("`beta_end` is 0.03, wanted 0.02"), "{why}");
    let why = refused("transformer.config.json", "activation_fn", "geglu".into());
    assert!(why.ends_with("`activation_fn` is \"geglu\", wanted gelu-approximate"), "{why}");
    let why = refused("transformer.config.json", "num_layers", 3.into());
    assert!(why.contains("`transformer_blocks.2."), "{why}");
}

//! The neighbours of the two plain blocks: each learns, each gradient is right, bad recipes are
//! named.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;
use mm_data::DataSet;
use mm_model::parameters::{Weights, weights_of, with_weights};
use mm_model::{Document, GenerateOptions, LoadedModel, Model};
use mm_patch::{Grid, Image};
use mm_train::batch::Batches;
use mm_train::{Recipe, Training};

use crate::common::{TINY, device, tiny};

/// The tiny recipe with another network; most read and draw, a U-Net draws alone.
fn recipe(network: &str) -> Recipe {
    let block = |variant| {
        format!(
            "{{ kind = \"multi-head\", variant = \"{variant}\", heads = 2, key_heads = 1, feed_forward = 64 }}"
        )
    };
    let with = |changes: &[(&str, &str)]| tiny(changes);
    match network {
        "uvit" => with(&[("model.backbone.depth", "3"), ("model.backbone.block", &block("uvit"))]),
        "dit" => with(&[("model.backbone.block", &block("dit"))]),
        "convolution" => with(&[("model.patch_convolution", "true")]),
        "unet" => Recipe::from_toml(&unet_text()).unwrap(),
        other => panic!("no network {other}"),
    }
}

fn unet_text() -> String {
    let start = TINY.find("[model.backbone]").unwrap();
    let end = TINY.find("[loss]").unwrap();
    let unet = "[model.unet]\nwidth = 8\ngrowth = [1, 2]\nblocks = 1\ngroups = 4\nsmallest = 4\nattention = [1]\n\n";
    [&TINY[..start], unet, &TINY[end..]]
        .concat()
        .replace("draw = [0.5, 0.5]", "draw = [1.0, 1.0]")
        .replace("read = [0.5, 0.5]", "read = [0.0, 0.0]")
        .replace("caption_drop = 0.1", "caption_drop = 1.0")
        .replace("patch_bias = true", "patch_bias = false")
        .replace("patch_pos_embed = 4", "patch_pos_embed = 0")
        .replace("text = 1.0", "text = 0.0")
        .replace("scale = 2.0, from", "scale = 1.0, from")
}

const NETWORKS: [&str; 4] = ["uvit", "dit", "convolution", "unet"];

#[test]
fn every_network_learns_a_batch_with_every_prediction() {
    let weights = [
        ("clean", r#"{ kind = "velocity", min_noise = 0.05 }"#),
        ("noise", r#"{ kind = "one" }"#),
        ("velocity", r#"{ kind = "one" }"#),
    ];
    for network in NETWORKS {
        for (prediction, weight) in weights {
            let mut recipe = recipe(network);
            for (key, value) in [
                ("model.prediction", prediction),
                ("loss.weight", weight),
                ("run.steps", "30"),
                ("optimizer.lr", "0.01"),
            ] {
                recipe = recipe.with(key, value).unwrap();
            }
            let mut training = Training::start(recipe.clone(), &device()).unwrap();
            let data = DataSet::open(&recipe.data, recipe.image).unwrap();
            let tokenizer = training.tokenizer.clone();
            let batch = Batches::new(&recipe, &data, &tokenizer).batch(0).unwrap();
            let losses: Vec<f64> = (0..30)
                .map(|_| training.step(&batch).unwrap().losses.get("image").unwrap())
                .collect();
            let (first, last) = (losses[0], losses[29]);
            assert!(last < 0.7 * first, "{network}, {prediction}: {first} -> {last}");
        }
    }
}

/// Gradients by the path of their weight.
struct Collect<'a> {
    grads: &'a GradientsParams,
    path: Vec<String>,
    found: BTreeMap<String, Vec<f32>>,
}

impl ModuleVisitor for Collect<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.get::<D>(param.id) {
            self.found.insert(self.path.join("."), grad.into_data().try_to_vec::<f32>().unwrap());
        }
    }
}

/// Moves every weight a little, so that none is zero.
fn shaken(mut weights: Weights) -> Weights {
    let numbers = weights.values_mut().flat_map(|weight| &mut weight.values);
    for (at, value) in numbers.enumerate() {
        *value += 0.1 * (at as f32 * 1.7).sin();
    }
    weights
}

#[test]
fn the_largest_gradient_of_every_weight_is_that_of_finite_differences() {
    for network in NETWORKS {
        let recipe = recipe(network);
        let training = Training::start(recipe.clone(), &device()).unwrap();
        let data = DataSet::open(&recipe.data, recipe.image).unwrap();
        let host = Batches::new(&recipe, &data, &training.tokenizer).batch(0).unwrap().remove(0);
        let batch = host.to_device(&training.config, &device());
        let fresh = |device: &Device| Model::new(&training.config, 1, device).unwrap();
        let plain = fresh(&device());
        let weights = shaken(weights_of(&plain));
        let loss = |model: &Model| {
            model.losses(&batch, training.config.prediction).total(|_| 1.0).unwrap()
        };
        let tracked = with_weights(fresh(&device().autodiff()), &weights);
        let grads = GradientsParams::from_grads(loss(&tracked).backward(), &tracked);
        let mut collect = Collect { grads: &grads, path: vec![], found: BTreeMap::new() };
        tracked.visit(&mut collect);
        // A U-Net has no words, and text alone has no patches.
        assert!(collect.found.len() >= weights.len() - 1, "{network}");
        for (name, grad) in collect.found {
            let by_size = |a: &usize, b: &usize| grad[*a].abs().total_cmp(&grad[*b].abs());
            let at = (0..grad.len()).max_by(by_size).unwrap();
            let at_distance = |by: f32| {
                let mut moved = weights.clone();
                moved.get_mut(&name).unwrap().values[at] += by;
                f64::from(loss(&with_weights(plain.clone(), &moved)).into_scalar::<f32>())
            };
            let step = 4e-3;
            let found = (at_distance(step) - at_distance(-step)) / f64::from(2.0 * step);
            let wanted = f64::from(grad[at]);
            let apart = (found - wanted).abs();
            assert!(apart < 0.03 * wanted.abs() + 2e-3, "{network}, {name}: {wanted}, {found}");
        }
    }
}

const GRID: Grid = Grid::new(2, 2, 8);

fn untrained(network: &str) -> (Recipe, LoadedModel) {
    let recipe = recipe(network);
    let model = Training::start(recipe.clone(), &device()).unwrap().averaged();
    (recipe, model)
}

#[test]
fn a_seed_fixes_what_every_network_draws() {
    for network in NETWORKS {
        let (_, model) = untrained(network);
        let drawn = |seed| {
            model
                .draw(&[Document::default(), Document::default()], GRID, &model.options(seed))
                .unwrap()
        };
        assert_eq!(drawn(1), drawn(1), "{network}");
        assert_ne!(drawn(1), drawn(2), "{network}");
    }
}

#[test]
fn every_network_is_saved_and_loaded_bit_for_bit() {
    for network in NETWORKS {
        let (_, model) = untrained(network);
        let folder = tempfile::tempdir().unwrap();
        model.save(folder.path()).unwrap();
        let loaded = LoadedModel::load(folder.path(), &device()).unwrap();
        assert_eq!(loaded.config, model.config);
        assert_eq!(weights_of(&loaded.model), weights_of(&model.model));
    }
}

#[test]
fn a_unet_is_asked_for_nothing_but_drawing() {
    let (_, model) = untrained("unet");
    let options = model.options(1);
    let wanted =
        "this network is a U-Net, which knows no text and takes no prompt; it can only draw";
    let image = Image::filled(16, 16, [0; 3]);
    let errors = [
        model.draw(&[Document::of_text("red K on white")], GRID, &options).unwrap_err(),
        model.draw(&[Document::of_image(image.clone())], GRID, &options).unwrap_err(),
        model.read(&[Document::of_image(image)], &options).unwrap_err(),
        model.generate(&Document::default(), &GenerateOptions::default(), &mut |_| ()).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.to_string(), wanted);
    }
}

#[test]
fn a_unet_recipe_with_text_is_refused_by_the_field() {
    let check = |from: &str, to: &str, wanted: &str| {
        let text = unet_text();
        assert!(text.contains(from));
        let error = Recipe::from_toml(&text.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    };
    check("read = [0.0, 0.0]", "read = [0.5, 0.0]", "shares of only `draw`, since a `unet` reads");
    check("caption_drop = 1.0", "caption_drop = 0.9", "1, since a `unet` reads no captions");
    check("text = 0.0", "text = 1.0", "0, since a `unet` writes no text");
    let adapters = "ema = 0.99\nlora = { rank = 2, alpha = 1.0 }";
    check("ema = 0.99", adapters, "0, since a `unet` has no blocks to adapt");
    check("scale = 1.0, from", "scale = 2.0, from", "1, since a `unet` knows no prompts");
    check("groups = 4", "groups = 5", "`unet.groups` is 5, wanted a divisor of `unet.width`");
    check("[model.unet]", "[model.unett]", "unett");
}

#[test]
fn every_network_learns_the_same_from_blocks_that_are_computed_again() {
    let again = |recipe: Recipe| recipe.with("run.activation_checkpointing", "true").unwrap();
    let adapted = |recipe: Recipe| recipe.with("optimizer.lora", "{ rank = 2, alpha = 4.0 }");
    let short = |recipe: Recipe| recipe.with("run.precision", "bf16");
    let mut recipes = NETWORKS.map(recipe).to_vec();
    recipes.push(adapted(recipe("dit")).unwrap());
    if device().supports_dtype(burn::tensor::FloatDType::BF16) {
        recipes.push(short(adapted(recipe("convolution")).unwrap()).unwrap());
    }
    for recipe in recipes {
        let [kept, computed] = [recipe.clone(), again(recipe)].map(|recipe| losses_of(recipe, 3));
        for (kept, computed) in kept.iter().zip(&computed) {
            assert!((kept / computed - 1.0).abs() < 1e-5, "{kept} and {computed}");
        }
    }
}

#[test]
fn a_unet_and_a_codec_learn_nearly_the_same_from_convolutions_in_16_bits() {
    if !device().supports_dtype(burn::tensor::FloatDType::BF16) {
        return;
    }
    let codec = Recipe::from_toml(include_str!("../crates/mm-cli/recipes/codec-kl.toml")).unwrap();
    let codec = codec.with("run.batch", "2").unwrap();
    for recipe in [recipe("unet"), codec] {
        let narrow = recipe.with("run.precision", "bf16").unwrap();
        let [wide, narrow] = [recipe, narrow].map(|recipe| losses_of(recipe, 10));
        assert!(wide != narrow, "nothing was multiplied in 16 bits");
        for (wide, narrow) in wide.iter().zip(&narrow) {
            assert!((wide / narrow - 1.0).abs() < 0.02, "{wide} and {narrow}");
        }
    }
}

/// The losses of the first steps of a run.
fn losses_of(recipe: Recipe, steps: u64) -> Vec<f64> {
    let mut training = Training::start(recipe.clone(), &device()).unwrap();
    let (data, tokenizer) = (training.data.clone(), training.tokenizer.clone());
    let mut batches = Batches::new(&recipe, &data, &tokenizer);
    (0..steps).map(|step| training.step(&batches.batch(step).unwrap()).unwrap().loss).collect()
}

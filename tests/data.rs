//! Mixed data: ranks, packing, text alone, images of several sizes.

use std::collections::BTreeMap;

use mm_data::{DataConfig, DataSet, Numbered, Split};
use mm_eval::{held_out_losses, sample_grid};
use mm_model::{Document, Segment};
use mm_patch::Image;
use mm_train::batch::{Batches, collator};
use mm_train::{BestBy, Recipe, Training, evaluate_held_out};
use tempfile::TempDir;

use crate::common::{device, tiny};

/// Lines of text of very different lengths.
fn texts(folder: &TempDir) -> String {
    let path = folder.path().join("texts.jsonl");
    let line = |at: usize| {
        let text = "every word is a place of its own ".repeat(1 + at * at % 7);
        format!("{}\n", serde_json::json!({ "text": format!("{at}: {text}") }))
    };
    fs_err::write(&path, (0..200).map(line).collect::<String>()).unwrap();
    path.display().to_string()
}

/// Emoji, glyphs and texts.
fn mixed(folder: &TempDir, changes: &[(&str, &str)]) -> Recipe {
    let mut recipe = tiny(changes);
    let config = format!(
        "source = 'mixture'
         [[parts]]
         weight = 2
         data = {{ source = 'emoji', limit = 60 }}
         [[parts]]
         weight = 1
         direction = 'read'
         data = {{ source = 'glyphs', letters = [1, 1] }}
         [[parts]]
         weight = 1
         data = {{ source = 'documents', files = ['{}'], longest = 400 }}",
        texts(folder)
    );
    recipe.data = toml::from_str(&config).unwrap();
    recipe.validate().unwrap();
    recipe
}

fn open(recipe: &Recipe) -> (Training, DataSet) {
    let training = Training::start(recipe.clone(), &device()).unwrap();
    let data = DataSet::open(&recipe.data, recipe.image).unwrap();
    (training, data)
}

fn by_index(documents: Vec<Numbered>) -> BTreeMap<u64, Document> {
    documents.into_iter().map(|one| (one.index, one.document)).collect()
}

#[test]
fn the_shares_of_all_ranks_are_the_documents_of_one_and_none_twice() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = mixed(&folder, &[("run.batch", "13")]);
    let (training, data) = open(&recipe);
    let new = || Batches::new(&recipe, &data, &training.tokenizer);
    let steps = [700, 3, 4, 1_000_000];
    let mut one = new();
    let whole = steps.map(|step| by_index(one.documents(step).unwrap()));
    for ranks in [1, 2, 5, 13] {
        for (step, whole) in steps.iter().zip(&whole).rev() {
            let mut union = BTreeMap::new();
            for rank in 0..ranks {
                let share = new().of_rank(rank, ranks).unwrap().documents(*step).unwrap();
                for Numbered { document, index } in share {
                    assert_eq!(union.insert(index, document), None, "index {index} twice");
                }
            }
            assert_eq!(&union, whole, "step {step} of {ranks} ranks");
        }
    }
    let error = new().of_rank(0, 14).unwrap_err().to_string();
    assert!(error.starts_with("rank 0 of 14, wanted"), "{error}");
    assert!(new().of_rank(2, 2).is_err());
}

#[test]
fn a_mixture_keeps_its_weights_and_directions_and_shows_every_document_of_an_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let recipe =
        mixed(&folder, &[("run.batch", "100"), ("mix.draw", "[1, 1]"), ("mix.read", "[0, 0]")]);
    let (training, data) = open(&recipe);
    let mut batches = Batches::new(&recipe, &data, &training.tokenizer);
    let mut counts = BTreeMap::new();
    let mut seen = BTreeMap::new();
    for step in 0..10 {
        for one in batches.documents(step).unwrap() {
            let kind = match one.document.segments.as_slice() {
                [Segment::Text { target: false, .. }, Segment::Image { target: true, .. }] => {
                    "drawn emoji"
                }
                [Segment::Image { target: false, .. }, Segment::Text { target: true, .. }] => {
                    "read glyph"
                }
                [Segment::Text { text, target: true }] => {
                    *seen.entry(text.clone()).or_insert(0) += 1;
                    "text"
                }
                other => panic!("{other:?}"),
            };
            *counts.entry(kind).or_insert(0) += 1;
        }
    }
    assert_eq!(counts, BTreeMap::from([("drawn emoji", 500), ("read glyph", 250), ("text", 250)]));
    let epochs: Vec<u32> = seen.values().copied().collect();
    assert!(epochs.iter().all(|times| (1..=2).contains(times)), "{epochs:?}");
}

#[test]
fn ninety_five_of_a_hundred_places_hold_tokens_of_mixed_documents() {
    let folder = tempfile::tempdir().unwrap();
    for count in ["1", "2"] {
        let changes = [("run.batch", "64"), ("run.pack_len", "256"), ("run.micro_batches", count)];
        let recipe = mixed(&folder, &changes);
        let (training, data) = open(&recipe);
        let mut batches = Batches::new(&recipe, &data, &training.tokenizer);
        let (mut real, mut places) = (0, 0);
        for step in 0..20 {
            for batch in batches.batch(step).unwrap() {
                real += batch.real_tokens();
                places += batch.padded_tokens();
            }
        }
        let share = real as f64 / places as f64;
        assert!(share >= 0.95, "{real} of {places} places: {share:.3}");
    }
}

#[test]
fn text_alone_is_trained_and_measured_in_bits_a_byte() {
    let folder = tempfile::tempdir().unwrap();
    let mut recipe = tiny(&[("run.batch", "8"), ("run.pack_len", "128"), ("run.steps", "40")]);
    let config = format!("source = 'documents'\nfiles = ['{}']\nlongest = 100", texts(&folder));
    recipe.data = toml::from_str(&config).unwrap();
    let (mut training, data) = open(&recipe);
    let measure = |training: &Training| {
        let model = training.averaged();
        let collator = collator(&recipe, &model.config, &model.tokenizer, model.model.encoder());
        let reduction = recipe.loss.reduction;
        held_out_losses(&model, &collator, reduction, &data, Split::HeldOut, 30).unwrap()
    };
    let before = measure(&training);
    let tokenizer = training.tokenizer.clone();
    let mut batches = Batches::new(&recipe, &data, &tokenizer);
    for step in 0..40 {
        let report = training.step(&batches.batch(step).unwrap()).unwrap();
        assert!(
            report.loss.is_finite() && report.losses.get("image").is_none() && report.images == 0
        );
    }
    let after = measure(&training);
    let [first, last] = [before, after].map(|losses| losses.bits_per_byte.unwrap());
    assert!(last < 0.8 * first, "{before:?} -> {after:?}");
    assert!(first < 16.0 && before.image.is_none());
    let measured = evaluate_held_out(&training).unwrap();
    assert_eq!(Some(measured.loss), measured.losses.text);
    training.recipe.run.best = BestBy::Image;
    let refused = evaluate_held_out(&training).unwrap_err().to_string();
    assert!(refused.contains("wanted a term that the held-out documents have"), "{refused}");
    let (_, text) =
        sample_grid(&training.averaged(), &data, recipe.sample.count, recipe.seed).unwrap();
    assert!(text.contains("beginning -> how the model goes on:"), "{text}");
}

#[test]
fn images_of_several_sizes_share_a_batch_and_rows_without_changing_the_loss() {
    let folder = tempfile::tempdir().unwrap();
    for (at, [width, height]) in [[32, 32], [64, 32], [16, 60], [9, 90]].into_iter().enumerate() {
        let image = Image::filled(width, height, [40 * at as u8; 3]).encode_png();
        fs_err::write(folder.path().join(format!("{at}.png")), image).unwrap();
        fs_err::write(folder.path().join(format!("{at}.txt")), "plain").unwrap();
    }
    let config = format!("source = 'folder'\nfit = 'aspect'\npath = '{}'", folder.path().display());
    let config: DataConfig = toml::from_str(&config).unwrap();
    let found = ["0", "64", "300"].map(|row| {
        let mut recipe =
            tiny(&[("run.pack_len", row), ("run.micro_batches", "1"), ("run.batch", "8")]);
        recipe.data = config.clone();
        let (training, data) = open(&recipe);
        let batch = Batches::new(&recipe, &data, &training.tokenizer).batch(0).unwrap().remove(0);
        let model = training.averaged().model;
        let tensors = batch.to_device(&training.config, &device());
        let losses = model.losses(&tensors, training.config.prediction);
        ["text", "image"].map(|name| losses.value(name).unwrap().into_scalar::<f32>())
    });
    for (apart, packed) in found[0].iter().zip(found[1]).chain(found[0].iter().zip(found[2])) {
        assert!((apart - packed).abs() < 1e-4 * apart.abs(), "{apart} and {packed}");
    }
}

#[test]
fn images_without_a_word_are_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    for at in 0..4 {
        let image = Image::filled(32, 32, [60 * at; 3]).encode_png();
        fs_err::write(folder.path().join(format!("{at}.png")), image).unwrap();
    }
    let changes = [("mix.read", "[0, 0]"), ("run.batch", "4"), ("run.steps", "3")];
    let mut recipe = tiny(&changes);
    let cache = folder.path().join("pixels");
    let config = format!(
        "source = 'folder'\ncaptions = 'none'\npath = '{}'\ncache = '{}'",
        folder.path().display(),
        cache.display()
    );
    recipe.data = toml::from_str(&config).unwrap();
    let (mut training, data) = open(&recipe);
    let tokenizer = training.tokenizer.clone();
    let mut batches = Batches::new(&recipe, &data, &tokenizer);
    let first = batches.documents(0).unwrap();
    assert_eq!(first, batches.documents(0).unwrap(), "decoded and out of the cache");
    for step in 0..3 {
        assert!(training.step(&batches.batch(step).unwrap()).unwrap().loss.is_finite());
    }
    assert!(fs_err::metadata(&cache).unwrap().len() > 4 * 3 * 256);
}

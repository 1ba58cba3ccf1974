//! Codes that are masked: trained, shown and drawn.

use std::sync::Mutex;

use burn::prelude::*;
use mm_diffusion::{ForwardProcess, Guidance, Prediction};
use mm_patch::Image;
use mm_text::token_surprises;

use crate::generate::constrain::Unconstrained;
use crate::generate::pass::tests::Recorder;
use crate::generate::tests::{GRID, assert_close, coded, loaded};
use crate::{
    Collator, Document, GenerateOptions, GenerationSession, HostBatch, IMAGE_LOSS, LoadedModel,
    ModelConfig, NetworkConfig, Order, Segment,
};

/// A transformer over words, 1200 codes, and one token for those that are masked.
fn masked() -> ModelConfig {
    let mut config = coded();
    if let NetworkConfig::Coded(coded) = &mut config.network {
        coded.order = Order::Masked;
    }
    config
}

fn image() -> Image {
    Image::new(12, 8, (0..12 * 8 * 3).map(|at| (at * 7 % 256) as u8).collect()).unwrap()
}

/// A word, and an image that is drawn.
fn document() -> Document {
    let segments = vec![Segment::context_text("a"), Segment::target_image(image())];
    Document { segments }
}

/// Makes a training batch of step `step`.
fn batch(model: &LoadedModel, documents: &[Document], step: u64) -> HostBatch {
    let collator = Collator {
        tokenizer: &model.tokenizer,
        config: &model.config,
        process: ForwardProcess::uniform(model.config.schedule),
        pack_len: 0,
        seed: 3,
        encoder: None,
    };
    collator.batch(documents.iter().cloned().zip(0..), step).unwrap()
}

fn ids_of(ids: Tensor<1, Int>) -> Vec<i64> {
    ids.into_data().convert::<i64>().try_to_vec::<i64>().unwrap()
}

#[test]
fn what_is_masked_is_hidden_in_training_and_alone_a_target() {
    let model = loaded(masked());
    let network = model.model.coded().unwrap();
    let mask = i64::from(network.mask().unwrap());
    let mut shown = Document::of_image(image());
    shown.segments.push(Segment::target_text("b"));
    let mut masks = vec![];
    for step in 0..8 {
        let batch = batch(&model, &[document(), shown.clone()], step);
        let batch = batch.to_device(&model.config, &Device::flex());
        let (inputs, codes) = network.with_codes(&batch.inputs);
        let (ids, codes) = (ids_of(inputs.ids), ids_of(codes.unwrap()));
        let target = batch.targets.image.unwrap();
        let (places, items) = (ids_of(target.tokens), ids_of(target.items));
        let hidden: Vec<i64> = (0..).zip(&ids).filter(|of| *of.1 == mask).map(|of| of.0).collect();
        assert_eq!(places, hidden);
        assert!((5..=6).contains(&hidden.len()), "seven tenths of 6 or more: {hidden:?}");
        // The first image stands behind [BEGIN], the word, its size and [IMG].
        assert_eq!(items, hidden.iter().map(|place| place - 5).collect::<Vec<_>>());
        for (item, code) in codes[..6].iter().enumerate() {
            let place = 5 + item;
            assert!(ids[place] == *code || hidden.contains(&(place as i64)));
        }
        let second = ids.iter().skip(ids.len() / 2).filter(|id| codes.contains(id)).count();
        assert_eq!(second, 6, "what is shown is shown whole");
        masks.push(hidden);
    }
    masks.dedup();
    assert!(masks.len() > 2, "masks are drawn anew at every step");
}

#[test]
fn the_loss_of_a_masked_code_is_its_cross_entropy_where_it_stands() {
    let model = loaded(masked());
    let network = model.model.coded().unwrap();
    let batch = batch(&model, &[document()], 0).to_device(&model.config, &Device::flex());
    let losses = model.model.losses(&batch, Prediction::Clean);
    let target = batch.targets.image.as_ref().unwrap();
    let hidden = model.model.hidden(&batch.inputs).select(0, target.tokens.clone());
    let codes = network.with_codes(&batch.inputs).1.unwrap().select(0, target.items.clone());
    let wanted = token_surprises(network.all_logits(hidden), codes).mean();
    let found = losses.value(IMAGE_LOSS).unwrap();
    assert!((found - wanted).abs().into_scalar::<f32>() < 1e-5);
    assert!(model.model.code_surprises(&batch).is_none(), "there is no order to sum over");
}

#[test]
fn masked_codes_behind_the_cache_are_predicted_as_in_a_whole_row() {
    let model = loaded(masked());
    let network = model.model.coded().unwrap();
    let batch = batch(&model, &[document()], 0).to_device(&model.config, &Device::flex());
    let ids = ids_of(network.coded(&batch.inputs).ids);
    let ids: Vec<u32> = ids[5..11].iter().map(|id| *id as u32).collect();
    let hidden = model.model.hidden(&batch.inputs).narrow(0, 5, 6);
    let words = [Document::of_text("a")];
    let mut session = GenerationSession::before_image(&model, &words, GRID).unwrap();
    let places = session.place_image(network.layout(), GRID);
    let found = session.image_output(&[ids], &places, GRID);
    assert_close(found, network.code_logits(hidden), &model.config);
}

#[test]
fn masked_codes_are_drawn_by_their_seed_with_one_call_a_step_and_one_to_append() {
    let model = loaded(masked());
    let options =
        |seed, steps| GenerateOptions { guidance: Guidance::OFF, steps, ..model.options(seed) };
    let prompt = Document::of_text("b");
    for (steps, calls) in [(1, 1), (3, 3), (6, 6), (50, 6)] {
        let recorder = Recorder { model: &model, made: Mutex::default() };
        let options = options(1, steps);
        let drawn =
            model.draw_through(&recorder, &prompt, 2, GRID, &options, &mut Unconstrained).unwrap();
        assert_eq!(
            recorder.made.into_inner().unwrap().len(),
            calls + 1,
            "{steps} steps of 6 codes"
        );
        assert_eq!(drawn, model.draw_many(&prompt, 2, GRID, &options).unwrap());
    }
    let drawn = |seed| model.draw_many(&prompt, 1, GRID, &options(seed, 3)).unwrap();
    assert!((2..9).any(|seed| drawn(seed) != drawn(1)), "the seed decides");
    let many = model.draw_many(&prompt, 3, GRID, &options(1, 3)).unwrap();
    assert_eq!(many[1..2], drawn(2)[..], "a row is drawn from its own stream");
}

//! A row's bits are its own: whatever else is in the pass, however it is padded, wherever a prompt
//! was cut.

use std::sync::Mutex;

use burn::prelude::*;
use mm_backbone::{BlockConfig, MultiHeadConfig, MultiHeadVariant};
use mm_diffusion::Guidance;
use mm_patch::Image;

use super::{JoinedPrefixes, Joining, Network, NetworkAnswer, NetworkCall, Prefix};
use crate::generate::tests::{GRID, configs, loaded, unet};
use crate::random::{Purpose, normals, stream};
use crate::{
    Document, GenerationSession, KnownTokens, LoadedModel, ModelConfig, Segment, Sequence,
};

/// Runs every call alone, and keeps it with its answer.
#[derive(Debug)]
pub(in crate::generate) struct Recorder<'a> {
    pub model: &'a LoadedModel,
    pub made: Mutex<Vec<(NetworkCall, NetworkAnswer)>>,
}

impl Network for Recorder<'_> {
    fn call(&self, call: NetworkCall) -> NetworkAnswer {
        let answer = self.model.pass(&[&call], &mut JoinedPrefixes::default()).remove(0);
        self.made.lock().unwrap().push((call, answer.clone()));
        answer
    }

    fn prompt(&self, prompt: &Sequence) -> Prefix {
        self.model.prefill(prompt, None)
    }
}

/// Wide enough that products are summed in chunks, with fewer outputs than are summed alike in
/// small and large products.
fn wide() -> ModelConfig {
    let mut config = configs().remove(1);
    let backbone = &mut config.network.unified_mut().unwrap().backbone;
    backbone.width = 544;
    backbone.block = BlockConfig::MultiHead(MultiHeadConfig {
        variant: MultiHeadVariant::Uvit,
        heads: 4,
        key_heads: 2,
        feed_forward: 600,
    });
    config
}

fn noisy(seed: u64, rows: usize) -> Tensor<3> {
    let count = rows * GRID.tokens() * GRID.patch_dim();
    let numbers = normals(&mut stream(seed, Purpose::Noise, 0, 0), count);
    let shape = [rows, GRID.tokens(), GRID.patch_dim()];
    Tensor::from_data(TensorData::new(numbers, shape), &Device::flex())
}

/// Makes the calls of one document: two tokens, two denoising steps, two guided ones of two rows, a
/// finished image.
fn record(recorder: &Recorder<'_>, index: u64, text: &str) {
    let model = recorder.model;
    let prompt = model.drawing_prompt(&Document::of_text(text), GRID).unwrap();
    let mut session = GenerationSession::through(recorder, model, &prompt, 1);
    if model.model.knows_text() {
        session.push_tokens(&[97 + index as u32 % 2]);
        session.push_tokens(&[98]);
    }
    let guidance = Guidance { scale: 2.0, ..Guidance::OFF };
    let levels = [0.25 + 0.01 * index as f64, 0.75].map(|at| model.config.schedule.level(at));
    for level in &levels {
        session.denoise(noisy(index, 1), GRID, level);
        session.image(GRID, guidance).unwrap().denoise(noisy(index, 1), level);
    }
    session.push_image(noisy(index, 1), GRID);
}

fn assert_same(found: &NetworkAnswer, wanted: &NetworkAnswer, what: &str) {
    assert_eq!(found.output.to_data(), wanted.output.to_data(), "output, {what}");
    assert_eq!(found.new.len(), wanted.new.len(), "blocks, {what}");
    for (found, wanted) in found.new.iter().zip(&wanted.new) {
        assert_eq!(found.keys.to_data(), wanted.keys.to_data(), "keys, {what}");
        assert_eq!(found.values.to_data(), wanted.values.to_data(), "values, {what}");
    }
    let logits = |answer: &NetworkAnswer| answer.logits.as_ref().map(Tensor::to_data);
    if wanted.logits.is_some() {
        assert_eq!(logits(found), logits(wanted), "logits, {what}");
    }
}

#[test]
fn calls_that_share_a_pass_get_the_bits_that_each_gets_alone() {
    let long = "ab ".repeat(280);
    let texts = ["a", "", "b b b", "abab a longer prompt", "a", &long, "b", "aaaa", "b aa", &long];
    for config in [configs(), vec![unet(), wide()]].concat() {
        let what = format!("{:?}", config.network);
        let model = loaded(config);
        let recorder = Recorder { model: &model, made: Mutex::default() };
        for (index, text) in (0..).zip(texts) {
            let text = if model.model.knows_text() { text } else { "" };
            record(&recorder, index, text);
        }
        let mut left: Vec<_> = recorder.made.into_inner().unwrap();
        let mut shared = 0;
        while !left.is_empty() {
            let (first, _) = left[0].clone();
            let joins = |call: &NetworkCall| first.joins(call, model.joining());
            let (group, rest): (Vec<_>, Vec<_>) =
                left.into_iter().enumerate().partition(|(at, made)| *at == 0 || joins(&made.0));
            left = rest.into_iter().map(|(_, made)| made).collect();
            let mut group: Vec<_> = group.into_iter().map(|(_, made)| made).collect();
            for count in [2, 3, group.len()].into_iter().filter(|&count| count <= group.len()) {
                let some = &group[..count];
                let calls: Vec<&NetworkCall> = some.iter().map(|(call, _)| call).collect();
                let found = model.pass(&calls, &mut JoinedPrefixes::default());
                for (at, (found, (_, wanted))) in found.iter().zip(some).enumerate() {
                    assert_same(found, wanted, &format!("call {at} of {count}: {what}"));
                }
                shared += 1;
            }
            group.reverse();
            let calls: Vec<&NetworkCall> = group.iter().map(|(call, _)| call).collect();
            for (found, (_, wanted)) in
                model.pass(&calls, &mut JoinedPrefixes::default()).iter().zip(&group)
            {
                assert_same(found, wanted, &format!("in reverse order: {what}"));
            }
        }
        assert!(shared >= 6, "calls of {what} hardly ever join: {shared} passes");
    }
}

#[test]
fn a_joined_prefix_is_kept_for_the_calls_that_follow_it() {
    let model = loaded(configs().remove(0));
    let recorder = Recorder { model: &model, made: Mutex::default() };
    let prompts = ["a", "bb"].map(|text| {
        let prompt = model.drawing_prompt(&Document::of_text(text), GRID).unwrap();
        GenerationSession::through(&recorder, &model, &prompt, 1)
    });
    let mut joined = JoinedPrefixes::default();
    for at in [0.25, 0.5, 0.75] {
        let level = model.config.schedule.level(at);
        let wanted = prompts.each_ref().map(|session| session.denoise(noisy(1, 1), GRID, &level));
        let made = std::mem::take(&mut *recorder.made.lock().unwrap());
        let calls: Vec<&NetworkCall> = made.iter().map(|(call, _)| call).collect();
        for (found, (_, wanted)) in model.pass(&calls, &mut joined).iter().zip(&made) {
            assert_same(found, wanted, "kept");
        }
        assert_eq!(wanted[0].dims(), [1, GRID.tokens(), GRID.patch_dim()]);
    }
    assert_eq!(joined.kept.len(), 1);
}

#[test]
fn a_prompt_that_goes_on_from_a_known_one_has_the_bits_of_one_computed_whole() {
    let image = |red: u8| {
        let mut image = Image::filled(12, 8, [red, 10, 90]);
        image.set_pixel(3, 3, [0, 255, red]);
        Segment::context_image(image)
    };
    let words = |text: &str| Segment::context_text(text);
    let long = "ab ba ".repeat(120);
    let whole = [words("ab a"), image(200), words("b b a"), image(9), words(&long), image(7)];
    for config in [configs(), vec![wide()]].concat() {
        let model = loaded(config);
        if model.joining() != Joining::Any {
            continue;
        }
        let document = Document { segments: whole.to_vec() };
        let prompt = model.drawing_prompt(&document, GRID).unwrap();
        let wanted = model.prefill(&prompt, None);
        for segments in 0..=whole.len() {
            let start = Document { segments: whole[..segments].to_vec() };
            let start = model.sequencer().prompt(&start).unwrap();
            let tokens = start.shared_tokens(&prompt);
            assert!(tokens + 1 >= start.len(), "{tokens} of {} are shared", start.len());
            let known = model.prefill(&start, None);
            let found = model.prefill(&prompt, Some(KnownTokens { prefix: &known, tokens }));
            assert_eq!(found.hidden.to_data(), wanted.hidden.to_data());
            assert_eq!(
                found.logits.as_ref().map(Tensor::to_data),
                wanted.logits.as_ref().map(Tensor::to_data)
            );
            assert_eq!(found.cache.tokens(), prompt.len());
            let level = model.config.schedule.level(0.5);
            let of = |prefix: &Prefix| {
                let known = Known { model: &model, prefix: prefix.clone() };
                let session = GenerationSession::through(&known, &model, &prompt, 1);
                session.denoise(noisy(3, 1), GRID, &level).into_data()
            };
            assert_eq!(of(&found), of(&wanted));
        }
    }
}

/// Knows a prompt.
#[derive(Debug)]
struct Known<'a> {
    model: &'a LoadedModel,
    prefix: Prefix,
}

impl Network for Known<'_> {
    fn call(&self, call: NetworkCall) -> NetworkAnswer {
        self.model.pass(&[&call], &mut JoinedPrefixes::default()).remove(0)
    }

    fn prompt(&self, _prompt: &Sequence) -> Prefix {
        self.prefix.clone()
    }
}

#[test]
fn sequences_share_what_begins_alike_and_no_part_of_an_image() {
    let model = loaded(configs().remove(0));
    let sequence = |segments: &[Segment]| {
        model.sequencer().prompt(&Document { segments: segments.to_vec() }).unwrap()
    };
    let image = |red: u8| Segment::context_image(Image::filled(12, 8, [red, 10, 90]));
    let words = |text: &str| Segment::context_text(text);
    let (a, b) = (sequence(&[words("ab"), image(1)]), sequence(&[words("ab"), image(2)]));
    assert_eq!(a.shared_tokens(&a), a.len());
    let before = a.images[0].start;
    assert_eq!([a.shared_tokens(&b), b.shared_tokens(&a)], [before; 2]);
    let text = sequence(&[words("ab")]);
    assert_eq!([a.shared_tokens(&text), text.shared_tokens(&a)], [text.len(); 2]);
    let longer = sequence(&[words("ab"), image(1), words("b"), image(1)]);
    assert_eq!([a.shared_tokens(&longer), longer.shared_tokens(&a)], [a.len(); 2]);
}

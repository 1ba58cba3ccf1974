//! A tiny Fuyu against what `transformers` 5.24 computes of it: `tests/golden/fuyu`, which
//! `tests/reference/fuyu_golden.py` made.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{ModuleVisitor, Param};
use burn::prelude::*;
use mm_backbone::Init;
use mm_model::batch::Batch;
use mm_model::folder::{open_tensors, save_all_but_weights, write_atomic_in_pieces};
use mm_model::parameters::{Weights, with_weights};
use mm_model::stored::{Dtype, Stored};
use mm_model::{
    Document, GenerateOptions, GenerationSession, HostBatch, ImageNoise, LoadedModel, Model,
    Sample, Segment, Sequence, TEXT_LOSS,
};
use mm_patch::{Image, image_to_patches};

use super::{folder, imported, new_name};
use crate::hf::WeightType;
use crate::published::{ImportError, Imported, Tensors};

const TEXT: &str = "What is on the mat?\n";
const ANSWER: &str = "a cat";

/// What the library computed.
struct Expected(Stored<fs_err::File>);

impl Expected {
    fn new() -> Self {
        Self(open_tensors(&folder(), "expected").unwrap())
    }

    fn shape(&self, name: &str) -> Vec<usize> {
        self.0.info(name).unwrap().shape.clone()
    }

    fn floats(&mut self, name: &str) -> Vec<f32> {
        let shape = self.shape(name);
        self.0.read(name, &shape).unwrap()
    }

    fn bytes(&mut self, name: &str) -> Vec<u8> {
        self.0.read_bytes(name).unwrap()
    }

    fn ids(&mut self, name: &str) -> Vec<u32> {
        let bytes = self.bytes(name);
        bytes.as_chunks().0.iter().map(|four| u32::from_le_bytes(*four)).collect()
    }

    fn image(&mut self, name: &str) -> Image {
        let shape = self.shape(name);
        Image::new(shape[1], shape[0], self.bytes(name)).unwrap()
    }
}

/// The whole model in memory.
fn loaded() -> LoadedModel {
    let mut imported = imported();
    let weights = imported.all_weights().unwrap();
    let Imported { config, tokenizer, generation, .. } = imported;
    let model = Model::new(&config, 0, &Device::flex()).unwrap();
    LoadedModel { model: with_weights(model, &weights), config, tokenizer, generation }
}

fn prompt(model: &LoadedModel, image: &Image) -> Document {
    let image = model.fit().apply(image, model.config.patch).unwrap().0;
    Document { segments: vec![Segment::context_image(image), Segment::context_text(TEXT)] }
}

fn batch(model: &LoadedModel, sequence: Sequence, device: &Device) -> Batch {
    let noise = vec![ImageNoise::none(&model.config.schedule); sequence.images.len()];
    let host = HostBatch::pack(&[Sample { sequence, noise }], 0, 0, model.config.patch_dim());
    host.to_device(&model.config, device)
}

/// Compares numbers, each to within so much of the largest that is wanted.
fn assert_near(what: &str, found: &[f32], wanted: &[f32], most: f32) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    let size = wanted.iter().fold(1e-3f32, |size, number| size.max(number.abs()));
    let apart = found.iter().zip(wanted).map(|(one, other)| (one - other).abs());
    let apart = apart.fold(0.0f32, f32::max);
    println!("{what}: {apart:.1e} of {size:.3} apart");
    assert!(apart <= most * size, "{what}: {apart} of {size} apart, at most {most} wanted");
}

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec::<f32>().unwrap()
}

#[test]
fn images_are_cut_into_the_patches_of_the_library() {
    let (mut expected, model) = (Expected::new(), loaded());
    for (name, patches, most) in [("image", "patches", 0), ("large", "large_patches", 1)] {
        let (image, grid) = model.fit().apply(&expected.image(name), 30).unwrap();
        let found = image_to_patches(&image, grid).unwrap();
        let found = found.iter().map(|number| ((number + 1.0) * 127.5).round() as u8);
        let wanted = expected.bytes(patches);
        assert_eq!(found.len(), wanted.len(), "{name}");
        let apart = found.zip(&wanted).map(|(one, other)| one.abs_diff(*other)).max().unwrap();
        println!("{name}: {apart} of 255 apart");
        assert!(apart <= most, "{name}: {apart} of 255 apart");
    }
}

#[test]
fn documents_are_laid_out_as_the_library_does() {
    let (mut expected, model) = (Expected::new(), loaded());
    let prompt = prompt(&model, &expected.image("image"));
    let sequence = model.sequencer().prompt(&prompt).unwrap();
    assert_eq!(sequence.ids, expected.ids("ids"));
    let causal = (1..=sequence.len() as u32).map(|end| [0, end]);
    assert_eq!(sequence.ranges, causal.collect::<Vec<_>>());
    let positions = (0..sequence.len()).map(|at| [at as f64; 2]);
    assert_eq!(sequence.positions, positions.collect::<Vec<_>>());
}

#[test]
fn hidden_states_of_every_layer_and_logits_are_those_of_the_library() {
    let (mut expected, model) = (Expected::new(), loaded());
    let weights = imported().all_weights().unwrap();
    let sequence = model.sequencer().prompt(&prompt(&model, &expected.image("image"))).unwrap();
    let inputs = batch(&model, sequence, &Device::flex()).inputs;
    for layers in 1..=3 {
        let mut config = model.config.clone();
        config.network.unified_mut().unwrap().backbone.depth = layers;
        let used = |name: &String| {
            let rest = name.strip_prefix("backbone.blocks.");
            rest.is_none_or(|rest| rest[..1].parse::<usize>().unwrap() < layers)
        };
        let mut some: Weights = weights.clone();
        some.retain(|name, _| used(name));
        let network = with_weights(Model::new(&config, 0, &Device::flex()).unwrap(), &some);
        let hidden = network.hidden(&inputs);
        let name = format!("hidden.{layers}");
        assert_near(&name, &host(hidden.clone()), &expected.floats(&name), 1e-4);
        if layers == 3 {
            assert_near("logits", &host(network.logits(hidden)), &expected.floats("logits"), 1e-4);
        }
    }
}

/// Writes greedily from the logits of a session.
fn written(model: &LoadedModel, prompt: &Document, count: usize) -> Vec<u32> {
    let special = model.tokenizer.special();
    let prompts = std::slice::from_ref(prompt);
    let mut session = GenerationSession::after_prompts(model, prompts).unwrap();
    let mut ids = vec![];
    while ids.len() < count {
        let logits = host(session.logits());
        let allowed = |id: &u32| *id == special.end || !special.is_special(*id);
        let best = (0..logits.len() as u32).filter(allowed);
        let best = best.max_by(|a, b| logits[*a as usize].total_cmp(&logits[*b as usize])).unwrap();
        ids.push(best);
        session.push_tokens(&[best]);
    }
    ids
}

#[test]
fn greedy_text_is_that_of_the_library() {
    let (mut expected, model) = (Expected::new(), loaded());
    let prompt = prompt(&model, &expected.image("image"));
    let wanted = expected.ids("written");
    assert_eq!(written(&model, &prompt, wanted.len()), wanted);
    let options = GenerateOptions { max_tokens: wanted.len(), ..model.options(0) };
    let said = model.tokenizer.decode(&wanted);
    assert_eq!(model.read(std::slice::from_ref(&prompt), &options).unwrap(), [said]);
    let made = model.generate(&prompt, &options, &mut |_| ()).unwrap();
    assert!(matches!(&made.segments[..], [Segment::Text { .. }]), "{made:?}");
}

/// Gradients of the library, as a set of tensors from which ours are arranged.
#[derive(Debug)]
struct Gradients(BTreeMap<String, (Vec<usize>, Vec<f32>)>);

impl Tensors for Gradients {
    fn home(&self) -> &Path {
        Path::new("gradients")
    }

    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        Some(self.0.get(name)?.0.clone())
    }

    fn dtype(&self, _: &str) -> Option<Dtype> {
        Some(Dtype::F32)
    }

    fn read(&mut self, name: &str) -> Result<Vec<u8>, ImportError> {
        Ok(self.0[name].1.iter().flat_map(|value| value.to_le_bytes()).collect())
    }
}

/// Compares the gradient of every weight that is wanted.
struct Compare<'a> {
    path: Vec<String>,
    grads: &'a burn::tensor::Gradients,
    wanted: BTreeMap<String, Vec<f32>>,
}

impl ModuleVisitor for Compare<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.path.join(".");
        let Some(wanted) = self.wanted.remove(&name) else { return };
        let found = host(param.val().grad(self.grads).expect("every weight has a gradient"));
        assert_near(&name, &found, &wanted, 1e-4);
    }
}

#[test]
fn loss_and_gradients_of_an_answer_are_those_of_the_library() {
    let (mut expected, model) = (Expected::new(), loaded());
    let mut document = prompt(&model, &expected.image("image"));
    document.segments.push(Segment::target_text(ANSWER));
    let sequence = model.sequencer().complete(&document).unwrap();
    let targets: Vec<u32> = sequence.targets.iter().map(|(_, id)| *id).collect();
    assert_eq!(targets, expected.ids("answer"));

    let device = Device::flex().autodiff();
    let mut from = imported();
    let blank = Model::drawn(&model.config, &mut Init::blank(&device)).unwrap();
    let network = with_weights(blank, &from.all_weights().unwrap());
    let batch = batch(&model, sequence, &device);
    let loss = network.losses(&batch, model.config.prediction).value(TEXT_LOSS).unwrap();
    assert_near("loss", &host(loss.clone()), &expected.floats("loss"), 1e-4);

    let mut gradients = BTreeMap::new();
    for theirs in from.sets[0].names() {
        let name = format!("grad.{}", new_name(&theirs));
        if expected.0.info(&name).is_some() {
            gradients.insert(theirs, (expected.shape(&name), expected.floats(&name)));
        }
    }
    let gradients = Gradients(gradients);
    let known = |name: &str| gradients.0.contains_key(name);
    from.weights.retain(|plan| plan.from.iter().all(|origin| known(&origin.name)));
    from.sets = vec![Box::new(gradients)];
    let wanted: BTreeMap<String, Vec<f32>> =
        from.all_weights().unwrap().into_iter().map(|(name, one)| (name, one.values)).collect();
    assert_eq!(wanted.len(), 17, "{:?}", wanted.keys());
    let grads = loss.backward();
    let mut compare = Compare { path: vec![], grads: &grads, wanted };
    network.visit(&mut compare);
    assert!(compare.wanted.is_empty(), "{:?}", compare.wanted.keys());
}

#[test]
fn a_folder_that_is_written_in_16_bits_reads_as_the_library_does() {
    let mut expected = Expected::new();
    for dtype in [None, Some(WeightType::Bf16)] {
        let folder = tempfile::tempdir().unwrap();
        let mut from = imported();
        save_all_but_weights(folder.path(), &from.config, &from.tokenizer, &from.generation)
            .unwrap();
        let path = folder.path().join("model.safetensors");
        let mut last = None;
        write_atomic_in_pieces::<ImportError>(&path, &mut |file| {
            from.write_weights(dtype, file, &mut |progress| last = Some(progress))
        })
        .unwrap();
        let last = last.unwrap();
        assert_eq!(last.done, last.all);
        let device = Device::flex();
        let (mapped, whole) = (
            LoadedModel::load_to_ask(folder.path(), &device).unwrap(),
            LoadedModel::load(folder.path(), &device).unwrap(),
        );
        let wanted = expected.ids("written");
        for model in [mapped, whole] {
            let prompt = prompt(&model, &expected.image("image"));
            assert_eq!(written(&model, &prompt, wanted.len()), wanted);
        }
    }
}

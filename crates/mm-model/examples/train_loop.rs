//! A training loop of one's own, on `mm-model` alone: no recipe, no data set, no trainer.
//!
//! Four images of one color each and the names of their colors are learned in both directions, by
//! text and by denoising, in one network. Afterwards the model reads and draws. It takes seconds.

use burn::module::Module;
use burn::optim::{AdamWConfig, GradientsParams};
use burn::prelude::*;
use mm_backbone::{BackboneConfig, BlockConfig, GauConfig};
use mm_diffusion::{ForwardProcess, LossWeight, Prediction, Schedule, TimestepSampling};
use mm_model::{
    Collator, Document, GenerationConfig, LoadedModel, Model, ModelConfig, NetworkConfig,
    PositionScheme, Segment, TimeConfig, UnifiedConfig,
};
use mm_patch::Image;
use mm_text::Tokenizer;

const STEPS: u64 = 200;
const COLORS: [(&str, [u8; 3]); 4] = [
    ("red", [220, 30, 30]),
    ("green", [30, 200, 30]),
    ("blue", [30, 30, 220]),
    ("white", [250, 250, 250]),
];

fn main() {
    let device = Device::flex();
    let image = |color: [u8; 3]| Image::filled(16, 16, color);

    // Documents: the caption then its image, and the image then its caption.
    let mut documents = vec![];
    for (name, color) in COLORS {
        documents.push(Document {
            segments: vec![Segment::context_text(name), Segment::target_image(image(color))],
        });
        documents.push(Document {
            segments: vec![Segment::context_image(image(color)), Segment::target_text(name)],
        });
    }

    // A tokenizer of bytes and special tokens, and a network of two gated attention units.
    let names = COLORS.iter().map(|(name, _)| (*name).to_owned());
    let tokenizer = Tokenizer::train(names, 400).expect("a vocabulary of this size");
    let config = ModelConfig {
        patch: 8,
        vocab: tokenizer.vocab(),
        time: TimeConfig::Sinusoidal { channels: 32, scale: 1000.0 },
        schedule: Schedule::Linear,
        prediction: Prediction::Clean,
        network: NetworkConfig::Unified(UnifiedConfig {
            patch_bias: true,
            patch_pos_embed: 2,
            patch_convolution: false,
            backbone: BackboneConfig {
                width: 64,
                depth: 2,
                block: BlockConfig::Gau(GauConfig { expansion: 2, key_size: 32, bias: false }),
                positions: PositionScheme::RopeTv,
                rotary_base: 10_000.0,
                norm_epsilon: 1e-6,
            },
        }),
    };
    let mut model = Model::new(&config, 0, &device.clone().autodiff()).expect("a valid config");

    // The loop: noise the documents, pack them, take the losses, step.
    let collator = Collator {
        tokenizer: &tokenizer,
        config: &config,
        process: ForwardProcess {
            schedule: config.schedule,
            timesteps: TimestepSampling::LogitNormal { mean: 0.0, std: 1.0 },
            weight: LossWeight::Velocity { min_noise: 0.05 },
        },
        pack_len: 64,
        seed: 0,
        encoder: None,
    };
    let mut optimizer = AdamWConfig::new().init();
    let (mut first, mut last) = (f32::NAN, f32::NAN);
    for step in 0..STEPS {
        let batch =
            collator.batch(documents.iter().cloned().zip(0..), step).expect("whole patches");
        let batch = batch.to_device(&config, &device);
        let losses = model.losses(&batch, config.prediction);
        let loss = losses
            .total(|name| if name == "text" { 0.1 } else { 1.0 })
            .expect("something to learn");
        last = loss.clone().into_scalar::<f32>();
        if step == 0 {
            first = last;
        }
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(3e-3, model, gradients);
        if step % 50 == 0 {
            println!("step {step}: loss {last:.3}");
        }
    }
    println!("loss {first:.3} -> {last:.3}");
    assert!(last < 0.5 * first, "the loss falls");

    // The trained model reads and draws.
    let generation = GenerationConfig::of_size(16, 16);
    let model = LoadedModel { config, tokenizer, model: model.valid(), generation };
    let grid = model.grid().expect("whole patches");
    for (name, color) in COLORS {
        let options = model.options(1);
        let prompt = Document::of_image(image(color));
        let read = model.read(&[prompt], &options).expect("a prompt").remove(0);
        let drawn = model.draw(&[Document::of_text(name)], grid, &options).expect("a prompt");
        println!("{name}: read as `{read}`, drawn as {:?}", drawn[0].pixel(8, 8));
        assert_eq!(read, name);
    }
}

#[test]
fn the_example_runs() {
    main();
}

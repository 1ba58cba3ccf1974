//! This example measures a model with an evaluator of its own: how far the mean color of drawings
//! is from the mean color of the real images of the same captions. The model is tiny and untrained.
//!
//! `cargo run -p mm-eval --example own_evaluator`

use burn::prelude::Device;
use mm_backbone::{BackboneConfig, BlockConfig, MultiHeadConfig, MultiHeadVariant, PositionScheme};
use mm_data::{DataConfig, DataSet, GlyphsConfig, ImageSettings, Split};
use mm_diffusion::{Prediction, Schedule};
use mm_eval::{EvalError, Evaluator, ReadEvaluator, Score, examples};
use mm_model::{
    Document, GenerationConfig, LoadedModel, Model, ModelConfig, NetworkConfig, TimeConfig,
    UnifiedConfig,
};
use mm_patch::Image;

/// Measures the distance of mean colors, in bytes.
struct MeanColor;

impl Evaluator for MeanColor {
    fn name(&self) -> &str {
        "mean-color"
    }

    fn evaluate(
        &self,
        model: &LoadedModel,
        data: &DataSet,
        split: Split,
        count: usize,
        seed: u64,
    ) -> Result<Score, EvalError> {
        let shown = examples(data, split, count, seed)?;
        let prompts: Vec<Document> =
            shown.iter().map(|example| Document::of_text(&example.caption)).collect();
        let drawn = model.draw(&prompts, model.grid()?, &model.options(seed))?;
        let mut sum = 0.0;
        for (drawn, real) in drawn.iter().zip(&shown) {
            sum += (mean(drawn) - mean(&real.image)).abs();
        }
        Ok(Score::new(shown.len()).mean("distance", sum))
    }
}

/// Returns the mean byte of an image.
fn mean(image: &Image) -> f64 {
    let sum: f64 = image.rgb().iter().map(|&byte| f64::from(byte)).sum();
    sum / image.rgb().len() as f64
}

/// Returns an untrained model for the captions of a data set.
fn untrained(data: &DataSet) -> LoadedModel {
    let config = ModelConfig {
        patch: 4,
        vocab: 389,
        time: TimeConfig::Sinusoidal { channels: 16, scale: 1000.0 },
        schedule: Schedule::Linear,
        prediction: Prediction::Velocity,
        network: NetworkConfig::Unified(UnifiedConfig {
            patch_bias: true,
            patch_pos_embed: 2,
            patch_convolution: false,
            backbone: BackboneConfig {
                width: 32,
                depth: 1,
                block: BlockConfig::MultiHead(MultiHeadConfig {
                    variant: MultiHeadVariant::Plain,
                    heads: 2,
                    key_heads: 1,
                    feed_forward: 64,
                }),
                positions: PositionScheme::RopeTv,
                rotary_base: 10_000.0,
                norm_epsilon: 1e-6,
            },
        }),
    };
    let captions = data.captions().into_iter();
    let tokenizer = mm_text::Tokenizer::train(captions, config.vocab).expect("there are captions");
    let model = Model::new(&config, 1, &Device::flex()).expect("the configuration is valid");
    let generation = GenerationConfig { steps: 2, ..GenerationConfig::of_size(16, 16) };
    LoadedModel { config, tokenizer, model, generation }
}

fn main() -> Result<(), EvalError> {
    let size = ImageSettings { width: 16, height: 16, patch: 4 };
    let data = DataSet::open(&DataConfig::Glyphs(GlyphsConfig::default()), size)?;
    let model = untrained(&data);
    let measures: [&dyn Evaluator; 2] = [&MeanColor, &ReadEvaluator];
    for measure in measures {
        let score = measure.evaluate(&model, &data, Split::HeldOut, 4, 7)?;
        println!("{}: {score}", measure.name());
        assert_eq!(score, measure.evaluate(&model, &data, Split::HeldOut, 4, 7)?);
        assert!(score.values.values().all(|value| (0.0..256.0).contains(value)));
    }
    Ok(())
}

#[test]
fn the_example_runs() {
    main().unwrap();
}

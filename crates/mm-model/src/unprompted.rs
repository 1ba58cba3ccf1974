//! The inputs of a batch as if nothing stood before its target images: what guidance leads away
//! from.
//!
//! Rotary positions are relative, so a document without a prompt is the end of one with a prompt,
//! if the token before the image becomes its beginning and nothing before that is seen.

use burn::prelude::*;
use mm_backbone::{AttentionContext, KeyRanges};
use mm_text::Special;

use crate::Batch;
use crate::batch::Inputs;

/// The number of tokens that open an image: its rows, its columns, and `[IMG]`.
const OPENING: usize = 3;

impl Batch {
    /// Returns the inputs in which every target image begins its document. Their network output at
    /// target patches is what it would be without a prompt; elsewhere it means nothing. A batch of
    /// images alone, which have no opening, must not be asked.
    pub fn unprompted(&self) -> Inputs {
        let mut inputs = self.inputs.clone();
        let Some(target) = &self.targets.image else { return inputs };
        let mut ids = integers(inputs.ids.clone());
        let mut ranges = inputs.context.ranges().ranges().to_vec();
        let places = integers(target.tokens.clone());
        let mut patch = 0;
        for grid in &target.grids {
            let first = places[patch] as usize;
            patch += grid.tokens();
            let begin = first - OPENING - 1;
            let start = (begin % inputs.tokens) as u32;
            ids[begin] = i64::from(Special::default().begin);
            for range in &mut ranges[begin..first + grid.tokens()] {
                range[0] = start;
            }
        }
        let device = inputs.ids.device();
        let count = ids.len();
        inputs.ids = Tensor::from_data(TensorData::new(ids, [count]), &device);
        let ranges = KeyRanges::new(inputs.rows, inputs.tokens, ranges)
            .expect("every place sees itself and what stands before it in its document");
        inputs.context = AttentionContext::new(inputs.context.tables().clone(), ranges, &device);
        inputs
    }
}

/// Copies integers to the host: `[count]`.
fn integers(tensor: Tensor<1, Int>) -> Vec<i64> {
    tensor.into_data().convert::<i64>().try_to_vec::<i64>().expect("64-bit integers")
}

#[cfg(test)]
mod tests {
    use mm_diffusion::{ForwardProcess, Schedule};
    use mm_patch::Image;
    use mm_text::Tokenizer;

    use super::*;
    use crate::{Collator, Document, Model, ModelConfig, Segment};

    const CONFIG: &str = r#"{ "patch": 4, "vocab": 400, "patch_bias": true, "patch_pos_embed": 2,
        "time": { "kind": "sinusoidal", "channels": 8, "scale": 1000.0 },
        "schedule": { "kind": "linear" }, "prediction": "clean", "backbone": { "width": 32,
        "depth": 2, "block": { "kind": "multi-head", "heads": 2, "key_heads": 2,
        "feed_forward": 64 }, "positions": "rope-tv", "rotary_base": 100.0, "norm_epsilon": 1e-6 }
        }"#;

    fn documents(captions: [&str; 2]) -> Vec<(Document, u64)> {
        let image = |shade: u8| Image::filled(8, 4, [shade, 200, 30]);
        let document = |(index, caption): (usize, &str)| {
            let segments = vec![
                Segment::context_text(caption),
                Segment::target_image(image(90 * index as u8)),
            ];
            (Document { segments }, index as u64)
        };
        captions.into_iter().enumerate().map(document).collect()
    }

    #[test]
    fn without_its_prompt_an_image_is_denoised_as_one_that_never_had_a_prompt() {
        let mut config: ModelConfig = serde_json::from_str(CONFIG).unwrap();
        let texts = ["ab"].map(str::to_owned);
        let tokenizer = Tokenizer::train(texts.into_iter(), 400).unwrap();
        config.vocab = tokenizer.vocab();
        let device = Device::flex();
        let model = Model::new(&config, 3, &device).unwrap();
        let process = ForwardProcess::uniform(Schedule::Linear);
        for pack_len in [0, 64] {
            let collator = Collator {
                tokenizer: &tokenizer,
                config: &config,
                process,
                pack_len,
                seed: 1,
                encoder: None,
            };
            let batch = |captions| {
                let host = collator.batch(documents(captions).into_iter(), 0).unwrap();
                host.to_device(&config, &device)
            };
            let output = |inputs: &Inputs, batch: &Batch| {
                let target = batch.targets.image.as_ref().unwrap();
                let hidden = model.hidden(inputs).select(0, target.tokens.clone());
                model.patches(hidden, &target.grids)
            };
            let (prompted, bare) = (batch(["a long prompt", "b"]), batch(["", ""]));
            let wanted = output(&bare.inputs, &bare);
            let off = |found: Tensor<2>| (found - wanted.clone()).abs().max().into_scalar::<f32>();
            let found = off(output(&prompted.unprompted(), &prompted));
            assert!(found < 2e-4, "{found} with rows of {pack_len}");
            let prompt = off(output(&prompted.inputs, &prompted));
            assert!(prompt > 1e-2, "the prompt matters: {prompt}");
        }
    }
}

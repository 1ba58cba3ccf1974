//! Checks of the published transformers that only draw.

use mm_codec::{AutoencoderSizes, KlConfig};
use mm_diffusion::{ForwardProcess, Guidance, Prediction, Sampler, Schedule};
use mm_model::{
    Classes, Collator, DitConfig, Document, GenerationConfig, JitConfig, LoadedModel, Model,
    ModelConfig, NetworkConfig, Segment, TimeConfig, UvitConfig, VitConfig, image_only,
};
use mm_patch::Image;

use super::super::numbers::{Numbers, On, shaken};
use super::{of_batch, pixels};
use crate::terminal::Failure;

const WIDTH: usize = 32;
const DEPTH: usize = 3;
const HEADS: usize = 2;
const INNER: usize = 40;
const SIDE: usize = 16;

fn classes(none: bool) -> Classes {
    Classes { count: 5, none, names: vec![] }
}

/// JiT, U-ViT and DiT, small, as they are trained: each predicts what its paper does.
fn networks() -> [ModelConfig; 3] {
    let of = |schedule, prediction, scale, vit| ModelConfig {
        patch: 4,
        vocab: 0,
        time: TimeConfig::Sinusoidal { channels: WIDTH, scale },
        schedule,
        prediction,
        network: NetworkConfig::Vit(vit),
    };
    let (width, depth, heads, inner) = (WIDTH, DEPTH, HEADS, INNER);
    let jit = JitConfig {
        classes: classes(true),
        width,
        depth,
        heads,
        inner,
        bottleneck: 12,
        context_tokens: 4,
        context_start: 1,
        norm_epsilon: 1e-6,
        min_noise: 0.05,
        noise_scale: 1.0,
    };
    let uvit = UvitConfig {
        classes: classes(false),
        rows: SIDE / 4,
        cols: SIDE / 4,
        width,
        depth,
        heads,
        inner,
        qkv_bias: false,
        convolution: true,
    };
    let codec = KlConfig {
        network: AutoencoderSizes {
            block_out_channels: vec![8, 8],
            layers_per_block: 1,
            norm_num_groups: 4,
            mid_block_add_attention: false,
        },
        latent_channels: 4,
        colors: mm_patch::RGB_CHANNELS,
        scaling_factor: 0.5,
        shift_factor: 0.0,
        use_quant_conv: true,
        use_post_quant_conv: true,
    };
    let dit = DitConfig {
        classes: classes(true),
        channels: codec.latent_channels,
        width,
        depth,
        heads,
        inner,
        norm_epsilon: 1e-6,
        own_embeddings: false,
        codec: Some(codec),
    };
    let (vp, beta) = (Schedule::Vp { steps: 1000 }, Schedule::LinearBeta { steps: 1000 });
    [
        of(Schedule::Linear, Prediction::Clean, 1000.0, VitConfig::Jit(jit)),
        of(vp, Prediction::Noise, 0.999, VitConfig::Uvit(uvit)),
        ModelConfig { patch: 2, ..of(beta, Prediction::Noise, 1.0, VitConfig::Dit(dit)) },
    ]
}

/// Compares the losses and gradients of a batch of two classes.
pub fn losses(on: &On) -> Result<Vec<Numbers>, Failure> {
    let tokenizer = image_only::tokenizer();
    let mut found = vec![];
    for config in networks() {
        let model = shaken(Model::new(&config, 1, &on.tracked())?, &on.tracked());
        let process = ForwardProcess::uniform(config.schedule);
        let collator = Collator {
            tokenizer: &tokenizer,
            config: &config,
            process,
            pack_len: 0,
            seed: 5,
            encoder: model.encoder(),
        };
        let document = |class: u64| {
            let bytes = (0..SIDE * SIDE * 3).map(|at| ((at as u64 * 37 + class * 50) % 256) as u8);
            let image = Image::new(SIDE, SIDE, bytes.collect())?;
            let segments =
                vec![Segment::context_text(class.to_string()), Segment::target_image(image)];
            Ok((Document { segments }, class))
        };
        let documents = [1, 4].map(document).into_iter().collect::<Result<Vec<_>, Failure>>()?;
        let batch = collator.batch(documents.into_iter(), 0)?.to_device(&config, &on.device);
        found.extend(of_batch(&model, &batch, config.prediction, |_| 1.0));
    }
    Ok(found)
}

/// Compares the images of two classes that are drawn in five steps, with guidance where a network
/// knows images without a class.
pub fn images(on: &On) -> Result<Vec<Numbers>, Failure> {
    let mut found = vec![];
    for config in networks() {
        let model = shaken(Model::new(&config, 2, &on.device)?, &on.device);
        let guided = config.network.classes().is_some_and(|classes| classes.none);
        let generation = GenerationConfig {
            sampler: Sampler::Ddim { eta: 0.0 },
            steps: 5,
            guidance: Guidance { scale: if guided { 1.5 } else { 1.0 }, ..Guidance::OFF },
            ..GenerationConfig::of_size(SIDE, SIDE)
        };
        let tokenizer = image_only::tokenizer();
        let model = LoadedModel { config, tokenizer, model, generation };
        let prompts = ["1", "4"].map(Document::of_text);
        let options = model.options(3);
        found.extend(model.draw(&prompts, model.grid()?, &options)?.iter().map(pixels));
    }
    Ok(found)
}

//! Checks of codecs, and of the transformers over what they make of images.

use mm_backbone::Init;
use mm_codec::{
    AutoencoderSizes, CodeConfig, CodebookConfig, Codec, CodecConfig, DiscriminatorConfig, Fsq,
    FsqActivation, KlConfig, QuantizerConfig, QueriesConfig,
};
use mm_diffusion::LossWeight;
use mm_kernels::Precision;
use mm_model::{BytesConfig, CodedConfig, ImageCodes, LatentConfig, NetworkConfig, Order};
use mm_train::{Recipe, Represent};

use super::super::network::MULTI_HEAD;
use super::super::numbers::{Numbers, On, gradients, random};
use super::{loss, small_recipe};
use crate::terminal::Failure;

/// Sizes of an encoder that halves images twice, with attention.
fn sizes() -> AutoencoderSizes {
    AutoencoderSizes {
        block_out_channels: vec![8, 8, 16],
        layers_per_block: 1,
        norm_num_groups: 4,
        mid_block_add_attention: true,
    }
}

fn kl_config() -> KlConfig {
    KlConfig {
        network: sizes(),
        latent_channels: 4,
        colors: mm_patch::RGB_CHANNELS,
        scaling_factor: 1.0,
        shift_factor: 0.0,
        use_quant_conv: true,
        use_post_quant_conv: true,
    }
}

fn fsq_config() -> CodeConfig {
    let fsq = Fsq { levels: vec![8, 5, 5], activation: FsqActivation::Tanh };
    CodeConfig {
        network: sizes(),
        quantizer: QuantizerConfig::Fsq(fsq),
        discriminator: None,
        queries: None,
    }
}

/// Computes the loss of a codec, what it decodes, and the gradients of all its weights.
fn codec(on: &On, config: &CodecConfig) -> Vec<Numbers> {
    let codec = Codec::drawn(config, &mut Init::new(7, &on.tracked()));
    let images = random(1, [2, 3, 16, 24], &on.device);
    let factors = random(2, [2, 3, 16, 24], &on.device);
    let pass = codec.pass(images, random(3, [2, 3, 16, 24], &on.device), Precision::F32);
    let mut loss = (pass.images.clone() * factors).mean() + pass.latent.clone();
    if let Some(terms) = &pass.adversarial {
        loss = loss + terms.adversarial.clone() + terms.discriminator.clone();
    }
    let mut found = vec![
        Numbers::of("decoded images", pass.images),
        Numbers::of("what is minimized of the latents", pass.latent),
    ];
    found.extend(gradients(&codec, &loss.backward()));
    found
}

/// Compares a codec of Gaussian latents.
pub fn kl(on: &On) -> Result<Vec<Numbers>, Failure> {
    Ok(codec(on, &CodecConfig::Kl(kl_config())))
}

/// Compares a codec of rounded levels.
pub fn fsq(on: &On) -> Result<Vec<Numbers>, Failure> {
    Ok(codec(on, &CodecConfig::Codes(fsq_config())))
}

/// Compares a codec with a codebook, whose statistics are gradients too.
pub fn codebook(on: &On) -> Result<Vec<Numbers>, Failure> {
    let codebook = CodebookConfig { codes: 48, channels: 4, decay: 0.9, dead_below: 0.02 };
    let quantizer = QuantizerConfig::Codebook(codebook);
    Ok(codec(
        on,
        &CodecConfig::Codes(CodeConfig {
            network: sizes(),
            quantizer,
            discriminator: None,
            queries: None,
        }),
    ))
}

/// Compares a codec with rounded levels that learns against a discriminator.
pub fn adversarial(on: &On) -> Result<Vec<Numbers>, Failure> {
    let discriminator = Some(DiscriminatorConfig { channels: 8, layers: 2 });
    Ok(codec(on, &CodecConfig::Codes(CodeConfig { discriminator, ..fsq_config() })))
}

/// Compares a codec whose codes are made of queries.
pub fn queries(on: &On) -> Result<Vec<Numbers>, Failure> {
    let queries = Some(QueriesConfig { count: 7, layers: 2, rows: 4, cols: 6 });
    Ok(codec(on, &CodecConfig::Codes(CodeConfig { queries, ..fsq_config() })))
}

/// Makes the small recipe for a transformer over what `make` says.
fn recipe(
    represent: Represent,
    make: impl FnOnce(mm_model::UnifiedConfig) -> NetworkConfig,
) -> Result<Recipe, Failure> {
    let mut recipe = small_recipe(MULTI_HEAD, 1)?;
    recipe.represent = represent;
    if represent != Represent::Latents {
        let unified = recipe.model.network.unified_mut().expect("the recipe has a transformer");
        unified.patch_pos_embed = 0;
        recipe.loss.weight = LossWeight::One;
        recipe.sample.guidance.scale = 1.0;
    }
    let unified = recipe.model.network.unified().expect("the recipe has a transformer").clone();
    recipe.model.network = make(unified);
    Ok(recipe)
}

/// Compares the losses and gradients of a transformer over latents.
pub fn latents(on: &On) -> Result<Vec<Numbers>, Failure> {
    let make = |unified| NetworkConfig::Latent(LatentConfig { unified, codec: kl_config() });
    let mut recipe = recipe(Represent::Latents, make)?;
    recipe.image.patch = 8;
    recipe.validate()?;
    loss(on, recipe)
}

/// Compares the losses and gradients of a transformer over codes, in this order.
fn codes_in(on: &On, order: Order) -> Result<Vec<Numbers>, Failure> {
    let codes = ImageCodes::Codec(fsq_config());
    let make = |unified| NetworkConfig::Coded(CodedConfig { unified, codes, order });
    let mut recipe = recipe(Represent::Codes, make)?;
    recipe.order = order;
    recipe.validate()?;
    loss(on, recipe)
}

/// Compares a transformer over codes that are written one after another.
pub fn codes(on: &On) -> Result<Vec<Numbers>, Failure> {
    codes_in(on, Order::Rows)
}

/// Compares a transformer over codes of which some are masked.
pub fn masked(on: &On) -> Result<Vec<Numbers>, Failure> {
    codes_in(on, Order::Masked)
}

/// Compares the losses and gradients of a transformer over bytes, each of which sees a few.
pub fn bytes(on: &On) -> Result<Vec<Numbers>, Failure> {
    let codes = ImageCodes::Bytes(BytesConfig { levels: 16, window: 40 });
    let make = |unified| NetworkConfig::Coded(CodedConfig { unified, codes, order: Order::Snake });
    let mut recipe = recipe(Represent::Bytes, make)?;
    recipe.order = Order::Snake;
    (recipe.image.width, recipe.image.height) = (16, 12);
    recipe.run.pack_len = 0;
    recipe.run.batch = 2;
    recipe.validate()?;
    loss(on, recipe)
}

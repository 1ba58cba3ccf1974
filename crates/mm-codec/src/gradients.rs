//! Gradients of every codec against central differences in 64-bit floats, along random directions
//! of all weights at once.
//!
//! Where cells are rounded, the gradient is straight-through by design: that of the same network
//! whose rounding adds a constant. So that is the function whose differences are taken.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::prelude::*;
use burn::tensor::{DType, Gradients};
use mm_backbone::Init;
use mm_kernels::Precision;

use crate::{
    AutoencoderSizes, CodeAutoencoder, CodeConfig, CodebookConfig, Codec, Fsq, FsqActivation,
    KlAutoencoder, KlConfig, QuantizerConfig, QueriesConfig,
};

/// Half of the step between the two points of a difference.
const STEP: f64 = 1e-5;

fn network() -> AutoencoderSizes {
    AutoencoderSizes {
        block_out_channels: vec![4, 4],
        layers_per_block: 1,
        norm_num_groups: 2,
        mid_block_add_attention: true,
    }
}

fn kl() -> KlAutoencoder {
    let config = KlConfig {
        network: network(),
        latent_channels: 2,
        colors: 3,
        scaling_factor: 1.0,
        shift_factor: 0.0,
        use_quant_conv: true,
        use_post_quant_conv: true,
    };
    KlAutoencoder::drawn(&config, &mut Init::new(3, &Device::flex().autodiff()))
}

/// Normal numbers of 64 bits.
fn normal<const D: usize>(seed: u64, shape: [usize; D]) -> Tensor<D> {
    Init::new(seed, &Device::flex()).normal(shape, 1.0).val().cast(DType::F64)
}

/// Adds a random direction to all weights but those of a codebook, and makes them of 64 bits.
struct Move {
    along: f64,
    seed: u64,
    frozen: bool,
}

impl ModuleMapper for Move {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.frozen |= name == "codebook";
    }

    fn exit_module(&mut self, name: &str, _container: &str) {
        self.frozen &= name != "codebook";
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.seed += 1;
        let along = if self.frozen { 0.0 } else { self.along };
        let direction = normal(self.seed, param.val().dims());
        param.map(|value| {
            let (tracked, device) = (value.is_require_grad(), value.device());
            let moved = value.without_autodiff().cast(DType::F64) + direction * along;
            let moved = Tensor::from_data(moved.into_data(), (&device, DType::F64));
            if tracked { moved.require_grad() } else { moved }
        })
    }
}

fn moved<M: Module>(module: M, seed: u64, along: f64) -> M {
    module.map(&mut Move { along, seed: 1000 * seed, frozen: false })
}

/// Sums the product of the gradients of all weights with the direction of a [`Move`].
struct Slope<'a> {
    grads: &'a Gradients,
    seed: u64,
    sum: f64,
}

impl ModuleVisitor for Slope<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.seed += 1;
        let Some(grad) = param.val().grad(self.grads) else { return };
        let direction = normal(self.seed, grad.dims());
        self.sum += (grad.without_autodiff() * direction).sum().into_scalar::<f64>();
    }
}

/// Compares the gradients of `loss` at the weights of `module` with differences of `local`.
fn check<M: Module>(
    what: &str,
    module: &M,
    loss: impl Fn(&M) -> Tensor<1>,
    local: impl Fn(&M) -> Tensor<1>,
) {
    let at = moved(module.clone(), 0, 0.0);
    let grads = loss(&at).backward();
    for seed in 1..4 {
        let mut slope = Slope { grads: &grads, seed: 1000 * seed, sum: 0.0 };
        at.visit(&mut slope);
        let value = |along: f64| local(&moved(module.clone(), seed, along)).into_scalar::<f64>();
        let wanted = (value(STEP) - value(-STEP)) / (2.0 * STEP);
        let off = (slope.sum - wanted).abs() / wanted.abs().max(1e-2);
        assert!(off < 1e-5, "{what}: {} by its gradients, {wanted} by differences", slope.sum);
    }
}

#[test]
fn gradients_of_gaussian_latents_are_their_differences() {
    let codec = kl();
    let (images, factors) = (normal(1, [2, 3, 4, 6]), normal(2, [2, 3, 4, 6]));
    let noise = normal(3, [2, 2, 2, 3]);
    let loss = |codec: &KlAutoencoder| {
        let posterior = codec.encode(images.clone());
        let decoded = codec.decode(posterior.sample(noise.clone()));
        (decoded * factors.clone()).sum() + posterior.divergence().sum()
    };
    check("kl", &codec, loss, loss);
}

/// Checks an autoencoder of codes, of which `smooth` says what its rounding adds to.
fn check_codes(
    quantizer: QuantizerConfig,
    queries: Option<QueriesConfig>,
    smooth: impl Fn(Tensor<4>) -> Tensor<4>,
) {
    let config = CodeConfig { network: network(), quantizer, discriminator: None, queries };
    let mut init = Init::new(3, &Device::flex().autodiff());
    let codec = CodeAutoencoder::drawn(&config, &mut init);
    let (images, factors) = (normal(1, [2, 3, 4, 6]), normal(2, [2, 3, 4, 6]));
    let commitment = |codec: &CodeAutoencoder, cells: Tensor<4>| match codec.codebook() {
        Some(codebook) => codebook.commitment(cells),
        None => cells.sum() * 0.0,
    };
    let loss = |codec: &CodeAutoencoder| {
        let cells = codec.cells(images.clone());
        let decoded = codec.decode(codec.quantize(cells.clone()));
        (decoded * factors.clone()).sum() + commitment(codec, cells)
    };
    let at = moved(codec.clone(), 0, 0.0);
    let cells = at.cells(images.clone());
    let added = (at.quantize(cells.clone()) - smooth(cells)).without_autodiff();
    assert!(added.clone().abs().max().into_scalar::<f64>() > 1e-3, "something is rounded");
    let local = |codec: &CodeAutoencoder| {
        let cells = codec.cells(images.clone());
        let decoded = codec.decode(smooth(cells.clone()) + added.clone());
        (decoded * factors.clone()).sum() + commitment(codec, cells)
    };
    check("codes", &codec, loss, local);
}

#[test]
fn gradients_through_rounded_levels_are_those_of_the_levels_before_rounding() {
    for activation in [FsqActivation::Tanh, FsqActivation::Sigmoid] {
        let fsq = Fsq { levels: vec![5, 4], activation };
        let smooth = fsq.clone();
        check_codes(QuantizerConfig::Fsq(fsq), None, move |cells| smooth.smooth(cells));
    }
}

#[test]
fn gradients_through_a_codebook_are_those_of_the_cells_themselves() {
    let codebook = CodebookConfig { codes: 7, channels: 3, decay: 0.9, dead_below: 0.02 };
    check_codes(QuantizerConfig::Codebook(codebook), None, |cells| cells);
    let queries = QueriesConfig { count: 4, layers: 1, rows: 2, cols: 3 };
    check_codes(QuantizerConfig::Codebook(codebook), Some(queries), |cells| cells);
}

/// Both kinds of a codec go through the same wrapper, which training calls.
#[test]
fn what_training_minimizes_is_what_was_checked() {
    let device = Device::flex();
    let quantizer =
        QuantizerConfig::Fsq(Fsq { levels: vec![5, 4], activation: FsqActivation::Tanh });
    let config = CodeConfig { network: network(), quantizer, discriminator: None, queries: None };
    let codec = CodeAutoencoder::drawn(&config, &mut Init::new(3, &device));
    let images = Init::new(1, &device).normal([1, 3, 4, 4], 1.0).val();
    let wanted = codec.decode(codec.quantize(codec.cells(images.clone())));
    let found = Codec::Codes(codec).pass(images.clone(), images, Precision::F32).images;
    assert_eq!(found.into_data(), wanted.into_data());
}

#[test]
fn rounded_factors_change_what_is_encoded_and_decoded_and_its_gradients_little() {
    let codec = kl();
    let images = normal(1, [2, 3, 8, 6]).cast(DType::F32);
    let near = |found: Tensor<4>, wanted: Tensor<4>| {
        let most = wanted.clone().abs().max().into_scalar::<f32>();
        let apart = (found - wanted).abs().max().into_scalar::<f32>();
        assert!(apart > 0.0 && apart < 0.03 * most, "{apart} of {most}");
    };
    let latents = codec.encode(images.clone()).mean.detach();
    let [wanted, found] = [Precision::F32, Precision::Bf16].map(|precision| {
        let latents = latents.clone().require_grad();
        let decoded = codec.decode_in(latents.clone(), precision);
        let grads = decoded.clone().square().sum().backward();
        let grad = latents.grad(&grads).expect("the image depends on the latents");
        let mean = codec.encode_in(images.clone(), precision).mean;
        [mean.without_autodiff(), decoded.without_autodiff(), grad]
    });
    found.into_iter().zip(wanted).for_each(|(found, wanted)| near(found, wanted));
}

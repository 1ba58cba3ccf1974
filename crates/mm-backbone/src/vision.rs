//! The block of published transformers that only draw, with the options in which they differ: one
//! definition for JiT (Li & He 2025, arXiv:2511.13720), U-ViT (Bao et al. 2022, arXiv:2209.12152)
//! and DiT (Peebles & Xie 2022, arXiv:2212.09748).
//!
//! ```text
//! h = x + α₁ ⊙ Attention((1 + γ₁) ⊙ norm(x) + β₁)        α, β, γ: of the condition, or 1, 0, 0
//! y = h + α₂ ⊙ MLP((1 + γ₂) ⊙ norm(h) + β₂)
//! ```
//!
//! | | norm | q, k | qkv bias | MLP | condition |
//! | --- | --- | --- | --- | --- | --- |
//! | JiT | RMSNorm | RMSNorm, rotary | yes | SwiGLU | yes |
//! | U-ViT | LayerNorm | as they are | no | GELU | no |
//! | DiT | LayerNorm without a scale | as they are | yes | GELU by tanh | yes |
//!
//! This is not the multi-head block of the joined model: that one has no biases and keeps keys and
//! values. Here all tokens of an image see each other, one condition belongs to a whole image, and
//! nothing is cached. Everything is computed by device operations, without a fused kernel.

mod norm;

use burn::prelude::*;
use burn::tensor::activation::{gelu_approximate, silu};
use mm_kernels::{AttentionContext, Precision, gelu, kernels_of, modulate};

use crate::condition::Modulation;
use crate::{Condition, Init, Linear, RmsNorm};
use norm::BlockNorm;

pub use norm::NormKind;

/// Sizes and choices of a [`VisionBlock`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VisionBlockConfig {
    /// Channels of a token.
    pub width: usize,
    /// Number of heads; a head has width / heads channels.
    pub heads: usize,
    /// Hidden channels of the perceptron.
    pub inner: usize,
    /// The kind of both norms.
    pub norm: NormKind,
    /// The number added to the variance in the norm before attention, and to the mean square of
    /// queries and keys.
    pub attention_epsilon: f64,
    /// The number added to the variance in the norm before the perceptron.
    pub mlp_epsilon: f64,
    /// Whether queries and keys are normalised and turned by their positions.
    pub rotary: bool,
    /// Whether the map to queries, keys and values has a bias.
    pub qkv_bias: bool,
    /// The kind of perceptron.
    pub mlp: MlpKind,
    /// Whether a condition modulates the block (adaLN-Zero).
    pub conditioned: bool,
}

impl VisionBlockConfig {
    /// Counts the numbers that are learned, in 64-bit floats, as a
    /// [backbone](crate::BackboneConfig::parameters) does.
    pub fn parameters(&self) -> f64 {
        let [width, inner] = [self.width, self.inner].map(|size| size as f64);
        let ups = if self.mlp == MlpKind::SwiGlu { 2.0 * inner } else { inner };
        let norms = match self.norm {
            NormKind::Rms => 2.0 * width,
            NormKind::Layer => 4.0 * width,
            NormKind::LayerFixed => 0.0,
        };
        let heads = if self.rotary { 2.0 * (self.width / self.heads) as f64 } else { 0.0 };
        let qkv = width + if self.qkv_bias { 1.0 } else { 0.0 };
        let attention = 3.0 * qkv * width + (width + 1.0) * width;
        let mlp = (width + 1.0) * ups + (inner + 1.0) * width;
        let modulation = if self.conditioned { 6.0 * (width + 1.0) * width } else { 0.0 };
        norms + heads + attention + mlp + modulation
    }
}

/// A kind of perceptron, always with biases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MlpKind {
    /// `W_d (swish(g) ⊙ r) + b_d`, `g, r = split(W_f x + b_f)` (Shazeer 2020, arXiv:2002.05202).
    SwiGlu,
    /// `W_d GELU(W_f x + b_f) + b_d` (Hendrycks & Gimpel 2016, arXiv:1606.08415).
    Gelu,
    /// GELU by its approximation with tanh.
    GeluTanh,
}

/// One block, `[images, tokens, channels]` -> the same shape.
#[derive(Module, Debug)]
pub struct VisionBlock {
    attention_norm: BlockNorm,
    qkv_proj: Linear,
    query_norm: Option<RmsNorm>,
    key_norm: Option<RmsNorm>,
    out_proj: Linear,
    mlp_norm: BlockNorm,
    up_proj: Linear,
    down_proj: Linear,
    modulation: Option<Modulation>,
    #[module(skip)]
    config: VisionBlockConfig,
}

impl VisionBlock {
    /// Makes a block with fresh weights: normal ones, smaller where a branch closes in a stack of
    /// `depth` blocks.
    pub fn new(config: &VisionBlockConfig, depth: usize, init: &mut Init) -> Self {
        let VisionBlockConfig { width, heads, inner, norm, mlp, .. } = *config;
        let head = width / heads;
        let epsilon = config.attention_epsilon;
        let ups = if mlp == MlpKind::SwiGlu { 2 * inner } else { inner };
        let head_norm = |init: &mut Init| config.rotary.then(|| RmsNorm::new(init, head, epsilon));
        Self {
            attention_norm: BlockNorm::new(init, norm, width, epsilon),
            qkv_proj: Linear::new(init, width, 3 * width, config.qkv_bias),
            query_norm: head_norm(init),
            key_norm: head_norm(init),
            out_proj: Linear::residual(init, width, width, true, depth),
            mlp_norm: BlockNorm::new(init, norm, width, config.mlp_epsilon),
            up_proj: Linear::new(init, width, ups, true),
            down_proj: Linear::residual(init, inner, width, true, depth),
            modulation: config.conditioned.then(|| Modulation::new(init, width, 6)),
            config: *config,
        }
    }

    /// Computes `x`: `[images, tokens, channels]` -> the same shape. The `condition`,
    /// `[images, channels]`, is seen by blocks that ask for one, and is zero for them without one.
    pub fn forward(
        &self,
        x: Tensor<3>,
        context: &AttentionContext,
        condition: Option<&Tensor<2>>,
    ) -> Tensor<3> {
        let Some(modulation) = &self.modulation else {
            let h = x.clone() + self.attend(self.attention_norm.forward(x), context);
            return h.clone() + self.feed(self.mlp_norm.forward(h));
        };
        let images = x.dims()[0];
        let [shift_1, scale_1, gate_1, shift_2, scale_2, gate_2] =
            modulation.parts(of_images(condition).as_ref(), images, 1);
        let normed = modulate(self.attention_norm.forward(x.clone()), shift_1, scale_1);
        let h = x + self.attend(normed, context) * gate_1;
        let normed = modulate(self.mlp_norm.forward(h.clone()), shift_2, scale_2);
        h + self.feed(normed) * gate_2
    }

    /// Computes attention of normalised tokens, `[images, tokens, channels]` -> the same shape.
    fn attend(&self, normed: Tensor<3>, context: &AttentionContext) -> Tensor<3> {
        let [images, tokens, width] = normed.dims();
        let heads = self.config.heads;
        let qkv = self.qkv_proj.forward(normed);
        let part = |which: usize| -> Tensor<4> {
            let channels = qkv.clone().narrow(2, which * width, width);
            let heads = channels.reshape([images, tokens, heads, width / heads]);
            heads.swap_dims(1, 2) // [images, heads, tokens, head]
        };
        let placed = |x: Tensor<4>, norm: &Option<RmsNorm>| match norm {
            Some(norm) => {
                let epsilon = self.config.attention_epsilon;
                let normed = mm_kernels::rms_norm(x, &norm.gamma.val(), epsilon);
                context.rotate(normed, Precision::F32)
            }
            None => x,
        };
        let (q, k) = (placed(part(0), &self.query_norm), placed(part(1), &self.key_norm));
        let mixed = kernels_of(&q).attention(q, k, part(2), context, Precision::F32);
        self.out_proj.forward(mixed.swap_dims(1, 2).reshape([images, tokens, width]))
    }

    /// Computes the perceptron of normalised tokens, `[images, tokens, channels]` -> the same
    /// shape.
    fn feed(&self, normed: Tensor<3>) -> Tensor<3> {
        let up = self.up_proj.forward(normed);
        let inner = self.config.inner;
        self.down_proj.forward(match self.config.mlp {
            MlpKind::SwiGlu => silu(up.clone().narrow(2, 0, inner)) * up.narrow(2, inner, inner),
            MlpKind::Gelu => gelu(up),
            MlpKind::GeluTanh => gelu_approximate(up),
        })
    }
}

/// The norm behind the last block, modulated by the condition where blocks are.
#[derive(Module, Debug)]
pub struct VisionNorm {
    norm: BlockNorm,
    modulation: Option<Modulation>,
}

impl VisionNorm {
    /// Makes the norm of `width` channels.
    pub fn new(
        init: &mut Init,
        kind: NormKind,
        width: usize,
        epsilon: f64,
        conditioned: bool,
    ) -> Self {
        Self {
            norm: BlockNorm::new(init, kind, width, epsilon),
            modulation: conditioned.then(|| Modulation::new(init, width, 2)),
        }
    }

    /// Normalises and modulates `[images, tokens, channels]` -> the same shape; the condition is
    /// `[images, channels]`.
    pub fn forward(&self, x: Tensor<3>, condition: Option<&Tensor<2>>) -> Tensor<3> {
        let images = x.dims()[0];
        let normed = self.norm.forward(x);
        let Some(modulation) = &self.modulation else { return normed };
        let [shift, scale] = modulation.parts(of_images(condition).as_ref(), images, 1);
        modulate(normed, shift, scale)
    }
}

/// Gives every image its own row of a condition, `[images, channels]`.
fn of_images(condition: Option<&Tensor<2>>) -> Option<Condition> {
    condition.map(|rows| {
        let images = rows.dims()[0] as i64;
        Condition::new(rows.clone(), Tensor::arange(0..images, &rows.device()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::Shake;
    use mm_kernels::{AxisFrequency, KeyRanges, RotaryTables};

    fn config(mlp: MlpKind, norm: NormKind, conditioned: bool) -> VisionBlockConfig {
        VisionBlockConfig {
            width: 8,
            heads: 2,
            inner: 12,
            norm,
            attention_epsilon: 1e-6,
            mlp_epsilon: 1e-5,
            rotary: mlp == MlpKind::SwiGlu,
            qkv_bias: conditioned,
            mlp,
            conditioned,
        }
    }

    fn context(images: usize, tokens: usize) -> AttentionContext {
        let frequencies = [0, 1].map(|axis| AxisFrequency { axis, theta: 0.7 });
        let one: Vec<[f64; 2]> = (0..tokens).map(|at| [at as f64, 1.0]).collect();
        let ranges = vec![[0, tokens as u32]; images * tokens];
        let ranges = KeyRanges::new(images, tokens, ranges).unwrap();
        let tables = RotaryTables::new(&frequencies, &one.repeat(images));
        AttentionContext::new(tables, ranges, &Device::flex())
    }

    #[test]
    fn an_image_sees_all_of_itself_and_nothing_of_another_whatever_the_options() {
        let device = Device::flex();
        for (mlp, norm, conditioned) in [
            (MlpKind::SwiGlu, NormKind::Rms, true),
            (MlpKind::Gelu, NormKind::Layer, false),
            (MlpKind::GeluTanh, NormKind::LayerFixed, true),
        ] {
            let config = config(mlp, norm, conditioned);
            let fresh = VisionBlock::new(&config, 2, &mut Init::new(1, &device));
            assert_eq!(config.parameters(), fresh.num_params() as f64, "{mlp:?}");
            let block = fresh.map(&mut Shake(Init::new(2, &device)));
            let normal = |seed, tokens| Init::new(seed, &device).normal([1, tokens, 8], 1.0).val();
            let condition = Init::new(5, &device).normal([2, 8], 1.0).val();
            let both = |first, last| {
                let x = Tensor::cat(vec![normal(first, 3), normal(last, 3)], 0);
                block.forward(x, &context(2, 3), Some(&condition))
            };
            let (a, b) = (both(3, 4), both(3, 6));
            let image = |x: &Tensor<3>, at| x.clone().narrow(0, at, 1).into_data();
            assert_eq!(image(&a, 0), image(&b, 0), "{mlp:?}");
            assert_ne!(image(&a, 1), image(&b, 1), "{mlp:?}");
        }
    }

    #[test]
    fn a_conditioned_block_starts_as_the_identity() {
        let device = Device::flex();
        let config = config(MlpKind::GeluTanh, NormKind::LayerFixed, true);
        let block = VisionBlock::new(&config, 2, &mut Init::new(1, &device));
        let x = Init::new(2, &device).normal([2, 3, 8], 1.0).val();
        let condition = Tensor::ones([2, 8], &device);
        let y = block.forward(x.clone(), &context(2, 3), Some(&condition));
        assert_eq!(y.into_data(), x.into_data());
    }
}

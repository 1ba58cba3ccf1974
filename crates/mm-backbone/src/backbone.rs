//! The stack: blocks one after another, then a norm.

use burn::prelude::*;

use crate::cache::{Cache, KeyValue};
use crate::dit::{Closing, Dit};
use crate::gau::Gau;
use crate::ops::News;
use crate::transformer::Transformer;
use crate::uvit::LongSkip;
use crate::{Attend, BackboneConfig, BackboneError, BlockConfig, Init, RmsNorm};

/// A stack of pre-norm residual blocks with a closing norm.
#[derive(Module, Debug)]
pub struct Backbone {
    pub(crate) blocks: Vec<Block>,
    pub(crate) norm: RmsNorm,
    /// Of a U-ViT, the innermost first; no others have any.
    pub(crate) skips: Vec<LongSkip>,
    /// Of a DiT.
    closing: Option<Closing>,
}

#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)] // a few blocks, each made once: boxing would buy nothing
pub(crate) enum Block {
    Gau(Gau),
    Transformer(Transformer),
    Dit(Dit),
}

impl Block {
    pub(crate) fn new(config: &BackboneConfig, init: &mut Init) -> Self {
        match config.block {
            BlockConfig::Gau { expansion, key_size, bias } => {
                Self::Gau(Gau::new(config, [expansion, key_size], bias, init))
            }
            BlockConfig::Transformer { heads, key_heads, feed_forward }
            | BlockConfig::Uvit { heads, key_heads, feed_forward } => {
                Self::Transformer(Transformer::new(config, [heads, key_heads], feed_forward, init))
            }
            BlockConfig::Dit { heads, key_heads, feed_forward } => {
                Self::Dit(Dit::new(config, [heads, key_heads], feed_forward, init))
            }
        }
    }

    /// `x`: `[batch, tokens, channels]` -> the same shape.
    pub(crate) fn forward(&self, x: Tensor<3>, attend: &Attend) -> Tensor<3> {
        self.fused(&x, attend).unwrap_or_else(|| self.ordinary(x, attend, None).0)
    }

    /// The same behind a prefix, with the keys and values of these tokens.
    fn forward_cached(
        &self,
        x: Tensor<3>,
        attend: &Attend,
        past: Option<&KeyValue>,
    ) -> (Tensor<3>, KeyValue) {
        match self.fused_cached(&x, attend, past, News::Kept) {
            Some((y, Some(new))) => (y, new),
            _ => self.ordinary(x, attend, past),
        }
    }

    /// The same without the keys and values, for tokens that no later one will see.
    fn forward_behind(&self, x: Tensor<3>, attend: &Attend, past: Option<&KeyValue>) -> Tensor<3> {
        match self.fused_cached(&x, attend, past, News::Dropped) {
            Some((y, _)) => y,
            None => self.ordinary(x, attend, past).0,
        }
    }

    /// As one operation, where a kernel applies; `x`: `[batch, tokens, channels]` -> the same shape.
    pub(crate) fn fused(&self, x: &Tensor<3>, attend: &Attend) -> Option<Tensor<3>> {
        match self {
            Self::Gau(block) => block.fused(x, attend),
            Self::Transformer(block) => block.fused(x, attend),
            Self::Dit(_) => None,
        }
    }

    /// The same behind a prefix, with the keys and values of these tokens if they are kept; `x`: `[batch, tokens, channels]`.
    pub(crate) fn fused_cached(
        &self,
        x: &Tensor<3>,
        attend: &Attend,
        past: Option<&KeyValue>,
        news: News,
    ) -> Option<(Tensor<3>, Option<KeyValue>)> {
        match self {
            Self::Gau(block) => block.fused_cached(x, attend, past, news),
            Self::Transformer(block) => block.fused_cached(x, attend, past, news),
            Self::Dit(_) => None,
        }
    }

    /// The definition; `x`: `[batch, tokens, channels]` -> the same shape, and the keys and values of these tokens.
    pub(crate) fn ordinary(
        &self,
        x: Tensor<3>,
        attend: &Attend,
        past: Option<&KeyValue>,
    ) -> (Tensor<3>, KeyValue) {
        match self {
            Self::Gau(block) => block.ordinary(x, attend, past),
            Self::Transformer(block) => block.ordinary(x, attend, past),
            Self::Dit(block) => block.forward(x, attend, past),
        }
    }
}

impl Backbone {
    /// A backbone with fresh weights, drawn from `init` in order.
    pub fn new(config: &BackboneConfig, init: &mut Init) -> Result<Self, BackboneError> {
        config.validate()?;
        let blocks = (0..config.depth).map(|_| Block::new(config, init)).collect();
        let norm = RmsNorm::new(init, config.width, config.norm_epsilon);
        let skips = match config.block {
            BlockConfig::Uvit { .. } => LongSkip::all(init, config.width, config.depth),
            _ => vec![],
        };
        let closing = config.block.is_conditioned().then(|| Closing::new(config, init));
        Ok(Self { blocks, norm, skips, closing })
    }

    /// Whether the blocks ask for a [`Condition`](crate::Condition).
    pub fn is_conditioned(&self) -> bool {
        self.closing.is_some()
    }

    /// `x`: `[batch, tokens, channels]` -> hidden `[batch, tokens, channels]`.
    pub fn forward(&self, x: Tensor<3>, attend: &Attend) -> Tensor<3> {
        self.stack(x, attend, |index, x| self.blocks[index].forward(x, attend))
    }

    /// The same for tokens that follow a cached prefix: `x`: `[batch, tokens, channels]` -> hidden of the same shape, and
    /// what [`Cache::append`] takes to make these tokens part of the prefix. `attend` counts the prefix among the keys.
    pub fn forward_cached(
        &self,
        x: Tensor<3>,
        attend: &Attend,
        cache: &Cache,
    ) -> (Tensor<3>, Vec<KeyValue>) {
        let mut new = Vec::with_capacity(self.blocks.len());
        let hidden = self.stack(x, attend, |index, x| {
            let (next, key_value) =
                self.blocks[index].forward_cached(x, attend, cache.block(index));
            new.push(key_value);
            next
        });
        (hidden, new)
    }

    /// The same for tokens that will not become part of the prefix, such as patches that are still being denoised:
    /// `x`: `[batch, tokens, channels]` -> hidden of the same shape.
    pub fn forward_behind(&self, x: Tensor<3>, attend: &Attend, cache: &Cache) -> Tensor<3> {
        self.stack(x, attend, |index, x| {
            self.blocks[index].forward_behind(x, attend, cache.block(index))
        })
    }

    /// All blocks in order with their long skips, then the norm; `block` is given a block's index and input.
    fn stack(
        &self,
        mut x: Tensor<3>,
        attend: &Attend,
        mut block: impl FnMut(usize, Tensor<3>) -> Tensor<3>,
    ) -> Tensor<3> {
        let half = self.skips.len();
        let mut kept = Vec::with_capacity(half);
        for index in 0..self.blocks.len() {
            if index > half
                && let Some(mirror) = kept.pop()
            {
                x = self.skips[index - half - 1].forward(x, mirror);
            }
            x = block(index, x);
            if index < half {
                kept.push(x.clone());
            }
        }
        match &self.closing {
            Some(closing) => closing.forward(x, &self.norm, attend),
            None => self.norm.forward(x),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::Shake;
    use crate::{Condition, KeyRanges, PositionScheme, Positions, Precision};
    use burn::tensor::{DType, Tolerance};

    const WIDTH: usize = 32;

    fn configs() -> Vec<BackboneConfig> {
        let with = |depth, block| BackboneConfig {
            width: WIDTH,
            depth,
            block,
            positions: PositionScheme::RopeTv,
            rotary_base: 10_000.0,
            norm_epsilon: 1e-6,
        };
        vec![
            with(2, BlockConfig::Gau { expansion: 2, key_size: 16, bias: true }),
            with(2, BlockConfig::Transformer { heads: 4, key_heads: 2, feed_forward: 48 }),
            with(3, BlockConfig::Uvit { heads: 4, key_heads: 2, feed_forward: 48 }),
            with(2, BlockConfig::Dit { heads: 4, key_heads: 2, feed_forward: 48 }),
        ]
    }

    /// `t[iiii]tt`: positions and ranges of one document.
    fn document() -> (Vec<[f64; 2]>, Vec<[u32; 2]>) {
        let mut positions = Positions::new(PositionScheme::RopeTv);
        let mut places = vec![positions.text()];
        places.extend(positions.image(2, 2));
        places.extend([positions.text(), positions.text()]);
        (places, vec![[0, 1], [0, 5], [0, 5], [0, 5], [0, 5], [0, 6], [0, 7]])
    }

    fn tokens(seed: u64, count: usize, device: &Device) -> Tensor<3> {
        Init::new(seed, device).normal([1, count, WIDTH], 1.0).val()
    }

    /// With a condition, if the blocks ask for one: some patches have a row of it, others and text have zeros.
    fn attend(
        config: &BackboneConfig,
        places: &[[f64; 2]],
        keys: usize,
        ranges: &[[u32; 2]],
    ) -> Attend {
        let device = Device::flex();
        let ranges = KeyRanges::new(1, keys, ranges.to_vec()).unwrap();
        let attend = Attend::new(config, places, ranges, &device);
        if !config.block.is_conditioned() {
            return attend;
        }
        let index: Vec<i32> = places.iter().map(|at| i32::from(at[0] != at[1])).collect();
        let index = Tensor::from_data(TensorData::new(index, [places.len()]), &device);
        let rows = vec![Tensor::zeros([1, WIDTH], &device), tokens(9, 1, &device).squeeze_dim(0)];
        attend.with_condition(Condition::new(Tensor::cat(rows, 0), index))
    }

    /// With every weight moved, so that none is zero.
    fn backbone(config: &BackboneConfig) -> Backbone {
        let device = Device::flex();
        let fresh = Backbone::new(config, &mut Init::new(1, &device)).unwrap();
        fresh.map(&mut Shake(Init::new(8, &device)))
    }

    #[test]
    fn cached_equals_uncached() {
        let device = Device::flex();
        for config in configs() {
            let backbone = backbone(&config);
            let (places, ranges) = document();
            let x = tokens(2, 7, &device);
            let whole = backbone.forward(x.clone(), &attend(&config, &places, 7, &ranges));
            let mut cache = Cache::new();
            let mut pieces = Vec::new();
            for (from, to) in [(0, 1), (1, 5), (5, 6), (6, 7)] {
                let step = attend(&config, &places[from..to], to, &ranges[from..to]);
                let (hidden, new) =
                    backbone.forward_cached(x.clone().narrow(1, from, to - from), &step, &cache);
                let behind =
                    backbone.forward_behind(x.clone().narrow(1, from, to - from), &step, &cache);
                assert_eq!(behind.into_data(), hidden.to_data());
                cache.append(new);
                pieces.push(hidden);
            }
            assert_eq!(cache.tokens(), 7);
            let pieces = Tensor::cat(pieces, 1);
            pieces
                .into_data()
                .assert_approx_eq::<f32>(&whole.into_data(), Tolerance::rel_abs(1e-4, 1e-5));
        }
    }

    #[test]
    fn blocks_that_multiply_in_16_bits_give_nearly_the_same_in_32() {
        let device = Device::flex();
        for config in configs() {
            let backbone = backbone(&config);
            let (places, ranges) = document();
            let (x, attend) = (tokens(2, 7, &device), attend(&config, &places, 7, &ranges));
            let whole = backbone.forward(x.clone(), &attend);
            let half = backbone.forward(x, &attend.in_precision(Precision::Bf16));
            assert_eq!(half.dtype(), DType::F32);
            let size = whole.clone().abs().max().into_scalar::<f32>();
            let apart = (half - whole).abs().max().into_scalar::<f32>() / size;
            assert!((1e-5..5e-2).contains(&apart), "{config:?}: {apart:e} apart");
        }
    }

    #[test]
    fn a_packed_neighbour_changes_nothing() {
        let device = Device::flex();
        for config in configs() {
            let backbone = backbone(&config);
            let (places, ranges) = document();
            let (x, other) = (tokens(2, 7, &device), tokens(3, 7, &device));
            let alone = backbone.forward(x.clone(), &attend(&config, &places, 7, &ranges));
            let shifted: Vec<_> = ranges.iter().map(|&[a, b]| [a + 7, b + 7]).collect();
            let both = attend(
                &config,
                &[places.clone(), places].concat(),
                14,
                &[ranges, shifted].concat(),
            );
            let packed = backbone.forward(Tensor::cat(vec![other, x], 1), &both).narrow(1, 7, 7);
            packed
                .into_data()
                .assert_approx_eq::<f32>(&alone.into_data(), Tolerance::rel_abs(1e-4, 1e-5));
        }
    }

    #[test]
    fn a_later_token_never_changes_an_earlier_one() {
        let device = Device::flex();
        for config in configs() {
            let backbone = backbone(&config);
            let (places, ranges) = document();
            let hidden = |last: u64| {
                let x = Tensor::cat(vec![tokens(2, 6, &device), tokens(last, 1, &device)], 1);
                backbone.forward(x, &attend(&config, &places, 7, &ranges))
            };
            let (a, b) = (hidden(3), hidden(4));
            assert_eq!(
                a.clone().narrow(1, 0, 6).into_data(),
                b.clone().narrow(1, 0, 6).into_data()
            );
            assert_ne!(a.narrow(1, 6, 1).into_data(), b.narrow(1, 6, 1).into_data());
        }
    }

    #[test]
    fn the_seeds_network_has_the_counted_parameters() {
        let config = BackboneConfig {
            width: 768,
            depth: 1,
            block: BlockConfig::Gau { expansion: 2, key_size: 128, bias: true },
            positions: PositionScheme::Halves,
            rotary_base: 1000.0,
            norm_epsilon: 1e-7,
        };
        let backbone = Backbone::new(&config, &mut Init::new(0, &Device::flex())).unwrap();
        assert_eq!(backbone.num_params(), 3_642_496 + 768); // one layer and the closing norm
    }
}

//! The stack: blocks one after another, then a norm.

use burn::prelude::*;
use mm_kernels::{AttentionContext, BlockOptions, KeyValue, KvUpdate};

use crate::block::Block;
use crate::cache::Cache;
use crate::dit::FinalLayer;
use crate::norm::Norm;
use crate::uvit::LongSkip;
use crate::{BackboneConfig, BackboneError, Condition, Init};

/// A stack of pre-norm residual blocks, and a norm behind the last.
///
/// ```
/// use burn::prelude::*;
/// use mm_backbone::{
///     Backbone, BackboneConfig, BlockConfig, BlockOptions, Cache, GauConfig, Init, KeyRanges,
///     PositionScheme,
/// };
///
/// let config = BackboneConfig {
///     width: 16,
///     depth: 2,
///     block: BlockConfig::Gau(GauConfig { expansion: 2, key_size: 8, bias: false }),
///     positions: PositionScheme::RopeTv,
///     rotary_base: 10_000.0,
///     norm_epsilon: 1e-6,
/// };
/// let device = Device::flex();
/// let backbone = Backbone::new(&config, &mut Init::new(0, &device)).unwrap();
/// let options = BlockOptions::default();
///
/// // Two tokens of text go into the cache, a third follows them.
/// let mut cache = Cache::new();
/// let causal = KeyRanges::new(1, 2, vec![[0, 1], [0, 2]]).unwrap();
/// let context = config.attention_context(&[[0.0; 2], [1.0; 2]], causal, &device);
/// let x = Tensor::ones([1, 2, 16], &device);
/// let (_, new) = backbone.forward_cached(x, &context, None, options, &cache);
/// cache.append(new);
/// let last = KeyRanges::new(1, 3, vec![[0, 3]]).unwrap();
/// let context = config.attention_context(&[[2.0; 2]], last, &device);
/// let x = Tensor::ones([1, 1, 16], &device);
/// let hidden = backbone.forward_with_prefix(x, &context, None, options, &cache);
/// assert_eq!(hidden.dims(), [1, 1, 16]);
/// ```
#[derive(Module, Debug)]
pub struct Backbone {
    pub(crate) blocks: Vec<Block>,
    pub(crate) norm: Norm,
    /// The joins of a U-ViT, the innermost first; other stacks have none.
    pub(crate) skips: Vec<LongSkip>,
    /// The modulation of the norm in a DiT.
    final_layer: Option<FinalLayer>,
}

impl Backbone {
    /// Makes a backbone with fresh weights, drawn from `init` in order.
    pub fn new(config: &BackboneConfig, init: &mut Init) -> Result<Self, BackboneError> {
        config.validate()?;
        let blocks = (0..config.depth).map(|_| Block::new(config, init)).collect();
        let is_persimmon = config.block.is_persimmon();
        let norm = Norm::new(init, config.width, config.norm_epsilon, is_persimmon);
        let skips = LongSkip::all(init, config.width, config.skips());
        let final_layer = config.block.is_conditioned().then(|| FinalLayer::new(config, init));
        Ok(Self { blocks, norm, skips, final_layer })
    }

    /// Says whether the blocks ask for a [`Condition`].
    pub fn is_conditioned(&self) -> bool {
        self.final_layer.is_some()
    }

    /// Computes whole rows, `x`: `[batch, tokens, channels]` -> hidden `[batch, tokens, channels]`.
    /// A `condition` is seen by blocks that [ask for one](Self::is_conditioned).
    pub fn forward(
        &self,
        x: Tensor<3>,
        context: &AttentionContext,
        condition: Option<&Condition>,
        options: BlockOptions,
    ) -> Tensor<3> {
        self.stack(x, condition, |index, x| {
            self.blocks[index].forward(x, context, condition, options)
        })
    }

    /// Computes tokens that follow a cached prefix, `x`: `[batch, tokens, channels]` -> hidden of
    /// the same shape, and what [`Cache::append`] takes to make these tokens part of the prefix.
    /// `context` counts the prefix among the keys.
    pub fn forward_cached(
        &self,
        x: Tensor<3>,
        context: &AttentionContext,
        condition: Option<&Condition>,
        options: BlockOptions,
        cache: &Cache,
    ) -> (Tensor<3>, Vec<KeyValue>) {
        let mut new = Vec::with_capacity(self.blocks.len());
        let hidden = self.stack(x, condition, |index, x| {
            let (block, prefix) = (&self.blocks[index], cache.block(index));
            let update = KvUpdate::Keep;
            let (next, key_value) =
                block.forward_with_prefix(x, context, condition, options, prefix, update);
            new.extend(key_value);
            next
        });
        (hidden, new)
    }

    /// Computes tokens that follow a cached prefix and will not become part of it, such as patches
    /// that are still being denoised: `x`: `[batch, tokens, channels]` -> hidden of the same shape.
    pub fn forward_with_prefix(
        &self,
        x: Tensor<3>,
        context: &AttentionContext,
        condition: Option<&Condition>,
        options: BlockOptions,
        cache: &Cache,
    ) -> Tensor<3> {
        self.stack(x, condition, |index, x| {
            let (block, prefix) = (&self.blocks[index], cache.block(index));
            let update = KvUpdate::Discard;
            block.forward_with_prefix(x, context, condition, options, prefix, update).0
        })
    }

    /// Runs all blocks in order with their long skips, then the norm; `block` is given a block's
    /// index and input.
    fn stack(
        &self,
        mut x: Tensor<3>,
        condition: Option<&Condition>,
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
        match &self.final_layer {
            Some(layer) => layer.forward(x, &self.norm, condition),
            None => self.norm.forward(x),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::Shake;
    use crate::{
        BlockConfig, GauConfig, KeyRanges, MultiHeadConfig, MultiHeadVariant, PositionScheme,
        Positions, Precision,
    };
    use burn::module::ModuleVisitor;
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
        let (heads, key_heads, feed_forward) = (4, 2, 48);
        let multi_head = |variant| {
            BlockConfig::MultiHead(MultiHeadConfig { variant, heads, key_heads, feed_forward })
        };
        let variant = MultiHeadVariant::Persimmon;
        let persimmon = BlockConfig::MultiHead(MultiHeadConfig {
            variant,
            heads,
            key_heads: heads,
            feed_forward,
        });
        vec![
            with(2, BlockConfig::Gau(GauConfig { expansion: 2, key_size: 16, bias: true })),
            with(2, multi_head(MultiHeadVariant::Plain)),
            with(3, multi_head(MultiHeadVariant::Uvit)),
            with(2, multi_head(MultiHeadVariant::Dit)),
            with(2, persimmon),
        ]
    }

    /// Returns positions and ranges of one document, `t[iiii]tt`.
    fn document() -> (Vec<[f64; 2]>, Vec<[u32; 2]>) {
        let mut next = Positions::new(PositionScheme::RopeTv);
        let mut positions = vec![next.text()];
        positions.extend(next.image(2, 2));
        positions.extend([next.text(), next.text()]);
        (positions, vec![[0, 1], [0, 5], [0, 5], [0, 5], [0, 5], [0, 6], [0, 7]])
    }

    fn tokens(seed: u64, count: usize, device: &Device) -> Tensor<3> {
        Init::new(seed, device).normal([1, count, WIDTH], 1.0).val()
    }

    /// Returns the context of one row, and a condition if the blocks ask for one: some patches have
    /// a row of it, others and text have zeros.
    fn context(
        config: &BackboneConfig,
        positions: &[[f64; 2]],
        keys: usize,
        ranges: &[[u32; 2]],
    ) -> (AttentionContext, Option<Condition>) {
        let device = Device::flex();
        let ranges = KeyRanges::new(1, keys, ranges.to_vec()).unwrap();
        let context = config.attention_context(positions, ranges, &device);
        if !config.block.is_conditioned() {
            return (context, None);
        }
        let index: Vec<i32> = positions.iter().map(|at| i32::from(at[0] != at[1])).collect();
        let index = Tensor::from_data(TensorData::new(index, [positions.len()]), &device);
        let rows = vec![Tensor::zeros([1, WIDTH], &device), tokens(9, 1, &device).squeeze_dim(0)];
        (context, Some(Condition::new(Tensor::cat(rows, 0), index)))
    }

    /// Computes one whole row.
    fn forward(
        backbone: &Backbone,
        config: &BackboneConfig,
        x: Tensor<3>,
        positions: &[[f64; 2]],
        ranges: &[[u32; 2]],
    ) -> Tensor<3> {
        let (context, condition) = context(config, positions, ranges.len(), ranges);
        backbone.forward(x, &context, condition.as_ref(), BlockOptions::default())
    }

    /// Makes a backbone with every weight moved, so that none is zero.
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
            let (positions, ranges) = document();
            let x = tokens(2, 7, &device);
            let whole = forward(&backbone, &config, x.clone(), &positions, &ranges);
            let options = BlockOptions::default();
            let mut cache = Cache::new();
            let mut pieces = Vec::new();
            for (from, to) in [(0, 1), (1, 5), (5, 6), (6, 7)] {
                let (context, condition) =
                    context(&config, &positions[from..to], to, &ranges[from..to]);
                let (condition, piece) = (condition.as_ref(), x.clone().narrow(1, from, to - from));
                let (hidden, new) =
                    backbone.forward_cached(piece.clone(), &context, condition, options, &cache);
                let same =
                    backbone.forward_with_prefix(piece, &context, condition, options, &cache);
                assert_eq!(same.into_data(), hidden.to_data());
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
            let (positions, ranges) = document();
            let (context, condition) = context(&config, &positions, 7, &ranges);
            let x = tokens(2, 7, &device);
            let in_precision = |precision| {
                let options = BlockOptions { precision, ..BlockOptions::default() };
                backbone.forward(x.clone(), &context, condition.as_ref(), options)
            };
            let (whole, half) = (in_precision(Precision::F32), in_precision(Precision::Bf16));
            assert_eq!(half.dtype(), DType::F32);
            let size = whole.clone().abs().max().into_scalar::<f32>();
            let apart = (half - whole).abs().max().into_scalar::<f32>() / size;
            assert!((1e-5..5e-2).contains(&apart), "{config:?}: {apart:e} apart");
        }
    }

    /// Collects the gradients of all parameters in order.
    struct Gradients<'a> {
        of: &'a burn::tensor::Gradients,
        found: Vec<TensorData>,
    }

    impl ModuleVisitor for Gradients<'_> {
        fn visit_float<const D: usize>(&mut self, param: &burn::module::Param<Tensor<D>>) {
            self.found.push(param.val().grad(self.of).expect("every weight has one").into_data());
        }
    }

    #[test]
    fn blocks_that_are_computed_again_give_the_same_numbers_and_gradients() {
        let device = Device::flex();
        for (config, precision) in
            configs().iter().flat_map(|it| [(it, Precision::F32), (it, Precision::Bf16)])
        {
            let backbone = backbone(config).train();
            let (positions, ranges) = document();
            let (context, condition) = context(config, &positions, 7, &ranges);
            let results = |activation_checkpointing| {
                let options = BlockOptions { precision, activation_checkpointing };
                let x = tokens(2, 7, &device).autodiff().require_grad();
                let rows = condition.as_ref().map(|it| it.rows().autodiff().require_grad());
                let condition = condition.as_ref().zip(rows.clone());
                let condition = condition.map(|(condition, rows)| condition.with_rows(rows));
                let y = backbone.forward(x.clone(), &context, condition.as_ref(), options);
                let weight = tokens(3, 7, &device);
                let grads = (y.clone() * weight).sum().backward();
                let mut found = Gradients { of: &grads, found: vec![y.into_data()] };
                backbone.visit(&mut found);
                let inputs = [x.grad(&grads), None].into_iter().flatten().map(Tensor::into_data);
                let rows = rows.map(|rows| rows.grad(&grads).unwrap().into_data());
                found.found.into_iter().chain(inputs).chain(rows).collect::<Vec<_>>()
            };
            let (found, wanted) = (results(true), results(false));
            // Joins and conditions have gradients of several blocks, here in another order.
            if config.skips() == 0 && !config.block.is_conditioned() {
                assert!(found == wanted, "{config:?} in {precision:?}");
            }
            let most = if precision == Precision::F32 { 1e-5 } else { 1e-2 };
            for (found, wanted) in found.iter().zip(&wanted) {
                found.assert_approx_eq::<f32>(wanted, Tolerance::rel_abs(most, most));
            }
        }
    }

    #[test]
    fn a_packed_neighbor_changes_nothing() {
        let device = Device::flex();
        for config in configs() {
            let backbone = backbone(&config);
            let (positions, ranges) = document();
            let (x, other) = (tokens(2, 7, &device), tokens(3, 7, &device));
            let single = forward(&backbone, &config, x.clone(), &positions, &ranges);
            let shifted: Vec<_> = ranges.iter().map(|&[a, b]| [a + 7, b + 7]).collect();
            let (positions, ranges) = (positions.repeat(2), [ranges, shifted].concat());
            let both = Tensor::cat(vec![other, x], 1);
            let packed = forward(&backbone, &config, both, &positions, &ranges).narrow(1, 7, 7);
            packed
                .into_data()
                .assert_approx_eq::<f32>(&single.into_data(), Tolerance::rel_abs(1e-4, 1e-5));
        }
    }

    #[test]
    fn a_later_token_never_changes_an_earlier_one() {
        let device = Device::flex();
        for config in configs() {
            let backbone = backbone(&config);
            let (positions, ranges) = document();
            let hidden = |last: u64| {
                let x = Tensor::cat(vec![tokens(2, 6, &device), tokens(last, 1, &device)], 1);
                forward(&backbone, &config, x, &positions, &ranges)
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
    fn the_network_of_su_2024_has_the_counted_parameters() {
        let config = BackboneConfig {
            width: 768,
            depth: 1,
            block: BlockConfig::Gau(GauConfig { expansion: 2, key_size: 128, bias: true }),
            positions: PositionScheme::Halves,
            rotary_base: 1000.0,
            norm_epsilon: 1e-7,
        };
        let backbone = Backbone::new(&config, &mut Init::new(0, &Device::flex())).unwrap();
        assert_eq!(backbone.num_params(), 3_642_496 + 768); // one layer and the final norm
    }

    /// The paths of all weights, in the order of the visit.
    #[derive(Default)]
    struct Names {
        path: Vec<String>,
        found: Vec<String>,
    }

    impl ModuleVisitor for Names {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.path.push(name.to_owned());
        }

        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.pop();
        }

        fn visit_float<const D: usize>(&mut self, _: &burn::module::Param<Tensor<D>>) {
            self.found.push(self.path.join("."));
        }
    }

    #[test]
    fn names_of_weights_are_those_that_the_readme_lists() {
        let readme = include_str!("../README.md");
        let listed: Vec<&str> =
            readme.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        let mut found = std::collections::BTreeSet::new();
        for config in configs() {
            let mut names = Names::default();
            backbone(&config).visit(&mut names);
            let stem = |name: String| name.replace(|letter: char| letter.is_ascii_digit(), "N");
            found.extend(names.found.into_iter().map(stem));
        }
        assert_eq!(found, listed.iter().map(|name| (*name).to_owned()).collect());
    }
}

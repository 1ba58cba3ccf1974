//! Optimizers, learning rate, averages, and what is trained: parameter groups and gradient clipping
//! over Burn's optimizers.

mod adamw;
mod clock;
mod ema;
pub(crate) mod freeze;
mod gated;
mod lamb;
mod learning_rate;
pub(crate) mod lora;

use burn::module::{Module, ModuleVisitor, Param, ParamGroup};
use burn::optim::decay::WeightDecayConfig;
use burn::optim::{AdjustLrFn, GradientsParams, ModuleOptimizer, MuonConfig};
use burn::prelude::*;
use mm_kernels::SumOfSquares;

use crate::recipe::{OptimizerConfig, OptimizerKind};

pub use adamw::{AdamWOptimizer, AdamWState};
pub use ema::Ema;
pub(crate) use gated::StepGate;
use gated::{Gated, Rule};
pub use lamb::LambOptimizer;
pub use learning_rate::learning_rate;

/// Makes the optimizer of a recipe. Matrices and convolutions, which modules call `weight`, are
/// decayed, and so are their adapters; norms, biases and embeddings never are.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::optim::GradientsParams;
/// use burn::prelude::*;
///
/// let text = include_str!("../../mm-cli/recipes/glyphs.toml");
/// let recipe = mm_train::Recipe::from_toml(text).unwrap();
/// let device = Device::flex().autodiff();
/// let net = LinearConfig::new(2, 1).init(&device);
/// let loss = net.forward(Tensor::<2>::ones([4, 2], &device)).square().mean();
/// let grads = GradientsParams::from_grads(loss.backward(), &net);
/// let net = mm_train::optimizer(&recipe.optimizer).step(recipe.optimizer.lr, net, grads);
/// # let _ = net;
/// ```
pub fn optimizer(config: &OptimizerConfig) -> ModuleOptimizer {
    gated_optimizer(config, &StepGate::default())
}

/// Makes the optimizer of a recipe, whose steps `gate` may refuse unless the kind is Muon.
pub(crate) fn gated_optimizer(config: &OptimizerConfig, gate: &StepGate) -> ModuleOptimizer {
    let gated = |rule| Gated { rule, gate: gate.clone() };
    let adam =
        |weight_decay| gated(Rule::AdamW(AdamWOptimizer { betas: config.betas, weight_decay }));
    // Burn's own embeddings have a `weight` too, below a field that says what it is.
    // The group norms of a codec have one too, by their published names.
    let others = ParamGroup::from_any_predicates(vec!["embed", "norm"]);
    let decayed = ParamGroup::from_predicate("weight").exclude(others);
    let base =
        ModuleOptimizer::from(adam(0.0)).with_group(decayed, adam(config.weight_decay), None);
    match config.kind {
        OptimizerKind::Adamw => base,
        OptimizerKind::Lamb => {
            let (betas, epsilon) = (config.betas, 1e-6);
            let lamb = |adapt| gated(Rule::Lamb(LambOptimizer { betas, epsilon, adapt }));
            let biases = ParamGroup::from_any_predicates(vec!["bias"]);
            ModuleOptimizer::from(lamb(true)).with_group(biases, lamb(false), None)
        }
        OptimizerKind::Muon => {
            let muon = MuonConfig::new()
                .with_weight_decay(Some(WeightDecayConfig::new(config.weight_decay as f32)))
                .with_adjust_lr_fn(AdjustLrFn::MatchRmsAdamW);
            let matrices = ParamGroup::from_predicates(vec!["blocks", "weight"]);
            base.with_group(matrices, muon.build(), None)
        }
    }
}

/// Gradients that were shortened, and what was read for it.
pub(crate) struct Clipped {
    /// The gradients after clipping.
    pub grads: GradientsParams,
    /// The norm over all parameters before that.
    pub norm: f64,
    /// The other numbers that were read.
    pub others: Vec<f32>,
}

/// Shortens gradients so that their norm over all parameters is at most `most`, once they are
/// divided by the scale of the loss. The norm is the one thing that a step must wait for, so
/// `others` are read in the same turn.
pub(crate) fn clip<M: Module>(
    module: &M,
    mut grads: GradientsParams,
    most: f64,
    scale: f64,
    others: Vec<Tensor<1>>,
) -> Clipped {
    let mut squares = SumSquares { grads: &grads, sum: SumOfSquares::default() };
    module.visit(&mut squares);
    let (sum, others) = squares.sum.read_with(others);
    let norm = sum.sqrt() / scale;
    let factor = factor(norm, most) / scale;
    if factor != 1.0 {
        module.visit(&mut Scale { grads: &mut grads, factor });
    }
    Clipped { grads, norm, others }
}

/// Returns the factor that makes a finite norm at most `most`.
fn factor(norm: f64, most: f64) -> f64 {
    if norm.is_finite() && norm > most { most / norm } else { 1.0 }
}

/// Gradients that were shortened on the device, and nothing that was read.
pub(crate) struct ClippedUnread {
    /// The gradients after clipping.
    pub grads: GradientsParams,
    /// The squares of the gradients before that.
    pub squares: Squares,
}

/// The sum of the squares of all gradients, where it was computed.
pub(crate) enum Squares {
    Host(f64),
    /// A part of the sum for each parameter, `[parts]`, which are not read: that would wait for
    /// the device.
    Device(Box<Tensor<1>>),
}

impl Squares {
    /// Returns what was added up, without reading anything back.
    fn of(sum: SumOfSquares) -> Self {
        let (host, parts) = sum.into_parts();
        if parts.is_empty() {
            Self::Host(host)
        } else {
            Self::Device(Box::new(Tensor::cat(parts, 0)))
        }
    }

    /// Returns the parts on a device, `[parts]`.
    fn on(self, device: &Device) -> Tensor<1> {
        match self {
            Self::Host(sum) => Tensor::from_floats([sum as f32], device),
            Self::Device(parts) => *parts,
        }
    }
}

/// Does what [`clip`] does and reads nothing back from a device; `scale`: `[1]`.
pub(crate) fn clip_unread<M: Module>(
    module: &M,
    mut grads: GradientsParams,
    most: f64,
    scale: Option<Tensor<1>>,
    device: &Device,
) -> ClippedUnread {
    let mut squares = SumSquares { grads: &grads, sum: SumOfSquares::default() };
    module.visit(&mut squares);
    let squares = Squares::of(squares.sum);
    let shorter = match &squares {
        // The host has computed it all, and waits for nothing where it reads the scale.
        Squares::Host(sum) => {
            let scale = scale.map_or(1.0, |scale| f64::from(scale.into_scalar::<f32>()));
            let shorter = factor(sum.sqrt() / scale, most) / scale;
            Tensor::from_floats([shorter as f32], device)
        }
        Squares::Device(parts) => {
            let unscaled = |x: Tensor<1>| match &scale {
                Some(scale) => x / scale.clone(),
                None => x,
            };
            let norm = unscaled(parts.clone().sum().sqrt());
            // A limit of infinity is one that no norm reaches, so that 0 · ∞ does not come up.
            unscaled(norm.recip().mul_scalar(most.min(1e30)).clamp_max(1.0))
        }
    };
    module.visit(&mut ScaleBy { grads: &mut grads, factor: shorter });
    ClippedUnread { grads, squares }
}

struct SumSquares<'a> {
    grads: &'a GradientsParams,
    sum: SumOfSquares,
}

impl ModuleVisitor for SumSquares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.get::<D>(param.id) {
            self.sum.add(&grad);
        }
    }
}

struct Scale<'a> {
    grads: &'a mut GradientsParams,
    factor: f64,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.remove::<D>(param.id) {
            self.grads.register::<D>(param.id, grad * self.factor);
        }
    }
}

struct ScaleBy<'a> {
    grads: &'a mut GradientsParams,
    /// `[1]`
    factor: Tensor<1>,
}

impl ModuleVisitor for ScaleBy<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.remove::<D>(param.id) {
            self.grads.register::<D>(param.id, grad * self.factor.clone().unsqueeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use burn::module::ModuleMapper;
    use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
    use mm_model::Model;
    use mm_model::parameters::weights_of;

    use super::*;
    use crate::Recipe;
    use crate::optim::lora::adapted;

    const GLYPHS: &str = include_str!("../../mm-cli/recipes/glyphs.toml");
    const UVIT: &str = include_str!("../../mm-cli/recipes/baseline-uvit.toml");
    const UNET: &str = include_str!("../../mm-cli/recipes/baseline-unet.toml");
    const DECAY: [(&str, &str); 2] = [("optimizer.weight_decay", "0.5"), ("optimizer.lr", "0.1")];
    const GAU: &str = "{ kind = \"gau\", expansion = 2, key_size = 16, bias = true }";

    /// Gives every trained parameter a gradient of zeros, with which a step only decays.
    struct Zeros(GradientsParams);

    impl ModuleVisitor for Zeros {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if param.is_require_grad() {
                self.0.register::<D>(param.id, param.val().without_autodiff().zeros_like());
            }
        }
    }

    /// Replaces every number by one of at least 1, so that a decay shows.
    struct Raise;

    impl ModuleMapper for Raise {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|old| {
                let raised = old.clone().without_autodiff().abs() + 1.0;
                let raised = Tensor::from_data(raised.into_data(), &old.device());
                if old.is_require_grad() { raised.require_grad() } else { raised }
            })
        }
    }

    /// Takes one step with gradients of zero.
    fn decayed<M: Module>(model: M) -> M {
        let recipe = Recipe::from_toml(GLYPHS).unwrap().with_all(&DECAY).unwrap();
        let mut zeros = Zeros(GradientsParams::new());
        model.visit(&mut zeros);
        optimizer(&recipe.optimizer).step(recipe.optimizer.lr, model, zeros.0)
    }

    /// Checks which names shrink by `1 - lr · decay` and which stay. A name is the last word of a
    /// path that is no number.
    fn check_decay(text: &str, changes: &[(&str, &str)], shrinks: &[&str], stays: &[&str]) {
        let recipe = Recipe::from_toml(text).unwrap().with_all(changes).unwrap();
        let device = Device::flex().autodiff();
        let model = Model::new(&recipe.model_config(recipe.vocab), 0, &device).unwrap();
        let model = adapted(model, recipe.optimizer.lora, 0).map(&mut Raise);
        let before = weights_of(&model);
        let mut names = [BTreeSet::new(), BTreeSet::new()];
        for (path, after) in weights_of(&decayed(model)) {
            let pairs = || after.values.iter().zip(&before[&path].values);
            let stayed = pairs().all(|(new, old)| new == old);
            assert!(stayed || pairs().all(|(new, old)| (new / old - 0.95).abs() < 1e-5), "{path}");
            let name = path.split('.').rfind(|part| part.parse::<usize>().is_err()).unwrap();
            names[usize::from(stayed)].insert(name.to_owned());
        }
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(names, [set(shrinks), set(stays)], "{changes:?}");
    }

    fn block(variant: &str) -> String {
        let sizes = "heads = 2, key_heads = 1, feed_forward = 64";
        format!("{{ kind = \"multi-head\", variant = \"{variant}\", {sizes} }}")
    }

    fn transformer(block: &str) -> Vec<(&str, &str)> {
        let narrow = [("model.backbone.depth", "3"), ("model.backbone.width", "48")];
        [&narrow[..], &[("model.backbone.block", block)]].concat()
    }

    #[test]
    fn norms_biases_and_all_embeddings_of_a_transformer_are_never_decayed() {
        let stays = ["bias", "gamma", "patch_pos_embed", "token_embed"];
        for variant in ["plain", "uvit", "dit"] {
            check_decay(GLYPHS, &transformer(&block(variant)), &["weight"], &stays);
        }
        let with_beta = [&["beta"], &stays[..]].concat();
        check_decay(GLYPHS, &transformer(GAU), &["weight"], &with_beta);
        let plain = block("plain");
        check_decay(UVIT, &transformer(&plain), &["weight"], &["bias", "gamma", "table"]);
        let adapters = [&transformer(&plain)[..], &[("optimizer.lora.rank", "2")]].concat();
        let rest = [&stays[..], &["weight"]].concat();
        check_decay(GLYPHS, &adapters, &["a", "b"], &rest);
    }

    #[test]
    fn norms_biases_and_the_time_table_of_a_unet_are_never_decayed() {
        let narrow = [("model.unet.width", "16"), ("model.unet.groups", "4")];
        check_decay(UNET, &narrow, &["weight"], &["beta", "gamma", "table"]);
    }

    /// A network of Burn's own modules.
    #[derive(Module, Debug)]
    struct Foreign {
        word_embed: Embedding,
        map: Linear,
    }

    #[test]
    fn an_embedding_of_burn_is_never_decayed() {
        let device = Device::flex().autodiff();
        let (word_embed, map) = (EmbeddingConfig::new(5, 4), LinearConfig::new(4, 3));
        let model = Foreign { word_embed: word_embed.init(&device), map: map.init(&device) };
        let before = model.clone();
        let after = decayed(model);
        let same = |old: &Param<Tensor<2>>, new: &Param<Tensor<2>>| {
            old.val().into_data() == new.val().into_data()
        };
        assert!(same(&before.word_embed.weight, &after.word_embed.weight));
        assert!(!same(&before.map.weight, &after.map.weight));
    }
}

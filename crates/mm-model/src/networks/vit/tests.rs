//! What is true of every network that only draws.

use burn::module::Module;
use burn::prelude::*;
use mm_diffusion::{Prediction, Schedule};
use mm_patch::Grid;

use super::*;
use crate::parameters::weights_of;
use crate::{Model, NetworkConfig, TimeConfig};

fn configs() -> Vec<ModelConfig> {
    let classes = |none| Classes { count: 3, none, names: vec![] };
    let base = |vit| ModelConfig {
        patch: 2,
        vocab: 0,
        time: TimeConfig::Sinusoidal { channels: 8, scale: 0.5 },
        schedule: Schedule::LinearBeta { steps: 20 },
        prediction: Prediction::Noise,
        network: NetworkConfig::Vit(vit),
    };
    let (width, depth, heads, inner) = (16, 3, 2, 10);
    let uvit = |classes: Classes, qkv_bias, convolution| {
        let (rows, cols) = (2, 3);
        let sizes =
            UvitConfig { classes, rows, cols, width, depth, heads, inner, qkv_bias, convolution };
        base(VitConfig::Uvit(sizes))
    };
    let dit = |own_embeddings| {
        let (classes, channels, norm_epsilon) = (classes(true), 4, 1e-5);
        let sizes = DitConfig {
            classes,
            channels,
            width,
            depth,
            heads,
            inner,
            norm_epsilon,
            own_embeddings,
            codec: None,
        };
        base(VitConfig::Dit(sizes))
    };
    let jit = JitConfig {
        classes: classes(true),
        width,
        depth,
        heads,
        inner,
        bottleneck: 5,
        context_tokens: 2,
        context_start: 1,
        norm_epsilon: 1e-6,
        min_noise: 0.05,
        noise_scale: 2.0,
    };
    vec![
        base(VitConfig::Jit(jit)),
        uvit(classes(false), true, true),
        uvit(Classes::default(), false, false),
        dit(false),
        dit(true),
    ]
}

#[test]
fn parameters_are_counted_as_they_are_made_and_a_configuration_reads_back() {
    for config in configs() {
        assert!(config.validate().is_ok(), "{config:?}");
        let made = Model::new(&config, 0, &Device::flex()).unwrap().num_params();
        assert_eq!(config.parameters(), made, "{config:?}");
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<ModelConfig>(&text).unwrap(), config);
    }
}

#[test]
fn an_image_is_computed_alike_alone_and_beside_others_and_sees_its_class_and_time() {
    let device = Device::flex();
    for config in configs() {
        let blank = Model::new(&config, 3, &device).unwrap();
        let mut weights = weights_of(&blank);
        for (at, weight) in weights.values_mut().enumerate() {
            for (index, value) in weight.values.iter_mut().enumerate() {
                *value += 0.1 * ((index + 7 * at) as f32).sin();
            }
        }
        let Model::Vit(vit) = crate::parameters::with_weights(blank, &weights) else {
            panic!("a network that only draws")
        };
        let channels = config.network.channels();
        let grid = Grid { channels, ..Grid::new(2, 3, 2) };
        let noisy = Init::new(5, &device).normal([2, 6, grid.patch_dim()], 1.0).val();
        let (both, class) = ([4.0, 9.0], config.network.classes().map(|_| 1));
        let run = |noisy: Tensor<3>, times: &[f64], classes: &[Option<u32>]| {
            let images = SameSize { noisy, grid, timesteps: times, classes };
            vit.forward(images, &mut |_| ())
        };
        let together = run(noisy.clone(), &both, &[class, class]);
        let single = run(noisy.clone().narrow(0, 1, 1), &both[1..], &[class]);
        let apart = (together.narrow(0, 1, 1) - single.clone()).abs().max().into_scalar::<f32>();
        assert!(apart < 1e-5, "{apart} {config:?}");
        let other_time = run(noisy.clone().narrow(0, 1, 1), &[8.0], &[class]);
        assert!((other_time - single.clone()).abs().max().into_scalar::<f32>() > 1e-4);
        if class.is_some() {
            let other = run(noisy.narrow(0, 1, 1), &both[1..], &[Some(2)]);
            assert!((other - single).abs().max().into_scalar::<f32>() > 1e-4, "{config:?}");
        }
    }
}

#[test]
fn sizes_that_make_no_network_are_refused_by_name() {
    let refused = |change: fn(&mut JitConfig)| {
        let mut config = configs().remove(0);
        let NetworkConfig::Vit(VitConfig::Jit(jit)) = &mut config.network else { panic!("a JiT") };
        change(jit);
        config.validate().unwrap_err().to_string()
    };
    let wanted = "`vit.heads` is 3, wanted a divisor of a quarter of `vit.width`";
    assert_eq!(refused(|jit| jit.heads = 3), wanted);
    let wanted = "`vit.context_start` is 3, wanted the number of a block, from 0";
    assert_eq!(refused(|jit| jit.context_start = 3), wanted);
    let wanted = "`vit.classes.none` is false, wanted true for a JiT";
    assert_eq!(refused(|jit| jit.classes.none = false), wanted);
    let huge = refused(|jit| jit.depth = usize::MAX);
    assert!(huge.starts_with("`vit.depth` is"), "{huge}");
}

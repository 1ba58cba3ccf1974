//! A tiny U-ViT, by its PyTorch definition: `tests/reference/uvit_golden.py`.

use std::path::Path;
use std::sync::LazyLock;

use burn::prelude::*;

use super::*;
use crate::goldens::{
    Golden, Noised, apart, compare_gradients, compare_states, drawn, gradients, loaded, open,
    output,
};

static GOLDEN: LazyLock<Golden> = LazyLock::new(|| {
    Golden::read(include_bytes!("../../../../tests/golden/uvit_tiny.safetensors"))
});

/// The levels of the golden file.
const LEVELS: usize = 100;

/// The tiny network as `torch.save` wrote it, on the schedule of the golden file.
fn tiny() -> Imported {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/uvit_tiny.pth");
    let mut imported = open(&path).unwrap();
    assert_eq!(imported.config.schedule, Schedule::Vp { steps: 1000 });
    imported.config.schedule = Schedule::Vp { steps: LEVELS };
    let channels = 128;
    let scale = LAST / LEVELS as f64;
    imported.config.time = TimeConfig::Sinusoidal { channels, scale };
    imported
}

fn indices() -> Vec<f64> {
    GOLDEN.numbers("index").iter().map(|index| f64::from(*index)).collect()
}

#[test]
fn a_forward_pass_is_that_of_the_reference() {
    let model = loaded(&mut tiny(), &Device::flex());
    let found = output(&model, GOLDEN.tensor("noisy"), &indices(), &[Some(4), Some(0)]);
    let wanted = GOLDEN.tensor("output");
    let size = wanted.clone().abs().max().into_scalar::<f32>();
    let found = apart(found, wanted);
    println!("output: {found:.1e} of {size:.3} apart");
    assert!(found < 1e-4 * size.max(1.0), "{found} of {size}");
}

#[test]
fn tokens_behind_every_block_are_those_of_the_reference() {
    let model = loaded(&mut tiny(), &Device::flex());
    assert_eq!(compare_states(&model, &GOLDEN, &indices(), &[Some(4), Some(0)]), 3);
}

#[test]
fn a_drawing_by_the_euler_maruyama_method_is_that_of_the_reference() {
    let model = loaded(&mut tiny(), &Device::flex());
    let noise: Tensor<4> = GOLDEN.tensor("noise");
    let start = GOLDEN.tensor("start");
    let (sampler, guidance) = (Sampler::EulerMaruyama, Guidance::OFF);
    let found = drawn(&model, start, &["4"], sampler, LEVELS, guidance, &mut |step| {
        noise.clone().narrow(0, step, 1)
    });
    let found = apart(found, GOLDEN.tensor("drawn"));
    println!("drawing: {:.1e} of 255 apart", 127.5 * found);
    assert!(found < 2.0 / 255.0, "{found}");
}

#[test]
fn loss_and_gradients_of_a_step_are_those_of_the_reference() {
    let mut tiny = tiny();
    let levels = indices().into_iter().map(|at| tiny.config.schedule.level(at)).collect();
    let noised = Noised {
        images: GOLDEN.tensor("clean"),
        eps: Some(GOLDEN.tensor("eps")),
        levels,
        weights: vec![1.0; 2],
        classes: vec![Some(4), Some(0)],
    };
    let (loss, found) = gradients(&mut tiny, &noised);
    let wanted = GOLDEN.numbers("loss")[0];
    println!("loss: {:.1e} of {wanted:.3} apart", (loss - wanted).abs());
    assert!((loss - wanted).abs() < 1e-4 * wanted, "{loss}, {wanted}");
    let compared = compare_gradients(&tiny, &found, GOLDEN.below("grads."), 1e-4);
    assert_eq!(compared, 23);
}

#[test]
fn a_class_is_needed_and_another_size_is_refused() {
    let model = loaded(&mut tiny(), &Device::flex());
    let why = |prompt: &str, side: usize| {
        let prompt = mm_model::Document::of_text(prompt);
        let grid = mm_patch::Grid::new(side, side, 2);
        model.drawing_prompt(&prompt, grid).unwrap_err().to_string()
    };
    assert_eq!(why("", 4), "the prompt is empty, wanted a class from 0 to 4");
    assert_eq!(why("5", 4), "the prompt is `5`, wanted a class from 0 to 4");
    let wanted = "an image of 5 x 5 patches, wanted 4 x 4: this network has learned one size";
    assert_eq!(why("4", 5), wanted);
}

#[test]
fn a_pickle_that_asks_for_code_is_refused_and_nothing_of_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let (path, touched) = (folder.path().join("evil.pth"), folder.path().join("touched"));
    let code = format!("cos\nsystem\n(S'touch {}'\ntR.", touched.display());
    fs_err::write(&path, [b"\x80\x02", code.as_bytes()].concat()).unwrap();
    assert!(open(&path).is_err());
    assert!(!touched.exists());
}

#[test]
fn a_file_of_another_network_is_refused_by_its_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.safetensors");
    GOLDEN.below("hidden.").renamed(|name| format!("layer.{name}")).write(&path);
    let why = open(&path).unwrap_err().to_string();
    let wanted = "is a file of 4 tensors such as `layer.0`, `layer.1`, `layer.2`, wanted the \
                  tensors of a JiT or of a U-ViT";
    assert!(why.ends_with(wanted), "{why}");
}

#[test]
fn the_published_networks_have_the_published_sizes() {
    let sizes = |width, depth, heads, classes| {
        let uvit = UvitConfig {
            classes: Classes { count: classes, none: false, names: vec![] },
            rows: 16,
            cols: 16,
            width,
            depth,
            heads,
            inner: 4 * width,
            qkv_bias: false,
            convolution: true,
        };
        let config = Sizes { uvit, patch: 4 }.config();
        config.validate().unwrap();
        (config.parameters() as f64 / 1e6).round()
    };
    // 44M, 131M and 287M (Bao et al. 2022, table 2).
    assert_eq!(sizes(512, 13, 8, 0), 44.0);
    assert_eq!(sizes(768, 17, 12, 1000), 131.0);
    assert_eq!(sizes(1024, 21, 16, 1000), 287.0);
}

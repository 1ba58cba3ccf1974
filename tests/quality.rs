//! FID, KID and features against NumPy and SciPy (tests/reference/fid_kid.py), and networks that
//! cannot be used.

use expect_test::{Expect, expect};
use mm_data::Split;
use mm_eval::quality::{
    DrawnFeatures, FeatureNetwork, Features, FidEvaluator, KidEvaluator, Layout, NearestEvaluator,
    NetworkSettings, ReferenceFeatures, captions_to_draw, drawings, frechet, kid_over, median,
    nearest, source_images,
};
use mm_eval::{EvalError, Evaluator};
use mm_patch::Image;
use safetensors::SafeTensors;

use crate::common::start;

const FILE: &[u8] = include_bytes!("golden/features_fid_kid.safetensors");
const TINY: &[u8] = include_bytes!("golden/features_tiny.onnx");
const BAD: &[u8] = include_bytes!("golden/features_tiny_bad.onnx");

fn file() -> SafeTensors<'static> {
    SafeTensors::deserialize(FILE).unwrap()
}

fn doubles(name: &str) -> Vec<f64> {
    let bytes = file().tensor(name).unwrap().data().to_vec();
    bytes.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
}

fn features(name: &str) -> Features {
    let file = file();
    let view = file.tensor(name).unwrap();
    let bytes = view.data().chunks_exact(4);
    let numbers = bytes.map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    Features::new(view.shape()[1], numbers).unwrap()
}

fn subsets(name: &str) -> Vec<[Vec<usize>; 2]> {
    let file = file();
    let view = file.tensor(name).unwrap();
    let numbers: Vec<usize> = view
        .data()
        .chunks_exact(8)
        .map(|b| i64::from_le_bytes(b.try_into().unwrap()) as usize)
        .collect();
    let size = view.shape()[2];
    numbers.chunks_exact(2 * size).map(|two| [two[..size].into(), two[size..].into()]).collect()
}

fn images() -> Vec<Image> {
    let file = file();
    let bytes = file.tensor("images").unwrap().data().to_vec();
    bytes.chunks_exact(8 * 8 * 3).map(|rgb| Image::new(8, 8, rgb.to_vec()).unwrap()).collect()
}

fn settings() -> NetworkSettings {
    NetworkSettings {
        mean: Some([100.0, 127.0, 150.0]),
        scale: Some([128.0, 64.0, 32.0]),
        ..NetworkSettings::default()
    }
}

#[test]
fn fid_and_kid_agree_with_numpy_and_scipy_to_a_millionth() {
    for name in ["many", "few"] {
        let (x, y) = (features(&format!("{name}/x")), features(&format!("{name}/y")));
        let (found, wanted) = (frechet(&x, &y).unwrap(), doubles(&format!("{name}/fid"))[0]);
        assert!((found / wanted - 1.0).abs() < 1e-6, "{name}: fid {found}, wanted {wanted}");
        let found = kid_over(&x, &y, &subsets(&format!("{name}/chosen")));
        for (found, wanted) in found.iter().zip(doubles(&format!("{name}/kid"))) {
            assert!((found / wanted - 1.0).abs() < 1e-6, "{name}: kid {found}, wanted {wanted}");
        }
    }
}

#[test]
fn features_of_an_onnx_network_agree_with_numpy_for_every_output() {
    for (output, name) in [(None, "blocks"), (Some("blocks"), "blocks"), (Some("feat"), "feat")] {
        let settings = NetworkSettings { output: output.map(str::to_owned), ..settings() };
        let network = FeatureNetwork::load(TINY, &settings).unwrap();
        let found = network.features(&images()).unwrap();
        let wanted = doubles(&format!("images/{name}"));
        assert_eq!(found.numbers().len(), wanted.len());
        for (found, wanted) in found.numbers().iter().zip(wanted) {
            assert!((f64::from(*found) - wanted).abs() < 1e-5 * wanted.abs().max(1.0), "{name}");
        }
    }
}

#[test]
fn a_short_last_batch_and_other_neighbours_change_no_feature() {
    let network = FeatureNetwork::load(TINY, &settings()).unwrap();
    let all = network.features(&images()).unwrap();
    for (at, image) in images().iter().enumerate() {
        assert_eq!(network.features(std::slice::from_ref(image)).unwrap().row(0), all.row(at));
    }
}

#[test]
fn a_change_of_network_settings_or_pixels_changes_what_features_were_made_by() {
    let made_by =
        |settings, images: &[Image]| FeatureNetwork::load(TINY, &settings).unwrap().made_by(images);
    let first = made_by(settings(), &images());
    assert_eq!(first, made_by(settings(), &images()));
    assert_ne!(first, made_by(NetworkSettings::default(), &images()));
    assert_ne!(first, made_by(settings(), &images()[1..]));
}

fn check_refusal(onnx: &[u8], settings: NetworkSettings, expected: Expect) {
    let why = FeatureNetwork::load(onnx, &settings).unwrap_err();
    expected.assert_eq(&format!("{why}\n"));
}

#[test]
fn a_network_with_the_wrong_input_or_output_is_one_clear_error() {
    let of = NetworkSettings::default;
    check_refusal(
        BAD,
        of(),
        expect![[r#"
        the ONNX network's input is n,12,F32, wanted one of 32-bit floats with the axes batch, colors, height and width
    "#]],
    );
    check_refusal(
        TINY,
        NetworkSettings { size: Some([16, 8]), ..of() },
        expect![[r#"
        the ONNX network's input is [any, 3, 8, 8], wanted [any, 3, 8, 16] (nchw)
    "#]],
    );
    check_refusal(
        TINY,
        NetworkSettings { layout: Some(Layout::Nhwc), ..of() },
        expect![[r#"
        the ONNX network's input is [any, 3, 8, 8], wanted [any, 3, 8, 3] (nhwc)
    "#]],
    );
    check_refusal(
        TINY,
        NetworkSettings { output: Some("pool".into()), ..of() },
        expect![[r#"
        the ONNX network has no output `pool`, it has `blocks`, `feat`
    "#]],
    );
    check_refusal(
        TINY,
        NetworkSettings { scale: Some([1.0, 0.0, 1.0]), ..of() },
        expect![[r#"
        `scale` is [1.0, 0.0, 1.0], wanted finite numbers that are not 0
    "#]],
    );
    check_refusal(
        TINY,
        NetworkSettings { mean: Some([1.0, f32::NAN, 1.0]), ..of() },
        expect![[r#"
        `mean` is [1.0, NaN, 1.0], wanted finite numbers
    "#]],
    );
    assert!(FeatureNetwork::load(b"no network", &of()).is_err());
    assert!(FeatureNetwork::load(&TINY[..200], &of()).is_err());
}

/// Other images that are light above and dark below are near, and such images are lost when their
/// tiles are shuffled.
#[test]
fn the_baselines_stand_on_both_sides_of_drawings() {
    let half = |at: u64| {
        let shade = (at * 37 % 64) as u8;
        let mut image = Image::filled(8, 8, [shade; 3]);
        image.paste(&Image::filled(8, 4, [192 + shade; 3]), 0, 0);
        image
    };
    let real: Vec<Image> = (0..60).map(half).collect();
    let network = FeatureNetwork::load(TINY, &settings()).unwrap();
    let references =
        ReferenceFeatures::new(&real, 24, 0, &mut |images| network.features(images)).unwrap();
    assert_eq!(
        (references.fresh.count(), references.shuffled.count(), references.reference.count()),
        (24, 24, 36)
    );
    let drawn = network.features(&(100..124).map(half).collect::<Vec<_>>()).unwrap();
    let fid = references.frechet(&drawn).unwrap();
    assert!(fid.drawn < 0.1 * fid.shuffled && fid.real < 0.1 * fid.shuffled, "{fid:?}");
    let kid = references.kid(&drawn, 0).unwrap();
    assert!(kid.shuffled.value > 10.0 * kid.drawn.value.max(kid.drawn.standard_error), "{kid:?}");
}

/// The red of two pixels, in place of a network.
fn reds(images: &[Image]) -> Result<Features, EvalError> {
    let red = |image: &Image| [(1, 2), (9, 9)].map(|(x, y)| f32::from(image.pixel(x, y)[0]));
    Features::new(2, images.iter().flat_map(red).collect())
}

#[test]
fn measures_of_drawings_are_evaluators_that_draw_and_compare_the_images_of_a_seed() {
    let training = start(&[]);
    let (model, data, seed) = (training.averaged(), &training.data, 7);
    let made = || DrawnFeatures { features: Box::new(reds), caption_drop: 0.25 };
    let captions = captions_to_draw(data, Split::Train, 8, 0.25, seed).unwrap();
    let grid = model.grid().unwrap();
    let drawn = drawings(&model, &captions, grid, &model.options(seed), &mut |_| ()).unwrap();
    let real = source_images(data, Split::Train, 16, seed).unwrap().images;
    let real: Vec<Image> = real.into_iter().map(|found| found.image).collect();
    let reference = ReferenceFeatures::new(&real, 8, seed, &mut reds).unwrap();
    let features = reds(&drawn).unwrap();

    let measure = |evaluator: &dyn Evaluator| {
        evaluator.evaluate(&model, data, Split::Train, 8, seed).unwrap().values
    };
    let (fid, found) = (reference.frechet(&features).unwrap(), measure(&FidEvaluator(made())));
    let wanted = [fid.drawn, fid.real, fid.shuffled];
    assert_eq!(["drawn", "real", "shuffled"].map(|name| found[name]), wanted);
    let (kid, found) = (reference.kid(&features, seed).unwrap(), measure(&KidEvaluator(made())));
    assert_eq!(found["drawn"], kid.drawn.value);
    assert_eq!(found["real_standard_error"], kid.real.standard_error);
    let found = measure(&NearestEvaluator { among: 16, caption_drop: 0.25 });
    assert_eq!(found["median"], median(&nearest(&drawn, &real).unwrap()));
    assert_eq!(found["among"], 16.0);
}

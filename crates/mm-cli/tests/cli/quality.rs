//! `mm eval --task fid`, `kid`, `nearest` and `bpd` as a person meets them, with a feature network
//! of a few numbers.

use super::*;
use safetensors::SafeTensors;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden");

fn eval<'a>(model: &'a str, task: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["eval", model, "--task", task, "--steps", "2", "--count", "8"];
    args.extend(more);
    args
}

/// The first number after `name` in a line that begins so.
fn number(said: &str, name: &str) -> f64 {
    let line = said.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
    let rest = line.trim_start()[name.len()..].trim_start_matches([':', ' ']);
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn fid_and_kid_come_with_two_baselines_and_features_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (model, onnx) = (model(), format!("{GOLDEN}/features_tiny.onnx"));
    let kept = folder.path().join("kept");
    let flags = ["--features", &onnx, "--output", "feat", "--cache", kept.to_str().unwrap()];
    let args = eval(&model, "kid", &flags);
    let first = mm(&args);
    assert!(first.status.success(), "{}", text(&first.stderr));
    assert!(text(&first.stderr).contains("features of real images: 16 in"));
    let said = text(&first.stdout);
    number(&said, "kid x 1000");
    for baseline in ["other real images", "their tiles shuffled"] {
        assert!(number(&said, baseline).is_finite(), "{said}");
    }
    assert!(said.contains("8 drawings and twice 8 real images, against 8 others; 5 features each"));

    let again = mm(&args);
    assert!(!text(&again.stderr).contains("features of real images"), "{}", text(&again.stderr));
    assert_eq!(text(&again.stdout), said);

    let fid = mm(&eval(&model, "fid", &flags));
    assert!(number(&text(&fid.stdout), "fid") > 0.0);
    assert!(!text(&fid.stderr).contains("meaningless"), "8 images are enough for 5 features");
    let many =
        mm(&eval(&model, "fid", &[&flags[..2], &["--output", "blocks"], &flags[4..]].concat()));
    assert!(text(&many.stderr).contains("this fid is meaningless"), "{}", text(&many.stderr));
}

#[test]
fn features_of_all_four_sets_are_kept_for_whoever_repeats_the_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let (model, onnx) = (model(), format!("{GOLDEN}/features_tiny.onnx"));
    let (kept, cache) = (folder.path().join("kept.safetensors"), folder.path().join("cache"));
    let mut flags = vec!["--features", &onnx, "--output", "feat", "--json"];
    flags.extend(["--cache", cache.to_str().unwrap(), "--keep-features", kept.to_str().unwrap()]);
    done(&eval(&model, "fid", &flags));
    let bytes = fs_err::read(&kept).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    for name in ["reference", "fresh", "shuffled", "drawn"] {
        assert_eq!(file.tensor(name).unwrap().shape(), [8, 5], "{name}");
    }
    for name in ["fresh", "shuffled", "drawn"] {
        let subsets = file.tensor(&format!("{name}/subsets")).unwrap();
        assert_eq!(subsets.shape(), [50, 2, 4], "{name}");
    }
    let said = refused(2, &eval(&model, "kid", &flags));
    assert!(said.contains("kept.safetensors` exists already") && !said.contains("drawn"), "{said}");
    flags.push("--force");
    done(&eval(&model, "kid", &flags));
    assert_eq!(fs_err::read(&kept).unwrap(), bytes, "both tasks keep the same");
}

#[test]
fn a_folder_of_any_images_will_do_and_what_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for shade in 0..20 {
        image_file(&folder, &format!("{shade}.png"), &Image::filled(20, 30, [shade * 12; 3]));
    }
    fs_err::write(folder.path().join("broken.png"), b"no image").unwrap();
    let (model, onnx) = (model(), format!("{GOLDEN}/features_tiny.onnx"));
    let (real, kept) = (folder.path().to_str().unwrap(), folder.path().join("kept"));
    let flags = ["--features", &onnx, "--real", real, "--real-count", "21", "--json"];
    let output =
        mm(&eval(&model, "kid", &[&flags[..], &["--cache", kept.to_str().unwrap()]].concat()));
    assert!(text(&output.stderr).contains("broken.png"), "{}", text(&output.stderr));
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["images"]["reference"], 12);
    assert!(said["kid"]["real"]["standard_error"].as_f64().unwrap() >= 0.0);

    let empty = tempfile::tempdir().unwrap();
    let flags = ["--features", &onnx, "--real", empty.path().to_str().unwrap()];
    let said = refused(1, &eval(&model, "fid", &flags));
    assert!(said.contains("holds no image that can be read"), "{said}");
}

#[test]
fn a_network_that_takes_no_image_is_one_clear_error() {
    let (model, onnx) = (model(), format!("{GOLDEN}/features_tiny_bad.onnx"));
    let said = refused(1, &eval(&model, "kid", &["--features", &onnx]));
    assert!(said.contains("features_tiny_bad.onnx") && said.contains("input is"), "{said}");
    let said = refused(2, &eval(&model, "kid", &[]));
    assert!(said.contains("--features"), "{said}");
    let few = ["eval", &model, "--task", "kid", "--count", "2", "--features", &onnx];
    let said = refused(2, &few);
    assert!(said.contains("`--count 2` must be at least 4") && !said.contains("drawn"), "{said}");
    let said = refused(2, &eval(&model, "kid", &["--features", &onnx, "--real-count", "3"]));
    assert!(said.contains("`--real-count 3` must be at least 8"), "{said}");
    let folder = tempfile::tempdir().unwrap();
    let onnx = folder.path().join("tiny.onnx");
    fs_err::copy(format!("{GOLDEN}/features_tiny.onnx"), &onnx).unwrap();
    fs_err::write(folder.path().join("tiny.toml"), "sise = [8, 8]").unwrap();
    let said = refused(1, &eval(&model, "kid", &["--features", onnx.to_str().unwrap()]));
    assert!(said.contains("tiny.toml") && said.contains("sise"), "{said}");
}

#[test]
fn every_drawing_stands_over_its_nearest_image() {
    let folder = tempfile::tempdir().unwrap();
    let sheet = folder.path().join("sheet.png");
    let model = model();
    let flags = ["--out", sheet.to_str().unwrap(), "--real-count", "50"];
    let said = done(&eval(&model, "nearest", &flags));
    assert_eq!(said.lines().filter(|line| line.contains(" -> ")).count(), 9, "{said}");
    assert!(
        number(&said, "median") > 0.0 && said.contains("of 8 real images, each to the 49 others")
    );
    assert!(
        Image::decode(&fs_err::read(&sheet).unwrap(), &Default::default()).unwrap().width()
            > 8 * 64
    );
    assert!(refused(2, &eval(&model, "nearest", &flags)).contains("exists already"));
}

#[test]
fn a_model_whose_weights_are_no_numbers_is_named_and_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("broken");
    fs_err::create_dir(&model).unwrap();
    for file in MODEL_FILES {
        fs_err::copy(run().join("model").join(file), model.join(file)).unwrap();
    }
    let weights = model.join("model.safetensors");
    let mut bytes = fs_err::read(&weights).unwrap();
    let first = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[first..first + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    fs_err::write(&weights, bytes).unwrap();
    let (out, model) = (folder.path().join("a.png"), model.to_str().unwrap());
    let to = ["--out", out.to_str().unwrap(), "--steps", "2"];
    for args in [
        [&["draw", model, "red K on yellow"][..], &to].concat(),
        [&["sample", model, "--count", "2"][..], &to].concat(),
        eval(model, "draw", &[]),
        eval(model, "nearest", &["--real-count", "20"]),
    ] {
        let said = refused(1, &args);
        assert!(said.contains("a drawing holds NaN") && said.contains(model), "{args:?}: {said}");
    }
    assert!(!out.exists());
    let said = refused(1, &eval(model, "bpd", &[]));
    assert!(said.contains("gives NaN bits per dimension") && said.contains(model), "{said}");
}

#[test]
fn bits_per_dimension_are_told_with_their_error() {
    let model = model();
    let said = done(&["eval", &model, "--task", "bpd", "--steps", "3", "--count", "2", "--json"]);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["images"].as_array().unwrap().len(), 2);
    assert!(said["bits_per_dimension"].as_f64().unwrap().is_finite());
    assert!(said["standard_error"].as_f64().unwrap() > 0.0);
    let bpd = ["eval", &model, "--task", "bpd", "--count", "1", "--steps"];
    let said = done(&[&bpd[..], &["3"]].concat());
    assert!(
        said.contains("of one image, which has no standard error") && !said.contains('±'),
        "{said}"
    );
    assert!(refused(2, &[&bpd[..], &["0"]].concat()).contains("`steps` is 0"));
}

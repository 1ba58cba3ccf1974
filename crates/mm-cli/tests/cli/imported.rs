//! A published network becomes a model folder that draws classes and is trained on.

use std::path::Path;

use mm_patch::Image;
use tempfile::TempDir;

use crate::{device, done, refused};

/// A tiny U-ViT of 8x8 pixels and five classes, as `torch.save` wrote it.
fn published() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/uvit_tiny.pth");
    file.display().to_string()
}

#[test]
fn a_checkpoint_of_pytorch_is_imported_draws_its_classes_and_is_trained_on() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (model, image) = (path("model"), path("4.png"));
    let said = done(&["import", "hf", &published(), "--out", &model]);
    assert!(said.contains("uvit, ") && said.contains(" parameters"), "{said}");
    let draw = ["draw", &model, "--steps", "3", "--out", &image];
    done(&[&draw[..], &["--class", "4"]].concat());
    let refusal = refused(1, &[&draw[..], &["--class", "5", "--force"]].concat());
    assert!(refusal.contains("the prompt is `5`, wanted a class from 0 to 4"), "{refusal}");
    let refusal =
        refused(1, &[&draw[..], &["--class", "4", "--size", "16x16", "--force"]].concat());
    assert!(refusal.contains("an image of 8 x 8 patches, wanted 4 x 4"), "{refusal}");

    for class in 0..5u8 {
        let of_class = folder.path().join("images").join(class.to_string());
        fs_err::create_dir_all(&of_class).unwrap();
        for number in 0..4u8 {
            let image = Image::filled(8, 8, [40 * class, 60 * number, 9]);
            fs_err::write(of_class.join(format!("{number}.png")), image.encode_png()).unwrap();
        }
    }
    let (recipe, images, run) = (path("model/recipe.toml"), path("images"), path("run"));
    let data = format!("data.path={images}");
    let mut args = vec!["train", &recipe, "--init", &model, "--out", &run, "--device", device()];
    args.extend(["--steps", "2", "--set", &data, "--set", "run.batch=4"]);
    args.extend(["--set", "run.sample_every=2", "--set", "run.checkpoint_every=2"]);
    args.extend(["--set", "sample.steps=2", "--set", "sample.count=4"]);
    done(&args);
    let trained = path("run/model");
    done(&["draw", &trained, "--class", "0", "--steps", "3", "--out", &path("trained.png")]);
}

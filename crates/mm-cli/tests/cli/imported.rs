//! A published network becomes a model folder that draws classes and is trained on.

use std::collections::BTreeMap;
use std::path::Path;

use mm_patch::Image;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
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

    write_classes(&folder.path().join("images"), 8);
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

/// Writes images of five classes, each class in a folder of its own.
fn write_classes(images: &Path, side: usize) {
    for class in 0..5u8 {
        let of_class = images.join(class.to_string());
        fs_err::create_dir_all(&of_class).unwrap();
        for number in 0..4u8 {
            let image = Image::filled(side, side, [40 * class, 60 * number, 9]);
            fs_err::write(of_class.join(format!("{number}.png")), image.encode_png()).unwrap();
        }
    }
}

/// Writes the folder of diffusers' pipeline with a tiny DiT, out of its golden file.
fn write_dit(folder: &Path) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let bytes = fs_err::read(golden.join("dit_tiny.safetensors")).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let configs = &header.metadata().as_ref().unwrap()["configs"];
    let configs: BTreeMap<String, String> = serde_json::from_str(configs).unwrap();
    for part in ["transformer", "vae", "scheduler"] {
        fs_err::create_dir_all(folder.join(part)).unwrap();
    }
    for (file, text) in &configs {
        let file = match file.split_once('.') {
            Some((part, rest)) if rest != "json" => format!("{part}/{rest}"),
            _ => file.clone(),
        };
        fs_err::write(folder.join(file), text).unwrap();
    }
    let all = SafeTensors::deserialize(&bytes).unwrap();
    for part in ["transformer", "vae"] {
        let prefix = format!("{part}.");
        let below = |name: String| name.strip_prefix(&prefix).map(str::to_owned);
        let own = all.tensors().into_iter().filter_map(|(name, view)| Some((below(name)?, view)));
        let weights = folder.join(part).join("diffusion_pytorch_model.safetensors");
        fs_err::write(weights, safetensors::serialize(own, None).unwrap()).unwrap();
    }
}

#[test]
fn a_dit_is_imported_trained_on_images_and_draws_with_the_autoencoder_that_it_came_with() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    write_dit(&folder.path().join("published"));
    write_classes(&folder.path().join("images"), 16);
    let (model, run) = (path("model"), path("run"));
    done(&["import", "hf", &path("published"), "--out", &model]);
    let (recipe, data) = (path("model/recipe.toml"), format!("data.path={}", path("images")));
    let mut args = vec!["train", &recipe, "--init", &model, "--out", &run, "--device", device()];
    args.extend(["--steps", "3", "--set", &data, "--set", "run.batch=4"]);
    args.extend(["--set", "run.sample_every=3", "--set", "run.checkpoint_every=3"]);
    args.extend(["--set", "sample.steps=2", "--set", "sample.count=4"]);
    done(&args);
    let trained = path("run/model");
    done(&["draw", &trained, "--class", "0", "--steps", "3", "--out", &path("trained.png")]);
    let said = refused(2, &["train", &recipe, "--out", &path("fresh"), "--set", &data]);
    assert!(said.contains("needs the autoencoder") && said.contains("--init"), "{said}");
    let settings = path("run/recipe.toml");
    let said = refused(1, &["eval", &trained, "--recipe", &settings, "--task", "bpd"]);
    assert!(said.contains("this model has no likelihood of images"), "{said}");
    let tensors = |model: &str| {
        let bytes = fs_err::read(Path::new(model).join("model.safetensors")).unwrap();
        let all = SafeTensors::deserialize(&bytes).unwrap();
        let bytes = |(name, view): (String, TensorView<'_>)| (name, view.data().to_vec());
        all.tensors().into_iter().map(bytes).collect::<BTreeMap<_, _>>()
    };
    let (before, after) = (tensors(&model), tensors(&trained));
    for (name, bytes) in &before {
        assert_eq!(after[name] == *bytes, name.starts_with("codec."), "{name}");
    }
}

//! A model is distilled, and the new one says how it draws.

use serde_json::Value;
use tempfile::tempdir;

use crate::{MODEL_FILES, device, done, model, refused};

#[test]
fn a_distilled_model_draws_in_its_steps_and_is_not_distilled_again() {
    let folder = tempdir().unwrap();
    let out = folder.path().join("two");
    let out = out.to_str().unwrap();
    let teacher = model();
    let args = ["distill", &teacher, "--steps", "1", "--out", out, "--run-steps", "3"];
    let said = done(&[&args[..], &["--device", device()]].concat());
    assert!(
        said.starts_with("steps 1, against the teacher's 2: root of the mean squared"),
        "{said}"
    );
    for file in MODEL_FILES {
        assert!(folder.path().join("two").join(file).is_file(), "{file}");
    }
    let settings = fs_err::read(folder.path().join("two/generation_config.json")).unwrap();
    let settings: Value = serde_json::from_slice(&settings).unwrap();
    assert_eq!((&settings["steps"], &settings["sampler"]), (&1.into(), &"euler".into()));
    let drawn = folder.path().join("k.png");
    done(&["draw", out, "red K on yellow", "--out", drawn.to_str().unwrap()]);
    assert!(drawn.is_file());

    let said = refused(2, &args);
    assert!(said.contains("exists already"), "{said}");
    let third = folder.path().join("third");
    let again = ["distill", out, "--out", third.to_str().unwrap()];
    let said = refused(2, &again);
    assert!(said.contains("wanted a sinusoidal time that is not yet distilled"), "{said}");
    let file = folder.path().join("n.png");
    let file = file.to_str().unwrap();
    let said = refused(1, &["draw", out, "red K on yellow", "--negative", "blue", "--out", file]);
    assert!(said.contains("this model is distilled"), "{said}");
}

//! A file of weights with any stretch of it replaced is read or refused.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::fuzz::splices;
use crate::parameters::with_weights;

fn model() -> Model {
    let config = serde_json::from_str(
        r#"{ "patch": 2, "vocab": 0, "patch_bias": false, "patch_pos_embed": 0, "time": { "kind": "table", "steps": 5 },
        "schedule": { "kind": "su2024", "steps": 5 }, "prediction": "noise", "backbone": { "width": 8, "depth": 1, "block":
        { "kind": "gau", "expansion": 2, "key_size": 4, "bias": true }, "positions": "halves", "rotary_base": 1000.0,
        "norm_epsilon": 1e-7 } }"#,
    );
    Model::new(&config.unwrap(), 7, &Device::flex()).unwrap()
}

static WHOLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whole.safetensors");
    save_weights(&path, &weights_of(&model())).unwrap();
    fs_err::read(path).unwrap()
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_spliced_file_of_weights_is_read_or_refused(splice in splices()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spliced.safetensors");
        fs_err::write(&path, splice.of(&WHOLE)).unwrap();
        let model = model();
        if let Ok(weights) = load_weights(&path, &model) {
            with_weights(model, &weights);
        }
    }
}

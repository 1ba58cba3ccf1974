//! A file of weights with any stretch of it replaced is read or refused.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::fuzz::splices;
use crate::keras::SeedSizes;

fn model() -> Model {
    let (width, depth, expanded, key_size) = (8, 1, 16, 4);
    let sizes = SeedSizes { patch: 2, width, depth, expanded, key_size, bias: true, steps: 5 };
    Model::new(&sizes.config(), 7, &Device::flex()).unwrap()
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

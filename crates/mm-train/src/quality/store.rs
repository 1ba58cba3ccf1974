//! Features kept as a file, with a hash of what made them. Safetensors, so that NumPy reads them too.

use std::collections::HashMap;
use std::path::Path;

use mm_model::checkpoint::write_atomic;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::{Features, QualityError};

/// The tensor's name, `[pictures, features]`.
const NAME: &str = "features";
/// The key of the hash in the file's metadata.
const MADE_BY: &str = "made_by";

/// Writes features; `made_by` is a hash of everything they were made of.
pub fn save_features(path: &Path, features: &Features, made_by: u64) -> Result<(), QualityError> {
    let bytes: Vec<u8> = features.numbers().iter().flat_map(|n| n.to_le_bytes()).collect();
    let shape = vec![features.count(), features.dim()];
    let view = TensorView::new(Dtype::F32, shape, &bytes).expect("shape and bytes agree");
    let metadata = HashMap::from([(MADE_BY.to_owned(), format!("{made_by:016x}"))]);
    let file = safetensors::serialize([(NAME, view)], Some(metadata)).map_err(wrong(path))?;
    if let Some(folder) = path.parent() {
        fs_err::create_dir_all(folder)?;
    }
    Ok(write_atomic(path, &file)?)
}

/// Reads features that were made by exactly this; nothing if there is no file or it was made by something else.
pub fn load_features(path: &Path, made_by: u64) -> Result<Option<Features>, QualityError> {
    let bytes = match fs_err::read(path) {
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read?,
    };
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(wrong(path))?;
    let found = header.metadata().as_ref().and_then(|metadata| metadata.get(MADE_BY));
    if found != Some(&format!("{made_by:016x}")) {
        return Ok(None);
    }
    let file = SafeTensors::deserialize(&bytes).map_err(wrong(path))?;
    let view = file.tensor(NAME).map_err(wrong(path))?;
    match (view.dtype(), view.shape()) {
        (Dtype::F32, &[count, dim]) if count > 0 && dim > 0 => {
            let numbers = view.data().as_chunks::<4>().0.iter().map(|n| f32::from_le_bytes(*n));
            Ok(Some(Features::new(dim, numbers.collect())?))
        }
        (dtype, shape) => Err(wrong(path)(format!(
            "`{NAME}` is {dtype:?} of shape {shape:?}, wanted F32 of [pictures, features]"
        ))),
    }
}

fn wrong<E: std::fmt::Display>(path: &Path) -> impl Fn(E) -> QualityError {
    move |why| QualityError::Store { path: path.into(), why: why.to_string() }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::fuzz::splices;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn a_spliced_file_of_features_is_read_or_refused(splice in splices()) {
            static WHOLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("whole.safetensors");
                let features = Features::new(3, (0..6).map(|n| n as f32).collect()).unwrap();
                save_features(&path, &features, 7).unwrap();
                fs_err::read(path).unwrap()
            });
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("spliced.safetensors");
            fs_err::write(&path, splice.of(&WHOLE)).unwrap();
            let _ = load_features(&path, 7);
        }
    }

    #[test]
    fn features_come_back_for_what_made_them_and_for_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept/a.safetensors");
        let features = Features::new(3, (0..6).map(|n| n as f32).collect()).unwrap();
        assert_eq!(load_features(&path, 7).unwrap(), None);
        save_features(&path, &features, 7).unwrap();
        assert_eq!(load_features(&path, 7).unwrap(), Some(features));
        assert_eq!(load_features(&path, 8).unwrap(), None);
    }

    #[test]
    fn a_damaged_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        fs_err::write(&path, [1, 2, 3]).unwrap();
        let said = load_features(&path, 7).unwrap_err().to_string();
        assert!(said.contains("a.safetensors` is not a file of features"), "{said}");
    }
}

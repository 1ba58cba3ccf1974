//! This module holds [`Features`], what a network says about each of many images as rows of
//! numbers, and their files. Files are safetensors, so that NumPy reads them too.

use std::collections::HashMap;
use std::path::Path;

use mm_model::folder::write_atomic;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::EvalError;

/// Names the tensor of a file of features, `[images, features]`.
const NAME: &str = "features";
/// Names the hash in the metadata of such a file.
const MADE_BY: &str = "made_by";

/// Finite numbers, equally many for every image.
///
/// ```
/// use mm_eval::quality::Features;
///
/// let features = Features::new(2, vec![0.0, 1.0, 2.0, 3.0])?;
/// assert_eq!((features.count(), features.row(1)), (2, &[2.0, 3.0][..]));
/// # Ok::<(), mm_eval::EvalError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    dim: usize,
    numbers: Vec<f32>,
}

impl Features {
    /// Takes rows of `dim` numbers one after another. A number that is not finite is an error that
    /// names its row and column.
    ///
    /// # Panics
    ///
    /// Panics if the numbers do not make whole rows.
    pub fn new(dim: usize, numbers: Vec<f32>) -> Result<Self, EvalError> {
        assert!(dim > 0 && numbers.len().is_multiple_of(dim), "rows of {dim} numbers");
        match numbers.iter().position(|number| !number.is_finite()) {
            Some(at) => {
                Err(EvalError::NotFinite { row: at / dim, column: at % dim, found: numbers[at] })
            }
            None => Ok(Self { dim, numbers }),
        }
    }

    /// Returns the number of features of an image.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Returns the number of images.
    pub fn count(&self) -> usize {
        self.numbers.len() / self.dim
    }

    /// Returns the features of all images, `[images, features]`.
    pub fn numbers(&self) -> &[f32] {
        &self.numbers
    }

    /// Returns the features of one image. It panics if there is no such image.
    pub fn row(&self, at: usize) -> &[f32] {
        &self.numbers[at * self.dim..(at + 1) * self.dim]
    }

    /// Returns the first `count` images and the others. It panics if there are fewer.
    pub fn split(&self, count: usize) -> [Self; 2] {
        let (first, rest) = self.numbers.split_at(count * self.dim);
        [first, rest].map(|numbers| Self { dim: self.dim, numbers: numbers.to_vec() })
    }

    /// Fails unless `other` has as many features an image.
    pub fn same_dim(&self, other: &Self) -> Result<(), EvalError> {
        if self.dim == other.dim {
            return Ok(());
        }
        Err(EvalError::Dimensions { found: self.dim, wanted: other.dim })
    }
}

/// Writes features. `made_by` is a hash of everything that they were made of.
pub fn save_features(path: &Path, features: &Features, made_by: u64) -> Result<(), EvalError> {
    let metadata = HashMap::from([(MADE_BY.to_owned(), format!("{made_by:016x}"))]);
    write_arrays(path, &[Array::of_features(NAME, features)], metadata)
}

/// Reads features that were made by exactly this. It returns `None` if there is no file, or if the
/// features of the file were made by something else.
pub fn load_features(path: &Path, made_by: u64) -> Result<Option<Features>, EvalError> {
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
            "`{NAME}` is {dtype:?} of shape {shape:?}, wanted F32 of [images, features]"
        ))),
    }
}

/// A tensor as it stands in a file.
pub(super) struct Array {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    pub(super) bytes: Vec<u8>,
}

impl Array {
    pub(super) fn of_features(name: &str, features: &Features) -> Self {
        Self {
            name: name.to_owned(),
            dtype: Dtype::F32,
            shape: vec![features.count(), features.dim()],
            bytes: features.numbers().iter().flat_map(|n| n.to_le_bytes()).collect(),
        }
    }
}

/// Writes tensors to a file, whose folder is made if it is not there.
pub(super) fn write_arrays(
    path: &Path,
    arrays: &[Array],
    metadata: HashMap<String, String>,
) -> Result<(), EvalError> {
    let views = arrays.iter().map(|Array { name, dtype, shape, bytes }| {
        let view = TensorView::new(*dtype, shape.clone(), bytes).expect("shape and bytes agree");
        (name.as_str(), view)
    });
    let file = safetensors::serialize(views, Some(metadata)).map_err(wrong(path))?;
    if let Some(folder) = path.parent() {
        fs_err::create_dir_all(folder)?;
    }
    Ok(write_atomic(path, &file)?)
}

fn wrong<E: std::fmt::Display>(path: &Path) -> impl Fn(E) -> EvalError {
    move |why| EvalError::FeatureFile { path: path.into(), why: why.to_string() }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::fuzz::splices;

    #[test]
    fn a_number_that_is_not_finite_is_named_by_its_place() {
        let why = Features::new(2, vec![0.0, 1.0, 2.0, f32::NAN]).unwrap_err().to_string();
        assert_eq!(why, "feature 1 of image 1 is NaN, wanted a finite number");
    }

    #[test]
    fn a_split_keeps_every_row() {
        let all = Features::new(2, (0..10).map(|i| i as f32).collect()).unwrap();
        let [first, rest] = all.split(2);
        assert_eq!((first.count(), rest.count()), (2, 3));
        assert_eq!((first.row(1), rest.row(0)), (&[2.0, 3.0][..], &[4.0, 5.0][..]));
    }

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

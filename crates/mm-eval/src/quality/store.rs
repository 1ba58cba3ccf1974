//! Features kept as a file: of some pictures, with a hash of what made them, or of everything that a distance and its marks are
//! computed from. Safetensors, so that NumPy reads them too.

use std::collections::HashMap;
use std::path::Path;

use mm_model::folder::write_atomic;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::{Features, QualityError, Ruler, kid_subsets};

/// The tensor's name, `[pictures, features]`.
const NAME: &str = "features";
/// The key of the hash in the file's metadata.
const MADE_BY: &str = "made_by";

/// Writes features; `made_by` is a hash of everything they were made of.
pub fn save_features(path: &Path, features: &Features, made_by: u64) -> Result<(), QualityError> {
    let metadata = HashMap::from([(MADE_BY.to_owned(), format!("{made_by:016x}"))]);
    write(path, &[(NAME.to_owned(), Array::of_features(features))], metadata)
}

/// Writes what [`Ruler::frechet`] and [`Ruler::kid`] compute from: `reference`, `fresh`, `shuffled` and `drawn`, each
/// `[pictures, features]`, and for the last three the subsets of the kernel distance as `NAME/subsets`, `[subsets, 2, pictures]`:
/// numbers of pictures of NAME, then of `reference`. `tests/reference/fid_kid.py` repeats both distances from it.
pub fn save_comparison(
    path: &Path,
    ruler: &Ruler,
    drawn: &Features,
    seed: u64,
) -> Result<(), QualityError> {
    let sets = [("fresh", &ruler.fresh), ("shuffled", &ruler.shuffled), ("drawn", drawn)];
    let mut all = vec![("reference".to_owned(), Array::of_features(&ruler.reference))];
    for (name, features) in sets {
        all.push((name.to_owned(), Array::of_features(features)));
        // Sets too small for a kernel distance have a Fréchet distance alone.
        if let Ok(subsets) = kid_subsets([features.count(), ruler.reference.count()], seed) {
            all.push((format!("{name}/subsets"), Array::of_subsets(&subsets)));
        }
    }
    write(path, &all, HashMap::from([("seed".to_owned(), seed.to_string())]))
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

/// A tensor as it stands in a file.
struct Array {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Array {
    fn of_features(features: &Features) -> Self {
        let bytes = features.numbers().iter().flat_map(|n| n.to_le_bytes()).collect();
        Self { dtype: Dtype::F32, shape: vec![features.count(), features.dim()], bytes }
    }

    fn of_subsets(subsets: &[[Vec<usize>; 2]]) -> Self {
        let size = subsets.first().map_or(0, |pair| pair[0].len());
        let bytes = subsets.iter().flatten().flatten().flat_map(|at| (*at as i64).to_le_bytes());
        Self { dtype: Dtype::I64, shape: vec![subsets.len(), 2, size], bytes: bytes.collect() }
    }
}

fn write(
    path: &Path,
    arrays: &[(String, Array)],
    metadata: HashMap<String, String>,
) -> Result<(), QualityError> {
    let views = arrays.iter().map(|(name, Array { dtype, shape, bytes })| {
        let view = TensorView::new(*dtype, shape.clone(), bytes).expect("shape and bytes agree");
        (name.as_str(), view)
    });
    let file = safetensors::serialize(views, Some(metadata)).map_err(wrong(path))?;
    if let Some(folder) = path.parent() {
        fs_err::create_dir_all(folder)?;
    }
    Ok(write_atomic(path, &file)?)
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
    use crate::quality::kid_over;
    use mm_model::random::{Purpose, normals, stream};

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
    fn a_kept_comparison_gives_every_kernel_distance_again() {
        let of = |count: usize, seed: u64| {
            let rng = &mut stream(seed, Purpose::Noise, 0, 0);
            Features::new(2, normals(rng, 2 * count)).unwrap()
        };
        let ruler = Ruler { reference: of(13, 1), fresh: of(9, 2), shuffled: of(9, 3) };
        let drawn = of(10, 4);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept/a.safetensors");
        save_comparison(&path, &ruler, &drawn, 5).unwrap();
        let bytes = fs_err::read(path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let features = |name: &str| {
            let numbers = file.tensor(name).unwrap().data().as_chunks::<4>().0;
            Features::new(2, numbers.iter().map(|n| f32::from_le_bytes(*n)).collect()).unwrap()
        };
        let subsets = |name: &str| {
            let view = file.tensor(&format!("{name}/subsets")).unwrap();
            let &[count, 2, size] = view.shape() else { panic!("{name}: {:?}", view.shape()) };
            let numbers = view.data().as_chunks::<8>().0.iter();
            let all: Vec<usize> = numbers.map(|n| i64::from_le_bytes(*n) as usize).collect();
            let pairs = all.chunks_exact(2 * size);
            let pairs: Vec<[Vec<usize>; 2]> =
                pairs.map(|pair| [pair[..size].to_vec(), pair[size..].to_vec()]).collect();
            assert_eq!(pairs.len(), count);
            pairs
        };
        let said = ruler.kid(&drawn, 5).unwrap();
        let reference = features("reference");
        for (name, said) in
            [("drawn", said.drawn), ("fresh", said.real), ("shuffled", said.shuffled)]
        {
            let found = kid_over(&features(name), &reference, &subsets(name));
            assert_eq!(found.iter().sum::<f64>() / found.len() as f64, said.value, "{name}");
        }
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

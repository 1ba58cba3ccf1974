//! What the unit tests of several sources need.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

use crate::{DataError, DataSource, Example, Split};

/// Makes a folder with these files and their parents.
pub(crate) fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, bytes).unwrap();
    }
    folder
}

/// Returns the example of an index of a source of images that draws no random numbers.
pub(crate) fn example(
    set: &dyn DataSource,
    split: Split,
    index: u64,
) -> Result<Example, DataError> {
    let example = set.example(split, index, &mut ChaCha8Rng::seed_from_u64(0))?;
    Ok(example.expect("a source of images"))
}

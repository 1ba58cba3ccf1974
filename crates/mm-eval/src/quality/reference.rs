//! This module compares drawings with real images and gives every distance with its two baselines,
//! all from sets of the same size against the same images.

use std::collections::HashMap;
use std::path::Path;

use mm_patch::Image;
use safetensors::tensor::Dtype;
use serde::Serialize;

use super::features::{Array, write_arrays};
use super::{Features, Gaussian, Kid, kid, kid_subsets, shuffled_tiles};
use crate::EvalError;

/// Features of real images, which drawings are compared with.
///
/// ```
/// use mm_eval::EvalError;
/// use mm_eval::quality::{Features, ReferenceFeatures};
/// use mm_patch::Image;
///
/// /// Takes the red of four pixels for features; a network would say more.
/// fn features(images: &[Image]) -> Result<Features, EvalError> {
///     let pixels = [(0, 0), (0, 7), (7, 0), (7, 7)];
///     let red = |image: &Image| pixels.map(|(x, y)| f32::from(image.pixel(x, y)[0]));
///     Features::new(4, images.iter().flat_map(red).collect())
/// }
///
/// /// Makes an image that is dark above and light below.
/// fn landscape(shade: u8) -> Image {
///     let mut image = Image::filled(8, 8, [shade; 3]);
///     image.paste(&Image::filled(8, 4, [shade + 150; 3]), 0, 4);
///     image
/// }
///
/// let real: Vec<Image> = (0..60).map(landscape).collect();
/// let references = ReferenceFeatures::new(&real, 20, 0, &mut features)?;
/// let drawn = features(&real[30..50])?;
/// let fid = references.frechet(&drawn)?;
/// assert!(fid.drawn < fid.shuffled && fid.real < fid.shuffled);
/// # Ok::<(), EvalError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ReferenceFeatures {
    /// The features that everything is compared with.
    pub reference: Features,
    /// The features of other real images, for the lower baseline.
    pub fresh: Features,
    /// The features of those with their tiles shuffled, for the upper baseline.
    pub shuffled: Features,
}

/// A distance with its two baselines.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ReferenceScores<T> {
    /// The distance of the drawings.
    pub drawn: T,
    /// The distance of other real images. No drawings are better in the mean.
    pub real: T,
    /// The distance of real images with their tiles shuffled, which keep colors and texture and
    /// show nothing.
    pub shuffled: T,
}

impl ReferenceFeatures {
    /// Computes the features of `real` images by `features`, which may look them up. As many images
    /// as are drawn, but at most half, are kept apart for the baselines.
    pub fn new(
        real: &[Image],
        drawn: usize,
        seed: u64,
        features: &mut dyn FnMut(&[Image]) -> Result<Features, EvalError>,
    ) -> Result<Self, EvalError> {
        if real.len() < 2 {
            let (what, found, wanted) = ("real images", real.len(), 2);
            return Err(EvalError::TooFew { what, found, wanted });
        }
        let fresh = drawn.min(real.len() / 2);
        let shuffled: Vec<Image> =
            (0..).zip(&real[..fresh]).map(|(at, image)| shuffled_tiles(image, seed, at)).collect();
        let [fresh, reference] = features(real)?.split(fresh);
        Ok(Self { reference, fresh, shuffled: features(&shuffled)? })
    }

    /// Returns the FID of drawings with its baselines.
    pub fn frechet(&self, drawn: &Features) -> Result<ReferenceScores<f64>, EvalError> {
        drawn.same_dim(&self.reference)?;
        let root = Gaussian::of(&self.reference)?.rooted()?;
        self.scores(drawn, |features| root.distance(&Gaussian::of(features)?))
    }

    /// Returns the KID of drawings with its baselines.
    pub fn kid(&self, drawn: &Features, seed: u64) -> Result<ReferenceScores<Kid>, EvalError> {
        self.scores(drawn, |features| kid(features, &self.reference, seed))
    }

    /// Returns the size of the smallest set. FID has no meaning unless it is above the number of
    /// features.
    pub fn fewest(&self, drawn: &Features) -> usize {
        drawn.count().min(self.fresh.count()).min(self.reference.count())
    }

    fn scores<T>(
        &self,
        drawn: &Features,
        distance: impl Fn(&Features) -> Result<T, EvalError>,
    ) -> Result<ReferenceScores<T>, EvalError> {
        Ok(ReferenceScores {
            drawn: distance(drawn)?,
            real: distance(&self.fresh)?,
            shuffled: distance(&self.shuffled)?,
        })
    }
}

/// Writes what [`ReferenceFeatures::frechet`] and [`ReferenceFeatures::kid`] compute from.
///
/// These are `reference`, `fresh`, `shuffled` and `drawn`, each `[images, features]`, and for the
/// last three the subsets of the kernel distance as `NAME/subsets`, `[subsets, 2, images]`: indices
/// of images of NAME, then of `reference`. `tests/reference/fid_kid.py` repeats both distances from
/// the file.
pub fn save_comparison(
    path: &Path,
    references: &ReferenceFeatures,
    drawn: &Features,
    seed: u64,
) -> Result<(), EvalError> {
    let ReferenceFeatures { reference, fresh, shuffled } = references;
    let mut all = vec![Array::of_features("reference", reference)];
    for (name, features) in [("fresh", fresh), ("shuffled", shuffled), ("drawn", drawn)] {
        all.push(Array::of_features(name, features));
        // Sets that are too small for a kernel distance have a Fréchet distance only.
        if let Ok(subsets) = kid_subsets(features.count(), reference.count(), seed) {
            let size = subsets.first().map_or(0, |pair| pair[0].len());
            let indices = subsets.iter().flatten().flatten();
            all.push(Array {
                name: format!("{name}/subsets"),
                dtype: Dtype::I64,
                shape: vec![subsets.len(), 2, size],
                bytes: indices.flat_map(|at| (*at as i64).to_le_bytes()).collect(),
            });
        }
    }
    write_arrays(path, &all, HashMap::from([("seed".to_owned(), seed.to_string())]))
}

#[cfg(test)]
mod tests {
    use mm_model::random::{Purpose, normals, stream};
    use safetensors::SafeTensors;

    use super::*;
    use crate::quality::kid_over;

    #[test]
    fn a_kept_comparison_gives_every_kernel_distance_again() {
        let of = |count: usize, seed: u64| {
            let rng = &mut stream(seed, Purpose::Noise, 0, 0);
            Features::new(2, normals(rng, 2 * count)).unwrap()
        };
        let references =
            ReferenceFeatures { reference: of(13, 1), fresh: of(9, 2), shuffled: of(9, 3) };
        let drawn = of(10, 4);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept/a.safetensors");
        save_comparison(&path, &references, &drawn, 5).unwrap();
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
        let said = references.kid(&drawn, 5).unwrap();
        let reference = features("reference");
        for (name, said) in
            [("drawn", said.drawn), ("fresh", said.real), ("shuffled", said.shuffled)]
        {
            let found = kid_over(&features(name), &reference, &subsets(name));
            assert_eq!(found.iter().sum::<f64>() / found.len() as f64, said.value, "{name}");
        }
    }
}

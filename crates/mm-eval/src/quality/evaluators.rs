//! FID, KID and the nearest real image as [`Evaluator`]s, to stand in one list with other measures.

use std::fmt;

use mm_data::{DataSet, Split};
use mm_model::LoadedModel;
use mm_patch::Image;

use super::{
    Features, ReferenceFeatures, captions_to_draw, drawings, median, nearest, source_images,
};
use crate::{EvalError, Evaluator, Score};

/// Computes one row of features for each image.
pub type ImageFeatures = dyn Fn(&[Image]) -> Result<Features, EvalError>;

/// Draws images and compares their features with those of twice as many real images.
///
/// ```
/// use mm_eval::quality::{DrawnFeatures, FidEvaluator, Features, KidEvaluator};
/// use mm_eval::Evaluator;
/// use mm_patch::Image;
///
/// /// Takes the red of two pixels for features; a network would say more.
/// fn features() -> DrawnFeatures {
///     let red = |image: &Image| [0, 7].map(|at| f32::from(image.pixel(at, at)[0]));
///     DrawnFeatures {
///         features: Box::new(move |images| {
///             Features::new(2, images.iter().flat_map(red).collect())
///         }),
///         caption_drop: 0.0,
///     }
/// }
///
/// let all: [&dyn Evaluator; 2] = [&FidEvaluator(features()), &KidEvaluator(features())];
/// assert_eq!(all.map(|measure| measure.name()), ["fid", "kid"]);
/// ```
pub struct DrawnFeatures {
    /// The features, such as [`FeatureNetwork::features`](super::FeatureNetwork::features).
    pub features: Box<ImageFeatures>,
    /// The share of drawings without a caption, which is that of the training.
    pub caption_drop: f64,
}

impl DrawnFeatures {
    /// Returns the features of real images and of `count` drawings.
    fn of(
        &self,
        model: &LoadedModel,
        data: &DataSet,
        split: Split,
        count: usize,
        seed: u64,
    ) -> Result<(ReferenceFeatures, Features), EvalError> {
        let real = source_images(data, split, 2 * count, seed)?;
        let real: Vec<Image> = real.images.into_iter().map(|found| found.image).collect();
        let mut features = |images: &[Image]| (self.features)(images);
        let reference = ReferenceFeatures::new(&real, count, seed, &mut features)?;
        let drawn = drawn(model, data, split, self.caption_drop, count, seed)?;
        Ok((reference, (self.features)(&drawn)?))
    }
}

impl fmt::Debug for DrawnFeatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrawnFeatures")
            .field("caption_drop", &self.caption_drop)
            .finish_non_exhaustive()
    }
}

/// Measures the [FID](ReferenceFeatures::frechet) of drawings, `drawn`, beside its baselines `real`
/// and `shuffled`.
#[derive(Debug)]
pub struct FidEvaluator(pub DrawnFeatures);

impl Evaluator for FidEvaluator {
    fn name(&self) -> &str {
        "fid"
    }

    fn evaluate(
        &self,
        model: &LoadedModel,
        data: &DataSet,
        split: Split,
        count: usize,
        seed: u64,
    ) -> Result<Score, EvalError> {
        let (reference, drawn) = self.0.of(model, data, split, count, seed)?;
        let fid = reference.frechet(&drawn)?;
        let score = Score::new(drawn.count()).with("drawn", fid.drawn);
        Ok(score.with("real", fid.real).with("shuffled", fid.shuffled))
    }
}

/// Measures the [KID](ReferenceFeatures::kid) of drawings, `drawn`, beside its baselines `real` and
/// `shuffled`, each with its standard error.
#[derive(Debug)]
pub struct KidEvaluator(pub DrawnFeatures);

impl Evaluator for KidEvaluator {
    fn name(&self) -> &str {
        "kid"
    }

    fn evaluate(
        &self,
        model: &LoadedModel,
        data: &DataSet,
        split: Split,
        count: usize,
        seed: u64,
    ) -> Result<Score, EvalError> {
        let (reference, drawn) = self.0.of(model, data, split, count, seed)?;
        let kid = reference.kid(&drawn, seed)?;
        let mut score = Score::new(drawn.count());
        for (name, kid) in [("drawn", kid.drawn), ("real", kid.real), ("shuffled", kid.shuffled)] {
            let error = format!("{name}_standard_error");
            score = score.with(name, kid.value).with(&error, kid.standard_error);
        }
        Ok(score)
    }
}

/// Measures the `median` distance of drawings from the [nearest](nearest()) of at most `among` real
/// images: copies lie near 0.
#[derive(Debug, Clone, Copy)]
pub struct NearestEvaluator {
    /// The most real images to look among.
    pub among: usize,
    /// The share of drawings without a caption, which is that of the training.
    pub caption_drop: f64,
}

impl Evaluator for NearestEvaluator {
    fn name(&self) -> &str {
        "nearest"
    }

    fn evaluate(
        &self,
        model: &LoadedModel,
        data: &DataSet,
        split: Split,
        count: usize,
        seed: u64,
    ) -> Result<Score, EvalError> {
        let real = source_images(data, split, self.among, seed)?;
        let real: Vec<Image> = real.images.into_iter().map(|found| found.image).collect();
        let drawn = drawn(model, data, split, self.caption_drop, count, seed)?;
        let found = nearest(&drawn, &real)?;
        Ok(Score::new(found.len()).with("median", median(&found)).with("among", real.len() as f64))
    }
}

/// Draws `count` captions of a split.
fn drawn(
    model: &LoadedModel,
    data: &DataSet,
    split: Split,
    caption_drop: f64,
    count: usize,
    seed: u64,
) -> Result<Vec<Image>, EvalError> {
    let captions = captions_to_draw(data, split, count, caption_drop, seed)?;
    drawings(model, &captions, model.grid()?, &model.options(seed), &mut |_| ())
}

//! A distance and the two marks it is read by, all from sets of the same size against the same pictures.

use mm_patch::Image;
use serde::Serialize;

use super::{Features, Gaussian, Kid, QualityError, kid, shuffled_tiles};

/// Features of real pictures, to compare drawings with.
#[derive(Debug, Clone)]
pub struct Ruler {
    /// What everything is compared with.
    pub reference: Features,
    /// Other real pictures, for the lower mark.
    pub fresh: Features,
    /// Those with their tiles shuffled, for the upper mark.
    pub shuffled: Features,
}

/// A distance between its two marks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Judged<T> {
    /// Of the drawings.
    pub drawn: T,
    /// Of other real pictures: as good as it gets.
    pub real: T,
    /// Of real pictures with their tiles shuffled: colours and texture without anything shown.
    pub shuffled: T,
}

impl Ruler {
    /// Features of `real` pictures, of which as many as are drawn (but at most half) are kept apart for the marks. `keep`
    /// computes features, or finds them where they were kept.
    pub fn new(
        real: &[Image],
        drawn: usize,
        seed: u64,
        keep: &mut dyn FnMut(&[Image]) -> Result<Features, QualityError>,
    ) -> Result<Self, QualityError> {
        if real.len() < 2 {
            return Err(QualityError::TooFew {
                what: "real pictures",
                found: real.len(),
                wanted: 2,
            });
        }
        let fresh = drawn.min(real.len() / 2);
        let shuffled: Vec<Image> =
            (0..).zip(&real[..fresh]).map(|(at, image)| shuffled_tiles(image, seed, at)).collect();
        let [fresh, reference] = keep(real)?.split(fresh);
        Ok(Self { reference, fresh, shuffled: keep(&shuffled)? })
    }

    /// FID of drawings and its marks.
    pub fn frechet(&self, drawn: &Features) -> Result<Judged<f64>, QualityError> {
        drawn.same_dim(&self.reference)?;
        let root = Gaussian::of(&self.reference)?.rooted()?;
        self.judged(drawn, |features| root.distance(&Gaussian::of(features)?))
    }

    /// KID of drawings and its marks.
    pub fn kid(&self, drawn: &Features, seed: u64) -> Result<Judged<Kid>, QualityError> {
        self.judged(drawn, |features| kid(features, &self.reference, seed))
    }

    /// The fewest pictures of any set: with no more than there are features, FID means nothing.
    pub fn fewest(&self, drawn: &Features) -> usize {
        drawn.count().min(self.fresh.count()).min(self.reference.count())
    }

    fn judged<T>(
        &self,
        drawn: &Features,
        distance: impl Fn(&Features) -> Result<T, QualityError>,
    ) -> Result<Judged<T>, QualityError> {
        Ok(Judged {
            drawn: distance(drawn)?,
            real: distance(&self.fresh)?,
            shuffled: distance(&self.shuffled)?,
        })
    }
}

//! What every source of records implements, and the open data set that a run reads.

use std::any::Any;
use std::collections::HashSet;
use std::fmt::Debug;
use std::ops::Deref;

use mm_model::{Document, Segment};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::bad_records::{BadRecords, Skipped, Tally};
use crate::error::DataError;
use crate::fingerprint::Fingerprint;
use crate::record::{Example, Record};
use crate::split::Split;
use crate::task::Task;

/// The most records of which the default [`DataSource::captions`] takes the texts.
const MOST_CAPTIONS: u64 = 2000;

/// Where records come from: what a user implements to bring their own data set.
///
/// A source needs a name, a length and a way to load one record. What it returns must be a pure
/// function of the arguments, so that a resumed run sees what an uninterrupted one would have seen.
/// Order, epochs, shuffling and batches are the business of [`crate::DocumentSampler`].
///
/// ```
/// use mm_data::{DataSet, DataSource, Example, Record, Skipped, Split};
/// use mm_patch::Image;
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
///
/// /// Sixteen shades of gray.
/// #[derive(Debug)]
/// struct Grays;
///
/// impl DataSource for Grays {
///     fn name(&self) -> &'static str {
///         "grays"
///     }
///
///     fn len(&self, split: Split) -> Option<u64> {
///         Some(if split == Split::Train { 15 } else { 1 })
///     }
///
///     fn load(&self, split: Split, at: u64, _: &mut ChaCha8Rng) -> Result<Record, Skipped> {
///         let shade = if split == Split::Train { at } else { 15 } as u8;
///         let image = Image::filled(8, 8, [16 * shade; 3]);
///         Ok(Record::Captioned(Example { image, caption: format!("gray {shade}") }))
///     }
/// }
///
/// let data = DataSet::from_source(Grays);
/// let mut rng = ChaCha8Rng::seed_from_u64(0);
/// let Record::Captioned(example) = data.record(Split::Train, 18, &mut rng)? else { panic!() };
/// assert_eq!(example.caption, "gray 3"); // indices wrap around
/// assert_eq!(data.captions().len(), 15);
/// # Ok::<(), mm_data::DataError>(())
/// ```
pub trait DataSource: Any + Debug + Send + Sync {
    /// Returns the name of the source in messages.
    fn name(&self) -> &'static str;

    /// Returns the number of records of a split. `None` is an endless source, such as one whose
    /// records follow from random numbers alone.
    fn len(&self, split: Split) -> Option<u64>;

    /// Loads one record, or says what is wrong with it. `at` is below [`Self::len`], and any number
    /// where there is no end; `rng` is for sources that draw.
    fn load(&self, split: Split, at: u64, rng: &mut ChaCha8Rng) -> Result<Record, Skipped>;

    /// Returns where the source counts its bad records; several for a source of several others.
    /// Without it the first bad record ends a run.
    fn bad_records(&self) -> Vec<&BadRecords> {
        vec![]
    }

    /// Returns texts of the training split from which a tokenizer is trained, which must always be
    /// the same for the same source. By default these are the texts of up to 2000 of its records.
    fn captions(&self) -> Vec<String> {
        let of = self.len(Split::Train).unwrap_or(MOST_CAPTIONS);
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        (0..of)
            .step_by(of.div_ceil(MOST_CAPTIONS).max(1) as usize)
            .filter_map(|at| self.load(Split::Train, at, &mut rng).ok())
            .map(|record| record.text())
            .collect()
    }

    /// Adds what tells this source from others beside its lengths: names and words, not pixels.
    fn describe(&self, _: &mut Fingerprint) {}

    /// Returns an error if a document is not one image without text, as far as some of them tell.
    fn check_image_only(&self) -> Result<(), DataError> {
        Ok(())
    }

    /// Returns an error if a run cannot train on the source: its training split must hold records,
    /// and their documents must be [`Self::check_image_only`] where `vocab` is 0.
    fn check_trainable(&self, vocab: usize) -> Result<(), DataError> {
        count(self, Split::Train)?;
        if vocab == 0 { self.check_image_only() } else { Ok(()) }
    }

    /// Draws the document of a task with two images, if the source knows how to make such pairs.
    fn pair_document(&self, _: Task, _: Split, _: &mut ChaCha8Rng) -> Option<Document> {
        None
    }

    /// Returns hashes of what is held out, of which no other source of a mixture may train on an
    /// equal. A source that draws its records has none.
    fn held_out_contents(&self) -> Vec<u64> {
        vec![]
    }

    /// Leaves out and names the records for training whose hash is one of these.
    fn leave_out(&mut self, _: &HashSet<u64>) {}

    /// Returns the record of an index, which wraps around at [`Self::len`], or the next record that
    /// can be loaded. An empty split is an error, and so are more bad records than the source
    /// allows.
    fn record(&self, split: Split, index: u64, rng: &mut ChaCha8Rng) -> Result<Record, DataError> {
        let of = count(self, split)?;
        match self.bad_records().first() {
            Some(bad) => bad.first_good(of, index, |at| self.load(split, at, rng)),
            None => Ok(self.load(split, index % of, rng)?),
        }
    }

    /// Returns the record of an index as [`Self::record`] does, but no other in its place if it is
    /// bad, whatever their number: such a record is counted and named. An empty split is an error.
    fn exact(
        &self,
        split: Split,
        index: u64,
        rng: &mut ChaCha8Rng,
    ) -> Result<Option<Record>, DataError> {
        let of = count(self, split)?;
        match self.bad_records().first() {
            Some(bad) => Ok(bad.exactly(of, index, |at| self.load(split, at, rng))),
            None => Ok(Some(self.load(split, index % of, rng)?)),
        }
    }

    /// Returns the image and caption of an index as [`Self::record`] does; `None` where the record
    /// is a whole document.
    fn example(
        &self,
        split: Split,
        index: u64,
        rng: &mut ChaCha8Rng,
    ) -> Result<Option<Example>, DataError> {
        Ok(match self.record(split, index, rng)? {
            Record::Captioned(example) => Some(example),
            Record::Whole(_) => None,
        })
    }

    /// Returns what was left out so far, and why: first what is bad, then what was passed over.
    fn skipped(&self) -> Vec<Skipped> {
        let bad = self.bad_records();
        let broken = bad.iter().flat_map(|one| one.broken_ones());
        broken.chain(bad.iter().flat_map(|one| one.passed_over())).collect()
    }

    /// Counts what is bad so far, and how much there is; all zero where no file is read.
    fn tally(&self) -> Tally {
        self.bad_records().iter().fold(Tally::default(), |sum, one| sum.plus(one.tally()))
    }

    /// Returns the number of bad records found so far.
    fn bad(&self) -> usize {
        self.tally().bad
    }
}

/// Counts the records of a split that must hold some; an endless one has `u64::MAX`.
pub(crate) fn count(source: &(impl DataSource + ?Sized), split: Split) -> Result<u64, DataError> {
    match source.len(split) {
        Some(0) => Err(DataError::EmptySplit { split: split.name(), source_name: source.name() }),
        of => Ok(of.unwrap_or(u64::MAX)),
    }
}

impl Record {
    /// Returns the words of a record, with a line break for each image of a whole document.
    pub(crate) fn text(&self) -> String {
        let text = |segment: &Segment| match segment {
            Segment::Text { text, .. } => text.clone(),
            Segment::Image { .. } => "\n".to_owned(),
        };
        match self {
            Self::Captioned(example) => example.caption.clone(),
            Self::Whole(document) => document.segments.iter().map(text).collect(),
        }
    }
}

/// An open source, of whatever kind; the methods of [`DataSource`] are its own.
///
/// [`DataSet::open`] opens the sources of this crate, [`DataSet::from_source`] takes any other.
///
/// ```
/// use mm_data::{DataConfig, DataSet, GlyphSet, ImageSettings, Split};
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
///
/// let config: DataConfig = toml::from_str("source = 'emoji'\nlimit = 100").unwrap();
/// let data = DataSet::open(&config, ImageSettings { width: 32, height: 32, patch: 8 })?;
/// let held_out = data.len(Split::HeldOut).unwrap();
/// assert_eq!(data.len(Split::Train), Some(100 - held_out));
///
/// let example = data.example(Split::Train, 0, &mut ChaCha8Rng::seed_from_u64(0))?.unwrap();
/// assert_eq!((example.caption.as_str(), example.image.width()), ("grinning face", 32));
/// assert!(data.downcast_ref::<GlyphSet>().is_none());
/// # Ok::<(), mm_data::DataError>(())
/// ```
#[derive(Debug)]
pub struct DataSet(Box<dyn DataSource>);

impl DataSet {
    /// Wraps an open source.
    pub fn from_source(source: impl DataSource) -> Self {
        Self(Box::new(source))
    }

    /// Returns the source itself, if it is of this type.
    pub fn downcast_ref<S: DataSource>(&self) -> Option<&S> {
        let source: &dyn Any = &*self.0;
        source.downcast_ref()
    }

    /// Returns one number of what the source contains, the same wherever its files lie.
    pub fn fingerprint(&self) -> u32 {
        let mut sum = Fingerprint::default();
        self.add_to(&mut sum);
        sum.finish()
    }

    pub(crate) fn leave_out(&mut self, held_out: &HashSet<u64>) {
        self.0.leave_out(held_out);
    }

    /// Adds the lengths and the description of the source.
    pub(crate) fn add_to(&self, sum: &mut Fingerprint) {
        for split in Split::ALL {
            sum.add_number(self.len(split).unwrap_or(u64::MAX));
        }
        self.describe(sum);
    }
}

impl Deref for DataSet {
    type Target = dyn DataSource;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use mm_patch::Image;

    use super::*;

    /// Endless blank images, of which those of odd numbers are bad.
    #[derive(Debug)]
    struct Odd(BadRecords);

    impl DataSource for Odd {
        fn name(&self) -> &'static str {
            "odd"
        }

        fn len(&self, split: Split) -> Option<u64> {
            (split == Split::HeldOut).then_some(0)
        }

        fn load(&self, _: Split, at: u64, _: &mut ChaCha8Rng) -> Result<Record, Skipped> {
            if at % 2 == 1 {
                return Err(Skipped::new(Path::new("odd"), at.to_string()));
            }
            let image = Image::filled(8, 8, [0; 3]);
            Ok(Record::Captioned(Example { image, caption: at.to_string() }))
        }

        fn bad_records(&self) -> Vec<&BadRecords> {
            vec![&self.0]
        }
    }

    #[test]
    fn a_source_of_a_user_has_substitutes_limits_and_captions() {
        let data = DataSet::from_source(Odd(BadRecords::new("odd", 0.5).opened(4).unwrap()));
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut at = |index| data.example(Split::Train, index, &mut rng);
        assert_eq!(at(6).unwrap().unwrap().caption, "6");
        assert_eq!(at(9).unwrap().unwrap().caption, "10");
        assert_eq!(at(9).unwrap().unwrap().caption, "10");
        assert_eq!(at(11).unwrap().unwrap().caption, "12");
        assert!(at(13).unwrap_err().to_string().starts_with("3 of 4 items of the odd data set"));
        assert_eq!((data.bad(), data.tally().items, data.skipped().len()), (3, 4, 3));
        assert_eq!(data.captions().len(), 1000);
        assert_eq!(data.exact(Split::Train, 1, &mut rng).unwrap(), None);
        let empty = data.record(Split::HeldOut, 0, &mut rng).unwrap_err().to_string();
        assert_eq!(empty, "the held-out split of the odd data set is empty");
    }
}

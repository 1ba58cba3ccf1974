//! A data set of your own: two-tone images with captions, some of them bad, sampled into documents.

use std::path::Path;

use mm_data::{
    BadRecords, DataError, DataSet, DataSource, DocumentSampler, Example, MixConfig, MixtureSet,
    Part, Record, SamplerConfig, Skipped, Split,
};
use mm_model::Segment;
use mm_patch::Image;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

const SIDE: usize = 16;

/// Flags of two colors. The records of a real source would come from a file or a database.
#[derive(Debug)]
struct Flags {
    names: Vec<[&'static str; 2]>,
    bad: BadRecords,
}

impl Flags {
    /// Opens the source: up to four bad records in ten are fine, more of them end a run.
    fn open() -> Result<Self, DataError> {
        let colors = ["red", "green", "blue", "white", "black", "plaid"];
        let names: Vec<[&str; 2]> =
            colors.iter().flat_map(|first| colors.map(|second| [*first, second])).collect();
        let bad = BadRecords::new("flags", 0.4).opened(names.len())?;
        Ok(Self { names, bad })
    }

    /// Returns the names of a split; a tenth is held out by the hash of its words.
    fn of(&self, split: Split) -> Vec<[&'static str; 2]> {
        let all = self.names.iter().copied();
        all.filter(|names| Split::of_key(&names.join(" and ")) == split).collect()
    }
}

fn rgb(name: &str) -> Option<[u8; 3]> {
    Some(match name {
        "red" => [255, 0, 0],
        "green" => [0, 160, 0],
        "blue" => [0, 0, 255],
        "white" => [255; 3],
        "black" => [0; 3],
        _ => return None,
    })
}

impl DataSource for Flags {
    fn name(&self) -> &'static str {
        "flags"
    }

    fn len(&self, split: Split) -> Option<u64> {
        Some(self.of(split).len() as u64)
    }

    /// Draws a flag whose stripe has a random width. All that is random comes from `rng`.
    fn load(&self, split: Split, at: u64, rng: &mut ChaCha8Rng) -> Result<Record, Skipped> {
        let [first, second] = self.of(split)[at as usize];
        let caption = format!("{first} and {second}");
        let (Some(left), Some(right)) = (rgb(first), rgb(second)) else {
            return Err(Skipped::new(Path::new("flags"), format!("no color: {caption}")));
        };
        let mut image = Image::filled(SIDE, SIDE, right);
        image.paste(&Image::filled(rng.random_range(4..12), SIDE, left), 0, 0);
        Ok(Record::Captioned(Example { image, caption }))
    }

    fn bad_records(&self) -> Vec<&BadRecords> {
        vec![&self.bad]
    }
}

fn main() -> Result<(), DataError> {
    let data = DataSet::from_source(Flags::open()?);
    data.check_trainable(400)?;
    let lens = Split::ALL.map(|split| data.len(split).unwrap_or(0));
    println!("{} flags to train on, {} held out", lens[0], lens[1]);
    assert_eq!(lens[0] + lens[1], 36);

    let mix = MixConfig {
        draw: [1.0, 1.0],
        read: [1.0, 1.0],
        finished: 0.0,
        same_or_different: 0.0,
        which_one: 0.0,
        caption_drop: 0.0,
    };
    let config = SamplerConfig { mix, seed: 1, steps: 100, batch: 60, image_only: false };
    let documents = DocumentSampler::new(config.clone(), &data).documents(0)?;
    let drawn = documents
        .iter()
        .filter(|one| matches!(one.document.segments[0], Segment::Text { .. }))
        .count();
    println!("{} documents of step 0, {drawn} of them draw", documents.len());
    assert_eq!((documents.len(), drawn), (60, 30));

    // Every record of the training split was met, the bad ones among them.
    for skipped in data.skipped() {
        println!("left out: {}", skipped.why);
        assert!(skipped.why.contains("plaid"));
    }
    assert_eq!(data.bad(), data.tally().bad);

    // Steps need no order: the documents of a step are the same in any run.
    let again = DocumentSampler::new(config.clone(), &data).documents(0)?;
    assert_eq!(again, documents);

    // A mixture may hold it too, with settings of its own.
    let mirrored = Part { flip: true, ..Part::of(1.0, DataSet::from_source(Flags::open()?)) };
    let mixed = DataSet::from_source(MixtureSet::new(vec![Part::of(3.0, data), mirrored])?);
    assert_eq!(DocumentSampler::new(config, &mixed).documents(7)?.len(), 60);
    Ok(())
}

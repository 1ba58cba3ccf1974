//! Real images without a download: the Twemoji drawings, 72x72 pixels, and their Unicode names.
//!
//! The artwork is Twemoji, copyright Twitter, Inc and other contributors, licensed under CC-BY 4.0
//! (<https://creativecommons.org/licenses/by/4.0/>). Images here are composed on white and resized.
//! Whoever shows them repeats [`CREDIT`].
//!
//! Skin-tone variants are left out: their names differ in what a small image hardly shows. A fixed
//! tenth of the names is held out ([`Split::of_key`]), but for those whose drawing, pixel for
//! pixel, is that of a name for training: they are trained on. An image is decoded on first use, in
//! less than a millisecond, and kept.

use std::sync::OnceLock;

use mm_patch::{DecodeOptions, Image};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use twemoji_assets::png::PngTwemojiAsset;

use crate::bad_records::Skipped;
use crate::error::DataError;
use crate::image::ImageSettings;
use crate::record::{Example, Record};
use crate::source::DataSource;
use crate::split::{Split, Splits};

/// The credit that the licence of the artwork asks for.
pub const CREDIT: &str = "Emoji artwork: Twemoji, copyright Twitter, Inc and other contributors, licensed under CC-BY 4.0 \
                          (https://creativecommons.org/licenses/by/4.0/), resized on white";

/// Unicode's groups of emoji.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "Unicode's own names")]
pub enum EmojiGroup {
    SmileysAndEmotion,
    PeopleAndBody,
    AnimalsAndNature,
    FoodAndDrink,
    TravelAndPlaces,
    Activities,
    Objects,
    Symbols,
    Flags,
}

impl EmojiGroup {
    fn of(emoji: &emojis::Emoji) -> Self {
        match emoji.group() {
            emojis::Group::SmileysAndEmotion => Self::SmileysAndEmotion,
            emojis::Group::PeopleAndBody => Self::PeopleAndBody,
            emojis::Group::AnimalsAndNature => Self::AnimalsAndNature,
            emojis::Group::FoodAndDrink => Self::FoodAndDrink,
            emojis::Group::TravelAndPlaces => Self::TravelAndPlaces,
            emojis::Group::Activities => Self::Activities,
            emojis::Group::Objects => Self::Objects,
            emojis::Group::Symbols => Self::Symbols,
            emojis::Group::Flags => Self::Flags,
        }
    }
}

/// Settings of [`EmojiSet`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmojiConfig {
    /// The groups to take; none named means all.
    pub groups: Vec<EmojiGroup>,
    /// The largest number of emoji, in Unicode's order, both parts together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

impl EmojiConfig {
    /// Checks what the types do not.
    pub fn validate(&self) -> Result<(), DataError> {
        match self.limit {
            Some(0) => {
                Err(DataError::Setting { field: "limit", found: "0".into(), wanted: "at least 1" })
            }
            _ => Ok(()),
        }
    }
}

/// The embedded emoji of some groups.
#[derive(Debug)]
pub struct EmojiSet {
    image: ImageSettings,
    entries: Splits<Entry>,
}

#[derive(Debug)]
struct Entry {
    name: String,
    png: &'static [u8],
    image: OnceLock<Image>,
}

impl EmojiSet {
    /// Lists the emoji; decodes none yet.
    pub fn open(config: &EmojiConfig, image: ImageSettings) -> Result<Self, DataError> {
        config.validate()?;
        image.validate()?;
        let (train, held_out) = plain()
            .filter(|emoji| {
                config.groups.is_empty() || config.groups.contains(&EmojiGroup::of(emoji))
            })
            .filter_map(|emoji| {
                let png = artwork(emoji.as_str())?;
                Some(Entry { name: name(emoji), png, image: OnceLock::new() })
            })
            .take(config.limit.unwrap_or(usize::MAX))
            .partition(|entry| is_for_training(&entry.name));
        Ok(Self { image, entries: Splits::new(train, held_out) })
    }
}

impl DataSource for EmojiSet {
    fn name(&self) -> &'static str {
        "emoji"
    }

    fn len(&self, split: Split) -> Option<u64> {
        self.entries.len(split)
    }

    fn load(&self, split: Split, at: u64, _: &mut ChaCha8Rng) -> Result<Record, Skipped> {
        let entry = self.entries.at(split, at);
        let image = entry.image.get_or_init(|| rendered(entry.png, self.image)).clone();
        Ok(Record::Captioned(Example { image, caption: entry.name.clone() }))
    }

    fn captions(&self) -> Vec<String> {
        self.entries.of(Split::Train).iter().map(|entry| entry.name.clone()).collect()
    }
}

/// The names that [`Split::of_key`] would hold out, and whose drawing is, pixel for pixel, that of
/// a name for training, such as the flag of an island and that of the state it belongs to.
const DRAWN_TWICE: &[&str] = &[
    "family: woman, woman, boy, boy",
    "family: man, girl, girl",
    "family: woman, girl",
    "family: adult, adult, child",
    "flag: heard island & mcdonald islands",
    "flag: u.s. outlying islands",
];

/// Iterates over the emoji without skin tones, in Unicode's order.
fn plain() -> impl Iterator<Item = &'static emojis::Emoji> {
    emojis::iter()
        .filter(|emoji| matches!(emoji.skin_tone(), None | Some(emojis::SkinTone::Default)))
}

fn name(emoji: &emojis::Emoji) -> String {
    emoji.name().to_lowercase()
}

fn is_for_training(name: &str) -> bool {
    Split::of_key(name) == Split::Train || DRAWN_TWICE.contains(&name)
}

/// The PNG of an emoji. Twemoji leaves out the variation selector U+FE0F in most of its names.
fn artwork(emoji: &str) -> Option<&'static [u8]> {
    let bare = || emoji.replace('\u{fe0f}', "");
    let asset =
        PngTwemojiAsset::from_emoji(emoji).or_else(|| PngTwemojiAsset::from_emoji(&bare()))?;
    Some(asset.data.0)
}

/// The drawing on white, as large as the image lets it be, in the middle.
fn rendered(png: &[u8], settings: ImageSettings) -> Image {
    let ImageSettings { width, height, .. } = settings;
    let side = width.min(height);
    let drawing = Image::decode(png, &DecodeOptions::default())
        .expect("an embedded PNG decodes")
        .resize(side, side);
    let mut image = Image::filled(width, height, [255; 3]);
    image.paste(&drawing, (width - side) / 2, (height - side) / 2);
    image
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::testing::example;

    fn open(config: &EmojiConfig, side: usize) -> EmojiSet {
        EmojiSet::open(config, ImageSettings { width: side, height: side, patch: 8 }).unwrap()
    }

    #[test]
    fn there_are_more_than_a_thousand_emoji_of_the_wanted_size() {
        for side in [32, 64] {
            let emoji = open(&EmojiConfig::default(), side);
            let len = emoji.len(Split::Train).unwrap();
            assert!(len > 1000, "{len}");
            for index in (0..len).step_by(37) {
                let Example { image, caption } = example(&emoji, Split::Train, index).unwrap();
                assert_eq!((image.width(), image.height()), (side, side));
                assert!(
                    image.rgb().iter().any(|&number| number != 255),
                    "`{caption}` is not blank"
                );
                assert_eq!(caption, caption.to_lowercase());
            }
        }
    }

    #[test]
    fn a_tenth_of_the_names_is_held_out_and_no_name_is_in_both_splits() {
        let emoji = open(&EmojiConfig::default(), 32);
        let names = |split| -> HashSet<&str> {
            emoji.entries.of(split).iter().map(|entry| &*entry.name).collect()
        };
        let (train, held_out) = (names(Split::Train), names(Split::HeldOut));
        let share = held_out.len() as f64 / (train.len() + held_out.len()) as f64;
        assert!((0.08..0.12).contains(&share), "{share}");
        assert!(train.is_disjoint(&held_out));
        assert!(train.contains("grinning face"));
        assert!(train.iter().chain(&held_out).all(|name| !name.contains("skin tone")));
    }

    #[test]
    fn no_drawing_is_in_both_splits_and_what_was_held_out_only_shrinks() {
        let emoji = open(&EmojiConfig::default(), 72);
        let pixels = |entry: &Entry| rendered(entry.png, emoji.image).rgb().to_vec();
        let (held_out, train): (Vec<&Entry>, Vec<&Entry>) =
            emoji.entries.iter().partition(|entry| Split::of_key(&entry.name) == Split::HeldOut);
        let train: HashSet<Vec<u8>> = train.into_iter().map(pixels).collect();
        let twice = held_out.iter().filter(|entry| train.contains(&pixels(entry)));
        let twice: Vec<&str> = twice.map(|entry| &*entry.name).collect();
        assert_eq!(twice, DRAWN_TWICE);
        let of = |split| emoji.len(split).unwrap() as usize;
        assert_eq!(of(Split::HeldOut), held_out.len() - twice.len());
    }

    #[test]
    fn groups_and_limit_choose_a_subset() {
        let total = |config: &EmojiConfig| open(config, 32).entries.iter().count();
        let food = EmojiConfig { groups: vec![EmojiGroup::FoodAndDrink], limit: None };
        assert!((100..200).contains(&total(&food)), "{}", total(&food));
        assert!(open(&food, 32).captions().iter().any(|name| name == "pizza"));
        assert_eq!(total(&EmojiConfig { limit: Some(7), ..food }), 7);
        let nothing = EmojiConfig { limit: Some(0), ..EmojiConfig::default() };
        assert_eq!(
            nothing.validate().unwrap_err().to_string(),
            "`limit` is `0`, wanted at least 1"
        );
    }

    #[test]
    fn an_empty_split_is_an_error_that_names_it() {
        let emoji =
            open(&EmojiConfig { groups: vec![EmojiGroup::SmileysAndEmotion], limit: Some(1) }, 32);
        let error = example(&emoji, Split::HeldOut, 0).unwrap_err();
        assert_eq!(error.to_string(), "the held-out split of the emoji data set is empty");
    }
}

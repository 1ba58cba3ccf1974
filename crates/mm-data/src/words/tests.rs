//! Words are whole, of one split, and as high as they say.

use std::sync::LazyLock;

use proptest::prelude::*;
use rand::SeedableRng;

use super::*;

fn open(config: &WordsConfig, width: usize, height: usize) -> Result<WordSet, DataError> {
    WordSet::open(config, ImageSettings { width, height, patch: 8 })
}

/// The row and column ranges of pixels that are not of the color of the first pixel, both
/// inclusive.
fn box_of(image: &Image) -> [usize; 4] {
    let empty = image.pixel(0, 0);
    let inked = |x: usize, y: usize| image.pixel(x, y) != empty;
    let (width, height) = (image.width(), image.height());
    let rows: Vec<usize> = (0..height).filter(|&y| (0..width).any(|x| inked(x, y))).collect();
    let columns: Vec<usize> = (0..width).filter(|&x| (0..height).any(|y| inked(x, y))).collect();
    [rows[0], rows[rows.len() - 1], columns[0], columns[columns.len() - 1]]
}

/// Sets of images of 64x64 and of 96x96 pixels.
static SETS: LazyLock<[WordSet; 2]> =
    LazyLock::new(|| [64, 96].map(|side| open(&WordsConfig::default(), side, side).unwrap()));

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn words_are_of_their_split_fit_and_leave_the_edges_free(
        seed in any::<u64>(),
        height in 5_usize..=16,
        set in 0..2_usize,
        held_out in any::<bool>(),
    ) {
        let words = &SETS[set];
        let square = [64, 96][set];
        let split = Split::ALL[usize::from(held_out)];
        let example = words.draw(split, height, &mut ChaCha8Rng::seed_from_u64(seed));
        let shown: Vec<&str> = example.caption.split(' ').collect();
        prop_assert!((1..=3).contains(&shown.len()));
        for word in &shown {
            prop_assert!((1..=8).contains(&word.len()), "{word}");
            prop_assert!(word.chars().all(|one| CHARACTERS.contains(one)), "{word}");
            prop_assert_eq!(Split::of_key(word), split, "{}", word);
        }
        let [top, bottom, left, right] = box_of(&example.image);
        prop_assert!(top >= 1 && left >= 1 && bottom < square - 1 && right < square - 1);
        let pitch = (height * 4).div_ceil(3);
        let wanted = (shown.len() - 1) * pitch + height;
        let found = bottom - top + 1;
        prop_assert!((wanted..=wanted + height / 2 + 1).contains(&found), "{found} of {wanted}");
        let again = words.draw(split, height, &mut ChaCha8Rng::seed_from_u64(seed));
        prop_assert_eq!(again, example);
    }
}

#[test]
fn every_length_has_words_of_both_splits() {
    for length in 1..=8_usize {
        let mut found = [false; 2];
        let mut rng = ChaCha8Rng::seed_from_u64(length as u64);
        for _ in 0..2000 {
            let word: String = (0..length).map(|_| random_character(&mut rng)).collect();
            found[usize::from(Split::of_key(&word) == Split::HeldOut)] = true;
        }
        assert_eq!(found, [true; 2], "{length} letters");
    }
}

#[test]
fn heights_lines_and_faces_are_all_met() {
    let words = &SETS[0];
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut lines = [0; 4];
    let mut longest = 0;
    for _ in 0..300 {
        let Ok(Record::Captioned(example)) = words.load(Split::Train, 0, &mut rng) else {
            panic!()
        };
        lines[example.caption.split(' ').count()] += 1;
        longest = example.caption.split(' ').map(str::len).max().unwrap().max(longest);
    }
    assert!(lines[1..].iter().all(|&count| count > 40), "{lines:?}");
    assert_eq!(longest, 8);
    let narrow = WordsConfig { faces: vec!["hack".into()], ..WordsConfig::default() };
    let narrow = open(&narrow, 64, 64).unwrap();
    let text = ["K7".to_owned()];
    for _ in 0..20 {
        assert_eq!(narrow.setting(&text, 3, &mut rng).face, 0);
    }
    let used: std::collections::BTreeSet<usize> =
        (0..200).map(|_| words.setting(&text, 3, &mut rng).face).collect();
    assert_eq!(used.len(), FACE_NAMES.len());
}

#[test]
fn settings_that_mean_nothing_are_refused_by_name() {
    let refusal = |config: WordsConfig| open(&config, 64, 64).unwrap_err().to_string();
    let usual = WordsConfig::default;
    let wanted = "`heights` is `[4, 16]`, wanted the least and the greatest height of capitals in \
                  pixels, from 5 to 16";
    assert_eq!(refusal(WordsConfig { heights: [4, 16], ..usual() }), wanted);
    assert!(refusal(WordsConfig { lines: [2, 1], ..usual() }).starts_with("`lines` is `[2, 1]`"));
    assert!(refusal(WordsConfig { letters: [0, 8], ..usual() }).starts_with("`letters`"));
    assert!(refusal(WordsConfig { easy: 1.5, ..usual() }).starts_with("`easy` is `1.5`"));
    assert!(refusal(WordsConfig { faces: vec!["arial".into()], ..usual() }).contains("`arial`"));
    let small = open(&usual(), 16, 8).unwrap_err().to_string();
    assert!(small.starts_with("`image` is `16x8`, wanted room for"), "{small}");
    let long = WordsConfig { letters: [5, 8], ..usual() };
    assert!(refusal(long).contains("room for the fewest `letters`"));
}

#[test]
fn a_tokenizer_of_words_has_a_token_for_each_letter() {
    let tokenizer = mm_text::Tokenizer::train(SETS[0].captions().into_iter(), 512).unwrap();
    assert_eq!(tokenizer.encode("AB12 XY").len(), 7);
}

#[test]
fn easy_images_are_a_share_of_the_training_and_none_of_what_is_held_out() {
    let config = WordsConfig { easy: 0.5, ..WordsConfig::default() };
    let words = open(&config, 64, 64).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut short = |split: Split| {
        let mut caption = || match words.load(split, 0, &mut rng).unwrap() {
            Record::Captioned(example) => example.caption,
            other => panic!("{other:?}"),
        };
        (0..400).filter(|_| caption().len() <= 3).count()
    };
    // One word of up to three letters is rare among all others.
    let (train, held_out) = (short(Split::Train), short(Split::HeldOut));
    assert!((180..300).contains(&train) && held_out < 100, "{train} and {held_out} of 400");
}

#[test]
fn an_easy_image_is_high_and_short_as_far_as_its_settings_allow() {
    let config = WordsConfig { easy: 1.0, lines: [2, 3], letters: [4, 8], ..Default::default() };
    let words = open(&config, 96, 96).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    for _ in 0..50 {
        let example = words.draw_easy(Split::Train, &mut rng);
        let shown: Vec<&str> = example.caption.split(' ').collect();
        assert!(shown.len() == 2 && shown.iter().all(|word| word.len() == 4), "{shown:?}");
        let [top, bottom, ..] = box_of(&example.image);
        assert!(bottom - top + 1 >= 8 + 11, "two lines of 8 pixels");
    }
}

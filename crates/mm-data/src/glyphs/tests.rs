//! Tests of drawn glyphs.

use mm_model::Segment;

use super::*;

fn open(side: usize, letters: [usize; 2]) -> GlyphSet {
    let settings = ImageSettings { width: side, height: side, patch: 4 };
    GlyphSet::open(&GlyphsConfig { letters, ..GlyphsConfig::default() }, settings).unwrap()
}

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

fn parsed(example: &Example) -> Combination {
    example.caption.parse().unwrap()
}

#[test]
fn the_same_rng_gives_the_same_image_and_another_rng_another_one() {
    let glyphs = open(16, [1, 1]);
    let [a, b, c] = [1, 1, 2].map(|seed| glyphs.example(Split::Train, 5, &mut rng(seed)));
    assert_eq!(a, b);
    assert_ne!(a, c);
}

#[test]
fn training_never_shows_a_held_out_combination_and_evaluation_nothing_else() {
    for letters in [[1, 1], [1, 2]] {
        let glyphs = open(16, letters);
        for split in Split::ALL {
            for index in 0..100 {
                assert_eq!(parsed(&glyphs.example(split, index, &mut rng(index))).split(), split);
            }
        }
    }
}

#[test]
fn held_out_single_characters_are_walked_through_one_by_one() {
    let glyphs = open(16, [1, 1]);
    let len = glyphs.len(Split::HeldOut).unwrap();
    let mut captions: Vec<String> =
        (0..len).map(|index| glyphs.example(Split::HeldOut, index, &mut rng(0)).caption).collect();
    captions.sort();
    captions.dedup();
    assert_eq!(captions.len() as u64, len);
    assert_eq!(glyphs.len(Split::Train), None);
    assert_eq!(open(16, [1, 2]).len(Split::HeldOut), None);
}

#[test]
fn images_hold_ink_in_the_middle_and_background_all_around() {
    for (side, letters) in [(16, [1, 1]), (16, [2, 2]), (32, [1, 1]), (32, [3, 4]), (20, [1, 2])] {
        let glyphs = open(side, letters);
        for seed in 0..60 {
            let example = glyphs.example(Split::Train, 0, &mut rng(seed));
            let shown = parsed(&example);
            let image = &example.image;
            assert_eq!((image.width(), image.height()), (side, side));
            assert!((letters[0]..=letters[1]).contains(&shown.text().len()));
            for along in 0..side {
                for (x, y) in [(along, 0), (along, side - 1), (0, along), (side - 1, along)] {
                    assert_eq!(
                        image.pixel(x, y),
                        shown.background().rgb(),
                        "{} at {side}",
                        example.caption
                    );
                }
            }
            let distance = |a: &[u8], b: [u8; 3]| {
                a.iter().zip(b).map(|(&a, b)| u32::from(a.abs_diff(b))).sum::<u32>()
            };
            let (ink, background) = (shown.ink().rgb(), shown.background().rgb());
            let inked = image
                .rgb()
                .chunks(3)
                .filter(|pixel| distance(pixel, ink) < distance(pixel, background));
            assert!(
                inked.count() >= 6 * shown.text().len(),
                "{} at {side} is too faint",
                example.caption
            );
        }
    }
}

#[test]
fn pairs_differ_where_the_answer_says_so() {
    let glyphs = open(16, [1, 1]);
    let mut answers = Vec::new();
    for seed in 0..40 {
        let document = glyphs.same_or_different(Split::HeldOut, &mut rng(seed));
        assert_eq!(document, glyphs.same_or_different(Split::HeldOut, &mut rng(seed)));
        let [Segment::Image { .. }, Segment::Image { .. }, Segment::Text { text, .. }] =
            &document.segments[..]
        else {
            panic!("two images and an answer");
        };
        answers.push(text.clone());
    }
    let same = answers.iter().filter(|answer| *answer == "same").count();
    assert!((8..32).contains(&same) && answers.iter().all(|a| a == "same" || a == "different"));
    for seed in 0..40 {
        let (first, second) = glyphs.differing_pair(Split::HeldOut, &mut rng(seed));
        let changes = usize::from(first.text() != second.text())
            + usize::from(first.ink() != second.ink())
            + usize::from(first.background() != second.background());
        assert_eq!(changes, 1, "{first} and {second}");
        assert_eq!((first.split(), second.split()), (Split::HeldOut, Split::HeldOut));
    }
}

#[test]
fn the_question_names_the_ink_of_the_image_that_is_answered() {
    let glyphs = open(16, [1, 1]);
    for seed in 0..40 {
        let document = glyphs.which_one_is(Split::Train, &mut rng(seed));
        let [
            Segment::Text { text: question, target: false },
            Segment::Image { image: first, target: false },
            Segment::Image { image: second, target: false },
            Segment::Text { text: answer, target: true },
        ] = &document.segments[..]
        else {
            panic!("a question, two images and an answer");
        };
        let ink = Ink::ALL.iter().find(|ink| which_question(**ink) == *question).unwrap();
        let has = |image: &Image| image.rgb().chunks(3).any(|pixel| pixel == ink.rgb());
        let (right, wrong) = if answer == "first" { (first, second) } else { (second, first) };
        assert!(!has(wrong), "{question} {answer}");
        let near = |image: &Image| {
            let distance = |pixel: &[u8]| {
                pixel.iter().zip(ink.rgb()).map(|(&a, b)| u32::from(a.abs_diff(b))).sum()
            };
            image.rgb().chunks(3).map(distance).min().unwrap_or(u32::MAX)
        };
        assert!(near(right) < near(wrong), "{question} {answer}");
    }
}

#[test]
fn the_corpus_holds_training_captions_and_the_words_of_the_questions() {
    let corpus = open(16, [1, 1]).captions();
    assert_eq!(corpus, open(16, [1, 1]).captions());
    assert!(
        corpus.iter().any(|line| line == "which one is purple?")
            && corpus.iter().any(|line| line == "different")
    );
    let combinations: Vec<Combination> =
        corpus.iter().filter_map(|line| line.parse().ok()).collect();
    assert_eq!(combinations.len() + 10, corpus.len());
    assert!(combinations.iter().all(|shown| shown.split() == Split::Train));
    assert!(open(32, [2, 4]).captions().len() > 4000);
}

#[test]
fn settings_that_cannot_be_drawn_are_refused_by_name() {
    let settings = |side| ImageSettings { width: side, height: side, patch: 4 };
    let refusal = |letters, side| {
        GlyphSet::open(&GlyphsConfig { letters, ..GlyphsConfig::default() }, settings(side))
            .unwrap_err()
            .to_string()
    };
    let wanted = "the fewest and the most characters of an image, from 1 to 4";
    assert_eq!(refusal([2, 1], 16), format!("`letters` is `[2, 1]`, wanted {wanted}"));
    assert_eq!(refusal([1, 5], 64), format!("`letters` is `[1, 5]`, wanted {wanted}"));
    let wanted = "at least 12x12 pixels and 8 columns a character";
    assert_eq!(refusal([1, 4], 16), format!("`image` is `16x16`, wanted {wanted}"));
}

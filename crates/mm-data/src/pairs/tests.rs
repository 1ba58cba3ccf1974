//! Pairs differ where they say, and only there.

use mm_model::Segment;
use rand::SeedableRng;

use super::*;

fn open() -> PairSet {
    let image = ImageSettings { width: 64, height: 64, patch: 8 };
    PairSet::open(&PairsConfig::default(), image).unwrap()
}

/// The two images of a document.
fn images(document: &Document) -> [&Image; 2] {
    let shown: Vec<&Image> = document
        .segments
        .iter()
        .filter_map(|one| match one {
            Segment::Image { image, target: false } => Some(image),
            _ => None,
        })
        .collect();
    [shown[0], shown[1]]
}

/// The columns and rows of pixels that differ, and their number.
fn differing(document: &Document) -> (Vec<usize>, Vec<usize>) {
    let [a, b] = images(document);
    let all = (0..a.height()).flat_map(|y| (0..a.width()).map(move |x| (x, y)));
    all.filter(|&(x, y)| a.pixel(x, y) != b.pixel(x, y)).unzip()
}

fn answer(document: &Document) -> &str {
    match document.segments.last() {
        Some(Segment::Text { text, target: true }) => text,
        other => panic!("{other:?}"),
    }
}

fn spread(of: &[usize]) -> usize {
    of.iter().max().unwrap() - of.iter().min().unwrap() + 1
}

#[test]
fn equal_pairs_are_equal_to_the_pixel_and_others_differ_in_one_small_place() {
    let pairs = open();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for asked in Asked::all() {
        for _ in 0..60 {
            let document = pairs.ask(asked, Split::Train, &mut rng);
            let (columns, rows) = differing(&document);
            let (Asked::Different(difference) | Asked::Which(difference)) = asked else {
                assert!(columns.is_empty());
                assert_eq!((answer(&document), document.segments.len()), ("same", 3));
                continue;
            };
            let most = match difference {
                Difference::Stroke => 8,
                Difference::Block => 4,
                Difference::Letter => 20,
            };
            let size = [spread(&columns), spread(&rows)];
            assert!(
                columns.len() >= 3 && size.iter().all(|&side| side <= most),
                "{asked:?} {size:?}"
            );
            match asked {
                Asked::Which(_) => assert!(["first", "second"].contains(&answer(&document))),
                _ => assert_eq!(answer(&document), "different"),
            }
        }
    }
}

#[test]
fn the_image_that_the_answer_names_is_the_one_with_more_ink_or_the_named_word() {
    let pairs = open();
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut first = 0;
    for _ in 0..60 {
        let document = pairs.ask(Asked::Which(Difference::Stroke), Split::HeldOut, &mut rng);
        let count = |image: &Image| {
            let empty = image.pixel(image.width() - 1, image.height() - 1);
            let mut pixels: Vec<&[u8]> = image.rgb().chunks(3).collect();
            pixels.retain(|pixel| *pixel == empty);
            image.width() * image.height() - pixels.len()
        };
        let [a, b] = images(&document).map(count);
        let named = if answer(&document) == "first" { a >= b } else { b >= a };
        assert!(named);
        first += usize::from(answer(&document) == "first");
    }
    assert!((12..48).contains(&first), "{first} of 60");
}

#[test]
fn words_that_differ_in_a_letter_are_both_of_the_split() {
    let pairs = open();
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for split in Split::ALL {
        for size in 0..9 {
            let [word, other] = pairs.neighbors(split, size, &mut rng);
            let changed = word.bytes().zip(other.bytes()).filter(|(a, b)| a != b).count();
            assert_eq!((changed, word.len()), (1, other.len()));
            assert_eq!([Split::of_key(&word), Split::of_key(&other)], [split; 2]);
        }
    }
}

#[test]
fn documents_ask_both_questions_and_a_seed_repeats_them() {
    let pairs = open();
    let load = |seed| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let Ok(Record::Whole(document)) = pairs.load(Split::Train, 0, &mut rng) else { panic!() };
        document
    };
    let mut answers = std::collections::BTreeMap::<String, usize>::new();
    for seed in 0..200 {
        *answers.entry(answer(&load(seed)).to_owned()).or_default() += 1;
    }
    assert_eq!(answers.keys().collect::<Vec<_>>(), ["different", "first", "same", "second"]);
    assert!(answers.values().all(|&count| count > 25), "{answers:?}");
    assert_eq!(load(7), load(7));
}

//! Generation: cached equals uncached, a seed fixes the output, sequences follow the grammar.

use mm_model::{Document, Event, GenerateOptions, LoadedModel, Segment};
use mm_patch::{Grid, Image};
use mm_text::TokenSampling;

use crate::common::{BLOCKS, start};

fn model(block: &str) -> LoadedModel {
    start(&[("model.backbone.block", block)]).averaged()
}

fn options(seed: u64) -> GenerateOptions {
    GenerateOptions {
        tokens: TokenSampling { temperature: 1.0, top_k: None, top_p: None, min_p: None },
        steps: 3,
        seed,
        max_tokens: 12,
        max_patches: 64,
        ..GenerateOptions::default()
    }
}

const GRID: Grid = Grid::new(2, 2, 8);

fn prompt() -> Document {
    let image = Image::filled(16, 8, [200, 10, 90]);
    Document {
        segments: vec![
            Segment::context_text("a "),
            Segment::context_image(image),
            Segment::context_text(" b"),
        ],
    }
}

#[test]
fn a_seed_fixes_text_and_images_and_another_seed_changes_them() {
    for block in BLOCKS {
        let model = model(block);
        let made = |seed| model.generate(&prompt(), &options(seed), &mut |_| ()).unwrap();
        assert_eq!(made(1), made(1));
        assert_ne!(made(1), made(2));
        let drawn = |seed| model.draw(&[prompt()], GRID, &options(seed)).unwrap();
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }
}

#[test]
fn an_image_has_at_most_the_patches_that_are_allowed() {
    let model = model(BLOCKS[0]);
    let sizes = |max_patches| -> Vec<usize> {
        let made = (0..12).map(|seed| {
            let options = GenerateOptions { max_patches, steps: 1, ..options(seed) };
            model.generate(&prompt(), &options, &mut |_| ()).unwrap()
        });
        let segments = made.flat_map(|document| document.segments);
        segments
            .filter_map(|segment| match segment {
                Segment::Image { image, .. } => Some(image.width() * image.height() / 64),
                Segment::Text { .. } => None,
            })
            .collect()
    };
    let few = sizes(6);
    assert!(!few.is_empty() && few.iter().all(|patches| *patches <= 6), "{few:?}");
    assert!(sizes(200).iter().any(|patches| *patches > 6));
}

#[test]
fn what_is_told_as_it_is_made_is_what_is_returned() {
    let model = model(BLOCKS[0]);
    let (mut text, mut images) = (String::new(), vec![]);
    let made = model
        .generate(&prompt(), &options(5), &mut |event| match event {
            Event::Text(piece) => text.push_str(piece),
            Event::Image(image) => images.push(image.clone()),
            Event::Step(done, of) => assert!(done <= of),
        })
        .unwrap();
    let (mut returned, mut returned_images) = (String::new(), vec![]);
    for segment in made.segments {
        match segment {
            Segment::Text { text, .. } => returned.push_str(&text),
            Segment::Image { image, .. } => returned_images.push(image),
        }
    }
    assert_eq!((text, images), (returned, returned_images));
}

#[test]
fn prompts_of_different_lengths_in_one_batch_give_what_each_gives_alone() {
    for block in BLOCKS {
        let model = model(block);
        let short = Document { segments: vec![Segment::context_text("x")] };
        let greedy = GenerateOptions {
            tokens: TokenSampling { temperature: 0.0, top_k: None, top_p: None, min_p: None },
            ..options(0)
        };
        let together = model.read(&[short.clone(), prompt()], &greedy).unwrap();
        let single =
            [short, prompt()].map(|prompt| model.read(&[prompt], &greedy).unwrap().remove(0));
        assert_eq!(together, single);
    }
}

#[test]
fn a_batch_draws_for_its_first_prompt_what_it_draws_alone() {
    let model = model(BLOCKS[0]);
    let short = Document { segments: vec![Segment::context_text("x")] };
    let together = model.draw(&[short.clone(), prompt()], GRID, &options(0)).unwrap();
    let single = model.draw(&[short], GRID, &options(0)).unwrap();
    let differing =
        together[0].rgb().iter().zip(single[0].rgb()).filter(|(a, b)| a.abs_diff(**b) > 1).count();
    assert_eq!(differing, 0); // at most a rounding step apart
}

#[test]
fn a_drawn_image_has_exactly_its_grid() {
    let model = model(BLOCKS[0]);
    let grid = Grid::new(1, 3, 8);
    let drawn = model.draw(&[prompt()], grid, &options(0)).unwrap().remove(0);
    assert_eq!((drawn.width(), drawn.height()), (24, 8));
}

#[test]
fn a_stop_string_ends_the_answer_and_is_not_part_of_it() {
    let model = model(BLOCKS[0]);
    let free = GenerateOptions { max_images: 0, ..options(3) };
    let whole = model.generate(&prompt(), &free, &mut |_| ()).unwrap();
    let Some(Segment::Text { text, .. }) = whole.segments.first() else {
        panic!("this seed writes no text")
    };
    let stop: String = text.chars().skip(2).take(2).collect();
    let stopped = GenerateOptions { stop: vec![stop.clone()], ..free };
    let cut = model.generate(&prompt(), &stopped, &mut |_| ()).unwrap();
    let kept = match cut.segments.first() {
        Some(Segment::Text { text, .. }) => text.clone(),
        _ => String::new(),
    };
    assert_eq!(Some(kept.as_str()), text.split(&stop).next());
}

#[test]
fn a_image_that_does_not_divide_is_an_error_that_says_which() {
    let model = model(BLOCKS[0]);
    let odd = Document { segments: vec![Segment::context_image(Image::filled(17, 16, [0; 3]))] };
    let error = model.generate(&odd, &options(0), &mut |_| ()).unwrap_err().to_string();
    assert!(error.starts_with("image 1 of the document:") && error.contains("17"), "{error}");
    assert!(model.draw(&[], GRID, &options(0)).is_err());
}

//! Generation as a stream of events: pieces of text as they are written, every denoising step of an
//! image, and the image when it is done.

use mm_model::{Document, Event, GenerateOptions};

#[path = "shared/untrained.rs"]
mod untrained;

fn main() {
    let model = untrained::model();
    let options = GenerateOptions {
        max_tokens: 12,
        max_images: 1,
        tokens: mm_text::TokenSampling { temperature: 1.0, top_k: None, top_p: None, min_p: None },
        ..model.options(3)
    };
    let (mut pieces, mut steps, mut images) = (String::new(), 0, 0);
    let made = model.generate(&Document::of_text("red"), &options, &mut |event| match event {
        Event::Text(text) => pieces.push_str(text),
        Event::Step(done, of) => {
            steps += 1;
            assert!(done <= of);
        }
        Event::Image(_) => images += 1,
    });
    let made = made.expect("a model with text");
    println!("{} segments: {pieces:?}, {steps} steps, {images} images", made.segments.len());
    let text: String = made
        .segments
        .iter()
        .filter_map(|segment| match segment {
            mm_model::Segment::Text { text, .. } => Some(text.as_str()),
            mm_model::Segment::Image { .. } => None,
        })
        .collect();
    assert_eq!(text, pieces, "the events are the answer, piece by piece");
}

#[test]
fn the_example_runs() {
    main();
}

//! Edits and variations: what must be kept is kept to the bit, and what is drawn is what the model
//! draws by itself.

use mm_model::{ImageToImage, Segment, Turn};

use super::*;

/// Writes a PNG file that is transparent where `is_free` says so, and black elsewhere.
fn mask(width: usize, height: usize, is_free: impl Fn(usize, usize) -> bool) -> Vec<u8> {
    let alpha = |at: usize| if is_free(at % width, at / width) { 0 } else { 255 };
    let rgba = (0..width * height).flat_map(|at| [0, 0, 0, alpha(at)]).collect();
    let image = image::RgbaImage::from_raw(width as u32, height as u32, rgba).unwrap();
    let mut file = std::io::Cursor::new(vec![]);
    image.write_to(&mut file, image::ImageFormat::Png).unwrap();
    file.into_inner()
}

/// Fails unless two images are equal where `is_free` says no, and differ somewhere else.
fn check_kept(before: &Image, after: &Image, is_free: impl Fn(usize, usize) -> bool) {
    assert_eq!((before.width(), before.height()), (after.width(), after.height()));
    let mut changed = 0;
    for (x, y) in (0..before.height()).flat_map(|y| (0..before.width()).map(move |x| (x, y))) {
        let is_same = before.pixel(x, y) == after.pixel(x, y);
        assert!(is_same || is_free(x, y), "pixel {x}, {y} changed");
        changed += usize::from(!is_same);
    }
    assert!(changed > 0, "nothing was edited");
}

#[tokio::test]
async fn no_bit_outside_of_a_mask_changes_whatever_the_size() {
    let served = serve();
    // The first is drawn whole; of the others a region is.
    for (width, height) in [(8, 6), (7, 5), (33, 21), (60, 40)] {
        let is_free = |x: usize, y: usize| (2..5).contains(&x) && (1..4).contains(&y);
        let before = gradient(width, height);
        let (file, mask) = (before.encode_png(), mask(width, height, is_free));
        let parts: &[Part<'_>] = &[
            ("image@", &file[..]),
            ("mask@", &mask[..]),
            ("prompt", b"ab"),
            ("n", b"2"),
            ("seed", b"1"),
        ];
        let by_form = served.form(EDITS, parts).await;
        let images = by_form.images();
        assert_eq!(images.len(), 2);
        for after in &images {
            check_kept(&before, after, is_free);
        }
        assert_eq!(by_form.value()["size"], format!("{width}x{height}"));
        let body = json!({
            "image": uri(&file), "mask": uri(&mask), "prompt": "ab", "n": 2, "seed": 1,
        });
        assert_eq!(served.json(EDITS, &body).await.images(), images);
        let body = json!({
            "images": [{ "image_url": uri(&file) }], "mask": { "image_url": uri(&mask) },
            "prompt": "ab", "n": 2, "seed": 1, "output_format": "webp",
        });
        assert_eq!(served.json(EDITS, &body).await.images(), images);
    }
}

#[tokio::test]
async fn a_mask_with_a_strength_stays_near_the_image() {
    let served = serve();
    let (file, whole) = (gradient(8, 6).encode_png(), mask(8, 6, |_, _| true));
    let edited = |strength: f64| {
        let body = json!({
            "image": uri(&file), "mask": uri(&whole), "prompt": "ab", "seed": 1,
            "strength": strength,
        });
        let served = &served;
        async move { served.json(EDITS, &body).await.images().remove(0) }
    };
    assert_eq!(edited(0.0).await, gradient(8, 6));
    assert_ne!(edited(0.25).await, edited(1.0).await);
}

#[tokio::test]
async fn a_strength_starts_from_the_image_and_zero_returns_it() {
    let served = serve();
    let before = gradient(8, 6);
    let file = before.encode_png();
    let image = uri(&file);
    let body = |strength: f64| {
        let mut body = json!({ "image": image, "prompt": "ab", "seed": 2 });
        body["strength"] = json!(strength);
        body
    };
    assert_eq!(served.json(EDITS, &body(0.0)).await.images(), std::slice::from_ref(&before));
    let mut edit = ImageToImage::new(before, 0.5, PATCH).unwrap();
    let (prompt, options) = (Document::of_text("ab"), served.model.options(2));
    let wanted = served.model.draw_constrained(&prompt, 1, edit.grid(), &options, &mut edit);
    assert_eq!(served.json(EDITS, &body(0.5)).await.images(), wanted.unwrap());
}

#[tokio::test]
async fn without_mask_and_strength_the_images_and_the_prompt_are_an_instruction() {
    let served = serve();
    let (first, second) = (gradient(8, 6), Image::filled(4, 2, [9, 8, 7]));
    let (one, two) = (first.encode_png(), second.encode_png());
    let parts: &[Part<'_>] = &[
        ("image[]@", &one[..]),
        ("image[]@", &two[..]),
        ("prompt", b"make it ab"),
        ("seed", b"3"),
    ];
    let reply = served.form(EDITS, parts).await;
    let asked = vec![
        Segment::context_image(first),
        Segment::context_image(second),
        Segment::context_text("make it ab"),
    ];
    let prompt = Document::of_turns(vec![Turn { asked, answer: vec![] }]);
    let wanted = served.draw(&prompt, Grid::new(3, 4, PATCH), &served.model.options(3));
    assert_eq!(reply.images(), [wanted]);
    let details = &reply.value()["usage"]["input_tokens_details"];
    assert!(details["image_tokens"].as_u64().unwrap() >= 14, "{details}");
}

#[tokio::test]
async fn an_instruction_takes_images_of_any_size_and_draws_the_size_that_was_asked_for() {
    let served = serve();
    for (width, height) in [(1, 1), (1, 100), (7, 5), (90, 60)] {
        let image = uri(&gradient(width, height).encode_png());
        let body = json!({ "image": image, "prompt": "ab" });
        let drawn = served.json(EDITS, &body).await.images().remove(0);
        assert_eq!((drawn.width() % PATCH, drawn.height() % PATCH), (0, 0));
        assert!(drawn.width() * drawn.height() <= 48, "{width}x{height}");
        let body = json!({ "image": image, "prompt": "ab", "size": "4x8" });
        let drawn = served.json(EDITS, &body).await.images().remove(0);
        assert_eq!((drawn.width(), drawn.height()), (4, 8));
    }
}

#[tokio::test]
async fn variations_start_from_the_image_without_a_prompt() {
    let served = serve();
    let before = gradient(8, 6);
    let file = before.encode_png();
    let parts: &[Part<'_>] =
        &[("image@", &file[..]), ("n", b"2"), ("seed", b"4"), ("size", b"auto")];
    let reply = served.form(VARIATIONS, parts).await;
    let mut edit = ImageToImage::new(before, 0.75, PATCH).unwrap();
    let (prompt, options) = (Document::of_text(""), served.model.options(4));
    let wanted = served.model.draw_constrained(&prompt, 2, edit.grid(), &options, &mut edit);
    assert_eq!(reply.images(), wanted.unwrap());
}

#[tokio::test]
async fn an_image_that_does_not_divide_names_the_nearest_sizes_and_a_size_resizes_it() {
    let served = serve();
    let file = gradient(7, 9).encode_png();
    let reply = served.form(VARIATIONS, &[("image@", &file)]).await;
    assert_eq!((reply.status.as_u16(), reply.param().as_str()), (400, "image"));
    let message = reply.message();
    assert!(message.starts_with("`image` has 7x9 pixels, wanted multiples of 2"), "{message}");
    assert!(message.contains("6x8 and 8x10"), "{message}");
    let reply = served.form(VARIATIONS, &[("image@", &file), ("size", b"8x10")]).await;
    assert_eq!(reply.value()["size"], "8x10");
    assert_eq!(reply.images()[0].height(), 10);
}

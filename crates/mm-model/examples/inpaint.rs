//! Inpainting: the middle of an image is drawn anew, and every byte outside of it is kept.
//!
//! Outpainting, image to image, super-resolution and coloring are constraints over the same
//! sampler; coloring is shown too.

use mm_model::{Color, Document, Inpaint, Mask, Measurement, Region, Restore};
use mm_patch::Image;

#[path = "shared/untrained.rs"]
mod untrained;

fn main() {
    let model = untrained::model();
    let options = model.options(0); // sampler, steps and guidance of the model, with a seed
    let prompt = Document::of_text("red");
    let pixel = |at: usize| [(at % 16 * 16) as u8, (at / 16 * 16) as u8, 90];
    let image = Image::new(16, 16, (0..256).flat_map(pixel).collect()).expect("16 x 16 pixels");

    // A white rectangle on black; `Mask::decode` reads one from a file.
    let middle = Region { x: 4, y: 4, width: 8, height: 8 };
    let mask = Mask::rectangle(16, 16, middle).expect("16 x 16 pixels");
    let mut edit = Inpaint::new(image.clone(), mask.clone(), model.config.patch).expect("one size");
    let drawn = model.draw_constrained(&prompt, 2, edit.grid(), &options, &mut edit);
    for drawn in drawn.expect("a drawing") {
        let pixels = image.rgb().chunks(3).zip(drawn.rgb().chunks(3)).zip(mask.bytes());
        let changed = pixels.clone().filter(|((old, new), _)| old != new).count();
        let outside = pixels.filter(|((old, new), free)| **free == 0 && old != new).count();
        println!("inpainted: {changed} pixels changed, {outside} of them outside of the mask");
        assert!(changed > 0 && outside == 0);
    }

    // The same sampler with another constraint: an image of the luma of a gray one.
    let gray = Color::of_image(&image);
    let mut edit = Restore::new(&gray, model.config.patch).expect("whole patches");
    let drawn = model.draw_constrained(&prompt, 1, edit.grid(), &options, &mut edit);
    let error = gray.largest_error(&drawn.expect("a drawing")[0]);
    println!("colored: the largest error of the luma is {error}");
    assert_eq!(error, 0);
}

#[test]
fn the_example_runs() {
    main();
}

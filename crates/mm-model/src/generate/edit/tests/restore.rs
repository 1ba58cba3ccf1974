//! Restored images give what was measured, whatever the model draws.

use mm_diffusion::Schedule;
use mm_patch::Image;
use proptest::prelude::*;

use super::{PATCH, SAMPLERS, image, options, tiny};
use crate::Document;
use crate::generate::edit::{Color, Deblur, Kernel, Measurement, Restore, SuperResolution, luma};

/// Draws an image of a measurement.
fn restored(measurement: &dyn Measurement, sampler: &str, seed: u64) -> Image {
    let model = tiny(Schedule::Linear);
    let mut restore = Restore::new(measurement, PATCH).unwrap();
    let (grid, options) = (restore.grid(), options(sampler, 2, seed));
    let prompt = Document::of_text("a");
    model.draw_constrained(&prompt, 1, grid, &options, &mut restore).unwrap().remove(0)
}

/// Returns an image of black, white and random pixels, where clamping meets the constraint.
fn hard(seed: u64, width: usize, height: usize) -> Image {
    let mut image = image(seed, width, height);
    for at in 0..width * height {
        let (x, y) = (at % width, at / width);
        match image.pixel(x, y)[0] % 4 {
            0 => image.set_pixel(x, y, [0; 3]),
            1 => image.set_pixel(x, y, [255; 3]),
            _ => {}
        }
    }
    image
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_enlarged_image_averaged_down_is_the_small_one_to_the_bit(
        (width, height, factor) in (1usize..5, 1usize..4, 1usize..5),
        (sampler, seed) in (0..SAMPLERS.len(), 0u64..1_000_000),
    ) {
        let factor = 2 * factor;
        let small = hard(seed, width, height);
        let measurement = SuperResolution::new(small.clone(), factor).unwrap();
        let large = restored(&measurement, SAMPLERS[sampler], seed);
        prop_assert_eq!(SuperResolution::down(&large, factor), small);
        prop_assert_eq!(measurement.largest_error(&large), 0);
    }

    #[test]
    fn a_colored_image_has_the_luma_of_the_gray_one_to_the_bit(
        (width, height) in (1usize..6, 1usize..6),
        (sampler, seed) in (0..SAMPLERS.len(), 0u64..1_000_000),
    ) {
        let gray = hard(seed, width * PATCH, height * PATCH);
        let measurement = Color::of_image(&gray);
        let colored = restored(&measurement, SAMPLERS[sampler], seed);
        let lumas = |image: &Image| -> Vec<u8> {
            image.rgb().chunks_exact(3).map(|c| luma([c[0], c[1], c[2]])).collect()
        };
        prop_assert_eq!(lumas(&colored), lumas(&gray));
        prop_assert_eq!(measurement.largest_error(&colored), 0);
    }

    #[test]
    fn a_deblurred_image_blurs_to_the_given_one_within_a_level(
        (width, height) in (2usize..6, 2usize..6),
        (seed, sigma) in (0u64..1_000_000, 0.4..1.2),
    ) {
        let kernel = Kernel::gaussian(sigma).unwrap();
        let blurred = Deblur::blur(&image(seed, width * PATCH, height * PATCH), &kernel).unwrap();
        let measurement = Deblur::new(&blurred, &kernel).unwrap();
        let sharp = restored(&measurement, "euler", seed);
        prop_assert!(measurement.largest_error(&sharp) <= 1);
    }
}

#[test]
fn a_constraint_error_is_told_where_there_is_one() {
    let small = Image::filled(2, 1, [100; 3]);
    let measurement = SuperResolution::new(small, 2).unwrap();
    assert_eq!(measurement.largest_error(&Image::filled(4, 2, [103; 3])), 3);
    let gray = Color::of_image(&Image::filled(2, 2, [50; 3]));
    assert_eq!(gray.largest_error(&Image::filled(2, 2, [50, 50, 61])), 1);
    let kernel = Kernel::square(3).unwrap();
    let measurement = Deblur::new(&Image::filled(4, 4, [9; 3]), &kernel).unwrap();
    assert_eq!(measurement.largest_error(&Image::filled(4, 4, [11; 3])), 2);
}

#[test]
fn a_blur_of_a_single_point_is_the_kernel() {
    let mut point = Image::filled(5, 5, [0; 3]);
    point.set_pixel(2, 2, [180; 3]);
    let blurred = Deblur::blur(&point, &Kernel::square(3).unwrap()).unwrap();
    let red: Vec<u8> = blurred.rgb().iter().step_by(3).copied().collect();
    let wanted = |at: usize| {
        if (1..4).contains(&(at % 5)) && (1..4).contains(&(at / 5)) { 20 } else { 0 }
    };
    assert_eq!(red, (0..25).map(wanted).collect::<Vec<u8>>());
    // The border is repeated, so that a plain image stays as it is.
    let plain = Image::filled(4, 3, [77, 1, 255]);
    assert_eq!(Deblur::blur(&plain, &Kernel::gaussian(1.5).unwrap()).unwrap(), plain);
}

#[test]
fn measurements_that_cannot_be_are_refused_by_name() {
    let factor = SuperResolution::new(Image::filled(1, 1, [0; 3]), 0).unwrap_err().to_string();
    expect_test::expect!["`factor` is 0, wanted 1 to 256"].assert_eq(&factor);
    let odd = SuperResolution::new(Image::filled(5, 1, [0; 3]), 3).unwrap();
    let size = Restore::new(&odd, 4).err().unwrap().to_string();
    expect_test::expect!["the restored image has 15 x 3 pixels, wanted multiples of 4; the nearest sizes are 12 x 4 and 16 x 4"]
        .assert_eq(&size);
    for weights in [vec![], vec![1.0; 4], vec![0.0; 9], vec![-1.0; 9], vec![f64::NAN; 9]] {
        let refused = Kernel::new(weights).unwrap_err().to_string();
        assert!(refused.starts_with("`kernel` is "), "{refused}");
    }
    assert!(Kernel::gaussian(0.0).is_err() && Kernel::square(2).is_err());
    let large = Deblur::new(&Image::filled(400, 400, [0; 3]), &Kernel::square(63).unwrap());
    expect_test::expect!["`image` is 400 x 400 pixels under 63 x 63 weights, wanted at most 2^26 weights of pixels in all"]
        .assert_eq(&large.unwrap_err().to_string());
}

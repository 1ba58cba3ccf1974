//! Edits by a small model with random weights: what must be kept is kept, whatever the model draws.

mod invert;
mod restore;

use burn::prelude::*;
use mm_backbone::{BackboneConfig, BlockConfig, GauConfig, PositionScheme};
use mm_diffusion::{Guidance, Prediction, Sampler, Schedule};
use mm_patch::{DecodeOptions, Grid, Image};
use mm_text::Tokenizer;
use proptest::prelude::*;

use super::*;
use crate::random::{Purpose, stream};
use crate::{
    Document, GenerateOptions, GenerationConfig, LoadedModel, Model, ModelConfig, NetworkConfig,
    TimeConfig, UnifiedConfig,
};
use rand::RngExt;

const PATCH: usize = 2;
const SAMPLERS: [&str; 6] = ["ddpm", "ddim", "ddim:0.5", "dpm++2m", "euler", "heun"];

/// Makes a model of 2 x 2 patches and of few numbers, fresh from its random weights.
pub(super) fn tiny(schedule: Schedule) -> LoadedModel {
    let tokenizer = Tokenizer::train(["ab"].map(str::to_owned).into_iter(), 389).unwrap();
    let config = ModelConfig {
        patch: PATCH,
        vocab: 389,
        time: TimeConfig::Sinusoidal { channels: 4, scale: 1.0 },
        schedule,
        prediction: Prediction::Clean,
        network: NetworkConfig::Unified(UnifiedConfig {
            patch_bias: true,
            patch_pos_embed: 0,
            patch_convolution: false,
            backbone: BackboneConfig {
                width: 8,
                depth: 1,
                block: BlockConfig::Gau(GauConfig { expansion: 1, key_size: 4, bias: false }),
                positions: PositionScheme::RopeTv,
                rotary_base: 100.0,
                norm_epsilon: 1e-6,
            },
        }),
    };
    let model = Model::new(&config, 3, &Device::flex()).unwrap();
    LoadedModel { config, tokenizer, model, generation: GenerationConfig::of_size(8, 6) }
}

/// Returns an image, or a mask's bytes, of random bytes.
pub(super) fn bytes(seed: u64, count: usize) -> Vec<u8> {
    let mut rng = stream(seed, Purpose::Example, 0, 0);
    (0..count).map(|_| rng.random()).collect()
}

pub(super) fn image(seed: u64, width: usize, height: usize) -> Image {
    Image::new(width, height, bytes(seed, 3 * width * height)).unwrap()
}

/// Returns a mask of which about half is kept, a quarter is free and a quarter lies between.
fn mask(seed: u64, width: usize, height: usize) -> Mask {
    let byte = |byte: u8| match byte {
        0..128 => 0,
        128..192 => 255,
        _ => byte - 128,
    };
    let bytes = bytes(seed + 1000, width * height).into_iter().map(byte).collect();
    Mask::new(width, height, bytes).unwrap()
}

pub(super) fn options(sampler: &str, steps: usize, seed: u64) -> GenerateOptions {
    let guidance = Guidance { scale: 2.0, ..Guidance::OFF };
    let sampler: Sampler = sampler.parse().unwrap();
    GenerateOptions { sampler, steps, guidance, seed, ..GenerateOptions::default() }
}

/// Counts the bytes that differ where the mask keeps pixels, and where it does not.
fn changed(before: &Image, after: &Image, mask: &Mask) -> [usize; 2] {
    let mut changed = [0; 2];
    let bytes = before.rgb().iter().zip(after.rgb());
    for (at, (before, after)) in bytes.enumerate() {
        changed[usize::from(mask.bytes()[at / 3] > 0)] += usize::from(before != after);
    }
    changed
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_byte_outside_of_the_mask_changes(
        (rows, cols) in (1usize..5, 1usize..5),
        sampler in 0..SAMPLERS.len(),
        (seed, steps) in (0u64..1_000_000, 1usize..5),
        (su2024, differential) in (any::<bool>(), any::<bool>()),
        strength in 0.0..=1.0,
    ) {
        let steps_of_schedule = Schedule::Su2024 { steps: 1000 };
        let model = tiny(if su2024 { steps_of_schedule } else { Schedule::Linear });
        let (width, height) = (cols * PATCH, rows * PATCH);
        let (image, mask) = (image(seed, width, height), mask(seed, width, height));
        prop_assume!(!mask.is_empty());
        let soft = if differential { SoftMask::Strength } else { SoftMask::Blend };
        let inpaint = Inpaint::new(image.clone(), mask.clone(), PATCH).unwrap();
        let mut inpaint = inpaint.soft(soft).strength(strength).unwrap();
        let options = options(SAMPLERS[sampler], steps, seed);
        let prompt = Document::of_text("a");
        let drawn = model.draw_constrained(&prompt, 2, inpaint.grid(), &options, &mut inpaint);
        for drawn in drawn.unwrap() {
            prop_assert_eq!(changed(&image, &drawn, &mask)[0], 0);
        }
    }
}

#[test]
fn a_thousand_random_masks_change_no_byte_outside_and_nearly_all_inside() {
    let model = tiny(Schedule::Linear);
    let mut inside = 0;
    let mut free = 0;
    for seed in 0..1000 {
        let (image, mask) = (image(seed, 8, 6), mask(seed, 8, 6));
        let mut inpaint = Inpaint::new(image.clone(), mask.clone(), PATCH).unwrap();
        let options = options(SAMPLERS[seed as usize % SAMPLERS.len()], 2, seed);
        let grid = inpaint.grid();
        let drawn =
            model.draw_constrained(&Document::of_text("b"), 1, grid, &options, &mut inpaint);
        let [outside, new] = changed(&image, &drawn.unwrap()[0], &mask);
        assert_eq!(outside, 0, "mask {seed}");
        inside += new;
        free += 3 * mask.bytes().iter().filter(|&&byte| byte > 0).count();
    }
    assert!(10 * inside > 9 * free, "{inside} of {free} bytes that may change did");
}

#[test]
fn a_mask_that_frees_everything_gives_the_plain_drawing_to_the_bit() {
    for schedule in [Schedule::Linear, Schedule::Su2024 { steps: 1000 }] {
        let model = tiny(schedule);
        let whole = Mask::new(8, 6, vec![255; 48]).unwrap();
        for sampler in SAMPLERS {
            let options = options(sampler, 3, 11);
            let prompt = Document::of_text("ab");
            let grid = Grid::new(3, 4, PATCH);
            let plain = model.draw_many(&prompt, 2, grid, &options).unwrap();
            let mut inpaint = Inpaint::new(image(1, 8, 6), whole.clone(), PATCH).unwrap();
            let edited = model.draw_constrained(&prompt, 2, grid, &options, &mut inpaint).unwrap();
            assert_eq!(plain, edited, "{sampler}");
        }
    }
}

#[test]
fn a_strength_of_zero_returns_the_image_and_one_of_one_is_drawn_from_noise() {
    let model = tiny(Schedule::Linear);
    let (image, prompt) = (image(5, 8, 6), Document::default());
    let drawn = |strength| {
        let mut edit = ImageToImage::new(image.clone(), strength, PATCH).unwrap();
        let options = options("euler", 4, 0);
        model.draw_constrained(&prompt, 1, edit.grid(), &options, &mut edit).unwrap().remove(0)
    };
    assert_eq!(drawn(0.0), image);
    let plain = model.draw_many(&prompt, 1, Grid::new(3, 4, PATCH), &options("euler", 4, 0));
    assert_eq!(drawn(1.0), plain.unwrap()[0], "the linear path starts without any signal");
    let far = |strength| {
        let drawn = drawn(strength);
        let pairs = drawn.rgb().iter().zip(image.rgb());
        pairs.map(|(a, b)| u32::from(a.abs_diff(*b))).sum::<u32>()
    };
    assert!(0 < far(0.25) && far(0.25) < far(1.0), "{} and {}", far(0.25), far(1.0));
}

#[test]
fn a_pixel_of_a_differential_mask_is_known_until_its_strength_starts() {
    let model = tiny(Schedule::Linear);
    let image = image(9, 8, 6);
    // The left half may change in the last step alone, and the right half in all four.
    let bytes = (0..48).map(|at| if at % 8 < 4 { 63 } else { 255 }).collect();
    let mask = Mask::new(8, 6, bytes).unwrap();
    let inpaint = Inpaint::new(image.clone(), mask, PATCH).unwrap().soft(SoftMask::Strength);
    let options = options("euler", 4, 0);
    let drawn = |mut inpaint: Inpaint| {
        let grid = inpaint.grid();
        model.draw_constrained(&Document::default(), 1, grid, &options, &mut inpaint).unwrap()
    };
    let both = drawn(inpaint).remove(0);
    let half = Mask::rectangle(8, 6, Region { x: 4, y: 0, width: 4, height: 6 }).unwrap();
    let right = drawn(Inpaint::new(image.clone(), half, PATCH).unwrap()).remove(0);
    assert_ne!(both.crop(0, 0, 4, 6), image.crop(0, 0, 4, 6));
    // Until the last step the two edits are the same, and in it a freed pixel is not yet seen.
    assert_eq!(both.crop(4, 0, 4, 6), right.crop(4, 0, 4, 6));
}

#[test]
fn edits_that_cannot_be_done_are_refused_by_name() {
    let inpaint = |image: &Image, mask: &Mask| {
        Inpaint::new(image.clone(), mask.clone(), 4).unwrap_err().to_string()
    };
    let (image, empty) = (image(1, 8, 8), Mask::new(8, 8, vec![0; 64]).unwrap());
    expect_test::expect![
        "the mask marks no pixel, wanted at least one that is transparent or not black"
    ]
    .assert_eq(&inpaint(&image, &empty));
    let small = Mask::new(4, 8, vec![255; 32]).unwrap();
    expect_test::expect!["the mask has 4 x 8 pixels, wanted 8 x 8"]
        .assert_eq(&inpaint(&image, &small));
    let odd = Image::filled(10, 3, [0; 3]);
    expect_test::expect![
        "the image has 10 x 3 pixels, wanted multiples of 4; the nearest sizes are 8 x 4 and 12 x 4"
    ]
    .assert_eq(&inpaint(&odd, &small));
    let strength = ImageToImage::new(image, f64::NAN, 4).unwrap_err().to_string();
    expect_test::expect!["`strength` is NaN, wanted a number from 0 to 1"].assert_eq(&strength);
}

#[test]
fn a_mask_is_read_from_alpha_or_from_black_and_white() {
    let options = DecodeOptions::default();
    let gray = Image::new(2, 1, vec![255, 255, 255, 10, 20, 30]).unwrap().encode_png();
    assert_eq!(Mask::decode(&gray, &options).unwrap().bytes(), [255, 20]);
    assert!(Mask::from_alpha(&gray, &options).unwrap().is_empty());
    let pixels = vec![9, 200, 30, 255, 255, 255, 255, 0, 0, 7, 255, 100];
    let file = rgba_png(3, 1, &pixels);
    assert_eq!(Mask::decode(&file, &options).unwrap().bytes(), [0, 255, 155]);
    let every: Vec<u8> = (0..=255).flat_map(|alpha| [alpha, 255 - alpha, 77, alpha]).collect();
    let wanted: Vec<u8> = (0..=255).rev().collect();
    let file = rgba_png(256, 1, &every);
    assert_eq!(Mask::from_alpha(&file, &options).unwrap().bytes(), wanted);
}

#[test]
fn the_bounds_of_a_mask_hold_every_pixel_that_may_change() {
    let mask = Mask::rectangle(9, 7, Region { x: 2, y: 3, width: 4, height: 100 }).unwrap();
    assert_eq!(mask.bounds(), Some(Region { x: 2, y: 3, width: 4, height: 4 }));
    assert_eq!(mask.clone().inverted().bounds().unwrap().width, 9);
    assert!(mask.crop(Region { x: 2, y: 3, width: 4, height: 4 }).inverted().is_empty());
    assert_eq!(Mask::new(2, 2, vec![0; 4]).unwrap().bounds(), None);
}

/// Writes a PNG file with alpha.
fn rgba_png(width: u32, height: u32, rgba: &[u8]) -> Vec<u8> {
    let image = image::RgbaImage::from_raw(width, height, rgba.to_vec()).unwrap();
    let mut file = std::io::Cursor::new(vec![]);
    image.write_to(&mut file, image::ImageFormat::Png).unwrap();
    file.into_inner()
}

#[test]
fn outpainting_keeps_the_image_to_the_bit_and_draws_the_margins() {
    let model = tiny(Schedule::Linear);
    let small = image(3, 5, 4);
    let margins = Margins { left: 2, top: 1, right: 3, bottom: 1 };
    for sampler in SAMPLERS {
        let mut edit = outpaint(&small, margins, PATCH).unwrap();
        let grid = edit.grid();
        assert_eq!((grid.width(), grid.height()), (10, 6));
        let options = options(sampler, 2, 0);
        let drawn = model.draw_constrained(&Document::default(), 2, grid, &options, &mut edit);
        for drawn in drawn.unwrap() {
            assert_eq!(drawn.crop(2, 1, 5, 4), small, "{sampler}");
            assert_ne!(drawn.crop(0, 0, 2, 6), Image::filled(2, 6, [0; 3]));
        }
    }
    let refused = |margins| outpaint(&small, margins, PATCH).unwrap_err().to_string();
    expect_test::expect![
        "`margins` is 0,0,0,0, wanted at least one above 0, and an image that is not too large"
    ]
    .assert_eq(&refused(Margins::default()));
    assert!(refused(Margins { left: usize::MAX, ..margins }).contains("not too large"));
    expect_test::expect![
        "the image has 6 x 4 pixels, wanted multiples of 4; the nearest sizes are 4 x 4 and 8 x 4"
    ]
    .assert_eq(
        &outpaint(&small, Margins { left: 1, ..Margins::default() }, 4).unwrap_err().to_string(),
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_masked_area_is_put_back_without_a_changed_byte_outside_of_the_mask(
        (width, height) in (1usize..40, 1usize..40),
        (seed, padding) in (0u64..1_000_000, 0usize..6),
        (x, y, columns, rows) in (0usize..40, 0usize..40, 1usize..30, 1usize..30),
        differential in any::<bool>(),
    ) {
        let model = tiny(Schedule::Linear);
        let photo = image(seed, width, height);
        let freed = Region { x: x % width, y: y % height, width: columns, height: rows };
        let inside = Mask::rectangle(width, height, freed).unwrap();
        // Within the rectangle the mask is any mask, and so gray and with holes.
        let bytes = inside.bytes().iter().zip(mask(seed, width, height).bytes().to_vec());
        let bytes = bytes.map(|(&inside, byte)| inside.min(byte)).collect();
        let mask = Mask::new(width, height, bytes).unwrap();
        prop_assume!(!mask.is_empty());
        let soft = if differential { SoftMask::Strength } else { SoftMask::Blend };
        let grid = Grid::new(3, 4, PATCH);
        let mut area =
            MaskedArea::new(photo.clone(), mask.clone(), padding, soft, grid).unwrap();
        let Region { x, y, width: columns, height: rows } = area.region();
        let bounds = mask.bounds().unwrap();
        prop_assert!(x <= bounds.x && bounds.x + bounds.width <= x + columns && x + columns <= width);
        prop_assert!(y <= bounds.y && bounds.y + bounds.height <= y + rows && y + rows <= height);
        let options = options("euler", 2, seed);
        let drawn = model.draw_constrained(&Document::default(), 1, grid, &options, &mut area);
        prop_assert_eq!(changed(&photo, &drawn.unwrap()[0], &mask)[0], 0);
    }
}

#[test]
fn a_masked_area_that_fits_is_cut_out_at_full_resolution() {
    let photo = image(2, 100, 80);
    let freed = Region { x: 50, y: 40, width: 3, height: 2 };
    let mask = Mask::rectangle(100, 80, freed).unwrap();
    let grid = Grid::new(3, 4, PATCH);
    let area = |padding| {
        MaskedArea::new(photo.clone(), mask.clone(), padding, SoftMask::Blend, grid).unwrap()
    };
    assert_eq!(area(2).region(), Region { x: 47, y: 38, width: 8, height: 6 });
    assert_eq!(area(10).region(), Region { x: 37, y: 30, width: 29, height: 22 });
    // At full resolution it is the inpainting of the cut piece alone.
    let model = tiny(Schedule::Linear);
    let (prompt, options) = (Document::of_text("a"), options("heun", 3, 5));
    let whole = model.draw_constrained(&prompt, 1, grid, &options, &mut area(2)).unwrap();
    let region = area(2).region();
    let cut = photo.crop(region.x, region.y, region.width, region.height);
    let mut piece = Inpaint::new(cut, mask.crop(region), PATCH).unwrap();
    let piece = model.draw_constrained(&prompt, 1, grid, &options, &mut piece).unwrap();
    let found = whole[0].crop(region.x, region.y, region.width, region.height);
    assert_eq!(found, piece[0]);
}

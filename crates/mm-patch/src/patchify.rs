//! Cutting images into patches and putting them together again. Both are linear and lossless.
//!
//! A byte `v` becomes `(2 v - 255) / 255`. This is one correctly rounded division, so black and
//! white are exactly -1 and 1, and inverting the colors changes only the sign. Adjacent bytes are
//! 2/255 apart, so rounding finds every byte again.

use burn::tensor::{Tensor, assert_shape};

use crate::image::RGB_CHANNELS;
use crate::{Grid, Image, PatchError};

/// Every byte as a number in [-1, 1].
const NUMBER_OF_BYTE: [f32; 256] = {
    let mut numbers = [0.0; 256];
    let mut byte = 0;
    while byte < 256 {
        numbers[byte] = (2.0 * byte as f32 - 255.0) / 255.0;
        byte += 1;
    }
    numbers
};

/// Cuts images into patches in reading order; [`unpatchify`] is the exact inverse. Panics if the
/// images do not have the grid's size and channels.
///
/// `images`: `[batch, channels, height, width]` ->
/// `[batch, rows * cols, patch * patch * channels]`.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use mm_patch::{Grid, patchify, unpatchify};
///
/// let grid = Grid::new(2, 3, 4);
/// let images = Tensor::<4>::ones([1, grid.channels, 8, 12], &Device::flex());
/// let patches = patchify(images.clone(), grid);
/// assert_eq!(patches.dims(), [1, grid.tokens(), grid.patch_dim()]);
/// assert_eq!(unpatchify(patches, grid).into_data(), images.into_data());
/// ```
pub fn patchify(images: Tensor<4>, grid: Grid) -> Tensor<3> {
    let Grid { rows, cols, patch, channels } = grid;
    let [batch, ..] = images.dims();
    assert_shape!(images, [_, channels, rows * patch, cols * patch]);
    images
        .reshape([batch, channels, rows, patch, cols, patch])
        .permute([0, 2, 4, 3, 5, 1]) // [batch, rows, cols, patch, patch, channels]
        .reshape([batch, rows * cols, patch * patch * channels])
}

/// Puts patches together again; the exact inverse of [`patchify`]. Panics if the patches do not
/// have the grid's size.
///
/// `patches`: `[batch, rows * cols, patch * patch * channels]` ->
/// `[batch, channels, height, width]`.
pub fn unpatchify(patches: Tensor<3>, grid: Grid) -> Tensor<4> {
    let Grid { rows, cols, patch, channels } = grid;
    let [batch, ..] = patches.dims();
    assert_shape!(patches, [_, rows * cols, patch * patch * channels]);
    patches
        .reshape([batch, rows, cols, patch, patch, channels])
        .permute([0, 5, 1, 3, 2, 4]) // [batch, channels, rows, patch, cols, patch]
        .reshape([batch, channels, rows * patch, cols * patch])
}

/// Returns the patches of one image as numbers in [-1, 1], in the order of [`patchify`];
/// [`patches_to_image`] is the exact inverse.
///
/// A grid of another size, or of another number of channels than three, is an error.
pub fn image_to_patches(image: &Image, grid: Grid) -> Result<Vec<f32>, PatchError> {
    check_channels(grid)?;
    let (width, height) = (image.width(), image.height());
    if (width, height) != (grid.width(), grid.height()) {
        let (wanted_width, wanted_height) = (grid.width(), grid.height());
        return Err(PatchError::Size { width, height, wanted_width, wanted_height });
    }
    let line = grid.channels * width; // bytes
    let run = grid.channels * grid.patch; // bytes of one patch on one line
    let mut patches = Vec::with_capacity(image.rgb().len());
    for row in image.rgb().chunks_exact(grid.patch * line) {
        for col in 0..grid.cols {
            for pixels in row.chunks_exact(line) {
                let bytes = &pixels[col * run..(col + 1) * run];
                patches.extend(bytes.iter().map(|&byte| NUMBER_OF_BYTE[usize::from(byte)]));
            }
        }
    }
    Ok(patches)
}

/// Returns the image of these patches. Numbers are clamped to [-1, 1] and rounded to the nearest
/// byte; NaN becomes black.
///
/// Another count of numbers than the grid's is an error, and so is a grid without patches or with
/// another number of channels than three.
pub fn patches_to_image(patches: &[f32], grid: Grid) -> Result<Image, PatchError> {
    check_channels(grid)?;
    let Grid { rows, cols, patch, channels } = grid;
    let wanted = [rows, cols, patch, patch]
        .iter()
        .try_fold(channels, |product: usize, &side| product.checked_mul(side));
    if wanted != Some(patches.len()) || patches.is_empty() {
        return Err(PatchError::PatchDim { found: patches.len(), rows, cols, patch });
    }
    let (line, run) = (channels * grid.width(), channels * patch);
    let mut rgb = vec![0; patches.len()];
    for (at, numbers) in patches.chunks_exact(run).enumerate() {
        let (token, py) = (at / patch, at % patch);
        let (row, col) = (token / cols, token % cols);
        let start = (row * patch + py) * line + col * run;
        for (byte, &number) in rgb[start..start + run].iter_mut().zip(numbers) {
            *byte = byte_of_number(number);
        }
    }
    Image::new(grid.width(), grid.height(), rgb)
}

/// Refuses a grid whose pixels are not those of an [`Image`].
fn check_channels(grid: Grid) -> Result<(), PatchError> {
    if grid.channels == RGB_CHANNELS {
        return Ok(());
    }
    Err(PatchError::Channels { found: grid.channels, wanted: RGB_CHANNELS })
}

fn byte_of_number(number: f32) -> u8 {
    ((number.clamp(-1.0, 1.0) + 1.0) * 127.5).round() as u8 // `as` makes 0 of NaN
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};
    use expect_test::expect;
    use proptest::prelude::*;

    use super::*;
    use crate::image::tests::gradient;

    #[test]
    fn every_byte_survives_the_way_to_a_number_and_back() {
        for byte in 0..=255u8 {
            let number = NUMBER_OF_BYTE[usize::from(byte)];
            assert!((-1.0..=1.0).contains(&number));
            assert_eq!(byte_of_number(number), byte);
            assert_eq!(NUMBER_OF_BYTE[255 - usize::from(byte)], -number);
        }
        assert_eq!((NUMBER_OF_BYTE[0], NUMBER_OF_BYTE[255]), (-1.0, 1.0));
    }

    #[test]
    fn numbers_outside_the_range_are_clamped() {
        let numbers = [-9.0, 9.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.001];
        assert_eq!(numbers.map(byte_of_number), [0, 255, 0, 255, 0, 128]);
    }

    #[test] // the image holds the index of each pixel
    fn patches_and_their_pixels_are_read_like_text() {
        let grid = Grid::new(2, 3, 2);
        let image = Image::new(6, 4, (0..24).flat_map(|at| [at; 3]).collect()).unwrap();
        let patches = image_to_patches(&image, grid).unwrap();
        let lines = patches.chunks_exact(grid.patch_dim()).map(|patch| {
            let pixels: Vec<u8> =
                patch.iter().step_by(3).map(|&number| byte_of_number(number)).collect();
            format!("{pixels:?}\n")
        });
        expect![[r#"
            [0, 1, 6, 7]
            [2, 3, 8, 9]
            [4, 5, 10, 11]
            [12, 13, 18, 19]
            [14, 15, 20, 21]
            [16, 17, 22, 23]
        "#]]
        .assert_eq(&lines.collect::<String>());
    }

    #[test]
    fn a_grid_without_patches_is_refused() {
        for (rows, cols, patch) in [(0, 1, 1), (1, 0, 1), (1, 1, 0), (usize::MAX, usize::MAX, 2)] {
            assert!(patches_to_image(&[], Grid::new(rows, cols, patch)).is_err());
        }
    }

    /// Returns the image as `[batch = 1, channels, height, width]`.
    fn planes(image: &Image) -> Tensor<4> {
        let plane = |color: usize| image.rgb().iter().skip(color).step_by(3);
        let numbers: Vec<f32> =
            (0..3).flat_map(plane).map(|&byte| NUMBER_OF_BYTE[usize::from(byte)]).collect();
        Tensor::from_data(
            TensorData::new(numbers, [1, 3, image.height(), image.width()]),
            &Device::flex(),
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn host_and_tensor_patches_agree_and_both_round_trips_are_bit_exact(
            (rows, cols, patch) in (1usize..6, 1usize..6, 1usize..9)
        ) {
            let grid = Grid::new(rows, cols, patch);
            let image = gradient(grid.width(), grid.height());
            let host = image_to_patches(&image, grid).unwrap();
            let images = planes(&image);
            let tensor = patchify(images.clone(), grid);
            prop_assert_eq!(tensor.dims(), [1, grid.tokens(), grid.patch_dim()]);
            prop_assert_eq!(tensor.to_data().try_to_vec::<f32>().unwrap(), host.clone());
            prop_assert_eq!(unpatchify(tensor, grid).to_data(), images.to_data());
            prop_assert_eq!(patches_to_image(&host, grid).unwrap(), image);
        }

        #[test]
        fn a_patch_round_trip_is_bit_exact_for_any_batch_and_number_of_channels(
            (batch, channels) in (1usize..4, 1usize..5),
            (rows, cols, patch) in (1usize..4, 1usize..4, 1usize..6),
            seed in any::<u32>(),
        ) {
            let grid = Grid { rows, cols, patch, channels };
            let shape = [batch, channels, grid.height(), grid.width()];
            // The mask leaves no infinity and no NaN.
            let number = |at: usize| {
                let bits = (at as u32 ^ seed).wrapping_mul(0x9E37_79B9);
                f32::from_bits(bits & 0xBFFF_FFFF)
            };
            let numbers: Vec<f32> = (0..shape.iter().product()).map(number).collect();
            let images = Tensor::<4>::from_data(TensorData::new(numbers, shape), &Device::flex());
            let back = unpatchify(patchify(images.clone(), grid), grid);
            prop_assert_eq!(back.to_data(), images.to_data());
        }
    }
}

//! What can be wrong with an image, a size or a buffer of patches that came from outside.

/// Why an image, a size or a buffer of patches was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PatchError {
    /// A side of an image is zero or absurdly long.
    #[error("`{name}` is {found}, wanted 1 to {max}")]
    Side {
        /// Names the side.
        name: &'static str,
        /// Its length in pixels.
        found: usize,
        /// The longest allowed side in pixels.
        max: usize,
    },
    /// A count that must be positive is zero.
    #[error("`{name}` is 0, wanted at least 1")]
    Zero {
        /// Names the count.
        name: &'static str,
    },
    /// A side is not a whole number of patches.
    #[error("`{name}` is {found} pixels, wanted a multiple of `patch`, which is {patch}")]
    Divide {
        /// Names the side.
        name: &'static str,
        /// Its length in pixels.
        found: usize,
        /// The side of a patch in pixels.
        patch: usize,
    },
    /// The image has more pixels than any image may have.
    #[error("{width} x {height} pixels are too many, wanted at most {max} in all")]
    Large {
        /// The width in pixels.
        width: usize,
        /// The height in pixels.
        height: usize,
        /// The most pixels an image may have.
        max: u64,
    },
    /// A pixel buffer does not have three bytes a pixel.
    #[error("`rgb` has {found} bytes, an image of {width} x {height} pixels wants three a pixel")]
    Pixels {
        /// The number of bytes given.
        found: usize,
        /// The width in pixels.
        width: usize,
        /// The height in pixels.
        height: usize,
    },
    /// An image does not have the size of its grid.
    #[error(
        "the image is {width} x {height} pixels, the grid wants {wanted_width} x {wanted_height}"
    )]
    Size {
        /// The width of the image in pixels.
        width: usize,
        /// The height of the image in pixels.
        height: usize,
        /// The width of the grid in pixels.
        wanted_width: usize,
        /// The height of the grid in pixels.
        wanted_height: usize,
    },
    /// An image of red, green and blue was asked of a grid with another number of channels.
    #[error("`channels` of the grid is {found}, an image has {wanted}")]
    Channels {
        /// The channels of the grid.
        found: usize,
        /// The channels of an image.
        wanted: usize,
    },
    /// A buffer of patches does not have the numbers of its grid.
    #[error(
        "`patches` has {found} numbers, a grid of {rows} x {cols} patches of {patch} x {patch} \
         pixels wants three a pixel"
    )]
    PatchDim {
        /// The count of numbers given.
        found: usize,
        /// The rows of the grid.
        rows: usize,
        /// The columns of the grid.
        cols: usize,
        /// The side of a patch in pixels.
        patch: usize,
    },
    /// The file has no bytes.
    #[error("the image file is empty")]
    Empty,
    /// The file is of a format that is not read.
    #[error("the image file {found}, wanted png, jpeg, webp, gif, bmp or tiff")]
    UnknownFormat {
        /// Says what the file looks like.
        found: String,
    },
    /// The file is of a format that is read, and of a kind that is not.
    #[error("the {format} file uses {what}, which is not read")]
    Unread {
        /// The format of the file.
        format: &'static str,
        /// Names what would be read wrong or not at all.
        what: String,
    },
    /// The decoder of the format stopped where it did not expect what the file holds.
    #[error("the {format} file is damaged where its decoder did not expect it")]
    Damaged {
        /// The format of the file.
        format: &'static str,
    },
    /// The palette of the file is no whole number of colors.
    #[error("the png file has a palette of {found} bytes, wanted 3 for each color")]
    Palette {
        /// The number of bytes in the palette.
        found: usize,
    },
    /// The file ends before its image does.
    #[error("the {format} file is truncated: it ends after {found} bytes, before its image does")]
    Truncated {
        /// The format of the file.
        format: &'static str,
        /// The number of bytes in the file.
        found: usize,
    },
    /// The image has more pixels than the caller allows.
    #[error("the image has {width} x {height} pixels, `max_pixels` is {max}")]
    TooManyPixels {
        /// The width that the file's header claims.
        width: u32,
        /// The height that the file's header claims.
        height: u32,
        /// The number of pixels allowed.
        max: u64,
    },
    /// The image takes more bytes than the caller allows.
    #[error("the image takes {found} bytes, `max_bytes` is {max}")]
    TooManyBytes {
        /// The bytes of the file or of its decoded pixels.
        found: u64,
        /// The number of bytes allowed.
        max: u64,
    },
    /// The decoder refuses the file.
    #[error("cannot decode the {format} file")]
    Decode {
        /// The format of the file.
        format: &'static str,
        /// The decoder's reason.
        source: image::ImageError,
    },
    /// The encoder refuses the image.
    #[error("cannot encode an image of {width} x {height} pixels as {format}")]
    Encode {
        /// The format wanted.
        format: &'static str,
        /// The width in pixels.
        width: usize,
        /// The height in pixels.
        height: usize,
        /// The encoder's reason.
        source: image::ImageError,
    },
    /// The texts of a PNG file cannot be read or written.
    #[error("the texts of the png file: {why}")]
    PngText {
        /// What is wrong with the file or with a keyword.
        why: String,
    },
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use crate::{Fit, Grid, Image, PatchError, image_to_patches, patches_to_image};

    #[test]
    fn messages_name_what_was_found_and_wanted() {
        let image = Image::filled(4, 2, [0; 3]);
        let grid = Grid::new(1, 1, 4);
        let errors: Vec<PatchError> = vec![
            Image::new(0, 2, vec![]).unwrap_err(),
            Image::new(2, 2, vec![0; 11]).unwrap_err(),
            Grid::of_size(32, 30, 16).unwrap_err(),
            Grid::of_size(32, 30, 0).unwrap_err(),
            Grid::of_size(4_000_000, 4_000_000, 8).unwrap_err(),
            Fit::Bucket { max_patches: 0 }.apply(&image, 2).unwrap_err(),
            image_to_patches(&image, grid).unwrap_err(),
            image_to_patches(&image, Grid { channels: 1, ..grid }).unwrap_err(),
            patches_to_image(&[0.0; 47], grid).unwrap_err(),
        ];
        let lines: Vec<String> = errors.iter().map(|error| format!("{error}\n")).collect();
        expect![[r#"
            `width` is 0, wanted 1 to 2147483647
            `rgb` has 11 bytes, an image of 2 x 2 pixels wants three a pixel
            `height` is 30 pixels, wanted a multiple of `patch`, which is 16
            `patch` is 0, wanted at least 1
            4000000 x 4000000 pixels are too many, wanted at most 67108864 in all
            `max_patches` is 0, wanted at least 1
            the image is 4 x 2 pixels, the grid wants 4 x 4
            `channels` of the grid is 1, an image has 3
            `patches` has 47 numbers, a grid of 1 x 1 patches of 4 x 4 pixels wants three a pixel
        "#]]
        .assert_eq(&lines.concat());
    }
}

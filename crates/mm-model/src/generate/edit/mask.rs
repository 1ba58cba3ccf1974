//! [`Mask`]: which pixels an edit may change, and how much.

use mm_patch::{DecodeOptions, Image, PatchError};

use super::error::EditError;

/// How much each pixel of an image may change: 0 keeps it to the bit, 255 frees it.
///
/// ```
/// use mm_model::{Mask, Region};
///
/// let mask = Mask::rectangle(32, 24, Region { x: 4, y: 8, width: 10, height: 6 })?;
/// assert_eq!((mask.at(4, 8), mask.at(13, 13), mask.at(14, 8)), (255, 255, 0));
/// assert_eq!(mask.bounds().map(|bounds| bounds.width), Some(10));
/// # Ok::<(), mm_model::EditError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Mask {
    width: usize,
    height: usize,
    bytes: Vec<u8>,
}

/// A rectangle of pixels of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// The column of its left border.
    pub x: usize,
    /// The row of its upper border.
    pub y: usize,
    /// Its width in pixels.
    pub width: usize,
    /// Its height in pixels.
    pub height: usize,
}

impl Mask {
    /// Makes a mask of its bytes, one a pixel, row by row from the top left.
    pub fn new(width: usize, height: usize, bytes: Vec<u8>) -> Result<Self, EditError> {
        let image = Image::new(width, height, bytes.iter().flat_map(|&byte| [byte; 3]).collect())?;
        Ok(Self { width: image.width(), height: image.height(), bytes })
    }

    /// Makes a mask that frees a rectangle and keeps the rest. What lies outside of the image is
    /// cut off.
    pub fn rectangle(width: usize, height: usize, freed: Region) -> Result<Self, EditError> {
        let columns = freed.x..freed.x.saturating_add(freed.width);
        let rows = freed.y..freed.y.saturating_add(freed.height);
        let inside = |at: usize| columns.contains(&(at % width)) && rows.contains(&(at / width));
        let bytes = (0..width.saturating_mul(height)).map(|at| if inside(at) { 255 } else { 0 });
        Self::new(width, height, bytes.collect())
    }

    /// Reads a mask file: where it has a transparent pixel, its [alpha](Self::from_alpha) counts,
    /// and else its [brightness](Self::from_gray).
    pub fn decode(file: &[u8], options: &DecodeOptions) -> Result<Self, PatchError> {
        let alpha = Self::from_alpha(file, options)?;
        if alpha.is_empty() { Self::from_gray(file, options) } else { Ok(alpha) }
    }

    /// Reads the alpha of an image file as a mask: transparent pixels are freed and opaque ones are
    /// kept, as in the image edits of OpenAI's API. A file without alpha keeps everything.
    pub fn from_alpha(file: &[u8], options: &DecodeOptions) -> Result<Self, PatchError> {
        let on = |color| Image::decode(file, &DecodeOptions { background: [color; 3], ..*options });
        let (black, white) = (on(0)?, on(255)?);
        // The two differ by exactly 255 - alpha in every channel.
        let pairs = white.rgb().iter().zip(black.rgb()).step_by(3);
        let bytes = pairs.map(|(white, black)| white - black).collect();
        Ok(Self { width: black.width(), height: black.height(), bytes })
    }

    /// Reads an image file in black and white as a mask: white pixels are freed, black ones are
    /// kept, and gray ones lie between. A color counts as the mean of its three values.
    pub fn from_gray(file: &[u8], options: &DecodeOptions) -> Result<Self, PatchError> {
        let image = Image::decode(file, options)?;
        let mean = |pixel: &[u8]| {
            let sum: u32 = pixel.iter().map(|&value| u32::from(value)).sum();
            ((sum + 1) / 3) as u8
        };
        let bytes = image.rgb().chunks_exact(3).map(mean).collect();
        Ok(Self { width: image.width(), height: image.height(), bytes })
    }

    /// Returns the number of pixels of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Returns the number of rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Returns all bytes, one a pixel, in reading order.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the byte at column `x` of row `y`. Panics outside the mask.
    pub fn at(&self, x: usize, y: usize) -> u8 {
        assert!(x < self.width, "column {x} is outside a mask of {} columns", self.width);
        self.bytes[y * self.width + x]
    }

    /// Says whether no pixel may change.
    pub fn is_empty(&self) -> bool {
        self.bytes.iter().all(|&byte| byte == 0)
    }

    /// Returns the mask that frees what this one keeps.
    #[must_use]
    pub fn inverted(mut self) -> Self {
        for byte in &mut self.bytes {
            *byte = 255 - *byte;
        }
        self
    }

    /// Returns the smallest rectangle that holds every pixel that may change; none where no pixel
    /// may.
    pub fn bounds(&self) -> Option<Region> {
        let rows = self.bytes.chunks_exact(self.width);
        let freed = |row: &[u8]| row.iter().any(|&byte| byte > 0);
        let top = rows.clone().position(freed)?;
        let bottom = rows.clone().rposition(freed)?;
        let left = rows.clone().filter_map(|row| row.iter().position(|&byte| byte > 0)).min()?;
        let right = rows.filter_map(|row| row.iter().rposition(|&byte| byte > 0)).max()?;
        Some(Region { x: left, y: top, width: right + 1 - left, height: bottom + 1 - top })
    }

    /// Returns the mask as a gray image.
    pub fn image(&self) -> Image {
        let rgb = self.bytes.iter().flat_map(|&byte| [byte; 3]).collect();
        Image::new(self.width, self.height, rgb).expect("three bytes a pixel")
    }

    /// Returns the mask of one region. Panics if it is empty or leaves the mask.
    #[must_use]
    pub fn crop(&self, region: Region) -> Self {
        Self::of_image(&self.image().crop(region.x, region.y, region.width, region.height))
    }

    /// Returns the mask at another size. Pixels that were kept may become partly free and the other
    /// way round, since resizing mixes them.
    #[must_use]
    pub fn resize(&self, width: usize, height: usize) -> Self {
        Self::of_image(&self.image().resize(width, height))
    }

    /// Returns the mask whose bytes are those of a gray image.
    fn of_image(image: &Image) -> Self {
        let bytes = image.rgb().iter().step_by(3).copied().collect();
        Self { width: image.width(), height: image.height(), bytes }
    }
}

/// Prints the size alone, as [`Image`] does.
impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mask")
            .field("width", &self.width)
            .field("height", &self.height)
            .finish_non_exhaustive()
    }
}

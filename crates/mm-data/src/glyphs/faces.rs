//! The typefaces of drawn glyphs and their coverage masks, rasterised once.
//!
//! All faces are upright, legible at a capital height of nine pixels, and tell a zero from the
//! letter O (slashed, dotted or clearly narrower). Sizes are whole capital heights in pixels and
//! glyphs stand on whole pixels, so the flat edges of letters fall on pixel edges; across, each
//! glyph is drawn at the quarter of a pixel that gives the sharpest stems. Curves and diagonals are
//! antialiased.
//!
//! Faces: Hack (MIT and Bitstream Vera licences), Ubuntu Light (Ubuntu font licence), DejaVu Sans
//! Mono (Bitstream Vera licence), Libertinus Serif (SIL open font licence), New Computer Modern
//! (GUST font licence).

use ab_glyph::{Font, FontRef, GlyphId, PxScale, ScaleFont, point};

/// The characters that are drawn.
pub const CHARACTERS: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// The names of the faces, in the order of their indices.
pub const FACE_NAMES: &[&str] = &[
    "hack",
    "ubuntu-light",
    "dejavu-sans-mono",
    "dejavu-sans-mono-bold",
    "libertinus-serif",
    "libertinus-serif-bold",
    "new-computer-modern-bold",
];

/// The face that words fall back to because its letters are all equally narrow.
pub const NARROW_FACE: usize = 0;

/// How much of each pixel a glyph covers, in its own tight box.
#[derive(Debug, Clone)]
pub struct Mask {
    /// Columns of the box.
    pub width: usize,
    /// Rows of the box.
    pub height: usize,
    /// From the pen to the left edge of the box, in pixels.
    pub left: i32,
    /// From the baseline up to the top edge of the box, in pixels.
    pub top: i32,
    /// How far the pen moves, in pixels.
    pub advance: i32,
    /// Coverage from 0 to 1, row by row.
    pub cover: Vec<f32>,
}

/// All characters of all faces at some sizes.
#[derive(Debug, Clone)]
pub struct Faces {
    sizes: Vec<usize>,
    /// Indexed by face, then size, then character.
    masks: Vec<Mask>,
}

impl Faces {
    /// Rasterises every character in every face, one mask for each capital height in `sizes`
    /// (pixels, ascending).
    pub fn rasterise(sizes: &[usize]) -> Self {
        let fonts: Vec<FontRef<'static>> = font_files().into_iter().map(parse).collect();
        let mut masks = Vec::with_capacity(fonts.len() * sizes.len() * CHARACTERS.len());
        for font in &fonts {
            for &size in sizes {
                let scale = scale_of_capitals(font, size as f32);
                masks.extend(CHARACTERS.chars().map(|character| mask(font, character, scale)));
            }
        }
        Self { sizes: sizes.to_vec(), masks }
    }

    /// The capital heights in pixels, ascending.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// The mask of the `character`-th of [`CHARACTERS`] in face `face` and the `size`-th size.
    pub fn mask(&self, face: usize, size: usize, character: usize) -> &Mask {
        &self.masks[(face * self.sizes.len() + size) * CHARACTERS.len() + character]
    }

    /// Every mask with the index of its character.
    pub fn all(&self) -> impl Iterator<Item = (usize, &Mask)> {
        self.masks.iter().enumerate().map(|(index, mask)| (index % CHARACTERS.len(), mask))
    }
}

/// The files of [`FACE_NAMES`]. `typst_assets` lists its fonts in a fixed order and without names.
fn font_files() -> [&'static [u8]; FACE_NAMES.len()] {
    let typst: Vec<&'static [u8]> = typst_assets::fonts().collect();
    [
        epaint_default_fonts::HACK_REGULAR,
        epaint_default_fonts::UBUNTU_LIGHT,
        typst[16],
        typst[13],
        typst[0],
        typst[1],
        typst[10],
    ]
}

fn parse(file: &'static [u8]) -> FontRef<'static> {
    FontRef::try_from_slice(file).expect("an embedded font parses")
}

/// The scale at which the letter H is `height` pixels high.
fn scale_of_capitals(font: &FontRef<'_>, height: f32) -> PxScale {
    let outline = font.outline(font.glyph_id('H')).expect("an embedded font has an H");
    let capital = outline.bounds.min.y.max(outline.bounds.max.y); // font units above the baseline
    PxScale::from(height * font.height_unscaled() / capital)
}

/// The sharpest of four masks that differ in the fraction of a pixel at which the glyph starts.
fn mask(font: &FontRef<'_>, character: char, scale: PxScale) -> Mask {
    let sharpness = |mask: &Mask| mask.cover.iter().map(|cover| cover * cover).sum::<f32>();
    let masks = [0.0, 0.25, 0.5, 0.75].map(|fraction| mask_at(font, character, scale, fraction));
    masks.into_iter().max_by(|a, b| sharpness(a).total_cmp(&sharpness(b))).expect("there are four")
}

fn mask_at(font: &FontRef<'_>, character: char, scale: PxScale, fraction: f32) -> Mask {
    let id: GlyphId = font.glyph_id(character);
    let advance = font.as_scaled(scale).h_advance(id).round() as i32;
    let glyph = id.with_scale_and_position(scale, point(fraction, 0.0));
    let outlined = font.outline_glyph(glyph).expect("an embedded font draws the character");
    let bounds = outlined.px_bounds();
    let (width, height) = (bounds.width() as usize, bounds.height() as usize);
    let mut cover = vec![0.0; width * height];
    outlined.draw(|x, y, c| cover[y as usize * width + x as usize] = c.clamp(0.0, 1.0));
    Mask { width, height, left: bounds.min.x as i32, top: -(bounds.min.y as i32), advance, cover }
        .trimmed()
}

impl Mask {
    /// Returns the mask without edges that are invisibly faint.
    fn trimmed(self) -> Self {
        let visible = |x: usize, y: usize| self.cover[y * self.width + x] > 0.03;
        let column = |&x: &usize| (0..self.height).any(|y| visible(x, y));
        let row = |&y: &usize| (0..self.width).any(|x| visible(x, y));
        let left = (0..self.width).find(column).expect("a character has visible pixels");
        let right = (0..self.width).rev().find(column).unwrap_or(left) + 1;
        let top = (0..self.height).find(row).expect("a character has visible pixels");
        let bottom = (0..self.height).rev().find(row).unwrap_or(top) + 1;
        let cover =
            (top..bottom).flat_map(|y| &self.cover[y * self.width + left..y * self.width + right]);
        Self {
            width: right - left,
            height: bottom - top,
            left: self.left + left as i32,
            top: self.top - top as i32,
            advance: self.advance,
            cover: cover.copied().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `typst_assets` orders its fonts as it likes: a new version of it must not change the faces
    /// unseen.
    #[test]
    fn the_faces_are_those_that_are_named() {
        let family = |file: &[u8], name: &str| {
            let wide: Vec<u8> = name.encode_utf16().flat_map(u16::to_be_bytes).collect();
            file.windows(wide.len()).any(|window| window == wide)
        };
        let names = [
            "Hack-Regular",
            "Ubuntu-Light",
            "DejaVuSansMono",
            "DejaVuSansMono-Bold",
            "LibertinusSerif-Regular",
            "LibertinusSerif-Bold",
            "NewCM10-Bold",
        ];
        for (file, name) in font_files().into_iter().zip(names) {
            assert!(family(file, name), "{name}");
        }
    }

    #[test]
    fn capitals_are_as_high_as_asked_for_and_fill_their_rows() {
        let faces = Faces::rasterise(&[9, 24]);
        for (face, name) in FACE_NAMES.iter().enumerate() {
            for (size, height) in [(0, 9), (1, 24)] {
                let mask = faces.mask(face, size, CHARACTERS.find('H').unwrap());
                assert_eq!(mask.top, height as i32, "{name}");
                assert!(mask.height - height <= 1, "serifs of {name} may dip a little");
                let row = |y: usize| {
                    mask.cover[y * mask.width..][..mask.width].iter().copied().fold(0.0, f32::max)
                };
                assert!(row(0) > 0.6 && row(height - 1) > 0.6, "{name} at {height}");
            }
        }
    }
}

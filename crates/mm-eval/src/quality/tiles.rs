//! The upper mark: pictures cut into eight by eight tiles that are put back in another order. Colours and texture stay, what
//! the picture shows is lost.

use mm_model::random::{Purpose, stream};
use mm_patch::Image;
use rand::seq::SliceRandom;

/// Tiles of a side.
const TILES: usize = 8;

/// The picture with its tiles shuffled, a pure function of `seed` and `index`. Pixels right and below of the last whole tile
/// stay where they are; a picture of fewer than two pixels a side stays as it is.
pub fn shuffled_tiles(image: &Image, seed: u64, index: u64) -> Image {
    let [cols, rows] = [image.width(), image.height()].map(|side| side.min(TILES));
    let [width, height] = [image.width() / cols, image.height() / rows];
    let corner = |tile: usize| (tile % cols * width, tile / cols * height);
    let mut order: Vec<usize> = (0..cols * rows).collect();
    order.shuffle(&mut stream(seed, Purpose::Example, u64::MAX - 1, index));
    let mut shuffled = image.clone();
    for (to, from) in order.into_iter().enumerate() {
        let ((x, y), (left, top)) = (corner(to), corner(from));
        shuffled.paste(&image.crop(left, top, width, height), x, y);
    }
    shuffled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tile_is_somewhere_else_or_in_place_and_none_is_lost() {
        let pixel = |at: usize| [(at % 19) as u8, (at / 19) as u8, 0];
        let image = Image::new(19, 16, (0..19 * 16).flat_map(pixel).collect()).unwrap();
        let shuffled = shuffled_tiles(&image, 1, 2);
        let sorted = |image: &Image| {
            let mut pixels: Vec<[u8; 3]> = image.rgb().as_chunks::<3>().0.to_vec();
            pixels.sort_unstable();
            pixels
        };
        assert_ne!(shuffled, image);
        assert_eq!(sorted(&shuffled), sorted(&image));
        assert_eq!(shuffled.crop(16, 0, 3, 16), image.crop(16, 0, 3, 16));
        assert_eq!(shuffled, shuffled_tiles(&image, 1, 2));
        assert_ne!(shuffled, shuffled_tiles(&image, 1, 3));
    }

    #[test]
    fn a_picture_of_one_pixel_is_no_error() {
        let image = Image::filled(1, 1, [3; 3]);
        assert_eq!(shuffled_tiles(&image, 0, 0), image);
    }
}

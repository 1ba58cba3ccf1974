//! Pictures as a network wants them: resized without rounding to bytes.
//!
//! The filter is the triangle ("bilinear"), widened when it shrinks so that no pixel is passed over, as Parmar, Zhang and Zhu
//! 2022 (arXiv:2104.11222) found necessary: distances between features depend on how pictures were resized.

use mm_patch::Image;

/// Which pixels of the old line make one of the new, and their shares.
struct Taps {
    first: usize,
    shares: Vec<f32>,
}

/// The picture at another size, bytes as numbers from 0 to 255: `[height, width, colors]` in reading order.
pub fn resized(image: &Image, width: usize, height: usize) -> Vec<f32> {
    let (across, down) = (taps(image.width(), width), taps(image.height(), height));
    let mut lines = Vec::with_capacity(image.height() * width * 3); // [old height, width, colors]
    for line in image.rgb().chunks_exact(3 * image.width()) {
        for Taps { first, shares } in &across {
            let pixels = line[3 * first..].chunks_exact(3);
            let mut sum = [0.0; 3];
            for (pixel, share) in pixels.zip(shares) {
                (0..3).for_each(|color| sum[color] += share * f32::from(pixel[color]));
            }
            lines.extend(sum);
        }
    }
    let mut all = vec![0.0; height * width * 3];
    for (to, Taps { first, shares }) in all.chunks_exact_mut(3 * width).zip(&down) {
        for (line, share) in lines.chunks_exact(3 * width).skip(*first).zip(shares) {
            to.iter_mut().zip(line).for_each(|(to, number)| *to += share * number);
        }
    }
    all
}

/// A triangle about the middle of every new pixel, as wide as two pixels of the coarser line.
fn taps(old: usize, new: usize) -> Vec<Taps> {
    let scale = old as f64 / new as f64;
    let reach = scale.max(1.0);
    let one = |at: usize| {
        let middle = (at as f64 + 0.5) * scale;
        let first = (middle - reach + 0.5).floor().max(0.0) as usize;
        let end = ((middle + reach + 0.5).floor() as usize).clamp(first + 1, old);
        let height = |at: usize| (1.0 - (at as f64 + 0.5 - middle).abs() / reach).max(0.0);
        let sum: f64 = (first..end).map(height).sum();
        Taps { first, shares: (first..end).map(|at| (height(at) / sum) as f32).collect() }
    };
    (0..new).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(values: &[u8]) -> Image {
        Image::new(values.len(), 1, values.iter().flat_map(|&v| [v; 3]).collect()).unwrap()
    }

    fn check(values: &[u8], width: usize, expected: &[f32]) {
        let found: Vec<f32> = resized(&line(values), width, 1).into_iter().step_by(3).collect();
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-3, "{values:?} to {width}: {found} {expected}");
        }
        assert_eq!(found.len(), width);
    }

    #[test]
    fn a_line_is_resized_by_triangles() {
        check(&[0, 100], 2, &[0.0, 100.0]);
        check(&[0, 100], 4, &[0.0, 25.0, 75.0, 100.0]);
        // Shares 1/4 3/4 3/4 1/4 of the four nearest, those outside the line left out.
        check(&[0, 0, 100, 100], 2, &[100.0 / 7.0, 600.0 / 7.0]);
        check(&[7, 7, 7, 7, 7], 3, &[7.0, 7.0, 7.0]);
    }

    #[test]
    fn rows_and_columns_are_treated_alike() {
        let wide = line(&[10, 200, 30]);
        let tall = Image::new(1, 3, wide.rgb().to_vec()).unwrap();
        assert_eq!(resized(&wide, 7, 1), resized(&tall, 1, 7));
    }
}

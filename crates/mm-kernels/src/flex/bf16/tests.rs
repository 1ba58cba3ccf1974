//! Products of rounded factors: against 32-bit products of factors rounded before, and the ways of
//! computing them against each other, bit for bit.

use proptest::prelude::*;

use super::*;

/// The numbers of a factor, `[rows, cols]`, and whether its columns stand one after another.
#[derive(Debug, Clone)]
struct Factor {
    numbers: Vec<f32>,
    shape: [usize; 2],
    turned: bool,
}

impl Factor {
    fn new(seed: f32, shape: [usize; 2], turned: bool) -> Self {
        let number = |at: usize| (at as f32 * 0.7 + seed).sin() * 2f32.powi(at as i32 % 5 - 2);
        Self { numbers: (0..shape[0] * shape[1]).map(number).collect(), shape, turned }
    }

    fn matrix(&self) -> Matrix<'_> {
        let [rows, cols] = self.shape;
        if self.turned {
            return Matrix::transposed(&self.numbers, [rows, cols], rows);
        }
        Matrix::rows(&self.numbers, cols)
    }

    fn rounded(&self) -> Self {
        let round = |x: &f32| f32::from_bits(portable::round(*x) << 16);
        Self { numbers: self.numbers.iter().map(round).collect(), ..self.clone() }
    }

    fn at(&self, row: usize, col: usize) -> f64 {
        let [rows, cols] = self.shape;
        f64::from(self.numbers[if self.turned { col * rows + row } else { row * cols + col }])
    }
}

/// Computes a product inside rows of `pad` numbers more, given what stood there.
fn product_of(way: Way, a: &Factor, b: &Factor, before: &[f32], keep: bool) -> Vec<f32> {
    let (a, b) = (a.matrix(), b.matrix());
    let mut found = before.to_vec();
    let row = found.len() / a.shape[0];
    assert!(row >= b.shape[1] && a.shape[1] == b.shape[0]);
    let out = Out { data: found.as_mut_ptr(), row };
    // SAFETY: the factors are whole matrices of equal inner size, and so is the product.
    unsafe { product_by(way, out, a, Right::Loose(b), 0.5, keep) };
    let mut again = before.to_vec();
    let (out, packed) = (Out { data: again.as_mut_ptr(), row }, Packed::by(way, b));
    // SAFETY: as above.
    unsafe { product_by(way, out, a, Right::Packed(&packed), 0.5, keep) };
    assert!(found == again, "a factor that is packed before gives other bits");
    found
}

fn ways() -> Vec<Way> {
    let own = Way::of_this_processor();
    if own == Way::Portable { vec![own] } else { vec![own, Way::Portable] }
}

/// Checks every way against sums in 64 bits, and all ways against each other.
fn check(shape: [usize; 3], turned: [bool; 2], pad: usize, keep: bool) {
    let [m, k, n] = shape;
    let (a, b) = (Factor::new(1.0, [m, k], turned[0]), Factor::new(2.0, [k, n], turned[1]));
    let before = Factor::new(3.0, [m, n + pad], false).numbers;
    let [left, right] = [a.rounded(), b.rounded()];
    let mut all = vec![];
    for way in ways() {
        let found = product_of(way, &a, &b, &before, keep);
        for row in 0..m {
            for col in 0..n + pad {
                let (old, found) = (before[row * (n + pad) + col], found[row * (n + pad) + col]);
                if col >= n {
                    assert_eq!(found, old, "{way:?}: a number beside the product");
                    continue;
                }
                let terms = (0..k).map(|at| left.at(row, at) * right.at(at, col));
                let (sum, size) =
                    terms.fold((0.0, 0.0), |(sum, size), x: f64| (sum + x, size + x.abs()));
                let wanted = 0.5 * sum + if keep { f64::from(old) } else { 0.0 };
                let apart = (f64::from(found) - wanted).abs();
                let most = 1e-6 * (size + f64::from(old.abs()));
                assert!(apart <= most, "{way:?}, {shape:?} {turned:?}: {found}, not {wanted}");
            }
        }
        all.push(found);
    }
    assert!(all.iter().all(|found| *found == all[0]), "the ways differ: {shape:?}, {turned:?}");
}

proptest! {
    #[test]
    fn products_are_those_of_rounded_factors_in_every_way(
        m in 1usize..40, n in 1usize..120, k in 1usize..90, pad in 0usize..3,
        turned: [bool; 2], keep: bool,
    ) {
        check([m, k, n], turned, pad, keep);
    }

    #[test]
    fn numbers_are_rounded_to_the_nearest_of_16_bits(bits: u32) {
        let x = f32::from_bits(bits);
        let found = f32::from_bits(portable::round(x) << 16);
        if x.is_nan() {
            prop_assert!(found.is_nan());
        } else if !x.is_normal() {
            prop_assert!(found == 0.0 * x || found == x);
        } else {
            let below = f32::from_bits(bits & 0xffff_0000);
            let above = f32::from_bits((bits & 0xffff_0000).wrapping_add(0x1_0000));
            let distance = |y: f32| (f64::from(x) - f64::from(y)).abs();
            let even = if bits >> 16 & 1 == 0 { below } else { above };
            let wanted = match distance(below).total_cmp(&distance(above)) {
                std::cmp::Ordering::Less => below,
                std::cmp::Ordering::Greater => above,
                std::cmp::Ordering::Equal => even,
            };
            prop_assert_eq!(found, if above.is_finite() { wanted } else { found });
        }
        let mut places = [[0u32; 16]; 2];
        for (way, places) in ways().into_iter().zip(&mut places) {
            // SAFETY: there is one number, and room for 32.
            unsafe { way.pack_line(&x, 1, places.as_mut_ptr()) };
            prop_assert_eq!(places[0], portable::round(x));
        }
    }
}

#[test]
fn products_larger_than_a_block_are_right() {
    for turned in [[false, false], [false, true], [true, false], [true, true]] {
        check([9, 2 * MOST_INNER + 3, 50], turned, 1, true);
        check([MOST_ROWS + 5, 33, 17], turned, 0, false);
    }
}

#[test]
fn bits_of_a_row_do_not_depend_on_the_rows_and_columns_beside_it() {
    for way in ways() {
        for k in [1, 37, 300, 900] {
            let (rows, cols) = (70, 100);
            let (a, b) = (Factor::new(1.0, [rows, k], false), Factor::new(2.0, [k, cols], true));
            let before = Factor::new(3.0, [rows, cols], false).numbers;
            let all = product_of(way, &a, &b, &before, true);
            for [row, count, col, width] in
                [[0, 1, 0, 100], [69, 1, 3, 1], [5, 9, 40, 33], [1, 64, 60, 40]]
            {
                let piece = Factor {
                    numbers: a.numbers[row * k..(row + count) * k].to_vec(),
                    shape: [count, k],
                    turned: false,
                };
                let columns = Factor {
                    numbers: b.numbers[col * k..(col + width) * k].to_vec(),
                    shape: [k, width],
                    turned: true,
                };
                let of = |numbers: &[f32]| -> Vec<f32> {
                    let rows = numbers[row * cols..(row + count) * cols].chunks(cols);
                    rows.flat_map(|row| row[col..col + width].to_vec()).collect()
                };
                let found = product_of(way, &piece, &columns, &of(&before), true);
                assert!(found == of(&all), "{way:?}: {count} rows of {k}, {width} columns");
            }
        }
    }
}

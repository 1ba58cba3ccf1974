//! Matrix products on strided slices, one thread each: through the `gemm` crate (AVX2, AVX-512,
//! NEON by run-time detection), or of factors that are rounded to 16 bits, through [`bf16`].

use gemm::Parallelism;

use super::bf16::{self, Right};
use super::buffer::take;
pub(crate) use super::factor::Matrix;
use super::factor::reach;
use super::in_parts;
use crate::Precision;

/// Fewest and most rows of a weight gradient that one task computes: the right factor is packed
/// anew for every task, so few rows cost time, and many leave cores without work.
const GRADIENT_ROWS: [usize; 2] = [128, 384];

/// The inner indices that `gemm` takes in one go at least: its sums over no more do not depend on
/// the shape of a product.
pub(crate) const CHUNK: usize = 512;

/// Where a product goes: rows of `cols` numbers, `stride` apart.
pub(crate) struct Target<'a> {
    data: &'a mut [f32],
    shape: [usize; 2],
    stride: usize,
    precision: Precision,
}

impl<'a> Target<'a> {
    /// Takes rows of `cols` numbers one after another.
    pub fn rows(data: &'a mut [f32], cols: usize) -> Self {
        let shape = [data.len() / cols, cols];
        Self { data, shape, stride: cols, precision: Precision::F32 }
    }

    /// Takes `shape` rows and columns, rows `stride` apart.
    pub fn strided(data: &'a mut [f32], shape: [usize; 2], stride: usize) -> Self {
        Self { data, shape, stride, precision: Precision::F32 }
    }

    /// Rounds the factors of the product to this type, unless it is that of the numbers.
    pub fn of(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Computes `self = scale · a b`.
    pub fn set(self, a: Matrix<'_>, b: Matrix<'_>, scale: f32) {
        self.product(a, b, scale, false);
    }

    /// Computes `self += scale · a b`.
    pub fn add(self, a: Matrix<'_>, b: Matrix<'_>, scale: f32) {
        self.product(a, b, scale, true);
    }

    /// Computes `self = a b`; see [`add_rows`](Self::add_rows).
    pub fn set_rows(self, a: Matrix<'_>, b: Matrix<'_>) {
        self.product_of_rows(a, b, false);
    }

    /// Computes `self += a b` so that the bits of a row do not depend on the number of rows.
    ///
    /// `gemm` sums over the inner index in order, in chunks of at least [`CHUNK`], and adds each
    /// chunk to what was there. For a single row it has a way of its own, which takes all in one
    /// chunk and begins with what was there.
    pub fn add_rows(self, a: Matrix<'_>, b: Matrix<'_>) {
        self.product_of_rows(a, b, true);
    }

    fn product_of_rows(self, a: Matrix<'_>, b: Matrix<'_>, keep: bool) {
        let [rows, inner] = a.shape;
        let bf16 = self.precision == Precision::Bf16; // whose rows never depend on each other
        if bf16 || rows != 1 || (inner <= CHUNK && !keep) {
            return self.product(a, b, 1.0, keep);
        }
        let cols = b.width();
        assert_eq!(self.shape, [1, cols], "shapes of a product");
        let own = &mut self.data[..cols];
        if inner <= CHUNK {
            let mut sums = take(cols);
            Target::rows(&mut sums, cols).set(a, b, 1.0);
            super::simd::add(own, &sums);
            return;
        }
        let mut twice = take(2 * cols);
        for row in twice.chunks_exact_mut(cols) {
            row.copy_from_slice(own);
        }
        let same = Matrix { shape: [2, inner], strides: [0, a.strides[1]], ..a };
        Target::rows(&mut twice, cols).product(same, b, 1.0, keep);
        own.copy_from_slice(&twice[..cols]);
    }

    /// Asserts that the product and the left factor lie inside their slices.
    fn check(&self, a: Matrix<'_>) {
        assert!(a.reach() <= a.data.len(), "the left factor is inside its slice");
        let own = reach(self.shape, [self.stride, 1]);
        assert!(own <= self.data.len(), "the product is inside its slice");
        let apart = self.shape[0] <= 1 || self.stride >= self.shape[1];
        assert!(apart, "rows of the product do not overlap");
    }

    fn packed_product(self, a: Matrix<'_>, b: &bf16::Packed, keep: bool) {
        let b = Right::Packed(b);
        assert_eq!((a.width(), self.shape), (b.shape()[0], [a.height(), b.shape()[1]]), "shapes");
        self.check(a);
        if a.height() > 0 {
            self.rounded_product(a, b, 1.0, keep);
        }
    }

    /// Computes a product of rounded factors, all of whose sizes were found right and above 0.
    fn rounded_product(self, a: Matrix<'_>, b: Right<'_>, scale: f32, keep: bool) {
        let lines = |matrix: Matrix<'_>| matrix.strides.contains(&1);
        let right_lines = if let Right::Loose(b) = b { lines(b) } else { true };
        assert!(lines(a) && right_lines, "factors have lines");
        let out = bf16::Out { data: self.data.as_mut_ptr(), row: self.stride };
        // SAFETY: the callers' assertions bound every address of these shapes and strides, and no
        // size is 0; the product is borrowed mutably and so apart from both factors.
        unsafe { bf16::product(out, a, b, scale, keep) }
    }

    fn product(self, a: Matrix<'_>, b: Matrix<'_>, scale: f32, keep: bool) {
        let ([m, k], [k_too, n]) = (a.shape, b.shape);
        assert_eq!((k, self.shape), (k_too, [m, n]), "shapes of a product");
        self.check(a);
        assert!(b.reach() <= b.data.len(), "the right factor is inside its slice");
        if self.precision == Precision::Bf16 && m * n * k > 0 {
            return self.rounded_product(a, Right::Loose(b), scale, keep);
        }
        pack_less();
        // SAFETY: the assertions above and of `check` bound every address that `gemm` forms from
        // these shapes and strides; the product is borrowed mutably and so apart from both factors,
        // and its rows do not overlap.
        unsafe {
            gemm::gemm(
                m,
                n,
                k,
                self.data.as_mut_ptr(),
                1,
                self.stride as isize,
                keep,
                a.data.as_ptr(),
                a.strides[1] as isize,
                a.strides[0] as isize,
                b.data.as_ptr(),
                b.strides[1] as isize,
                b.strides[0] as isize,
                1.0,
                scale,
                false,
                false,
                false,
                Parallelism::None,
            );
        }
    }
}

/// A right factor of many products: the weight of a linear map, or its transpose.
#[derive(Debug)]
pub(crate) struct Weight<'a> {
    matrix: Matrix<'a>,
    precision: Precision,
    /// The matrix rounded and packed, where that is its precision and several products share it.
    packed: Option<bf16::Packed>,
}

impl<'a> Weight<'a> {
    /// Takes a matrix that so many products share; it is packed once if factors are to be rounded.
    pub fn new(matrix: Matrix<'a>, precision: Precision, products: usize) -> Self {
        let pack = precision == Precision::Bf16 && products > 1;
        Self { matrix, precision, packed: pack.then(|| bf16::Packed::new(matrix)) }
    }

    /// Computes `out = a W`; see [`Target::add_rows`].
    pub fn set_rows(&self, out: Target<'_>, a: Matrix<'_>) {
        match &self.packed {
            Some(packed) => out.packed_product(a, packed, false),
            None => out.of(self.precision).set_rows(a, self.matrix),
        }
    }

    /// Computes `out += a W`; see [`Target::add_rows`].
    pub fn add_rows(&self, out: Target<'_>, a: Matrix<'_>) {
        match &self.packed {
            Some(packed) => out.packed_product(a, packed, true),
            None => out.of(self.precision).add_rows(a, self.matrix),
        }
    }

    /// Computes `out = a W`.
    pub fn set(&self, out: Target<'_>, a: Matrix<'_>) {
        match &self.packed {
            Some(packed) => out.packed_product(a, packed, false),
            None => out.of(self.precision).set(a, self.matrix, 1.0),
        }
    }
}

/// Lets `gemm` read a factor in place where it is used for at most 384 rows of the product: with
/// AVX-512, copying it into the order of the kernel first costs more there than it saves (4 % of a
/// step at 256 channels). Other processors keep the crate's own bound, which is 48 rows.
fn pack_less() {
    #[cfg(target_arch = "x86_64")]
    {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| {
            use crate::InstructionSet;
            if InstructionSet::of_this_processor() == InstructionSet::Avx512 {
                gemm::set_lhs_packing_threshold_single_thread(64); // times six rows
            }
        });
    }
}

/// The product `xᵀ dy` that is the gradient of a weight.
pub(crate) struct Product<'a> {
    left: Matrix<'a>,
    right: Matrix<'a>,
}

impl<'a> Product<'a> {
    /// Takes `x`, `[tokens, inputs]`, and `dy`, `[tokens, outputs]`.
    pub fn new(x: Matrix<'a>, dy: Matrix<'a>) -> Self {
        Self { left: x.t(), right: dy }
    }
}

/// Returns the rows of a gradient that one task computes. The cuts decide the bits of products in
/// 32 bits, so that they follow from the shape alone; those of rounded factors depend on no cut,
/// and every thread gets a task.
fn gradient_rows(height: usize, precision: Precision) -> usize {
    let [fewest, most] = GRADIENT_ROWS;
    match precision {
        Precision::F32 | Precision::F16 => height.div_ceil(4).clamp(fewest, most),
        Precision::Bf16 => height.div_ceil(rayon::current_num_threads()).clamp(fewest, 2 * most),
    }
}

/// Computes products, which all share the threads.
pub(crate) fn weight_gradients<const N: usize>(
    products: [Product<'_>; N],
    precision: Precision,
) -> [Vec<f32>; N] {
    let mut gradients =
        products.each_ref().map(|Product { left, right }| vec![0.0; left.height() * right.width()]);
    let mut tasks = vec![];
    for (gradient, Product { left, right }) in gradients.iter_mut().zip(&products) {
        let (cols, rows) = (right.width(), gradient_rows(left.height(), precision));
        for (index, part) in gradient.chunks_mut(rows * cols).enumerate() {
            tasks.push((left.slice(index * rows, part.len() / cols), *right, part));
        }
    }
    tasks.sort_by_key(|(.., part)| std::cmp::Reverse(part.len())); // large ones first
    in_parts(tasks, |_, (left, right, part)| {
        Target::rows(part, right.width()).of(precision).set(left, right, 1.0);
    });
    gradients
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn numbers(seed: usize, count: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 37 + seed * 11) % 19) as f32 - 9.0).collect()
    }

    #[test]
    fn bits_of_a_row_do_not_depend_on_the_number_of_rows() {
        let wave = |seed: f32, count: usize| -> Vec<f32> {
            (0..count).map(|i| (i as f32 * 0.7 + seed).sin()).collect()
        };
        for [k, n] in [[1, 5], [3, 16], [48, 40], [257, 100], [512, 96], [700, 130], [1500, 70]] {
            let (b, most) = (wave(2.0, k * n), 150);
            let (a, before) = (wave(1.0, most * k), wave(3.0, most * n));
            let of = |from: usize, rows: usize, keep: bool| {
                let mut found = before[from * n..(from + rows) * n].to_vec();
                let left = Matrix::rows(&a[from * k..(from + rows) * k], k);
                let (target, right) = (Target::rows(&mut found, n), Matrix::rows(&b, n));
                if keep {
                    target.add_rows(left, right)
                } else {
                    target.set_rows(left, right)
                }
                found
            };
            for keep in [false, true] {
                let all = of(0, most, keep);
                for [from, rows] in [[0, 1], [149, 1], [3, 2], [5, 7], [10, 64], [20, 65]] {
                    let wanted = &all[from * n..(from + rows) * n];
                    assert!(of(from, rows, keep) == wanted, "{rows} rows, {k} by {n}, {keep}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn products_equal_sums_over_the_inner_index(
            m in 1usize..9, n in 1usize..9, k in 1usize..9, pad in 0usize..3,
            turned: [bool; 2], keep: bool,
        ) {
            let (a, b) = (numbers(1, m * k), numbers(2, k * n));
            let stride = n + pad;
            let before = numbers(3, m * stride);
            let mut found = before.clone();
            let left = if turned[0] { Matrix::rows(&a, m).t() } else { Matrix::rows(&a, k) };
            let right = if turned[1] { Matrix::rows(&b, k).t() } else { Matrix::rows(&b, n) };
            let target = Target::strided(&mut found, [m, n], stride);
            if keep { target.add(left, right, 0.5) } else { target.set(left, right, 0.5) }
            let at = |data: &[f32], i: usize, j: usize, rows: usize, cols: usize, turned: bool| {
                if turned { data[j * rows + i] } else { data[i * cols + j] }
            };
            for i in 0..m {
                for j in 0..stride {
                    let old = before[i * stride + j];
                    let col = j.min(n - 1);
                    let sum: f32 = (0..k)
                        .map(|l| at(&a, i, l, m, k, turned[0]) * at(&b, l, col, k, n, turned[1]))
                        .sum();
                    let kept = if keep { old } else { 0.0 };
                    let wanted = if j >= n { old } else { 0.5 * sum + kept };
                    prop_assert_eq!(found[i * stride + j], wanted);
                }
            }
        }
    }
}

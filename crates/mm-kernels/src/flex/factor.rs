//! Matrices inside slices, of which products are made.

/// A matrix inside a slice: element `(i, j)` is `data[i * strides[0] + j * strides[1]]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub(super) data: &'a [f32],
    pub(super) shape: [usize; 2],
    pub(super) strides: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// Takes rows of `cols` numbers one after another.
    pub fn rows(data: &'a [f32], cols: usize) -> Self {
        Self { data, shape: [data.len() / cols, cols], strides: [cols, 1] }
    }

    /// Takes `shape` rows and columns, rows `stride` apart.
    pub fn strided(data: &'a [f32], shape: [usize; 2], stride: usize) -> Self {
        Self { data, shape, strides: [stride, 1] }
    }

    /// Returns rows `from..from + count`.
    pub fn slice(self, from: usize, count: usize) -> Self {
        assert!(from + count <= self.shape[0], "rows inside the matrix");
        let start = (from * self.strides[0]).min(self.data.len());
        Self { data: &self.data[start..], shape: [count, self.shape[1]], ..self }
    }

    /// Returns one row, whose numbers stand one after another.
    pub fn row(&self, at: usize) -> &'a [f32] {
        assert!(at < self.shape[0] && self.strides[1] == 1, "a row of the matrix");
        &self.data[at * self.strides[0]..][..self.shape[1]]
    }

    /// Returns columns `from..from + count`. The numbers of a row stand one after another.
    pub fn columns(self, from: usize, count: usize) -> Self {
        assert!(from + count <= self.shape[1], "columns inside the matrix");
        assert_eq!(self.strides[1], 1, "rows, not columns");
        Self { data: &self.data[from..], shape: [self.shape[0], count], ..self }
    }

    /// Takes columns of a transposed matrix, of which `stride` is the distance: element `(i, j)` is
    /// `data[j * stride + i]`.
    pub fn transposed(data: &'a [f32], shape: [usize; 2], stride: usize) -> Self {
        Self { data, shape, strides: [1, stride] }
    }

    /// Returns the transpose, without moving a number.
    pub fn t(self) -> Self {
        let ([rows, cols], [down, across]) = (self.shape, self.strides);
        Self { data: self.data, shape: [cols, rows], strides: [across, down] }
    }

    /// Says whether every number is finite. The numbers of a row stand one after another.
    pub fn is_finite(&self) -> bool {
        let ([rows, cols], [down, across]) = (self.shape, self.strides);
        assert_eq!(across, 1, "rows, not columns");
        let row = |row: usize| &self.data[row * down..][..cols];
        (0..rows).all(|at| row(at).iter().fold(true, |all, x| all & x.is_finite()))
    }

    /// Returns the numbers of the slice up to the last of the matrix.
    pub(super) fn reach(&self) -> usize {
        reach(self.shape, self.strides)
    }

    /// Returns the number of rows.
    pub fn height(&self) -> usize {
        self.shape[0]
    }

    /// Returns the number of columns.
    pub fn width(&self) -> usize {
        self.shape[1]
    }
}

/// Returns the numbers up to the last of a matrix of this shape.
pub(super) fn reach(shape: [usize; 2], strides: [usize; 2]) -> usize {
    if shape[0] * shape[1] == 0 {
        return 0;
    }
    (shape[0] - 1) * strides[0] + (shape[1] - 1) * strides[1] + 1
}

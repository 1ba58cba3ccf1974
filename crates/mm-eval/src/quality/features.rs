//! [`Features`]: what a network says about each of many pictures, as rows of numbers.

use super::QualityError;

/// Finite numbers, as many for every picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    dim: usize,
    numbers: Vec<f32>,
}

impl Features {
    /// Rows of `dim` numbers one after another; what is not finite is refused by its place.
    ///
    /// # Panics
    ///
    /// If the numbers are no whole rows.
    pub fn new(dim: usize, numbers: Vec<f32>) -> Result<Self, QualityError> {
        assert!(dim > 0 && numbers.len().is_multiple_of(dim), "rows of {dim} numbers");
        match numbers.iter().position(|number| !number.is_finite()) {
            Some(at) => {
                Err(QualityError::NotFinite { row: at / dim, column: at % dim, found: numbers[at] })
            }
            None => Ok(Self { dim, numbers }),
        }
    }

    /// Numbers of a picture.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// How many pictures.
    pub fn count(&self) -> usize {
        self.numbers.len() / self.dim
    }

    /// The numbers of all pictures: `[count, dim]`.
    pub fn numbers(&self) -> &[f32] {
        &self.numbers
    }

    /// The numbers of one picture. Panics outside.
    pub fn row(&self, at: usize) -> &[f32] {
        &self.numbers[at * self.dim..(at + 1) * self.dim]
    }

    /// The first `count` pictures and the others. Panics if there are not so many.
    pub fn split(&self, count: usize) -> [Self; 2] {
        let (first, rest) = self.numbers.split_at(count * self.dim);
        [first, rest].map(|numbers| Self { dim: self.dim, numbers: numbers.to_vec() })
    }

    /// Fails unless `other` has as many numbers a picture.
    pub fn same_dim(&self, other: &Self) -> Result<(), QualityError> {
        match self.dim == other.dim {
            true => Ok(()),
            false => Err(QualityError::Dimensions { found: self.dim, wanted: other.dim }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_not_finite_is_named_by_its_place() {
        let why = Features::new(2, vec![0.0, 1.0, 2.0, f32::NAN]).unwrap_err().to_string();
        assert_eq!(why, "feature 1 of picture 1 is NaN, wanted a finite number");
    }

    #[test]
    fn a_split_keeps_every_row() {
        let all = Features::new(2, (0..10).map(|i| i as f32).collect()).unwrap();
        let [first, rest] = all.split(2);
        assert_eq!((first.count(), rest.count()), (2, 3));
        assert_eq!((first.row(1), rest.row(0)), (&[2.0, 3.0][..], &[4.0, 5.0][..]));
    }
}

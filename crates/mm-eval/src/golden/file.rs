//! This module reads the arrays of a golden file and holds the errors of such a file.

use mm_import::keras::KerasError;
use mm_patch::Grid;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

/// Names every output that is compared.
const OUTPUTS: [&str; 4] = ["out/images", "out/loss", "out/ddim10", "out/ddim10_unclipped"];

/// A golden file that cannot be read, or that belongs to another model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GoldenError {
    /// The bytes are no safetensors file.
    #[error("not a valid safetensors file: {0}")]
    Malformed(#[from] safetensors::SafeTensorError),
    /// An array is not there.
    #[error("the golden file has no array `{name}`")]
    Missing {
        /// The array.
        name: String,
    },
    /// An array is not as it should be.
    #[error("array `{name}` is {found}, wanted {wanted}")]
    Array {
        /// The array.
        name: String,
        /// The type and the shape in the file.
        found: String,
        /// The type and the shape that it should have.
        wanted: String,
    },
    /// The file has an output that is not computed here, so it could not pass.
    #[error("array `{name}` is compared with nothing, wanted {}", OUTPUTS.join(", "))]
    Output {
        /// The array.
        name: String,
    },
    /// The file has a gradient of something that the model does not have.
    #[error("`{name}` is the gradient of no weight of this model")]
    NoWeight {
        /// The array.
        name: String,
    },
    /// The model is not one of Su's networks.
    #[error(transparent)]
    Network(#[from] KerasError),
    /// The model's schedule has too few steps.
    #[error(transparent)]
    Diffusion(#[from] mm_diffusion::DiffusionError),
}

/// A golden file in memory.
///
/// ```
/// use mm_eval::golden::{Golden, GoldenError};
///
/// let file = safetensors::serialize::<&str, safetensors::tensor::TensorView<'_>, _>([], None)?;
/// assert!(Golden::parse(&file).is_ok()); // `compare` will name the arrays that are missing
/// assert!(matches!(Golden::parse(b"nothing"), Err(GoldenError::Malformed(_))));
/// # Ok::<(), safetensors::SafeTensorError>(())
/// ```
#[derive(Debug)]
pub struct Golden<'a> {
    file: SafeTensors<'a>,
}

/// Some images of one size, the patches of each in reading order.
#[derive(Debug, Clone)]
pub(super) struct Images {
    pub(super) each: Vec<Vec<f32>>,
    pub(super) grid: Grid,
}

impl Images {
    pub(super) fn count(&self) -> usize {
        self.each.len()
    }

    /// Returns all numbers, patch after patch.
    pub(super) fn numbers(&self) -> Vec<f32> {
        self.each.concat()
    }

    /// Splits the numbers of equally many images of this size, one vector an image.
    pub(super) fn split(&self, numbers: &[f32]) -> Vec<Vec<f32>> {
        numbers.chunks_exact(numbers.len() / self.count()).map(<[f32]>::to_vec).collect()
    }

    /// Says whether `other` holds as many images of the same size.
    pub(super) fn same_size(&self, name: &str, other: &Self) -> Result<(), GoldenError> {
        if (self.count(), self.grid) == (other.count(), other.grid) {
            return Ok(());
        }
        let words = |images: &Self| {
            let Grid { rows, cols, patch, .. } = images.grid;
            format!("{} images of {} x {}", images.count(), rows * patch, cols * patch)
        };
        Err(GoldenError::Array { name: name.to_owned(), found: words(other), wanted: words(self) })
    }
}

impl<'a> Golden<'a> {
    /// Reads a file's bytes.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, GoldenError> {
        Ok(Self { file: SafeTensors::deserialize(bytes)? })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.file.tensor(name).is_ok()
    }

    /// Says whether every output of the file is one that is compared.
    pub(super) fn knows_outputs(&self) -> Result<(), GoldenError> {
        let unknown = |name: &&str| name.starts_with("out/") && !OUTPUTS.contains(name);
        match self.file.names().into_iter().filter(unknown).min() {
            Some(name) => Err(GoldenError::Output { name: name.to_owned() }),
            None => Ok(()),
        }
    }

    /// Returns the names of the weights whose gradients the file holds, without `grad/`.
    pub(super) fn gradients(&self) -> Vec<String> {
        let names = self.file.names().into_iter();
        let mut found: Vec<String> =
            names.filter_map(|name| name.strip_prefix("grad/")).map(str::to_owned).collect();
        found.sort();
        found
    }

    fn view(&self, name: &str) -> Result<TensorView<'_>, GoldenError> {
        self.file.tensor(name).map_err(|_| GoldenError::Missing { name: name.to_owned() })
    }

    /// Returns an array of `count` 32-bit floats, whatever its axes.
    pub(super) fn numbers(&self, name: &str, count: usize) -> Result<Vec<f32>, GoldenError> {
        let view = self.view(name)?;
        if view.dtype() != Dtype::F32 || view.data().len() != 4 * count {
            return Err(wrong(name, &view, format!("{count} numbers of type F32")));
        }
        Ok(floats(&view))
    }

    /// Returns an array `[batch, row, column, 3]` whose sides are multiples of the patch.
    pub(super) fn images(&self, name: &str, patch: usize) -> Result<Images, GoldenError> {
        let view = self.view(name)?;
        let wanted = || format!("F32 [batch, row, column, 3] in patches of {patch}");
        let &[batch, height, width, 3] = view.shape() else {
            return Err(wrong(name, &view, wanted()));
        };
        let grid = Grid::of_size(width, height, patch).ok();
        match grid {
            Some(grid) if batch > 0 && view.dtype() == Dtype::F32 => {
                let numbers = floats(&view);
                let one = numbers.len() / batch;
                let each = numbers.chunks_exact(one).map(|image| patches_of(image, grid)).collect();
                Ok(Images { each, grid })
            }
            _ => Err(wrong(name, &view, wanted())),
        }
    }

    /// Returns the step index of each image, below `steps`.
    pub(super) fn steps(&self, images: usize, steps: usize) -> Result<Vec<f64>, GoldenError> {
        let (name, view) = ("in/steps", self.view("in/steps")?);
        let wanted = || format!("{images} step indices from 0 to {}", steps.saturating_sub(1));
        let indices: Vec<i64> = match view.dtype() {
            Dtype::I64 => {
                view.data().as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect()
            }
            Dtype::I32 => {
                view.data().as_chunks().0.iter().map(|b| i32::from_le_bytes(*b).into()).collect()
            }
            _ => return Err(wrong(name, &view, wanted())),
        };
        if indices.len() != images {
            return Err(wrong(name, &view, wanted()));
        }
        let outside = |index: &&i64| !usize::try_from(**index).is_ok_and(|index| index < steps);
        if let Some(index) = indices.iter().find(outside) {
            let (name, found) = (name.to_owned(), format!("{index} in one place"));
            return Err(GoldenError::Array { name, found, wanted: wanted() });
        }
        Ok(indices.into_iter().map(|index| index as f64).collect())
    }
}

fn floats(view: &TensorView<'_>) -> Vec<f32> {
    view.data().as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect()
}

fn wrong(name: &str, view: &TensorView<'_>, wanted: String) -> GoldenError {
    let found = format!("{:?} {:?}", view.dtype(), view.shape());
    GoldenError::Array { name: name.to_owned(), found, wanted }
}

/// Returns the patches of one image, where both are `[row, column, channel]`.
fn patches_of(image: &[f32], grid: Grid) -> Vec<f32> {
    let Grid { rows, cols, patch, .. } = grid;
    let line = patch * grid.channels; // numbers of one line of a patch
    let mut patches = Vec::with_capacity(image.len());
    for row in 0..rows {
        for col in 0..cols {
            for y in row * patch..(row + 1) * patch {
                let start = (y * cols + col) * line;
                patches.extend_from_slice(&image[start..start + line]);
            }
        }
    }
    patches
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::fuzz::splices;

    /// Holds two images of 4 x 4 with their step indices, and a gradient.
    static WHOLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let numbers: Vec<u8> = (0..96).flat_map(|n| (n as f32).to_le_bytes()).collect();
        let steps: Vec<u8> = [3i64, 9].iter().flat_map(|step| step.to_le_bytes()).collect();
        let images = TensorView::new(Dtype::F32, vec![2, 4, 4, 3], &numbers).unwrap();
        let steps = TensorView::new(Dtype::I64, vec![2], &steps).unwrap();
        let gradient = TensorView::new(Dtype::F32, vec![8, 12], &numbers).unwrap();
        let all = [("in/images", images), ("in/steps", steps), ("grad/patch_in/kernel", gradient)];
        safetensors::serialize(all, None).unwrap()
    });

    /// Reads everything that is asked of a golden file.
    fn read(bytes: &[u8]) -> Result<usize, GoldenError> {
        let golden = Golden::parse(bytes)?;
        golden.knows_outputs()?;
        let images = golden.images("in/images", 2)?;
        images.same_size("in/images", &images)?;
        let steps = golden.steps(images.count(), 10)?;
        let gradients = golden.gradients().into_iter().map(|name| format!("grad/{name}"));
        let gradients =
            gradients.map(|name| golden.numbers(&name, 96)).collect::<Result<Vec<_>, _>>()?;
        Ok(images.split(&images.numbers()).len() + steps.len() + gradients.len())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn a_spliced_golden_file_is_read_or_refused(splice in splices()) {
            prop_assert!(matches!(read(&WHOLE), Ok(5)));
            let _ = read(&splice.of(&WHOLE));
        }
    }

    #[test]
    fn patches_are_cut_in_reading_order_and_keep_their_lines() {
        // Two lines of four pixels in patches of 2: every pixel's number in its three channels.
        let image: Vec<f32> = (0..8).flat_map(|pixel| [pixel as f32; 3]).collect();
        let patches = patches_of(&image, Grid::new(1, 2, 2));
        let pixels: Vec<f32> = patches.chunks(3).map(|pixel| pixel[0]).collect();
        assert_eq!(pixels, [0.0, 1.0, 4.0, 5.0, 2.0, 3.0, 6.0, 7.0]);
    }
}

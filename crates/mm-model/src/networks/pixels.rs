//! Work on whole images for networks whose images come as patches, of several sizes in one batch.

use burn::prelude::*;
use mm_patch::{Grid, patchify, unpatchify};

/// What is done to images of one size, `[images, colors, height, width]` -> the same shape; the
/// second argument says which of the batch's images they are.
pub(crate) type OnImages<'a> = &'a mut dyn FnMut(Tensor<4>, &[usize]) -> Tensor<4>;

/// What is done to the patches of images of one size, `[images, patches, numbers]` -> the same
/// shape; the third argument says which of the batch's images they are.
pub(crate) type OnPatches<'a> = &'a mut dyn FnMut(Tensor<3>, Grid, &[usize]) -> Tensor<3>;

/// Does `work` to images of these `grids`, whose patches stand one after another: `[patches,
/// numbers]` -> the same shape. Images of one size are done together.
pub(crate) fn on_pixels(patches: Tensor<2>, grids: &[Grid], work: OnImages<'_>) -> Tensor<2> {
    by_size(patches, grids, &mut |patches, grid, which| {
        patchify(work(unpatchify(patches, grid), which), grid)
    })
}

/// Does `work` to the patches of images of these `grids`, which stand one after another:
/// `[patches, numbers]` -> the same shape. Images of one size are done together.
pub(crate) fn by_size(patches: Tensor<2>, grids: &[Grid], work: OnPatches<'_>) -> Tensor<2> {
    let mut sizes: Vec<Grid> = vec![];
    for grid in grids {
        if !sizes.contains(grid) {
            sizes.push(*grid);
        }
    }
    if let [one] = sizes[..] {
        return on_equal(patches, one, &(0..grids.len()).collect::<Vec<_>>(), work);
    }
    let device = patches.device();
    let ints = |numbers: Vec<i32>| -> Tensor<1, Int> {
        let count = numbers.len();
        Tensor::from_data(TensorData::new(numbers, [count]), &device)
    };
    let starts = starts(grids);
    let (mut done, mut order) = (vec![], vec![]);
    for size in sizes {
        let which: Vec<usize> = (0..grids.len()).filter(|image| grids[*image] == size).collect();
        let rows: Vec<i32> = which
            .iter()
            .flat_map(|image| starts[*image]..starts[*image] + size.tokens())
            .map(|row| row as i32)
            .collect();
        done.push(on_equal(patches.clone().select(0, ints(rows.clone())), size, &which, work));
        order.extend(rows);
    }
    let mut back = vec![0; order.len()];
    for (at, row) in order.into_iter().enumerate() {
        back[row as usize] = at as i32;
    }
    Tensor::cat(done, 0).select(0, ints(back))
}

/// The first patch of every image.
fn starts(grids: &[Grid]) -> Vec<usize> {
    let next = |sum: &mut usize, grid: &Grid| {
        let start = *sum;
        *sum += grid.tokens();
        Some(start)
    };
    grids.iter().scan(0, next).collect()
}

fn on_equal(patches: Tensor<2>, grid: Grid, which: &[usize], work: OnPatches<'_>) -> Tensor<2> {
    let [all, numbers] = patches.dims();
    work(patches.reshape([which.len(), grid.tokens(), numbers]), grid, which)
        .reshape([all, numbers])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_several_sizes_go_in_and_out_in_order() {
        let grid = |rows, cols| Grid::new(rows, cols, 2);
        let grids = [grid(1, 2), grid(2, 1), grid(1, 2), grid(1, 1)];
        let device = Device::flex();
        let patches = Tensor::<1, Int>::arange(0..7 * 12, &device).float().reshape([7, 12]);
        let mut seen = vec![];
        let found = on_pixels(patches.clone(), &grids, &mut |images, which| {
            seen.push((images.dims(), which.to_vec()));
            images * 2.0
        });
        assert_eq!(found.into_data(), (patches * 2.0).into_data());
        let wanted = [([2, 3, 2, 4], vec![0, 2]), ([1, 3, 4, 2], vec![1]), ([1, 3, 2, 2], vec![3])];
        assert_eq!(seen, wanted);
    }
}

//! Numbers that are read from a device in one turn.
//!
//! A device that has no memory for a tensor does not compute what follows from it, and Burn's
//! runtime says so when one of those tensors is read. It marks each tensor that was not computed
//! until that is written. A join writes a part of its result for each of several tensors, and each
//! part that is written takes the mark from the whole (cubecl 0.11): the join of one that was not
//! computed and, behind it, one that was reads without an error, and the first part is what the
//! memory held before. So numbers that a run acts on are not joined on the device.

use burn::prelude::*;
use burn::tensor::Transaction;

/// Reads tensors of numbers, `[…]` each, while the device is waited for once, and returns their
/// numbers one after the other. A tensor that the device could not compute is a panic here, as with
/// every reading of Burn.
///
/// ```
/// use burn::prelude::*;
/// use mm_kernels::read_together;
///
/// let device = Device::flex();
/// let [a, b] = [[1.0, 2.0].as_slice(), &[0.5]].map(|a| Tensor::<1>::from_floats(a, &device));
/// assert_eq!(read_together(vec![a, b]), [1.0, 2.0, 0.5]);
/// ```
pub fn read_together(tensors: Vec<Tensor<1>>) -> Vec<f64> {
    let mut all = Transaction::default();
    for tensor in tensors {
        all = all.register(tensor.without_autodiff());
    }
    let read = all.execute();
    read.iter().flat_map(|data| data.iter::<f64>().collect::<Vec<_>>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::FloatDType;

    #[test]
    fn numbers_of_several_types_come_back_in_order() {
        let device = Device::flex();
        let of = |numbers: &[f32]| Tensor::<1>::from_floats(numbers, &device);
        let half = of(&[0.25, -3.0]).cast(FloatDType::F16);
        let tracked = Tensor::<1>::from_floats([7.0], &device.clone().autodiff()).require_grad();
        let read = read_together(vec![of(&[1.5]), half, of(&[]), tracked]);
        assert_eq!(read, [1.5, 0.25, -3.0, 7.0]);
        assert!(read_together(vec![]).is_empty());
    }
}

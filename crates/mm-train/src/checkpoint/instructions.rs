//! The vector instructions that a run on the CPU is computed with: its bits depend on them.

use burn::prelude::Device;
use mm_kernels::InstructionSet;

/// Returns the vector instructions that steps on a device use; none where it is not the CPU.
pub(super) fn of(device: &Device) -> Option<InstructionSet> {
    mm_kernels::has_fused_blocks(device).then(InstructionSet::of_this_processor)
}

/// Returns a sentence about other instructions than those of the checkpoint, if both are known.
pub(super) fn changed(was: Option<InstructionSet>, is: Option<InstructionSet>) -> Option<String> {
    let (was, is) = (was?, is?);
    (was != is).then(|| {
        format!(
            "this processor computes with {is}, the one before with {was}: the run goes on, with other bits than it would have had there"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mm_kernels::InstructionSet::{Avx2, Avx512};

    #[test]
    fn other_instructions_are_told_where_both_are_known() {
        let wanted = "this processor computes with avx2, the one before with avx512: the run goes on, with other bits than it would have had there";
        assert_eq!(changed(Some(Avx512), Some(Avx2)).as_deref(), Some(wanted));
        for (was, is) in [(Some(Avx2), Some(Avx2)), (None, Some(Avx2)), (Some(Avx2), None)] {
            assert_eq!(changed(was, is), None);
        }
    }
}

//! Which devices the CPU's family of kernels computes on.

use burn::prelude::Device;

/// Says whether a device is Burn's CPU backend, for which this crate has kernels.
#[cfg(feature = "flex")]
pub(crate) fn is_flex(device: &Device) -> bool {
    *device == Device::flex()
}

/// Says that there are no kernels for the CPU, whatever the device.
#[cfg(not(feature = "flex"))]
pub(crate) fn is_flex(_device: &Device) -> bool {
    false
}

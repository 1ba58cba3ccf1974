//! What computes in a browser, which a feature of this crate chooses: `flex` the processor, and
//! `webgpu` the graphics device.

use burn::prelude::Device;

use crate::error::WebError;

#[cfg(not(any(feature = "flex", feature = "webgpu")))]
compile_error!(
    "nothing computes: choose the feature `flex` or `webgpu`, as `cargo xtask web` does"
);

/// Returns the processor.
#[cfg(not(feature = "webgpu"))]
pub(crate) async fn device() -> Result<Device, WebError> {
    Ok(Device::flex())
}

/// Returns the graphics device. The browser is asked for it once.
#[cfg(feature = "webgpu")]
pub(crate) async fn device() -> Result<Device, WebError> {
    use std::cell::RefCell;

    thread_local! {
        static DEVICE: RefCell<Option<Device>> = const { RefCell::new(None) };
    }
    if let Some(device) = DEVICE.with_borrow(Clone::clone) {
        return Ok(device);
    }
    let device = Device::wgpu_options().init_async().await;
    let device = device.map_err(|why| WebError::Device(why.to_string()))?;
    DEVICE.with_borrow_mut(|kept| *kept = Some(device.clone()));
    Ok(device)
}

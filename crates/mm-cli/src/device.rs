//! `--device NAME` to a device: the only file that knows which backends are compiled in.

use burn::prelude::Device;

use crate::report::{Failure, usage};

/// Every name that some build of the program takes, and the feature that brings it.
const KNOWN: [&str; 5] = ["flex", "vulkan", "wgpu", "metal", "cuda"];

/// Backends compiled in, the one `auto` prefers first.
fn compiled() -> Vec<&'static str> {
    let mut found = vec![];
    if cfg!(feature = "cuda") {
        found.push("cuda");
    }
    if cfg!(feature = "metal") {
        found.push("metal");
    }
    if cfg!(feature = "vulkan") {
        found.push("vulkan");
    }
    if cfg!(feature = "wgpu") {
        found.push("wgpu");
    }
    if cfg!(feature = "flex") {
        found.push("flex");
    }
    found
}

/// Opens the device of that name: `auto`, `flex`, or one of the others with an optional number, `cuda:1`.
pub fn open(name: &str) -> Result<Device, Failure> {
    let (backend, index) = match name.split_once(':') {
        Some((backend, index)) => {
            let index = index
                .parse()
                .map_err(|_| usage!("`--device {name}`: `{index}` is not a number"))?;
            (backend, Some(index))
        }
        None => (name, None),
    };
    let compiled = compiled();
    if backend == "auto" {
        let first = compiled
            .first()
            .ok_or_else(|| usage!("no backend is compiled in").hint(build_hint("flex")))?;
        return make(first, index).ok_or_else(|| absent(first));
    }
    if !KNOWN.contains(&backend) {
        return Err(usage!("`--device {name}` is unknown, wanted auto, {}", KNOWN.join(", ")));
    }
    if !compiled.contains(&backend) {
        return Err(usage!(
            "`--device {name}` is not compiled in; this build has {}",
            compiled.join(", ")
        )
        .hint(build_hint(backend)));
    }
    make(backend, index).ok_or_else(|| absent(name))
}

/// The device of a compiled backend, or nothing if the machine lacks it.
fn make(backend: &str, index: Option<usize>) -> Option<Device> {
    match backend {
        #[cfg(feature = "flex")]
        "flex" if index.unwrap_or(0) == 0 => Some(Device::flex()),
        #[cfg(feature = "cuda")]
        "cuda" => present(move || Device::cuda(index.unwrap_or(0))),
        #[cfg(feature = "vulkan")]
        "vulkan" => present(move || Device::vulkan(kind(index))),
        #[cfg(feature = "wgpu")]
        "wgpu" => present(move || Device::wgpu(kind(index))),
        #[cfg(feature = "metal")]
        "metal" => present(move || Device::metal(kind(index))),
        _ => None,
    }
}

#[cfg(any(feature = "vulkan", feature = "wgpu", feature = "metal"))]
fn kind(index: Option<usize>) -> burn::prelude::DeviceKind {
    match index {
        Some(index) => burn::prelude::DeviceKind::DiscreteGpu(index),
        None => burn::prelude::DeviceKind::DefaultDevice,
    }
}

/// The backends panic where there is no device: ask with a first small computation.
#[cfg(any(feature = "vulkan", feature = "wgpu", feature = "metal", feature = "cuda"))]
fn present(make: impl FnOnce() -> Device + std::panic::UnwindSafe) -> Option<Device> {
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let device = std::panic::catch_unwind(|| {
        let device = make();
        let _ = burn::prelude::Tensor::<1>::ones([1], &device).into_data();
        device
    });
    std::panic::set_hook(quiet);
    device.ok()
}

fn absent(name: &str) -> Failure {
    Failure::failed(anyhow::anyhow!("device `{name}` is not present on this machine"))
        .hint("`--device flex` computes on the CPU")
}

fn build_hint(feature: &str) -> String {
    format!("build it in with `cargo build --release -p mm-cli --features {feature}`")
}

//! `--device NAME` to a device, and the list of those that are there: the only file that knows which backends are compiled in.

mod choice;

use burn::prelude::Device;
use mm_train::DeviceSum;

pub use choice::{BACKENDS, Entry, Kind};

use crate::report::{Failure, tell, usage};
use choice::NoDevice;
pub use choice::find as choose;

/// A device that is there.
pub struct Found {
    /// Name, backend and kind.
    pub entry: Entry,
    /// The device itself.
    pub device: Device,
}

/// Backends compiled in, in the order of [`BACKENDS`].
pub fn compiled() -> Vec<&'static str> {
    let compiled = [
        ("cuda", cfg!(feature = "cuda")),
        ("metal", cfg!(feature = "metal")),
        ("vulkan", cfg!(feature = "vulkan")),
        ("wgpu", cfg!(feature = "wgpu")),
        ("flex", cfg!(feature = "flex")),
    ];
    BACKENDS.into_iter().filter(|backend| compiled.contains(&(*backend, true))).collect()
}

/// Backends and the ways in which Burn may compute, as far as they are compiled in.
pub fn features() -> Vec<&'static str> {
    let ways = [("fusion", cfg!(feature = "fusion")), ("autotune", cfg!(feature = "autotune"))];
    let ways = ways.into_iter().filter(|(_, has)| *has).map(|(way, _)| way);
    compiled().into_iter().chain(ways).collect()
}

/// Opens the device of that name: `auto`, a backend, or one of its devices such as `cuda:1` or `wgpu:cpu`.
pub fn open(name: &str) -> Result<Device, Failure> {
    let Found { entry, device } = find(name)?;
    use_everywhere(&entry);
    Ok(device)
}

/// Opens several devices of one backend, to compute on them at once.
pub fn open_all(names: &[String]) -> Result<Vec<Found>, Failure> {
    let found = names.iter().map(|name| find(name)).collect::<Result<Vec<_>, _>>()?;
    if let [first, others @ ..] = &found[..] {
        let backend = first.entry.backend;
        if let Some(other) = others.iter().find(|other| other.entry.backend != backend) {
            let found = other.entry.backend;
            return Err(usage!("`--devices` names {backend} and {found}, wanted one backend"));
        }
        use_everywhere(&first.entry);
    }
    Ok(found)
}

/// A sum over devices by NVIDIA's library, from card to card; or why there is none.
pub fn nccl(found: &[Found]) -> Result<DeviceSum, String> {
    let entries: Vec<&Entry> = found.iter().map(|found| &found.entry).collect();
    choice::nccl_connects(&entries)?;
    linked::nccl(found.iter().map(|found| found.device.clone()).collect())
}

#[cfg(feature = "cuda")]
mod linked {
    use std::sync::Arc;

    use burn::prelude::Device;
    use burn::tensor::distributed::{ReduceOperation, all_reduce};
    use mm_train::DeviceSum;

    pub fn nccl(devices: Vec<Device>) -> Result<DeviceSum, String> {
        let library = libloading::library_filename("nccl");
        // SAFETY: NCCL's library does nothing when it is loaded. Burn panics where it is not there, so this asks first.
        if let Err(why) = unsafe { libloading::Library::new(library) } {
            return Err(format!("NCCL was not found: {why}"));
        }
        let sum = move |tensor| all_reduce(tensor, ReduceOperation::Sum, devices.clone()).resolve();
        Ok(Arc::new(sum))
    }
}

#[cfg(not(feature = "cuda"))]
mod linked {
    use burn::prelude::Device;
    use mm_train::DeviceSum;

    pub fn nccl(_: Vec<Device>) -> Result<DeviceSum, String> {
        Err("this program was built without CUDA".to_owned())
    }
}

/// The device of that name; says what it chose where the name left that open and there was a choice. `auto` is what `MM_DEVICE`
/// names, where that is set.
pub fn find(name: &str) -> Result<Found, Failure> {
    let preset = std::env::var("MM_DEVICE").ok().filter(|_| name == "auto");
    let name = preset.as_deref().unwrap_or(name);
    let compiled = compiled();
    let backends = choice::backends_of(name, &compiled).map_err(refused)?;
    let mut present = present(&backends);
    let entries: Vec<Entry> = present.iter().map(|found| found.entry.clone()).collect();
    let (at, why) = choice::find(name, &entries).map_err(refused)?;
    if let (Some(why), true) = (why, compiled.len() > 1) {
        tell!("computing on `{}`: {why}", entries[at].name);
    }
    let found = present.swap_remove(at);
    Ok(found)
}

/// All devices of these backends that are there.
pub fn present(backends: &[&'static str]) -> Vec<Found> {
    let devices = |backend: &&'static str| {
        let backend = *backend;
        let found = |(name, kind, device)| Found { entry: Entry { name, backend, kind }, device };
        quietly(move || devices_of(backend)).unwrap_or_default().into_iter().map(found)
    };
    backends.iter().flat_map(devices).collect()
}

/// Name, kind and device of everything that a backend reaches.
fn devices_of(backend: &str) -> Vec<(String, Kind, Device)> {
    match backend {
        #[cfg(feature = "flex")]
        "flex" => vec![("flex".to_owned(), Kind::Processor, Device::flex())],
        #[cfg(feature = "cuda")]
        "cuda" => (0..Device::enumerate(burn::tensor::DeviceType::Cuda).into_iter().count())
            .map(|index| (format!("cuda:{index}"), Kind::Discrete, Device::cuda(index)))
            .collect(),
        #[cfg(feature = "vulkan")]
        "vulkan" => adapters(backend, burn::tensor::DeviceType::Vulkan, Device::vulkan),
        #[cfg(feature = "wgpu")]
        "wgpu" => adapters(backend, burn::tensor::DeviceType::Wgpu, Device::wgpu),
        #[cfg(feature = "metal")]
        "metal" => adapters(backend, burn::tensor::DeviceType::Metal, Device::metal),
        _ => vec![],
    }
}

/// The adapters of one graphics interface. Burn lists devices without saying what they are, so each kind is asked for.
#[cfg(any(feature = "vulkan", feature = "wgpu", feature = "metal"))]
fn adapters(
    backend: &str,
    kind: burn::tensor::DeviceType,
    make: fn(burn::prelude::DeviceKind) -> Device,
) -> Vec<(String, Kind, Device)> {
    use burn::prelude::DeviceKind;
    let listed: Vec<Device> = Device::enumerate(kind).into_iter().collect();
    let numbered = |word: &str, index: usize| match index {
        0 => format!("{backend}:{word}"),
        _ => format!("{backend}:{word}:{index}"),
    };
    let mut asked = vec![(format!("{backend}:cpu"), Kind::Software, DeviceKind::Cpu)];
    for index in 0..listed.len() {
        asked.extend([
            (format!("{backend}:{index}"), Kind::Discrete, DeviceKind::DiscreteGpu(index)),
            (numbered("integrated", index), Kind::Integrated, DeviceKind::IntegratedGpu(index)),
            (numbered("virtual", index), Kind::Virtual, DeviceKind::VirtualGpu(index)),
        ]);
    }
    let asked = asked.into_iter().map(|(name, kind, which)| (name, kind, make(which)));
    asked.filter(|(_, _, device)| listed.contains(device)).collect()
}

/// The language that a backend's kernels are compiled to; of a card of NVIDIA's, with the generation that is in the `fingerprint`.
/// The fingerprint of all others is `spirv`, maker and model, whatever they are compiled to.
pub fn language(backend: &str, fingerprint: &str) -> String {
    let (vulkan, metal) = (cfg!(feature = "vulkan"), cfg!(feature = "metal"));
    let native = cfg!(target_os = "macos");
    match backend {
        "cuda" => return fingerprint.replace("ptx_sm", "PTX sm_"),
        // With another's compiler compiled in, wgpu too uses it where it runs over the same interface.
        "wgpu" if vulkan && !native => "SPIR-V",
        "wgpu" if metal && native => "MSL",
        "wgpu" => "WGSL",
        "vulkan" => "SPIR-V",
        "metal" => "MSL",
        _ => "machine code",
    }
    .to_owned()
}

/// How the device names itself and what tells it from others, where the backend tells; opens the device.
#[cfg(any(feature = "vulkan", feature = "wgpu", feature = "metal", feature = "cuda"))]
pub fn identity(device: &Device) -> Option<[String; 2]> {
    let device = device.clone();
    quietly(move || device.identity().map(|found| [found.name, found.fingerprint])).flatten()
}

/// How the device names itself: no backend of this build tells.
#[cfg(not(any(feature = "vulkan", feature = "wgpu", feature = "metal", feature = "cuda")))]
pub fn identity(_: &Device) -> Option<[String; 2]> {
    None
}

/// Burn reads optimizer states back on its default device before they move to the weights': that must be this one, not
/// whichever backend Burn would prefer.
fn use_everywhere(entry: &Entry) {
    let kind = match entry.name.split(':').collect::<Vec<_>>()[..] {
        [_, "cpu"] => Some("Cpu".to_owned()),
        [_, "integrated"] => Some("IntegratedGpu(0)".to_owned()),
        ["wgpu" | "vulkan" | "metal", index] if index.parse::<usize>().is_ok() => {
            Some(format!("DiscreteGpu({index})"))
        }
        _ => None,
    };
    // SAFETY: the program opens its device before it starts the first thread.
    unsafe {
        std::env::set_var("BURN_DEVICE", entry.backend);
        if let Some(kind) = kind {
            std::env::set_var("CUBECL_WGPU_DEFAULT_DEVICE", kind);
        }
    }
}

/// Backends panic where a driver is missing: that is an answer here, not an accident.
fn quietly<T>(work: impl FnOnce() -> T + std::panic::UnwindSafe) -> Option<T> {
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let done = std::panic::catch_unwind(work);
    std::panic::set_hook(loud);
    done.ok()
}

fn refused(why: NoDevice) -> Failure {
    match &why {
        NoDevice::Unknown { .. } => Failure::usage(why),
        NoDevice::NotCompiled { backend, .. } => {
            let hint =
                format!("build it in with `cargo build --release -p mm-cli --features {backend}`");
            Failure::usage(why).hint(hint)
        }
        NoDevice::Absent { .. } => Failure::failed(why)
            .hint("`mm devices` lists what is there; `--device flex` computes on the CPU"),
    }
}

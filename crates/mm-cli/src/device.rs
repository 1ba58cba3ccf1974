//! `--device NAME` to a device, and the list of the devices that are present. This file alone knows
//! which backends are compiled in.

use burn::prelude::Device;
use clap::Args;
use mm_train::DeviceSum;

use crate::terminal::{Failure, tell, usage};

/// The flag that chooses the device.
#[derive(Debug, Args)]
pub struct DeviceArg {
    /// Device that computes: auto, flex, vulkan, wgpu, metal or cuda:0 (`mm devices` lists all).
    #[arg(long = "device", id = "device", value_name = "D", default_value = "auto")]
    name: String,
}

impl DeviceArg {
    /// Opens the device.
    pub fn open(&self) -> Result<Device, Failure> {
        open(&self.name)
    }

    /// Says whether a device was named.
    pub fn is_chosen(&self) -> bool {
        self.name != "auto"
    }
}

/// What a device is. The order is the one in which `auto` prefers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(dead_code)] // a build without graphics backends makes the last one only
pub enum Kind {
    /// A graphics card with memory of its own.
    Discrete,
    /// Graphics on the chip of the processor.
    Integrated,
    /// A graphics card that is lent to a virtual machine.
    Virtual,
    /// Graphics that the processor computes, such as Mesa's lavapipe.
    Software,
    /// The processor, used by the pure-Rust backend.
    Processor,
}

impl Kind {
    /// Returns the kind in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Discrete => "graphics card",
            Self::Integrated => "integrated graphics",
            Self::Virtual => "virtual graphics card",
            Self::Software => "graphics in software",
            Self::Processor => "processor",
        }
    }
}

/// The name, the backend and the kind of a device that is present.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The name that `--device` takes, such as `cuda:0` or `wgpu:cpu`.
    pub name: String,
    /// The backend that reaches the device; also the cargo feature that adds this backend.
    pub backend: &'static str,
    /// The kind of the device.
    pub kind: Kind,
}

/// A device that is present.
pub struct Found {
    /// The description of the device.
    pub entry: Entry,
    /// The device itself.
    pub device: Device,
}

/// The name of a device and what tells it from others, as the device itself says them.
pub struct Identity {
    pub name: String,
    pub fingerprint: String,
}

/// The backends that any build of the program can have. Where two of them reach devices of one
/// kind, `auto` prefers the one that stands first.
pub const BACKENDS: [&str; 5] = ["cuda", "metal", "vulkan", "wgpu", "flex"];

/// Why a name means no device.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
enum NoDevice {
    /// No build knows the name.
    #[error("`--device {name}` is unknown, wanted auto, {}", BACKENDS.join(", "))]
    Unknown { name: String },
    /// Another build knows the name.
    #[error("`--device {name}` is not compiled in; this build has {compiled}")]
    NotCompiled { name: String, backend: &'static str, compiled: String },
    /// The machine does not have the device.
    #[error("`--device {name}` is not present on this machine, which has {present}")]
    Absent { name: String, present: String },
}

/// Says what to do where a name means no device.
fn refused(why: NoDevice) -> Failure {
    match &why {
        NoDevice::Unknown { .. } => Failure::usage(why),
        NoDevice::NotCompiled { backend, .. } => {
            let hint = format!("`cargo build --release -p mm-cli --features {backend}` adds it");
            Failure::usage(why).hint(hint)
        }
        NoDevice::Absent { .. } => Failure::failed(why).hint(
            "`mm devices` lists the devices that are present; `--device flex` computes on the \
             processor",
        ),
    }
}

/// Lists the backends that are compiled in, in the order of [`BACKENDS`].
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

/// Lists the backends and the optimizations of Burn that are compiled in.
pub fn features() -> Vec<&'static str> {
    let more = [("fusion", cfg!(feature = "fusion")), ("autotune", cfg!(feature = "autotune"))];
    let more = more.into_iter().filter(|(_, has)| *has).map(|(name, _)| name);
    compiled().into_iter().chain(more).collect()
}

/// Opens the device of this name: `auto`, a backend, or one of its devices such as `cuda:1`.
pub fn open(name: &str) -> Result<Device, Failure> {
    let Found { entry, device } = find(name)?;
    use_everywhere(&entry);
    Ok(device)
}

/// Opens several devices of one backend, to compute on them at the same time.
pub fn open_all(names: &[String]) -> Result<Vec<Found>, Failure> {
    let found = names.iter().map(|name| find(name)).collect::<Result<Vec<_>, _>>()?;
    one_backend(found.iter().map(|found| &found.entry))?;
    if let Some(first) = found.first() {
        use_everywhere(&first.entry);
    }
    Ok(found)
}

/// Fails unless all devices are of one backend. Every rank updates its own copy of the weights, and
/// two backends round differently, so their copies would drift apart.
fn one_backend<'a>(entries: impl Iterator<Item = &'a Entry>) -> Result<(), Failure> {
    let backends: Vec<&str> = entries.map(|entry| entry.backend).collect();
    match backends.iter().find(|backend| **backend != backends[0]) {
        Some(other) => {
            let first = backends[0];
            Err(usage!("`--devices` names {first} and {other}, wanted one backend"))
        }
        None => Ok(()),
    }
}

/// Finds the device of this name. Prints which device was chosen, and why, where the name left that
/// open and several backends are compiled in. `auto` stands for the value of `MM_DEVICE` where that
/// variable is set.
pub fn find(name: &str) -> Result<Found, Failure> {
    let preset = std::env::var("MM_DEVICE").ok().filter(|_| name == "auto");
    let name = preset.as_deref().unwrap_or(name);
    let compiled = compiled();
    let mut present = present(&backends_of(name, &compiled).map_err(refused)?);
    let entries: Vec<Entry> = present.iter().map(|found| found.entry.clone()).collect();
    let Choice { index, reason } = choose(name, &entries).map_err(refused)?;
    if let Some(reason) = reason.filter(|_| compiled.len() > 1) {
        tell!("computing on `{}`: {reason}", entries[index].name);
    }
    Ok(present.swap_remove(index))
}

/// Lists the devices of these backends that are present.
pub fn present(backends: &[&'static str]) -> Vec<Found> {
    let found = backends.iter().flat_map(|&backend| quietly(move || devices_of(backend)));
    found.flatten().collect()
}

/// Returns the device that `--device auto` takes, and why.
pub fn automatic(entries: &[Entry]) -> Option<(&Entry, String)> {
    let Choice { index, reason } = choose("auto", entries).ok()?;
    Some((&entries[index], reason.unwrap_or_default()))
}

/// Lists every device that a backend reaches.
fn devices_of(backend: &'static str) -> Vec<Found> {
    match backend {
        #[cfg(feature = "flex")]
        "flex" => {
            let entry = Entry { name: "flex".to_owned(), backend, kind: Kind::Processor };
            vec![Found { entry, device: Device::flex() }]
        }
        #[cfg(feature = "cuda")]
        "cuda" => (0..Device::enumerate(burn::tensor::DeviceType::Cuda).into_iter().count())
            .map(|index| {
                let entry = Entry { name: format!("cuda:{index}"), backend, kind: Kind::Discrete };
                Found { entry, device: Device::cuda(index) }
            })
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

/// Lists the adapters of a graphics interface. Burn lists devices without their kinds, so this asks
/// for a device of each kind and number, and keeps those that Burn has listed.
#[cfg(any(feature = "vulkan", feature = "wgpu", feature = "metal"))]
fn adapters(
    backend: &'static str,
    interface: burn::tensor::DeviceType,
    make: fn(burn::prelude::DeviceKind) -> Device,
) -> Vec<Found> {
    use burn::prelude::DeviceKind;
    let listed: Vec<Device> = Device::enumerate(interface).into_iter().collect();
    let numbered = |word: &str, index: usize| match index {
        0 => format!("{backend}:{word}"),
        _ => format!("{backend}:{word}:{index}"),
    };
    let mut found = vec![];
    let mut ask = |name: String, kind: Kind, which: DeviceKind| {
        let device = make(which);
        if listed.contains(&device) {
            found.push(Found { entry: Entry { name, backend, kind }, device });
        }
    };
    ask(format!("{backend}:cpu"), Kind::Software, DeviceKind::Cpu);
    for index in 0..listed.len() {
        ask(format!("{backend}:{index}"), Kind::Discrete, DeviceKind::DiscreteGpu(index));
        let (integrated, lent) = (DeviceKind::IntegratedGpu(index), DeviceKind::VirtualGpu(index));
        ask(numbered("integrated", index), Kind::Integrated, integrated);
        ask(numbered("virtual", index), Kind::Virtual, lent);
    }
    found
}

/// Returns the language that the kernels of a backend are compiled to. For CUDA, the `fingerprint`
/// of the device says for which generation of cards; other fingerprints do not depend on the
/// language.
pub fn language(backend: &str, fingerprint: &str) -> String {
    let (vulkan, metal) = (cfg!(feature = "vulkan"), cfg!(feature = "metal"));
    let native = cfg!(target_os = "macos");
    match backend {
        "cuda" => return fingerprint.replace("ptx_sm", "PTX sm_"),
        // wgpu uses the compiler of another backend where that runs over the same interface.
        "wgpu" if vulkan && !native => "SPIR-V",
        "wgpu" if metal && native => "MSL",
        "wgpu" => "WGSL",
        "vulkan" => "SPIR-V",
        "metal" => "MSL",
        _ => "machine code",
    }
    .to_owned()
}

/// Opens the device and asks it for its identity, where the backend tells it.
#[cfg(any(feature = "vulkan", feature = "wgpu", feature = "metal", feature = "cuda"))]
pub fn identity(device: &Device) -> Option<Identity> {
    let device = device.clone();
    let found = quietly(move || device.identity()).flatten()?;
    Some(Identity { name: found.name, fingerprint: found.fingerprint })
}

/// Returns nothing, since no backend of this build tells the identity of its devices.
#[cfg(not(any(feature = "vulkan", feature = "wgpu", feature = "metal", feature = "cuda")))]
pub fn identity(_: &Device) -> Option<Identity> {
    None
}

/// Makes a device the default of Burn. Burn reads optimizer states on its default device before
/// they move to the device of the weights, and without this that could be another backend.
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
    #[allow(unsafe_code)]
    unsafe {
        std::env::set_var("BURN_DEVICE", entry.backend);
        if let Some(kind) = kind {
            std::env::set_var("CUBECL_WGPU_DEFAULT_DEVICE", kind);
        }
    }
}

/// Runs `work`, which panics where a driver is missing, and returns nothing then.
fn quietly<T>(work: impl FnOnce() -> T + std::panic::UnwindSafe) -> Option<T> {
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let done = std::panic::catch_unwind(work);
    std::panic::set_hook(loud);
    done.ok()
}

/// Returns a sum over devices by NVIDIA's library, from card to card; or why there is none.
pub fn nccl(found: &[Found]) -> Result<DeviceSum, String> {
    let entries: Vec<Entry> = found.iter().map(|found| found.entry.clone()).collect();
    nccl_connects(&entries)?;
    linked::nccl(found.iter().map(|found| found.device.clone()).collect())
}

/// Checks whether NCCL could connect these devices; the error says why not.
fn nccl_connects(devices: &[Entry]) -> Result<(), String> {
    for (at, device) in devices.iter().enumerate() {
        if device.backend != "cuda" {
            return Err(format!("NCCL connects devices of CUDA, found `{}`", device.name));
        }
        if devices[..at].contains(device) {
            return Err(format!("NCCL wants each device once, found `{}` twice", device.name));
        }
    }
    Ok(())
}

#[cfg(feature = "cuda")]
mod linked {
    use std::sync::Arc;

    use burn::prelude::Device;
    use burn::tensor::distributed::{ReduceOperation, all_reduce};
    use mm_train::DeviceSum;

    #[allow(unsafe_code)]
    pub fn nccl(devices: Vec<Device>) -> Result<DeviceSum, String> {
        let library = libloading::library_filename("nccl");
        // SAFETY: NCCL's library does nothing when it is loaded. Burn panics where the library is
        // missing, so this looks for it first.
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

/// Lists the backends that must be asked for their devices to find `name`; all of them for `auto`.
fn backends_of(name: &str, compiled: &[&'static str]) -> Result<Vec<&'static str>, NoDevice> {
    let first = name.split(':').next().unwrap_or_default();
    if name == "auto" {
        return Ok(compiled.to_vec());
    }
    let Some(backend) = BACKENDS.into_iter().find(|backend| *backend == first) else {
        return Err(NoDevice::Unknown { name: name.to_owned() });
    };
    if !compiled.contains(&backend) {
        let (name, compiled) = (name.to_owned(), compiled.join(", "));
        return Err(NoDevice::NotCompiled { name, backend, compiled });
    }
    Ok(vec![backend])
}

/// The index of a device among those that are present, and why it was chosen where the name left
/// that open.
#[derive(Debug)]
struct Choice {
    index: usize,
    reason: Option<String>,
}

/// Chooses the device that `name` means.
fn choose(name: &str, entries: &[Entry]) -> Result<Choice, NoDevice> {
    let exact = entries.iter().position(|entry| entry.name == name);
    if let Some(index) = exact {
        return Ok(Choice { index, reason: None });
    }
    let matching = entries.iter().enumerate();
    let matching = matching.filter(|(_, entry)| name == "auto" || entry.backend == name);
    match matching.min_by_key(|(_, entry)| rank(entry)) {
        Some((index, best)) => Ok(Choice { index, reason: Some(reason(best, entries)) }),
        None => {
            let names: Vec<&str> = entries.iter().map(|entry| &*entry.name).collect();
            let present = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            Err(NoDevice::Absent { name: name.to_owned(), present })
        }
    }
}

/// Returns the order of preference: by kind, then by backend.
fn rank(entry: &Entry) -> (Kind, usize) {
    let backend = BACKENDS.iter().position(|backend| *backend == entry.backend);
    (entry.kind, backend.unwrap_or(BACKENDS.len()))
}

/// Says in one clause why `best` was chosen.
fn reason(best: &Entry, entries: &[Entry]) -> String {
    match best.kind {
        Kind::Processor => "no graphics device found, so the processor".to_owned(),
        Kind::Software if entries.iter().any(|entry| entry.kind == Kind::Processor) => {
            "no graphics card found, so graphics in software; `--device flex` computes on the same \
             processor and is faster"
                .to_owned()
        }
        kind if entries.len() == 1 => format!("{}, the only device found", kind.words()),
        kind => format!("{}, the best of {} devices found", kind.words(), entries.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(names: &[(&str, Kind)]) -> Vec<Entry> {
        let entry = |&(name, kind): &(&str, Kind)| {
            let first = name.split(':').next();
            let backend = BACKENDS.into_iter().find(|backend| Some(*backend) == first).unwrap();
            Entry { name: name.to_owned(), backend, kind }
        };
        names.iter().map(entry).collect()
    }

    fn check(name: &str, entries: &[Entry], wanted: &str) {
        let chosen = choose(name, entries).unwrap();
        assert_eq!(entries[chosen.index].name, wanted, "{name} among {entries:?}");
    }

    const FLEX: (&str, Kind) = ("flex", Kind::Processor);
    const LAVAPIPE: (&str, Kind) = ("wgpu:cpu", Kind::Software);

    #[test]
    fn auto_takes_a_real_card_before_one_in_software_before_the_processor() {
        check("auto", &entries(&[FLEX]), "flex");
        check("auto", &entries(&[FLEX, LAVAPIPE]), "wgpu:cpu");
        let integrated = ("wgpu:integrated", Kind::Integrated);
        check("auto", &entries(&[FLEX, LAVAPIPE, integrated]), "wgpu:integrated");
        let card = ("wgpu:0", Kind::Discrete);
        check("auto", &entries(&[FLEX, LAVAPIPE, integrated, card]), "wgpu:0");
        assert!(choose("auto", &[]).is_err());
    }

    #[test]
    fn nccl_connects_cards_of_nvidia_each_of_them_once() {
        let said = |names: &[&str]| {
            let devices: Vec<_> = names.iter().map(|name| (*name, Kind::Discrete)).collect();
            nccl_connects(&entries(&devices))
        };
        assert_eq!(said(&["cuda:0", "cuda:1", "cuda:2"]), Ok(()));
        let twice = said(&["cuda:0", "cuda:1", "cuda:0"]).unwrap_err();
        assert_eq!(twice, "NCCL wants each device once, found `cuda:0` twice");
        let other = said(&["wgpu:0", "wgpu:1"]).unwrap_err();
        assert_eq!(other, "NCCL connects devices of CUDA, found `wgpu:0`");
    }

    #[test]
    fn devices_of_two_backends_are_refused_and_two_kinds_of_one_backend_are_not() {
        let said = |devices: &[(&str, Kind)]| {
            one_backend(entries(devices).iter()).map_err(|why| why.words())
        };
        let integrated = ("wgpu:integrated", Kind::Integrated);
        assert_eq!(said(&[("wgpu:0", Kind::Discrete), integrated]), Ok(()));
        let mixed = said(&[("wgpu:0", Kind::Discrete), integrated, FLEX]).unwrap_err();
        assert_eq!(mixed, "`--devices` names wgpu and flex, wanted one backend");
    }

    #[test]
    fn of_two_backends_for_one_card_auto_takes_the_one_made_for_it() {
        let cards = [("wgpu:0", Kind::Discrete), ("cuda:0", Kind::Discrete), FLEX];
        check("auto", &entries(&cards), "cuda:0");
    }

    #[test]
    fn a_backends_name_alone_means_its_best_device_and_a_whole_name_that_one() {
        let all =
            entries(&[FLEX, LAVAPIPE, ("wgpu:1", Kind::Discrete), ("wgpu:0", Kind::Discrete)]);
        check("wgpu", &all, "wgpu:1");
        check("wgpu:0", &all, "wgpu:0");
        check("wgpu:cpu", &all, "wgpu:cpu");
        check("flex", &all, "flex");
    }

    #[test]
    fn the_choice_says_why() {
        let why = |names: &[(&str, Kind)]| choose("auto", &entries(names)).unwrap().reason.unwrap();
        assert_eq!(why(&[FLEX]), "no graphics device found, so the processor");
        assert!(why(&[FLEX, LAVAPIPE]).contains("in software"));
        let both = [FLEX, ("cuda:0", Kind::Discrete)];
        assert_eq!(why(&both), "graphics card, the best of 2 devices found");
        assert_eq!(choose("flex", &entries(&both)).unwrap().reason, None);
    }

    #[test]
    fn a_device_that_cannot_be_had_is_refused_with_what_can() {
        let said = |name| backends_of(name, &["wgpu", "flex"]).unwrap_err().to_string();
        assert_eq!(
            said("tpu"),
            "`--device tpu` is unknown, wanted auto, cuda, metal, vulkan, wgpu, flex"
        );
        assert_eq!(
            said("cuda:1"),
            "`--device cuda:1` is not compiled in; this build has wgpu, flex"
        );
        let error = choose("wgpu:3", &entries(&[LAVAPIPE])).unwrap_err().to_string();
        assert_eq!(error, "`--device wgpu:3` is not present on this machine, which has wgpu:cpu");
        let error = choose("cuda", &[]).unwrap_err().to_string();
        assert_eq!(error, "`--device cuda` is not present on this machine, which has none");
    }
}

//! Which of the devices that are there `--device NAME` means: functions over a list, without any device.

/// What computes, in the order in which `auto` takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(dead_code)] // a build without graphics backends makes the last alone
pub enum Kind {
    /// A card of its own.
    Discrete,
    /// Graphics on the processor's chip.
    Integrated,
    /// A card lent to a virtual machine.
    Virtual,
    /// Graphics computed by the processor, such as Mesa's lavapipe.
    Software,
    /// The processor, through the pure-Rust backend.
    Processor,
}

impl Kind {
    /// In words.
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

/// A device that is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// What `--device` takes, such as `cuda:0` or `wgpu:cpu`.
    pub name: String,
    /// The backend that reaches it; also the feature that brings it.
    pub backend: &'static str,
    /// What it is.
    pub kind: Kind,
}

/// Every backend that some build of the program has, the one `auto` prefers first where two reach devices of one kind.
pub const BACKENDS: [&str; 5] = ["cuda", "metal", "vulkan", "wgpu", "flex"];

/// Why a name means no device.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NoDevice {
    /// No build knows it.
    #[error("`--device {name}` is unknown, wanted auto, {}", BACKENDS.join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// Another build knows it.
    #[error("`--device {name}` is not compiled in; this build has {compiled}")]
    NotCompiled {
        /// What was asked for.
        name: String,
        /// The feature that brings it.
        backend: &'static str,
        /// What is compiled in.
        compiled: String,
    },
    /// The machine lacks it.
    #[error("device `{name}` is not present on this machine; there are: {present}")]
    Absent {
        /// What was asked for.
        name: String,
        /// What is there.
        present: String,
    },
}

/// Whether NCCL could add up over these devices; or why not.
pub fn nccl_connects(devices: &[&Entry]) -> Result<(), String> {
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

/// The backends that must be asked for their devices before `name` can be found; all of them for `auto`.
pub fn backends_of(name: &str, compiled: &[&'static str]) -> Result<Vec<&'static str>, NoDevice> {
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

/// The place of the device that `name` means among those that are there, and why it was chosen where the name left that open.
pub fn find(name: &str, entries: &[Entry]) -> Result<(usize, Option<String>), NoDevice> {
    let absent = || NoDevice::Absent {
        name: name.to_owned(),
        present: match entries {
            [] => "none".to_owned(),
            _ => entries.iter().map(|entry| &*entry.name).collect::<Vec<_>>().join(", "),
        },
    };
    if let Some(exact) = entries.iter().position(|entry| entry.name == name) {
        return Ok((exact, None));
    }
    let of_backend = |entry: &&Entry| name == "auto" || entry.backend == name;
    let best = entries.iter().filter(of_backend).min_by_key(|entry| rank(entry));
    let best = best.ok_or_else(absent)?;
    let at = entries.iter().position(|entry| entry == best).ok_or_else(absent)?;
    Ok((at, Some(reason(best, entries))))
}

/// Kinds first; then the backend that is made for the device.
fn rank(entry: &Entry) -> (Kind, usize) {
    let backend = BACKENDS.iter().position(|backend| *backend == entry.backend);
    (entry.kind, backend.unwrap_or(BACKENDS.len()))
}

/// Why `best` was taken, in one clause.
fn reason(best: &Entry, entries: &[Entry]) -> String {
    let others = entries.len() - 1;
    match best.kind {
        Kind::Processor => "no graphics found, so the processor".to_owned(),
        Kind::Software if entries.iter().any(|entry| entry.kind == Kind::Processor) => {
            "no graphics card found, so graphics in software; `--device flex` computes on the same \
             processor and is faster"
                .to_owned()
        }
        kind if others == 0 => format!("{}, the only device found", kind.words()),
        kind => format!("{}, the best of {} devices found", kind.words(), others + 1),
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
        let (at, _) = find(name, entries).unwrap();
        assert_eq!(entries[at].name, wanted, "{name} among {entries:?}");
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
        assert!(find("auto", &[]).is_err());
    }

    #[test]
    fn nccl_connects_cards_of_nvidia_each_of_them_once() {
        let said = |names: &[&str]| {
            let devices: Vec<_> = names.iter().map(|name| (*name, Kind::Discrete)).collect();
            let devices = entries(&devices);
            nccl_connects(&devices.iter().collect::<Vec<_>>())
        };
        assert_eq!(said(&["cuda:0", "cuda:1", "cuda:2"]), Ok(()));
        let twice = said(&["cuda:0", "cuda:1", "cuda:0"]).unwrap_err();
        assert_eq!(twice, "NCCL wants each device once, found `cuda:0` twice");
        let other = said(&["wgpu:0", "wgpu:1"]).unwrap_err();
        assert_eq!(other, "NCCL connects devices of CUDA, found `wgpu:0`");
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
        let why = |names: &[(&str, Kind)]| find("auto", &entries(names)).unwrap().1.unwrap();
        assert_eq!(why(&[FLEX]), "no graphics found, so the processor");
        assert!(why(&[FLEX, LAVAPIPE]).contains("in software"));
        let both = [FLEX, ("cuda:0", Kind::Discrete)];
        assert_eq!(why(&both), "graphics card, the best of 2 devices found");
        assert_eq!(find("flex", &entries(&both)).unwrap().1, None);
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
        let error = find("wgpu:3", &entries(&[LAVAPIPE])).unwrap_err().to_string();
        assert_eq!(error, "device `wgpu:3` is not present on this machine; there are: wgpu:cpu");
        let error = find("cuda", &[]).unwrap_err().to_string();
        assert_eq!(error, "device `cuda` is not present on this machine; there are: none");
    }
}

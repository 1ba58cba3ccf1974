//! `mm train --tui`: a run in the terminal dashboard of Burn's own trainer, if the program was
//! built with the feature `tui`.

#[cfg(feature = "tui")]
mod linked;

pub use linked::{Dashboard, check};

#[cfg(not(feature = "tui"))]
mod linked {
    use mm_train::{TrainEvent, Training};

    use crate::terminal::{Failure, usage};

    pub fn check() -> Result<(), Failure> {
        let why = usage!("`--tui` is not compiled in");
        Err(why.hint("`cargo build --release -p mm-cli --features tui` adds it"))
    }

    /// Stands in for the dashboard, which [`check`] refuses before it is opened.
    pub struct Dashboard;

    impl Dashboard {
        pub fn open(_: &Training) -> Self {
            Self
        }

        pub fn show(&mut self, _: &TrainEvent<'_>) {}

        pub fn asks_to_stop(&self) -> bool {
            false
        }

        pub fn close(self) {}
    }
}

//! `mm train --tui`: a run in the terminal dashboard of Burn's own trainer, where the program was built with the feature `tui`.

#[cfg(feature = "tui")]
mod linked;

pub use linked::{Dashboard, check};

#[cfg(not(feature = "tui"))]
mod linked {
    use mm_train::{Happening, Training};

    use crate::report::{Failure, usage};

    pub fn check() -> Result<(), Failure> {
        let why = usage!("`--tui` is not compiled in");
        Err(why.hint("build it in with `cargo build --release -p mm-cli --features tui`"))
    }

    /// Stands where the dashboard would: [`check`] refuses before one is opened.
    pub struct Dashboard;

    impl Dashboard {
        pub fn open(_: &Training) -> Self {
            Self
        }

        pub fn show(&mut self, _: &Happening<'_>) {}

        pub fn asks_to_stop(&self) -> bool {
            false
        }

        pub fn close(self) {}
    }
}

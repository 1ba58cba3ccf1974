//! A bar on the terminal while weights are read or written, for those that take a while.

use indicatif::{ProgressBar, ProgressStyle};

/// The bytes of weights from which on they are worth a bar. Fewer are there in a moment.
const FROM_BYTES: u64 = 1_000_000_000;

/// The bar of one set of weights. It is on standard error, where that is a terminal, from the first
/// bytes to the last.
pub struct LoadingBar {
    verb: &'static str,
    bar: Option<ProgressBar>,
}

impl LoadingBar {
    /// Makes the bar for what is done to the weights, such as "loading".
    pub fn new(verb: &'static str) -> Self {
        Self { verb, bar: None }
    }

    /// Moves the bar to `done` of `all` bytes.
    pub fn show(&mut self, done: u64, all: u64) {
        if all < FROM_BYTES {
            return;
        }
        let verb = self.verb;
        let bar = self.bar.get_or_insert_with(|| {
            let style =
                "{msg} {bar:24} {percent} % {decimal_bytes} of {decimal_total_bytes}, {eta} left";
            let style = ProgressStyle::with_template(style).expect("the template is fixed");
            ProgressBar::new(all).with_style(style).with_message(verb)
        });
        bar.set_position(done);
        if done >= all {
            bar.finish_and_clear();
        }
    }

    /// Says how many bytes the bar shows, if there is one.
    #[cfg(test)]
    fn position(&self) -> Option<u64> {
        self.bar.as_ref().map(ProgressBar::position)
    }
}

impl Drop for LoadingBar {
    /// Clears a bar that an error has left half full, so that the error has a line of its own.
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_weights_of_a_gigabyte_and_more_have_a_bar() {
        let mut small = LoadingBar::new("loading");
        small.show(FROM_BYTES - 1, FROM_BYTES - 1);
        assert_eq!(small.position(), None);
        let mut large = LoadingBar::new("loading");
        for done in [0, FROM_BYTES / 2, FROM_BYTES] {
            large.show(done, FROM_BYTES);
            assert_eq!(large.position(), Some(done));
        }
    }
}

//! The hook that tells of denoising steps, around the constraint of a job.

use std::cell::Cell;

use burn::prelude::*;
use mm_diffusion::{Level, Sampler};
use mm_model::{Constrain, constrained_images_of};
use mm_patch::{Grid, Image};

use super::Event;
use super::outlet::Outlet;

/// A constraint under watch.
pub(super) struct Watch<'a> {
    pub inner: &'a mut dyn Constrain,
    pub outlet: &'a Outlet,
    pub sampler: Sampler,
    /// The clean estimates that are sent of each image.
    pub previews: usize,
    /// The number of the first of the images that are drawn now.
    pub first: &'a Cell<usize>,
    pub progress: Progress,
}

/// How far the images are that are drawn now.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    grid: Option<Grid>,
    /// Calls of the network that were made.
    done: usize,
    /// Calls of the network in all.
    of: usize,
    /// Estimates that were sent.
    sent: usize,
}

impl Watch<'_> {
    /// Tells of one more call of the network, which gave this estimate of all images.
    fn tell(&mut self, clean: &Tensor<3>) {
        self.progress.done += 1;
        let (Progress { done, of, sent, .. }, first) = (self.progress, self.first.get());
        let [rows, ..] = clean.dims();
        for row in 0..rows {
            self.outlet.send(Event::Step { image: first + row, done, of });
        }
        let Some(grid) = self.progress.grid.filter(|_| is_due(done, of, self.previews)) else {
            return;
        };
        // An estimate that is not finite is no image; the drawing itself will say so.
        let Ok(images) = constrained_images_of(clean.clone(), grid, self.inner) else { return };
        self.progress.sent += 1;
        for (row, pixels) in images.into_iter().enumerate() {
            self.outlet.send(Event::Preview { image: first + row, index: sent, pixels });
        }
    }
}

/// Says whether an estimate is shown after call `done` of `of`: `previews` calls, spread evenly, of
/// which none is the last.
fn is_due(done: usize, of: usize, previews: usize) -> bool {
    done < of && (1..=previews).any(|index| (index * of).div_ceil(previews + 1) == done)
}

impl Constrain for Watch<'_> {
    fn is_free(&self) -> bool {
        self.inner.is_free()
    }

    fn begin(&mut self, grid: Grid) {
        self.progress = Progress { grid: Some(grid), ..Progress::default() };
        self.inner.begin(grid);
    }

    fn first_step(&mut self, steps: usize) -> usize {
        self.inner.first_step(steps)
    }

    fn start(&mut self, noise: Tensor<3>, levels: &[Level]) -> Tensor<3> {
        self.progress.of = self.sampler.calls_of_network(levels.len());
        self.inner.start(noise, levels)
    }

    fn state(&mut self, noisy: Tensor<3>, level: &Level) -> Tensor<3> {
        self.inner.state(noisy, level)
    }

    fn clean(&mut self, clean: Tensor<3>, level: &Level) -> Tensor<3> {
        let clean = self.inner.clean(clean, level);
        self.tell(&clean);
        clean
    }

    fn finish(&self, image: Image, drawn: &[f32]) -> Image {
        self.inner.finish(image, drawn)
    }
}

#[cfg(test)]
mod tests {
    use super::is_due;

    #[test]
    fn previews_are_spread_evenly_and_come_before_the_last_call() {
        let calls = |of: usize, previews: usize| -> Vec<usize> {
            (1..=of).filter(|&done| is_due(done, of, previews)).collect()
        };
        assert_eq!(calls(10, 0), [0; 0]);
        assert_eq!(calls(10, 1), [5]);
        assert_eq!(calls(10, 3), [3, 5, 8]);
        assert_eq!(calls(2, 3), [1]);
        assert_eq!(calls(1, 3), [0; 0]);
    }
}

//! The hook that tells of denoising steps, around the constraint of an edit.

use burn::prelude::*;
use mm_diffusion::{Level, Sampler};
use mm_model::{Constrain, constrained_images_of};
use mm_patch::{Grid, Image};

use crate::made::{Made, Told};

/// A constraint under watch: after every call of the network, the clean estimate is told.
pub(crate) struct Watch<'a> {
    inner: &'a mut dyn Constrain,
    sampler: Sampler,
    told: Told<'a>,
    grid: Option<Grid>,
    /// Calls of the network that were made.
    done: usize,
    /// Calls of the network in all.
    of: usize,
}

impl<'a> Watch<'a> {
    /// Watches `inner` while `sampler` draws.
    pub fn new(inner: &'a mut dyn Constrain, sampler: Sampler, told: Told<'a>) -> Self {
        Self { inner, sampler, told, grid: None, done: 0, of: 0 }
    }
}

impl Constrain for Watch<'_> {
    fn begin(&mut self, grid: Grid) {
        self.grid = Some(grid);
        self.done = 0;
        self.inner.begin(grid);
    }

    fn first_step(&mut self, steps: usize) -> usize {
        self.inner.first_step(steps)
    }

    fn start(&mut self, noise: Tensor<3>, levels: &[Level]) -> Tensor<3> {
        self.of = self.sampler.calls_of_network(levels.len());
        self.inner.start(noise, levels)
    }

    fn state(&mut self, noisy: Tensor<3>, level: &Level) -> Tensor<3> {
        self.inner.state(noisy, level)
    }

    fn clean(&mut self, clean: Tensor<3>, level: &Level) -> Tensor<3> {
        let clean = self.inner.clean(clean, level);
        self.done += 1;
        // An estimate that is not finite is no image; the drawing itself will say so.
        let images = self.grid.map(|grid| constrained_images_of(clean.clone(), grid, self.inner));
        let estimate = images.and_then(Result::ok).and_then(|mut images| images.pop());
        (self.told)(Made::Step { done: self.done, of: self.of, estimate });
        clean
    }

    fn finish(&self, image: Image, drawn: &[f32]) -> Image {
        self.inner.finish(image, drawn)
    }
}

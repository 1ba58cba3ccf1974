//! The hook that tells of denoising steps, around the constraint of an edit.
//!
//! A graphics device in a browser gives its numbers only after everybody has returned, while a
//! sampler runs through all its steps at once. So every step hands the copy of its estimate to the
//! device, and who waits for the drawing tells of each estimate when it comes. On the processor it
//! is there at once.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use burn::prelude::*;
use mm_diffusion::{Level, Sampler};
use mm_model::{Constrain, GenerateError, images_of_numbers, numbers_of};
use mm_patch::{Grid, Image};

use crate::made::{Made, Told};

/// A constraint under watch: after every call of the network, the clean estimate is told.
///
/// A reference to it is the constraint, so that who waits for the drawing can share it.
pub(crate) struct Watch<'a> {
    inner: RefCell<&'a mut dyn Constrain>,
    told: RefCell<Told<'a>>,
    sampler: Sampler,
    grid: Cell<Option<Grid>>,
    /// Calls of the network that were made.
    done: Cell<usize>,
    /// Calls of the network in all.
    of: Cell<usize>,
    /// Estimates that were not told yet, in their order.
    waiting: RefCell<VecDeque<Estimate>>,
}

/// An estimate on its way from the device.
struct Estimate {
    done: usize,
    awaited: Pin<Box<dyn Future<Output = Numbers>>>,
    here: Option<Numbers>,
}

/// Numbers of patches, or why there are none.
type Numbers = Result<Vec<f32>, GenerateError>;

impl Estimate {
    /// Looks whether the numbers have come.
    fn look(&mut self, context: &mut Context<'_>) {
        if self.here.is_none()
            && let Poll::Ready(numbers) = self.awaited.as_mut().poll(context)
        {
            self.here = Some(numbers);
        }
    }
}

impl<'a> Watch<'a> {
    /// Watches `inner` while `sampler` draws.
    pub fn new(inner: &'a mut dyn Constrain, sampler: Sampler, told: Told<'a>) -> Self {
        Self {
            inner: RefCell::new(inner),
            told: RefCell::new(told),
            sampler,
            grid: Cell::new(None),
            done: Cell::new(0),
            of: Cell::new(0),
            waiting: RefCell::default(),
        }
    }

    /// Waits for a drawing under this constraint, and tells of its steps.
    pub async fn wait<T>(&self, drawing: impl Future<Output = T>) -> T {
        let mut drawing = pin!(drawing);
        let drawn = poll_fn(|context| {
            let drawn = drawing.as_mut().poll(context);
            let _ = self.tell(context); // The drawing comes after its last estimate.
            drawn
        });
        let drawn = drawn.await;
        poll_fn(|context| self.tell(context)).await;
        drawn
    }

    /// Tells of something.
    pub fn say(&self, made: Made) {
        (self.told.borrow_mut())(made);
    }

    /// Tells of all estimates that are here; ready once there are no others.
    fn tell(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut waiting = self.waiting.borrow_mut();
        while let Some(first) = waiting.front_mut() {
            first.look(context);
            let Some(numbers) = first.here.take() else { return Poll::Pending };
            let done = first.done;
            waiting.pop_front();
            let estimate = numbers.ok().and_then(|numbers| self.image(&numbers));
            self.say(Made::Step { done, of: self.of.get(), estimate });
        }
        Poll::Ready(())
    }

    /// Returns the image of an estimate; none of one that is not finite, since the drawing itself
    /// will say so.
    fn image(&self, numbers: &[f32]) -> Option<Image> {
        let images = images_of_numbers(numbers, self.grid.get()?, &**self.inner.borrow());
        images.ok().and_then(|mut images| images.pop())
    }
}

impl Constrain for &Watch<'_> {
    fn begin(&mut self, grid: Grid) {
        self.grid.set(Some(grid));
        self.done.set(0);
        self.inner.borrow_mut().begin(grid);
    }

    fn first_step(&mut self, steps: usize) -> usize {
        self.inner.borrow_mut().first_step(steps)
    }

    fn start(&mut self, noise: Tensor<3>, levels: &[Level]) -> Tensor<3> {
        self.of.set(self.sampler.calls_of_network(levels.len()));
        self.inner.borrow_mut().start(noise, levels)
    }

    fn state(&mut self, noisy: Tensor<3>, level: &Level) -> Tensor<3> {
        self.inner.borrow_mut().state(noisy, level)
    }

    fn clean(&mut self, clean: Tensor<3>, level: &Level) -> Tensor<3> {
        let clean = self.inner.borrow_mut().clean(clean, level);
        self.done.set(self.done.get() + 1);
        let awaited = Box::pin(numbers_of(clean.clone()));
        let mut estimate = Estimate { done: self.done.get(), awaited, here: None };
        let mut nobody = Context::from_waker(Waker::noop());
        estimate.look(&mut nobody); // The copy is handed to the device now.
        self.waiting.borrow_mut().push_back(estimate);
        let _ = self.tell(&mut nobody); // Who waits for the drawing tells of the rest.
        clean
    }

    fn finish(&self, image: Image, drawn: &[f32]) -> Image {
        self.inner.borrow().finish(image, drawn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mm_model::Unconstrained;

    /// Becomes ready with numbers when it is polled for the time `polls`.
    fn late(mut polls: usize, number: f32) -> Estimate {
        let awaited = poll_fn(move |context| {
            polls -= 1;
            context.waker().wake_by_ref();
            if polls == 0 { Poll::Ready(Ok(vec![number; 3])) } else { Poll::Pending }
        });
        Estimate { done: 0, awaited: Box::pin(awaited), here: None }
    }

    #[test]
    fn estimates_that_come_late_are_told_in_their_order_and_before_the_drawing_is_done() {
        for polls in [[1, 1, 1], [3, 1, 2], [1, 4, 1], [5, 5, 5]] {
            let mut told = vec![];
            let mut on = |made: Made| {
                let Made::Step { done, of: 3, estimate: Some(image) } = made else { panic!() };
                told.push((done, image.pixel(0, 0)[0]));
            };
            let mut inner = Unconstrained;
            let watch = Watch::new(&mut inner, Sampler::Euler, &mut on);
            watch.grid.set(Some(Grid::new(1, 1, 1)));
            watch.of.set(3);
            for (at, polls) in polls.into_iter().enumerate() {
                let estimate = late(polls, [-1.0, 0.0, 1.0][at]);
                watch.waiting.borrow_mut().push_back(Estimate { done: at + 1, ..estimate });
            }
            assert_eq!(burn::tensor::read_sync(watch.wait(async { 7 })), 7);
            assert_eq!(told, [(1, 0), (2, 128), (3, 255)], "{polls:?}");
        }
    }
}

//! Several processes, or [threads of one](crate::on_threads), that train one model: each computes its share of every step's
//! documents, gradients are added over all of them, and each then takes the same step.
//!
//! This crate knows no way between processes: it is given two sums. What follows from them is here: numbers of all ranks beside
//! each other, agreement on going on, gradients in one flat buffer. Gradients lie in it in the order of the module's paths, so
//! the order is the same on every rank, and behind them a number for each that says whether this rank had one.

use std::sync::Arc;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;
use mm_model::Model;
use mm_model::parameters::weights_of;

use crate::TrainError;
use crate::data::{DataSet, Split};

/// Adds a buffer up over all ranks, in place; every rank calls it at the same point and gets the same bits.
pub type Sum<T> = Arc<dyn Fn(&mut [T]) + Send + Sync>;

/// This process, or thread, among those that train together.
#[derive(Clone)]
pub struct Ranks {
    /// Its number, below `count`. Rank 0 writes the files.
    pub rank: usize,
    /// How many there are.
    pub count: usize,
    /// For gradients.
    pub sum: Sum<f32>,
    /// For losses and counts.
    pub sum_wide: Sum<f64>,
}

impl Ranks {
    /// The one process of a run that has no other.
    pub fn alone() -> Self {
        Self { rank: 0, count: 1, sum: Arc::new(|_| ()), sum_wide: Arc::new(|_| ()) }
    }

    /// Whether this rank is the one that writes files.
    pub fn writes(&self) -> bool {
        self.rank == 0
    }

    /// One number of every rank, in their order.
    pub fn gather(&self, own: f64) -> Vec<f64> {
        let mut all = vec![0.0; self.count];
        all[self.rank] = own;
        (self.sum_wide)(&mut all);
        all
    }

    /// Whether all ranks say so.
    pub fn all(&self, own: bool) -> bool {
        self.gather(f64::from(u8::from(own))).iter().all(|said| *said == 1.0)
    }

    /// An error unless all ranks see the same data.
    pub(crate) fn see_the_same(&self, data: &DataSet) -> Result<(), TrainError> {
        if self.count == 1 {
            return Ok(());
        }
        let records = |split| data.len(split).map_or(f64::INFINITY, |len| len as f64);
        self.equal([
            ("training records", records(Split::Train)),
            ("held-out records", records(Split::HeldOut)),
            ("checksum of data", f64::from(data.checksum())),
        ])
    }

    /// An error unless all ranks stand at the same step with the same weights.
    pub(crate) fn agree(&self, step: u64, model: &Model) -> Result<(), TrainError> {
        if self.count == 1 {
            return Ok(());
        }
        let mut crc = crc32fast::Hasher::new();
        for weight in weights_of(model).values() {
            let bytes: Vec<u8> = weight.values.iter().flat_map(|v| v.to_le_bytes()).collect();
            crc.update(&bytes);
        }
        self.equal([("step", step as f64), ("checksum of weights", f64::from(crc.finalize()))])
    }

    /// An error that names the first of some numbers in which a rank differs from the first. All are gathered before any is
    /// judged, so that no rank waits for another that has gone.
    fn equal<const N: usize>(&self, own: [(&'static str, f64); N]) -> Result<(), TrainError> {
        for (what, all) in own.map(|(what, number)| (what, self.gather(number))) {
            if let Some(rank) = all.iter().position(|other| *other != all[0]) {
                return Err(TrainError::RanksDiffer {
                    what,
                    rank,
                    found: all[rank],
                    first: all[0],
                });
            }
        }
        Ok(())
    }

    /// The gradients added over all ranks. A parameter that no rank has a gradient for has none afterwards.
    pub(crate) fn add_gradients(
        &self,
        model: &Model,
        mut grads: GradientsParams,
        device: &Device,
    ) -> GradientsParams {
        if self.count == 1 {
            return grads;
        }
        let mut flat = Flatten { grads: &mut grads, numbers: vec![], present: vec![] };
        model.visit(&mut flat);
        let Flatten { mut numbers, present, .. } = flat;
        let gradients = numbers.len();
        numbers.extend(present);
        (self.sum)(&mut numbers);
        let (gradients, present) = numbers.split_at(gradients);
        let mut back = Restore { grads: &mut grads, gradients, present, device };
        model.visit(&mut back);
        grads
    }
}

/// Bytes of gradients that every rank adds to those of the others in each step.
pub fn bytes_a_step(model: &Model) -> usize {
    let mut count = Count { numbers: 0 };
    model.visit(&mut count);
    count.numbers * size_of::<f32>()
}

struct Count {
    numbers: usize,
}

impl ModuleVisitor for Count {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.numbers += param.val().dims().iter().product::<usize>() + 1;
    }
}

struct Flatten<'a> {
    grads: &'a mut GradientsParams,
    numbers: Vec<f32>,
    present: Vec<f32>,
}

impl ModuleVisitor for Flatten<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let size: usize = param.val().dims().iter().product();
        let grad = self.grads.remove::<D>(param.id);
        self.present.push(f32::from(u8::from(grad.is_some())));
        match grad {
            Some(grad) => {
                let data = grad.into_data().convert::<f32>();
                self.numbers.extend(data.as_slice::<f32>().expect("just converted"));
            }
            None => self.numbers.resize(self.numbers.len() + size, 0.0),
        }
    }
}

struct Restore<'a> {
    grads: &'a mut GradientsParams,
    gradients: &'a [f32],
    present: &'a [f32],
    device: &'a Device,
}

impl ModuleVisitor for Restore<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let shape = param.val().dims();
        let (own, rest) = self.gradients.split_at(shape.iter().product());
        let (present, others) = self.present.split_first().expect("one for each parameter");
        (self.gradients, self.present) = (rest, others);
        if *present > 0.0 {
            let data = TensorData::new(own.to_vec(), shape);
            self.grads.register::<D>(param.id, Tensor::from_data(data, self.device));
        }
    }
}

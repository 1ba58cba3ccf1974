//! Several processes, or [threads of one](crate::on_threads), that train one model: each computes
//! its share of the documents of every step, gradients are added over all of them, and each then
//! takes the same step.
//!
//! A group is given its sums; how numbers get from one rank to another is not known here. What
//! follows from sums is: numbers of all ranks beside each other, agreement on going on, gradients
//! in one flat buffer. Gradients lie in it in the order of the paths of the module, which is the
//! same on every rank; a number for each says whether this rank had one.

use std::sync::Arc;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;
use mm_data::{DataSet, Split};
use mm_model::Model;
use mm_model::parameters::weights_of;

use crate::TrainError;

/// Adds a buffer over all ranks, in place. Every rank calls it at the same point and gets the same
/// bits.
pub type Sum<T> = Arc<dyn Fn(&mut [T]) + Send + Sync>;

/// Adds a tensor `[numbers]` that stays on its device over all ranks, such as a collective
/// operation of graphics cards.
pub type DeviceSum = Arc<dyn Fn(Tensor<1>) -> Tensor<1> + Send + Sync>;

/// This process, or thread, among those that train together.
#[derive(Clone)]
pub struct ProcessGroup {
    /// The number of this rank, below `count`. Rank 0 writes the files.
    pub rank: usize,
    /// The number of ranks.
    pub count: usize,
    /// Adds gradients in host memory.
    pub sum: Sum<f32>,
    /// Adds gradients where the devices can without the host.
    pub sum_on_device: Option<DeviceSum>,
    /// Adds losses and counts.
    pub sum_wide: Sum<f64>,
}

impl ProcessGroup {
    /// Returns the group of one rank without others.
    pub fn single() -> Self {
        let (sum, sum_wide) = (Arc::new(|_: &mut [_]| ()), Arc::new(|_: &mut [_]| ()));
        Self { rank: 0, count: 1, sum, sum_on_device: None, sum_wide }
    }

    /// Says whether this rank is the one that writes files.
    pub fn writes(&self) -> bool {
        self.rank == 0
    }

    /// Returns one number of every rank, in their order.
    pub fn gather(&self, own: f64) -> Vec<f64> {
        let mut all = vec![0.0; self.count];
        all[self.rank] = own;
        (self.sum_wide)(&mut all);
        all
    }

    /// Says whether all ranks agree.
    pub fn all(&self, own: bool) -> bool {
        self.gather(f64::from(u8::from(own))).iter().all(|said| *said == 1.0)
    }

    /// Fails unless all ranks see the same data.
    pub(crate) fn see_the_same(&self, data: &DataSet) -> Result<(), TrainError> {
        if self.count == 1 {
            return Ok(());
        }
        let records = |split| data.len(split).map_or(f64::INFINITY, |len| len as f64);
        self.equal([
            ("training records", records(Split::Train)),
            ("held-out records", records(Split::HeldOut)),
            ("checksum of data", f64::from(data.fingerprint())),
        ])
    }

    /// Fails unless all ranks stand at the same step with the same weights.
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

    /// Fails with the name of the first number in which a rank differs from rank 0. All are
    /// gathered before any is judged, so that no rank waits for another that has gone.
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

    /// Adds the gradients over all ranks. A parameter that no rank has a gradient for has none
    /// afterwards.
    pub(crate) fn add_gradients(
        &self,
        model: &Model,
        mut grads: GradientsParams,
        device: &Device,
    ) -> GradientsParams {
        if self.count == 1 {
            return grads;
        }
        let mut taken = Take { grads: &mut grads, device, parts: vec![], present: vec![] };
        model.visit(&mut taken);
        let Take { parts, mut present, .. } = taken;
        let parts = match &self.sum_on_device {
            None => self.sum_in_memory(parts, &mut present, device),
            Some(sum) => {
                let sizes = parts.iter().map(|part| part.dims()[0]).collect();
                let flat = Tensor::cat(parts, 0);
                // This comes before the sum of the device, because here a rank notices that another
                // has ended, for which a device might wait in vain.
                (self.sum)(&mut present);
                sum(flat).split_with_sizes(sizes, 0)
            }
        };
        let parts = parts.into_iter().zip(present);
        model.visit(&mut Restore { grads: &mut grads, parts });
        grads
    }

    /// Adds flat gradients, `[numbers]` each, and what says which there are, in host memory.
    fn sum_in_memory(
        &self,
        parts: Vec<Tensor<1>>,
        present: &mut [f32],
        device: &Device,
    ) -> Vec<Tensor<1>> {
        let sizes: Vec<usize> = parts.iter().map(|part| part.dims()[0]).collect();
        let mut numbers = Vec::with_capacity(sizes.iter().sum::<usize>() + present.len());
        for part in parts {
            let part = part.into_data().convert::<f32>();
            numbers.extend(part.as_slice::<f32>().expect("just converted"));
        }
        numbers.extend_from_slice(present);
        (self.sum)(&mut numbers);
        let mut rest = &numbers[..];
        let mut next = |size| {
            let (own, others) = rest.split_at(size);
            rest = others;
            own
        };
        let part = |own: &[f32]| TensorData::new(own.to_vec(), [own.len()]);
        let parts = sizes.into_iter().map(|size| Tensor::from_data(part(next(size)), device));
        let parts = parts.collect();
        present.copy_from_slice(next(present.len()));
        parts
    }
}

/// Returns the bytes of gradients that every rank adds to those of the others in each step.
pub(crate) fn gradient_bytes(model: &Model) -> usize {
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

/// Takes the gradients out of their map, each as `[numbers]`.
struct Take<'a> {
    grads: &'a mut GradientsParams,
    device: &'a Device,
    parts: Vec<Tensor<1>>,
    present: Vec<f32>,
}

impl ModuleVisitor for Take<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let size: usize = param.val().dims().iter().product();
        let grad = self.grads.remove::<D>(param.id);
        self.present.push(f32::from(u8::from(grad.is_some())));
        self.parts.push(match grad {
            Some(grad) => grad.reshape([size]),
            None => Tensor::zeros([size], self.device),
        });
    }
}

/// Puts sums back where gradients were, if some rank had one.
struct Restore<'a, P> {
    grads: &'a mut GradientsParams,
    parts: P,
}

impl<P: Iterator<Item = (Tensor<1>, f32)>> ModuleVisitor for Restore<'_, P> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let (sum, present) = self.parts.next().expect("one for each parameter");
        if present > 0.0 {
            self.grads.register::<D>(param.id, sum.reshape(param.val().dims()));
        }
    }
}

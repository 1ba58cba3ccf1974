//! The processes of a run that MPI connects, where the crate was built with the feature `mpi` and
//! the program was started several times by `mpirun` or `srun`.
//!
//! MPI is called only from the thread of the training loop. Where one process fails it should
//! [abort](MpiGroup::abort) all of them, so that none waits for a sum that never comes.

use super::process_group::ProcessGroup;
use crate::TrainError;

/// This process and the others. A panic of this process ends them all.
pub struct MpiGroup {
    /// The sums over all processes.
    pub ranks: ProcessGroup,
    /// Ends MPI when it is dropped.
    _session: Option<linked::Session>,
}

impl MpiGroup {
    /// Connects the processes that a launcher has started; a process that was started by itself
    /// needs no MPI.
    pub fn open() -> Result<Self, TrainError> {
        let launched = launched_processes();
        if launched == 1 {
            return Ok(Self { ranks: ProcessGroup::single(), _session: None });
        }
        let (ranks, session) = linked::connect(launched)?;
        if ranks.count != launched {
            return Err(TrainError::MpiSize { launched, connected: ranks.count });
        }
        Ok(Self { ranks, _session: Some(session) })
    }

    /// Ends all processes with an exit code.
    pub fn abort(&self, code: i32) -> ! {
        linked::abort(code)
    }
}

impl Drop for MpiGroup {
    fn drop(&mut self) {
        if self.ranks.count > 1 && std::thread::panicking() {
            linked::abort(101);
        }
    }
}

/// Returns how many processes a launcher started together, this one among them.
pub fn launched_processes() -> usize {
    launched(|name| std::env::var(name).ok())
}

fn launched(variable: impl Fn(&str) -> Option<String>) -> usize {
    let names = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"];
    let found = names.into_iter().find_map(|name| variable(name)?.parse().ok());
    found.unwrap_or(1).max(1)
}

#[cfg(feature = "mpi")]
mod linked {
    use std::sync::Arc;

    use mpi::Threading;
    use mpi::collective::SystemOperation;
    use mpi::topology::SimpleCommunicator;
    use mpi::traits::{Communicator, CommunicatorCollectives, Equivalence};

    use super::{ProcessGroup, TrainError};

    pub type Session = mpi::environment::Universe;

    /// The most numbers that are summed at once, which bounds the second buffer that a sum needs.
    const PART: usize = 1 << 22;

    pub fn connect(_launched: usize) -> Result<(ProcessGroup, Session), TrainError> {
        let (session, _) =
            mpi::initialize_with_threading(Threading::Funneled).ok_or(TrainError::MpiTwice)?;
        let world = session.world();
        let ranks = ProcessGroup {
            rank: world.rank() as usize,
            count: world.size() as usize,
            sum: Arc::new(sum::<f32>),
            sum_on_device: None,
            sum_wide: Arc::new(sum::<f64>),
        };
        Ok((ranks, session))
    }

    fn sum<T: Equivalence + Copy>(numbers: &mut [T]) {
        let world = SimpleCommunicator::world();
        for part in numbers.chunks_mut(PART) {
            let own = part.to_vec();
            world.all_reduce_into(&own[..], part, SystemOperation::sum());
        }
    }

    pub fn abort(code: i32) -> ! {
        SimpleCommunicator::world().abort(code)
    }
}

#[cfg(not(feature = "mpi"))]
mod linked {
    use super::{ProcessGroup, TrainError};

    pub enum Session {}

    pub fn connect(launched: usize) -> Result<(ProcessGroup, Session), TrainError> {
        Err(TrainError::NoMpi { launched })
    }

    pub fn abort(code: i32) -> ! {
        std::process::exit(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launcher_is_believed_and_a_single_process_needs_none() {
        let with = |set: &'static [(&str, &str)]| {
            launched(|name| set.iter().find(|(key, _)| *key == name).map(|(_, n)| (*n).to_owned()))
        };
        assert_eq!(with(&[]), 1);
        assert_eq!(with(&[("PMI_SIZE", "4")]), 4);
        assert_eq!(with(&[("OMPI_COMM_WORLD_SIZE", "8"), ("SLURM_STEP_NUM_TASKS", "2")]), 8);
        assert_eq!(with(&[("SLURM_STEP_NUM_TASKS", "x")]), 1);
    }
}

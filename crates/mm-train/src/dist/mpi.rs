//! The processes of a run that train together: those of MPI, where the program was built with the feature `mpi` and was started
//! several times by `mpirun` or `srun`.
//!
//! MPI is called from the thread of the training loop alone. Where one process fails it ends all of them, so that none waits for
//! a sum that never comes.

use std::time::Duration;

use mm_train::ProcessGroup;

use crate::terminal::{Failure, tell, usage};

/// This process and the others; ends them all if it panics.
pub struct Group {
    pub ranks: ProcessGroup,
    /// Says good-bye to MPI when it is dropped.
    _session: Option<linked::Session>,
}

impl Group {
    /// The group that a launcher has started, or this process alone.
    pub fn open() -> Result<Self, Failure> {
        let launched = processes();
        if launched == 1 {
            return Ok(Self { ranks: ProcessGroup::single(), _session: None });
        }
        let (ranks, session) = linked::connect(launched)?;
        if ranks.count != launched {
            let found = ranks.count;
            let why = usage!("{launched} processes were started, MPI connects {found} of them");
            return Err(why.hint("srun needs `--mpi=pmix` or `--mpi=pmi2`: see `srun --mpi=list`"));
        }
        Ok(Self { ranks, _session: Some(session) })
    }

    /// Hands on how this process ended; a failure of one of several is said, and ends the others too.
    pub fn end(self, done: Result<(), Failure>) -> Result<(), Failure> {
        match done {
            Err(failure) if self.ranks.count > 1 => {
                if !self.ranks.writes() {
                    // What all have in common is said once: rank 0 ends this process before it speaks.
                    std::thread::sleep(Duration::from_secs(1));
                    tell!("on rank {}:", self.ranks.rank);
                }
                failure.print();
                linked::abort(failure.code())
            }
            done => done,
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.ranks.count > 1 && std::thread::panicking() {
            linked::abort(101);
        }
    }
}

/// How many processes were started together, this one among them.
pub fn processes() -> usize {
    launched(|name| std::env::var(name).ok())
}

/// How many processes the launcher says that it started.
fn launched(variable: impl Fn(&str) -> Option<String>) -> usize {
    let names = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"];
    let found = names.into_iter().find_map(|name| variable(name)?.parse().ok());
    found.unwrap_or(1).max(1)
}

#[cfg(feature = "mpi")]
mod linked {
    use std::sync::Arc;

    use mm_train::ProcessGroup;
    use mpi::Threading;
    use mpi::collective::SystemOperation;
    use mpi::topology::SimpleCommunicator;
    use mpi::traits::{Communicator, CommunicatorCollectives, Equivalence};

    use crate::terminal::{Failure, usage};

    pub type Session = mpi::environment::Universe;

    /// Numbers that are summed at once: bounds the second buffer that a sum needs.
    const PART: usize = 1 << 22;

    pub fn connect(_launched: usize) -> Result<(ProcessGroup, Session), Failure> {
        let (session, _) = mpi::initialize_with_threading(Threading::Funneled)
            .ok_or_else(|| usage!("MPI was started twice"))?;
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
    use mm_train::ProcessGroup;

    use crate::terminal::{Failure, usage};

    pub enum Session {}

    pub fn connect(launched: usize) -> Result<(ProcessGroup, Session), Failure> {
        let why = usage!("{launched} processes were started, this program was built without MPI");
        Err(why.hint("build it with `cargo build --release -p mm-cli --features mpi`"))
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

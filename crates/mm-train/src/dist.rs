//! Ranks that train one model together: the group that each belongs to, and the ways to start them.

mod mpi;
mod process_group;
mod threads;

pub use mpi::{MpiGroup, launched_processes};
pub(crate) use process_group::gradient_bytes;
pub use process_group::{DeviceSum, ProcessGroup, Sum};
pub use threads::{Lost, on_threads};

//! `mm train --devices A,B`: one thread of this process for each device. Rank r computes on the r-th of them, and what they find is
//! added up from card to card where there is a way, or in host memory.

use std::sync::Arc;

use mm_train::{DeviceSum, Lost, ProcessGroup, on_threads};

use super::{run_as, stop_flag};
use crate::args::{AllReduce, TrainArgs};
use crate::report::{Failure, tell, usage};
use crate::{device, ranks};

/// Runs the command.
pub fn run(args: &TrainArgs) -> Result<(), Failure> {
    let names = &args.devices;
    let processes = ranks::processes();
    if processes > 1 {
        let why = usage!("`--devices` trains in one process and {processes} were started");
        return Err(why.hint("give every process its `--device`, or start one without `mpirun`"));
    }
    if args.minutes.is_some() && names.len() > 1 {
        let why = usage!("`--minutes` measures one device and `--devices` names {}", names.len());
        return Err(why.hint("give `--steps`"));
    }
    let found = device::open_all(names)?; // before the threads
    let sum_on_device = sum_on_device(args.all_reduce, &found)?;
    let ends = on_threads(found.len(), |ranks| {
        let ranks = ProcessGroup { sum_on_device: sum_on_device.clone(), ..ranks };
        // The first rank's wish is all ranks' wish, so the others need none of their own.
        let stop = || if ranks.writes() { stop_flag(!args.tui) } else { Ok(Arc::default()) };
        run_as(args, &found[ranks.rank].device, &ranks, stop)
    });
    verdict(names, ends)
}

/// The way past the host that was asked for, or that there is.
fn sum_on_device(wanted: AllReduce, found: &[device::Found]) -> Result<Option<DeviceSum>, Failure> {
    match (wanted, device::nccl(found)) {
        (AllReduce::Host, _) => Ok(None),
        (_, Ok(sum)) => {
            tell!("gradients go over NCCL");
            Ok(Some(sum))
        }
        (AllReduce::Auto, Err(why)) => {
            if found.iter().any(|found| found.entry.backend == "cuda") {
                tell!("gradients go through host memory: {why}");
            }
            Ok(None)
        }
        (AllReduce::Nccl, Err(why)) => {
            let why = usage!("`--all-reduce nccl`: {why}");
            Err(why.hint("`--all-reduce host` adds up in host memory"))
        }
    }
}

/// How the run ended: with the first rank's failure, where there is one. Others may have found no more than that it had ended.
fn verdict(names: &[String], ends: Vec<Result<Result<(), Failure>, Lost>>) -> Result<(), Failure> {
    let mut lost = vec![];
    for (rank, (end, name)) in ends.into_iter().zip(names).enumerate() {
        match end {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => {
                if rank > 0 {
                    tell!("on rank {rank}, `{name}`:"); // what all have in common is the first's
                }
                return Err(failure);
            }
            Err(why) => lost.push((why, rank, name)),
        }
    }
    match lost.into_iter().min() {
        Some((why, rank, name)) => {
            let why = Failure::failed(anyhow::anyhow!("rank {rank}, `{name}`: {why}"));
            Err(why.hint("what was saved before is kept: `--resume` goes on"))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_the_cause_and_not_what_it_did_to_the_others() {
        let names = ["cuda:0", "cuda:1", "cuda:2"].map(str::to_owned);
        let said = |ends: [Result<Result<(), &str>, Lost>; 3]| {
            let failed = |why: &str| Failure::failed(anyhow::anyhow!("{why}"));
            let ends = ends.into_iter().map(|end| end.map(|end| end.map_err(failed))).collect();
            verdict(&names, ends).err().map(|why| why.words())
        };
        let away = Err(Lost::Deserted);
        assert_eq!(said([away, Ok(Err("no memory")), away]).unwrap(), "no memory");
        let panicked = "rank 2, `cuda:2`: it panicked";
        assert_eq!(said([away, away, Err(Lost::Panicked)]).unwrap(), panicked);
        assert_eq!(said([Ok(Ok(())), Ok(Ok(())), Ok(Ok(()))]), None);
    }
}

//! `mm train --devices A,B`: one thread of this process for each device. Rank `r` computes on
//! device `r`. Gradients are summed from card to card where that is possible, else in host memory.

use std::sync::Arc;

use mm_train::{DeviceSum, Lost, ProcessGroup, launched_processes, on_threads};

use super::{AllReduce, TrainArgs, run_rank, stop_flag};
use crate::device;
use crate::terminal::{Failure, failed, tell, usage};

pub fn run(args: &TrainArgs) -> Result<(), Failure> {
    let names = &args.devices;
    let processes = launched_processes();
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
        // All ranks stop when the first does, so the others need no signal handler.
        let stop = || if ranks.writes() { stop_flag(!args.tui) } else { Ok(Arc::default()) };
        run_rank(args, &found[ranks.rank].device, &ranks, stop)
    });
    verdict(names, ends)
}

/// Returns the sum over devices without host memory, if it was asked for or is possible.
fn sum_on_device(wanted: AllReduce, found: &[device::Found]) -> Result<Option<DeviceSum>, Failure> {
    match (wanted, device::nccl(found)) {
        (AllReduce::Host, _) => Ok(None),
        (_, Ok(sum)) => {
            tell!("gradients are summed by NCCL");
            Ok(Some(sum))
        }
        (AllReduce::Auto, Err(why)) => {
            if found.iter().any(|found| found.entry.backend == "cuda") {
                tell!("gradients are summed in host memory: {why}");
            }
            Ok(None)
        }
        (AllReduce::Nccl, Err(why)) => {
            let why = usage!("`--all-reduce nccl`: {why}");
            Err(why.hint("`--all-reduce host` sums in host memory"))
        }
    }
}

/// Returns the failure of the first rank that has one. A rank that was only lost says less, so its
/// end counts only where no rank failed by itself.
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
            let why = failed!("rank {rank}, `{name}`: {why}");
            Err(why.hint("earlier checkpoints are kept, and `--resume` continues the run"))
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

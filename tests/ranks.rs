//! Several ranks train as one process does. Here ranks are threads that add up in memory; `mm-cli`
//! holds the same to real processes, and to the program's `--devices`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::{Tensor, TensorData};
use mm_model::parameters::{Weights, weights_of};
use mm_train::{
    Ending, Lost, ProcessGroup, RunFolder, TrainError, TrainEvent, Training, on_threads, train,
};

use crate::common::{device, start, tiny};

/// What `work` gives on every rank, none of which is lost.
fn on_ranks<R: Send>(count: usize, work: impl Fn(ProcessGroup) -> R + Sync) -> Vec<R> {
    on_threads(count, work).into_iter().map(|found| found.unwrap()).collect()
}

/// How a run went on one rank.
struct Run {
    ending: Ending,
    step: u64,
    losses: Vec<f64>,
    weights: Weights,
}

/// A run on one rank; `last` is the step after which this rank wants to stop.
fn run(ranks: ProcessGroup, changes: &[(&str, &str)], path: &Path, last: u64) -> Run {
    let fresh = !path.join("recipe.toml").exists();
    let mut training = if fresh {
        start(changes)
    } else {
        RunFolder::of_other_rank(path).resume(tiny(changes), &device()).unwrap().0
    };
    let recipe = training.recipe.clone();
    training.join(ranks.clone()).unwrap();
    let folder = if ranks.writes() && fresh {
        RunFolder::create(path, &recipe).unwrap()
    } else {
        RunFolder::of_other_rank(path)
    };
    let mut losses = vec![];
    let ending = train(&mut training, &folder, &mut |happening| {
        if let TrainEvent::Step { report, .. } = happening {
            losses.push(report.loss);
            return report.step != last;
        }
        true
    });
    let weights = weights_of(&training.averaged().model);
    Run { ending: ending.unwrap(), step: training.progress.step, losses, weights }
}

/// The largest difference of two numbers, in units of the larger of 1 and their size.
fn apart(one: &Run, other: &Run) -> f64 {
    assert_eq!(one.losses.len(), other.losses.len());
    let losses = one.losses.iter().copied().zip(other.losses.iter().copied());
    let weights = one.weights.values().zip(other.weights.values());
    let weights = weights.flat_map(|(one, other)| one.values.iter().zip(&other.values));
    let pairs = losses.chain(weights.map(|(one, other)| (f64::from(*one), f64::from(*other))));
    pairs.map(|(one, other)| (one - other).abs() / one.abs().max(1.0)).fold(0.0, f64::max)
}

#[test]
fn two_and_three_ranks_train_as_one_process_does() {
    let folder = tempfile::tempdir().unwrap();
    let changes = [("run.steps", "50"), ("run.micro_batches", "1"), ("run.checkpoint_every", "25")];
    let single = run(ProcessGroup::single(), &changes, &folder.path().join("1"), 0);
    for count in [2, 3] {
        let path = folder.path().join(count.to_string());
        let together = on_ranks(count, |ranks| run(ranks, &changes, &path, 0));
        for run in &together {
            assert_eq!((run.ending, run.losses.len()), (Ending::Complete, 50));
            assert_eq!(run.losses, together[0].losses);
            assert_eq!(run.weights, together[0].weights);
            let apart = apart(&single, run);
            assert!(apart < 1e-5, "{count} ranks are {apart:e} away");
        }
    }
}

#[test]
fn gradients_that_are_added_on_the_device_train_as_those_that_go_through_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let changes = [("run.steps", "10"), ("run.micro_batches", "1")];
    let hosts = on_ranks(2, |ranks| run(ranks, &changes, &folder.path().join("host"), 0));
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let devices = on_ranks(2, |ranks| {
        // Stands in for a collective operation of graphics cards: one tensor in, one of that shape
        // out.
        let sum = ranks.sum.clone();
        let on_device = move |tensor: Tensor<1>| {
            let (device, shape) = (tensor.device(), tensor.shape());
            let mut numbers = tensor.into_data().try_to_vec::<f32>().unwrap();
            sum(&mut numbers);
            Tensor::from_data(TensorData::new(numbers, shape), &device)
        };
        let counted = move |tensor| {
            CALLS.fetch_add(1, Ordering::Relaxed);
            on_device(tensor)
        };
        let ranks = ProcessGroup { sum_on_device: Some(Arc::new(counted)), ..ranks };
        run(ranks, &changes, &folder.path().join("device"), 0)
    });
    assert_eq!(CALLS.load(Ordering::Relaxed), 2 * 10);
    for (host, device) in hosts.iter().zip(&devices) {
        assert_eq!(host.losses, device.losses);
        assert_eq!(host.weights, device.weights);
    }
}

#[test]
fn ranks_stop_together_and_go_on_in_another_number() {
    let folder = tempfile::tempdir().unwrap();
    let changes = [("run.steps", "12"), ("run.micro_batches", "1")];
    let single = run(ProcessGroup::single(), &changes, &folder.path().join("single"), 0);
    let path = folder.path().join("together");
    // The last rank single is asked to stop after step 7.
    let wishes = |rank: usize| if rank == 1 { 7 } else { 0 };
    let first = on_ranks(2, |ranks| run(ranks.clone(), &changes, &path, wishes(ranks.rank)));
    assert!(first.iter().all(|run| (run.ending, run.step) == (Ending::Stopped, 7)));
    let second = on_ranks(3, |ranks| run(ranks, &changes, &path, 0));
    for run in second {
        assert_eq!((run.ending, run.step), (Ending::Complete, 12));
        let joined = Run { losses: [&first[0].losses[..], &run.losses[..]].concat(), ..run };
        let apart = apart(&single, &joined);
        assert!(apart < 1e-5, "{apart:e} away");
    }
}

#[test]
fn ranks_that_do_not_stand_at_the_same_place_are_refused_on_all_of_them() {
    let said = on_ranks(2, |ranks| {
        let seed = if ranks.rank == 0 { "3" } else { "4" };
        start(&[("seed", seed)]).join(ranks).unwrap_err().to_string()
    });
    assert_eq!(said[0], said[1]);
    assert!(said[0].starts_with("rank 1 has checksum of weights"), "{}", said[0]);
}

#[test]
fn ranks_that_see_other_files_are_refused_on_all_of_them() {
    let hosts = tempfile::tempdir().unwrap();
    let with = |count: usize, file: &str| {
        let said = on_ranks(2, |ranks| {
            let host = hosts.path().join(format!("{}-{count}-{file}", ranks.rank));
            fs_err::create_dir_all(&host).unwrap();
            let (count, file) = if ranks.rank == 1 { (count, file) } else { (20, "text") };
            let line = |at: usize| format!("{{\"text\": \"line {at} of many\"}}\n");
            let path = host.join(format!("{file}.jsonl"));
            fs_err::write(&path, (0..count).map(line).collect::<String>()).unwrap();
            let config = format!("source = 'documents'\nfiles = ['{}']", host.display());
            let recipe = mm_train::Recipe { data: toml::from_str(&config).unwrap(), ..tiny(&[]) };
            let joined = Training::start(recipe, &device()).unwrap().join(ranks);
            joined.map_or_else(|why| why.to_string(), |()| String::new())
        });
        assert_eq!(said[0], said[1]);
        said[0].clone()
    };
    assert_eq!(with(20, "text"), "");
    assert!(with(19, "text").contains(" records ")); // of whichever part
    assert!(with(20, "texts").starts_with("rank 1 has checksum of data "));
}

#[test]
fn more_ranks_than_documents_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let errors = on_ranks(2, |ranks| {
        let mut training = start(&[("run.batch", "1")]);
        training.join(ranks).unwrap();
        train(&mut training, &RunFolder::of_other_rank(folder.path()), &mut |_| true)
    });
    assert!(errors.iter().all(|error| matches!(error, Err(TrainError::Ranks { ranks: 2, .. }))));
}

#[test]
fn a_rank_that_fails_leaves_no_other_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let ends = on_threads(2, |ranks| {
        let mut training = start(&[("run.steps", "1000"), ("run.sample_every", "1000")]);
        training.join(ranks.clone()).unwrap();
        let mut steps = 0;
        train(&mut training, &RunFolder::of_other_rank(folder.path()), &mut |_| {
            steps += 1;
            // As a driver does that loses its card.
            if (ranks.rank, steps) == (1, 5) {
                std::panic::resume_unwind(Box::new("lost"));
            }
            true
        })
        .is_ok()
    });
    assert_eq!(ends, [Err(Lost::Deserted), Err(Lost::Panicked)]);
}

//! Threads that live as long as the run, a pool for each micro-batch that is computed at once.
//!
//! The pools share the threads that the program may use. With as many micro-batches as threads,
//! each is a pool of one thread, so what the work of a micro-batch would spread over a pool (the
//! kernels, Burn's products) stays on that thread, and its buffers stay warm from step to step.
//! With fewer micro-batches, kernels spread over the threads of their pool; the bits are the same.

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::TrainError;

/// Holds a pool for each micro-batch.
#[derive(Debug)]
pub(crate) struct Workers {
    pools: Vec<ThreadPool>,
}

impl Workers {
    /// Starts `count` idle pools, which share the threads of the caller's pool evenly.
    pub(crate) fn new(count: usize) -> Result<Self, TrainError> {
        Self::with_threads(count, (rayon::current_num_threads() / count.max(1)).max(1))
    }

    /// Starts `count` idle pools of so many threads each.
    fn with_threads(count: usize, threads: usize) -> Result<Self, TrainError> {
        let mut pools = Vec::with_capacity(count);
        for index in 0..count {
            let name = move |thread| match thread {
                0 => format!("micro-batch-{index}"),
                _ => format!("micro-batch-{index}-{thread}"),
            };
            let pool = ThreadPoolBuilder::new().num_threads(threads).thread_name(name).build();
            pools.push(pool.map_err(|why| TrainError::Threads { count, why: why.to_string() })?);
        }
        Ok(Self { pools })
    }

    /// Does every task in a pool of its own, and returns the results in order. There are at most
    /// as many tasks as pools.
    pub(crate) fn each<T: Send, R: Send>(
        &self,
        tasks: Vec<T>,
        work: impl Fn(T) -> R + Sync,
    ) -> Vec<R> {
        assert!(tasks.len() <= self.pools.len(), "a pool for every task");
        let mut results: Vec<Option<R>> = tasks.iter().map(|_| None).collect();
        let jobs = tasks.into_iter().zip(&mut results).zip(&self.pools).collect();
        start(jobs, &work);
        results.into_iter().map(|result| result.expect("every task was done")).collect()
    }
}

/// Holds a task, where its result goes, and its pool.
type Job<'a, T, R> = ((T, &'a mut Option<R>), &'a ThreadPool);

/// Starts the last job, then those before it, and waits for all.
fn start<T: Send, R: Send>(mut jobs: Vec<Job<'_, T, R>>, work: &(impl Fn(T) -> R + Sync)) {
    if let Some(((task, result), pool)) = jobs.pop() {
        pool.in_place_scope(|scope| {
            scope.spawn(move |_| *result = Some(work(task)));
            start(jobs, work);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_tasks_and_each_from_a_thread_that_is_alone() {
        let workers = Workers::with_threads(3, 1).unwrap();
        for _ in 0..50 {
            let found =
                workers.each(vec![1, 2, 3], |task| (task * 10, rayon::current_num_threads()));
            assert_eq!(found, [(10, 1), (20, 1), (30, 1)]);
        }
        assert_eq!(workers.each(vec![7], |task| task), [7]);
    }

    #[test]
    fn pools_share_the_threads_that_there_are() {
        let seen_in = |threads: usize, count: usize| {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let workers = pool.install(|| Workers::new(count)).unwrap();
            workers.each(vec![(); count], |()| rayon::current_num_threads())
        };
        assert_eq!(seen_in(8, 2), [4, 4]);
        assert_eq!(seen_in(7, 2), [3, 3]);
        assert_eq!(seen_in(2, 3), [1, 1, 1]);
        assert_eq!(seen_in(3, 1), [3]);
    }
}

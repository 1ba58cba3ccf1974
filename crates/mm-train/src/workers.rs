//! Threads that live as long as the run, one for each micro-batch that is computed at once.
//!
//! Each is a pool of one thread, so what the work of a micro-batch would spread over a pool (the
//! kernels, Burn's products) stays on that thread, and its buffers stay warm from step to step.

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::TrainError;

/// Holds a thread for each micro-batch.
#[derive(Debug)]
pub(crate) struct Workers {
    pools: Vec<ThreadPool>,
}

impl Workers {
    /// Starts `count` idle threads.
    pub(crate) fn new(count: usize) -> Result<Self, TrainError> {
        let mut pools = Vec::with_capacity(count);
        for index in 0..count {
            let name = move |_| format!("micro-batch-{index}");
            let pool = ThreadPoolBuilder::new().num_threads(1).thread_name(name).build();
            pools.push(pool.map_err(|why| TrainError::Threads { count, why: why.to_string() })?);
        }
        Ok(Self { pools })
    }

    /// Does every task on a thread of its own, and returns the results in order. There are at most
    /// as many tasks as threads.
    pub(crate) fn each<T: Send, R: Send>(
        &self,
        tasks: Vec<T>,
        work: impl Fn(T) -> R + Sync,
    ) -> Vec<R> {
        assert!(tasks.len() <= self.pools.len(), "a thread for every task");
        let mut results: Vec<Option<R>> = tasks.iter().map(|_| None).collect();
        let jobs = tasks.into_iter().zip(&mut results).zip(&self.pools).collect();
        start(jobs, &work);
        results.into_iter().map(|result| result.expect("every task was done")).collect()
    }
}

/// Holds a task, where its result goes, and its thread.
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
        let workers = Workers::new(3).unwrap();
        for _ in 0..50 {
            let found =
                workers.each(vec![1, 2, 3], |task| (task * 10, rayon::current_num_threads()));
            assert_eq!(found, [(10, 1), (20, 1), (30, 1)]);
        }
        assert_eq!(workers.each(vec![7], |task| task), [7]);
    }
}

//! Ranks that are threads of one process. They add their numbers in host memory, always in the
//! order of the ranks, so all of them get the same bits, and the same in every run.
//!
//! A rank that has ended brings no more numbers. Those that wait for it then, or later, are unwound
//! to where their work began, so that no thread waits for ever. Deliberately absent: a way from one
//! device to another without the host.

use std::ops::AddAssign;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::Builder;

use super::process_group::{ProcessGroup, Sum};

/// Says why a rank has no result; what may have caused another stands before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Lost {
    /// The rank panicked, and has said why.
    #[error("it panicked")]
    Panicked,
    /// The system gave the rank no thread.
    #[error("the system gave it no thread")]
    Unstarted,
    /// The rank waited for the numbers of a rank that had ended.
    #[error("another rank had ended")]
    Deserted,
}

/// What unwinds a rank that waits in vain.
struct Desertion;

/// Does `work` on `count` threads that are the ranks of one run, and returns what each found, in
/// the order of the ranks.
///
/// ```
/// let found = mm_train::on_threads(3, |ranks| ranks.gather(ranks.rank as f64 * 10.0));
/// assert_eq!(found[0], Ok(vec![0.0, 10.0, 20.0]));
/// ```
pub fn on_threads<R: Send>(
    count: usize,
    work: impl Fn(ProcessGroup) -> R + Sync,
) -> Vec<Result<R, Lost>> {
    let (narrow, wide) = (Meeting::<f32>::of(count), Meeting::<f64>::of(count));
    let close = || {
        narrow.close();
        wide.close();
    };
    let one = |rank: usize| {
        let (sum, sum_wide) = (narrow.sum_of(rank), wide.sum_of(rank));
        let done = catch_unwind(AssertUnwindSafe(|| {
            work(ProcessGroup { rank, count, sum, sum_on_device: None, sum_wide })
        }));
        close();
        done.map_err(|why| if why.is::<Desertion>() { Lost::Deserted } else { Lost::Panicked })
    };
    std::thread::scope(|scope| {
        let one = &one;
        let start = |rank: usize| {
            Builder::new().name(format!("rank-{rank}")).spawn_scoped(scope, move || one(rank))
        };
        let started: Vec<_> = (0..count).map(start).collect();
        if started.iter().any(Result::is_err) {
            close();
        }
        let end = |thread: std::io::Result<std::thread::ScopedJoinHandle<'_, _>>| match thread {
            Ok(thread) => thread.join().unwrap_or(Err(Lost::Panicked)),
            Err(_) => Err(Lost::Unstarted),
        };
        started.into_iter().map(end).collect()
    })
}

/// The place where ranks bring their numbers together.
struct Meeting<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    /// Holds what each rank brought in this round.
    brought: Vec<Vec<T>>,
    arrived: usize,
    /// The number of sums made so far.
    round: u64,
    /// The latest sum.
    sum: Arc<Vec<T>>,
    /// Whether some rank has ended.
    closed: bool,
}

impl<T: Copy + AddAssign + Send + Sync + 'static> Meeting<T> {
    fn of(count: usize) -> Arc<Self> {
        let brought = (0..count).map(|_| vec![]).collect();
        let state = State { brought, arrived: 0, round: 0, sum: Arc::default(), closed: false };
        Arc::new(Self { state: Mutex::new(state), changed: Condvar::new() })
    }

    /// Returns the sum as one rank calls it.
    fn sum_of(self: &Arc<Self>, rank: usize) -> Sum<T> {
        let meeting = self.clone();
        Arc::new(move |numbers: &mut [T]| match meeting.bring(rank, numbers) {
            Some(sum) => numbers.copy_from_slice(&sum),
            None => resume_unwind(Box::new(Desertion)), // which no panic hook speaks about
        })
    }

    /// Returns the sum of what all bring; nothing if one of them has ended before.
    fn bring(&self, rank: usize, numbers: &[T]) -> Option<Arc<Vec<T>>> {
        let mut state = self.state.lock().expect("ranks bring equally many numbers");
        if state.closed {
            return None;
        }
        let round = state.round;
        state.brought[rank] = numbers.to_vec();
        state.arrived += 1;
        if state.arrived == state.brought.len() {
            state.add_up();
            self.changed.notify_all();
        }
        let waits = |state: &mut State<T>| state.round == round && !state.closed;
        let state = self.changed.wait_while(state, waits);
        let state = state.expect("ranks bring equally many numbers");
        (state.round != round).then(|| state.sum.clone())
    }

    /// Wakes those that wait, without a sum; sums that are complete stay.
    fn close(&self) {
        self.state.lock().unwrap_or_else(|broken| broken.into_inner()).closed = true;
        self.changed.notify_all();
    }
}

impl<T: Copy + AddAssign> State<T> {
    fn add_up(&mut self) {
        let mut brought = self.brought.iter_mut().map(std::mem::take);
        let mut sum = brought.next().expect("there is a rank");
        for other in brought {
            assert_eq!(sum.len(), other.len(), "ranks bring equally many numbers");
            sum.iter_mut().zip(other).for_each(|(sum, number)| *sum += number);
        }
        (self.sum, self.arrived) = (Arc::new(sum), 0);
        self.round += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rank_gets_the_sum_of_all_in_every_round() {
        let found = on_threads(3, |ranks| {
            let mut last = vec![];
            for round in 0..200 {
                let mut numbers = [ranks.rank as f32, round as f32];
                (ranks.sum)(&mut numbers);
                assert_eq!(numbers, [3.0, 3.0 * round as f32]);
                last = ranks.gather(10.0 + ranks.rank as f64);
            }
            last
        });
        assert_eq!(found, vec![Ok(vec![10.0, 11.0, 12.0]); 3]);
    }

    #[test]
    fn a_rank_that_ends_or_panics_sends_those_away_who_wait_for_it() {
        let waits = |ranks: &ProcessGroup| {
            assert!(ranks.all(true));
            (0..).find(|_| !ranks.all(true)).is_some()
        };
        let ended = on_threads(3, |ranks| match ranks.rank {
            1 => ranks.all(true),
            _ => waits(&ranks),
        });
        assert_eq!(ended, [Err(Lost::Deserted), Ok(true), Err(Lost::Deserted)]);
        let panicked = on_threads(2, |ranks| match ranks.rank {
            0 => waits(&ranks),
            _ => resume_unwind(Box::new("a driver's words")),
        });
        assert_eq!(panicked, [Err(Lost::Deserted), Err(Lost::Panicked)]);
    }
}

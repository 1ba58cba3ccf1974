//! Threads of jobs, which are kept for the next jobs: a new thread begins with memory that the
//! system has to clear first, which takes longer than a short text.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

/// The most threads that wait for work.
const KEPT: usize = 64;

type Work = Box<dyn FnOnce() + Send>;

/// Threads that wait for work, the latest last.
#[derive(Debug, Clone, Default)]
pub(super) struct Threads {
    waiting: Arc<Mutex<Vec<mpsc::Sender<Work>>>>,
}

impl Threads {
    /// Does work on a thread that waits, or on a new one. The work must not panic.
    pub fn run(&self, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut work: Work = Box::new(work);
        loop {
            let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(thread) = waiting else { break };
            match thread.send(work) {
                Ok(()) => return Ok(()),
                Err(unsent) => work = unsent.0, // that thread has ended
            }
        }
        let waiting = Arc::downgrade(&self.waiting);
        thread::Builder::new().name("mm-job".into()).spawn(move || {
            loop {
                work();
                let (sender, next) = mpsc::channel();
                {
                    let Some(waiting) = waiting.upgrade() else { return };
                    let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
                    if waiting.len() >= KEPT {
                        return;
                    }
                    waiting.push(sender);
                }
                match next.recv() {
                    Ok(given) => work = given,
                    Err(_) => return, // the engine has ended
                }
            }
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_thread_that_is_done_does_the_next_work_and_ends_with_the_engine() {
        let threads = Threads::default();
        let (sender, done) = mpsc::channel();
        let run = |threads: &Threads| {
            let sender = sender.clone();
            threads.run(move || sender.send(thread::current().id()).unwrap()).unwrap();
            done.recv_timeout(Duration::from_secs(20)).unwrap()
        };
        let first = run(&threads);
        while threads.waiting.lock().unwrap().is_empty() {
            thread::yield_now();
        }
        assert_eq!(run(&threads), first);
        let weak = Arc::downgrade(&threads.waiting);
        drop(threads);
        while weak.upgrade().is_some() {
            thread::yield_now();
        }
    }
}

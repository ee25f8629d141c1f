//! Threads on which the engine's shards run beside each other.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use crate::engine::{Engine, Shard, Workers};

/// Fewer samples than this in one request are not worth waking threads for.
pub const INLINE_LIMIT_SAMPLES: usize = 512;

/// A panic on a thread is one of the engine's.
const LOST: &str = "a thread of a shard does not end before the engine";

/// One thread less than there are shards: the engine's own takes the first.
#[derive(Debug)]
pub struct Pool {
    threads: Vec<Worker>,
    inline_limit_samples: usize,
}

/// A thread that runs what it is sent and sends it back, until nothing more can come.
#[derive(Debug)]
struct Worker {
    /// `None` once no more is to come.
    work: Option<Sender<Shard>>,
    done: Receiver<Shard>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    fn start(number: usize) -> Self {
        let (work, waiting) = channel::<Shard>();
        let (finished, done) = channel();
        let run = move || {
            for mut shard in waiting {
                shard.run();
                if finished.send(shard).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name(format!("shard-{number}")).spawn(run);
        let thread = thread.expect("the system has a thread for each shard");
        Self { work: Some(work), done, thread: Some(thread) }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.work = None;
        // One that ended in a panic has been missed before.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Spreads an engine over this many shards, each but the first with a thread of its own.
pub fn spread(engine: &mut Engine, shards: usize) {
    engine.spread(shards, Box::new(Pool::start(shards, INLINE_LIMIT_SAMPLES)));
}

impl Pool {
    /// Threads for this many shards. Requests of fewer than `inline_limit_samples` are taken without them.
    pub fn start(shards: usize, inline_limit_samples: usize) -> Self {
        Self { threads: (1..shards).map(Worker::start).collect(), inline_limit_samples }
    }
}

impl Workers for Pool {
    fn run(&mut self, shards: &mut [Shard]) {
        let pending: usize = shards.iter().map(Shard::pending).sum();
        let Some((own, others)) = shards.split_first_mut() else { return };
        if pending < self.inline_limit_samples || others.len() != self.threads.len() {
            own.run();
            return others.iter_mut().for_each(Shard::run);
        }
        let away: Vec<bool> = others.iter().map(|shard| shard.pending() > 0).collect();
        for ((shard, worker), _) in others.iter_mut().zip(&self.threads).zip(&away).filter(|(_, away)| **away) {
            worker.work.as_ref().expect(LOST).send(std::mem::take(shard)).expect(LOST);
        }
        own.run();
        for ((shard, worker), _) in others.iter_mut().zip(&self.threads).zip(&away).filter(|(_, away)| **away) {
            *shard = worker.done.recv().expect(LOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_end_with_the_pool() {
        for shards in [0, 1, 8] {
            let pool = Pool::start(shards, 0);
            assert_eq!(pool.threads.len(), shards.saturating_sub(1));
        }
    }
}

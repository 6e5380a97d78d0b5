//! The end of a shard's service: take nothing new, finish what was taken, within a bounded time.
//!
//! Listeners stop accepting and stay open (the service manager may hold them for a successor, and
//! connections then wait in the kernel). What was handled before is answered and sent; bytes that
//! come later are read and thrown away unanswered, so that closing a connection does not reset it
//! under the replies it still carries: a client asks again, elsewhere or of the successor.
//! Never: a request that is taken and not answered while there was time; a wait without an end.

use super::question::Reply;
use super::turn::Server;

/// What a drain did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were open when it ended.
    pub connections: usize,
    /// Requests that were in flight when it began.
    pub in_flight: usize,
    /// Of these, and of replies on their way, what was not finished when the time was over.
    pub unfinished: usize,
    /// Bytes of the log that were not durable when it began.
    pub behind_bytes: u64,
}

/// A drain that runs.
#[derive(Debug)]
pub(super) struct Drain {
    deadline_ns: u64,
    in_flight: usize,
    behind_bytes: u64,
    reply: Reply<Drained>,
}

impl Server {
    /// Begins to drain. `reply` is called once: when all is finished, or after `timeout_ms`.
    pub(super) fn begin_drain(&mut self, timeout_ms: u64, reply: Reply<Drained>) {
        for at in 0..self.listeners.len() {
            let listener = self.listeners[at].0;
            self.driver.accept_stop(listener);
        }
        self.draining = true;
        self.drain = Some(Drain {
            deadline_ns: self.now_ns + timeout_ms * 1_000_000,
            in_flight: self.requests_in_flight(),
            behind_bytes: self.shard.flush_behind_bytes(),
            reply,
        });
    }

    /// Says so when the drain has come to its end. Once per turn.
    pub(super) fn look_at_drain(&mut self) {
        let Some(drain) = &self.drain else { return };
        let unfinished = self.requests_in_flight() + self.connections.unsent();
        if unfinished > 0 && self.now_ns < drain.deadline_ns {
            return;
        }
        if let Some(Drain { in_flight, behind_bytes, reply, .. }) = self.drain.take() {
            let connections = self.connections.open;
            reply.send(Drained { connections, in_flight, unfinished, behind_bytes });
        }
    }

    /// Requests that were taken and not answered: those that wait for a watermark, for room in
    /// the log, for the disk, or for another shard. Not pulls that are held until something comes.
    fn requests_in_flight(&self) -> usize {
        let changes = self.changes.waiting.len();
        self.shard.waiting().0 + self.blocked.len() + self.kept.len() + changes
    }
}

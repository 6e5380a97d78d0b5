//! Memory that peers can make a shard hold: replies they do not take, frames they do not finish.
//!
//! A connection that is owed much is not served further until it takes some; all together may hold
//! what the memory plan gives, and the last half of it only those who owe nothing, so that readers
//! that stopped never stop one that reads. Buffers that were needed for a burst are given back.
//! Never: a producer that waits because a consumer does not read.

use super::connection::{ConnId, Connection, Receiving};
use super::turn::Server;
use crate::base::limits::{
    CONNECTIONS_MAX, GIVE_BACK_EVERY_NS, IDLE_EVENTS, RECEIVE_ASSEMBLY_TOTAL, SEND_BACKLOG_PAUSE,
    SEND_BACKLOG_TOTAL,
};
use crate::broker::{Reject, code};

/// What all connections of a shard together may hold, and how many they may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Connections.
    pub connections: usize,
    /// Bytes of frames being assembled.
    pub assembly_bytes: usize,
    /// Bytes of replies not taken, counted as the memory behind them.
    pub reply_bytes: usize,
}

impl Default for Bounds {
    /// Those of `base/limits.rs`.
    fn default() -> Bounds {
        Bounds {
            connections: CONNECTIONS_MAX,
            assembly_bytes: RECEIVE_ASSEMBLY_TOTAL,
            reply_bytes: SEND_BACKLOG_TOTAL,
        }
    }
}

/// When memory is looked through, and whether there was work since it was last given back.
#[derive(Debug, Default)]
pub(super) struct Thrift {
    next_ns: u64,
    /// Events since the last look.
    pub events: usize,
    worked: bool,
}

impl Server {
    /// Sets what all connections together may hold.
    pub fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// Bytes of memory behind frames being assembled and replies not taken, for tests and figures.
    pub fn held_bytes(&self) -> (usize, usize) {
        (self.assembly_bytes, self.connections.reply_bytes)
    }

    /// Whether a connection is owed so much that its next frames wait.
    pub(super) fn is_stuffed(&mut self, id: ConnId) -> bool {
        self.connections.get(id).is_some_and(|c| c.backlog() > SEND_BACKLOG_PAUSE)
    }

    /// Whether a reply with `bytes` of messages may be written for a connection; the refusal says
    /// what is held and by how much it is too much.
    pub(super) fn room_for_reply(&mut self, id: ConnId, bytes: usize) -> Result<(), Reject> {
        self.connections.weigh(id);
        let held = self.connections.reply_bytes;
        let Some(connection) = self.connections.get(id) else { return Ok(()) };
        let backlog = connection.backlog();
        let limit = match backlog {
            0 => self.bounds.reply_bytes,
            _ => self.bounds.reply_bytes / 2,
        };
        if backlog <= SEND_BACKLOG_PAUSE && held + bytes <= limit {
            return Ok(());
        }
        let text = format!(
            "[OVERLOAD]system busy, replies wait for their readers: {backlog} bytes on this \
             connection (limit {SEND_BACKLOG_PAUSE}), {held} on all (limit {limit}); read faster, \
             pull less at a time, or raise memoryMax"
        );
        Err(Reject::new(code::SYSTEM_BUSY, text))
    }

    /// Lets connections that were stopped for want of room be read again; when there still is
    /// none, the one whose frame began first.
    pub(super) fn resume_assembly(&mut self, ids: &mut Vec<ConnId>) {
        self.first_assembled = None;
        self.connections.ids(ids);
        if self.assembly_bytes > self.bounds.assembly_bytes / 2 {
            let connections = &mut self.connections;
            let began = |id: &ConnId| {
                let frame_ns = connections.get(*id).map_or(0, |c| c.frame_ns);
                if frame_ns == 0 { u64::MAX } else { frame_ns }
            };
            self.first_assembled = ids.iter().copied().min_by_key(began);
        }
        for id in ids.drain(..) {
            let paused = |c: &mut Connection| c.receiving == Receiving::Paused;
            if self.connections.get(id).is_some_and(paused) {
                self.steer(id);
            }
        }
    }

    /// Once a second: buffers shrink to what they were used for, and when there is nothing to do
    /// the heap's free pages go back to the kernel.
    pub(super) fn save_memory(&mut self) {
        if self.now_ns < self.thrift.next_ns {
            return;
        }
        self.thrift.next_ns = self.now_ns + GIVE_BACK_EVERY_NS;
        let mut ids = std::mem::take(&mut self.ids);
        self.connections.ids(&mut ids);
        for id in ids.drain(..) {
            if let Some(connection) = self.connections.get(id) {
                connection.trim();
            }
            self.connections.weigh(id);
        }
        self.ids = ids;
        let busy = std::mem::take(&mut self.thrift.events) > IDLE_EVENTS;
        if !busy && std::mem::take(&mut self.thrift.worked) {
            self.shard.give_back();
            weir_io::heap::give_back();
        }
        self.thrift.worked |= busy;
    }
}

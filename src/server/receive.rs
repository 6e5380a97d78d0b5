//! Bytes in: from pieces of a stream to whole frames, under bounds.
//!
//! Frames are handled where they lie in the receive buffer. The front of a cut frame waits in the
//! connection's inbox; a frame much larger than a receive buffer switches the connection to sized
//! receives, a step at a time, so that memory follows the bytes and not the claim. When the log
//! has no room, frames stay unhandled and the connection is not read: TCP tells the peer.
//! Never: a frame handled twice or out of order on its connection.

use weir_io::{Chunk, ReceiveEnd};
use weir_wire::frame::{self, Split};

use super::connection::{ConnId, Receiving, Role};
use super::dispatch::Flow;
use super::tokens;
use super::turn::Server;
use crate::base::limits::{FRAME_MAX, RECEIVE_STEP_MAX, RECEIVE_STEP_MIN, SEND_BACKLOG_PAUSE};

impl Server {
    /// A piece of the stream arrived.
    pub(super) fn on_received(&mut self, id: ConnId, chunk: &Chunk) {
        let now_ns = self.now_ns;
        let Some(connection) = self.connections.get(id) else { return };
        connection.active_ns = now_ns;
        if self.draining {
            return;
        }
        let mut rest: &[u8] = chunk;
        if connection.blocked_ns == 0 {
            rest = self.complete_held(id, rest);
            // What waits in the inbox comes first.
            if self.connections.get(id).is_none_or(|connection| connection.inbox.is_empty()) {
                let used = self.handle_frames(id, rest);
                rest = rest.get(used..).unwrap_or(&[]);
            }
        }
        self.hold(id, rest);
    }

    /// Completes the frame in the inbox with the front of `bytes`; returns what is left of them.
    fn complete_held<'a>(&mut self, id: ConnId, bytes: &'a [u8]) -> &'a [u8] {
        let mut rest = bytes;
        while let Some(connection) = self.connections.get(id) {
            if connection.inbox.is_empty() || connection.blocked_ns != 0 {
                break;
            }
            match frame::split(&connection.inbox, FRAME_MAX) {
                Split::Need(total) => {
                    let missing = total - connection.inbox.len();
                    let take = missing.min(rest.len());
                    if take == 0 {
                        break;
                    }
                    connection.inbox.extend_from_slice(&rest[..take]);
                    self.assembly_bytes += take;
                    rest = &rest[take..];
                }
                Split::Whole(_) if connection.backlog() > SEND_BACKLOG_PAUSE => break,
                Split::Whole(_) | Split::Bad(_) => self.handle_inbox(id),
            }
        }
        rest
    }

    /// Handles the whole frames in the inbox.
    pub(super) fn handle_inbox(&mut self, id: ConnId) {
        let Some(connection) = self.connections.get(id) else { return };
        let inbox = std::mem::take(&mut connection.inbox);
        let used = self.handle_frames(id, &inbox);
        match self.connections.get(id) {
            Some(connection) => {
                connection.inbox = inbox;
                connection.consume(used);
                self.assembly_bytes = self.assembly_bytes.saturating_sub(used);
            }
            None => self.assembly_bytes = self.assembly_bytes.saturating_sub(inbox.len()),
        }
    }

    /// Handles the whole frames at the front of `bytes`; returns the bytes handled.
    fn handle_frames(&mut self, id: ConnId, bytes: &[u8]) -> usize {
        let Some(connection) = self.connections.get(id) else { return bytes.len() };
        let (role, peer) = (connection.role, connection.peer);
        let mut at = 0;
        while at < bytes.len() {
            match frame::split(&bytes[at..], FRAME_MAX) {
                Split::Need(_) => break,
                Split::Bad(fault) => {
                    self.close(id, &format_args!("malformed frame: {fault}"));
                    return bytes.len();
                }
                Split::Whole(_) if self.is_stuffed(id) => break,
                Split::Whole(len) => {
                    if self.shard.meter.sample.wants_frame() {
                        self.shard.meter.sample.frame_begins(self.driver.now_ns());
                    }
                    let flow = match role {
                        Role::Broker => self.dispatch(id, peer, &bytes[at..at + len]),
                        Role::Naming => self.dispatch_naming(id, peer, &bytes[at..at + len]),
                    };
                    match flow {
                        Flow::Done => at += len,
                        Flow::Blocked => {
                            self.block(id);
                            return at;
                        }
                        Flow::Closed => return bytes.len(),
                    }
                }
            }
        }
        at
    }

    /// Keeps the unhandled rest of a piece, and decides how to go on reading.
    fn hold(&mut self, id: ConnId, rest: &[u8]) {
        let now_ns = self.now_ns;
        if let Some(connection) = self.connections.get(id).filter(|_| !rest.is_empty()) {
            if connection.inbox.is_empty() {
                connection.frame_ns = now_ns;
            }
            connection.inbox.extend_from_slice(rest);
            self.assembly_bytes += rest.len();
        }
        self.steer(id);
    }

    /// Stops, sizes or resumes the receiving half, as the connection's state asks.
    pub(super) fn steer(&mut self, id: ConnId) {
        if self.draining {
            // A sized receive would put later bytes behind a front whose middle was thrown away.
            return;
        }
        let (held, limit) = (self.assembly_bytes, self.bounds.assembly_bytes);
        let first = self.first_assembled == Some(id);
        let Some(connection) = self.connections.get(id) else { return };
        let missing = missing(&connection.inbox);
        // Large frames leave half of the room to small ones.
        let limit = if missing > RECEIVE_STEP_MIN { limit / 2 } else { limit };
        let pause = connection.blocked_ns != 0
            || connection.backlog() > SEND_BACKLOG_PAUSE
            || (missing > 0 && held > limit && !first);
        match connection.receiving {
            Receiving::Running if pause || missing > RECEIVE_STEP_MIN => {
                connection.receiving = Receiving::Stopping;
                self.driver.receive_stop(connection.socket);
            }
            Receiving::Paused if !pause && missing > RECEIVE_STEP_MIN => {
                // As much again as is there: memory follows the bytes, not the claim.
                let there = connection.inbox.len();
                let step = missing.min(there.clamp(RECEIVE_STEP_MIN, RECEIVE_STEP_MAX));
                connection.inbox.reserve_exact(step);
                connection.filled_from = there;
                connection.receiving = Receiving::Sized;
                let inbox = std::mem::take(&mut connection.inbox);
                self.driver.receive_exact(connection.socket, inbox, step, tokens::fill(id));
            }
            Receiving::Paused if !pause => {
                connection.receiving = Receiving::Running;
                self.driver.receive(connection.socket, tokens::receive(id));
            }
            _ => {}
        }
    }

    /// A repeating receive ended.
    pub(super) fn on_receive_ended(&mut self, id: ConnId, end: ReceiveEnd) {
        match end {
            ReceiveEnd::Stopped => {
                if let Some(connection) = self.connections.get(id) {
                    connection.receiving = Receiving::Paused;
                }
                self.steer(id);
            }
            ReceiveEnd::Eof | ReceiveEnd::Failed(_) => self.forget(id),
        }
    }

    /// A sized receive ended.
    pub(super) fn on_filled(&mut self, id: ConnId, buf: Vec<u8>, result: Result<(), ReceiveEnd>) {
        let now_ns = self.now_ns;
        let Some(connection) = self.connections.get(id) else { return };
        self.assembly_bytes += buf.len().saturating_sub(connection.filled_from);
        connection.inbox = buf;
        connection.active_ns = now_ns;
        connection.receiving = Receiving::Paused;
        if result.is_err() {
            return self.forget(id);
        }
        if missing(&connection.inbox) == 0 {
            self.handle_inbox(id);
        }
        self.steer(id);
    }

    /// The log has no room: frames of this connection wait.
    fn block(&mut self, id: ConnId) {
        let now_ns = self.now_ns;
        if let Some(connection) = self.connections.get(id).filter(|c| c.blocked_ns == 0) {
            connection.blocked_ns = now_ns;
            self.blocked.push_back(id);
        }
    }

    /// When the oldest blocked connection has waited as long as it may, nanoseconds.
    pub(super) fn next_unblock_ns(&mut self) -> Option<u64> {
        let oldest = *self.blocked.front()?;
        let hold_ns = self.shard.tuning().pressure.hold_ms() * 1_000_000;
        self.connections.get(oldest).map(|connection| connection.blocked_ns + hold_ns)
    }

    /// How long the oldest blocked connection has waited, milliseconds.
    pub(super) fn blocked_for_ms(&self) -> u64 {
        let oldest = self.blocked.front().and_then(|id| self.connections.peek(*id));
        oldest.map_or(0, |connection| self.now_ns.saturating_sub(connection.blocked_ns) / 1_000_000)
    }

    /// Lets blocked connections go on, oldest first, while there is room (or their wait is over
    /// and the answer is a refusal).
    pub(super) fn unblock(&mut self) {
        for _ in 0..self.blocked.len() {
            let Some(id) = self.blocked.pop_front() else { break };
            let Some(connection) = self.connections.get(id) else { continue };
            let since_ns = connection.blocked_ns;
            self.block_wait_ns = self.now_ns.saturating_sub(since_ns);
            connection.blocked_ns = 0;
            self.shard.received_at(since_ns);
            self.handle_inbox(id);
            self.shard.received_at(self.now_ns);
            self.block_wait_ns = 0;
            if let Some(connection) = self.connections.get(id).filter(|c| c.blocked_ns != 0) {
                // Still no room: it keeps its age and its turn.
                connection.blocked_ns = since_ns;
                let again = self.blocked.pop_back();
                self.blocked.extend(again.filter(|last| *last != id));
                self.blocked.push_front(id);
                break;
            }
            self.steer(id);
        }
    }
}

/// Bytes missing of the frame at the inbox's front; 0 when it is whole, empty or bad.
fn missing(inbox: &[u8]) -> usize {
    if inbox.is_empty() {
        return 0;
    }
    match frame::split(inbox, FRAME_MAX) {
        Split::Need(total) => total - inbox.len(),
        Split::Whole(_) | Split::Bad(_) => 0,
    }
}

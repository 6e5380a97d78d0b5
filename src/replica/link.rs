//! One connection of the replication stream: frames in, frames out, under bounds.
//!
//! Bytes are received as they come and looked at as whole frames; when the one above does not take
//! them, the link stops reading and TCP tells the peer. What is to be sent gathers while one send
//! is in the air. Never: two sends in flight; bytes held beyond one frame and the pause mark.

use weir_io::{Chunk, Driver, ReceiveEnd, Socket, Token};

use super::frame::{self, Frame, FrameFault, Kind};
use crate::base::limits::{HA_INBOX_PAUSE, HA_OUTBOX_MAX};

/// The room number in the top byte of all tokens of the pair.
pub const TOKEN_ROOM: u8 = 7;
/// Kinds of tokens inside the room.
pub(super) const KIND_ACCEPT: u64 = 1;
/// See [`KIND_ACCEPT`].
pub(super) const KIND_RECEIVE: u64 = 2;
/// See [`KIND_ACCEPT`].
pub(super) const KIND_SEND: u64 = 3;
/// See [`KIND_ACCEPT`].
pub(super) const KIND_CONNECT: u64 = 4;
/// See [`KIND_ACCEPT`].
pub(super) const KIND_COLD: u64 = 5;
/// See [`KIND_ACCEPT`].
pub(super) const KIND_FLOOR: u64 = 6;
/// See [`KIND_ACCEPT`].
pub(super) const KIND_HELP: u64 = 7;
/// See [`KIND_ACCEPT`].
pub(super) const KIND_MEND_READ: u64 = 8;
/// See [`KIND_ACCEPT`].
pub(super) const KIND_MEND_WRITE: u64 = 9;

/// A token of the pair's room; `value` has 48 bits.
pub(super) fn token(kind: u64, value: u64) -> Token {
    Token(u64::from(TOKEN_ROOM) << 56 | kind << 48 | (value & 0xFFFF_FFFF_FFFF))
}

/// Kind and value of a token of the pair's room.
pub(super) fn split(token: Token) -> (u64, u64) {
    (token.0 >> 48 & 0xFF, token.0 & 0xFFFF_FFFF_FFFF)
}

/// State of the receiving half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receiving {
    Running,
    Stopping,
    Paused,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Link {
    socket: Socket,
    /// Names it in tokens; no two of one process have the same.
    pub(super) id: u64,
    /// The peer's address, as text.
    pub(super) peer: std::net::SocketAddr,
    inbox: Vec<u8>,
    /// Bytes at the inbox's front that were taken.
    taken: usize,
    outbox: Vec<u8>,
    spare: Vec<u8>,
    sending: bool,
    receiving: Receiving,
    /// When something came last, nanoseconds.
    pub(super) heard_ns: u64,
    /// When something was sent last, nanoseconds.
    pub(super) spoke_ns: u64,
}

impl Link {
    /// A connection that was just opened; receiving begins.
    pub(super) fn new(driver: &mut Driver, socket: Socket, id: u64) -> Option<Link> {
        let Some(peer) = driver.peer(socket) else {
            driver.close(socket);
            return None;
        };
        driver.receive(socket, token(KIND_RECEIVE, id));
        let now_ns = driver.now_ns();
        Some(Link {
            socket,
            id,
            peer,
            inbox: Vec::new(),
            taken: 0,
            outbox: Vec::new(),
            spare: Vec::new(),
            sending: false,
            receiving: Receiving::Running,
            heard_ns: now_ns,
            spoke_ns: now_ns,
        })
    }

    /// Bytes arrived.
    pub(super) fn received(&mut self, driver: &mut Driver, chunk: &Chunk) {
        self.heard_ns = driver.now_ns();
        self.inbox.extend_from_slice(chunk);
        let full = self.inbox.len() - self.taken > HA_INBOX_PAUSE;
        // A frame larger than the mark must still become whole.
        if full && self.receiving == Receiving::Running && self.front() != Ok(None) {
            self.receiving = Receiving::Stopping;
            driver.receive_stop(self.socket);
        }
    }

    /// A repeating receive ended. `false`: so did the connection.
    pub(super) fn receive_ended(&mut self, driver: &mut Driver, end: ReceiveEnd) -> bool {
        if end == ReceiveEnd::Stopped {
            self.receiving = Receiving::Paused;
            self.resume(driver);
        }
        end == ReceiveEnd::Stopped
    }

    /// A send ended. `false`: so did the connection.
    pub(super) fn sent(&mut self, buf: Vec<u8>, taken: bool) -> bool {
        self.sending = false;
        self.spare = buf;
        taken
    }

    /// The frame at the front, if it is whole.
    pub(super) fn front(&self) -> Result<Option<(Frame<'_>, usize)>, FrameFault> {
        let bytes = self.inbox.get(self.taken..).unwrap_or(&[]);
        if bytes.is_empty() { Ok(None) } else { frame::split(bytes) }
    }

    /// Takes `len` bytes off the front.
    pub(super) fn take(&mut self, driver: &mut Driver, len: usize) {
        self.taken += len;
        if self.taken >= self.inbox.len() {
            self.inbox.clear();
            self.taken = 0;
        } else if self.taken > HA_INBOX_PAUSE / 2 {
            self.inbox.drain(..self.taken);
            self.taken = 0;
        }
        self.resume(driver);
    }

    fn resume(&mut self, driver: &mut Driver) {
        let low = self.inbox.len() - self.taken <= HA_INBOX_PAUSE / 2;
        if self.receiving == Receiving::Paused && (low || self.front() == Ok(None)) {
            self.receiving = Receiving::Running;
            driver.receive(self.socket, token(KIND_RECEIVE, self.id));
        }
    }

    /// Whether more may be put into the outbox.
    pub(super) fn has_room(&self) -> bool {
        self.outbox.len() < HA_OUTBOX_MAX
    }

    /// Puts a frame into the outbox.
    pub(super) fn put(&mut self, kind: Kind, epoch: u64, value: u64, parts: &[&[u8]]) {
        frame::put(&mut self.outbox, kind, epoch, value, parts);
    }

    /// Sends what gathered, unless a send is in the air.
    pub(super) fn flush(&mut self, driver: &mut Driver) {
        if self.sending || self.outbox.is_empty() {
            return;
        }
        let spare = std::mem::take(&mut self.spare);
        let buf = std::mem::replace(&mut self.outbox, spare);
        self.sending = true;
        self.spoke_ns = driver.now_ns();
        driver.send(self.socket, buf, token(KIND_SEND, self.id));
    }

    /// Whether everything put was handed to the kernel and taken.
    pub(super) fn is_drained(&self) -> bool {
        !self.sending && self.outbox.is_empty()
    }

    /// Closes the connection.
    pub(super) fn close(self, driver: &mut Driver) {
        driver.close(self.socket);
    }
}

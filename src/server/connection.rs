//! One client connection: what it sent and is not handled, what it is owed and is not sent.
//!
//! Bytes are bounded from the first one: a partial frame grows with what really arrived, never
//! with what its length field claims; replies that the peer does not take stop its reading, then
//! close it. Frames are handled where they lie in the receive buffer; only a frame cut by a
//! buffer's end is copied together.
//! Never: memory reserved on a peer's word; two sends in flight.

use std::net::SocketAddr;

use weir_io::Socket;

/// Names a connection: slot in the low half, generation in the high half, so that an answer for a
/// closed connection never reaches its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ConnId(pub u64);

impl ConnId {
    /// Puts a slot and a generation (24 bits are used) together.
    pub(crate) fn new(slot: u32, generation: u32) -> ConnId {
        ConnId(u64::from(generation & 0xFF_FFFF) << 32 | u64::from(slot))
    }

    /// The slot.
    pub(crate) fn slot(self) -> usize {
        (self.0 & 0xFFFF_FFFF) as usize
    }
}

/// Which listener the connection came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The shard's own port (or its port - 2).
    Broker,
    /// The name server's port.
    Naming,
}

/// State of the receiving half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receiving {
    /// A repeating receive runs.
    Running,
    /// It was asked to stop; its last event is still to come.
    Stopping,
    /// A sized receive for a large frame runs.
    Sized,
    /// Nothing runs: back-pressure.
    Paused,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Its socket.
    pub socket: Socket,
    /// Its name.
    pub id: ConnId,
    /// The peer's address.
    pub peer: SocketAddr,
    /// Which listener it came in by.
    pub role: Role,
    /// Bytes received and not handled: the front of one frame, or frames held by back-pressure.
    pub inbox: Vec<u8>,
    /// State of the receiving half.
    pub receiving: Receiving,
    /// Frames are held because the log has no room, since this time (0: they are not).
    pub blocked_ns: u64,
    /// Replies not yet handed to the driver.
    pub outbox: Vec<u8>,
    /// The buffer that is being sent, when `sending`, else the spare one.
    pub spare: Vec<u8>,
    /// A send is in flight, of this many bytes.
    pub sending: usize,
    /// It is in the list of connections with something to send.
    pub listed: bool,
    /// Last time bytes came or went, nanoseconds.
    pub active_ns: u64,
    /// When the frame in the inbox began, nanoseconds (0: the inbox is empty).
    pub frame_ns: u64,
    /// Bytes in the inbox when the sized receive that runs was started.
    pub filled_from: usize,
    /// Bytes of memory behind the buffer that is being sent.
    sending_capacity: usize,
    /// Bytes of memory behind all reply buffers when they were last weighed.
    weight: usize,
    /// The most bytes of replies, and of the inbox, since the last trimming.
    used: usize,
    used_inbox: usize,
}

/// Trimming leaves a buffer at least this much.
const KEEP_BYTES: usize = 4 * 1024;

impl Connection {
    /// A connection that was just accepted.
    pub(crate) fn new(
        socket: Socket,
        id: ConnId,
        peer: SocketAddr,
        role: Role,
        now_ns: u64,
    ) -> Connection {
        Connection {
            socket,
            id,
            peer,
            role,
            inbox: Vec::new(),
            receiving: Receiving::Running,
            blocked_ns: 0,
            outbox: Vec::new(),
            spare: Vec::new(),
            sending: 0,
            listed: false,
            active_ns: now_ns,
            frame_ns: 0,
            filled_from: 0,
            sending_capacity: 0,
            weight: 0,
            used: 0,
            used_inbox: 0,
        }
    }

    /// Reply bytes the peer has not taken.
    pub(crate) fn backlog(&self) -> usize {
        self.outbox.len() + self.sending
    }

    /// Bytes of frames being assembled that are its own.
    pub(crate) fn assembling(&self) -> usize {
        match self.receiving {
            Receiving::Sized => self.filled_from,
            _ => self.inbox.len(),
        }
    }

    /// Swaps the buffers: gives the filled one to be sent.
    pub(crate) fn take_outbox(&mut self) -> Vec<u8> {
        let spare = std::mem::take(&mut self.spare);
        let buf = std::mem::replace(&mut self.outbox, spare);
        self.sending = buf.len();
        self.sending_capacity = buf.capacity();
        self.used = self.used.max(buf.len());
        buf
    }

    /// Takes back a sent buffer.
    pub(crate) fn sent(&mut self, buf: Vec<u8>, now_ns: u64) {
        self.sending = 0;
        self.sending_capacity = 0;
        self.active_ns = now_ns;
        self.spare = buf;
    }

    /// Drops `count` handled bytes from the inbox's front.
    pub(crate) fn consume(&mut self, count: usize) {
        self.used_inbox = self.used_inbox.max(self.inbox.len());
        if count >= self.inbox.len() {
            self.inbox.clear();
            self.frame_ns = 0;
        } else {
            self.inbox.drain(..count);
        }
    }

    /// Gives back memory that was not needed since the last call: a buffer keeps twice what it
    /// held at most, an idle connection keeps nothing.
    pub(crate) fn trim(&mut self) {
        let (used, used_inbox) = (std::mem::take(&mut self.used), self.used_inbox);
        self.used_inbox = 0;
        trim(&mut self.outbox, used);
        trim(&mut self.spare, used);
        if self.receiving != Receiving::Sized {
            trim(&mut self.inbox, used_inbox);
        }
    }

    fn weigh(&mut self) -> (usize, usize) {
        let now = self.outbox.capacity() + self.spare.capacity() + self.sending_capacity;
        (std::mem::replace(&mut self.weight, now), now)
    }
}

fn trim(buf: &mut Vec<u8>, used: usize) {
    let keep = 2 * used.max(buf.len());
    if buf.capacity() > keep.max(KEEP_BYTES) || keep == 0 {
        buf.shrink_to(keep);
    }
}

/// All connections of a shard.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    slots: Vec<Option<Connection>>,
    free: Vec<u32>,
    generation: u32,
    /// Connections with something to send, once each.
    pub dirty: Vec<ConnId>,
    /// How many are open.
    pub open: usize,
    /// Bytes of memory behind the reply buffers of all connections, as last weighed.
    pub reply_bytes: usize,
}

impl Connections {
    /// Adds a connection; `None` when `max` are open.
    pub(crate) fn add(
        &mut self,
        max: usize,
        make: impl FnOnce(ConnId) -> Connection,
    ) -> Option<ConnId> {
        if self.open >= max {
            return None;
        }
        self.generation = self.generation.wrapping_add(1);
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                (self.slots.len() - 1) as u32
            }
        };
        let id = ConnId::new(slot, self.generation);
        self.slots[slot as usize] = Some(make(id));
        self.open += 1;
        Some(id)
    }

    /// The connection, if it is still open.
    pub(crate) fn get(&mut self, id: ConnId) -> Option<&mut Connection> {
        self.slots.get_mut(id.slot())?.as_mut().filter(|connection| connection.id == id)
    }

    /// The connection, to be looked at only.
    pub(crate) fn peek(&self, id: ConnId) -> Option<&Connection> {
        self.slots.get(id.slot())?.as_ref().filter(|connection| connection.id == id)
    }

    /// Takes the connection out.
    pub(crate) fn remove(&mut self, id: ConnId) -> Option<Connection> {
        self.get(id)?;
        let connection = self.slots.get_mut(id.slot())?.take();
        self.free.push(id.slot() as u32);
        self.open -= 1;
        self.reply_bytes -= connection.as_ref().map_or(0, |connection| connection.weight);
        connection
    }

    /// The outbox to append a reply to; the connection is listed for the next flush.
    pub(crate) fn outbox(&mut self, id: ConnId) -> Option<&mut Vec<u8>> {
        let connection = self.slots.get_mut(id.slot())?.as_mut().filter(|c| c.id == id)?;
        if !connection.listed {
            connection.listed = true;
            self.dirty.push(id);
        }
        Some(&mut connection.outbox)
    }

    /// Counts the memory behind a connection's reply buffers anew.
    pub(crate) fn weigh(&mut self, id: ConnId) {
        if let Some(connection) = self.get(id) {
            let (before, now) = connection.weigh();
            self.reply_bytes = self.reply_bytes - before + now;
        }
    }

    /// How many have replies that are not handed to the kernel.
    pub(crate) fn unsent(&self) -> usize {
        self.slots.iter().flatten().filter(|connection| connection.backlog() > 0).count()
    }

    /// Names of all open connections, into `out`.
    pub(crate) fn ids(&self, out: &mut Vec<ConnId>) {
        out.extend(self.slots.iter().flatten().map(|connection| connection.id));
    }
}

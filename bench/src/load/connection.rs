//! One connection: which request goes out next, and what its answer means.
//!
//! A slot is a place for one outstanding request; its number is the request's opaque, so an
//! answer finds its start time by index. Frames to send gather in one buffer while another is
//! with the kernel. Invariant: a slot is either free or has exactly one request out.

use std::collections::VecDeque;

use weir_io::Socket;

use crate::frame::{OPAQUE_BASE, PullShape, Template, pull};
use crate::reply::{Reply, Splitter};

/// PULL_NOT_FOUND and PULL_RETRY_IMMEDIATELY and PULL_OFFSET_MOVED: a follower asks again.
const PULL_AGAIN: [i32; 3] = [19, 20, 21];

/// A queue that is pulled, and from where.
#[derive(Debug)]
pub(crate) struct Tail<'a> {
    /// Topic, queue, batch, encoding.
    pub shape: PullShape<'a>,
    /// First offset of the tail.
    pub low: u64,
    /// Behind its last offset; a follower has none.
    pub high: u64,
    /// Next offset to ask for.
    pub next: u64,
}

/// What a connection does.
#[derive(Debug)]
pub(crate) enum Job<'a> {
    /// Sends to its queues in turn.
    Send {
        /// One frame per queue.
        templates: Vec<Template>,
        /// Counts messages; also the unique key.
        counter: u64,
    },
    /// Pulls one queue's tail over and over.
    PullTail {
        /// The queue.
        tail: Tail<'a>,
        /// Offset asked for by each slot.
        asked: Vec<u64>,
    },
    /// Follows queues, one slot for each.
    Follow {
        /// The queues.
        tails: Vec<Tail<'a>>,
    },
}

/// What an answer brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A send was taken.
    Sent,
    /// So many messages came.
    Pulled(u64),
    /// Nothing new yet.
    Empty,
    /// Another code than expected.
    Failed(i32),
}

/// A connection and its outstanding requests.
#[derive(Debug)]
pub(crate) struct Connection<'a> {
    /// The socket.
    pub socket: Socket,
    /// Finds answers.
    pub splitter: Splitter,
    /// Whether a buffer is with the kernel.
    pub sending: bool,
    /// Frames not handed over yet.
    pub out: Vec<u8>,
    /// The other buffer.
    pub spare: Vec<u8>,
    /// Open loop: intended times that found no free slot.
    pub waiting: VecDeque<u64>,
    job: Job<'a>,
    started_ns: Vec<u64>,
    free: Vec<u32>,
}

impl<'a> Connection<'a> {
    /// A connection with all slots free. A follower has a slot per queue, whatever is asked.
    pub(crate) fn new(socket: Socket, mut job: Job<'a>, outstanding: u32) -> Self {
        let slots = match &mut job {
            Job::Follow { tails } => tails.len(),
            Job::PullTail { asked, .. } => {
                asked.resize(outstanding as usize, 0);
                outstanding as usize
            }
            Job::Send { .. } => outstanding as usize,
        };
        Self {
            socket,
            splitter: Splitter::default(),
            sending: false,
            out: Vec::new(),
            spare: Vec::new(),
            waiting: VecDeque::new(),
            job,
            started_ns: vec![0; slots],
            free: (0..slots as u32).rev().collect(),
        }
    }

    /// True when every slot is free.
    pub(crate) fn idle(&self) -> bool {
        self.free.len() == self.started_ns.len()
    }

    /// Puts one request into the buffer, counted from `start_ns` (not 0). False: no slot is free.
    pub(crate) fn ask(&mut self, start_ns: u64) -> bool {
        let Some(slot) = self.free.pop() else { return false };
        self.started_ns[slot as usize] = start_ns;
        let opaque = OPAQUE_BASE + slot;
        match &mut self.job {
            Job::Send { templates, counter } => {
                let template = &templates[*counter as usize % templates.len()];
                template.write(&mut self.out, opaque, *counter);
                *counter += 1;
            }
            Job::PullTail { tail, asked } => {
                asked[slot as usize] = tail.next;
                self.out.extend_from_slice(&pull(&tail.shape, opaque, tail.next));
                tail.next += u64::from(tail.shape.batch);
                if tail.next + u64::from(tail.shape.batch) > tail.high {
                    tail.next = tail.low;
                }
            }
            Job::Follow { tails } => {
                let tail = &tails[slot as usize];
                self.out.extend_from_slice(&pull(&tail.shape, opaque, tail.next));
            }
        }
        true
    }

    /// Takes an answer: gives when its request was started and what came of it. `None` when no
    /// request of this connection has that opaque.
    pub(crate) fn answered(&mut self, reply: &Reply<'_>) -> Option<(u64, Outcome)> {
        let slot = reply.opaque.checked_sub(OPAQUE_BASE)?;
        let started = self.started_ns.get_mut(slot as usize)?;
        // Zero marks a free slot: a second answer to one request is not counted twice.
        let started_ns = std::mem::take(started);
        if started_ns == 0 {
            return None;
        }
        self.free.push(slot);
        let next = || reply.number("nextBeginOffset").unwrap_or(0);
        let outcome = match &mut self.job {
            Job::Send { .. } if reply.code == 0 => Outcome::Sent,
            Job::PullTail { asked, .. } if reply.code == 0 => {
                Outcome::Pulled(next().saturating_sub(asked[slot as usize]))
            }
            Job::Follow { tails } if reply.code == 0 || PULL_AGAIN.contains(&reply.code) => {
                let tail = &mut tails[slot as usize];
                let before = std::mem::replace(&mut tail.next, next());
                match reply.code {
                    0 => Outcome::Pulled(tail.next.saturating_sub(before)),
                    _ => Outcome::Empty,
                }
            }
            _ => Outcome::Failed(reply.code),
        };
        Some((started_ns, outcome))
    }

    /// True for a connection that sends.
    pub(crate) fn sends(&self) -> bool {
        matches!(self.job, Job::Send { .. })
    }
}

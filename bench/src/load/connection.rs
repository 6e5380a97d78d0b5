//! One connection: which request goes out next, and what its answer means.
//!
//! A slot is a place for one outstanding request; its number is the request's opaque, so an
//! answer finds its start time by index. Frames to send gather in one buffer while another is
//! with the kernel. Invariant: a slot is free, retired, or has exactly one request out. A
//! connection that was lost forgets what it had out and counts it.

use std::collections::VecDeque;
use std::net::SocketAddr;

use weir_io::Socket;

use crate::frame::{OPAQUE_BASE, PullShape, Template, pull};
use crate::reply::{Reply, Splitter};

/// PULL_NOT_FOUND and PULL_RETRY_IMMEDIATELY and PULL_OFFSET_MOVED: a follower asks again.
const PULL_AGAIN: [i32; 3] = [19, 20, 21];

/// A queue that is pulled, and from where.
#[derive(Debug)]
pub(crate) struct Tail {
    /// Topic, queue, batch, encoding.
    pub shape: PullShape,
    /// First offset of the tail.
    pub low: u64,
    /// Behind its last offset; `u64::MAX` for a follower, which has none.
    pub high: u64,
    /// Next offset to ask for.
    pub next: u64,
}

impl Tail {
    fn is_read(&self) -> bool {
        self.next >= self.high
    }
}

fn again_code(code: i32) -> bool {
    PULL_AGAIN.contains(&code)
}

/// What a connection does.
#[derive(Debug)]
pub(crate) enum Job {
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
        tail: Tail,
        /// Offset asked for by each slot.
        asked: Vec<u64>,
    },
    /// Follows queues to their end, one slot for each.
    Follow {
        /// The queues.
        tails: Vec<Tail>,
        /// Begin again at the low end; else a queue that was read is left alone.
        again: bool,
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
pub(crate) struct Connection {
    /// The broker.
    pub addr: SocketAddr,
    /// The socket; `None` while the broker is away.
    pub socket: Option<Socket>,
    /// Counts sockets, so that an event of an earlier one is known.
    pub epoch: u64,
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
    job: Job,
    started_ns: Vec<u64>,
    /// When each was put into the buffer: in an open loop later than it was due.
    asked_ns: Vec<u64>,
    free: Vec<u32>,
    /// Slots of queues that were read to their end.
    retired: usize,
}

impl Connection {
    /// A connection with all slots free. A follower has a slot per queue, whatever is asked.
    pub(crate) fn new(addr: SocketAddr, socket: Socket, mut job: Job, outstanding: u32) -> Self {
        let slots = match &mut job {
            Job::Follow { tails, .. } => tails.len(),
            Job::PullTail { asked, .. } => {
                asked.resize(outstanding as usize, 0);
                outstanding as usize
            }
            Job::Send { .. } => outstanding as usize,
        };
        let mut connection = Self {
            addr,
            socket: Some(socket),
            epoch: 0,
            splitter: Splitter::default(),
            sending: false,
            out: Vec::new(),
            spare: Vec::new(),
            waiting: VecDeque::new(),
            job,
            started_ns: vec![0; slots],
            asked_ns: vec![0; slots],
            free: Vec::new(),
            retired: 0,
        };
        connection.free_all();
        connection
    }

    /// Frees every slot but those of queues that are read; gives how many had a request out.
    fn free_all(&mut self) -> u64 {
        let lost = self.started_ns.iter().filter(|started| **started != 0).count();
        self.started_ns.fill(0);
        let over = |slot: &u32| match &self.job {
            Job::Follow { tails, again } => !again && tails[*slot as usize].is_read(),
            _ => false,
        };
        let slots = self.started_ns.len() as u32;
        self.free = (0..slots).rev().filter(|slot| !over(slot)).collect();
        self.retired = self.started_ns.len() - self.free.len();
        lost as u64
    }

    /// Forgets the socket and what was on its way; gives how many requests were lost.
    pub(crate) fn lose(&mut self) -> u64 {
        self.socket = None;
        self.epoch += 1;
        self.splitter = Splitter::default();
        self.sending = false;
        self.out.clear();
        self.free_all()
    }

    /// True when no request is out.
    pub(crate) fn idle(&self) -> bool {
        self.free.len() + self.retired == self.started_ns.len()
    }

    /// True when every queue was read to its end.
    pub(crate) fn over(&self) -> bool {
        self.retired == self.started_ns.len()
    }

    /// Puts one request into the buffer at `now_ns`, counted from `start_ns` (not 0). False: no
    /// slot is free.
    pub(crate) fn ask(&mut self, start_ns: u64, now_ns: u64) -> bool {
        let Some(slot) = self.free.pop() else { return false };
        self.started_ns[slot as usize] = start_ns;
        self.asked_ns[slot as usize] = now_ns;
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
            Job::Follow { tails, .. } => {
                let tail = &tails[slot as usize];
                self.out.extend_from_slice(&pull(&tail.shape, opaque, tail.next));
            }
        }
        true
    }

    /// Takes an answer: gives when its request was started, when it was put into the buffer, and
    /// what came of it. `None` when no request of this connection has that opaque.
    pub(crate) fn answered(&mut self, reply: &Reply<'_>) -> Option<(u64, u64, Outcome)> {
        let slot = reply.opaque.checked_sub(OPAQUE_BASE)?;
        let started = self.started_ns.get_mut(slot as usize)?;
        // Zero marks a free slot: a second answer to one request is not counted twice.
        let started_ns = std::mem::take(started);
        if started_ns == 0 {
            return None;
        }
        let asked_ns = self.asked_ns[slot as usize];
        let next = || reply.number("nextBeginOffset").unwrap_or(0);
        let outcome = match &mut self.job {
            Job::Send { .. } if reply.code == 0 => Outcome::Sent,
            Job::PullTail { asked, .. } if reply.code == 0 => {
                Outcome::Pulled(next().saturating_sub(asked[slot as usize]))
            }
            Job::Follow { tails, again } if reply.code == 0 || again_code(reply.code) => {
                let tail = &mut tails[slot as usize];
                let before = std::mem::replace(&mut tail.next, next());
                let pulled = tail.next.saturating_sub(before);
                if tail.is_read() && *again {
                    tail.next = tail.low;
                } else if tail.is_read() {
                    self.retired += 1;
                    return Some((started_ns, asked_ns, Outcome::Pulled(pulled)));
                }
                if reply.code == 0 { Outcome::Pulled(pulled) } else { Outcome::Empty }
            }
            _ => Outcome::Failed(reply.code),
        };
        self.free.push(slot);
        Some((started_ns, asked_ns, outcome))
    }

    /// True for a connection that sends.
    pub(crate) fn sends(&self) -> bool {
        matches!(self.job, Job::Send { .. })
    }
}

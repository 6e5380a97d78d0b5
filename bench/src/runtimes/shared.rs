//! What the loops on other runtimes have in common: filling batches, the order of answers, bells
//! between tasks.
//!
//! Invariant: in sync mode an answer leaves only after its write and all earlier ones are done.
//! It does no input or output itself.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::task::{Poll, Waker};

use crate::ceiling::{WRITE_MAX, canned, each_frame, stored_part};
use crate::frame::{Encoding, put_opaque};
use crate::reply::{Places, opaque_of};

/// Wakes one task of the same thread; a ring while nobody waits is kept.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl Bell {
    pub(super) fn ring(&self) {
        self.rung.set(true);
        for waker in self.waiting.borrow_mut().drain(..) {
            waker.wake();
        }
    }

    /// Waits for a ring and takes it.
    pub(super) async fn wait(&self) {
        poll_fn(|context| {
            if self.rung.replace(false) {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Memory of one write, aligned as O_DIRECT wants it.
pub(super) trait Memory {
    /// All of it: [`WRITE_MAX`] bytes.
    fn place(&mut self) -> &mut [u8];
}

/// Frames written together and the answers they wait for.
#[derive(Debug)]
pub(super) struct Batch<M> {
    /// Its memory.
    pub memory: M,
    /// Bytes of it that are filled.
    pub used: usize,
    answers: Vec<Waiting>,
    /// Its number, in the order of writing.
    pub id: u64,
}

/// Connection, encoding and opaque of an answer.
type Waiting = (usize, Encoding, u32);

/// A batch in flight.
#[derive(Debug)]
struct Flying {
    id: u64,
    landed: bool,
    answers: Vec<Waiting>,
}

/// What a connection's tasks share.
#[derive(Debug, Default)]
pub(super) struct Out {
    /// Answers not sent yet.
    pub bytes: RefCell<Vec<u8>>,
    /// Rings when there are some, or when it is closed.
    pub bell: Bell,
    /// Nothing more is to be sent.
    pub closed: Cell<bool>,
}

/// What all tasks share.
#[derive(Debug)]
pub(super) struct Core<M> {
    sync: bool,
    size: u64,
    offset: u64,
    places: Places,
    filling: Option<Batch<M>>,
    full: VecDeque<Batch<M>>,
    /// Batches in flight, in order.
    flying: VecDeque<Flying>,
    next_id: u64,
    spare: Vec<M>,
    outs: Vec<std::rc::Rc<Out>>,
    canned: [(Vec<u8>, usize); 2],
    /// Something was written since the last flush.
    pub dirty: bool,
}

impl<M: Memory> Core<M> {
    pub(super) fn new(sync: bool, size: u64, spare: Vec<M>) -> Self {
        Self {
            sync,
            size,
            offset: 0,
            places: Places::default(),
            filling: None,
            full: VecDeque::new(),
            flying: VecDeque::new(),
            next_id: 0,
            spare,
            outs: Vec::new(),
            canned: [canned(Encoding::Json), canned(Encoding::Binary)],
            dirty: false,
        }
    }

    /// A new connection's number and output.
    pub(super) fn connected(&mut self) -> (usize, std::rc::Rc<Out>) {
        let out = std::rc::Rc::new(Out::default());
        self.outs.push(out.clone());
        (self.outs.len() - 1, out)
    }

    /// Whether the frames that end in a piece of `bytes` can be taken now.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        let used = self.filling.as_ref().map_or(WRITE_MAX, |batch| batch.used);
        self.spare.len() > 1 || used + 2 * bytes <= WRITE_MAX
    }

    /// Takes the frames of a piece. Room for it must have been seen.
    pub(super) fn take(&mut self, i: usize, partial: &mut Vec<u8>, bytes: &[u8]) -> io::Result<()> {
        each_frame(partial, bytes, |frame| self.frame(i, frame))
    }

    fn frame(&mut self, i: usize, frame: &[u8]) -> io::Result<()> {
        let Some((encoding, opaque)) = opaque_of(&mut self.places, frame) else {
            return Err(io::Error::other("a frame without opaque"));
        };
        let stored = stored_part(frame);
        if self.filling.as_ref().is_some_and(|batch| batch.used + stored.len() > WRITE_MAX) {
            self.full.extend(self.filling.take());
        }
        let batch = match &mut self.filling {
            Some(batch) => batch,
            None => {
                let Some(memory) = self.spare.pop() else {
                    return Err(io::Error::other("no room was left for a frame"));
                };
                let id = self.next_id;
                self.next_id += 1;
                self.filling.insert(Batch { memory, used: 0, answers: Vec::new(), id })
            }
        };
        let used = batch.used;
        batch.memory.place()[used..used + stored.len()].copy_from_slice(stored);
        batch.used += stored.len();
        if self.sync {
            batch.answers.push((i, encoding, opaque));
        } else {
            self.answer(i, encoding, opaque);
        }
        Ok(())
    }

    fn answer(&self, i: usize, encoding: Encoding, opaque: u32) {
        let (frame, at) = &self.canned[usize::from(encoding == Encoding::Binary)];
        let out = &self.outs[i];
        let mut bytes = out.bytes.borrow_mut();
        let start = bytes.len();
        bytes.extend_from_slice(frame);
        put_opaque(&mut bytes[start + at..], encoding, opaque);
        out.bell.ring();
    }

    /// The next batch to write and its offset, while fewer than `depth` are in flight.
    pub(super) fn next_write(&mut self, depth: usize) -> Option<(Batch<M>, u64)> {
        if self.flying.len() >= depth {
            return None;
        }
        let mut batch = self.full.pop_front().or_else(|| self.filling.take())?;
        let len = batch.used.next_multiple_of(weir_io::ALIGN) as u64;
        if self.offset + len > self.size {
            self.offset = 0;
        }
        let at = self.offset;
        self.offset += len;
        self.dirty = true;
        let answers = std::mem::take(&mut batch.answers);
        self.flying.push_back(Flying { id: batch.id, landed: false, answers });
        Some((batch, at))
    }

    /// A write is done: answers leave up to the first that is not.
    pub(super) fn landed(&mut self, id: u64, memory: M) {
        self.spare.push(memory);
        if let Some(flying) = self.flying.iter_mut().find(|flying| flying.id == id) {
            flying.landed = true;
        }
        while self.flying.front().is_some_and(|flying| flying.landed) {
            let Some(Flying { answers, .. }) = self.flying.pop_front() else { break };
            for (i, encoding, opaque) in answers {
                self.answer(i, encoding, opaque);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{SendShape, Template};

    impl Memory for Vec<u8> {
        fn place(&mut self) -> &mut [u8] {
            self
        }
    }

    #[test]
    fn answers_leave_in_the_order_of_writes_whatever_lands_first() {
        let spare = (0..4).map(|_| vec![0; WRITE_MAX]).collect();
        let mut core = Core::new(true, 1 << 30, spare);
        let (i, out) = core.connected();
        let template = Template::send(&SendShape {
            encoding: Encoding::Json,
            topic: "T",
            broker_name: "",
            queue_id: 0,
            body_bytes: 100,
            wait: true,
        });
        let mut frames = Vec::new();
        template.write(&mut frames, crate::frame::OPAQUE_BASE, 1);
        core.take(i, &mut Vec::new(), &frames).unwrap();
        let (first, at) = core.next_write(4).unwrap();
        core.take(i, &mut Vec::new(), &frames).unwrap();
        let (second, next) = core.next_write(4).unwrap();
        assert_eq!((at, next, first.used), (0, 4096, 316));
        core.landed(second.id, second.memory);
        assert!(out.bytes.borrow().is_empty());
        core.landed(first.id, first.memory);
        assert_eq!(out.bytes.borrow().len(), 2 * core.canned[0].0.len());
        assert!(core.next_write(4).is_none());
    }
}

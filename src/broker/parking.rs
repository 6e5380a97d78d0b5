//! Pulls that wait for messages: held by queue, by deadline and by connection.
//!
//! A place is a slot of a bounded slab that keeps its memory, so that holding and waking the same
//! consumers over and over allocates nothing. Places are woken when a watermark passes new entries
//! (never by the append itself), when their time is over, or when their queue is gone; a woken
//! place stays taken until it was answered, because it may have to wait for a chunk first.
//! Invariants: a waiting place is in the list of its queue; every place is in the list of its
//! connection; a queue with waiting places and entries not yet visible is in its class's fresh
//! list.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::catalog::TopicIdx;
use super::membership::ConnId;
use super::options::FlushClass;
use super::traffic::ReaderId;
use crate::base::limits::PARKED_PULLS_MAX;
use crate::base::map::Map;
use crate::queue::QueueId;

const NONE: u32 = u32::MAX;

/// Who a held pull answers; the shard gives it and gets it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyTo {
    /// Its connection.
    pub conn: ConnId,
    /// The request's `opaque`.
    pub opaque: i32,
    /// Whatever else the shard needs for the answer (header codec, version).
    pub tag: u32,
    /// When the shard took the request, in its own nanoseconds.
    pub asked_ns: u64,
}

/// A held pull; stale ones are recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParkId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// Every place is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParkingFull;

/// What is pulled, without names: enough to run the pull again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PullTarget {
    /// The topic, in the life that began at `created`.
    pub topic: TopicIdx,
    /// See `topic`.
    pub created: u64,
    /// Queue id within the topic.
    pub queue_id: u32,
    /// First offset wanted.
    pub offset: u64,
    /// Messages at most.
    pub max_messages: u32,
    /// Bytes at most, the first message aside.
    pub max_bytes: u32,
    /// Who reads, for the counters.
    pub reader: ReaderId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Waiting,
    Woken,
}

#[derive(Debug)]
struct Place {
    state: State,
    generation: u32,
    reply: ReplyTo,
    target: PullTarget,
    queue: QueueId,
    deadline_ms: i64,
    /// Offsets below were looked at and did not match.
    scanned: u64,
    all: bool,
    codes: Vec<i64>,
    queue_next: u32,
    queue_prev: u32,
    conn_next: u32,
    conn_prev: u32,
}

/// All held pulls of one shard.
#[derive(Debug, Default)]
pub struct Parking {
    places: Vec<Place>,
    free: Vec<u32>,
    heads: Vec<u32>,
    fresh_flags: Vec<bool>,
    fresh: [Vec<QueueId>; 2],
    conns: Map<ConnId, u32>,
    deadlines: BinaryHeap<Reverse<(i64, u32, u32)>>,
    pub(super) orphans: Vec<ParkId>,
}

/// A pull to be held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold<'a> {
    pub(super) reply: ReplyTo,
    pub(super) target: PullTarget,
    pub(super) queue: QueueId,
    pub(super) deadline_ms: i64,
    pub(super) all: bool,
    pub(super) codes: &'a [i64],
}

impl Parking {
    /// Number of places taken.
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a place.
    pub(super) fn hold(&mut self, hold: Hold<'_>) -> Result<ParkId, ParkingFull> {
        let index = self.free_place(&hold)?;
        let head = self.head_mut(hold.queue);
        let queue_next = std::mem::replace(head, index);
        let conn_next = self.conns.insert(hold.reply.conn, index).unwrap_or(NONE);
        let place = &mut self.places[index as usize];
        place.state = State::Waiting;
        place.generation = place.generation.wrapping_add(1);
        place.reply = hold.reply;
        place.target = hold.target;
        place.queue = hold.queue;
        place.deadline_ms = hold.deadline_ms;
        place.scanned = hold.target.offset;
        place.all = hold.all;
        place.codes.clear();
        place.codes.extend_from_slice(hold.codes);
        (place.queue_next, place.queue_prev) = (queue_next, NONE);
        (place.conn_next, place.conn_prev) = (conn_next, NONE);
        let generation = place.generation;
        if let Some(next) = self.places.get_mut(queue_next as usize) {
            next.queue_prev = index;
        }
        if let Some(next) = self.places.get_mut(conn_next as usize) {
            next.conn_prev = index;
        }
        self.deadlines.push(Reverse((hold.deadline_ms, index, generation)));
        self.prune_deadlines();
        Ok(ParkId { index, generation })
    }

    /// The target, reply and filter of a place that was woken; `None` when it is gone.
    pub(super) fn woken(&mut self, id: ParkId) -> Option<(ReplyTo, PullTarget, bool, Vec<i64>)> {
        let place = self.place_mut(id)?;
        let codes = std::mem::take(&mut place.codes);
        Some((place.reply, place.target, place.all, codes))
    }

    /// Gives back the filter that [`Parking::woken`] lent.
    pub(super) fn give_back(&mut self, id: ParkId, codes: Vec<i64>) {
        if let Some(place) = self.place_mut(id) {
            place.codes = codes;
        }
    }

    /// Frees a place.
    pub(super) fn release(&mut self, id: ParkId) {
        if self.place_mut(id).is_none() {
            return;
        }
        self.leave_queue(id.index);
        let place = &mut self.places[id.index as usize];
        place.state = State::Free;
        let (conn, next, prev) = (place.reply.conn, place.conn_next, place.conn_prev);
        if let Some(next) = self.places.get_mut(next as usize) {
            next.conn_prev = prev;
        }
        if let Some(prev) = self.places.get_mut(prev as usize) {
            prev.conn_next = next;
        } else if next == NONE {
            self.conns.remove(&conn);
        } else {
            self.conns.insert(conn, next);
        }
        self.free.push(id.index);
    }

    /// Frees every place of a connection.
    pub(super) fn drop_client(&mut self, conn: ConnId) {
        while let Some(&index) = self.conns.get(&conn) {
            let generation = self.places[index as usize].generation;
            self.release(ParkId { index, generation });
        }
    }

    /// Wakes places whose time is over.
    pub(super) fn expire(&mut self, now_ms: i64, woken: &mut Vec<ParkId>) {
        while let Some(Reverse((deadline_ms, index, generation))) = self.deadlines.peek().copied() {
            if deadline_ms > now_ms {
                break;
            }
            self.deadlines.pop();
            let id = ParkId { index, generation };
            if self.is_waiting(id) {
                self.wake(id, woken);
            }
        }
    }

    /// The next deadline, if anyone waits.
    pub fn next_deadline_ms(&self) -> Option<i64> {
        self.deadlines.peek().map(|Reverse((deadline_ms, ..))| *deadline_ms)
    }

    /// Wakes everyone who waits on a queue that is about to go.
    pub(super) fn queue_removed(&mut self, queue: QueueId) {
        let mut orphans = std::mem::take(&mut self.orphans);
        while let Some(id) = self.first(queue) {
            self.wake(id, &mut orphans);
        }
        self.orphans = orphans;
    }

    /// A queue got an entry, or got a waiter while it has entries not yet visible.
    pub(super) fn mark_fresh(&mut self, queue: QueueId, class: FlushClass) {
        let index = queue.0 as usize;
        if self.heads.get(index).is_none_or(|head| *head == NONE) {
            return;
        }
        if !std::mem::replace(&mut self.fresh_flags[index], true) {
            self.fresh[class.index()].push(queue);
        }
    }

    /// Takes the list of fresh queues of a class, to be given back to [`Parking::put_fresh`].
    pub(super) fn take_fresh(&mut self, class: FlushClass) -> Vec<QueueId> {
        std::mem::take(&mut self.fresh[class.index()])
    }

    /// Gives back the list with the queues that stay fresh; `done` are those that do not.
    pub(super) fn put_fresh(&mut self, class: FlushClass, mut kept: Vec<QueueId>) {
        let list = &mut self.fresh[class.index()];
        kept.append(list);
        *list = kept;
    }

    /// The queue is no longer fresh.
    pub(super) fn clear_fresh(&mut self, queue: QueueId) {
        if let Some(flag) = self.fresh_flags.get_mut(queue.0 as usize) {
            *flag = false;
        }
    }

    /// The first place waiting on a queue.
    pub(super) fn first(&self, queue: QueueId) -> Option<ParkId> {
        let index = *self.heads.get(queue.0 as usize)?;
        self.places.get(index as usize).map(|p| ParkId { index, generation: p.generation })
    }

    /// The place after `id` on the same queue.
    pub(super) fn after(&self, id: ParkId) -> Option<ParkId> {
        let index = self.places.get(id.index as usize)?.queue_next;
        self.places.get(index as usize).map(|p| ParkId { index, generation: p.generation })
    }

    /// From which offset on a waiting place has not looked, and what it wants.
    pub(super) fn wanted(&self, id: ParkId) -> Option<(u64, bool, &[i64])> {
        let place = self.places.get(id.index as usize)?;
        Some((place.scanned, place.all, &place.codes))
    }

    /// A waiting place has looked at everything below `scanned`.
    pub(super) fn set_scanned(&mut self, id: ParkId, scanned: u64) {
        if let Some(place) = self.place_mut(id) {
            place.scanned = place.scanned.max(scanned);
        }
    }

    /// Takes a place out of waiting and appends it to `woken`.
    pub(super) fn wake(&mut self, id: ParkId, woken: &mut Vec<ParkId>) {
        self.leave_queue(id.index);
        woken.push(id);
    }

    fn is_waiting(&self, id: ParkId) -> bool {
        let place = self.places.get(id.index as usize);
        place.is_some_and(|p| p.generation == id.generation && p.state == State::Waiting)
    }

    fn place_mut(&mut self, id: ParkId) -> Option<&mut Place> {
        let place = self.places.get_mut(id.index as usize)?;
        (place.generation == id.generation && place.state != State::Free).then_some(place)
    }

    fn free_place(&mut self, hold: &Hold<'_>) -> Result<u32, ParkingFull> {
        if let Some(index) = self.free.pop() {
            return Ok(index);
        }
        if self.places.len() >= PARKED_PULLS_MAX {
            return Err(ParkingFull);
        }
        self.places.push(Place {
            state: State::Free,
            generation: 0,
            reply: hold.reply,
            target: hold.target,
            queue: hold.queue,
            deadline_ms: hold.deadline_ms,
            scanned: 0,
            all: false,
            codes: Vec::new(),
            queue_next: NONE,
            queue_prev: NONE,
            conn_next: NONE,
            conn_prev: NONE,
        });
        u32::try_from(self.places.len() - 1).map_err(|_| ParkingFull)
    }

    fn head_mut(&mut self, queue: QueueId) -> &mut u32 {
        let index = queue.0 as usize;
        if self.heads.len() <= index {
            self.heads.resize(index + 1, NONE);
            self.fresh_flags.resize(index + 1, false);
        }
        &mut self.heads[index]
    }

    fn leave_queue(&mut self, index: u32) {
        let place = &mut self.places[index as usize];
        if place.state != State::Waiting {
            return;
        }
        place.state = State::Woken;
        let (queue, next, prev) = (place.queue, place.queue_next, place.queue_prev);
        if let Some(next) = self.places.get_mut(next as usize) {
            next.queue_prev = prev;
        }
        match self.places.get_mut(prev as usize) {
            Some(prev) => prev.queue_next = next,
            None => *self.head_mut(queue) = next,
        }
    }

    /// Entries of answered pulls stay in the heap until they come up; when they are most of it,
    /// it is rebuilt.
    fn prune_deadlines(&mut self) {
        if self.deadlines.len() < 2 * self.places.len() + 1024 {
            return;
        }
        let mut deadlines = std::mem::take(&mut self.deadlines);
        deadlines.retain(|Reverse((_, index, generation))| {
            self.is_waiting(ParkId { index: *index, generation: *generation })
        });
        self.deadlines = deadlines;
    }
}

//! Replies that wait for a watermark: one bounded ring for each promise.
//!
//! A reply is a small fixed record; no task, channel or allocation per message. Records are
//! appended in log order, so each ring is sorted by the position it waits for, and answering is
//! popping from the front until the watermark is reached.
//! Invariant: within a ring, `upto` never goes down.

use weir_wire::frame::Codec;
use weir_wire::message::ShortKey;

use crate::base::limits::PENDING_REPLIES_MAX;
use crate::commitlog::Watermarks;
use crate::measure::SideRings;
use crate::replica::Gate;

/// Who is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// The connection, as the server names it.
    pub connection: u64,
    /// The request's `opaque`.
    pub opaque: i32,
    /// Encoding of the reply's header.
    pub codec: Codec,
    /// Nobody is to be answered.
    pub oneway: bool,
    /// When the request was received, monotonic nanoseconds: its deadlines count from there.
    pub born_ns: u64,
}

/// What the reply says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// SEND family: where the message (or the first of a batch) stands.
    Sent {
        /// Queue number in the topic.
        queue_id: i32,
        /// Queue offset of the first message.
        queue_offset: u64,
        /// Log position of the first message.
        position: u64,
        /// Messages.
        count: u32,
        /// Bytes of the first record.
        len: u32,
        /// UNIQ_KEY of a single message, when it is short enough to be carried.
        key: ShortKey,
    },
    /// Success without a body.
    Done,
    /// SEND family: stored as [`Answer::Sent`] says, with a promise that is less than asked for.
    Less {
        /// What is missing of it.
        lack: Lack,
        /// See [`Answer::Sent`].
        queue_id: i32,
        /// See [`Answer::Sent`].
        queue_offset: u64,
        /// See [`Answer::Sent`].
        position: u64,
        /// See [`Answer::Sent`].
        count: u32,
        /// See [`Answer::Sent`].
        len: u32,
    },
    /// In the log, with a promise that is less than asked for; not a message.
    Late(Lack),
    /// The log failed while the reply waited: outcome unknown.
    Failed,
    /// The primary lost its lease while the reply waited: outcome unknown.
    Fenced,
}

/// What is missing of a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Not on the device within `syncFlushTimeout`.
    Device,
    /// Not with the standby within `slaveTimeout`.
    Standby,
    /// Kept as asked for, but here only: the primary goes on alone.
    Pair,
}

impl Answer {
    /// What is said when part of the promise is missing.
    fn lacking(self, lack: Lack) -> Answer {
        match self {
            Answer::Sent { queue_id, queue_offset, position, count, len, .. } => {
                Answer::Less { lack, queue_id, queue_offset, position, count, len }
            }
            // Nothing is wrong with a change that is made alone.
            Answer::Done if lack != Lack::Pair => Answer::Late(lack),
            other => other,
        }
    }
}

/// A reply whose time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Who is to be answered.
    pub waiter: Waiter,
    /// What is said.
    pub answer: Answer,
}

/// Which promise a reply waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Survives `kill -9` of the process.
    Staged,
    /// Survives a power cut.
    Durable,
}

/// A reply and the position it waits for.
#[derive(Clone, Copy, Debug)]
struct Held {
    upto: u64,
    ready: Ready,
}

/// Replies a ring has memory for when it is idle.
const RING_KEPT: usize = 1024;

/// Replies in log order; the first of them leaves first.
///
/// Not a `VecDeque`: its push moves the record through memory once more, in pieces other than it
/// was just written in, and such a read waits for every write before it, the message's body among
/// them. That was 7 % of a message's time.
#[derive(Debug)]
struct Ring {
    held: Vec<Held>,
    /// Of them, those that left.
    gone: usize,
}

impl Ring {
    fn new() -> Ring {
        Ring { held: Vec::with_capacity(RING_KEPT), gone: 0 }
    }

    fn len(&self) -> usize {
        self.held.len() - self.gone
    }

    fn front(&self) -> Option<&Held> {
        self.held.get(self.gone)
    }

    /// Inlined, so that the record is written where it stays.
    #[inline(always)]
    fn push(&mut self, held: Held) {
        let last = self.held.last().map_or(0, |last| last.upto);
        assert!(last <= held.upto, "replies wait in log order");
        self.held.push(held);
    }

    /// Moves replies to `out` for as long as `goes` says so, with what `says` makes of their
    /// answers; gives how many.
    fn leave(
        &mut self,
        out: &mut Vec<Ready>,
        goes: impl Fn(&Held) -> bool,
        says: impl Fn(Answer) -> Answer,
    ) -> usize {
        let waiting = self.held.get(self.gone..).unwrap_or(&[]);
        let leaving = waiting.iter().take_while(|held| goes(held));
        let before = out.len();
        out.extend(leaving.map(|held| Ready { answer: says(held.ready.answer), ..held.ready }));
        let left = out.len() - before;
        self.gone += left;
        // Moved down when more left than stay: each record is moved once at most, on average.
        if self.gone > self.held.len() / 2 {
            self.held.drain(..self.gone);
            self.gone = 0;
        }
        left
    }
}

/// The rings.
#[derive(Debug)]
pub(crate) struct Pending {
    staged: Ring,
    durable: Ring,
    /// The same replies, counted by turn, with their stamps.
    pub(crate) sides: SideRings,
}

impl Pending {
    /// Empty rings.
    pub(crate) fn new() -> Pending {
        Pending { staged: Ring::new(), durable: Ring::new(), sides: SideRings::default() }
    }

    /// Shrinks the rings to what they began with, if they hold less.
    pub(crate) fn give_back(&mut self) {
        self.staged.held.shrink_to(RING_KEPT);
        self.durable.held.shrink_to(RING_KEPT);
        self.sides.give_back();
    }

    /// Whether one more reply may wait.
    pub(crate) fn has_room(&self) -> bool {
        self.len() < PENDING_REPLIES_MAX
    }

    /// Replies waiting for either.
    pub(crate) fn len(&self) -> usize {
        self.staged.len() + self.durable.len()
    }

    /// Replies waiting for the device.
    pub(crate) fn durable_len(&self) -> usize {
        self.durable.len()
    }

    /// When the oldest reply was born that waits for nothing but the standby, which holds the log
    /// up to `bound`; `None`: none does.
    pub(crate) fn alone_since_ns(&self, marks: Watermarks, bound: u64) -> Option<u64> {
        let rings = [(&self.staged, marks.staged), (&self.durable, marks.durable)];
        let fronts = rings.into_iter().filter_map(|(ring, kept)| Some((ring.front()?, kept)));
        let alone = fronts.filter(|(front, kept)| front.upto > bound && front.upto <= *kept);
        alone.map(|(front, _)| front.ready.waiter.born_ns).min()
    }

    /// Adds a reply that waits until `promise` holds for everything below `upto`.
    #[inline(always)]
    pub(crate) fn push(&mut self, promise: Promise, upto: u64, waiter: Waiter, answer: Answer) {
        if waiter.oneway {
            return;
        }
        let (ring, side) = match promise {
            Promise::Staged => (&mut self.staged, &mut self.sides.staged),
            Promise::Durable => (&mut self.durable, &mut self.sides.durable),
        };
        side.push(upto);
        ring.push(Held { upto, ready: Ready { waiter, answer } });
    }

    /// Moves every reply whose promise holds to `out`, the pair's part in it included.
    pub(crate) fn collect(&mut self, marks: Watermarks, gate: Gate, out: &mut Vec<Ready>) {
        let bound = if let Gate::Both(upto) = gate { upto } else { u64::MAX };
        let (staged, durable) = (marks.staged.min(bound), marks.durable.min(bound));
        let says = |answer: Answer| match gate {
            Gate::Alone => answer.lacking(Lack::Pair),
            Gate::Open | Gate::Both(_) => answer,
        };
        let left = self.staged.leave(out, |held| held.upto <= staged, says);
        self.sides.staged.answered(left);
        let left = self.durable.leave(out, |held| held.upto <= durable, says);
        self.sides.durable.answered(left);
    }

    /// Moves every reply that waits for the standby, which holds the log up to `upto`, since
    /// `born_before_ns` or longer to `out`.
    pub(crate) fn expire_alone(&mut self, upto: u64, born_before_ns: u64, out: &mut Vec<Ready>) {
        let goes = |held: &Held| held.upto > upto && held.is_older(born_before_ns);
        self.leave(out, goes, |answer| answer.lacking(Lack::Standby));
    }

    /// Moves every reply that waits for the device since `born_before_ns` or longer to `out`,
    /// with the answer for that. Not for a log that failed: then nobody knows.
    pub(crate) fn expire(&mut self, born_before_ns: u64, out: &mut Vec<Ready>) {
        let goes = |held: &Held| held.is_older(born_before_ns);
        let left = self.durable.leave(out, goes, |answer| answer.lacking(Lack::Device));
        self.sides.durable.answered(left);
    }

    /// The primary has no lease. Moves every reply that waits since `born_before_ns` or longer to
    /// `out`, with the answer that nobody knows; the others may still be acknowledged.
    pub(crate) fn expire_fenced(&mut self, born_before_ns: u64, out: &mut Vec<Ready>) {
        self.leave(out, |held| held.is_older(born_before_ns), |_| Answer::Fenced);
    }

    /// The log failed: everybody who waits is told so.
    pub(crate) fn fail(&mut self, out: &mut Vec<Ready>) {
        for ring in [&mut self.staged, &mut self.durable] {
            ring.leave(out, |_| true, |_| Answer::Failed);
        }
        self.sides.staged.clear();
        self.sides.durable.clear();
    }

    /// [`Ring::leave`] of both rings.
    fn leave(
        &mut self,
        out: &mut Vec<Ready>,
        goes: impl Fn(&Held) -> bool,
        says: impl Fn(Answer) -> Answer,
    ) {
        let left = self.staged.leave(out, &goes, &says);
        self.sides.staged.answered(left);
        let left = self.durable.leave(out, &goes, &says);
        self.sides.durable.answered(left);
    }
}

impl Held {
    fn is_older(&self, born_before_ns: u64) -> bool {
        self.ready.waiter.born_ns <= born_before_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(opaque: i32) -> Waiter {
        Waiter { connection: 1, opaque, codec: Codec::Json, oneway: false, born_ns: opaque as u64 }
    }

    fn opaques(ready: &[Ready]) -> Vec<i32> {
        ready.iter().map(|ready| ready.waiter.opaque).collect()
    }

    #[test]
    fn a_reply_leaves_when_its_own_promise_holds_and_not_before() {
        let mut pending = Pending::new();
        pending.push(Promise::Staged, 10, waiter(1), Answer::Done);
        pending.push(Promise::Durable, 20, waiter(2), Answer::Done);
        pending.push(Promise::Staged, 30, waiter(3), Answer::Done);
        let mut out = Vec::new();
        pending.collect(Watermarks { appended: 30, staged: 29, durable: 19 }, Gate::Open, &mut out);
        assert_eq!(opaques(&out), [1]);
        pending.collect(Watermarks { appended: 30, staged: 30, durable: 20 }, Gate::Open, &mut out);
        assert_eq!(opaques(&out), [1, 3, 2]);
    }

    #[test]
    fn who_waits_too_long_for_the_device_is_told_so_and_staged_replies_never_are() {
        let mut pending = Pending::new();
        let (count, key) = (1, ShortKey::NONE);
        let sent = Answer::Sent { queue_id: 1, queue_offset: 2, position: 3, count, len: 4, key };
        pending.push(Promise::Staged, 5, waiter(1), sent);
        pending.push(Promise::Durable, 6, waiter(2), sent);
        pending.push(Promise::Durable, 7, waiter(3), Answer::Done);
        pending.push(Promise::Durable, 8, waiter(4), sent);
        let mut out = Vec::new();
        pending.expire(3, &mut out);
        assert_eq!(opaques(&out), [2, 3]);
        let Answer::Less { lack: Lack::Device, queue_offset: 2, position: 3, .. } = out[0].answer
        else {
            panic!("{:?}", out[0].answer);
        };
        assert_eq!(out[1].answer, Answer::Late(Lack::Device));
        pending.fail(&mut out);
        assert_eq!(opaques(&out), [2, 3, 1, 4], "after a failure nobody is told that");
        assert_eq!(out[3].answer, Answer::Failed);
    }

    #[test]
    fn with_a_pair_a_reply_waits_for_both_and_is_told_when_the_standby_does_not_come() {
        let mut pending = Pending::new();
        let (count, key) = (1, ShortKey::NONE);
        let sent = Answer::Sent { queue_id: 1, queue_offset: 2, position: 3, count, len: 4, key };
        pending.push(Promise::Staged, 10, waiter(1), sent);
        pending.push(Promise::Staged, 20, waiter(2), Answer::Done);
        pending.push(Promise::Staged, 30, waiter(3), sent);
        pending.push(Promise::Durable, 40, waiter(4), sent);
        let marks = Watermarks { appended: 50, staged: 50, durable: 35 };
        let mut out = Vec::new();
        assert_eq!(pending.alone_since_ns(marks, 10), None, "the first is answered in a moment");
        pending.collect(marks, Gate::Both(9), &mut out);
        assert_eq!(out, []);
        assert_eq!(pending.alone_since_ns(marks, 9), Some(1));
        let late = Watermarks { staged: 9, ..marks };
        assert_eq!(pending.alone_since_ns(late, 9), None, "its own promise does not hold yet");
        pending.collect(marks, Gate::Both(10), &mut out);
        pending.expire_alone(10, 2, &mut out);
        assert_eq!((opaques(&out), out[0].answer), (vec![1, 2], sent));
        assert_eq!(out[1].answer, Answer::Late(Lack::Standby));
        pending.collect(Watermarks { durable: 50, ..marks }, Gate::Alone, &mut out);
        assert_eq!(opaques(&out), [1, 2, 3, 4]);
        let alone = |answer| matches!(answer, Answer::Less { lack: Lack::Pair, .. });
        assert!(out[2..].iter().all(|ready| alone(ready.answer)), "never a silent success");
    }

    #[test]
    fn without_a_lease_nobody_is_acknowledged_and_who_waits_too_long_hears_that_nobody_knows() {
        let mut pending = Pending::new();
        pending.push(Promise::Staged, 5, waiter(1), Answer::Done);
        pending.push(Promise::Durable, 6, waiter(2), Answer::Done);
        pending.push(Promise::Staged, 7, waiter(3), Answer::Done);
        let mut out = Vec::new();
        pending.expire_fenced(2, &mut out);
        assert_eq!(opaques(&out), [1, 2]);
        assert!(out.iter().all(|ready| ready.answer == Answer::Fenced));
        let marks = Watermarks { appended: 7, staged: 7, durable: 7 };
        pending.collect(marks, Gate::Both(7), &mut out);
        assert_eq!((opaques(&out), out[2].answer), (vec![1, 2, 3], Answer::Done), "it came back");
    }

    #[test]
    fn a_failed_log_answers_everybody_and_oneway_senders_never() {
        let mut pending = Pending::new();
        pending.push(Promise::Durable, 5, waiter(7), Answer::Done);
        pending.push(Promise::Durable, 6, Waiter { oneway: true, ..waiter(8) }, Answer::Done);
        let mut out = Vec::new();
        pending.fail(&mut out);
        assert_eq!(opaques(&out), [7]);
        assert_eq!(out[0].answer, Answer::Failed);
    }
}

//! One shard's meter: what the loop tells it during a turn, and what becomes of that at its end.
//!
//! A turn's stamps are read by the server, four or five a turn: begun, handled, log driven, sent.
//! From them come the stages of every send the turn took in or answered, the turn's own length,
//! and who held the loop when it was too long.

use super::batches::{SideRings, Waits};
use super::counts::Counts;
use super::risk::Risk;
use super::sample::Sample;
use super::stages::{Stage, Stages};
use super::windows::Windows;

/// What held the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The part of the turn that took longest.
    pub part: &'static str,
    /// How long it took, nanoseconds.
    pub part_ns: u64,
    /// How long the whole turn took, nanoseconds.
    pub turn_ns: u64,
}

/// The meter.
#[derive(Debug)]
pub struct Meter {
    /// Everything recorded since the set was last taken.
    pub stages: Box<Stages>,
    /// Counters since the start.
    pub counts: Counts,
    /// Rates, minutes and days.
    pub windows: Windows,
    /// Acknowledged and not on the device.
    pub risk: Risk,
    /// The frame that is timed.
    pub sample: Sample,
    /// A turn longer than this is told, nanoseconds; 0: never.
    pub stall_limit_ns: u64,
    /// Sends wait for the standby, too.
    pub standby: bool,
    /// When requests handled now were received, nanoseconds.
    received_ns: u64,
    began_ns: u64,
    marked_ns: u64,
    longest: (&'static str, u64),
    sends: u64,
    pulls: u64,
    /// Refused sends until the last turn.
    refused: u64,
}

impl Meter {
    /// A meter that begins at this time.
    #[must_use]
    pub fn new(now_ns: u64, wall_ms: i64) -> Meter {
        Meter {
            stages: Box::default(),
            counts: Counts::default(),
            windows: Windows::new(now_ns, wall_ms),
            risk: Risk::default(),
            sample: Sample::default(),
            stall_limit_ns: 0,
            standby: false,
            received_ns: now_ns,
            began_ns: now_ns,
            marked_ns: now_ns,
            longest: ("", 0),
            sends: 0,
            pulls: 0,
            refused: 0,
        }
    }

    /// A turn begins.
    pub fn begin_turn(&mut self, now_ns: u64) {
        (self.began_ns, self.received_ns, self.marked_ns) = (now_ns, now_ns, now_ns);
        self.longest = ("", 0);
        self.sample.begin_turn();
    }

    /// Requests handled from now on were received at `ns` (frames that waited for room).
    pub fn received_at(&mut self, sides: &mut SideRings, ns: u64) {
        self.sends += u64::from(sides.staged.close(self.received_ns));
        self.sends += u64::from(sides.durable.close(self.received_ns));
        self.received_ns = ns;
    }

    /// A part of the turn ends.
    pub fn mark(&mut self, part: &'static str, now_ns: u64) {
        let span = now_ns.saturating_sub(self.marked_ns);
        if span > self.longest.1 {
            self.longest = (part, span);
        }
        self.marked_ns = now_ns;
    }

    /// All requests of the turn are handled.
    pub fn handled(&mut self, sides: &mut SideRings, now_ns: u64) {
        self.received_at(sides, self.began_ns);
        let (parse_ns, append_ns) = (self.sample.parse_ns, self.sample.append_ns);
        sides.staged.handled(now_ns, parse_ns, append_ns);
        sides.durable.handled(now_ns, parse_ns, append_ns);
        self.mark("requests", now_ns);
    }

    /// A message was stored: `count` of them in `len` bytes, `payload` of them bodies. `upto` is
    /// given when it is acknowledged from memory.
    #[inline]
    pub fn stored(&mut self, count: u32, len: u32, payload: usize, upto: Option<u64>) {
        self.counts.messages_in += u64::from(count);
        self.counts.bytes_in += u64::from(len);
        self.counts.payload_in += payload as u64;
        if let Some(upto) = upto {
            self.risk.taken(u64::from(count), u64::from(len), upto);
        }
    }

    /// A pull was answered, asked for at `asked_ns`, with so many records and bytes.
    pub fn pulled(&mut self, asked_ns: u64, held: bool, records: usize, bytes: u64) {
        let found = records > 0;
        self.counts.messages_out += records as u64;
        self.counts.bytes_out += bytes;
        self.counts.pulls_found += u64::from(found);
        self.counts.pulls_missed += u64::from(!found);
        if !held && asked_ns == self.began_ns {
            self.pulls += 1;
            return;
        }
        let span = self.marked_ns.saturating_sub(asked_ns);
        self.stages.record(if held { Stage::Parked } else { Stage::Pull }, span, 1);
        if !held {
            self.windows.pull_max_ns = self.windows.pull_max_ns.max(span);
        }
    }

    /// The turn ends at `now_ns`; `waiting` replies and `flying` writes are left. Gives what held
    /// the loop when that was longer than the limit.
    pub fn end_turn(
        &mut self,
        sides: &mut SideRings,
        now_ns: u64,
        waiting: usize,
        flying: usize,
    ) -> Option<Held> {
        self.mark("replies", now_ns);
        let Meter { stages, windows, .. } = self;
        let SideRings { staged, durable } = sides;
        for (ns, count) in staged.totals(now_ns).chain(durable.totals(now_ns)) {
            windows.put(ns, count);
        }
        let standby = self.standby;
        let waits = |device| Waits { device, standby };
        let answered = staged.record(stages, self.began_ns, now_ns, waits(false))
            + durable.record(stages, self.began_ns, now_ns, waits(true));
        let turn_ns = now_ns.saturating_sub(self.began_ns);
        stages.record(Stage::Turn, turn_ns, 1);
        let sends = std::mem::take(&mut self.sends);
        if sends > 0 {
            stages.record(Stage::TurnSends, sends, 1);
        }
        if sends + answered > 0 {
            stages.record(Stage::Pending, waiting as u64, 1);
            stages.record(Stage::InFlight, flying as u64, 1);
        }
        let refused = self.counts.sends_refused - self.refused;
        if refused > 0 {
            self.refused = self.counts.sends_refused;
            stages.record(Stage::Refused, turn_ns, refused);
        }
        let pulls = std::mem::take(&mut self.pulls);
        if pulls > 0 {
            stages.record(Stage::Pull, turn_ns, pulls);
            windows.pull_max_ns = windows.pull_max_ns.max(turn_ns);
        }
        let held = self.stall_limit_ns > 0 && turn_ns > self.stall_limit_ns;
        self.counts.stalls += u64::from(held);
        let (part, part_ns) = self.longest;
        held.then_some(Held { part, part_ns, turn_ns })
    }

    /// Everything recorded so far, in exchange for an empty set.
    pub fn take(&mut self, empty: Box<Stages>) -> Box<Stages> {
        std::mem::replace(&mut self.stages, empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_over_the_limit_names_the_part_that_held_it() {
        let (mut meter, mut sides) = (Meter::new(0, 0), SideRings::default());
        meter.stall_limit_ns = 100_000;
        meter.begin_turn(1_000);
        meter.handled(&mut sides, 2_000);
        meter.mark("log", 90_000);
        assert_eq!(meter.end_turn(&mut sides, 91_000, 0, 0), None);
        meter.begin_turn(100_000);
        meter.handled(&mut sides, 101_000);
        meter.mark("log", 300_000);
        let held = meter.end_turn(&mut sides, 301_000, 0, 0).unwrap();
        assert_eq!(held, Held { part: "log", part_ns: 199_000, turn_ns: 201_000 });
        assert_eq!(meter.counts.stalls, 1);
    }

    #[test]
    fn a_refusal_is_timed_from_the_turn_that_decided_it() {
        let (mut meter, mut sides) = (Meter::new(0, 0), SideRings::default());
        for turn in 0..3 {
            meter.begin_turn(turn * 100_000);
            meter.counts.sends_refused += u64::from(turn > 0);
            meter.end_turn(&mut sides, turn * 100_000 + 20_000, 0, 0);
        }
        let refused = meter.stages.of(Stage::Refused);
        assert_eq!(refused.len(), 2);
        assert!((refused.mean() - 20_000.0).abs() < 200.0, "{}", refused.mean());
    }

    #[test]
    fn frames_that_waited_for_room_are_received_when_they_began_to_wait() {
        let (mut meter, mut sides) = (Meter::new(0, 0), SideRings::default());
        meter.begin_turn(1_000_000);
        sides.staged.push(10);
        meter.received_at(&mut sides, 100_000);
        sides.staged.push(20);
        meter.handled(&mut sides, 1_100_000);
        sides.staged.answered(2);
        meter.end_turn(&mut sides, 1_100_000, 0, 0);
        let total = meter.stages.of(Stage::Total);
        assert_eq!(total.len(), 2);
        assert!((total.max() as f64 - 1_000_000.0).abs() < 10_000.0, "{}", total.max());
        assert!((total.min() as f64 - 100_000.0).abs() < 1_000.0, "{}", total.min());
    }

    #[test]
    fn taking_the_set_leaves_an_empty_one_and_the_counters() {
        let (mut meter, mut sides) = (Meter::new(0, 0), SideRings::default());
        meter.begin_turn(10);
        meter.stored(2, 300, 200, None);
        meter.end_turn(&mut sides, 20, 0, 0);
        let set = meter.take(Box::default());
        assert_eq!(set.of(Stage::Turn).len(), 1);
        assert!(meter.stages.of(Stage::Turn).is_empty());
        assert_eq!(meter.counts.messages_in, 2);
    }
}

//! The side ring: sends of one turn that wait for one promise, as one entry with shared stamps.
//!
//! It runs beside the ring of waiting replies and counts the same replies in the same order, so
//! answering `n` replies takes `n` from its front, whichever turns they came in. Entries are at
//! most as many as waiting replies, whose bound therefore holds here too.
//! Invariant: the counts of all entries add up to the replies in the ring beside it.

use std::collections::VecDeque;

use super::stages::{Stage, Stages};

/// Sends that share their stamps, in nanoseconds; 0: not yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Batch {
    count: u32,
    /// Time of one send's parsing and append, measured on one of the turn.
    parse_ns: u32,
    append_ns: u32,
    /// Position after the first send's record.
    first_upto: u64,
    received_ns: u64,
    handled_ns: u64,
    submitted_ns: u64,
    /// When the device had it, for sends that wait for the standby as well.
    kept_ns: u64,
}

/// What answered sends waited for, beside memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// For the device.
    pub device: bool,
    /// For the standby.
    pub standby: bool,
}

/// The side rings of both promises.
#[derive(Debug, Default)]
pub struct SideRings {
    /// Sends that wait for memory only.
    pub staged: Batches,
    /// Sends that wait for the device.
    pub durable: Batches,
}

/// Entries of a side ring whose memory is kept when it is quiet.
const KEPT: usize = 1024;

impl SideRings {
    /// Shrinks both rings, if they hold little.
    pub fn give_back(&mut self) {
        for side in [&mut self.staged, &mut self.durable] {
            side.closed.shrink_to(KEPT);
            side.answered.shrink_to(KEPT);
        }
    }
}

/// The side ring of one promise.
#[derive(Debug, Default)]
pub struct Batches {
    open: u32,
    open_first: u64,
    closed: VecDeque<Batch>,
    /// Entries at the back that are not handled yet.
    fresh: usize,
    /// Entries at the front that are submitted.
    submitted: usize,
    /// Of them, those that the device has, as far as it is noted.
    kept: usize,
    /// Taken out in this turn, to be recorded at its end.
    answered: Vec<Batch>,
}

impl Batches {
    /// One more reply waits, until everything below `upto` is kept.
    #[inline]
    pub fn push(&mut self, upto: u64) {
        if self.open == 0 {
            self.open_first = upto;
        }
        self.open += 1;
    }

    /// Sends pushed since the last call were received at `received_ns`. Gives their number.
    pub fn close(&mut self, received_ns: u64) -> u32 {
        let count = std::mem::take(&mut self.open);
        if count > 0 {
            let batch =
                Batch { count, first_upto: self.open_first, received_ns, ..Batch::default() };
            self.closed.push_back(batch);
            self.fresh += 1;
        }
        count
    }

    /// Everything closed since the last call was handled by `handled_ns`; one send's parsing and
    /// append took so long.
    pub fn handled(&mut self, handled_ns: u64, parse_ns: u32, append_ns: u32) {
        let fresh = std::mem::take(&mut self.fresh);
        for batch in self.closed.iter_mut().rev().take(fresh) {
            (batch.handled_ns, batch.parse_ns, batch.append_ns) = (handled_ns, parse_ns, append_ns);
        }
    }

    /// Everything below `upto` was handed to the device by `now_ns`. An entry counts as handed
    /// over when its first write is.
    pub fn submitted(&mut self, upto: u64, now_ns: u64) {
        while let Some(batch) = self.closed.get_mut(self.submitted) {
            if batch.first_upto > upto {
                break;
            }
            batch.submitted_ns = now_ns;
            self.submitted += 1;
        }
    }

    /// The device had everything below `upto` at `now_ns`; noted for sends that then wait for the
    /// standby. An entry counts by its first write, as in [`Batches::submitted`].
    pub fn kept(&mut self, upto: u64, now_ns: u64) {
        while let Some(batch) = self.closed.get_mut(self.kept) {
            if batch.first_upto > upto {
                break;
            }
            batch.kept_ns = now_ns;
            self.kept += 1;
        }
    }

    /// The oldest `count` replies have their watermark.
    pub fn answered(&mut self, count: usize) {
        let mut left = count as u64;
        while let Some(front) = self.closed.front_mut().filter(|_| left > 0) {
            let taken = left.min(u64::from(front.count)) as u32;
            self.answered.push(Batch { count: taken, ..*front });
            front.count -= taken;
            left -= u64::from(taken);
            if front.count == 0 {
                self.closed.pop_front();
                self.submitted = self.submitted.saturating_sub(1);
                self.kept = self.kept.saturating_sub(1);
                self.fresh = self.fresh.min(self.closed.len());
            }
        }
        // Pushed and answered without being closed between: nothing of the server does that.
        self.open = self.open.saturating_sub(left as u32);
    }

    /// Records what was answered since the last call. `seen_ns`: when the loop saw the watermark;
    /// `sent_ns`: when the replies were handed over.
    pub fn record(&mut self, stages: &mut Stages, seen_ns: u64, sent_ns: u64, waits: Waits) -> u64 {
        let mut count = 0;
        for batch in self.answered.drain(..) {
            let n = u64::from(batch.count);
            count += n;
            let handled_ns = batch.handled_ns.max(batch.received_ns);
            let handling = handled_ns - batch.received_ns;
            let parse = u64::from(batch.parse_ns).min(handling);
            let append = u64::from(batch.append_ns).min(handling - parse);
            stages.record(Stage::Receive, handling - parse - append, n);
            stages.record(Stage::Parse, parse, n);
            stages.record(Stage::Append, append, n);
            let waited = waits.device || waits.standby;
            let seen_ns = if waited { seen_ns.max(handled_ns) } else { handled_ns };
            // When its own promise held here; what is left of the wait is the standby's.
            let mut kept_ns = handled_ns;
            if waits.device {
                let submitted_ns = batch.submitted_ns.clamp(handled_ns, seen_ns);
                kept_ns = match batch.kept_ns {
                    0 => seen_ns,
                    noted_ns => noted_ns.clamp(submitted_ns, seen_ns),
                };
                stages.record(Stage::Gather, submitted_ns - handled_ns, n);
                stages.record(Stage::Device, kept_ns - submitted_ns, n);
                let total = sent_ns.saturating_sub(batch.received_ns);
                let outside = total.saturating_sub(seen_ns - submitted_ns);
                stages.record(Stage::Outside, outside, n);
            }
            if waits.standby || kept_ns < seen_ns {
                stages.record(Stage::Replica, seen_ns - kept_ns, n);
            }
            stages.record(Stage::Reply, sent_ns.saturating_sub(seen_ns), n);
            stages.record(Stage::Total, sent_ns.saturating_sub(batch.received_ns), n);
        }
        count
    }

    /// Total times answered since the last [`Batches::record`], with their counts.
    pub fn totals(&self, sent_ns: u64) -> impl Iterator<Item = (u64, u64)> {
        self.answered
            .iter()
            .map(move |b| (sent_ns.saturating_sub(b.received_ns), u64::from(b.count)))
    }

    /// Replies counted, answered ones aside.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.closed.iter().map(|batch| u64::from(batch.count)).sum::<u64>() + u64::from(self.open)
    }

    /// Forgets everything: the log failed.
    pub fn clear(&mut self) {
        *self = Batches::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: Waits = Waits { device: true, standby: false };

    #[test]
    fn what_the_standby_takes_longer_than_the_device_is_a_stage_of_its_own() {
        let (mut batches, mut stages) = (Batches::default(), Stages::default());
        let near = |stages: &Stages, stage, value: f64| {
            let mean = stages.of(stage).mean();
            assert!((mean - value).abs() <= value / 100.0, "{stage:?}: {mean}");
        };
        batches.push(10);
        batches.close(1_000);
        batches.handled(2_000, 100, 300);
        batches.submitted(10, 2_500);
        batches.kept(9, 5_000);
        batches.kept(10, 6_500);
        batches.answered(1);
        batches.record(&mut stages, 26_500, 27_000, Waits { device: true, standby: true });
        near(&stages, Stage::Device, 4_000.0);
        near(&stages, Stage::Replica, 20_000.0);
        near(&stages, Stage::Outside, 2_000.0);
        near(&stages, Stage::Reply, 500.0);
        let mut stages = Stages::default();
        batches.push(20);
        batches.close(1_000);
        batches.handled(2_000, 100, 300);
        batches.answered(1);
        batches.record(&mut stages, 12_000, 13_000, Waits { device: false, standby: true });
        near(&stages, Stage::Replica, 10_000.0);
        near(&stages, Stage::Reply, 1_000.0);
        assert!(stages.of(Stage::Device).is_empty());
    }

    #[test]
    fn sends_of_a_turn_share_stamps_and_are_recorded_when_their_part_is_answered() {
        let (mut batches, mut stages) = (Batches::default(), Stages::default());
        for upto in [10, 20, 30] {
            batches.push(upto);
        }
        batches.close(1_000);
        batches.handled(2_000, 100, 300);
        batches.submitted(30, 2_500);
        batches.push(40);
        batches.close(3_000);
        batches.handled(3_500, 50, 60);
        batches.answered(2);
        assert_eq!(batches.record(&mut stages, 12_500, 13_000, DEVICE), 2);
        assert_eq!(batches.waiting(), 2);
        let near = |stage, value: f64| {
            let mean = stages.of(stage).mean();
            assert!((mean - value).abs() <= value / 100.0, "{stage:?}: {mean}");
            assert_eq!(stages.of(stage).len(), 2, "{stage:?}");
        };
        near(Stage::Receive, 600.0);
        near(Stage::Parse, 100.0);
        near(Stage::Append, 300.0);
        near(Stage::Gather, 500.0);
        near(Stage::Device, 10_000.0);
        near(Stage::Outside, 2_000.0);
        near(Stage::Reply, 500.0);
        near(Stage::Total, 12_000.0);
        batches.submitted(40, 14_000);
        batches.answered(2);
        assert_eq!(batches.record(&mut stages, 20_000, 20_000, DEVICE), 2);
        assert_eq!(batches.waiting(), 0);
    }

    #[test]
    fn a_send_that_waits_for_no_device_has_neither_gather_nor_device() {
        let (mut batches, mut stages) = (Batches::default(), Stages::default());
        batches.push(5);
        batches.close(100);
        batches.handled(400, 1_000, 1_000);
        batches.answered(1);
        batches.record(&mut stages, 100, 900, Waits { device: false, standby: false });
        assert!(stages.of(Stage::Gather).is_empty() && stages.of(Stage::Device).is_empty());
        let sum: f64 = [Stage::Receive, Stage::Parse, Stage::Append, Stage::Reply]
            .iter()
            .map(|stage| stages.of(*stage).mean())
            .sum();
        assert!((sum - stages.of(Stage::Total).mean()).abs() < 16.0, "{sum}");
    }
}

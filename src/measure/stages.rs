//! One histogram for each stage, and the closed list of stages.
//!
//! Values keep two significant digits between 1 and [`HIGH`]; what is larger counts as [`HIGH`].
//! A set takes about half a mebibyte and never grows. Sets are recorded by one shard, then handed
//! over whole and added up elsewhere.

use hdrhistogram::Histogram;

/// Largest value kept: 120 s in nanoseconds, or as many bytes.
const HIGH: u64 = 120_000_000_000;
/// Significant decimal digits kept: values are right to 1 %.
const DIGITS: u8 = 2;

/// What a stage counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds.
    Nanoseconds,
    /// Bytes.
    Bytes,
    /// Things.
    Things,
}

macro_rules! stages {
    ($($(#[doc = $about:literal])+ $stage:ident = $name:literal, $unit:ident;)+) => {
        /// What is measured.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Stage { $($(#[doc = $about])+ $stage,)+ }

        /// Every stage, in the order of the tables.
        pub const STAGES: &[Stage] = &[$(Stage::$stage),+];

        impl Stage {
            /// Its name in metrics, logs and tables.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Stage::$stage => $name),+ }
            }

            /// What it counts.
            #[must_use]
            pub fn unit(self) -> Unit {
                match self { $(Stage::$stage => Unit::$unit),+ }
            }

            /// One sentence for the manual.
            #[must_use]
            pub fn about(self) -> &'static str {
                match self { $(Stage::$stage => concat!($($about),+).trim_ascii()),+ }
            }
        }
    };
}

stages! {
    /// A send in its turn's queue: from the turn's start until all is handled, less the next two.
    Receive = "receive", Nanoseconds;
    /// Frame and header of a send (one a turn is timed, and stands for the turn's others).
    Parse = "parse", Nanoseconds;
    /// Rules, the copy into the staging area and the index (timed like parse).
    Append = "append", Nanoseconds;
    /// A send that waits for the device: from handled until its write is submitted.
    Gather = "gather", Nanoseconds;
    /// A send that waits for the device: from submission until the loop sees it durable.
    Device = "device", Nanoseconds;
    /// A send that waits for the standby: from its promise kept here until the loop hears of it.
    Replica = "replica", Nanoseconds;
    /// From the watermark (handled, without a wait for the device) to the reply's submission.
    Reply = "reply", Nanoseconds;
    /// A send from end to end: the sum of those above.
    Total = "total", Nanoseconds;
    /// A send that waits for the device: total less device and replica.
    Outside = "outside", Nanoseconds;
    /// A refused send: from the start of the turn that decided until its reply is handed over.
    Refused = "refused", Nanoseconds;
    /// A pull that was answered without being held.
    Pull = "pull", Nanoseconds;
    /// A pull that was held until something came or its time was over.
    Parked = "parked", Nanoseconds;
    /// One read of old messages from the device.
    ColdRead = "cold_read", Nanoseconds;
    /// One write of the log, from submission until the loop sees it done.
    Write = "write", Nanoseconds;
    /// One flush (fdatasync) of the log, likewise.
    Flush = "flush", Nanoseconds;
    /// One turn of the loop, without the wait for events.
    Turn = "turn", Nanoseconds;
    /// Sends answered later that one turn took in.
    TurnSends = "turn_sends", Things;
    /// Bytes of one write of the log.
    WriteBytes = "write_bytes", Bytes;
    /// Replies waiting for a watermark, at the end of a turn that took or answered some.
    Pending = "pending", Things;
    /// Log writes in flight, at the same moments.
    InFlight = "in_flight", Things;
}

/// A histogram per stage.
#[derive(Clone, Debug)]
pub struct Stages {
    sets: Vec<Histogram<u64>>,
}

impl Default for Stages {
    fn default() -> Stages {
        Stages { sets: STAGES.iter().map(|_| empty()).collect() }
    }
}

/// An empty histogram of the form used everywhere.
pub(super) fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, HIGH, DIGITS)
        .unwrap_or_else(|_| unreachable!("the bounds are constants that fit"))
}

impl Stages {
    /// Counts `count` values of `value`.
    #[inline]
    pub fn record(&mut self, stage: Stage, value: u64, count: u64) {
        if let Some(set) = self.sets.get_mut(stage as usize) {
            set.saturating_record_n(value.min(HIGH), count);
        }
    }

    /// One stage's histogram.
    #[must_use]
    pub fn of(&self, stage: Stage) -> &Histogram<u64> {
        &self.sets[stage as usize]
    }

    /// Adds another set to this one.
    pub fn add(&mut self, other: &Stages) {
        for (into, from) in self.sets.iter_mut().zip(&other.sets) {
            if !from.is_empty() {
                // Both have the same bounds, so it fits.
                let _ = into.add(from);
            }
        }
    }

    /// Forgets everything counted.
    pub fn clear(&mut self) {
        for set in self.sets.iter_mut().filter(|set| !set.is_empty()) {
            set.reset();
        }
    }

    /// Whether sends or pulls were counted.
    #[must_use]
    pub fn has_traffic(&self) -> bool {
        [Stage::Total, Stage::Pull, Stage::Parked].iter().any(|stage| !self.of(*stage).is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_counts_in_its_own_histogram_and_values_beyond_the_end_count_as_the_end() {
        let mut stages = Stages::default();
        stages.record(Stage::Device, 1_000_000, 3);
        stages.record(Stage::Parked, u64::MAX, 1);
        assert_eq!(stages.of(Stage::Device).len(), 3);
        assert_eq!(stages.of(Stage::Reply).len(), 0);
        let mean = stages.of(Stage::Device).mean();
        assert!((mean - 1_000_000.0).abs() < 10_000.0, "{mean}");
        assert!(stages.of(Stage::Parked).max() >= HIGH);
        let mut sum = Stages::default();
        sum.add(&stages);
        sum.add(&stages);
        assert_eq!(sum.of(Stage::Device).len(), 6);
        assert!(sum.has_traffic());
        sum.clear();
        assert!(!sum.has_traffic() && sum.of(Stage::Device).is_empty());
    }

    #[test]
    fn the_sets_of_a_shard_fit_into_what_is_planned_for_them() {
        // Recorded, on its way, and the collector's three: total, recent, running.
        const SETS: usize = 5;
        let stages = Stages::default();
        let cells: usize = STAGES.iter().map(|stage| stages.of(*stage).distinct_values()).sum();
        let bytes = SETS * cells * size_of::<u64>();
        let planned = crate::base::limits::HISTOGRAM_MEMORY;
        assert!(bytes <= planned && bytes > planned / 2, "{bytes} of {planned}");
    }

    #[test]
    fn every_stage_has_a_name_of_its_own_and_stands_at_its_place() {
        for (at, stage) in STAGES.iter().enumerate() {
            assert_eq!(*stage as usize, at);
            assert!(STAGES[..at].iter().all(|other| other.name() != stage.name()));
            assert!(stage.about().ends_with('.'), "{}", stage.about());
        }
    }
}

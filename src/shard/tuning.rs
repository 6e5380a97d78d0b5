//! What may change while a shard runs: limits of back-pressure, disk marks, retention.
//!
//! Plain values from the configuration; the server hands new ones over by letter and the next
//! request is judged by them. Never: a value that something was sized by at start.

use crate::broker::PressureLimits;
use crate::config::HourSet;

/// Marks of the disk's fullness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskMarks {
    /// `diskMaxUsedSpaceRatio`: above, age decides at any hour, percent.
    pub clean_percent: u32,
    /// `diskSpaceCleanForciblyRatio`: above, the oldest segments leave, percent.
    pub forced_percent: u32,
    /// `diskSpaceWarningLevelRatio`: above, sends are refused, percent.
    pub full_percent: u32,
    /// `diskFreeClean`: less free bytes count as `forced_percent` reached.
    pub forced_free_bytes: u64,
    /// `diskFreeWarning`: less free bytes count as `full_percent` reached.
    pub full_free_bytes: u64,
    /// `cleanFileForciblyEnable`.
    pub forced: bool,
}

/// Bounds of one kind of request that waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimit {
    /// Requests that wait at once.
    pub capacity: u64,
    /// Longest wait, milliseconds.
    pub wait_ms: u64,
}

/// The values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// Back-pressure of sends.
    pub pressure: PressureLimits,
    /// `syncFlushTimeout`, milliseconds.
    pub sync_flush_timeout_ms: u64,
    /// PULL_MESSAGE.
    pub pulls: QueueLimit,
    /// LITE_PULL_MESSAGE.
    pub lite_pulls: QueueLimit,
    /// VIEW_MESSAGE_BY_ID and its like.
    pub queries: QueueLimit,
    /// Everything else.
    pub others: QueueLimit,
    /// Marks of the disk.
    pub disk: DiskMarks,
    /// `fileReservedTime`: messages older than this may leave, milliseconds.
    pub retention_age_ms: i64,
    /// The log's files may hold this many bytes; 0 is no bound.
    pub retention_bytes: u64,
    /// `deleteWhen`: hours at which age decides although the disk has room.
    pub delete_when: HourSet,
    /// `flushIntervalCommitLog`, milliseconds.
    pub flush_interval_ms: u64,
    /// `standbyLost = refuse`; only a pair goes by it.
    pub standby_lost_refuse: bool,
}

impl Default for Tuning {
    /// RocketMQ's defaults, but that nothing leaves by age.
    fn default() -> Tuning {
        Tuning {
            pressure: PressureLimits::default(),
            sync_flush_timeout_ms: 5000,
            pulls: QueueLimit { capacity: 100_000, wait_ms: 5000 },
            lite_pulls: QueueLimit { capacity: 100_000, wait_ms: 5000 },
            queries: QueueLimit { capacity: 20_000, wait_ms: 5000 },
            others: QueueLimit { capacity: 10_000, wait_ms: 5000 },
            disk: DiskMarks {
                clean_percent: 75,
                forced_percent: 85,
                full_percent: 90,
                forced_free_bytes: 0,
                full_free_bytes: 0,
                forced: true,
            },
            retention_age_ms: i64::MAX / 2,
            retention_bytes: 0,
            delete_when: HourSet::default(),
            flush_interval_ms: 500,
            standby_lost_refuse: true,
        }
    }
}

/// How full the disk is, as last seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskUse {
    /// Bytes of the file system.
    pub total_bytes: u64,
    /// Bytes an ordinary process may still use.
    pub free_bytes: u64,
}

impl DiskUse {
    /// Used part, percent; 0 before the first look.
    pub fn percent(&self) -> u32 {
        let used = u128::from(self.total_bytes.saturating_sub(self.free_bytes));
        (used * 100 / u128::from(self.total_bytes.max(1))) as u32
    }
}

impl DiskMarks {
    /// Sends are refused: the mark that was reached, as `limit, key`.
    pub fn full(&self, disk: &DiskUse) -> Option<(String, &'static str)> {
        if disk.total_bytes == 0 {
            None
        } else if disk.percent() >= self.full_percent {
            Some((format!("{} percent", self.full_percent), "diskSpaceWarningLevelRatio"))
        } else if disk.free_bytes < self.full_free_bytes {
            Some((format!("{} bytes free", self.full_free_bytes), "diskFreeWarning"))
        } else {
            None
        }
    }

    /// Age decides at any hour.
    pub fn pressed(&self, disk: &DiskUse) -> bool {
        disk.percent() >= self.clean_percent || self.wants_room(disk)
    }

    /// The oldest segments leave whatever their age.
    pub fn clears(&self, disk: &DiskUse) -> bool {
        self.forced && self.wants_room(disk)
    }

    fn wants_room(&self, disk: &DiskUse) -> bool {
        disk.total_bytes > 0
            && (disk.percent() >= self.forced_percent
                || disk.free_bytes < self.forced_free_bytes
                || self.full(disk).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(percent: u64) -> DiskUse {
        DiskUse { total_bytes: 1000, free_bytes: 1000 - 10 * percent }
    }

    #[test]
    fn each_mark_acts_from_its_ratio_on_and_not_below() {
        let marks = Tuning::default().disk;
        for (percent, pressed, clears, full) in [
            (74, false, false, false),
            (75, true, false, false),
            (84, true, false, false),
            (85, true, true, false),
            (89, true, true, false),
            (90, true, true, true),
        ] {
            let disk = used(percent);
            assert_eq!(marks.pressed(&disk), pressed, "{percent}");
            assert_eq!(marks.clears(&disk), clears, "{percent}");
            assert_eq!(marks.full(&disk).is_some(), full, "{percent}");
        }
        let kept = DiskMarks { forced: false, ..marks };
        assert!(!kept.clears(&used(95)) && kept.full(&used(95)).is_some());
    }

    #[test]
    fn free_bytes_count_as_well_as_the_ratio_and_the_mark_reached_is_named() {
        let ratio = Tuning::default().disk;
        let marks = DiskMarks { forced_free_bytes: 500, full_free_bytes: 200, ..ratio };
        assert!(!marks.clears(&used(50)) && marks.clears(&used(51)));
        assert_eq!(marks.full(&used(80)), None);
        assert_eq!(marks.full(&used(81)), Some(("200 bytes free".into(), "diskFreeWarning")));
        let (limit, key) = marks.full(&used(90)).unwrap();
        assert_eq!((limit.as_str(), key), ("90 percent", "diskSpaceWarningLevelRatio"));
        assert_eq!(marks.full(&DiskUse::default()), None, "before the first look");
    }
}

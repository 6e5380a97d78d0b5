//! What the device behind a directory did: the kernel's counts before and after.
//!
//! The counts are of the whole device, so neighbours show in them too; what one process read is
//! asked of `/proc/PID/io` instead (see `machine`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::facts::Mount;

/// `/proc/diskstats` counts sectors of this size, whatever the device's.
const SECTOR: u64 = 512;

/// A block device.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    /// Its name, such as `vda`.
    pub name: String,
    /// The folder with its queue's settings (of the whole disk, for a partition).
    pub queue: PathBuf,
}

/// Counts since boot.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DiskCounts {
    reads: u64,
    read_bytes: u64,
    writes: u64,
    written_bytes: u64,
    busy_ms: u64,
    flushes: u64,
}

/// What a device did during a run.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct DeviceUse {
    /// Bytes read.
    pub read_bytes: u64,
    /// Reads done.
    pub reads: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Writes done.
    pub writes: u64,
    /// Flushes done.
    pub flushes: u64,
    /// Share of the time with something in flight.
    pub busy_share: f64,
}

impl Disk {
    /// The device that holds `path`; an error when it is none (tmpfs, overlay).
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let mount = Mount::of(path)?;
        let folder = Path::new("/sys/dev/block").join(&mount.device);
        let folder = folder.canonicalize().map_err(|_| {
            io::Error::other(format!("{} lies on {}, no device", path.display(), mount.file_system))
        })?;
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let own = folder.join("queue");
        let queue = if own.exists() { own } else { folder.join("../queue") };
        Ok(Self { name, queue })
    }

    /// `major:minor` of the device that holds `path`; of the whole disk, for a partition, because
    /// that is what can be held to a rate.
    pub(crate) fn number(path: &Path) -> io::Result<String> {
        let disk = Self::of(path)?;
        let number = fs::read_to_string(disk.queue.join("../dev"))?;
        Ok(number.trim().to_owned())
    }

    /// Its counts now.
    pub(crate) fn counts(&self) -> io::Result<DiskCounts> {
        let text = fs::read_to_string("/proc/diskstats")?;
        for line in text.lines() {
            let mut fields = line.split_whitespace().skip(2);
            if fields.next() != Some(self.name.as_str()) {
                continue;
            }
            let fields: Vec<u64> = fields.filter_map(|field| field.parse().ok()).collect();
            let at = |i: usize| fields.get(i).copied().unwrap_or(0);
            return Ok(DiskCounts {
                reads: at(0),
                read_bytes: at(2) * SECTOR,
                writes: at(4),
                written_bytes: at(6) * SECTOR,
                busy_ms: at(9),
                flushes: at(15),
            });
        }
        Err(io::Error::other(format!("/proc/diskstats has no {}", self.name)))
    }
}

impl DiskCounts {
    /// What was done since `before`, in `seconds`.
    pub(crate) fn since(&self, before: &Self, seconds: f64) -> DeviceUse {
        DeviceUse {
            read_bytes: self.read_bytes.saturating_sub(before.read_bytes),
            reads: self.reads.saturating_sub(before.reads),
            written_bytes: self.written_bytes.saturating_sub(before.written_bytes),
            writes: self.writes.saturating_sub(before.writes),
            flushes: self.flushes.saturating_sub(before.flushes),
            busy_share: self.busy_ms.saturating_sub(before.busy_ms) as f64 / 1000.0 / seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_in_memory_has_no_device() {
        let error = Disk::of(Path::new("/proc")).unwrap_err().to_string();
        assert!(error.contains("no device"), "{error}");
    }

    #[test]
    fn use_is_the_difference_of_two_counts() {
        let before = DiskCounts { busy_ms: 1000, written_bytes: 5, ..DiskCounts::default() };
        let after = DiskCounts { busy_ms: 1500, written_bytes: 9, ..before };
        let used = after.since(&before, 2.0);
        assert_eq!((used.written_bytes, used.busy_share), (4, 0.25));
    }
}

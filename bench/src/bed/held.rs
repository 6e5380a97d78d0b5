//! The most memory that the brokers of a session held, against what they said they may.
//!
//! Each broker is looked at from outside, ten times a second on the generator's core, from its
//! start to its end; its limit is the `memoryMax` of its own table, which a control group lowers.
//! Never: a broker of another kind; a look that outlives its process.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::findings::{Ratio, Target};
use crate::machine;

/// From one look to the next.
const EVERY: Duration = Duration::from_millis(100);

/// What was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Bytes held and allowed, of the broker that came closest.
    most: Mutex<Option<(u64, u64)>>,
}

impl Held {
    /// Looks at broker `pid`, which says its table in `said`, until it ends.
    pub(super) fn watch(self: &Arc<Self>, pid: u32, said: PathBuf, core: usize) {
        let held = self.clone();
        thread::spawn(move || {
            // On another core it would still be right.
            let _ = weir_io::cpu::pin(core);
            let limit = fs::read_to_string(said).ok().and_then(|said| limit(&said));
            let staging = machine::staging_files(pid);
            let Some(limit) = limit else { return };
            // A process that ended and was not waited for has no memory.
            while let Ok(bytes @ 1..) = machine::held_bytes(pid, &staging) {
                held.see(bytes, limit);
                thread::sleep(EVERY);
            }
        });
    }

    fn see(&self, bytes: u64, limit: u64) {
        let Ok(mut most) = self.most.lock() else { return };
        let share = |(bytes, limit): (u64, u64)| bytes as f64 / limit as f64;
        if most.is_none_or(|most| share((bytes, limit)) > share(most)) {
            *most = Some((bytes, limit));
        }
    }

    /// The most over the limit; `None` when no broker was seen.
    pub(super) fn ratio(&self) -> Option<Ratio> {
        let (bytes, limit) = (*self.most.lock().ok()?)?;
        let pair = (bytes as f64, limit as f64);
        Ratio::of("memory held at most / memoryMax", "bytes", Some(Target::AtMost(1.0)), [pair])
    }
}

/// `memoryMax` as a broker's table says it, bytes.
fn limit(said: &str) -> Option<u64> {
    let mib: f64 = said.split_once("memoryMax ")?.1.split_once(" MiB")?.0.parse().ok()?;
    Some((mib * 1024.0 * 1024.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_the_table_s_and_the_closest_broker_counts() {
        let said = "memory-budget weir memoryMax 256.5 MiB for 1 shard(s), in MiB: fixed 5.0\n";
        assert_eq!(limit(said), Some(256 * 1024 * 1024 + 512 * 1024));
        assert_eq!(limit("no table"), None);
        let held = Held::default();
        assert!(held.ratio().is_none());
        for (bytes, limit) in [(50, 100), (90, 100), (100, 400), (80, 100)] {
            held.see(bytes, limit);
        }
        assert!((held.ratio().unwrap().ratio.median - 0.9).abs() < 1e-9);
    }
}

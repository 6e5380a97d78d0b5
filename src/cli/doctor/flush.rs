//! Whether the device honours a flush: what can be told, and what cannot.
//!
//! The kernel says whether the device has a cache that forgets; a clock says whether a flush takes
//! as long as one must. Whether the device tells the truth is seen by pulling its plug and by
//! nothing else, and that is said every time.
//! Never: a promise.

use serde_json::json;

use super::device::Speed;
use super::finding::{Finding, Verdict};

/// A flash cell takes longer to write; what answers sooner answers from memory.
const FLASH_US: f64 = 25.0;
/// Half a turn of a disk with 7,200 of them a minute.
const HALF_TURN_US: f64 = 4_000.0;

/// What `/sys` says of one disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Cache {
    /// The disk's name.
    pub(super) disk: String,
    /// `write back`, `write through`, or nothing.
    pub(super) cache: String,
    /// Whether a durable write is one command.
    pub(super) fua: bool,
    /// Whether it turns.
    pub(super) rotational: bool,
}

/// The finding for the disks behind the data directory.
pub(super) fn judge(disks: &[Cache], speed: Option<&Speed>, is_virtual: bool) -> Finding {
    let details = json!({
        "disks": disks.iter().map(|d| json!({
            "disk": d.disk, "cache": d.cache, "fua": d.fua, "rotational": d.rotational,
        })).collect::<Vec<_>>(),
        "flushP50Us": speed.map(|speed| speed.flush.p50_us),
    });
    let mut lines: Vec<String> = disks.iter().map(told).collect();
    let mut verdict = Verdict::Ready;
    if disks.is_empty() {
        verdict = Verdict::Unknown;
        lines.push("no disk is visible behind the data directory".to_owned());
    }
    let flushes = disks.iter().any(|disk| disk.cache == "write back");
    if let Some(flush) = speed.map(|speed| speed.flush) {
        lines.push(format!(
            "a flush behind a 4 KiB write takes {:.0} us (p50), {:.0} us (p99)",
            flush.p50_us, flush.p99_us
        ));
        let turns = !is_virtual && disks.iter().any(|disk| disk.rotational);
        if flushes && turns && flush.p50_us < HALF_TURN_US {
            verdict = Verdict::Warn;
            lines.push(
                "sooner than a disk turns: a cache with its own power, or none at all".into(),
            );
        } else if flushes && flush.p50_us < FLASH_US {
            verdict = Verdict::Warn;
            lines.push(
                "sooner than flash can be written: a cache with its own power (good), or \
                        flushes that go nowhere (acknowledged messages are lost with the power)"
                    .into(),
            );
        }
    }
    if is_virtual {
        lines.push(
            "a virtual machine: whether the flush reaches a device is its host's to know \
                    (disk cache mode not \"unsafe\")"
                .into(),
        );
    }
    lines.push(
        "cannot be known from here: whether the device tells the truth; only a power cut \
                under load shows it"
            .into(),
    );
    let finding = Finding::new("flush", verdict, lines.join("\n")).with(details);
    match verdict {
        Verdict::Warn => finding.mended_by(
            "look up the drive's power-loss protection, or pull its \
                                            plug under load (docs/durability.md)",
        ),
        _ => finding,
    }
}

fn told(disk: &Cache) -> String {
    let Cache { disk, cache, fua, .. } = disk;
    match (cache.as_str(), fua) {
        ("write back", true) => format!(
            "{disk}: has a cache that forgets; a durable write goes past it in one command (FUA)"
        ),
        ("write back", false) => {
            format!("{disk}: has a cache that forgets; the kernel flushes it behind durable writes")
        }
        ("write through", _) => format!(
            "{disk}: says it has no cache that forgets, so no flushes are sent; true of drives \
             with power-loss protection, and false when somebody wrote it into queue/write_cache"
        ),
        _ => format!("{disk}: does not tell of its cache"),
    }
}

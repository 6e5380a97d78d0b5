//! The data directory and what is under it: file system, space, direct I/O, speed, staging memory.
//!
//! Nothing is created: a data directory that is not there yet is judged by the folder that it would
//! be made in. Speed is only told, never a reason not to be ready.

use std::path::{Path, PathBuf};

use serde_json::json;
use weir_io::{Driver, Uring, UringOptions, probe};

use super::device::{self, Spread};
use super::finding::{Finding, Verdict};
use super::flush::{self, Cache};
use super::host;
use crate::cli::tune::{Facts, Tree};
use crate::config::Config;

/// Where staging files are.
const STAGING: &str = "/dev/shm";

/// Data directory, direct I/O, two sizes of writes, flush, staging: always these, in this order.
pub(super) fn look(
    tree: &Tree,
    facts: &Facts,
    config: &Config,
    shards: u16,
    may_write: bool,
) -> Vec<Finding> {
    let data = &config.store_path_root_dir;
    let dir = existing(data);
    let driver = Uring::new(UringOptions::default()).ok().map(|u| Driver::Uring(Box::new(u)));
    let (space, staging) = match driver {
        Some(mut driver) => {
            (driver.disk_space(&dir).ok(), driver.disk_space(Path::new(STAGING)).ok())
        }
        None => (None, None),
    };
    let direct = probe::probe_direct(&dir);
    let speed = match (&direct, may_write) {
        (_, false) => Err("not measured: --no-device".to_owned()),
        (Err(_), true) => Err("not measured: no direct I/O".to_owned()),
        (Ok(()), true) => device::measure(&dir),
    };
    let direct = match direct {
        Ok(()) => Finding::new("direct I/O", Verdict::Ready, "O_DIRECT in pieces of 4 KiB works"),
        Err(error) => Finding::new("direct I/O", Verdict::NotReady, error.to_string())
            .with(json!({ "exitCode": error.exit_code() })),
    };
    let caches: Vec<Cache> = facts.disks.iter().map(|disk| cache(tree, disk)).collect();
    let is_virtual = host::is_virtual(tree);
    vec![
        directory(data, &dir, facts, config, space),
        direct,
        writes("4 KiB writes", 4.0 / 1024.0, speed.as_ref().map(|speed| speed.small)),
        writes("256 KiB writes", 0.25, speed.as_ref().map(|speed| speed.large)),
        flush::judge(&caches, speed.as_ref().ok(), is_virtual),
        staging_room(config, shards, staging),
    ]
}

/// The nearest folder that is there.
fn existing(data: &Path) -> PathBuf {
    let data = std::path::absolute(data).unwrap_or_else(|_| data.to_owned());
    data.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

fn cache(tree: &Tree, disk: &str) -> Cache {
    let queue = |file: &str| tree.text(&format!("sys/block/{disk}/queue/{file}"));
    Cache {
        disk: disk.to_owned(),
        cache: queue("write_cache"),
        fua: queue("fua") == "1",
        rotational: queue("rotational") == "1",
    }
}

fn directory(
    data: &Path,
    dir: &Path,
    facts: &Facts,
    config: &Config,
    space: Option<(u64, u64)>,
) -> Finding {
    let gib = |bytes: u64| bytes as f64 / (1024.0 * 1024.0 * 1024.0);
    let shown = std::path::absolute(data).unwrap_or_else(|_| data.to_owned());
    let made = if shown == dir { "" } else { " (not there yet)" };
    let mut text = format!("{}{made}", shown.display());
    let kind = facts.mount.as_ref().map_or("", |mount| mount.kind.as_str());
    if let Some(mount) = &facts.mount {
        let disks = if facts.disks.is_empty() { "no disk".into() } else { facts.disks.join(", ") };
        text += &format!(", on {} at {} ({disks})", mount.kind, mount.point);
    }
    let mut percent = 0;
    if let Some((total, free)) = space {
        text += &format!("; {:.1} of {:.1} GiB free", gib(free), gib(total));
        percent = (total.saturating_sub(free) * 100).checked_div(total).unwrap_or(0);
    }
    let details = json!({
        "path": shown.display().to_string(), "exists": shown == dir, "fileSystem": kind,
        "disks": facts.disks, "totalBytes": space.map(|s| s.0), "freeBytes": space.map(|s| s.1),
    });
    let full = u64::from(config.disk_space_warning_level_percent);
    let finding = if matches!(kind, "tmpfs" | "ramfs") {
        let text = format!("{text}; this is memory, and gone with the power");
        Finding::new("data directory", Verdict::NotReady, text)
            .mended_by("--data on ext4 or XFS on a local disk")
    } else if percent >= full {
        let text = format!("{text}; {percent} % used, sends are refused from {full} %");
        Finding::new("data directory", Verdict::NotReady, text)
            .mended_by("make room, or raise diskSpaceWarningLevelRatio")
    } else if matches!(kind, "ext4" | "xfs") {
        Finding::new("data directory", Verdict::Ready, text)
    } else {
        let text = format!("{text}; weir is tested on ext4 and XFS");
        Finding::new("data directory", Verdict::Warn, text)
    };
    finding.with(details)
}

fn writes(topic: &'static str, mib: f64, spread: Result<Spread, &String>) -> Finding {
    match spread {
        Err(why) => Finding::new(topic, Verdict::Unknown, why.clone()),
        Ok(spread) => {
            let Spread { p50_us, p99_us, count } = spread;
            let rate = if p50_us > 0.0 { mib / p50_us * 1e6 } else { 0.0 };
            let text = format!(
                "durable, O_DIRECT, one at a time: p50 {p50_us:.0} us, p99 {p99_us:.0} us \
                 ({count} timed; {rate:.0} MiB/s at the p50)"
            );
            let details = json!({ "p50Us": p50_us, "p99Us": p99_us, "count": count });
            Finding::new(topic, Verdict::Ready, text).with(details)
        }
    }
}

/// Async messages survive `kill -9` only in memory that outlives the process.
fn staging_room(config: &Config, shards: u16, space: Option<(u64, u64)>) -> Finding {
    let needed = config.staging_size() * u64::from(shards);
    let mib = |bytes: u64| bytes / (1024 * 1024);
    let details = json!({ "neededBytes": needed, "freeBytes": space.map(|space| space.1) });
    let finding = match space {
        Some((_, free)) if free >= needed => {
            let text = format!("{STAGING}: {} MiB needed, {} free", mib(needed), mib(free));
            Finding::new("staging", Verdict::Ready, text)
        }
        Some((_, free)) => {
            let text = format!(
                "{STAGING}: {} MiB needed, {} free; ASYNC_FLUSH then acknowledges when a write is \
                 complete, which takes longer",
                mib(needed),
                mib(free)
            );
            Finding::new("staging", Verdict::Warn, text)
                .mended_by("mount a larger one (a container: --shm-size), or lower stagingSize")
        }
        None => Finding::new("staging", Verdict::Warn, format!("{STAGING} is not there")),
    };
    finding.with(details)
}

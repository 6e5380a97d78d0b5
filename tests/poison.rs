//! A record whose replay kills the process is set aside at the third start: no crash loop.
//!
//! The test runs itself as a second process that opens a shard on the real kernel; a fail point
//! ends it with SIGKILL while it folds a certain record, as an abort would.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use weir::broker::{BrokerOptions, GroupConfig, Meta};
use weir::commitlog::LogOptions;
use weir::shard::{Shard, ShardOptions, Tuning};
use weir_io::{Driver, Uring, UringOptions};

const DIR: &str = "WEIR_POISON_TEST_DIR";
/// Groups that the first life writes, one record each.
const GROUPS: usize = 3000;

fn options(dir: &Path) -> ShardOptions {
    let name = dir.file_name().unwrap().to_string_lossy().into_owned();
    ShardOptions {
        dir: dir.to_owned(),
        log: LogOptions {
            dir: dir.join("log"),
            shard: 0,
            shards: 1,
            new_log_id: 7,
            segment_bytes: 8 * 1024 * 1024,
            staging_name: format!("weir-{name}"),
            staging_bytes: 4 * 1024 * 1024,
            sync_flush: false,
            flush_interval_ms: 10,
            prepare_ahead: 256 * 1024,
            lock_patience_ms: 5000,
            serve_around: false,
        },
        broker: BrokerOptions::default(),
        index_memory_bytes: 4 * 1024 * 1024,
        planned_directories: usize::MAX,
        tuning: Tuning { flush_interval_ms: 10, ..Tuning::default() },
        replica: None,
        quiet: false,
    }
}

/// Opens the shard, writes groups when it is empty, and says which groups there are. Ends without
/// a clean stop, so that the next start folds the log.
#[test]
#[ignore = "run by the other test, in a process of its own"]
fn the_second_process() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    let mut driver = Driver::Uring(Box::new(Uring::new(UringOptions::default()).unwrap()));
    let (mut shard, report) = Shard::open(&mut driver, options(&dir)).unwrap();
    if shard.broker.catalog.group("group-0").is_none() {
        for n in 0..GROUPS {
            let meta = Meta::GroupPut(GroupConfig::new(&format!("group-{n}")));
            shard.change(&mut driver, meta).unwrap();
            shard.end_turn(&mut driver);
            let mut events = Vec::new();
            driver.wait(0, &mut events).unwrap();
            for event in events {
                shard.on_log_event(&mut driver, event);
            }
        }
    }
    let missing: Vec<String> = (0..GROUPS)
        .map(|n| format!("group-{n}"))
        .filter(|name| shard.broker.catalog.group(name).is_none())
        .collect();
    println!("\nstarted: {report}\nmissing: {}", missing.join(","));
}

fn start(dir: &Path, failpoint: Option<&str>) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "the_second_process", "--ignored", "--nocapture"]).env(DIR, dir);
    if let Some(failpoint) = failpoint {
        command.env("WEIR_FAILPOINT", failpoint);
    }
    command.output().unwrap()
}

fn line<'a>(text: &'a str, with: &str) -> Option<&'a str> {
    text.lines().find(|line| line.starts_with(with))
}

#[test]
fn a_record_whose_replay_kills_twice_is_set_aside_at_the_third_start_and_told_ever_after() {
    let binary = std::env::current_exe().unwrap();
    let dir = binary.with_extension(format!("poison-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let first = start(&dir, None);
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    for death in 1..=2 {
        let died = start(&dir, Some("fold-record:2500"));
        assert_eq!(died.status.signal(), Some(9), "death {death}: {died:?}");
    }
    let mut lost = Vec::new();
    for _ in 3..=4 {
        let begun = start(&dir, None);
        let (said, told) = (String::from_utf8_lossy(&begun.stdout), begun.stderr);
        let told = String::from_utf8_lossy(&told).into_owned();
        assert!(begun.status.success(), "{told}");
        assert!(line(&told, "record-set-aside").is_some(), "{told}");
        lost.push(line(&said, "missing: ").unwrap().to_owned());
    }
    assert!(lost[0].starts_with("missing: group-2") && !lost[0].contains(','), "{lost:?}");
    let name = lost[0].trim_start_matches("missing: ");
    let kept: Vec<_> = std::fs::read_dir(dir.join("set-aside")).unwrap().collect();
    assert_eq!(kept.len(), 1);
    let bytes = std::fs::read(kept[0].as_ref().unwrap().path()).unwrap();
    assert!(bytes.windows(name.len()).any(|window| window == name.as_bytes()), "its bytes");
    assert!(!dir.join("replaying").exists(), "nothing is remembered of a good start");
    std::fs::remove_dir_all(&dir).unwrap();
    let staging = dir.file_name().unwrap().to_string_lossy().into_owned();
    std::fs::remove_file(Path::new("/dev/shm").join(format!("weir-{staging}"))).unwrap();
}

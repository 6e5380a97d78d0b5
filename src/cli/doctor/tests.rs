//! The doctor on copied trees, and once for real on this machine's disk.
//!
//! Ports are those the system gives out; nothing is changed but a file without a name.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use super::command::examine;
use super::device::{Speed, Spread, measure};
use super::finding::{Finding, Verdict};
use super::flush::{self, Cache};
use super::host;
use crate::cli::tune::Tree;
use crate::config::Config;

fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("weir-doctor-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

fn tree(root: &Path, files: &[(&str, &str)]) -> Tree {
    for (path, text) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    Tree::new(root)
}

fn config(data: &Path) -> Config {
    Config { store_path_root_dir: data.to_owned(), ..Config::default() }
}

fn topics(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|finding| finding.topic).collect()
}

#[test]
fn a_laptop_a_container_and_a_server_are_told_the_same_topics_in_the_same_order() {
    let meminfo = ("proc/meminfo", "MemTotal: 16000000 kB\nMemAvailable: 8000000 kB\n");
    let boxes: [&[(&str, &str)]; 3] = [
        &[meminfo, ("sys/class/power_supply/BAT0/type", "Battery\n")],
        &[("run/.containerenv", ""), ("proc/cpuinfo", "flags\t: fpu hypervisor\n")],
        &[
            meminfo,
            ("proc/sys/vm/swappiness", "1\n"),
            ("proc/self/mountinfo", "22 1 8:0 / / rw,noatime - xfs /dev/sda rw\n"),
        ],
    ];
    let mut told = Vec::new();
    for (at, files) in boxes.into_iter().enumerate() {
        let root = folder(&format!("box{at}"));
        let findings = examine(&tree(&root, files), &config(&root.join("data")), false).unwrap();
        fs::remove_dir_all(&root).unwrap();
        assert!(findings.iter().all(|finding| !finding.line().is_empty()));
        told.push((topics(&findings), findings[0].text.clone()));
    }
    assert!(told.windows(2).all(|pair| pair[0].0 == pair[1].0), "{told:?}");
    assert!(told[0].1.contains("battery"), "{told:?}");
    assert!(told[1].1.contains("a container in a virtual machine"), "{told:?}");
    assert!(told[2].1.contains("neither"), "{told:?}");
}

#[test]
fn the_device_is_timed_within_seconds_and_no_file_is_left() {
    // The target folder lies on a disk; /tmp may be memory.
    let target = std::env::current_exe().unwrap();
    let dir = target.parent().unwrap().join(format!("doctor-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let began = std::time::Instant::now();
    let speed = measure(&dir).unwrap();
    let left = fs::read_dir(&dir).unwrap().count();
    fs::remove_dir_all(&dir).unwrap();
    assert!(began.elapsed().as_secs() < 30, "{:?}", began.elapsed());
    for spread in [speed.small, speed.large, speed.flush] {
        assert!(spread.count > 0 && spread.p50_us > 0.0 && spread.p99_us >= spread.p50_us);
    }
    assert_eq!(left, 0);
    assert!(measure(Path::new("/proc")).is_err());
}

#[test]
fn a_port_that_somebody_holds_is_not_ready_and_named_with_the_remedy() {
    let held = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = held.local_addr().unwrap().port();
    let config = Config {
        namesrv_listen_port: port,
        control_listen_port: Some(0),
        ..config(Path::new("weir-data"))
    };
    let finding = super::plan::ports(&config, 1);
    assert_eq!(finding.verdict, Verdict::NotReady);
    assert!(finding.text.contains(&format!("name server 127.0.0.1:{port}: taken")));
    assert!(finding.mend.unwrap().contains("namesrvListenPort"));
}

#[test]
fn the_ha_port_is_looked_at_and_so_is_the_primary_of_a_standby() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port();
    let mut config = Config {
        listen_port: port - 1,
        namesrv_listen_port: 1,
        control_listen_port: Some(0),
        broker_role: crate::config::BrokerRole::SyncMaster,
        is_standby: true,
        primary: vec![format!("127.0.0.1:{port}")],
        ..config(Path::new("weir-data"))
    };
    assert_eq!(config.shard_ha_port(0), Some(port));
    let ports = super::plan::ports(&config, 1);
    assert_eq!(ports.verdict, Verdict::NotReady);
    assert!(ports.text.contains(&format!("shard 0 HA 127.0.0.1:{port}: taken")), "{}", ports.text);
    assert_eq!(super::plan::primary(&config).unwrap().verdict, Verdict::Ready);
    drop(held);
    let away = super::plan::primary(&config).unwrap();
    assert_eq!(away.verdict, Verdict::Warn);
    assert!(away.text.contains("cannot be reached") && away.mend.is_some());
    config.is_standby = false;
    assert!(super::plan::primary(&config).is_none());
}

#[test]
fn data_in_memory_and_an_old_kernel_are_not_ready() {
    let root = folder("memory");
    let tree = tree(&root, &[("proc/self/mountinfo", "22 1 0:25 / / rw - tmpfs tmpfs rw\n")]);
    let findings = examine(&tree, &config(&root.join("data")), false).unwrap();
    fs::remove_dir_all(&root).unwrap();
    let data = findings.iter().find(|finding| finding.topic == "data directory").unwrap();
    assert_eq!(data.verdict, Verdict::NotReady, "{}", data.text);
    assert_eq!(host::kernel("5.10.0-8-amd64").verdict, Verdict::NotReady);
    assert_eq!(host::kernel("6.1.0").verdict, Verdict::Ready);
    assert_eq!(host::kernel("10.0-rc1").verdict, Verdict::Ready);
    assert_eq!(host::kernel("mystery").verdict, Verdict::Unknown);
}

#[test]
fn more_memory_than_the_box_has_and_too_many_shards_for_the_budget_are_not_ready() {
    let root = folder("small");
    let tree = tree(&root, &[("proc/meminfo", "MemTotal: 131072 kB\nMemAvailable: 65536 kB\n")]);
    let small = super::plan::memory(&tree, &config(&root), 1);
    assert_eq!(small.verdict, Verdict::NotReady, "{}", small.text);
    let tight = Config { memory_max_bytes: Some(16 << 20), ..config(&root) };
    let tight = super::plan::memory(&tree, &tight, 1);
    fs::remove_dir_all(&root).unwrap();
    assert!(tight.verdict == Verdict::NotReady && tight.text.contains("at least"), "{tight:?}");
}

#[test]
fn a_flush_that_is_too_fast_to_be_true_is_told_and_a_promise_is_never_made() {
    let disk = |cache: &str, rotational| Cache {
        disk: "sda".into(),
        cache: cache.into(),
        fua: true,
        rotational,
    };
    let speed = |flush_us| Speed {
        flush: Spread { p50_us: flush_us, p99_us: flush_us, count: 100 },
        ..Speed::default()
    };
    for (cache, turns, us, is_virtual, verdict) in [
        ("write back", false, 400.0, false, Verdict::Ready),
        ("write back", false, 9.0, false, Verdict::Warn),
        ("write back", true, 400.0, false, Verdict::Warn),
        ("write back", true, 9_000.0, false, Verdict::Ready),
        ("write back", true, 400.0, true, Verdict::Ready),
        ("write through", false, 3.0, false, Verdict::Ready),
    ] {
        let finding = flush::judge(&[disk(cache, turns)], Some(&speed(us)), is_virtual);
        assert_eq!(finding.verdict, verdict, "{}", finding.text);
        assert!(finding.text.contains("cannot be known from here"), "{}", finding.text);
    }
    assert_eq!(flush::judge(&[], None, false).verdict, Verdict::Unknown);
}

#[test]
fn what_consume_queues_would_lie_on_is_told_by_what_is_free_and_allowed() {
    const FREE: &str = "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";
    const TRANSPARENT: &str = "sys/kernel/mm/transparent_hugepage/enabled";
    for (name, files, verdict, words) in [
        ("no", vec![], Verdict::Unknown, "does not tell"),
        ("r", vec![(FREE, "23\n"), (TRANSPARENT, "[never]\n")], Verdict::Ready, "on reserved"),
        ("t", vec![(FREE, "22\n"), (TRANSPARENT, "[madvise]\n")], Verdict::Ready, "transparent"),
        ("p", vec![(FREE, "0\n"), (TRANSPARENT, "always [never]\n")], Verdict::Warn, "plain"),
    ] {
        let root = folder(&format!("pages-{name}"));
        let finding = super::plan::huge_pages(&tree(&root, &files), 46 << 20);
        fs::remove_dir_all(&root).unwrap();
        assert!(finding.verdict == verdict && finding.text.contains(words), "{finding:?}");
    }
}

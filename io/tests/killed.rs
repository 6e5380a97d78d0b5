//! What `kill -9` leaves behind: writes in flight, a lock, a port, staging memory.
//!
//! The test runs itself as a second process, kills it, and takes over as weir's start does: first
//! the lock on the log file, then the port, then the contents. Never: a fixed pause in place of
//! the lock.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use weir_io::{ALIGN, Buf, Driver, Event, File, OpenMode, Source, Token, Uring, UringOptions};

const FILE: &str = "WEIR_IO_TEST_FILE";
const PIECE: usize = 64 * 1024;
const PIECES: u64 = 64;
const DIRECT: OpenMode = OpenMode { create: true, write: true, direct: true };

fn driver() -> Driver {
    Driver::Uring(Box::new(Uring::new(UringOptions::default()).expect("a ring")))
}

fn staging_name(path: &Path) -> String {
    let name = path.file_name().expect("a name").to_string_lossy();
    format!("weir-io-{name}")
}

fn take_over(driver: &mut Driver, path: &Path) -> File {
    let file = driver.open(path, DIRECT).expect("the file");
    assert_eq!(driver.lock(file, Duration::from_secs(10)), Ok(true), "the lock");
    file
}

/// Writes for ever, a new byte in every round.
#[test]
#[ignore = "run by the other test, in a process of its own"]
fn the_second_process() {
    let Some(path) = std::env::var_os(FILE).map(PathBuf::from) else { return };
    let mut driver = driver();
    let file = take_over(&mut driver, &path);
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let (_, addr) = driver.listen(any, Duration::ZERO).expect("a port");
    let (mut region, survives) = driver.staging(&staging_name(&path), ALIGN).expect("staging");
    assert!(survives);
    println!("\nlistening on {addr}");
    let mut events = Vec::new();
    let mut in_flight = 0;
    for round in 0..u64::MAX {
        let mut buf = Buf::new(PIECE);
        buf.fill(round as u8);
        region.bytes_mut(0..8).copy_from_slice(&round.to_le_bytes());
        weir_io::failpoint::hit("test-round");
        let offset = round % PIECES * PIECE as u64;
        driver.write(file, offset, Source::Buf(buf), true, Token(round));
        in_flight += 1;
        while in_flight >= 8 {
            driver.wait(u64::MAX, &mut events).expect("a turn");
            in_flight -= events.len();
            for event in events.drain(..) {
                assert!(matches!(event, Event::Written { result: Ok(()), .. }), "{event:?}");
            }
        }
    }
}

fn start(path: &Path, failpoint: Option<&str>) -> (Child, SocketAddr) {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command.args(["--exact", "the_second_process", "--ignored", "--nocapture"]);
    command.env(FILE, path).stdout(Stdio::piped());
    if let Some(failpoint) = failpoint {
        command.env("WEIR_FAILPOINT", failpoint);
    }
    let mut child = command.spawn().expect("a second process");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let addr = loop {
        let line = lines.next().expect("it says where it listens").expect("text");
        if let Some(addr) = line.strip_prefix("listening on ") {
            break addr.parse().expect("an address");
        }
    };
    (child, addr)
}

#[test]
fn after_the_lock_is_had_the_file_no_longer_changes_and_the_port_is_free() {
    let binary = std::env::current_exe().expect("this test");
    let path = binary.with_extension(format!("killed-{}", std::process::id()));
    for round in 0..6 {
        let (mut child, addr) = start(&path, None);
        std::thread::sleep(Duration::from_millis(20 + 7 * round));
        child.kill().expect("kill -9");
        child.wait().expect("its end");
        let mut driver = driver();
        let file = take_over(&mut driver, &path);
        assert!(driver.listen(addr, Duration::from_secs(5)).is_ok(), "{addr} is free");
        let len = driver.file_len(file).expect("a length") as usize;
        let (mut first, mut second) = (Buf::new(len), Buf::new(len));
        driver.read_now(file, 0, &mut first).expect("a read");
        std::thread::sleep(Duration::from_millis(60));
        driver.read_now(file, 0, &mut second).expect("a read");
        assert!(len > 0 && first[..] == second[..], "the file changed after the lock was had");
        let (staging, _) = driver.staging(&staging_name(&path), ALIGN).expect("staging");
        assert_ne!(staging.bytes(0..8), [0; 8], "staging was written before the end");
        driver.staging_remove(&staging_name(&path)).expect("removed");
    }
    std::fs::remove_file(&path).expect("removed");
}

#[test]
fn an_armed_failpoint_is_a_kill_at_the_pass_that_was_asked_for() {
    let binary = std::env::current_exe().expect("this test");
    let path = binary.with_extension(format!("failpoint-{}", std::process::id()));
    let (mut child, _) = start(&path, Some("test-round:20"));
    let status = child.wait().expect("its end");
    assert_eq!(status.signal(), Some(9), "{status:?}");
    let mut driver = driver();
    take_over(&mut driver, &path);
    let (staging, survives) = driver.staging(&staging_name(&path), ALIGN).expect("staging");
    assert!(survives);
    assert_eq!(staging.bytes(0..8), 19_u64.to_le_bytes(), "the twentieth round had begun");
    driver.staging_remove(&staging_name(&path)).expect("removed");
    std::fs::remove_file(&path).expect("removed");
}

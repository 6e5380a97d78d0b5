//! Files on a real file system: direct writes, locks, staging.
//! What is never tolerated here: a short write reported as whole.

use std::path::Path;
use std::time::Duration;

use super::{Dir, Rig, pattern};
use crate::ALIGN;
use crate::buf::Buf;
use crate::driver::{Errno, Event, OpenMode, Source, Token};
use crate::region::Region;
use crate::service::StagingPlace;
use crate::uring::staging;

const WRITE: Token = Token(1);
const READ: Token = Token(2);
const SYNC: Token = Token(3);

const DIRECT: OpenMode = OpenMode { create: true, write: true, direct: true };
const BUFFERED: OpenMode = OpenMode { create: true, write: true, direct: false };

#[test]
fn direct_writes_from_both_sources_are_read_back() {
    let dir = Dir::new("direct");
    let mut rig = Rig::small();
    let file = rig.driver.open(&dir.0.join("log"), DIRECT).unwrap();
    rig.driver.allocate(file, 1 << 20).unwrap();
    assert_eq!(rig.driver.file_len(file), Ok(1 << 20));

    let text = pattern(1, 256 * 1024);
    let mut region = Region::anonymous(512 * 1024);
    region.bytes_mut(ALIGN..ALIGN + text.len()).copy_from_slice(&text);
    let slice = region.slice(ALIGN..ALIGN + text.len());
    rig.driver.write(file, 0, Source::Slice(slice), true, WRITE);
    let mut buf = Buf::new(ALIGN);
    buf.fill(0xEE);
    rig.driver.write(file, 512 * 1024, Source::Buf(buf), false, Token(9));
    let mut given_back = 0;
    for _ in 0..2 {
        match rig.next() {
            Event::Written { token: WRITE, buf: None, result: Ok(()) } => {}
            Event::Written { token: Token(9), buf: Some(buf), result: Ok(()) } => {
                given_back = buf.len();
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(given_back, ALIGN);
    rig.driver.sync(file, SYNC);
    assert!(matches!(rig.next(), Event::Synced { token: SYNC, result: Ok(()) }));

    rig.driver.read(file, 0, Buf::new(1 << 20), READ);
    match rig.next() {
        Event::Read { token: READ, buf, result } => {
            assert_eq!(result, Ok(1 << 20));
            assert!(buf[..text.len()] == text, "the bytes differ");
            assert!(buf[512 * 1024..512 * 1024 + ALIGN].iter().all(|byte| *byte == 0xEE));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_read_over_the_end_gives_what_is_there() {
    let dir = Dir::new("end");
    let mut rig = Rig::small();
    let path = dir.0.join("short");
    std::fs::write(&path, pattern(2, ALIGN + 100)).unwrap();
    for mode in [DIRECT, BUFFERED] {
        let file = rig.driver.open(&path, mode).unwrap();
        for (offset, expected) in [(0, ALIGN + 100), (ALIGN as u64, 100), (1 << 20, 0)] {
            rig.driver.read(file, offset, Buf::new(4 * ALIGN), READ);
            match rig.next() {
                Event::Read { result, .. } => assert_eq!(result, Ok(expected), "at {offset}"),
                other => panic!("{other:?}"),
            }
            let mut buf = Buf::new(4 * ALIGN);
            assert_eq!(rig.driver.read_now(file, offset, &mut buf), Ok(expected));
        }
        rig.driver.close_file(file);
    }
}

#[test]
fn unaligned_direct_writes_and_writes_to_a_full_device_fail_with_their_buffer() {
    let dir = Dir::new("fail");
    let mut rig = Rig::small();
    let file = rig.driver.open(&dir.0.join("log"), DIRECT).unwrap();
    rig.driver.write(file, 100, Source::Buf(Buf::new(ALIGN)), false, WRITE);
    match rig.next() {
        Event::Written { buf, result, .. } => {
            assert_eq!((buf.map(|buf| buf.len()), result), (Some(ALIGN), Err(Errno(libc::EINVAL))));
        }
        other => panic!("{other:?}"),
    }
    let mode = OpenMode { create: false, write: true, direct: false };
    let full = rig.driver.open(std::path::Path::new("/dev/full"), mode).unwrap();
    rig.driver.write(full, 0, Source::Buf(Buf::new(ALIGN)), false, WRITE);
    match rig.next() {
        Event::Written { result, .. } => assert_eq!(result, Err(Errno::NO_SPACE)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn operations_of_a_closed_file_still_end_and_its_slot_is_used_again() {
    let dir = Dir::new("close");
    let mut rig = Rig::small();
    let path = dir.0.join("log");
    let file = rig.driver.open(&path, DIRECT).unwrap();
    for index in 0..40 {
        let buf = Buf::new(64 * 1024);
        rig.driver.write(file, index * 64 * 1024, Source::Buf(buf), true, Token(index));
    }
    rig.driver.close_file(file);
    assert_eq!(rig.driver.file_len(file), Err(Errno(libc::EBADF)));
    let other = rig.driver.open(&dir.0.join("other"), DIRECT).unwrap();
    assert_ne!(file, other, "the slot is taken until the writes have ended");
    for _ in 0..40 {
        assert!(matches!(rig.next(), Event::Written { result: Ok(()), .. }));
    }
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 40 * 64 * 1024);
    let again = rig.driver.open(&path, DIRECT).unwrap();
    assert_eq!(again, file);
    assert_eq!(rig.uring().disk_in_flight, 0);
}

#[test]
fn more_operations_than_the_queue_has_entries_all_end() {
    let dir = Dir::new("many");
    let mut rig = Rig::small();
    let file = rig.driver.open(&dir.0.join("log"), DIRECT).unwrap();
    rig.driver.allocate(file, 1000 * ALIGN as u64).unwrap();
    for index in 0..1000_u64 {
        let mut buf = Buf::new(ALIGN);
        buf.fill(index as u8);
        rig.driver.write(file, index * ALIGN as u64, Source::Buf(buf), false, Token(index));
    }
    let mut seen = vec![false; 1000];
    for _ in 0..1000 {
        match rig.next() {
            Event::Written { token, result: Ok(()), .. } => seen[token.0 as usize] = true,
            other => panic!("{other:?}"),
        }
    }
    assert!(seen.iter().all(|seen| *seen));
    let mut page = Buf::new(ALIGN);
    rig.driver.read_now(file, 777 * ALIGN as u64, &mut page).unwrap();
    assert!(page.iter().all(|byte| *byte == 777_u64 as u8));
}

#[test]
fn a_lock_is_exclusive_and_waited_for() {
    let dir = Dir::new("lock");
    let mut rig = Rig::small();
    let path = dir.0.join("log");
    let (first, second) =
        (rig.driver.open(&path, DIRECT).unwrap(), rig.driver.open(&path, DIRECT).unwrap());
    assert_eq!(rig.driver.lock(first, Duration::ZERO), Ok(true));
    let begun = std::time::Instant::now();
    assert_eq!(rig.driver.lock(second, Duration::from_millis(30)), Ok(false));
    assert!(begun.elapsed() >= Duration::from_millis(30));
    rig.driver.close_file(first);
    assert_eq!(rig.driver.lock(second, Duration::ZERO), Ok(true));

    let holder = std::fs::File::open(&path).unwrap();
    rig.driver.close_file(second);
    holder.lock().unwrap();
    let holding = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(40));
        drop(holder);
    });
    let third = rig.driver.open(&path, DIRECT).unwrap();
    assert_eq!(rig.driver.lock(third, Duration::from_secs(5)), Ok(true));
    holding.join().unwrap();
}

#[test]
fn names_are_listed_renamed_and_removed() {
    let dir = Dir::new("names");
    let mut rig = Rig::small();
    let deep = dir.0.join("a/b");
    rig.driver.create_dir(&deep).unwrap();
    rig.driver.create_dir(&deep).unwrap();
    for name in ["2", "1", "10"] {
        let file = rig.driver.open(&deep.join(name), BUFFERED).unwrap();
        rig.driver.write_now(file, 3, name.as_bytes()).unwrap();
        rig.driver.sync_now(file).unwrap();
        rig.driver.close_file(file);
    }
    rig.driver.create_dir(&deep.join("folder")).unwrap();
    assert_eq!(rig.driver.list(&deep).unwrap(), ["1", "10", "2"]);
    rig.driver.rename(&deep.join("10"), &deep.join("2")).unwrap();
    rig.driver.remove(&deep.join("1")).unwrap();
    rig.driver.sync_dir(&deep).unwrap();
    assert_eq!(rig.driver.list(&deep).unwrap(), ["2"]);
    assert_eq!(std::fs::read(deep.join("2")).unwrap(), b"\0\0\x0010");
    let missing = deep.join("missing");
    let mode = OpenMode { create: false, ..BUFFERED };
    assert_eq!(rig.driver.open(&missing, mode), Err(Errno(libc::ENOENT)));
    assert_eq!(rig.driver.list(&missing), Err(Errno(libc::ENOENT)));
    assert_eq!(rig.driver.remove(&missing), Err(Errno(libc::ENOENT)));
    let (total, free) = rig.driver.disk_space(&deep).unwrap();
    assert!(total >= free && free > 0);
}

#[test]
fn staging_memory_is_found_again_as_it_was_left() {
    let name = format!("weir-io-test-{}", std::process::id());
    let mut rig = Rig::small();
    let (mut region, survives) = rig.driver.staging(&name, 3 * ALIGN).unwrap();
    assert!(survives, "/dev/shm is a memory file system here");
    region.bytes_mut(ALIGN..ALIGN + 5).copy_from_slice(b"weir!");
    drop(region);
    drop(rig);
    let mut rig = Rig::small();
    let (region, _) = rig.driver.staging(&name, 3 * ALIGN).unwrap();
    assert_eq!(region.bytes(ALIGN..ALIGN + 5), b"weir!");
    // A longer area keeps its beginning; a write in flight keeps the memory.
    let (region, survives) = rig.driver.staging(&name, 64 * ALIGN).unwrap();
    assert_eq!((region.bytes(ALIGN..ALIGN + 5), region.len()), (&b"weir!"[..], 64 * ALIGN));
    assert!(survives);
    rig.driver.staging_remove(&name).unwrap();
    rig.driver.staging_remove(&name).unwrap();
    let (region, _) = rig.driver.staging(&name, 3 * ALIGN).unwrap();
    assert!(region.bytes(0..3 * ALIGN).iter().all(|byte| *byte == 0));
    rig.driver.staging_remove(&name).unwrap();
    assert!(rig.driver.staging("../etc", ALIGN).is_err());
}

#[test]
fn staging_says_when_it_would_not_survive_and_refuses_what_is_not_ours() {
    let dir = Dir::new("staging");
    let (region, survives) = staging::open(&dir.0, "area", ALIGN, None).unwrap();
    assert_eq!((survives, region.len()), (false, ALIGN), "a disk is not memory");
    assert!(!dir.0.join("area").exists(), "nothing is left behind");
    let missing = dir.0.join("missing");
    assert!(!staging::open(&missing, "area", ALIGN, None).unwrap().1);
    std::os::unix::fs::symlink("/etc/passwd", dir.0.join("link")).unwrap();
    assert_eq!(staging::open(&dir.0, "link", ALIGN, None).err(), Some(Errno(libc::ELOOP)));
    let too_much = 1 << 45;
    let name = format!("weir-io-large-{}", std::process::id());
    let shm = std::path::Path::new(staging::DIRECTORY);
    assert_eq!(staging::open(shm, &name, too_much, None).err(), Some(Errno(libc::ENOMEM)));
    assert!(!shm.join(&name).exists(), "nothing is left behind");
}

#[test]
fn staging_memory_that_a_manager_kept_is_used_unless_a_named_file_is_newer() {
    use std::os::unix::fs::FileExt;
    let shm = Path::new("/dev/shm");
    let name = format!("weir-kept-{}", std::process::id());
    let kept = shm.join(format!("{name}-old"));
    let left = std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(&kept);
    let left = left.unwrap();
    // A name that is gone, as RemoveIPC leaves it.
    std::fs::remove_file(&kept).unwrap();
    left.write_all_at(b"kept", 0).unwrap();
    let mut place = StagingPlace { store: None, name: name.clone(), left: Some(left) };
    let (region, survives) = staging::open(shm, &name, ALIGN, Some(&mut place)).unwrap();
    assert_eq!((region.bytes(0..4), survives), (&b"kept"[..], true));
    assert!(!shm.join(&name).exists(), "no second area beside it");
    std::fs::write(shm.join(&name), b"newer").unwrap();
    let found = staging::open(shm, &name, ALIGN, Some(&mut place)).unwrap().0.bytes(0..5).to_vec();
    staging::remove(shm, &name, Some(&mut place)).unwrap();
    assert_eq!(found, b"newer");
    assert!(place.left.is_none() && !shm.join(&name).exists());
}

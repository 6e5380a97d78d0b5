//! The promises of the simulated kernel, one test each: it must lose what nobody promised, keep
//! what somebody did, and do it again for the same seed.

mod disk;
mod net;
mod time;

use std::path::Path;

use super::{World, WorldOptions};
use crate::buf::Buf;
use crate::driver::{Driver, Errno, Event, File, OpenMode, Source, Token};

const DIRECT: OpenMode = OpenMode { create: true, write: true, direct: true };
const BUFFERED: OpenMode = OpenMode { create: true, write: true, direct: false };

/// A world with a directory `/d`.
fn world(seed: u64) -> World {
    let world = World::new(WorldOptions { seed, ..WorldOptions::default() });
    world.make_dir(Path::new("/d")).unwrap();
    world
}

/// A file of `pages` zeroed pages in `/d` that a power cut cannot take.
fn durable_file(driver: &mut Driver, name: &str, pages: u64) -> File {
    let file = driver.open(Path::new(name), DIRECT).unwrap();
    driver.allocate(file, pages * 4096).unwrap();
    driver.sync_now(file).unwrap();
    driver.sync_dir(Path::new("/d")).unwrap();
    file
}

/// A page full of `byte`.
fn page(byte: u8) -> Source {
    let mut buf = Buf::new(4096);
    buf.fill(byte);
    Source::Buf(buf)
}

/// Waits for `count` events.
fn collect(driver: &mut Driver, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    for _ in 0..10_000 {
        if events.len() >= count {
            return events;
        }
        driver.wait(u64::MAX, &mut events).unwrap();
    }
    panic!("{} events instead of {count}: {events:?}", events.len());
}

/// Writes a page and waits for it.
fn write_page(driver: &mut Driver, file: File, number: u64, byte: u8, durable: bool) {
    driver.write(file, number * 4096, page(byte), durable, Token(1));
    let events = collect(driver, 1);
    assert!(matches!(events[0], Event::Written { result: Ok(()), .. }), "{events:?}");
}

/// The first byte of each of `count` pages.
fn first_bytes(world: &World, name: &str, count: u64) -> Vec<u8> {
    (0..count)
        .map(|number| {
            let bytes = world.peek(Path::new(name), number * 4096, 1).unwrap();
            bytes.first().copied().unwrap_or(0)
        })
        .collect()
}

fn tokens(events: &[Event]) -> Vec<u64> {
    events
        .iter()
        .map(|event| match event {
            Event::Written { token, .. }
            | Event::Read { token, .. }
            | Event::Synced { token, .. }
            | Event::Chored { token, .. }
            | Event::Accepted { token, .. }
            | Event::Connected { token, .. }
            | Event::Received { token, .. }
            | Event::ReceiveEnded { token, .. }
            | Event::Filled { token, .. }
            | Event::Sent { token, .. } => token.0,
            Event::Woken => u64::MAX,
        })
        .collect()
}

const DEAD: Errno = Errno(libc::ESHUTDOWN);

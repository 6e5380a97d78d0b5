//! The bare device: writes or reads of one size at one depth, round and round in a written file.
//!
//! It is what everything else is held against, so it does nothing else: no checks, no framing,
//! buffers made beforehand. The file is unlinked when it is open.

use std::io;
use std::path::Path;

use weir_io::{ALIGN, Buf, Driver, Event, File, Source, Token};

use crate::ceiling::{DEPTH, WRITE_MAX, prepared_file};
use crate::ring;

/// Length of the file: more than a device's own cache gives back.
const FILE_BYTES: u64 = 256 * 1024 * 1024;
const FLUSH_NS: u64 = 500_000_000;

/// A file on the device, and buffers for it.
pub(crate) struct Device {
    /// A ring of its own: what the engine still has in the air must not end up here.
    driver: Driver,
    file: File,
    offset: u64,
    spare: Vec<Buf>,
    events: Vec<Event>,
}

/// Bytes per second of direct reads in sequence, on a core of its own thread.
pub(crate) fn reading(dir: &Path, core: usize, block: usize, seconds: f64) -> io::Result<f64> {
    on_core(core, || Device::new(dir)?.read(block, seconds))
}

/// Runs something on a thread that is pinned to a core; this thread stays where it is.
fn on_core<T: Send>(core: usize, run: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            weir_io::cpu::pin(core)?;
            run()
        });
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the device's thread died")))
    })
}

impl Device {
    /// Makes the file in `dir` and writes all of it once.
    pub(crate) fn new(dir: &Path) -> io::Result<Self> {
        let mut driver = ring::driver()?;
        let name = format!("raw-{:?}", std::thread::current().id());
        let file = prepared_file(&mut driver, &dir.join(name), FILE_BYTES)?;
        let spare = (0..DEPTH).map(|_| Buf::new(WRITE_MAX)).collect();
        Ok(Self { driver, file, offset: 0, spare, events: Vec::new() })
    }

    /// The place of the next `bytes`.
    fn next(&mut self, bytes: usize) -> u64 {
        if self.offset + bytes as u64 > FILE_BYTES {
            self.offset = 0;
        }
        let at = self.offset;
        self.offset += bytes as u64;
        at
    }

    /// Writes for some seconds; gives bytes per second. With `sync` each write waits for the
    /// device, else it is flushed every 500 ms.
    pub(crate) fn write(&mut self, bytes: usize, seconds: f64, sync: bool) -> io::Result<f64> {
        let bytes = checked(bytes)?;
        let start_ns = self.driver.now_ns();
        let until_ns = start_ns + (seconds * 1e9) as u64;
        let (mut flushed_ns, mut end_ns, mut writes) = (start_ns, start_ns, 0_u64);
        while self.spare.len() < DEPTH || self.driver.now_ns() < until_ns {
            while self.driver.now_ns() < until_ns
                && let Some(mut buf) = self.spare.pop()
            {
                buf.set_len(bytes);
                let at = self.next(bytes);
                self.driver.write(self.file, at, Source::Buf(buf), sync, Token(0));
            }
            self.driver.wait(u64::MAX, &mut self.events)?;
            for event in self.events.drain(..) {
                match event {
                    Event::Written { buf, result, .. } => {
                        result?;
                        self.spare.extend(buf);
                        writes += 1;
                    }
                    Event::Synced { result, .. } => result?,
                    _ => {}
                }
            }
            end_ns = self.driver.now_ns();
            if !sync && end_ns >= flushed_ns + FLUSH_NS {
                flushed_ns = end_ns;
                self.driver.sync(self.file, Token(1));
            }
        }
        Ok(writes as f64 * bytes as f64 / ((end_ns - start_ns) as f64 / 1e9))
    }

    /// Reads for some seconds; gives bytes per second.
    fn read(&mut self, bytes: usize, seconds: f64) -> io::Result<f64> {
        let bytes = checked(bytes)?;
        let start_ns = self.driver.now_ns();
        let until_ns = start_ns + (seconds * 1e9) as u64;
        let (mut end_ns, mut reads) = (start_ns, 0_u64);
        while self.spare.len() < DEPTH || self.driver.now_ns() < until_ns {
            while self.driver.now_ns() < until_ns
                && let Some(mut buf) = self.spare.pop()
            {
                buf.set_len(bytes);
                let at = self.next(bytes);
                self.driver.read(self.file, at, buf, Token(0));
            }
            self.driver.wait(u64::MAX, &mut self.events)?;
            for event in self.events.drain(..) {
                if let Event::Read { buf, result, .. } = event {
                    result?;
                    self.spare.push(buf);
                    reads += 1;
                }
            }
            end_ns = self.driver.now_ns();
        }
        Ok(reads as f64 * bytes as f64 / ((end_ns - start_ns) as f64 / 1e9))
    }
}

/// A size as the device takes it.
fn checked(bytes: usize) -> io::Result<usize> {
    let bytes = bytes.max(1).next_multiple_of(ALIGN);
    if bytes <= WRITE_MAX {
        return Ok(bytes);
    }
    Err(io::Error::other(format!("{bytes} bytes at once, limit {WRITE_MAX}")))
}

//! How fast the device is: single durable writes of two sizes, and flushes, for a short while.
//!
//! The file loses its name as soon as it is open, so nothing is left behind whatever happens. It
//! is written once before anything is timed. One request at a time: what is measured is how long
//! one caller waits. Through weir's own driver, as the log is.
//! Never: more than a few seconds or [`FILE_BYTES`], unless the device hangs in the first write.

use std::path::Path;
use std::time::{Duration, Instant};

use weir_io::{Buf, Driver, Event, File, OpenMode, Source, Token, Uring, UringOptions};

/// Length of the file.
const FILE_BYTES: u64 = 16 * 1024 * 1024;
const LARGE: usize = 256 * 1024;
const SMALL: usize = 4 * 1024;
/// Space that must be left on the disk to try at all.
const SPARE_BYTES: u64 = 4 * FILE_BYTES;
/// How long each of the three is measured.
const SPAN: Duration = Duration::from_millis(700);
/// How long the device may take for one request, and for the first writing of the file.
const PATIENCE: Duration = Duration::from_secs(5);

/// Latencies of one kind, microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Spread {
    /// Half of them took no longer.
    pub(super) p50_us: f64,
    /// 99 of 100 took no longer.
    pub(super) p99_us: f64,
    /// How many were timed.
    pub(super) count: usize,
}

/// What was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Speed {
    /// 4 KiB, `O_DIRECT`, durable.
    pub(super) small: Spread,
    /// 256 KiB, `O_DIRECT`, durable.
    pub(super) large: Spread,
    /// A flush behind a 4 KiB write.
    pub(super) flush: Spread,
}

/// Measures in `dir`. The error says why nothing could be measured.
pub(super) fn measure(dir: &Path) -> Result<Speed, String> {
    let uring = Uring::new(UringOptions::default()).map_err(|error| error.to_string())?;
    let mut bench = Bench { driver: Driver::Uring(Box::new(uring)), events: Vec::new() };
    let measured = bench.run(dir);
    if measured.is_err() {
        // Dropping the driver waits for what is in the air, and a hung device never ends it.
        std::mem::forget(bench);
    }
    measured
}

struct Bench {
    driver: Driver,
    events: Vec<Event>,
}

impl Bench {
    fn run(&mut self, dir: &Path) -> Result<Speed, String> {
        let failed = |what: &str| {
            let dir = dir.display().to_string();
            let what = what.to_owned();
            move |errno: weir_io::Errno| format!("cannot {what} in {dir}: {errno}")
        };
        let (_, free) = self.driver.disk_space(dir).map_err(failed("ask for space"))?;
        if free < SPARE_BYTES {
            return Err(format!("only {free} bytes are free in {}", dir.display()));
        }
        let path = dir.join(format!(".weir-doctor-{}", std::process::id()));
        let mode = OpenMode { create: true, write: true, direct: true };
        let file = self.driver.open(&path, mode).map_err(failed("create a file"))?;
        self.driver.remove(&path).map_err(failed("remove a file"))?;
        self.driver.allocate(file, FILE_BYTES).map_err(failed("reserve space"))?;
        let length = self.fill(file)?;
        let large = self.timed(file, length, LARGE, Kind::Durable)?;
        let small = self.timed(file, length, SMALL, Kind::Durable)?;
        let flush = self.timed(file, length, SMALL, Kind::Flush)?;
        self.driver.close_file(file);
        Ok(Speed { small, large, flush })
    }

    /// Writes the file once, or as much of it as a slow device manages. Gives its length.
    fn fill(&mut self, file: File) -> Result<u64, String> {
        let began = Instant::now();
        let mut buf = Some(Buf::new(LARGE));
        let mut at = 0;
        while at < FILE_BYTES && began.elapsed() < PATIENCE {
            buf = self.write(file, at, buf, true)?;
            at += LARGE as u64;
        }
        Ok(at)
    }

    fn timed(
        &mut self,
        file: File,
        length: u64,
        size: usize,
        kind: Kind,
    ) -> Result<Spread, String> {
        let mut buf = Some(Buf::new(size));
        let (began, mut at, mut took) = (Instant::now(), 0, Vec::new());
        while began.elapsed() < SPAN {
            let start = Instant::now();
            buf = self.write(file, at, buf, kind == Kind::Durable)?;
            match kind {
                Kind::Durable => took.push(start.elapsed()),
                Kind::Flush => {
                    let start = Instant::now();
                    self.flush(file)?;
                    took.push(start.elapsed());
                }
            }
            at = (at + size as u64) % length;
        }
        Ok(spread(took))
    }

    fn write(
        &mut self,
        file: File,
        at: u64,
        buf: Option<Buf>,
        durable: bool,
    ) -> Result<Option<Buf>, String> {
        let Some(buf) = buf else { return Err("a buffer did not come back".to_owned()) };
        self.driver.write(file, at, Source::Buf(buf), durable, Token(0));
        match self.next()? {
            Event::Written { buf, result, .. } => {
                result.map(|()| buf).map_err(|errno| format!("a write failed: {errno}"))
            }
            _ => Err("the ring answered something else".to_owned()),
        }
    }

    fn flush(&mut self, file: File) -> Result<(), String> {
        self.driver.sync(file, Token(0));
        match self.next()? {
            Event::Synced { result, .. } => {
                result.map_err(|errno| format!("a flush failed: {errno}"))
            }
            _ => Err("the ring answered something else".to_owned()),
        }
    }

    fn next(&mut self) -> Result<Event, String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let deadline = self.driver.now_ns() + PATIENCE.as_nanos() as u64;
            let waited = self.driver.wait(deadline, &mut self.events);
            waited.map_err(|errno| format!("the ring failed: {errno}"))?;
            if let Some(event) = self.events.pop() {
                return Ok(event);
            }
            if Instant::now() >= until {
                return Err(format!("the device did not answer within {PATIENCE:?}"));
            }
        }
    }
}

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Durable writes.
    Durable,
    /// The flush behind a plain write.
    Flush,
}

fn spread(mut took: Vec<Duration>) -> Spread {
    took.sort_unstable();
    let at = |part: f64| {
        let index = (took.len().saturating_sub(1) as f64 * part) as usize;
        took.get(index).map_or(0.0, |took| took.as_secs_f64() * 1e6)
    };
    Spread { p50_us: at(0.5), p99_us: at(0.99), count: took.len() }
}

//! weir's engine alone against the bare device, in turns.
//!
//! The engine appends records as fast as its staging ring takes them, with retention recycling
//! its segments; the device then gets writes of the same mean size at the same depth into extents
//! that were written before. Nothing is sent or parsed. The ratio is of bytes taken per second:
//! record bytes for the engine, all bytes for the device, so framing and padding count against
//! the engine.

use std::io;
use std::path::Path;

use clap::Args;
use weir::commitlog::{Log, LogOptions, Refusal, Retention, TOKEN_ROOM};
use weir_io::{ALIGN, Driver, Event};

use crate::bed::{BedArgs, Lengths, Session};
use crate::ceiling::WRITE_MAX;
use crate::device::Device;
use crate::findings::{Point, Ratio, Target};
use crate::machine;
use crate::ring;
use crate::spread::Spread;

/// Log files kept by retention while the engine runs.
const KEPT_BYTES: u64 = 1024 * 1024 * 1024;
const SEGMENT_BYTES: u64 = 256 * 1024 * 1024;
const STAGING_BYTES: usize = 16 * 1024 * 1024;
/// Retention looks this often, as a broker's housekeeping would.
const HOUSEKEEPING_NS: u64 = 50_000_000;
/// Kind of a log write in the token of its event, below the room in the top byte.
const KIND_WRITE: u64 = 1;

/// The engine alone.
#[derive(Args, Clone, Debug)]
pub(crate) struct AppendArgs {
    /// Where, how long, what is written where.
    #[command(flatten)]
    pub bed: BedArgs,
    /// Bytes of a record.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(16..=65_536))]
    pub record: u32,
    /// Wait for the device with every write (SYNC_FLUSH).
    #[arg(long)]
    pub sync: bool,
    /// In turns with the bare device, at the write size the engine was seen to use: the ratio.
    #[arg(long)]
    pub raw: bool,
    /// The device alone, with writes of this many bytes (a multiple of 4096).
    #[arg(long, conflicts_with = "raw", value_parser = write_size)]
    pub write_bytes: Option<usize>,
}

fn write_size(text: &str) -> Result<usize, String> {
    let bytes: usize = text.parse().map_err(|_| "not a number of bytes".to_owned())?;
    if bytes.is_multiple_of(ALIGN) && (ALIGN..=WRITE_MAX).contains(&bytes) {
        return Ok(bytes);
    }
    Err(format!("not a multiple of {ALIGN} up to {WRITE_MAX}"))
}

/// Runs the pairs and writes the report.
pub(crate) fn append(args: &AppendArgs) -> io::Result<()> {
    let lengths = args.bed.lengths(
        Lengths { seconds: 1.0, warmup: 0.0, rounds: 4 },
        Lengths { seconds: 5.0, warmup: 0.0, rounds: 8 },
        Lengths { seconds: 10.0, warmup: 0.0, rounds: 12 },
    );
    let halves = f64::from(lengths.rounds) * if args.raw { 2.0 } else { 1.0 };
    let planned = halves * lengths.seconds + if args.write_bytes.is_none() { 1.0 } else { 0.0 };
    let mut session = Session::begin(&args.bed, "append", planned)?;
    let dir = session.root.clone();
    let core = args.bed.server_core;
    // A thread of its own: what this one starts later must not inherit the core.
    std::thread::scope(|scope| {
        let work = scope.spawn(|| {
            weir_io::cpu::pin(core)?;
            match args.write_bytes {
                Some(bytes) => device_alone(args, &mut session, lengths, bytes),
                None => run(args, &mut session, lengths, &dir),
            }
        });
        work.join().unwrap_or_else(|_| Err(io::Error::other("the engine's thread died")))
    })?;
    session.finish(())
}

fn label(sync: bool) -> &'static str {
    if sync { "SYNC" } else { "ASYNC" }
}

fn device_point(args: &AppendArgs, round: u32, bytes: usize, bytes_per_s: f64) -> Point {
    Point {
        panel: format!("{}, {} KiB writes", label(args.sync), bytes / 1024),
        series: "device".to_owned(),
        step: "append".to_owned(),
        round,
        per_s: bytes_per_s / bytes as f64,
        bytes_per_s,
        ..Point::default()
    }
}

fn device_alone(
    args: &AppendArgs,
    session: &mut Session,
    lengths: Lengths,
    bytes: usize,
) -> io::Result<()> {
    let mut device = Device::new(&session.root)?;
    let mut rates = Vec::new();
    for round in 0..lengths.rounds {
        session.progress.doing(format!("device, round {round}"));
        let rate = device.write(bytes, lengths.seconds, args.sync)?;
        session.progress.done(lengths.seconds);
        session.keep(device_point(args, round, bytes, rate))?;
        rates.push(rate);
    }
    let median = Spread::of(rates.clone()).median;
    let figure = format!("device / its own median, {}", label(args.sync));
    let pairs = rates.into_iter().map(|rate| (rate, median));
    session.ratio(Ratio::of(figure, "bytes/s", None, pairs));
    Ok(())
}

fn run(args: &AppendArgs, session: &mut Session, lengths: Lengths, dir: &Path) -> io::Result<()> {
    let mut device = match args.raw {
        true => Some(Device::new(&session.root)?),
        false => None,
    };
    let mut driver = ring::driver()?;
    let mut engine = Engine::new(&mut driver, dir, args)?;
    engine.run(&mut driver, 1.0)?;
    session.progress.done(1.0);
    let mut pairs = Vec::new();
    for round in 0..lengths.rounds {
        session.progress.doing(format!("engine, round {round}"));
        let turn = engine.run(&mut driver, lengths.seconds)?;
        session.progress.done(lengths.seconds);
        let write_bytes = turn.mean_write_bytes.clamp(ALIGN, WRITE_MAX);
        session.keep(Point {
            panel: format!("{}, {} B records", label(args.sync), args.record),
            series: "engine".to_owned(),
            step: "append".to_owned(),
            round,
            per_s: turn.bytes_per_s / f64::from(args.record),
            bytes_per_s: turn.bytes_per_s,
            cpu_ns_per_message: Some(turn.cpu_ns_per_record),
            messages_per_write: Some(write_bytes as f64 / f64::from(args.record)),
            ..Point::default()
        })?;
        let Some(device) = &mut device else { continue };
        session.progress.doing(format!("device, round {round}"));
        let rate = device.write(write_bytes, lengths.seconds, args.sync)?;
        session.progress.done(lengths.seconds);
        session.keep(device_point(args, round, write_bytes, rate))?;
        pairs.push((turn.bytes_per_s, rate));
    }
    let figure = format!("engine append / device, {}, {} B records", label(args.sync), args.record);
    let target = args.sync.then_some(Target::AtLeast(0.85));
    session.ratio(Ratio::of(figure, "bytes/s", target, pairs));
    Ok(())
}

/// What one run of the engine gave.
struct Turn {
    bytes_per_s: f64,
    mean_write_bytes: usize,
    cpu_ns_per_record: f64,
}

struct Engine {
    log: Log,
    record: Vec<u8>,
    sync: bool,
    writes: u64,
    events: Vec<Event>,
    looked_ns: u64,
}

impl Engine {
    fn new(driver: &mut Driver, dir: &Path, args: &AppendArgs) -> io::Result<Self> {
        let options = LogOptions {
            dir: dir.join("log"),
            shard: 0,
            shards: 1,
            new_log_id: u64::from(std::process::id()) << 32 | driver.now_ns() & 0xFFFF_FFFF,
            segment_bytes: SEGMENT_BYTES,
            staging_name: format!("weir-bench-{}", std::process::id()),
            staging_bytes: STAGING_BYTES,
            sync_flush: args.sync,
            flush_interval_ms: 500,
            prepare_ahead: weir::base::limits::PREPARED_AHEAD,
            lock_patience_ms: 1000,
            serve_around: false,
        };
        // The staging memory is only needed while this process lives.
        let name = options.staging_name.clone();
        let opened = Log::open(driver, options, None, &mut |_, _, _| 0);
        driver.staging_remove(&name)?;
        let (log, _) = opened.map_err(|error| io::Error::other(error.to_string()))?;
        let mut record: Vec<u8> = (0..args.record).map(|i| i as u8).collect();
        record[..4].copy_from_slice(&args.record.to_be_bytes());
        Ok(Self { log, record, sync: args.sync, writes: 0, events: Vec::new(), looked_ns: 0 })
    }

    /// Bytes that the device has taken as this mode promises it.
    fn taken(&self) -> u64 {
        if self.sync { self.log.watermarks().durable } else { self.log.written() }
    }

    fn run(&mut self, driver: &mut Driver, seconds: f64) -> io::Result<Turn> {
        let start_ns = driver.now_ns();
        let until_ns = start_ns + (seconds * 1e9) as u64;
        let (taken, writes, cpu_ns) = (self.taken(), self.writes, machine::thread_cpu_ns()?);
        while driver.now_ns() < until_ns {
            // What waits goes to the device before new records cost time.
            self.log.drive(driver);
            driver.submit()?;
            self.append_all(driver)?;
            self.turn(driver, until_ns)?;
        }
        let elapsed = (driver.now_ns() - start_ns) as f64 / 1e9;
        let bytes = self.taken() - taken;
        let cpu_ns = machine::thread_cpu_ns()? - cpu_ns;
        let writes = (self.writes - writes).max(1);
        while !self.log.is_settled() {
            self.log.want_durable(self.log.watermarks().appended);
            self.turn(driver, driver.now_ns() + HOUSEKEEPING_NS)?;
        }
        Ok(Turn {
            bytes_per_s: bytes as f64 / elapsed,
            mean_write_bytes: ((bytes / writes) as usize).next_multiple_of(ALIGN),
            cpu_ns_per_record: cpu_ns as f64 / (bytes as f64 / self.record.len() as f64).max(1.0),
        })
    }

    fn append_all(&mut self, driver: &mut Driver) -> io::Result<()> {
        let record = &self.record;
        loop {
            let fill = |_, place: &mut [u8]| place.copy_from_slice(record);
            match self.log.append(driver, record.len(), 1, fill) {
                Ok(_) => {}
                Err(Refusal::Full) => return Ok(()),
                Err(Refusal::Fenced(errno)) => return Err(errno.into()),
            }
        }
    }

    fn turn(&mut self, driver: &mut Driver, deadline_ns: u64) -> io::Result<()> {
        self.log.publish();
        self.log.drive(driver);
        let now_ns = driver.now_ns();
        if now_ns >= self.looked_ns + HOUSEKEEPING_NS {
            self.looked_ns = now_ns;
            let rule = Retention {
                age_ms: 0,
                now_ms: 0,
                by_age: false,
                size_bytes: KEPT_BYTES,
                keep_from: u64::MAX,
                forced: false,
            };
            while self.log.expire(driver, rule)?.is_some() {}
        }
        let deadline_ns = deadline_ns.min(self.log.next_deadline_ns().unwrap_or(u64::MAX));
        driver.wait(deadline_ns, &mut self.events)?;
        for event in self.events.drain(..) {
            if let Event::Written { token, .. } = &event {
                let write = u64::from(TOKEN_ROOM) << 8 | KIND_WRITE;
                self.writes += u64::from(token.0 >> 48 == write);
            }
            self.log.on_event(driver, event);
        }
        Ok(())
    }
}

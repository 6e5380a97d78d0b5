//! weir's engine alone against the bare device, in turns.
//!
//! The engine appends records as fast as its staging ring takes them, with retention recycling
//! its segments; the device then gets writes of the same mean size at the same depth into extents
//! that were written before. Nothing is sent or parsed. The ratio is of bytes taken per second:
//! record bytes for the engine, all bytes for the device, so framing and padding count against
//! the engine.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use weir::commitlog::{Log, LogOptions, Refusal, Retention, TOKEN_ROOM};
use weir_io::{ALIGN, Buf, Driver, Event, File, Source, Token};

use crate::ceiling::{DEPTH, WRITE_MAX, prepared_file};
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
    /// Directory on the disk to measure; what is made in it is removed.
    #[arg(long)]
    pub dir: PathBuf,
    /// Bytes of a record.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(16..=65_536))]
    pub record: u32,
    /// Seconds of each half of a pair.
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Pairs of engine and device.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub pairs: u32,
    /// Wait for the device with every write (SYNC_FLUSH).
    #[arg(long)]
    pub sync: bool,
    /// Measure the device only, with writes of this many bytes.
    #[arg(long)]
    pub raw: Option<usize>,
    /// Core to run on.
    #[arg(long)]
    pub core: Option<usize>,
}

/// Findings, as one JSON line.
#[derive(Debug, Serialize)]
struct AppendReport {
    figure: &'static str,
    mode: &'static str,
    record_bytes: u32,
    mean_write_bytes: usize,
    depth: usize,
    /// Engine over device, by pair.
    ratio: Spread,
    records_per_s: Spread,
    device_bytes_per_s: Spread,
    /// Processor time of the engine for one record.
    cpu_ns_per_record: Spread,
}

/// Runs the pairs and prints the ratio; with `--raw` the device alone.
pub(crate) fn append(args: &AppendArgs) -> io::Result<()> {
    if let Some(core) = args.core {
        weir_io::cpu::pin(core)?;
    }
    let dir = args.dir.join(format!("weir-bench-append-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let result = run(args, &dir);
    std::fs::remove_dir_all(&dir)?;
    result
}

fn run(args: &AppendArgs, dir: &Path) -> io::Result<()> {
    let mode = if args.sync { "sync" } else { "async" };
    let mut device = Device::new(dir, args.sync)?;
    if let Some(write_bytes) = args.raw {
        let rates = (0..args.pairs)
            .map(|_| device.run(write_bytes, args.seconds))
            .collect::<io::Result<Vec<f64>>>()?;
        let spread = Spread::of(rates);
        let relative = spread.divided_by(spread.median);
        println!(
            "{}",
            serde_json::json!({
                "figure": "raw", "mode": mode, "write_bytes": write_bytes, "depth": DEPTH,
                "bytes_per_s": spread, "relative_to_median": relative,
            })
        );
        return Ok(());
    }
    let mut driver = ring::driver()?;
    let mut engine = Engine::new(&mut driver, dir, args)?;
    engine.run(&mut driver, args.seconds)?;
    let (mut ratios, mut records, mut bytes, mut cpu) = (vec![], vec![], vec![], vec![]);
    let mut mean_write_bytes = 0;
    for pair in 0..args.pairs {
        let turn = engine.run(&mut driver, args.seconds)?;
        mean_write_bytes = turn.mean_write_bytes.clamp(ALIGN, WRITE_MAX);
        let device_rate = device.run(mean_write_bytes, args.seconds)?;
        let ratio = turn.bytes_per_s / device_rate;
        eprintln!(
            "pair {pair}: engine {:.0} records/s, device {:.0} MiB/s by {} KiB: {ratio:.3}",
            turn.bytes_per_s / f64::from(args.record),
            device_rate / 1_048_576.0,
            mean_write_bytes / 1024
        );
        ratios.push(ratio);
        records.push(turn.bytes_per_s / f64::from(args.record));
        bytes.push(device_rate);
        cpu.push(turn.cpu_ns_per_record);
    }
    let report = AppendReport {
        figure: "append",
        mode,
        record_bytes: args.record,
        mean_write_bytes,
        depth: DEPTH,
        ratio: Spread::of(ratios),
        records_per_s: Spread::of(records),
        device_bytes_per_s: Spread::of(bytes),
        cpu_ns_per_record: Spread::of(cpu),
    };
    eprintln!("engine / device, {mode}: {}", report.ratio);
    println!("{}", serde_json::to_string(&report)?);
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

/// The bare device: writes of one size at one depth, round and round in a written file.
struct Device {
    /// A ring of its own: what the engine still has in the air must not end up here.
    driver: Driver,
    file: File,
    size: u64,
    offset: u64,
    sync: bool,
    spare: Vec<Buf>,
    events: Vec<Event>,
}

impl Device {
    fn new(dir: &Path, sync: bool) -> io::Result<Self> {
        let mut driver = ring::driver()?;
        let size = SEGMENT_BYTES;
        let file = prepared_file(&mut driver, &dir.join("raw"), size)?;
        let spare = (0..DEPTH).map(|_| Buf::new(WRITE_MAX)).collect();
        Ok(Self { driver, file, size, offset: 0, sync, spare, events: Vec::new() })
    }

    /// Bytes per second.
    fn run(&mut self, write_bytes: usize, seconds: f64) -> io::Result<f64> {
        let driver = &mut self.driver;
        let write_bytes = write_bytes.next_multiple_of(ALIGN);
        if write_bytes > WRITE_MAX {
            return Err(io::Error::other(format!("a write has at most {WRITE_MAX} bytes")));
        }
        let start_ns = driver.now_ns();
        let until_ns = start_ns + (seconds * 1e9) as u64;
        let mut flushed_ns = start_ns;
        let mut writes = 0_u64;
        let mut end_ns = start_ns;
        while self.spare.len() < DEPTH || driver.now_ns() < until_ns {
            while driver.now_ns() < until_ns
                && let Some(mut buf) = self.spare.pop()
            {
                buf.set_len(write_bytes);
                if self.offset + write_bytes as u64 > self.size {
                    self.offset = 0;
                }
                let source = Source::Buf(buf);
                driver.write(self.file, self.offset, source, self.sync, Token(0));
                self.offset += write_bytes as u64;
            }
            driver.wait(u64::MAX, &mut self.events)?;
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
            end_ns = driver.now_ns();
            if !self.sync && end_ns >= flushed_ns + 500_000_000 {
                flushed_ns = end_ns;
                driver.sync(self.file, Token(1));
            }
        }
        Ok(writes as f64 * write_bytes as f64 / ((end_ns - start_ns) as f64 / 1e9))
    }
}

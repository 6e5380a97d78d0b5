//! `weir-bench start`: how long weir needs from its process's first instruction to its ready line.
//!
//! It fills one data directory through the broker's own port, then measures by turns (a) a start
//! after a clean stop and (b) a start after `kill -9` with a given amount of log since the last
//! checkpoint, page caches dropped before each. For (b) the path of the next checkpoint is taken by
//! a directory, so that the broker cannot write one: that is the only thing it does to the broker.
//! The data directory is removed at the end. Never: a process looked up by name.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use crate::load::LoadReport;
use crate::machine;
use crate::spread::Spread;

/// How long a broker may need to end cleanly.
const END_PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of a stored bench message beyond its body, about.
const RECORD_EXTRA: u64 = 216;
const MIB: u64 = 1024 * 1024;

/// What `weir-bench start` is told.
#[derive(Args, Clone, Debug)]
pub(crate) struct StartArgs {
    /// The weir binary, a release build.
    #[arg(long, default_value = "target/release/weir")]
    pub weir: PathBuf,
    /// Directory on a real disk; a folder `weir-bench-start` is made in it and removed.
    #[arg(long)]
    pub dir: PathBuf,
    /// MiB of log before the first start is measured.
    #[arg(long, default_value_t = 10 * 1024)]
    pub log_mib: u64,
    /// MiB of log between the last checkpoint and the kill.
    #[arg(long, default_value_t = 1024)]
    pub tail_mib: u64,
    /// Queues.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub queues: u32,
    /// Body bytes of a message.
    #[arg(long, default_value_t = 1024)]
    pub body: usize,
    /// Starts of each kind.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Ports from here on.
    #[arg(long, default_value_t = 20_900)]
    pub port: u16,
    /// Further settings for the broker, key=value.
    #[arg(long = "set")]
    pub sets: Vec<String>,
}

/// One measured start.
#[derive(Clone, Debug, Serialize)]
struct Start {
    /// `clean` or `killed`.
    after: &'static str,
    /// Spawn to ready line, seconds.
    seconds: f64,
    /// Where the log ended, bytes of records.
    log_end: u64,
    /// Bytes of records since the last checkpoint.
    since_checkpoint: u64,
    /// Processor time of the broker until then, seconds.
    cpu_s: f64,
    /// Bytes the broker had read from and written to the device until then.
    read_bytes: u64,
    /// See `read_bytes`.
    write_bytes: u64,
    /// The same number of bytes of the log's newest files, read by `dd` right after, seconds.
    device_s: Option<f64>,
    /// What the broker said about its recovery.
    said: String,
}

/// Both spreads, as the last JSON line.
#[derive(Clone, Copy, Debug, Serialize)]
struct Summary {
    clean_stop_s: Spread,
    killed_s: Spread,
    queues: u32,
    log_bytes: u64,
    since_checkpoint_bytes: u64,
}

/// Fills, measures, prints and cleans up.
pub(crate) fn start(args: &StartArgs) -> io::Result<()> {
    let root = args.dir.join("weir-bench-start");
    fs::create_dir(&root)?;
    let measured = measure(args, &root);
    fs::remove_dir_all(&root)?;
    measured
}

fn measure(args: &StartArgs, root: &Path) -> io::Result<()> {
    let filled = fill(args, root, args.log_mib)?;
    let mut starts = Vec::new();
    let mut end = filled;
    for _ in 0..args.rounds {
        drop_caches()?;
        let (broker, begun) = Broker::start(args, root)?;
        record(&mut starts, "clean", &begun, end);
        broker.stop()?;
        let blocked = block_checkpoint(root)?;
        let before = fill_and_kill(args, root)?;
        drop_caches()?;
        let (broker, mut begun) = Broker::start(args, root)?;
        begun.device_s = Some(device(root, begun.read_bytes)?);
        end = record(&mut starts, "killed", &begun, before);
        fs::remove_dir(blocked)?;
        broker.stop()?;
    }
    tell(args, &starts)
}

/// Notes a start; gives where its log ended.
fn record(starts: &mut Vec<Start>, after: &'static str, begun: &Begun, checkpoint: u64) -> u64 {
    let start = Start {
        after,
        seconds: begun.seconds,
        log_end: begun.log_end,
        since_checkpoint: begun.log_end.saturating_sub(checkpoint),
        cpu_s: begun.cpu_s,
        read_bytes: begun.read_bytes,
        write_bytes: begun.write_bytes,
        device_s: begun.device_s,
        said: begun.said.clone(),
    };
    println!("{}", serde_json::to_string(&start).unwrap_or_default());
    let device = start.device_s.map_or(String::new(), |s| format!(", device alone {s:.3} s"));
    eprintln!(
        "{after:>7} {:.3} s, cpu {:.3} s, {} MiB read, {} MiB written{device}; {}",
        start.seconds,
        start.cpu_s,
        start.read_bytes / MIB,
        start.write_bytes / MIB,
        start.said
    );
    starts.push(start);
    begun.log_end
}

fn tell(args: &StartArgs, starts: &[Start]) -> io::Result<()> {
    let of = |after| starts.iter().filter(move |start| start.after == after);
    let seconds = |after| Spread::of(of(after).map(|start| start.seconds).collect());
    let summary = Summary {
        clean_stop_s: seconds("clean"),
        killed_s: seconds("killed"),
        queues: args.queues,
        log_bytes: of("clean").map(|start| start.log_end).min().unwrap_or(0),
        since_checkpoint_bytes: of("killed").map(|s| s.since_checkpoint).min().unwrap_or(0),
    };
    eprintln!("start after a clean stop, s: {}", summary.clean_stop_s);
    eprintln!("start after kill -9, s:      {}", summary.killed_s);
    println!("{}", serde_json::to_string(&summary)?);
    Ok(())
}

/// Sends about `mib` MiB of records, stops cleanly and gives the log's end.
fn fill(args: &StartArgs, root: &Path, mib: u64) -> io::Result<u64> {
    let (broker, _) = Broker::start(args, root)?;
    send(args, mib)?;
    broker.stop()?;
    let (broker, begun) = Broker::start(args, root)?;
    broker.stop()?;
    Ok(begun.log_end)
}

/// Sends the tail and kills the broker; gives the end of the log before it.
fn fill_and_kill(args: &StartArgs, root: &Path) -> io::Result<u64> {
    let (mut broker, begun) = Broker::start(args, root)?;
    send(args, args.tail_mib)?;
    broker.child.kill()?;
    broker.child.wait()?;
    Ok(begun.log_end)
}

/// Loads until at least `mib` MiB of records were acknowledged, with this program's own `load`.
fn send(args: &StartArgs, mib: u64) -> io::Result<()> {
    let each = args.body as u64 + RECORD_EXTRA;
    let mut bytes = 0;
    let mut seconds = 1.0;
    while bytes < mib * MIB {
        let output = Command::new(std::env::current_exe()?)
            .args(["load", "--quiet", "--warmup", "0", "--topic", "weir_start"])
            .args(["--broker", &format!("127.0.0.1:{}", args.port)])
            .args(["--queues", &args.queues.to_string(), "--body", &args.body.to_string()])
            .args(["--seconds", &format!("{seconds:.3}")])
            .stderr(Stdio::inherit())
            .output()?;
        let report: LoadReport = serde_json::from_slice(&output.stdout)?;
        if report.sent == 0 {
            return Err(io::Error::other("the broker takes nothing"));
        }
        bytes += report.handled * each;
        let rate = report.sent_per_s * each as f64;
        let left = (mib * MIB).saturating_sub(bytes) as f64;
        seconds = (left / rate).clamp(0.1, 30.0);
    }
    Ok(())
}

/// Puts a directory where the next checkpoint would be written.
fn block_checkpoint(root: &Path) -> io::Result<PathBuf> {
    let shard = root.join("data").join("shard-0");
    let written = |which: u32| -> io::Result<u64> {
        use std::os::unix::fs::FileExt;
        let mut position = [0; 8];
        match File::open(shard.join(format!("checkpoint.{which}"))) {
            Ok(file) => file.read_exact_at(&mut position, 24)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(u64::from_le_bytes(position))
    };
    let older = shard.join(format!("checkpoint.{}", u32::from(written(0)? > written(1)?)));
    match fs::remove_file(&older) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    fs::create_dir(&older)?;
    Ok(older)
}

/// Everything to the disk, then nothing of it left in memory. Needs root.
fn drop_caches() -> io::Result<()> {
    Command::new("sync").status()?;
    fs::write("/proc/sys/vm/drop_caches", "3")
}

/// Seconds that `dd` needs for about `bytes` of the newest segments, past the page cache.
fn device(root: &Path, bytes: u64) -> io::Result<f64> {
    let mut files = Vec::new();
    for entry in fs::read_dir(root.join("data").join("shard-0").join("log"))? {
        let entry = entry?;
        files.push((entry.path(), entry.metadata()?.len()));
    }
    files.retain(|(path, _)| path.extension().is_some_and(|ending| ending == "log"));
    files.sort();
    let began = Instant::now();
    let mut left = bytes;
    while let (Some((path, len)), true) = (files.pop(), left > 0) {
        let count = left.min(len).div_ceil(4 * MIB);
        let status = Command::new("dd")
            .args(["of=/dev/null", "bs=4M", "iflag=direct", "status=none"])
            .arg(format!("if={}", path.display()))
            .arg(format!("count={count}"))
            .status()?;
        if !status.success() {
            return Err(io::Error::other("dd failed"));
        }
        left = left.saturating_sub(len);
    }
    Ok(began.elapsed().as_secs_f64())
}

/// What `/proc/PID/io` counts under `name`.
fn io_bytes(pid: u32, name: &str) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io"))?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.ok_or_else(|| io::Error::other(format!("/proc/{pid}/io has no {name}")))
}

/// A running broker.
struct Broker {
    child: Child,
}

/// What a start gave.
struct Begun {
    seconds: f64,
    log_end: u64,
    cpu_s: f64,
    read_bytes: u64,
    write_bytes: u64,
    device_s: Option<f64>,
    said: String,
}

impl Broker {
    fn start(args: &StartArgs, root: &Path) -> io::Result<(Broker, Begun)> {
        let errors = root.join("stderr");
        let mut command = Command::new(&args.weir);
        command.arg("serve").arg("--data").arg(root.join("data"));
        let own = [
            "shards=1".to_owned(),
            format!("listenPort={}", args.port),
            format!("namesrvListenPort={}", args.port + 5),
            "brokerName=start".to_owned(),
            "brokerIP1=127.0.0.1".to_owned(),
        ];
        for set in own.iter().chain(&args.sets) {
            command.arg("--set").arg(set);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&errors)?);
        let began = Instant::now();
        let mut child = command.spawn()?;
        let mut line = String::new();
        let mut stdout = child.stdout.take().map(BufReader::new);
        if let Some(stdout) = &mut stdout {
            stdout.read_line(&mut line)?;
        }
        let seconds = began.elapsed().as_secs_f64();
        let said = fs::read_to_string(&errors)?;
        if !line.starts_with("weir ready") {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::other(format!("no ready line: {said}")));
        }
        let said = said.lines().find(|line| line.starts_with("recovered")).unwrap_or_default();
        let number = said.split("log ends at ").nth(1).unwrap_or("0");
        let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
        let pid = child.id();
        let threads = machine::threads_cpu_ns(pid)?;
        let begun = Begun {
            seconds,
            log_end: digits.parse().unwrap_or(0),
            cpu_s: threads.iter().map(|thread| thread.cpu_ns as f64 / 1e9).sum(),
            read_bytes: io_bytes(pid, "read_bytes:")?,
            write_bytes: io_bytes(pid, "write_bytes:")?,
            device_s: None,
            said: said.to_owned(),
        };
        Ok((Broker { child }, begun))
    }

    fn stop(mut self) -> io::Result<()> {
        Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status()?;
        let began = Instant::now();
        while self.child.try_wait()?.is_none() {
            if began.elapsed() > END_PATIENCE {
                return Err(io::Error::other("the broker does not end"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Ended already on every path but an error's.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! `cargo xtask fill`: a small disk is filled and freed again and again under a running broker.
//!
//! A loop device with a file system of its own holds the data. Each round a ballast file takes the
//! space: once most of it while a producer sends, once the last byte before it does. The producer
//! sends until it is refused with the disk's own text; meanwhile reads, offsets and the deletion of
//! a topic must go on; then the ballast goes and sends must be taken again within a second, without
//! a restart. At the end of every round each acknowledged message is read back. It needs root, and
//! fails without.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::small_disk::SmallDisk;
use crate::toolbox;

const DISK_BYTES: u64 = 256 * 1024 * 1024;
/// Space left beside the ballast that comes while the producer sends: below the mark of 10 %.
const LEFT_BYTES: u64 = 16 * 1024 * 1024;
/// The producer is given this long before the ballast comes.
const HEAD_START: Duration = Duration::from_millis(500);
const BODY_BYTES: usize = 16 * 1024;
/// More than this is not sent: a round must fit into what retention keeps.
const SENDS_MAX: usize = 3000;
/// Sends are taken again this soon after space has come back.
const RESUME_WITHIN: Duration = Duration::from_secs(1);
const SETS: [&str; 7] = [
    "flushDiskType=SYNC_FLUSH",
    "stagingSize=1MiB",
    "maxMessageSize=65536",
    "mappedFileSizeCommitLog=8MiB",
    "consumeQueueMemory=4MiB",
    "retentionSize=64MiB",
    "cleanFileForciblyEnable=false",
];
const TOPIC: &str = "fill";

/// What is asked for.
#[derive(clap::Args, Clone, Debug)]
pub struct Arguments {
    /// Rounds of filling and freeing
    #[arg(long, default_value_t = 20)]
    pub rounds: u32,
    /// A built broker; without it the release binary is built
    #[arg(long)]
    pub binary: Option<PathBuf>,
}

/// Runs the rounds; the words hold the counts.
pub fn check(arguments: &Arguments) -> Result<String, String> {
    let binary = toolbox::broker(arguments.binary.as_deref())?;
    let disk = SmallDisk::new("fill", DISK_BYTES)?;
    let mut broker = Broker::start(&binary, &disk.mount().join("data"), &SETS)?;
    let mut rig = Rig {
        binary,
        namesrv: format!("127.0.0.1:{}", broker.namesrv_port),
        ballast: disk.mount().join("ballast"),
        acknowledged: 0,
        lost: 0,
        slowest: Duration::ZERO,
    };
    let pid = broker.pid();
    let rounds = (0..arguments.rounds).try_for_each(|round| {
        rig.round(round, &disk).map_err(|why| {
            format!("fill: round {round}: {why}\nweir said:\n{}", broker.said().join("\n"))
        })
    });
    // An orderly end even so: a killed broker would leave its staging memory behind.
    let status = broker.stop()?;
    rounds?;
    if !status.success() {
        return Err(format!("fill: weir (process {pid}) ended with {status}"));
    }
    let Rig { acknowledged, lost, slowest, .. } = rig;
    let words = format!(
        "fill: {} rounds, {acknowledged} acknowledged, {lost} lost, 0 restarts, sends taken again \
         within {} ms",
        arguments.rounds,
        slowest.as_millis()
    );
    if lost == 0 { Ok(words) } else { Err(words) }
}

struct Rig {
    binary: PathBuf,
    namesrv: String,
    ballast: PathBuf,
    acknowledged: u64,
    lost: u64,
    /// The longest time between space coming back and the first send that was taken.
    slowest: Duration,
}

impl Rig {
    fn round(&mut self, round: u32, disk: &SmallDisk) -> Result<(), String> {
        let scratch = format!("scratch-{round}");
        self.weir(&["topic", "create", &scratch, "--queues", "1"])?;
        if round == 0 {
            self.weir(&["topic", "create", TOPIC, "--queues", "1"])?;
        }
        let mut wanted = BTreeSet::new();
        let refusal = if round % 2 == 1 {
            fill(&self.ballast, disk, 0)?;
            // The disk is looked at five times a second.
            std::thread::sleep(Duration::from_millis(400));
            self.produce(round, SENDS_MAX, &mut wanted)?
        } else {
            std::thread::scope(|scope| {
                let ballast = &self.ballast;
                let filling = scope.spawn(move || {
                    std::thread::sleep(HEAD_START);
                    fill(ballast, disk, LEFT_BYTES)
                });
                let refusal = self.produce(round, SENDS_MAX, &mut wanted);
                filling.join().map_err(|_| "the ballast's thread died")??;
                refusal
            })?
        };
        let refusal = refusal.ok_or("a full disk refused nothing")?;
        if !refusal.contains("the broker's disk is full [CL: ") || !refusal.contains("(code 14)") {
            return Err(format!("refused in other words: {refusal}"));
        }
        let sent = wanted.len();
        let mut found = self.consume()?;
        self.weir(&["topic", "delete", &scratch])?;
        std::fs::remove_file(&self.ballast).map_err(|error| format!("ballast: {error}"))?;
        let freed = Instant::now();
        while self.produce(round, 1, &mut wanted)?.is_some() {
            if freed.elapsed() > 10 * RESUME_WITHIN {
                return Err("sends were never taken again".into());
            }
        }
        let resumed = freed.elapsed();
        self.slowest = self.slowest.max(resumed);
        if resumed > RESUME_WITHIN {
            return Err(format!("sends were taken again after {resumed:?} only"));
        }
        found.extend(self.consume()?);
        let lost = wanted.difference(&found).count();
        self.acknowledged += wanted.len() as u64;
        self.lost += lost as u64;
        println!("round {round}: {sent} sent until refused, {lost} lost, resumed in {resumed:?}");
        Ok(())
    }

    /// Sends up to `most` messages until one is refused, and gives that refusal.
    fn produce(
        &self,
        round: u32,
        most: usize,
        wanted: &mut BTreeSet<String>,
    ) -> Result<Option<String>, String> {
        let mut command = self.command(&["produce", TOPIC, "--json"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let mut input = child.stdin.take().ok_or("no input")?;
        let first = wanted.len();
        let feeding = std::thread::spawn(move || {
            for n in first..first + most {
                let key = format!("{round}-{n}-");
                let line = format!("{key}{}\n", "x".repeat(BODY_BYTES - key.len()));
                // The producer ends at its first refusal and reads no further.
                if input.write_all(line.as_bytes()).is_err() {
                    return;
                }
            }
        });
        let output = child.wait_with_output().map_err(|error| error.to_string())?;
        let _ = feeding.join();
        let rows = String::from_utf8_lossy(&output.stdout);
        let taken = rows.lines().filter(|row| row.contains("\"SEND_OK\"")).count();
        wanted.extend((first..first + taken).map(|n| format!("{round}-{n}-")));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok((!output.status.success()).then_some(said))
    }

    /// Reads on with the group, committing; gives the keys of what came.
    fn consume(&self) -> Result<BTreeSet<String>, String> {
        let mut command = self.command(&["consume", TOPIC, "--group", "fill-readers", "--json"]);
        let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
        if !output.status.success() {
            return Err(format!("consume: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let rows = String::from_utf8_lossy(&output.stdout).into_owned();
        let key = |row: &str| {
            let body = row.split_once("\"body\":\"")?.1;
            let end = body.find('x')?;
            body.get(..end).map(str::to_owned)
        };
        Ok(rows.lines().filter_map(key).collect())
    }

    fn weir(&self, words: &[&str]) -> Result<(), String> {
        let mut command = self.command(words);
        let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("{words:?}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(words).args(["--namesrv", &self.namesrv]);
        command
    }
}

/// Makes a file that leaves `left` bytes of the disk.
fn fill(path: &Path, disk: &SmallDisk, left: u64) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut file = File::create(path).map_err(failed)?;
    let free = disk.free_bytes()?;
    let len = free.saturating_sub(left);
    if left > 0 {
        let len = len.to_string();
        return toolbox::run(Command::new("fallocate").args(["--length", &len]).arg(path));
    }
    // To the last byte: until the file system says no.
    let chunk = vec![0xAB; 1024 * 1024];
    for size in [chunk.len(), 64 * 1024, 4096] {
        while file.write_all(&chunk[..size]).is_ok() {}
    }
    // What the page cache took and the disk does not have room for is told here.
    let _ = file.sync_all();
    Ok(())
}

//! Servers as child processes: started pinned to a core, waited for, asked to end, cleaned up.
//!
//! A server is known by its process id and nothing else; no process is ever looked up by name.
//! Dropping a [`Server`] ends it (politely, then not) and removes its directory.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::args::CompareArgs;
use crate::target::resolve;

const READY_PATIENCE: Duration = Duration::from_secs(30);
const END_PATIENCE: Duration = Duration::from_secs(15);

/// What kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// `weir serve`.
    Weir,
    /// `weir-bench ceiling`.
    Ceiling,
    /// Java RocketMQ's broker.
    Java,
}

impl Kind {
    /// The name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Weir => "weir",
            Kind::Ceiling => "ceiling",
            Kind::Java => "java",
        }
    }
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    /// What it is.
    pub kind: Kind,
    /// Whether it acknowledges after the device has the bytes.
    pub sync: bool,
    /// Where the generator goes.
    pub addr: String,
    child: Child,
    dir: PathBuf,
}

impl Server {
    /// Starts a server with its own directory below `root`, and waits until it takes connections.
    pub(crate) fn start(
        args: &CompareArgs,
        root: &Path,
        kind: Kind,
        sync: bool,
    ) -> io::Result<Self> {
        let mode = if sync { "sync" } else { "async" };
        let dir = root.join(format!("{}-{mode}", kind.name()));
        fs::create_dir_all(&dir)?;
        let port = args.port_base + 60 * kind as u16 + 30 * u16::from(!sync);
        let mut command = Command::new("taskset");
        command.arg("-c").arg(args.server_core.to_string());
        match kind {
            Kind::Weir => weir(&mut command, args, &dir, port, sync),
            Kind::Ceiling => ceiling(&mut command, args, &dir, port, sync)?,
            Kind::Java => java(&mut command, args, &dir, port, sync)?,
        }
        let output = dir.join("stderr");
        command.stdin(Stdio::null()).stderr(File::create(&output)?);
        let by_line = kind != Kind::Java;
        command.stdout(if by_line {
            Stdio::piped()
        } else {
            File::create(dir.join("stdout"))?.into()
        });
        let child = command.spawn()?;
        let addr = format!("127.0.0.1:{port}");
        let mut server = Self { kind, sync, addr, child, dir };
        let ready = if by_line { server.ready_line() } else { server.port_opens() };
        ready.map_err(|error| {
            let said = fs::read_to_string(&output).unwrap_or_default();
            io::Error::other(format!("{} {mode} did not start: {error}\n{said}", kind.name()))
        })?;
        Ok(server)
    }

    /// Process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the first line on standard output; the rest of it is read and dropped.
    fn ready_line(&mut self) -> io::Result<()> {
        let Some(stdout) = self.child.stdout.take() else {
            return Err(io::Error::other("no standard output"));
        };
        let (said, first) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // After the first line nobody listens any more.
                let _ = said.send(line);
            }
        });
        match first.recv_timeout(READY_PATIENCE) {
            Ok(_) => Ok(()),
            Err(mpsc::RecvTimeoutError::Timeout) => Err(io::Error::other("no ready line")),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(io::Error::other("it ended")),
        }
    }

    fn port_opens(&mut self) -> io::Result<()> {
        let addr = resolve(&self.addr)?;
        let begun = Instant::now();
        while begun.elapsed() < 2 * READY_PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("it ended: {status}")));
            }
            if TcpStream::connect_timeout(&addr, Duration::from_secs(1)).is_ok() {
                // The port opens a moment before the broker is done starting.
                thread::sleep(Duration::from_secs(3));
                return Ok(());
            }
            thread::sleep(Duration::from_millis(200));
        }
        Err(io::Error::other("its port did not open"))
    }

    fn end(&mut self) -> io::Result<()> {
        // A clean end, so that a broker removes memory files of its own.
        Command::new("kill").arg("-TERM").arg(self.pid().to_string()).status()?;
        let begun = Instant::now();
        while begun.elapsed() < END_PATIENCE {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("cannot end {} ({}): {error}", self.kind.name(), self.pid());
        }
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("cannot remove {}: {error}", self.dir.display());
        }
    }
}

fn weir(command: &mut Command, args: &CompareArgs, dir: &Path, port: u16, sync: bool) {
    command.arg(&args.weir).arg("serve").arg("--data").arg(dir.join("data"));
    let flush = if sync { "SYNC_FLUSH" } else { "ASYNC_FLUSH" };
    let sets = [
        "shards=1".to_owned(),
        format!("listenPort={port}"),
        format!("namesrvListenPort={}", port + 5),
        format!("flushDiskType={flush}"),
        "brokerName=bench".to_owned(),
        "brokerIP1=127.0.0.1".to_owned(),
        // A steady state: segments come back from retention, as on a box that runs for weeks.
        "mappedFileSizeCommitLog=256 MiB".to_owned(),
        "retentionSize=2 GiB".to_owned(),
    ];
    for set in sets.iter().chain(&args.weir_sets) {
        command.arg("--set").arg(set);
    }
}

fn ceiling(
    command: &mut Command,
    args: &CompareArgs,
    dir: &Path,
    port: u16,
    sync: bool,
) -> io::Result<()> {
    command.arg(std::env::current_exe()?).arg("ceiling");
    command.arg("--listen").arg(format!("127.0.0.1:{port}"));
    command.arg("--file").arg(dir.join("log"));
    command.arg("--core").arg(args.server_core.to_string());
    if sync {
        command.arg("--sync");
    }
    Ok(())
}

fn java(
    command: &mut Command,
    args: &CompareArgs,
    dir: &Path,
    port: u16,
    sync: bool,
) -> io::Result<()> {
    let flush = if sync { "SYNC_FLUSH" } else { "ASYNC_FLUSH" };
    let config = dir.join("broker.conf");
    fs::write(
        &config,
        format!(
            "brokerClusterName=bench\nbrokerName=bench\nbrokerId=0\nlistenPort={port}\n\
             brokerIP1=127.0.0.1\nflushDiskType={flush}\nbrokerRole=ASYNC_MASTER\n\
             autoCreateTopicEnable=true\nstorePathRootDir={}\n",
            dir.join("store").display()
        ),
    )?;
    let unnamed = "ALL-UNNAMED";
    command
        .arg("java")
        .args(["-server", "-Xms1g", "-Xmx1g", "-XX:MaxDirectMemorySize=1g"])
        .args(["--add-exports", &format!("java.base/jdk.internal.ref={unnamed}")])
        .args(["--add-exports", &format!("java.base/sun.nio.ch={unnamed}")])
        .args(["--add-opens", &format!("java.base/sun.nio.ch={unnamed}")])
        .args(["--add-opens", &format!("java.base/java.nio={unnamed}")])
        .arg(format!("-Duser.home={}", dir.display()))
        .args(["-cp", args.java_classpath.as_deref().unwrap_or_default()])
        .args(["org.apache.rocketmq.broker.BrokerStartup", "-c"])
        .arg(config)
        .env("ROCKETMQ_HOME", dir);
    Ok(())
}

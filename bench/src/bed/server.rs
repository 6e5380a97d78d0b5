//! Servers as child processes: started pinned to a core, waited for, asked to end, cleaned up.
//!
//! A server is known by its process id and nothing else; no process is ever looked up by name.
//! Dropping a [`Server`] ends it (politely, then not) and removes its directory. A server that
//! was given by address is only talked to.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::args::BedArgs;
use super::held::Held;
use super::java::{self, JavaArgs};
use crate::target::resolve;

const READY_PATIENCE: Duration = Duration::from_secs(30);
const END_PATIENCE: Duration = Duration::from_secs(15);
/// Where control groups are; those of version 1 have a folder for each controller.
const GROUPS: &str = "/sys/fs/cgroup";

/// What a control group of its own holds a server to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Limit {
    /// Bytes of memory.
    Memory(u64),
    /// Bytes a second written to the device of this number, such as `8:0`.
    Writes(String, u64),
}

impl Limit {
    /// Folder of groups, file in a group, and what is written there.
    fn place(&self) -> (PathBuf, &'static str, String) {
        let (controller, old, new) = match self {
            Self::Memory(_) => ("memory", "memory.limit_in_bytes", "memory.max"),
            Self::Writes(..) => ("blkio", "blkio.throttle.write_bps_device", "io.max"),
        };
        let folder = Path::new(GROUPS).join(controller);
        let is_old = folder.exists();
        let text = match self {
            Self::Memory(bytes) => bytes.to_string(),
            Self::Writes(device, rate) if is_old => format!("{device} {rate}"),
            Self::Writes(device, rate) => format!("{device} wbps={rate}"),
        };
        if is_old { (folder, old, text) } else { (GROUPS.into(), new, text) }
    }
}

/// What kind of server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    /// `weir serve`.
    Weir,
    /// `weir-bench ceiling`, on the named runtime.
    Ceiling(&'static str),
    /// Java RocketMQ's broker, with its class path.
    Java(String),
    /// Somebody else's, at this address.
    Given(String),
}

/// How a server is to run.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// What kind.
    pub kind: Kind,
    /// Whether it acknowledges after the device has the bytes.
    pub sync: bool,
    /// weir: what retention keeps; segments come back from it, as after weeks of running.
    pub retention_bytes: u64,
    /// weir: largest body.
    pub body_max_bytes: u64,
    /// What a control group of its own holds it to.
    pub limit: Option<Limit>,
    /// Its name in reports, when that does not follow from the rest.
    pub label: Option<String>,
    /// weir: more configuration, key=value.
    pub sets: Vec<String>,
    /// Its core, when it is not the servers' one.
    pub core: Option<usize>,
}

impl Setup {
    /// A server of this kind in its usual setting.
    pub(crate) fn new(kind: Kind, sync: bool) -> Self {
        let retention_bytes = 2 << 30;
        Self {
            kind,
            sync,
            retention_bytes,
            body_max_bytes: 4 << 20,
            limit: None,
            label: None,
            sets: Vec::new(),
            core: None,
        }
    }

    /// The name in reports.
    pub(crate) fn name(&self) -> String {
        if let Some(label) = &self.label {
            return label.clone();
        }
        let mode = if self.sync { "SYNC" } else { "ASYNC" };
        match &self.kind {
            Kind::Weir => format!("weir {mode}"),
            Kind::Ceiling("weir-io") => format!("ceiling {mode}"),
            Kind::Ceiling(runtime) => format!("{runtime} {mode}"),
            Kind::Java(_) => format!("java {mode}"),
            Kind::Given(addr) => addr.clone(),
        }
    }
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    /// How it runs.
    pub setup: Setup,
    /// Its name in reports.
    pub name: String,
    /// Where the generator goes.
    pub addr: String,
    bed: BedArgs,
    java: Option<JavaArgs>,
    /// Its port, when it was started here.
    pub port: u16,
    child: Option<Child>,
    dir: PathBuf,
    group: Option<PathBuf>,
    held: Arc<Held>,
}

impl Server {
    /// Starts a server with its own directory below `root`, and waits until it takes connections.
    pub(crate) fn start(
        bed: &BedArgs,
        java: Option<&JavaArgs>,
        held: &Arc<Held>,
        root: &Path,
        port: u16,
        setup: Setup,
    ) -> io::Result<Self> {
        let addr = match &setup.kind {
            Kind::Given(addr) => addr.clone(),
            _ => format!("127.0.0.1:{port}"),
        };
        let mut server = Self {
            name: setup.name(),
            addr,
            bed: bed.clone(),
            java: java.cloned(),
            port,
            child: None,
            dir: root.join(format!("server-{port}")),
            group: None,
            held: held.clone(),
            setup,
        };
        server.start_again()?;
        Ok(server)
    }

    /// Starts it (again) on the files it has.
    pub(crate) fn start_again(&mut self) -> io::Result<()> {
        if let Kind::Given(addr) = &self.setup.kind {
            let unreachable =
                |error| io::Error::other(format!("{addr} cannot be reached: {error}"));
            let patience = Duration::from_secs(5);
            return TcpStream::connect_timeout(&resolve(addr)?, patience)
                .map(drop)
                .map_err(unreachable);
        }
        fs::create_dir_all(&self.dir)?;
        let mut command = self.command()?;
        let output = self.dir.join("stderr");
        command.stdin(Stdio::null()).stderr(File::create(&output)?);
        let by_line = !matches!(self.setup.kind, Kind::Java(_));
        command.stdout(if by_line {
            Stdio::piped()
        } else {
            File::create(self.dir.join("stdout"))?.into()
        });
        let mut child = command.spawn()?;
        let ready = if by_line { ready_line(&mut child) } else { self.port_opens(&mut child) };
        if self.setup.kind == Kind::Weir && ready.is_ok() {
            self.held.watch(child.id(), output.clone(), self.bed.load_core);
        }
        self.child = Some(child);
        if let (Kind::Ceiling(_), Ok(line)) = (&self.setup.kind, &ready) {
            line.trim_start_matches("ready ").clone_into(&mut self.addr);
        }
        ready.map(drop).map_err(|error| {
            let said = fs::read_to_string(&output).unwrap_or_default();
            io::Error::other(format!("{} did not start: {error}\n{said}", self.name))
        })
    }

    fn command(&mut self) -> io::Result<Command> {
        let core = self.setup.core.unwrap_or(self.bed.server_core).to_string();
        let mut command = match self.setup.limit.clone() {
            Some(limit) => {
                let group = self.limited_group(&limit)?;
                let mut shell = Command::new("sh");
                let script = "echo $$ > \"$1\"; shift; exec taskset \"$@\"";
                shell.args(["-c", script, "sh"]).arg(group.join("cgroup.procs"));
                shell
            }
            None => Command::new("taskset"),
        };
        command.args(["-c", &core]);
        match &self.setup.kind {
            Kind::Weir => self.weir(&mut command),
            Kind::Ceiling(runtime) => {
                command.arg(std::env::current_exe()?).arg("ceiling");
                // A free port of the kernel's choice: not every runtime takes one that was used a
                // minute ago.
                let listen = "127.0.0.1:0";
                command.args(["--listen", listen, "--core", &core, "--runtime", runtime]);
                command.arg("--file").arg(self.dir.join("log"));
                if self.setup.sync {
                    command.arg("--sync");
                }
            }
            Kind::Java(classpath) => {
                java::write_config(&self.dir, self.port, self.setup.sync)?;
                let Some(java) = &self.java else {
                    return Err(io::Error::other("no settings for Java"));
                };
                java.command(&mut command, classpath, &self.dir);
            }
            Kind::Given(_) => {}
        }
        Ok(command)
    }

    fn weir(&self, command: &mut Command) {
        let weir = self.bed.weir.as_deref().unwrap_or(Path::new("weir"));
        command.arg(weir).arg("serve").arg("--data").arg(self.dir.join("data"));
        let flush = if self.setup.sync { "SYNC_FLUSH" } else { "ASYNC_FLUSH" };
        let sets = [
            "shards=1".to_owned(),
            format!("listenPort={}", self.port),
            format!("namesrvListenPort={}", self.port + 5),
            format!("flushDiskType={flush}"),
            "brokerName=bench".to_owned(),
            "brokerIP1=127.0.0.1".to_owned(),
            "mappedFileSizeCommitLog=256 MiB".to_owned(),
            format!("retentionSize={}", self.setup.retention_bytes),
            format!("maxMessageSize={}", self.setup.body_max_bytes),
        ];
        for set in sets.iter().chain(&self.setup.sets).chain(&self.bed.weir_sets) {
            command.arg("--set").arg(set);
        }
    }

    /// A control group of its own with this limit, made when it is first needed.
    fn limited_group(&mut self, limit: &Limit) -> io::Result<PathBuf> {
        if let Some(group) = &self.group {
            return Ok(group.clone());
        }
        let (root, file, text) = limit.place();
        let group = root.join(format!("weir-bench-{}-{}", std::process::id(), self.port));
        let cannot = |error| {
            io::Error::other(format!(
                "no control group can be made to limit {}: {error}; run it as root, or without \
                 the limit",
                self.name
            ))
        };
        fs::create_dir(&group).map_err(cannot)?;
        self.group = Some(group.clone());
        fs::write(group.join(file), text).map_err(cannot)?;
        Ok(group)
    }

    /// Process id; `None` for a server that was given by address.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Heap, collector and its pauses, for a Java broker.
    pub(crate) fn about_java(&self) -> Option<String> {
        let java = self.java.as_ref().filter(|_| matches!(self.setup.kind, Kind::Java(_)))?;
        let (count, all_ms, longest_ms) = java::pauses(&self.dir);
        Some(format!(
            "{}: RocketMQ {}, heap {} MiB, {} collector: {count} pauses of together \
             {all_ms:.0} ms, the longest {longest_ms:.0} ms",
            self.name,
            java::VERSION,
            java.java_heap,
            java.java_collector
        ))
    }

    /// Runs one of weir's commands against its control plane; what it printed.
    pub(crate) fn operate(&self, args: &[&str]) -> io::Result<String> {
        let weir = self.bed.weir.as_deref().unwrap_or(Path::new("weir"));
        let control = format!("127.0.0.1:{}", self.port - 11);
        let output = Command::new(weir).args(args).args(["--control", &control]).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(said);
        }
        let why = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("{} {args:?}: {said}{why}", self.name)))
    }

    /// Removes its data; it must not run.
    pub(crate) fn wipe(&self) -> io::Result<()> {
        fs::remove_dir_all(self.dir.join("data"))
    }

    /// Kills it as `kill -9` does, and waits until it is gone.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        child.kill()?;
        child.wait().map(drop)
    }

    fn port_opens(&self, child: &mut Child) -> io::Result<String> {
        let addr = resolve(&self.addr)?;
        let begun = Instant::now();
        while begun.elapsed() < 2 * READY_PATIENCE {
            if let Some(status) = child.try_wait()? {
                return Err(io::Error::other(format!("it ended: {status}")));
            }
            if TcpStream::connect_timeout(&addr, Duration::from_secs(1)).is_ok() {
                // The port opens a moment before the broker is done starting.
                thread::sleep(Duration::from_secs(3));
                return Ok(String::new());
            }
            thread::sleep(Duration::from_millis(200));
        }
        Err(io::Error::other("its port did not open"))
    }

    fn end(&mut self) -> io::Result<()> {
        let Some(child) = &mut self.child else { return Ok(()) };
        // A clean end, so that a broker removes memory files of its own.
        Command::new("kill").arg("-TERM").arg(child.id().to_string()).status()?;
        let begun = Instant::now();
        while begun.elapsed() < END_PATIENCE {
            if child.try_wait()?.is_some() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        child.kill()?;
        child.wait().map(drop)
    }
}

/// Waits for the first line on standard output and gives it; the rest is read and dropped.
fn ready_line(child: &mut Child) -> io::Result<String> {
    let Some(stdout) = child.stdout.take() else {
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
        Ok(line) => Ok(line),
        Err(mpsc::RecvTimeoutError::Timeout) => Err(io::Error::other("no ready line")),
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(io::Error::other("it ended")),
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("cannot end {}: {error}", self.name);
        }
        if self.dir.exists()
            && let Err(error) = fs::remove_dir_all(&self.dir)
        {
            eprintln!("cannot remove {}: {error}", self.dir.display());
        }
        if let Some(group) = &self.group
            && let Err(error) = fs::remove_dir(group)
        {
            eprintln!("cannot remove {}: {error}", group.display());
        }
    }
}

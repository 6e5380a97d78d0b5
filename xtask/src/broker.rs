//! A weir process under test: started, waited for until it says ready, stopped for certain.
//!
//! It listens on loopback only, on ports that were free a moment ago, with data of its own. What
//! it says on both outputs is kept. Dropping it kills it.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const READY: &str = "weir ready";
const PATIENCE: Duration = Duration::from_secs(60);

/// A running broker.
#[derive(Debug)]
pub struct Broker {
    child: Child,
    lines: Receiver<String>,
    heard: Vec<String>,
    /// Port of its name server.
    pub namesrv_port: u16,
    /// Port of its control plane.
    pub control_port: u16,
}

impl Broker {
    /// Starts `binary serve` on `data` with one shard and the given `--set` texts, and waits for
    /// its ready line. The error holds everything it said.
    pub fn start(binary: &Path, data: &Path, sets: &[&str]) -> Result<Broker, String> {
        let (namesrv_port, listen_port) = free_ports()?;
        let mut command = Command::new(binary);
        command.arg("serve").arg("--data").arg(data);
        let own =
            [format!("namesrvListenPort={namesrv_port}"), format!("listenPort={listen_port}")];
        let own = own.iter().map(String::as_str).chain(["shards=1"]);
        for set in own.chain(sets.iter().copied()) {
            command.args(["--set", set]);
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let (send, lines) = channel();
        let outputs: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|out| Box::new(out) as Box<dyn Read + Send>),
            child.stderr.take().map(|out| Box::new(out) as Box<dyn Read + Send>),
        ];
        for output in outputs.into_iter().flatten() {
            let send = send.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if send.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        let mut broker = Broker {
            child,
            lines,
            heard: Vec::new(),
            namesrv_port,
            control_port: listen_port - 11,
        };
        broker.wait_ready()?;
        Ok(broker)
    }

    fn wait_ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.lines.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => {
                    let ready = line.starts_with(READY);
                    self.heard.push(line);
                    if ready {
                        return Ok(());
                    }
                }
                Err(_) if matches!(self.child.try_wait(), Ok(Some(_))) => break,
                Err(_) => {}
            }
        }
        Err(format!("weir did not become ready; it said:\n{}", self.said().join("\n")))
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGSTOP, SIGCONT and the like.
    pub fn signal(&self, name: &str) {
        crate::toolbox::signal(&self.child, name);
    }

    /// Everything it has said so far, on both outputs.
    pub fn said(&mut self) -> &[String] {
        self.heard.extend(self.lines.try_iter());
        &self.heard
    }

    /// Asks it to end (SIGTERM) and waits; gives its exit status.
    pub fn stop(mut self) -> Result<ExitStatus, String> {
        let pid = self.pid().to_string();
        crate::toolbox::run(Command::new("kill").args(["-TERM", &pid]))?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().map_err(|error| error.to_string())? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(format!("weir did not end within {PATIENCE:?} of SIGTERM"))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // It may end between the two calls; then there is nothing to kill.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A port for the name server and one for the shard, with its old VIP port (two below) and the
/// control port (eleven below) free too.
fn free_ports() -> Result<(u16, u16), String> {
    let bind = |port: u16| TcpListener::bind(("127.0.0.1", port));
    for _ in 0..64 {
        let named = bind(0).map_err(|error| error.to_string())?;
        let shard = bind(0).map_err(|error| error.to_string())?;
        let port = |listener: &TcpListener| listener.local_addr().map(|addr| addr.port());
        let (Ok(namesrv), Ok(listen)) = (port(&named), port(&shard)) else { continue };
        let own = [listen.saturating_sub(2), listen.saturating_sub(11)];
        if listen > 1036 && !own.contains(&namesrv) && own.iter().all(|port| bind(*port).is_ok()) {
            return Ok((namesrv, listen));
        }
    }
    Err("no free ports on loopback".into())
}

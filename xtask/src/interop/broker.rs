//! The weir under test: two shards, data of its own, killed and started as the cases ask.
//!
//! The same addresses before and after a kill: clients come back to what they know.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::process::Process;
use super::scratch::{Ports, Scratch};

const READY: &str = "weir ready";
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Bodies of 5 MiB need more than the default of 4.
const MESSAGE_MAX: &str = "maxMessageSize=8388608";
const FAILPOINT: &str = "WEIR_FAILPOINT";

/// A broker that is there, or about to be started again.
#[derive(Debug)]
pub(super) struct Broker {
    binary: PathBuf,
    data: PathBuf,
    errors: PathBuf,
    sets: Vec<String>,
    ports: Ports,
    process: Process,
}

impl Broker {
    /// Starts weir on an empty data folder called `name` with these `--set` texts, and waits for
    /// its ready line.
    pub(super) fn start(
        scratch: &Scratch,
        binary: &Path,
        name: &str,
        sets: &[&str],
    ) -> Result<Broker, String> {
        let data = scratch.folder(&format!("{name}-data"))?;
        let errors = scratch.path().join(format!("{name}-weir.err"));
        let ports = scratch.ports()?;
        let mut all = vec![
            "shards=2".to_owned(),
            MESSAGE_MAX.to_owned(),
            // How full the host's disk is must not decide what retention leaves to be read.
            "diskSpaceWarningLevelRatio=97".to_owned(),
            "diskSpaceCleanForciblyRatio=96".to_owned(),
            "diskMaxUsedSpaceRatio=95".to_owned(),
            format!("namesrvListenPort={}", ports.namesrv),
            format!("listenPort={}", ports.shard),
        ];
        all.extend(sets.iter().map(|set| (*set).to_owned()));
        let process = Process::start(serve(binary, &data, &all, None), "weir", &errors)?;
        process.wait_for(READY, READY_WITHIN)?;
        Ok(Broker { binary: binary.to_owned(), data, errors, sets: all, ports, process })
    }

    /// Address of its name server.
    pub(super) fn namesrv(&self) -> String {
        format!("127.0.0.1:{}", self.ports.namesrv)
    }

    /// Address of its control port.
    pub(super) fn control(&self) -> String {
        format!("127.0.0.1:{}", self.control_port())
    }

    /// Port of a shard.
    pub(super) fn port(&self, shard: u8) -> u16 {
        self.ports.shard + 10 * u16::from(shard)
    }

    /// Its control port.
    pub(super) fn control_port(&self) -> u16 {
        self.ports.shard - 11
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self) -> Result<(), String> {
        self.still_there()?;
        self.process.kill()
    }

    /// The next start of one that was killed.
    pub(super) fn start_again(&mut self) -> Result<(), String> {
        self.restart(None, Instant::now()).map(drop)
    }

    /// SIGKILL, and the next start at once; `fail_point` is where the new process will kill
    /// itself. Gives the time between the two.
    pub(super) fn kill_and_restart(
        &mut self,
        fail_point: Option<&str>,
    ) -> Result<Duration, String> {
        self.kill()?;
        self.restart(fail_point, Instant::now())
    }

    /// Waits for the process to reach its fail point and starts the next at once.
    pub(super) fn await_fail_point(
        &mut self,
        at: &str,
        next: Option<&str>,
        limit: Duration,
    ) -> Result<Duration, String> {
        let ended = self.process.wait(limit);
        let now = Instant::now();
        let status = ended.map_err(|why| format!("fail point {at} was not reached: {why}"))?;
        let gap = self.restart(next, now)?;
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        if signal == Some(9) {
            return Ok(gap);
        }
        Err(format!("weir ended with {status} at {at}:\n{}", self.process.complaints()))
    }

    /// Asks it to end in the orderly way, during which it may reach a fail point.
    pub(super) fn terminate(&self) -> Result<(), String> {
        self.process.terminate()
    }

    fn restart(&mut self, fail_point: Option<&str>, killed: Instant) -> Result<Duration, String> {
        let command = serve(&self.binary, &self.data, &self.sets, fail_point);
        let gap = killed.elapsed();
        let next = Process::start(command, "weir", &self.errors)?;
        let mut old = std::mem::replace(&mut self.process, next);
        old.wait(READY_WITHIN)?;
        self.process.wait_for(READY, READY_WITHIN)?;
        Ok(gap)
    }

    /// A broker that ended by itself is a failure of its own, whatever the clients say.
    pub(super) fn still_there(&mut self) -> Result<(), String> {
        match self.process.ended()? {
            None => Ok(()),
            Some(status) => Err(format!(
                "weir (process {}) ended by itself with {status}:\n{}",
                self.process.id(),
                self.process.complaints()
            )),
        }
    }
}

fn serve(binary: &Path, data: &Path, sets: &[String], fail_point: Option<&str>) -> Command {
    let mut command = Command::new(binary);
    command.arg("serve").arg("--data").arg(data).env_remove(FAILPOINT);
    for set in sets {
        command.args(["--set", set]);
    }
    if let Some(place) = fail_point {
        command.env(FAILPOINT, place);
    }
    command
}

impl Drop for Broker {
    /// An orderly end: a killed broker would leave its staging memory behind.
    fn drop(&mut self) {
        if matches!(self.process.ended(), Ok(None)) && self.process.terminate().is_ok() {
            // One that does not end in time is killed by its process's own drop.
            let _ = self.process.wait(Duration::from_secs(10));
        }
    }
}

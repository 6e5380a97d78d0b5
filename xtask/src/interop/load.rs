//! A stock client's producer under load, and its journal of acknowledged keys.
//!
//! It sends until it is told to stop and writes a key down after SEND_OK only; afterwards the same
//! client's consumer reads the topic from its beginning and looks up every key, body included.
//! Never: a key counted that was not acknowledged.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::client::{Client, LOADERS, Task};
use super::install;
use super::process::Process;

const STARTS_WITHIN: Duration = Duration::from_secs(30);
const STOPS_WITHIN: Duration = Duration::from_secs(30);
const VERIFY_WITHIN: Duration = Duration::from_secs(120);

/// How a command line is started somewhere else, such as in another network.
pub(crate) type Wrap = Box<dyn Fn(Command) -> Command>;

/// One client's producer.
pub(crate) struct Load {
    client: Client,
    process: Process,
    prefix: &'static str,
    folder: PathBuf,
    wrap: Wrap,
}

impl Load {
    /// The stock Java client, installed if need be.
    pub(crate) fn java(folder: &Path, namesrv: &str, wrap: Wrap) -> Result<Load, String> {
        install::all(&LOADERS[..1])?;
        std::fs::create_dir_all(folder)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        Load::start(folder, namesrv, LOADERS[0], wrap)
    }

    /// Starts a client that is installed; `folder` takes its journal and what it writes.
    pub(super) fn start(
        folder: &Path,
        namesrv: &str,
        client: Client,
        wrap: Wrap,
    ) -> Result<Load, String> {
        let prefix = if client.is_java() { "java" } else { "other" };
        let task = Task { namesrv, prefix, feature: "load", journal: Some(&folder.join("keys")) };
        let command = wrap(client.command(task, folder)?);
        let process = Process::start(command, client.name, &folder.join("err"))?;
        process.wait_for("LOAD started", STARTS_WITHIN)?;
        Ok(Load { client, process, prefix, folder: folder.to_owned(), wrap })
    }

    /// Ends it; what it said.
    pub(crate) fn stop(&mut self) -> Result<String, String> {
        self.process.say("stop")?;
        let line = self.process.wait_for("LOAD stopped", STOPS_WITHIN)?;
        Ok(format!("{}: {line}", self.client.name))
    }

    /// Acknowledged keys, how many of them are missing or damaged, and what the client said.
    pub(crate) fn verify(&self, namesrv: &str) -> Result<(u64, u64, String), String> {
        self.begin_reading(namesrv)?.end()
    }

    /// Starts the client that reads everything.
    pub(crate) fn begin_reading(&self, namesrv: &str) -> Result<Reading, String> {
        let journal = self.folder.join("keys");
        let task =
            Task { namesrv, prefix: self.prefix, feature: "verify", journal: Some(&journal) };
        let command = (self.wrap)(self.client.command(task, &self.folder)?);
        let process = Process::start(command, self.client.name, &self.folder.join("err"))?;
        Ok(Reading { client: self.client, process })
    }
}

/// A client that reads what was acknowledged.
pub(crate) struct Reading {
    client: Client,
    process: Process,
}

impl Reading {
    /// Waits for its end: as [`Load::verify`].
    pub(crate) fn end(self) -> Result<(u64, u64, String), String> {
        let line = self.process.wait_for("VERIFY", VERIFY_WITHIN)?;
        let number = |word: &str| -> Option<u64> {
            let mut words = line.split(' ').skip_while(|found| *found != word);
            words.nth(1)?.parse().ok()
        };
        match (number("acknowledged"), number("missing"), number("damaged")) {
            (Some(0), _, _) => Err(format!("{}: nothing was acknowledged", self.client.name)),
            (Some(keys), Some(missing), Some(damaged)) => {
                Ok((keys, missing + damaged, format!("{}: {line}", self.client.name)))
            }
            _ => Err(format!("{}: said \"{line}\"", self.client.name)),
        }
    }
}

/// A command line started as it is.
pub(crate) fn here() -> Wrap {
    Box::new(|command| command)
}

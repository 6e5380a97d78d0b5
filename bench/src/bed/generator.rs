//! The generator as a process of its own, as a person would start it.
//!
//! What it is told is a command line, so every run of a scenario can be repeated by hand. It is
//! ended when its handle is dropped before it is done.

use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};

use super::args::BedArgs;
use crate::load::LoadReport;

/// Niceness of a generator. It stands for clients on other machines, and the kernel's workers on
/// its core do the server's work: they never wait for it (the end of each direct write is theirs).
const NICE: u8 = 5;
/// Of one that only makes load beside the one whose times are taken.
const NICE_BESIDE: u8 = 10;

/// A run of the generator, being described.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    args: Vec<String>,
    name: String,
    nice: u8,
}

/// A generator at work.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    /// Reads its output meanwhile, or a long report would fill the pipe and wait for ever.
    output: Option<JoinHandle<io::Result<Vec<u8>>>>,
    name: String,
}

impl Load {
    /// A run against `addr`; `name` is for messages.
    pub(crate) fn new(bed: &BedArgs, addr: &str, name: &str) -> Self {
        let args = ["--broker", addr, "--headers", bed.headers.name(), "--quiet", "--core"];
        let mut args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        args.push(bed.load_core.to_string());
        Self { args, name: name.to_owned(), nice: NICE }
    }

    /// One more option with its value.
    pub(crate) fn with(mut self, option: &str, value: impl ToString) -> Self {
        self.args.extend([format!("--{option}"), value.to_string()]);
        self
    }

    /// One more option without value.
    pub(crate) fn flag(mut self, option: &str) -> Self {
        self.args.push(format!("--{option}"));
        self
    }

    /// It makes load beside another, whose times are taken: that one goes first on their core.
    pub(crate) fn beside(mut self) -> Self {
        self.nice = NICE_BESIDE;
        self
    }

    /// Starts it.
    pub(crate) fn start(&self) -> io::Result<Running> {
        let mut child = Command::new("nice")
            .args(["-n", &self.nice.to_string()])
            .arg(std::env::current_exe()?)
            .arg("load")
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take();
        let output = thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut stdout) = stdout {
                stdout.read_to_end(&mut bytes)?;
            }
            Ok(bytes)
        });
        Ok(Running { child, output: Some(output), name: self.name.clone() })
    }

    /// Runs it to its end.
    pub(crate) fn run(&self) -> io::Result<LoadReport> {
        self.start()?.finish()
    }
}

impl Running {
    /// Whether it has come to its end.
    pub(crate) fn has_ended(&mut self) -> io::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Waits for its end and its report.
    pub(crate) fn finish(mut self) -> io::Result<LoadReport> {
        let mut said = String::new();
        if let Some(stderr) = &mut self.child.stderr {
            stderr.read_to_string(&mut said)?;
        }
        let status = self.child.wait()?;
        let output = self.output.take().map(JoinHandle::join);
        let Some(Ok(output)) = output else {
            return Err(io::Error::other("the report of the load could not be read"));
        };
        let output = output?;
        if !status.success() {
            let said = said.trim().trim_start_matches("weir-bench: ");
            return Err(io::Error::other(format!("load on {}: {said} ({status})", self.name)));
        }
        Ok(serde_json::from_slice(&output)?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already waited for, or to be ended with its owner: both are fine.
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

//! A child process whose output is read line by line with a time limit.
//!
//! Dropping it kills it, by its own id; it never touches a process it did not start.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::toolbox;

/// A running program with its standard output; what it says on standard error goes to a file.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    lines: Receiver<String>,
    errors: PathBuf,
    name: String,
}

impl Process {
    /// Starts a program; `errors` is the file that gets its standard error, appended.
    pub(super) fn start(
        mut command: Command,
        name: &str,
        errors: &Path,
    ) -> Result<Process, String> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(errors)
            .map_err(|error| format!("{}: {error}", errors.display()))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(file);
        let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let out = child.stdout.take().ok_or_else(|| format!("{name}: no output"))?;
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Process { child, lines, errors: errors.to_owned(), name: name.to_owned() })
    }

    /// The next line of its output; `None` when it has closed it.
    pub(super) fn line(&self, deadline: Instant) -> Result<Option<String>, String> {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                Err(format!("{}: no end within its time\n{}", self.name, self.complaints()))
            }
        }
    }

    /// Waits for a line that starts with `words` and gives it.
    pub(super) fn wait_for(&self, words: &str, limit: Duration) -> Result<String, String> {
        let deadline = Instant::now() + limit;
        while let Some(line) = self.line(deadline)? {
            if line.starts_with(words) {
                return Ok(line);
            }
        }
        Err(format!("{}: ended before it said \"{words}\"\n{}", self.name, self.complaints()))
    }

    /// Writes one line to its standard input.
    pub(super) fn say(&mut self, line: &str) -> Result<(), String> {
        let input = self.child.stdin.as_mut().ok_or_else(|| format!("{}: no input", self.name))?;
        writeln!(input, "{line}")
            .and_then(|()| input.flush())
            .map_err(|error| format!("{}: {error}\n{}", self.name, self.complaints()))
    }

    /// Its exit status if it has ended.
    pub(super) fn ended(&mut self) -> Result<Option<ExitStatus>, String> {
        self.child.try_wait().map_err(|error| format!("{}: {error}", self.name))
    }

    /// Sends SIGKILL. It is not waited for: the caller may have something urgent to do first.
    pub(super) fn kill(&mut self) -> Result<(), String> {
        self.child.kill().map_err(|error| format!("{}: {error}", self.name))
    }

    /// Asks it to end (SIGTERM).
    pub(super) fn terminate(&self) -> Result<(), String> {
        toolbox::run(Command::new("kill").args(["-TERM", &self.id().to_string()]))
    }

    /// Waits for its end.
    pub(super) fn wait(&mut self, limit: Duration) -> Result<ExitStatus, String> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                return Err(format!("{}: still runs after {limit:?}", self.name));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// The last lines of its standard error, for a message.
    pub(super) fn complaints(&self) -> String {
        let text = std::fs::read(&self.errors).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines.len().saturating_sub(20);
        lines.get(tail..).unwrap_or_default().join("\n")
    }

    /// Process id.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // It may end between the two calls; then there is nothing to kill.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

//! Standard output and standard error of the commands: text for people, JSON for programs.
//!
//! With `--json` every result is one value on one line. A reader that goes away (a closed pipe)
//! ends the command quietly. Bars go to standard error, and only to a terminal.

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::exit::{self, Stop};

/// Where a command prints.
#[derive(Debug)]
pub(super) struct Output {
    json: bool,
}

impl Output {
    /// `json`: the user said `--json`.
    pub(super) fn new(json: bool) -> Output {
        Output { json }
    }

    /// Whether results are JSON.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints one result: `text` for people (may have several lines), `value` for programs.
    pub(super) fn row(&mut self, text: &str, value: &Value) -> Result<(), Stop> {
        let mut stdout = std::io::stdout().lock();
        let written =
            if self.json { writeln!(stdout, "{value}") } else { writeln!(stdout, "{text}") };
        written.and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
            // The reader has what it wanted (`weir consume … | head`).
            std::io::ErrorKind::BrokenPipe => Stop::new(exit::OK, ""),
            _ => Stop::new(exit::FAILED, format!("standard output: {error}")),
        })
    }

    /// Prints why the process ends. Nothing for a quiet end.
    pub(super) fn error(&mut self, stop: &Stop) {
        if stop.line.is_empty() {
            return;
        }
        let line = if self.json {
            json!({ "error": stop.line, "exitCode": stop.exit_code }).to_string()
        } else {
            format!("weir: {}", stop.line)
        };
        // Standard error that cannot be written leaves the exit code to speak.
        let _ = writeln!(std::io::stderr().lock(), "{line}");
    }

    /// Says something on standard error that does not end the command.
    pub(super) fn notice(&self, text: &str) {
        let line =
            if self.json { json!({ "notice": text }).to_string() } else { format!("weir: {text}") };
        // What cannot be said is not worth ending for.
        let _ = writeln!(std::io::stderr().lock(), "{line}");
    }

    /// A bar for work of `length` steps; `None`: length not known. Hidden unless standard error
    /// is a terminal and standard output is not busy printing rows to one.
    pub(super) fn bar(&self, length: Option<u64>, unit: &str, prints_rows: bool) -> ProgressBar {
        let busy = prints_rows && std::io::stdout().is_terminal();
        if busy || !std::io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let template = match length {
            Some(_) => format!("{{wide_bar}} {{pos}}/{{len}} {unit} {{per_sec}} {{eta}}"),
            None => format!("{{spinner}} {{pos}} {unit} {{per_sec}} {{elapsed}}"),
        };
        let bar = length.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        match ProgressStyle::with_template(&template) {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        }
    }
}

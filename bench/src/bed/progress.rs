//! How far a scenario is, and how long it still takes.
//!
//! The bar moves by planned time, so that "left" is right from the first run on. Without a
//! terminal it is silent but for the lines of [`Progress::say`], which always go to standard
//! error: standard output is for JSON.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::generator::Running;
use crate::load::LoadReport;

/// A bar over the planned time of a scenario.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar for so many planned seconds.
    pub(crate) fn new(planned_s: f64) -> Self {
        let bar = match std::io::stderr().is_terminal() {
            true => ProgressBar::new((planned_s * 1000.0) as u64),
            false => ProgressBar::hidden(),
        };
        let shape = "{bar:30} {percent:>3} %  {elapsed} gone, {eta} left  {msg}";
        if let Ok(style) = ProgressStyle::with_template(shape) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(500));
        if bar.is_hidden() {
            eprintln!("this takes about {planned_s:.0} s");
        }
        Self { bar }
    }

    /// Names what is being done now.
    pub(crate) fn doing(&self, what: impl Into<String>) {
        self.bar.set_message(what.into());
    }

    /// Marks so many planned seconds as done.
    pub(crate) fn done(&self, planned_s: f64) {
        self.bar.inc((planned_s * 1000.0) as u64);
    }

    /// Moves the bar while one long run lasts, and gives what it found.
    pub(crate) fn while_running(
        &self,
        mut running: Running,
        planned_s: f64,
    ) -> io::Result<LoadReport> {
        const LOOK: Duration = Duration::from_millis(500);
        let mut told_s = 0.0;
        while !running.has_ended()? {
            std::thread::sleep(LOOK);
            told_s += LOOK.as_secs_f64();
            if told_s <= planned_s {
                self.done(LOOK.as_secs_f64());
            }
        }
        running.finish()
    }

    /// A line above the bar.
    pub(crate) fn say(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

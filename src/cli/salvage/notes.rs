//! The note of what was sent, beside the tail: a second run does not send it again.
//!
//! One line per step, written and flushed before the step's request goes out and when its answer
//! is here. A run that ends in between leaves one message of which nobody knows; the next run asks
//! the operator. Never: a message sent that is not noted before; a line changed.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::exit::{self, Stop};

/// Name of the file.
const NAME: &str = "salvage.notes";

/// What is known of a tail's messages, by position.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    sent: BTreeSet<u64>,
    /// It was sent, and no answer came.
    doubtful: Option<u64>,
}

impl Known {
    /// What stands in the notes of the tail in `dir`.
    pub(super) fn read(dir: &Path) -> Result<Known, Stop> {
        let path = dir.join(NAME);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Known::of(&text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Known::default()),
            Err(error) => Err(failed(&path, &error)),
        }
    }

    fn of(text: &str) -> Known {
        let mut known = Known::default();
        // A line that a crash cut short says nothing.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in whole.lines() {
            let mut words = line.split(' ');
            let word = words.next();
            let Some(position) = words.next().and_then(|text| text.parse().ok()) else { continue };
            match word {
                Some("sending") => known.doubtful = Some(position),
                Some("sent") => {
                    known.sent.insert(position);
                    known.doubtful = None;
                }
                Some("refused") => known.doubtful = None,
                _ => {}
            }
        }
        known
    }

    /// Whether the message at `position` was sent.
    pub(super) fn is_sent(&self, position: u64) -> bool {
        self.sent.contains(&position)
    }

    /// The message of which nobody knows whether it was sent.
    pub(super) fn doubtful(&self) -> Option<u64> {
        self.doubtful
    }
}

/// The notes while messages are sent.
#[derive(Debug)]
pub(super) struct Notes {
    path: PathBuf,
    file: File,
}

impl Notes {
    /// Opens the notes of the tail in `dir` for one run; two at once are refused.
    pub(super) fn open(dir: &Path) -> Result<Notes, Stop> {
        let path = dir.join(NAME);
        let opened = File::options().create(true).append(true).open(&path);
        let file = opened.map_err(|error| failed(&path, &error))?;
        if file.try_lock().is_err() {
            let line = format!("{}: another weir salvage is at work here", path.display());
            return Err(Stop::new(exit::FAILED, line));
        }
        // A line that a crash cut short must not run into the next one.
        let mut notes = Notes { path, file };
        notes.write("\n")?;
        Ok(notes)
    }

    /// The message at `position` goes out now.
    pub(super) fn sending(&mut self, position: u64) -> Result<(), Stop> {
        self.write(&format!("sending {position}\n"))
    }

    /// It was taken; `id` is its name there.
    pub(super) fn sent(&mut self, position: u64, id: &str) -> Result<(), Stop> {
        self.write(&format!("sent {position} {id}\n"))
    }

    /// It was refused: nothing was stored.
    pub(super) fn refused(&mut self, position: u64) -> Result<(), Stop> {
        self.write(&format!("refused {position}\n"))
    }

    fn write(&mut self, line: &str) -> Result<(), Stop> {
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|error| failed(&self.path, &error))
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Stop {
    Stop::new(exit::FAILED, format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_answered_is_known_and_what_was_not_is_in_doubt() {
        let known =
            Known::of("\nsending 5\nsent 5 AB\nsending 9\nrefused 9\nsending 9\nsent 9 C\n");
        assert_eq!((known.is_sent(5), known.is_sent(9), known.doubtful()), (true, true, None));
        let known = Known::of("sending 5\nsent 5 AB\n\nsending 12\n");
        assert_eq!((known.is_sent(12), known.doubtful()), (false, Some(12)));
        let known = Known::of("sending 12\nsent 1");
        assert_eq!((known.is_sent(1), known.doubtful()), (false, Some(12)), "a torn line");
    }

    #[test]
    fn two_runs_at_once_are_refused_and_a_torn_line_stays_alone() {
        let dir = std::env::temp_dir().join(format!("weir-salvage-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(NAME), "sending 7").unwrap();
        let mut notes = Notes::open(&dir).unwrap();
        assert!(Notes::open(&dir).is_err());
        notes.sending(8).unwrap();
        notes.sent(8, "X").unwrap();
        drop(notes);
        let known = Known::read(&dir).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(known.is_sent(8) && known.doubtful().is_none());
    }
}

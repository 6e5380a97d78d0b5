//! Lines for the operator, gathered until the shard's voice says them.
//!
//! The machine tower has no voice of its own. Never more lines than a bound between two looks.

/// Lines kept between two looks; more are dropped, the newest first.
const NOTES_MAX: usize = 16;

/// One line: its event id and its text.
pub type Note = (&'static str, String);

/// Lines not said yet.
#[derive(Debug, Default)]
pub(super) struct Notes(Vec<Note>);

impl Notes {
    /// Keeps a line.
    pub(super) fn say(&mut self, id: &'static str, text: String) {
        if self.0.len() < NOTES_MAX {
            self.0.push((id, text));
        }
    }

    /// Takes all lines.
    pub(super) fn take(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.0)
    }
}

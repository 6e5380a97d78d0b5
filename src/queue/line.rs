//! A line of cells to choose a victim from by second chance.
//!
//! A cell joins when it comes into the state the line is for, and is taken out when the line finds
//! it in another: leaving costs nothing at the time.
//! Invariant: a cell stands in a line at most once, so a line is never longer than the arena.

use std::collections::VecDeque;

/// What is done with the cell at the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// It is not in the line's state any more.
    Leave,
    /// It was used since it was last here: to the back, once.
    Spare,
    /// It is the victim, and goes to the back in case it is not taken.
    Choose,
}

/// Cells by the place they begin at, oldest first.
#[derive(Debug, Default)]
pub(super) struct Line {
    cells: VecDeque<u32>,
    is_in: Vec<bool>,
}

impl Line {
    /// Cells up to `places` may join.
    pub(super) fn reach(&mut self, places: usize) {
        self.is_in.resize(places, false);
    }

    /// Puts a cell at the back, unless it stands somewhere already.
    pub(super) fn join(&mut self, unit: u32) {
        if !std::mem::replace(&mut self.is_in[unit as usize], true) {
            self.cells.push_back(unit);
        }
    }

    /// The first cell that `pass` chooses; every cell is looked at twice at most.
    pub(super) fn next(&mut self, mut pass: impl FnMut(u32) -> Pass) -> Option<u32> {
        for _ in 0..self.cells.len() * 2 {
            let unit = self.cells.pop_front()?;
            match pass(unit) {
                Pass::Leave => self.is_in[unit as usize] = false,
                Pass::Spare => self.cells.push_back(unit),
                Pass::Choose => {
                    self.cells.push_back(unit);
                    return Some(unit);
                }
            }
        }
        None
    }
}

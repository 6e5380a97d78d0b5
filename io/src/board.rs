//! A few words that one thread writes and a shard reads: the only memory that a shard shares but
//! its mailbox.
//!
//! For what must be seen without a letter, once a turn and not once a message: a moment that
//! another thread moves on. Every word stands alone; who needs two of them to agree orders the
//! writes. Never: a wait, a lock, a word read on the way of a message.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// `N` words; clones are the same words.
#[derive(Clone, Debug)]
pub struct Board<const N: usize>(Arc<[AtomicU64; N]>);

impl<const N: usize> Board<N> {
    /// Words that begin as `values`.
    #[must_use]
    pub fn new(values: [u64; N]) -> Board<N> {
        Board(Arc::new(values.map(AtomicU64::new)))
    }

    /// The word at `at`; 0 when there is none.
    #[must_use]
    pub fn get(&self, at: usize) -> u64 {
        self.0.get(at).map_or(0, |word| word.load(Ordering::SeqCst))
    }

    /// Writes the word at `at`, and gives what stood there.
    pub fn put(&self, at: usize, value: u64) -> u64 {
        self.0.get(at).map_or(0, |word| word.swap(value, Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_are_the_same_words_and_a_word_that_is_not_there_is_0() {
        let board = Board::new([1, 2]);
        assert_eq!(board.clone().put(1, 7), 2);
        assert_eq!([0, 1, 2].map(|at| board.get(at)), [1, 7, 0]);
        assert_eq!(board.put(2, 9), 0);
    }
}

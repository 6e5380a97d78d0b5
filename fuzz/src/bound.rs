//! The bounds, and the check that something stayed within one.
//!
//! Live bytes of the process are counted by the allocator, so a check is only true while nothing
//! else runs. Without the counting allocator it would pass everything: it looks for itself first.

use weir::base::limits::{
    FORCED_FIXED, FORCED_PER_BYTE, PULL_BYTES_MAX, RECEIVE_STEP_MIN, SEND_BACKLOG_PAUSE,
};
use weir_io::heap::{self, Peak};

/// More was allocated than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess {
    /// Most bytes live at a time, beyond those before.
    pub peak: usize,
    /// The bound.
    pub allowed: usize,
}

/// Runs `work` and says whether its peak of live bytes stayed within `allowed`.
pub fn within(allowed: usize, work: impl FnOnce()) -> Result<(), Excess> {
    let before = heap::thread_counts();
    drop(std::hint::black_box(Box::new(0_u8)));
    assert!(heap::thread_counts() != before, "the counting allocator is not in this process");
    let peak = Peak::begin();
    work();
    let peak = peak.extra();
    if peak > allowed { Err(Excess { peak, allowed }) } else { Ok(()) }
}

/// What reading a stream of `len` bytes may take: tables and texts made from it.
pub(crate) fn reading(len: usize) -> usize {
    FORCED_FIXED + FORCED_PER_BYTE * len
}

/// What a peer that sent `len` bytes may make a server hold: what reading them takes, a piece of
/// a frame that was begun, and answers it does not read, in buffers that grow by doubling.
pub(crate) fn serving(len: usize) -> usize {
    let answers = 2 * (SEND_BACKLOG_PAUSE + PULL_BYTES_MAX);
    reading(len) + RECEIVE_STEP_MIN + answers
}

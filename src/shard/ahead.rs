//! Reading ahead of a consumer that goes through old messages.
//!
//! After a pull was answered from disk, the consume queue says where the next messages of that
//! queue stand, so the windows that hold them are read before the consumer asks: the device works
//! while the consumer does. Nothing is guessed, and what is read ahead and not used is bounded.
//! Never: a read ahead that takes the place of one that somebody waits for.

use weir_io::Driver;

use super::shard::Shard;
use crate::broker::{PullPlan, PullReply, PullRequest};

/// Messages looked ahead: so many that the windows which hold them keep the device busy.
const ENTRIES_AHEAD: usize = 384;
/// Windows that one reader has read ahead, so that several share what may be.
const WINDOWS_AHEAD: usize = 10;

impl Shard {
    /// Reads ahead of the reader that `reply` answers, when it reads from disk and takes most of
    /// what it passes.
    pub(super) fn read_ahead(
        &mut self,
        driver: &mut Driver,
        request: &PullRequest<'_>,
        reply: &PullReply,
        plan: &PullPlan,
    ) {
        let Some((position, _)) = plan.extents.last().copied() else { return };
        if position >= self.log.resident_from() {
            return;
        }
        let from = u64::try_from(request.queue_offset).unwrap_or(reply.next);
        if reply.next.saturating_sub(from) > 2 * plan.extents.len() as u64 {
            return;
        }
        let mut positions = std::mem::take(&mut self.ahead);
        positions.clear();
        let (topic, queue_id) = (request.topic, request.queue_id);
        let most = ENTRIES_AHEAD;
        let chunk = self.broker.positions(topic, queue_id, reply.next, most, &mut positions);
        if let Some(chunk) = chunk {
            self.fetch_chunk(driver, chunk);
        }
        self.read_windows(driver, positions.iter().copied());
        self.ahead = positions;
    }

    /// Has the windows read that hold `positions`, which ascend, as far as reading ahead may go.
    pub(super) fn read_windows(
        &mut self,
        driver: &mut Driver,
        positions: impl Iterator<Item = u64>,
    ) {
        let (mut seen_upto, mut left) = (0, WINDOWS_AHEAD);
        for position in positions.take_while(|position| *position < self.log.resident_from()) {
            if position < seen_upto {
                continue;
            }
            let upto = self.cold.fetch_ahead(driver, &self.log, position);
            let (Some(upto), Some(fewer)) = (upto, left.checked_sub(1)) else { return };
            (seen_upto, left) = (upto, fewer);
        }
    }
}

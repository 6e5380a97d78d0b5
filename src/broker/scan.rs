//! Building a pull's answer from the index, and finding out whom new entries wake.
//!
//! Both walk index entries of one queue, a bounded number of them, and compare tag hashes; the
//! checks that come before are in `pull`. A pull makes progress in every answer but "nothing yet":
//! a cold chunk is asked for only when nothing came before it.
//! Invariant: no entry at or above the visible maximum is planned.

use super::Broker;
use super::catalog::TopicIdx;
use super::filter::TagFilter;
use super::options::Watermarks;
use super::parking::{ParkId, PullTarget};
use super::pull::{PullPlan, PullReply, PullStep};
use super::reject::{Reject, code};
use crate::base::limits::{PULL_COLD_BYTES_MAX, PULL_SCAN_MAX};
use crate::queue::{Bounds, QueueId, Queues, Span};

impl Broker {
    /// Fills the plan from the index for a target the checks allowed. `Err` is an answer without
    /// messages.
    pub(super) fn scan(
        &mut self,
        target: &PullTarget,
        filter: TagFilter<'_>,
        marks: Watermarks,
        plan: &mut PullPlan,
    ) -> Result<PullStep, PullReply> {
        let Some((queue, mark)) = self.visible_queue(target.topic, target.queue_id, marks) else {
            return Err(empty_queue(target.offset));
        };
        let Bounds { min, max } = self.queues.bounds(queue);
        let view = View { queue, min, max: self.queues.visible_max(queue, mark), real_max: max };
        view.check(target.offset)?;
        let limits = Limits {
            messages: target.max_messages as usize,
            bytes: target.max_bytes as usize,
            resident: marks.resident,
        };
        let walk = self.walk(&view, target.offset, filter, &limits, plan);
        let next = match walk {
            Walk::To(next) => next,
            Walk::Stop(step) => return Ok(step),
        };
        if plan.extents.is_empty() {
            return Err(view.reply(code::PULL_RETRY_IMMEDIATELY, "NO_MATCHED_MESSAGE", next));
        }
        Ok(PullStep::Reply(view.reply(code::SUCCESS, "FOUND", next)))
    }

    fn walk(
        &mut self,
        view: &View,
        from: u64,
        filter: TagFilter<'_>,
        limits: &Limits,
        plan: &mut PullPlan,
    ) -> Walk {
        let stop = view.max.min(from + PULL_SCAN_MAX as u64);
        let mut next = from;
        while next < stop {
            match self.queues.span(view.queue, next) {
                Span::Entries(entries) => {
                    for entry in entries {
                        if next >= stop {
                            break;
                        }
                        if filter.wants(entry.tags) {
                            if limits.full(plan, entry.position, entry.size) {
                                return Walk::To(next);
                            }
                            plan.extents.push((entry.position, entry.size));
                            plan.bytes += entry.size as usize;
                        }
                        next += 1;
                    }
                }
                Span::Cold(chunk) if next == from => return Walk::Stop(PullStep::Need(chunk)),
                Span::Damaged if next == from => {
                    return Walk::Stop(PullStep::Reject(Reject::new(
                        code::SYSTEM_ERROR,
                        format!(
                            "the index of this queue is damaged at offset {next}; restart the \
                             broker to build it again from the log"
                        ),
                    )));
                }
                Span::Cold(_) | Span::Damaged => return Walk::To(next),
                Span::Gone { next: after } => {
                    // A hole that damage left. Messages before it are answered first.
                    if !plan.extents.is_empty() {
                        return Walk::To(next);
                    }
                    return Walk::To(after.max(next + 1).min(view.max));
                }
            }
        }
        Walk::To(next)
    }

    /// Wakes the waiting places of a queue for which something below the mark matches.
    pub(super) fn wake_queue(&mut self, queue: QueueId, mark: u64, woken: &mut Vec<ParkId>) {
        let mut cursor = self.parking.first(queue);
        if cursor.is_none() {
            return;
        }
        let visible = self.queues.visible_max(queue, mark);
        while let Some(id) = cursor {
            cursor = self.parking.after(id);
            let Some((scanned, all, codes)) = self.parking.wanted(id) else { continue };
            let filter = TagFilter { all, codes };
            if visible > scanned
                && something_matches(&mut self.queues, queue, scanned..visible, filter)
            {
                self.parking.wake(id, woken);
            } else {
                self.parking.set_scanned(id, visible);
            }
        }
    }

    /// Queue and watermark of a topic's queue; `None` when nothing was ever in it.
    pub(super) fn visible_queue(
        &self,
        topic: TopicIdx,
        queue_id: u32,
        marks: Watermarks,
    ) -> Option<(QueueId, u64)> {
        let topic = self.catalog.at(topic)?;
        Some((topic.queue(queue_id)?, marks.of(topic.class)))
    }
}

enum Walk {
    To(u64),
    Stop(PullStep),
}

struct Limits {
    messages: usize,
    bytes: usize,
    resident: u64,
}

impl Limits {
    /// Whether one more record would be too much; never for the first.
    fn full(&self, plan: &PullPlan, position: u64, size: u32) -> bool {
        if plan.extents.is_empty() {
            return false;
        }
        let cold = position < self.resident;
        let bytes = if cold { self.bytes.min(PULL_COLD_BYTES_MAX) } else { self.bytes };
        plan.extents.len() >= self.messages || plan.bytes + size as usize > bytes
    }
}

/// A queue as a consumer sees it now.
struct View {
    queue: QueueId,
    min: u64,
    max: u64,
    real_max: u64,
}

impl View {
    fn check(&self, offset: u64) -> Result<(), PullReply> {
        let moved = code::PULL_OFFSET_MOVED;
        if self.real_max == 0 {
            return Err(empty_queue(offset));
        }
        // u64::MAX stands for a negative offset.
        if offset < self.min || offset == u64::MAX {
            return Err(self.reply(moved, "OFFSET_TOO_SMALL", self.min));
        }
        if offset > self.real_max {
            return Err(self.reply(moved, "OFFSET_OVERFLOW_BADLY", self.max));
        }
        if offset >= self.max {
            return Err(self.reply(code::PULL_NOT_FOUND, "OFFSET_OVERFLOW_ONE", offset));
        }
        Ok(())
    }

    fn reply(&self, code: i32, remark: &'static str, next: u64) -> PullReply {
        PullReply { code, remark, next, min: self.min, max: self.max, suggest: 0 }
    }
}

fn empty_queue(offset: u64) -> PullReply {
    let code = if offset == 0 { code::PULL_NOT_FOUND } else { code::PULL_OFFSET_MOVED };
    PullReply { code, remark: "NO_MESSAGE_IN_QUEUE", next: 0, min: 0, max: 0, suggest: 0 }
}

/// See [`Broker::offset_behind`].
pub(super) fn first_at_or_behind(
    queues: &mut Queues,
    queue: QueueId,
    from: u64,
    position: u64,
) -> u64 {
    let max = queues.bounds(queue).max;
    let stop = max.min(from.saturating_add(PULL_SCAN_MAX as u64));
    let mut next = from;
    while next < stop {
        match queues.span(queue, next) {
            Span::Entries(entries) => {
                for entry in entries {
                    if entry.position >= position {
                        return next.max(from + 1);
                    }
                    next += 1;
                }
            }
            Span::Gone { next: after } => next = after.max(next + 1),
            Span::Cold(_) | Span::Damaged => break,
        }
    }
    next.clamp((from + 1).min(max), max)
}

/// Looks at a bounded part of the entries; what is cold or far is left to the pull itself.
fn something_matches(
    queues: &mut Queues,
    queue: QueueId,
    offsets: std::ops::Range<u64>,
    filter: TagFilter<'_>,
) -> bool {
    if filter.all || offsets.end - offsets.start > PULL_SCAN_MAX as u64 {
        return true;
    }
    let mut next = offsets.start;
    while next < offsets.end {
        let Span::Entries(entries) = queues.span(queue, next) else { return true };
        for entry in entries {
            if next >= offsets.end {
                break;
            }
            if filter.wants(entry.tags) {
                return true;
            }
            next += 1;
        }
    }
    false
}

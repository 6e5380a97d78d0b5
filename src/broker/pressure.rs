//! Back-pressure: the one machine that decides whether a send is taken, waits or is refused.
//!
//! Rows of `docs/backpressure.md`, in the order they are tried; each row has a test. What a row
//! looks at is measured by the shard and handed in as a [`Load`]; nothing is remembered between
//! two requests. Every refusal is made before the append: busy always means "not stored".
//! Never: a wait beyond [`SEND_HOLD_MS`]; a refusal without reason, measure, limit and key.

use super::reject::{Reject, code};
use crate::base::limits::{PENDING_REPLIES_MAX, SEND_HOLD_MS};

/// The limits of the machine, under RocketMQ's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PressureLimits {
    /// `osPageCacheBusyTimeOutMills`.
    pub busy_ms: u64,
    /// `waitTimeMillsInSendQueue`.
    pub send_wait_ms: u64,
    /// `sendThreadPoolQueueCapacity`; more than [`PENDING_REPLIES_MAX`] counts as that.
    pub send_queue: u64,
}

impl Default for PressureLimits {
    fn default() -> PressureLimits {
        PressureLimits { busy_ms: 1000, send_wait_ms: 200, send_queue: 10_000 }
    }
}

impl PressureLimits {
    fn send_queue(&self) -> u64 {
        self.send_queue.min(PENDING_REPLIES_MAX as u64)
    }

    /// How long a request may be held where it is, its connection unread, milliseconds.
    pub fn hold_ms(&self) -> u64 {
        SEND_HOLD_MS.min(self.send_wait_ms)
    }
}

/// What is to be known of a shard to decide about one send. Ages are milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Bytes of the staging area that the device has not taken, and its size.
    pub staging: (u64, u64),
    /// The record finds room in the staging area, and there is a segment for it.
    pub staging_fits: bool,
    /// It does not because the next segment of the log is still being made.
    pub segment_waits: bool,
    /// Sends that are stored and not answered.
    pub pending: u64,
    /// The consume queues' memory takes the message's entries.
    pub index_fits: bool,
    /// Bytes of the consume queues' memory.
    pub index_bytes: u64,
    /// Age of the oldest append that the device has not taken.
    pub device_age_ms: u64,
    /// Age of the flush in the air; 0: none.
    pub flush_age_ms: u64,
    /// Age of the oldest send that waits for nothing but the standby; 0: none does.
    pub replica_age_ms: u64,
    /// The sender is answered when the device has the message.
    pub durable: bool,
    /// The sender is answered when the standby has it.
    pub replicated: bool,
    /// Age of the request.
    pub waited_ms: u64,
    /// How long requests have found the shard full, one after the other; 0: the last did not.
    pub full_ms: u64,
}

/// What a refusal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The device does not take what is staged.
    Device,
    /// The device takes it, and its flush does not end.
    Flush,
    /// The device has it, and the standby has not.
    Replica,
    /// Memory for the consume queues is full.
    Memory,
}

/// Which of RocketMQ's texts a refusal begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// `[REJECTREQUEST]`: the device is stalled, seen on arrival.
    RejectRequest,
    /// `[PCBUSY_CLEAN_QUEUE]`: the device is stalled, seen while the request waited.
    PageCacheBusy,
    /// `[TIMEOUT_CLEAN_QUEUE]`: its turn came, or would come, too late.
    TimedOut,
    /// `[OVERLOAD]`: too many sends wait for their answer.
    Overload,
    /// `[PC_SYNCHRONIZED]`: it waited, and there is still no room.
    Synchronized,
}

/// What is done with a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// Store it.
    Accept,
    /// Hold it and read its connection no further; ask again when something moved.
    Hold,
    /// Refuse it.
    Refuse(Text, Reason),
}

/// Whether the shard has no room for the send, in one of its places.
pub fn is_full(load: &Load, limits: &PressureLimits) -> bool {
    !load.staging_fits || !load.index_fits || load.pending >= limits.send_queue()
}

/// Decides about one send: the table.
pub fn rule(load: &Load, limits: &PressureLimits) -> Ruling {
    let full = is_full(load, limits);
    let pressed = full
        || load.staging.0.saturating_mul(2) >= load.staging.1
        || load.pending.saturating_mul(2) >= limits.send_queue();
    if !pressed {
        return Ruling::Accept;
    }
    if load.device_age_ms > limits.busy_ms {
        let text = if load.waited_ms == 0 { Text::RejectRequest } else { Text::PageCacheBusy };
        return Ruling::Refuse(text, Reason::Device);
    }
    if full && load.waited_ms.max(load.full_ms) < limits.hold_ms() {
        return Ruling::Hold;
    }
    if full {
        let text = if !load.staging_fits || !load.index_fits {
            Text::Synchronized
        } else {
            Text::Overload
        };
        return Ruling::Refuse(text, load.reason());
    }
    if load.waited_ms > limits.send_wait_ms {
        return Ruling::Refuse(Text::TimedOut, load.reason());
    }
    let (ahead_ms, reason) = load.ahead();
    if ahead_ms > limits.send_wait_ms {
        return Ruling::Refuse(Text::TimedOut, reason);
    }
    Ruling::Accept
}

impl Load {
    /// Age of the oldest append that is not durable, as far as it is known.
    fn durable_age_ms(&self) -> u64 {
        self.device_age_ms.max(self.flush_age_ms)
    }

    /// How long the oldest of those waits that this send would stand behind, and for what.
    fn ahead(&self) -> (u64, Reason) {
        let device_ms = if self.durable { self.durable_age_ms() } else { 0 };
        let replica_ms = if self.replicated { self.replica_age_ms } else { 0 };
        if replica_ms > device_ms {
            (replica_ms, Reason::Replica)
        } else if self.flush_age_ms > self.device_age_ms {
            (device_ms, Reason::Flush)
        } else {
            (device_ms, Reason::Device)
        }
    }

    fn reason(&self) -> Reason {
        if !self.index_fits {
            Reason::Memory
        } else if self.staging_fits && self.replica_age_ms > self.durable_age_ms() {
            Reason::Replica
        } else if self.staging_fits && self.flush_age_ms > self.device_age_ms {
            Reason::Flush
        } else {
            Reason::Device
        }
    }

    /// The answer for a refusal: RocketMQ's text, then reason, wait, measure, limit and key.
    pub fn reject(&self, text: Text, reason: Reason, limits: &PressureLimits) -> Reject {
        let (waited_ms, size) = (self.waited_ms, self.pending);
        let queue = format!("period in queue: {waited_ms}ms, size of queue: {size}");
        let busy = "broker busy, start flow control for a while";
        let begin = match text {
            Text::RejectRequest => {
                "[REJECTREQUEST]system busy, start flow control for a while".to_owned()
            }
            Text::PageCacheBusy => format!("[PCBUSY_CLEAN_QUEUE]{busy}, {queue}"),
            Text::TimedOut => format!("[TIMEOUT_CLEAN_QUEUE]{busy}, {queue}"),
            Text::Overload => "[OVERLOAD]system busy, start flow control for a while".to_owned(),
            Text::Synchronized => format!("[PC_SYNCHRONIZED]{busy}"),
        };
        let name = match reason {
            Reason::Device => "device",
            Reason::Flush => "flush",
            Reason::Replica => "replica",
            Reason::Memory => "memory",
        };
        let measure = self.measure(text, reason, limits);
        let remark = format!("{begin}, reason: {name}, waited: {waited_ms}ms, {measure}");
        Reject::new(code::SYSTEM_BUSY, remark)
    }

    /// What was measured against which limit, and the key that sets it.
    fn measure(&self, text: Text, reason: Reason, limits: &PressureLimits) -> String {
        match text {
            Text::RejectRequest | Text::PageCacheBusy => format!(
                "oldest append not on the device: {}ms, limit: {}ms, change: \
                 osPageCacheBusyTimeOutMills",
                self.device_age_ms, limits.busy_ms
            ),
            Text::TimedOut if self.waited_ms > limits.send_wait_ms => {
                format!("limit: {}ms, change: waitTimeMillsInSendQueue", limits.send_wait_ms)
            }
            Text::TimedOut => format!(
                "{}: {}ms, limit: {}ms, change: waitTimeMillsInSendQueue",
                match reason {
                    Reason::Replica => "oldest send that the standby has not confirmed",
                    _ => "oldest append not durable",
                },
                self.ahead().0,
                limits.send_wait_ms
            ),
            Text::Overload => format!(
                "sends without an answer: {}, limit: {}, change: sendThreadPoolQueueCapacity",
                self.pending,
                limits.send_queue()
            ),
            Text::Synchronized if !self.index_fits => format!(
                "consume queue entries not on disk fill the memory, limit: {} bytes, change: \
                 consumeQueueMemory",
                self.index_bytes
            ),
            Text::Synchronized if self.segment_waits => "the log's active segment is full and the \
                 next one is still being made, limit: 1 made ahead, change: mappedFileSizeCommitLog"
                .to_owned(),
            Text::Synchronized => format!(
                "staged and not on the device: {} bytes, limit: {} bytes, change: stagingSize",
                self.staging.0, self.staging.1
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: PressureLimits =
        PressureLimits { busy_ms: 1000, send_wait_ms: 200, send_queue: 100 };

    fn calm() -> Load {
        Load {
            staging: (0, 1000),
            staging_fits: true,
            segment_waits: false,
            pending: 0,
            index_fits: true,
            index_bytes: 64,
            device_age_ms: 0,
            flush_age_ms: 0,
            replica_age_ms: 0,
            durable: false,
            replicated: false,
            waited_ms: 0,
            full_ms: 0,
        }
    }

    fn half() -> Load {
        Load { staging: (500, 1000), ..calm() }
    }

    fn full() -> Load {
        Load { staging: (990, 1000), staging_fits: false, ..calm() }
    }

    fn refused(load: Load) -> (i32, String) {
        match rule(&load, &LIMITS) {
            Ruling::Refuse(text, reason) => {
                let reject = load.reject(text, reason, &LIMITS);
                (reject.code, reject.remark.into_owned())
            }
            other => (0, format!("{other:?}")),
        }
    }

    #[test]
    fn row_1_a_shard_less_than_half_full_takes_every_send_whatever_its_age() {
        let stalled = Load {
            staging: (499, 1000),
            pending: 49,
            device_age_ms: 60_000,
            flush_age_ms: 60_000,
            durable: true,
            waited_ms: 60_000,
            ..calm()
        };
        assert_eq!(rule(&stalled, &LIMITS), Ruling::Accept);
    }

    #[test]
    fn a_log_whose_next_segment_is_not_there_yet_says_so() {
        let load = Load { segment_waits: true, waited_ms: 50, staging: (0, 1000), ..full() };
        let (code, remark) = refused(load);
        assert_eq!(code, 2);
        assert!(remark.contains("segment is full and the next one is still being made"));
        assert!(remark.ends_with("change: mappedFileSizeCommitLog"), "{remark}");
    }

    #[test]
    fn row_2_from_half_on_a_stalled_device_refuses_at_once_by_the_age_of_the_oldest_append() {
        let busy = "oldest append not on the device: 1001ms, limit: 1000ms, change: \
                    osPageCacheBusyTimeOutMills";
        let arrival = Load { device_age_ms: 1001, ..half() };
        assert_eq!(
            refused(arrival),
            (
                2,
                format!(
                    "[REJECTREQUEST]system busy, start flow control for a while, reason: device, \
                     waited: 0ms, {busy}"
                )
            )
        );
        let queued = Load { device_age_ms: 1001, waited_ms: 7, pending: 3, ..full() };
        assert_eq!(
            refused(queued).1,
            format!(
                "[PCBUSY_CLEAN_QUEUE]broker busy, start flow control for a while, period in \
                 queue: 7ms, size of queue: 3, reason: device, waited: 7ms, {busy}"
            )
        );
        assert_eq!(rule(&Load { device_age_ms: 1000, ..half() }, &LIMITS), Ruling::Accept);
    }

    #[test]
    fn row_3_a_full_shard_holds_a_send_for_fifty_milliseconds_and_no_longer() {
        for load in [full(), Load { pending: 100, ..calm() }, Load { index_fits: false, ..calm() }]
        {
            assert_eq!(rule(&Load { waited_ms: 49, ..load }, &LIMITS), Ruling::Hold);
            let over = rule(&Load { waited_ms: 50, ..load }, &LIMITS);
            assert!(matches!(over, Ruling::Refuse(..)), "{over:?}");
            let lasting = rule(&Load { full_ms: 50, ..load }, &LIMITS);
            assert!(matches!(lasting, Ruling::Refuse(..)), "nobody is held for nothing");
            let hasty = PressureLimits { send_wait_ms: 10, ..LIMITS };
            assert!(matches!(rule(&Load { waited_ms: 10, ..load }, &hasty), Ruling::Refuse(..)));
        }
    }

    #[test]
    fn row_4_a_send_that_found_no_staging_room_is_told_the_bytes_and_the_size() {
        let (code, remark) = refused(Load { waited_ms: 50, ..full() });
        assert_eq!(code, 2);
        assert_eq!(
            remark,
            "[PC_SYNCHRONIZED]broker busy, start flow control for a while, reason: device, \
             waited: 50ms, staged and not on the device: 990 bytes, limit: 1000 bytes, change: \
             stagingSize"
        );
    }

    #[test]
    fn row_5_a_send_that_found_no_index_memory_is_told_so() {
        let (_, remark) = refused(Load { index_fits: false, waited_ms: 51, ..calm() });
        assert_eq!(
            remark,
            "[PC_SYNCHRONIZED]broker busy, start flow control for a while, reason: memory, \
             waited: 51ms, consume queue entries not on disk fill the memory, limit: 64 bytes, \
             change: consumeQueueMemory"
        );
    }

    #[test]
    fn row_6_too_many_unanswered_sends_are_an_overload_of_whom_the_oldest_waits_for() {
        let load = Load { pending: 100, waited_ms: 50, ..calm() };
        let begin = "[OVERLOAD]system busy, start flow control for a while, reason: ";
        let end = ", waited: 50ms, sends without an answer: 100, limit: 100, change: \
                   sendThreadPoolQueueCapacity";
        let flush = Load { flush_age_ms: 900, device_age_ms: 30, ..load };
        assert_eq!(refused(flush).1, format!("{begin}flush{end}"));
        let device = Load { device_age_ms: 30, ..load };
        assert_eq!(refused(device).1, format!("{begin}device{end}"));
        let standby = Load { replica_age_ms: 901, ..flush };
        assert_eq!(refused(standby).1, format!("{begin}replica{end}"));
    }

    #[test]
    fn row_7_from_half_on_a_send_is_shed_by_its_own_age() {
        let (_, remark) = refused(Load { waited_ms: 201, ..half() });
        assert_eq!(
            remark,
            "[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while, period in queue: \
             201ms, size of queue: 0, reason: device, waited: 201ms, limit: 200ms, change: \
             waitTimeMillsInSendQueue"
        );
        assert_eq!(rule(&Load { waited_ms: 200, ..half() }, &LIMITS), Ruling::Accept);
    }

    #[test]
    fn row_8_from_half_on_a_send_that_needs_the_device_is_shed_by_the_wait_ahead_of_it() {
        let stalled = Load { pending: 50, flush_age_ms: 201, ..calm() };
        assert_eq!(rule(&stalled, &LIMITS), Ruling::Accept, "an ASYNC send is answered at once");
        let (_, remark) = refused(Load { durable: true, ..stalled });
        assert_eq!(
            remark,
            "[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while, period in queue: \
             0ms, size of queue: 50, reason: flush, waited: 0ms, oldest append not durable: \
             201ms, limit: 200ms, change: waitTimeMillsInSendQueue"
        );
        let slow = Load { durable: true, device_age_ms: 201, ..half() };
        assert!(refused(slow).1.contains("reason: device"));
        let away = Load { pending: 50, replica_age_ms: 201, ..calm() };
        assert_eq!(rule(&away, &LIMITS), Ruling::Accept, "it does not wait for the standby");
        let (_, remark) = refused(Load { replicated: true, ..away });
        assert_eq!(
            remark,
            "[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while, period in queue: \
             0ms, size of queue: 50, reason: replica, waited: 0ms, oldest send that the standby \
             has not confirmed: 201ms, limit: 200ms, change: waitTimeMillsInSendQueue"
        );
        let both = Load { replicated: true, flush_age_ms: 300, ..away };
        let (_, remark) = refused(both);
        assert!(remark.contains("reason: replica"), "it does not wait for the flush: {remark}");
        assert!(refused(Load { durable: true, ..both }).1.contains("reason: flush"));
    }

    #[test]
    fn row_9_from_half_on_a_send_within_all_limits_is_taken() {
        let load = Load {
            staging: (900, 1000),
            pending: 99,
            device_age_ms: 200,
            flush_age_ms: 200,
            durable: true,
            waited_ms: 200,
            ..calm()
        };
        assert_eq!(rule(&load, &LIMITS), Ruling::Accept);
    }

    #[test]
    fn the_capacity_never_exceeds_the_bound_of_the_rings() {
        let wide = PressureLimits { send_queue: u64::MAX, ..LIMITS };
        let load = Load { pending: PENDING_REPLIES_MAX as u64, ..calm() };
        assert_eq!(rule(&load, &wide), Ruling::Hold);
    }
}

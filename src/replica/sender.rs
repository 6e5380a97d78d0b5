//! The primary's side of a pair: one standby, fed from the staging ring, or from disk while it is
//! behind.
//!
//! A block goes out in the turn that hands it to the device. What the standby has not acknowledged
//! is bounded by a window; one that fell behind the ring is fed by cold reads, one at a time, under
//! the bandwidth limit, so that producers do not feel it.
//! Never: a block before the peer has proved who it is; an acknowledgement believed beyond what was
//! sent.

use std::collections::VecDeque;

use weir_io::{Buf, Driver, Errno};

use super::frame::Kind;
use super::handshake::Hello;
use super::link::{KIND_COLD, Link, token};
use crate::base::limits::{HA_AGES_MAX, HA_BEAT_MS, HA_WINDOW_BYTES};
use crate::commitlog::{ColdRead, Log, Window};

/// A stretch of the log is at least this old before the next one's age is remembered.
const AGE_STEP_NS: u64 = 5_000_000;
/// Unused bandwidth is kept for this long.
const BURST_NS: u64 = 100_000_000;

/// Where old blocks come from.
#[derive(Debug)]
enum Source {
    Nothing,
    Reading(ColdRead),
    Here(Window),
}

/// A standby being fed.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) link: Link,
    /// Identity of its node.
    pub(super) node: u64,
    /// Address that clients find it at, and whether it serves readers.
    pub(super) client: (String, bool),
    /// Epoch of this primary.
    epoch: u64,
    /// Position of the next block to send.
    pub(super) next: u64,
    /// It has received, and made durable, everything below.
    pub(super) received: u64,
    /// See `received`.
    pub(super) durable: u64,
    /// End of the log when it came.
    goal: u64,
    /// Error of its own log, 0: none.
    pub(super) failed: u64,
    source: Source,
    /// Positions and when the log ended there, oldest first.
    ages: VecDeque<(u64, u64)>,
    /// Bytes that catching up may still read, and when that was counted.
    budget: (u64, u64),
}

impl Sender {
    /// A standby that has proved itself and holds everything below `from`.
    pub(super) fn new(link: Link, hello: &Hello, epoch: u64, from: u64, goal: u64) -> Sender {
        Sender {
            link,
            node: hello.node,
            client: (hello.client.clone(), hello.reads),
            epoch,
            next: from,
            received: from,
            durable: 0,
            goal,
            failed: 0,
            source: Source::Nothing,
            ages: VecDeque::new(),
            budget: (0, 0),
        }
    }

    /// Whether it has caught up with what was there when it came, serves, and is within `gap`.
    pub(super) fn is_near(&self, appended: u64, gap: u64) -> bool {
        self.failed == 0
            && self.received >= self.goal
            && appended.saturating_sub(self.received) <= gap
    }

    /// How far behind it is: bytes, and age of the oldest record it lacks, milliseconds.
    pub(super) fn lag(&self, appended: u64, now_ns: u64) -> (u64, u64) {
        let bytes = appended.saturating_sub(self.received);
        let oldest = self.ages.front().filter(|_| bytes > 0);
        (bytes, oldest.map_or(0, |(_, ns)| now_ns.saturating_sub(*ns) / 1_000_000))
    }

    /// Takes an acknowledgement: position received, then durable position and errno. The error is
    /// a reason to part.
    pub(super) fn acknowledged(
        &mut self,
        epoch: u64,
        received: u64,
        words: (Option<u64>, Option<u64>),
    ) -> Result<(), String> {
        let (Some(durable), Some(failed)) = words else {
            return Err("a malformed acknowledgement".into());
        };
        if epoch != self.epoch {
            return Err(format!("an acknowledgement of epoch {epoch}, not {}", self.epoch));
        }
        if received > self.next || durable > self.next {
            return Err(format!(
                "it acknowledged position {}, and was sent up to {}",
                received.max(durable),
                self.next
            ));
        }
        self.received = self.received.max(received);
        self.durable = self.durable.max(durable);
        self.failed = failed;
        while self.ages.front().is_some_and(|(upto, _)| *upto <= self.received) {
            self.ages.pop_front();
        }
        Ok(())
    }

    /// Sends what the window and the limit allow. The error is a reason to part.
    pub(super) fn push(&mut self, driver: &mut Driver, log: &Log, rate: u64) -> Result<(), String> {
        let (end, now_ns) = (log.watermarks().appended, driver.now_ns());
        self.note_age(end, now_ns);
        self.refill(now_ns, rate);
        while self.link.has_room()
            && self.next < end
            && self.next.saturating_sub(self.received) < HA_WINDOW_BYTES
        {
            let went = if self.next >= log.resident_from() {
                self.push_staged(log, end)
            } else {
                self.push_cold(driver, log, end)?
            };
            if !went {
                break;
            }
        }
        let silent_ns = now_ns.saturating_sub(self.link.spoke_ns);
        if silent_ns >= HA_BEAT_MS * 1_000_000 && self.link.is_drained() {
            let (durable, wall_ms) = (log.watermarks().durable, driver.wall_ms());
            let parts: [&[u8]; 2] = [&durable.to_le_bytes(), &wall_ms.to_le_bytes()];
            self.link.put(Kind::Beat, self.epoch, end, &parts);
        }
        self.link.flush(driver);
        Ok(())
    }

    fn push_staged(&mut self, log: &Log, end: u64) -> bool {
        // A read in the air is waited for all the same: its answer must not pass for another's.
        if let Source::Here(_) = self.source {
            self.source = Source::Nothing;
        }
        let Some(block) = log.staged_from(self.next) else { return false };
        self.link.put(Kind::Block, self.epoch, end, &[&block.header, block.records]);
        self.next = block.end;
        true
    }

    fn push_cold(&mut self, driver: &mut Driver, log: &Log, end: u64) -> Result<bool, String> {
        match &self.source {
            Source::Reading(_) => return Ok(false),
            Source::Here(window) => {
                if let Some(block) = Log::window_from(window, self.next) {
                    if self.budget.0 == 0 {
                        return Ok(false);
                    }
                    self.budget.0 = self.budget.0.saturating_sub(block.records.len() as u64);
                    let parts: [&[u8]; 2] = [&block.header, block.records];
                    self.link.put(Kind::Block, self.epoch, end, &parts);
                    self.next = block.end;
                    return Ok(true);
                }
                if let Some(damage) = window.damage() {
                    return Err(format!("what it needs next cannot be read: {damage}"));
                }
            }
            Source::Nothing => {}
        }
        let Some(cold) = log.cold(self.next) else {
            return Err(format!(
                "position {} is not in this log any more: it lies in a hole, or retention has \
                 passed it; begin the standby anew with an empty data directory",
                self.next
            ));
        };
        driver.read(cold.file, cold.offset, Buf::new(cold.len), token(KIND_COLD, self.link.id));
        self.source = Source::Reading(cold);
        Ok(false)
    }

    /// A window that was asked for came.
    pub(super) fn arrived(
        &mut self,
        log: &Log,
        buf: Buf,
        result: Result<usize, Errno>,
    ) -> Result<(), String> {
        let Source::Reading(cold) = self.source else { return Ok(()) };
        let got = result.map_err(|errno| format!("reading old blocks failed: {errno}"))?;
        self.source = Source::Here(log.open_window(cold, buf, got));
        Ok(())
    }

    fn note_age(&mut self, end: u64, now_ns: u64) {
        let due = self
            .ages
            .back()
            .is_none_or(|(upto, ns)| end > *upto && now_ns.saturating_sub(*ns) >= AGE_STEP_NS);
        if due && end > self.received && self.ages.len() < HA_AGES_MAX {
            self.ages.push_back((end, now_ns));
        }
    }

    fn refill(&mut self, now_ns: u64, rate: u64) {
        let (budget, since_ns) = self.budget;
        let passed_ns = now_ns.saturating_sub(since_ns).min(BURST_NS);
        let grown = u128::from(rate) * u128::from(passed_ns) / 1_000_000_000;
        let most = u128::from(rate) * u128::from(BURST_NS) / 1_000_000_000;
        let grown = u64::try_from(grown).unwrap_or(u64::MAX);
        if grown > 0 {
            let most = u64::try_from(most).unwrap_or(u64::MAX);
            self.budget = (budget.saturating_add(grown).min(most), now_ns);
        }
    }
}

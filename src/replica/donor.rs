//! The other side of healing: gives blocks to a peer that lost them to damage.
//!
//! Either half gives, whatever its role, what both logs have by their epoch lists. One block is
//! read at a time, checked like any cold read; one that is damaged here as well is said to be so,
//! and is this node's own damage from then on.
//! Never: a block beyond the common history; one whose checksum does not hold.

use weir_io::{Buf, Driver, Errno};

use super::frame::Kind;
use super::link::{KIND_HELP, Link, token};
use crate::base::limits::HEAL_IDLE_MS;
use crate::commitlog::{ColdRead, Damage, Log};

/// A peer that came for blocks.
#[derive(Debug)]
pub(super) struct Donor {
    pub(super) link: Link,
    /// Both logs have the same history up to here.
    common: u64,
    reading: Option<(u64, ColdRead)>,
}

impl Donor {
    /// A peer that has proved itself.
    pub(super) fn new(link: Link, common: u64) -> Donor {
        Donor { link, common, reading: None }
    }

    /// Whether it asked for nothing for too long.
    pub(super) fn is_idle(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.link.heard_ns) > HEAL_IDLE_MS * 1_000_000
    }

    /// Answers what it asked for. The error is a reason to part.
    pub(super) fn read(&mut self, driver: &mut Driver, log: &Log) -> Result<(), String> {
        while self.reading.is_none() {
            let Some((frame, len)) = self.link.front().map_err(|fault| fault.to_string())? else {
                break;
            };
            let (kind, position) = (frame.kind, frame.value);
            if kind != Kind::Want {
                return Err(format!("an unexpected frame ({kind:?})"));
            }
            self.link.take(driver, len);
            self.answer(driver, log, position);
        }
        self.link.flush(driver);
        Ok(())
    }

    fn answer(&mut self, driver: &mut Driver, log: &Log, position: u64) {
        let end = log.watermarks().appended.min(self.common);
        if position >= end {
            let why = format!("the other half holds the common history up to {end} only");
            return self.lacks(position, &why);
        }
        if position >= log.resident_from() {
            match log.staged_from(position) {
                Some(block) => {
                    let parts: [&[u8]; 2] = [&block.header, block.records];
                    self.link.put(Kind::Copy, 0, position, &parts);
                }
                None => self.lacks(position, "the other half is writing it just now"),
            }
            return;
        }
        let Some(cold) = log.cold(position) else {
            let why =
                "the other half has it no more: retention has passed it, or it lies in a hole";
            return self.lacks(position, why);
        };
        let token = token(KIND_HELP, self.link.id);
        driver.read(cold.file, cold.offset, Buf::new(cold.len), token);
        self.reading = Some((position, cold));
    }

    /// A window that was asked for came. Gives the damage in it, if it took what was asked for.
    pub(super) fn arrived(
        &mut self,
        driver: &mut Driver,
        log: &Log,
        buf: Buf,
        result: Result<usize, Errno>,
    ) -> Option<Damage> {
        let (position, cold) = self.reading.take()?;
        let window = match result {
            Ok(got) => log.open_window(cold, buf, got),
            Err(errno) => {
                self.lacks(position, &format!("the other half cannot read it: {errno}"));
                return None;
            }
        };
        if let Some(block) = Log::window_from(&window, position) {
            let parts: [&[u8]; 2] = [&block.header, block.records];
            self.link.put(Kind::Copy, 0, position, &parts);
            self.link.flush(driver);
            return None;
        }
        self.lacks(position, "it is damaged on the other half as well");
        self.link.flush(driver);
        window.damage()
    }

    fn lacks(&mut self, position: u64, why: &str) {
        self.link.put(Kind::Lack, 0, position, &[why.as_bytes()]);
    }
}

//! The stream as the standby takes it: blocks in their order, and the words between them.
//!
//! A block stays in the link's inbox until the shard took it. A pledge or a change of roles takes
//! effect in its place among the blocks. Never: a block that is not whole, not of the session's
//! epoch, or not at the end of this log.

use weir_io::Driver;

use super::frame::{Kind, PLEDGE_ALWAYS};
use super::pair::Pair;
use super::receiver::Phase;
use crate::base::limits::BLOCK_HEADER;
use crate::commitlog::{BlockHeader, Log, open_shipment};

/// What stands at the front of the standby's stream.
enum Front {
    Block,
    Taken,
    Nothing,
}

impl Pair {
    /// The next block of the primary's log, checked and in its place. The shard takes it whole and
    /// says [`Pair::took`].
    pub fn next_block(&mut self, driver: &mut Driver, log: &Log) -> Option<(BlockHeader, &[u8])> {
        loop {
            if self.receiver.phase != Phase::Following {
                return None;
            }
            match self.control_frame(driver, log) {
                Ok(Front::Block) => break,
                Ok(Front::Taken) => {}
                Ok(Front::Nothing) => return None,
                Err(why) => {
                    self.part(driver, &why);
                    return None;
                }
            }
        }
        let (frame, _) = self.receiver.link.as_ref()?.front().ok()??;
        // Its sum was checked a moment ago.
        Some((BlockHeader::peek(frame.payload)?, frame.payload.get(BLOCK_HEADER..)?))
    }

    /// The block that [`Pair::next_block`] gave was taken.
    pub fn took(&mut self, driver: &mut Driver) {
        let Some(link) = &mut self.receiver.link else { return };
        if let Ok(Some((_, len))) = link.front() {
            link.take(driver, len);
        }
    }

    /// Handles what stands before the next block.
    fn control_frame(&mut self, driver: &mut Driver, log: &Log) -> Result<Front, String> {
        let Some(link) = &self.receiver.link else { return Ok(Front::Nothing) };
        let Some((frame, len)) = link.front().map_err(|fault| fault.to_string())? else {
            return Ok(Front::Nothing);
        };
        let (kind, value, epoch) = (frame.kind, frame.value, frame.epoch);
        if epoch != self.receiver.epoch {
            return Err(format!("a frame of epoch {epoch}, not {}", self.receiver.epoch));
        }
        if matches!(kind, Kind::Block | Kind::Beat) {
            self.receiver.primary_end = (value, driver.now_ns());
        }
        match kind {
            Kind::Block => {
                let end = log.watermarks().appended;
                match open_shipment(frame.payload, log.log_id()) {
                    Ok((header, _)) if header.start == end => return Ok(Front::Block),
                    Ok((header, _)) => {
                        return Err(format!("a block of position {}, not {end}", header.start));
                    }
                    Err(fault) => return Err(format!("a block that is not whole ({fault:?})")),
                }
            }
            Kind::Beat => {}
            Kind::Pledge => {
                let witnessed = frame.payload != PLEDGE_ALWAYS;
                self.pledged(driver, epoch, witnessed)?;
            }
            // What it stands on must be durable before the role is; until then the word waits.
            Kind::HandOver if log.fenced().is_none() && log.watermarks().durable < value => {
                self.receiver.called = true;
                return Ok(Front::Nothing);
            }
            Kind::HandOver => self.handed_over(driver, log, value)?,
            Kind::Refuse => {
                return Err(String::from_utf8_lossy(frame.payload).into_owned());
            }
            other => return Err(format!("an unexpected frame ({other:?})")),
        }
        if let Some(link) = &mut self.receiver.link {
            link.take(driver, len);
        }
        Ok(Front::Taken)
    }

    /// `witnessed`: it counts only while a majority outside names this node.
    fn pledged(&mut self, driver: &mut Driver, epoch: u64, witnessed: bool) -> Result<(), String> {
        let Some(policy) = self.receiver.peer.as_ref().map(|(hello, _)| hello.policy) else {
            return Err("a pledge before a hello".into());
        };
        let boot = if policy.durable { 0 } else { self.options.boot };
        self.file.state.pledge = Some((epoch, boot));
        self.file.state.witnessed = witnessed;
        self.file.save(driver).map_err(|errno| format!("the pledge cannot be kept: {errno}"))?;
        let text = format!("in step with the primary of epoch {epoch}; it waits for this node");
        self.notes.say("replica-in-sync", text);
        Ok(())
    }
}

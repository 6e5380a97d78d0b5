//! Where the shard feeds its meter: stored messages, writes of the log, the end of a turn.
//!
//! Clocks are the driver's, so on the simulated kernel the figures are exact. Never: a decision
//! that depends on a figure; a clock read per message.

use weir_io::Driver;

use super::shard::Shard;
use crate::broker::{Admission, FlushClass};
use crate::commitlog::DeviceOp;
use crate::measure::{AtRisk, Minute, Stage};
use crate::replica::Gate;

impl Shard {
    /// A send is read and about to be judged; times it when it is the turn's picked one.
    #[inline]
    pub(super) fn time_append(&mut self, driver: &Driver) {
        if self.meter.sample.is_timing() {
            self.meter.sample.append_begins(driver.now_ns());
        }
    }

    /// A send stands in the log at `position`.
    #[inline]
    pub(super) fn count_stored(
        &mut self,
        driver: &Driver,
        admission: &Admission,
        payload: usize,
        position: u64,
    ) {
        let upto = position + u64::from(admission.len);
        let early = (admission.ack == FlushClass::Staged).then_some(upto);
        self.meter.stored(admission.count, admission.len, payload, early);
        if self.meter.sample.is_timing() {
            self.meter.sample.appended(driver.now_ns());
        }
    }

    /// Takes in what the log handed to the device and got back from it.
    pub(super) fn measure_log(&mut self) {
        let stages = &mut self.meter.stages;
        self.log.take_ops(|op| match op {
            DeviceOp::Submitted(bytes) => stages.record(Stage::WriteBytes, bytes as u64, 1),
            DeviceOp::Wrote(ns) => stages.record(Stage::Write, ns, 1),
            DeviceOp::Flushed(ns) => stages.record(Stage::Flush, ns, 1),
        });
        let (upto, at_ns) = self.log.launched();
        self.pending.sides.durable.submitted(upto, at_ns);
        self.meter.standby = matches!(self.gate(), Gate::Both(_));
        if self.meter.standby {
            self.pending.sides.durable.kept(self.log.watermarks().durable, self.now_ns);
        }
        self.meter.risk.settle(self.log.watermarks().durable, self.now_ns);
    }

    /// Requests handled from now on were received at `ns`: they had waited for room.
    pub fn received_at(&mut self, ns: u64) {
        self.meter.received_at(&mut self.pending.sides, ns);
    }

    /// All requests of the turn are handled.
    pub fn handled(&mut self, now_ns: u64) {
        self.meter.handled(&mut self.pending.sides, now_ns);
    }

    /// The replies of the turn are on their way. Says what held the loop for too long.
    pub fn sent(&mut self, now_ns: u64) {
        let (waiting, flying) = (self.pending.len(), self.log.flights());
        let held = self.meter.end_turn(&mut self.pending.sides, now_ns, waiting, flying);
        if let Some(held) = held {
            let why = format_args!(
                "a turn took {:.1} ms, of which {:.1} ms in {} (limit {} ms, stallLogMillis)",
                ms(held.turn_ns),
                ms(held.part_ns),
                held.part,
                self.meter.stall_limit_ns / 1_000_000
            );
            self.voice.say("ring-held", &why);
        }
    }

    /// What a power cut would cost now.
    pub fn at_risk(&self) -> AtRisk {
        self.meter.risk.now(self.now_ns)
    }

    /// Bytes appended and not yet durable.
    pub fn flush_behind_bytes(&self) -> u64 {
        let marks = self.log.watermarks();
        marks.appended.saturating_sub(marks.durable)
    }

    /// Bytes of the log's files.
    pub fn storage_bytes(&self) -> u64 {
        self.log.disk_bytes()
    }

    /// Bytes of the staging ring that the device has not taken, and the ring's size.
    pub fn staging_use(&self) -> (usize, usize) {
        self.log.occupancy()
    }

    /// Replies that wait for a watermark, and log writes in flight.
    pub fn waiting(&self) -> (usize, usize) {
        (self.pending.len(), self.log.flights())
    }

    /// Log positions of the first record kept and after the last.
    pub fn log_span(&self) -> (u64, u64) {
        (self.log.min_position(), self.log.watermarks().appended)
    }

    /// Total and available bytes of the disk; zeros when it cannot be asked.
    pub fn disk_space(&self, driver: &mut Driver) -> (u64, u64) {
        driver.disk_space(&self.options.dir).unwrap_or_default()
    }

    /// Age of the oldest write the device has not taken, milliseconds.
    pub fn device_age_ms(&self) -> u64 {
        self.log.device_age_ns(self.now_ns) / 1_000_000
    }

    /// Brings the slow counters up to date, and says the minute's line when one became whole.
    pub(super) fn measure_tick(&mut self) {
        let counts = &mut self.meter.counts;
        (counts.log_bytes, counts.prepared_bytes) = self.log.written_bytes();
        counts.index_bytes = self.index_writer.bytes;
        let local_ms = self.wall_ms + self.keeper.utc_offset_ms;
        let minute = self.meter.windows.tick(self.now_ns, local_ms, &self.meter.counts);
        if let Some(minute) = minute {
            self.tell_minute(&minute);
        }
    }

    /// Says what happened since the last whole minute, at the end.
    pub(super) fn tell_last(&mut self) {
        let counts = self.meter.counts;
        if let Some(minute) = self.meter.windows.end_minute(self.now_ns, &counts) {
            self.tell_minute(&minute);
        }
        if counts.messages_in + counts.messages_out > 0 {
            let line = format_args!(
                "{} messages in ({} bytes), {} out ({} bytes), {} sends refused since the start; \
                 longest send {:.1} ms; {:.2} bytes written per byte of body",
                counts.messages_in,
                counts.bytes_in,
                counts.messages_out,
                counts.bytes_out,
                counts.sends_refused,
                ms(self.meter.windows.put_max_ns),
                counts.write_amplification()
            );
            self.voice.say("traffic-total", &line);
        }
    }

    fn tell_minute(&mut self, minute: &Minute) {
        let [p50, p99, max] = minute.put_ns.map(ms);
        let risk = self.at_risk();
        let line = format_args!(
            "{:.0} s: {} messages in, {} out, {} sends refused; send p50 {p50:.2} p99 {p99:.2} max \
             {max:.2} ms; not yet on the device: {} messages, {} bytes, {} ms",
            minute.span_ns as f64 / 1e9,
            minute.messages_in,
            minute.messages_out,
            minute.sends_refused,
            risk.messages,
            risk.bytes,
            risk.oldest_ms
        );
        self.voice.say("traffic", &line);
    }
}

fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

//! Counters since the start of the process. They only go up; whoever wants a rate subtracts.

/// What one shard has done since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages stored for producers; a batch counts each of its messages.
    pub messages_in: u64,
    /// Bytes of their records.
    pub bytes_in: u64,
    /// Bytes of their bodies, as they came.
    pub payload_in: u64,
    /// Sends that were refused.
    pub sends_refused: u64,
    /// Records handed to consumers.
    pub messages_out: u64,
    /// Bytes of those records.
    pub bytes_out: u64,
    /// Pulls answered with messages.
    pub pulls_found: u64,
    /// Pulls answered without.
    pub pulls_missed: u64,
    /// Bytes written to the device for the log.
    pub log_bytes: u64,
    /// Bytes written ahead of the log, so that its extents exist.
    pub prepared_bytes: u64,
    /// Bytes written for the consume queues' file.
    pub index_bytes: u64,
    /// Turns that held the loop longer than the limit.
    pub stalls: u64,
}

impl Counts {
    /// Bytes written to the device.
    #[must_use]
    pub fn device_bytes(&self) -> u64 {
        self.log_bytes + self.prepared_bytes + self.index_bytes
    }

    /// Bytes written to the device per byte of body; 0 before the first message.
    #[must_use]
    pub fn write_amplification(&self) -> f64 {
        if self.payload_in == 0 {
            return 0.0;
        }
        self.device_bytes() as f64 / self.payload_in as f64
    }
}

//! What the configuration tells a node of its pair.
//!
//! Plain values, set once at start. Secrets are never printed.

use std::net::SocketAddr;

/// What a node is for its pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It takes messages.
    #[default]
    Primary,
    /// It follows a primary.
    Standby,
}

impl Role {
    /// The word for it, as in the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Role::Primary => "primary",
            Role::Standby => "standby",
        }
    }
}

/// One shard's part in a pair.
#[derive(Clone)]
pub struct ReplicaOptions {
    /// `brokerClusterName`; peers of another are refused.
    pub cluster: String,
    /// Broker name of the shard, the same on both boxes.
    pub broker: String,
    /// This shard.
    pub shard: u16,
    /// Shards of the box; peers with another count are refused.
    pub shards: u16,
    /// What the configuration says the node is. What a promotion made it since wins over this.
    pub role: Role,
    /// Where a standby finds its primary, until it has learned better.
    pub primary: Option<SocketAddr>,
    /// Port of this shard that peers connect to.
    pub ha_port: u16,
    /// Address that clients find this shard at, for the other half's name server.
    pub client: String,
    /// `haSecret`; empty on loopback only.
    pub secret: Vec<u8>,
    /// Random bytes of this start; challenges and the node's identity are drawn from them.
    pub seed: [u8; 32],
    /// A number that changes when the machine boots: what only its memory held is gone then.
    pub boot: u64,
    /// `brokerRole = SYNC_MASTER`: an acknowledgement waits for the standby.
    pub sync: bool,
    /// `standbyLost = refuse`: without a standby in step nothing is acknowledged.
    pub refuse: bool,
    /// `replicaAck = durable`: what the standby's device has counts, not what it received.
    pub ack_durable: bool,
    /// `slaveTimeout`, milliseconds: a reply waits this long for the standby, and a silent peer is
    /// given up after this.
    pub slave_timeout_ms: u64,
    /// `haMaxGapNotInSync`: a standby further behind than this many bytes is not in step.
    pub max_gap_bytes: u64,
    /// `maxHaTransferByteInSecond`: what catching up may read from the disk and send, bytes a
    /// second.
    pub catch_up_bytes: u64,
    /// `scrubBytesPerSecond`: sealed segments are read over at this pace; 0: they are not.
    pub scrub_bytes: u64,
    /// `slaveReadEnable`: the standby serves readers.
    pub reads: bool,
}

impl std::fmt::Debug for ReplicaOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReplicaOptions({} {} of {})", self.broker, self.shard, self.shards)
    }
}

//! The first words between two boxes: who each is, that both know the secret, and whether one may
//! follow the other.
//!
//! Each side says its hello with a fresh challenge; a proof is an HMAC-SHA256 of both hellos under
//! the shared secret, so that neither a stranger nor a replay gets past it. What cannot work is
//! refused with a sentence that both sides log: itself, a stranger, another cluster, name, shard,
//! shard count or history; roles are compared in `greet`.
//! Never: a block before both proofs; a comparison whose time tells of the secret.

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use super::epoch::Epochs;
use super::frame::word;
use super::options::{ReplicaOptions, Role};

/// Texts in a hello are at most this long.
const TEXT_MAX: usize = 255;
/// Bytes of the fixed part.
const FIXED: usize = 96;

/// What a primary's acknowledgement means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Policy {
    /// It waits for the standby.
    pub sync: bool,
    /// Without a standby in step there is none.
    pub refuse: bool,
    /// What the standby's device has counts, not what it received.
    pub durable: bool,
}

/// What a node says of itself. All numbers little-endian, texts u8 length and UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// What it is.
    pub role: Role,
    /// This shard, and shards of the box.
    pub shard: (u16, u16),
    /// Identity of the node.
    pub node: u64,
    /// Identity of its log.
    pub log_id: u64,
    /// Positions of the first record kept and after the last received.
    pub span: (u64, u64),
    /// Number of its first segment, and bytes of its segments.
    pub segments: (u32, u64),
    /// Its own replication port.
    pub ha_port: u16,
    /// What its acknowledgements mean, when it is the primary.
    pub policy: Policy,
    /// As a standby, it serves readers.
    pub reads: bool,
    /// It comes for blocks that it lost to damage, and for nothing else.
    pub heals: bool,
    /// Challenge.
    pub nonce: [u8; 16],
    /// Wall clock, milliseconds since 1970.
    pub wall_ms: i64,
    /// Its epochs.
    pub epochs: Epochs,
    /// `brokerClusterName`.
    pub cluster: String,
    /// Broker name of the shard.
    pub broker: String,
    /// Address that clients find it at.
    pub client: String,
}

impl Hello {
    /// The payload of its frame.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&u16::from(self.role == Role::Standby).to_le_bytes());
        out.extend_from_slice(&self.shard.0.to_le_bytes());
        out.extend_from_slice(&self.shard.1.to_le_bytes());
        out.extend_from_slice(&self.ha_port.to_le_bytes());
        let Policy { sync, refuse, durable } = self.policy;
        let bits = [sync, refuse, durable, self.heals, self.reads];
        let policy = (0..).zip(bits).fold(0, |set, (at, bit)| set | u64::from(bit) << at);
        let words = [
            self.node,
            self.log_id,
            self.span.0,
            self.span.1,
            u64::from(self.segments.0),
            self.segments.1,
            policy,
            self.wall_ms.cast_unsigned(),
        ];
        words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
        out.extend_from_slice(&self.nonce);
        out.extend_from_slice(&[0; 8]);
        debug_assert_eq!(out.len(), FIXED);
        self.epochs.put(&mut out);
        for text in [&self.cluster, &self.broker, &self.client] {
            let bytes = text.as_bytes();
            let bytes = bytes.get(..TEXT_MAX).unwrap_or(bytes);
            out.push(bytes.len() as u8);
            out.extend_from_slice(bytes);
        }
        out
    }

    /// Reads a payload. `None`: not a hello.
    pub(crate) fn decode(payload: &[u8]) -> Option<Hello> {
        let fixed = payload.first_chunk::<FIXED>()?;
        let short = |at: usize| u16::from_le_bytes([fixed[at], fixed[at + 1]]);
        let word = |at: usize| word(fixed, at).unwrap_or(0);
        let mut nonce = [0; 16];
        nonce.copy_from_slice(&fixed[72..88]);
        let (epochs, taken) = Epochs::get(&payload[FIXED..])?;
        let mut rest = payload.get(FIXED + taken..)?;
        let mut text = || {
            let (len, more) = rest.split_first()?;
            let bytes = more.get(..usize::from(*len))?;
            rest = more.get(usize::from(*len)..)?;
            String::from_utf8(bytes.to_vec()).ok()
        };
        Some(Hello {
            role: if short(0) == 1 { Role::Standby } else { Role::Primary },
            shard: (short(2), short(4)),
            ha_port: short(6),
            node: word(8),
            log_id: word(16),
            span: (word(24), word(32)),
            segments: (u32::try_from(word(40)).ok()?, word(48)),
            policy: Policy {
                sync: word(56) & 1 != 0,
                refuse: word(56) & 2 != 0,
                durable: word(56) & 4 != 0,
            },
            heals: word(56) & 8 != 0,
            reads: word(56) & 16 != 0,
            wall_ms: word(64).cast_signed(),
            nonce,
            epochs,
            cluster: text()?,
            broker: text()?,
            client: text()?,
        })
    }

    /// Whether its log holds nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.span.1 == self.span.0
    }
}

/// The proof of one side: both hellos as they were sent, the connecting side's first.
pub(crate) fn proof(secret: &[u8], side: &[u8], hellos: (&[u8], &[u8])) -> [u8; 32] {
    let mut out = [0; 32];
    if let Some(mac) = mac(secret, side, hellos) {
        out.copy_from_slice(&mac.finalize().into_bytes());
    }
    out
}

/// Whether a proof is that of `side`, in constant time.
pub(crate) fn proves(secret: &[u8], side: &[u8], hellos: (&[u8], &[u8]), proof: &[u8]) -> bool {
    mac(secret, side, hellos).is_some_and(|mac| mac.verify_slice(proof).is_ok())
}

fn mac(secret: &[u8], side: &[u8], hellos: (&[u8], &[u8])) -> Option<Hmac<Sha256>> {
    // HMAC takes a key of any length, so this is never `None`.
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(secret).ok()?;
    mac.update(b"weir replication 1 ");
    mac.update(side);
    mac.update(&(hellos.0.len() as u64).to_le_bytes());
    mac.update(hellos.0);
    mac.update(hellos.1);
    Some(mac)
}

/// Challenge number `count` of a start.
pub(crate) fn nonce(seed: &[u8; 32], count: u64) -> [u8; 16] {
    let digest = Sha256::new().chain_update(seed).chain_update(count.to_le_bytes()).finalize();
    let mut nonce = [0; 16];
    nonce.copy_from_slice(&digest[..16]);
    nonce
}

/// The identity of a node that has none yet, drawn from the random bytes of its first start.
pub(crate) fn fresh_node(seed: &[u8; 32]) -> u64 {
    word(&nonce(seed, u64::MAX), 0).unwrap_or(1) | 1
}

/// Why the peer behind `hello` cannot be this node's other half; the text names both values.
pub(crate) fn judge(own: &ReplicaOptions, own_node: u64, peer: &Hello) -> Result<(), String> {
    let differs = |what: &str, here: &str, there: &str, remedy: &str| {
        Err(format!("another {what}: {here} on this side, {there} on the other; {remedy}"))
    };
    if peer.node == own_node {
        return Err(format!(
            "this is the same node ({own_node:016x}): `primary` points to itself, or one data \
             directory is a copy of the other; a standby begins with an empty directory"
        ));
    }
    if peer.cluster != own.cluster {
        let remedy = "brokerClusterName must be the same on both boxes";
        return differs("cluster", &own.cluster, &peer.cluster, remedy);
    }
    if peer.shard.1 != own.shards {
        let (here, there) = (own.shards.to_string(), peer.shard.1.to_string());
        return differs("shard count", &here, &there, "set shards to the same on both boxes");
    }
    if peer.shard.0 != own.shard {
        let (here, there) = (own.shard.to_string(), peer.shard.0.to_string());
        return differs("shard", &here, &there, "`primary` is the HA port of shard 0");
    }
    if peer.broker != own.broker {
        let remedy = "brokerName must be the same on both boxes";
        return differs("broker name", &own.broker, &peer.broker, remedy);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::epoch::Entry;
    use super::*;

    fn hello() -> Hello {
        let mut epochs = Epochs::default();
        epochs.begin(Entry { epoch: 3, start: 17, promoted: true, node: 4 });
        Hello {
            role: Role::Standby,
            shard: (1, 2),
            node: 11,
            log_id: 12,
            span: (13, 14),
            segments: (15, 16),
            ha_port: 10_912,
            policy: Policy { sync: true, refuse: false, durable: true },
            heals: true,
            reads: false,
            nonce: [7; 16],
            wall_ms: -5,
            epochs,
            cluster: "C".into(),
            broker: "box-1".into(),
            client: "10.0.0.1:10911".into(),
        }
    }

    fn options() -> ReplicaOptions {
        ReplicaOptions {
            cluster: "C".into(),
            broker: "box-1".into(),
            shard: 1,
            shards: 2,
            role: Role::Primary,
            primary: None,
            ha_port: 1,
            client: String::new(),
            secret: Vec::new(),
            seed: [1; 32],
            boot: 0,
            sync: true,
            refuse: true,
            ack_durable: false,
            slave_timeout_ms: 3000,
            max_gap_bytes: 1,
            catch_up_bytes: 1,
            scrub_bytes: 0,
            reads: false,
        }
    }

    #[test]
    fn a_hello_comes_back_as_it_was_said_and_a_short_one_is_none() {
        let bytes = hello().encode();
        assert_eq!(Hello::decode(&bytes), Some(hello()));
        for cut in 0..bytes.len() {
            assert_eq!(Hello::decode(&bytes[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn a_proof_is_of_one_side_one_secret_and_these_very_hellos() {
        let hellos: (&[u8], &[u8]) = (b"one", b"two");
        let good = proof(b"secret", b"standby", hellos);
        assert!(proves(b"secret", b"standby", hellos, &good));
        assert!(!proves(b"secreT", b"standby", hellos, &good));
        assert!(!proves(b"secret", b"primary", hellos, &good));
        assert!(!proves(b"secret", b"standby", (b"on", b"etwo"), &good));
        assert!(!proves(b"secret", b"standby", hellos, &good[..31]));
        assert_ne!(nonce(&[1; 32], 1), nonce(&[1; 32], 2));
    }

    #[test]
    fn who_cannot_be_the_other_half_is_told_which_two_values_differ() {
        let own = options();
        let say = |change: fn(&mut Hello)| {
            let mut peer = hello();
            change(&mut peer);
            judge(&own, 99, &peer).err().unwrap_or_default()
        };
        assert_eq!(say(|_| {}), "");
        assert!(say(|peer| peer.node = 99).contains("same node"));
        assert!(say(|peer| peer.cluster = "D".into()).contains("C on this side, D on the other"));
        assert!(say(|peer| peer.shard = (1, 3)).contains("2 on this side, 3 on the other"));
        assert!(say(|peer| peer.shard = (0, 2)).contains("another shard:"));
        assert!(say(|peer| peer.broker = "x-1".into()).contains("broker name"));
    }
}

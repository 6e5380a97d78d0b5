//! Frames of the replication stream: a checked head, then a payload whose length is bounded.
//!
//! Both directions use the same head; a kind says what the two numbers in it mean. A block's
//! payload carries the checksum it has on disk (so does a copy's), every other payload is covered
//! by the head's.
//! Never: a payload that is looked at before its sum; memory reserved for a length that is claimed
//! and not allowed.
//!
//! ```text
//!  0 magic u32 "WREP"  4 version u16  6 kind u16   8 epoch u64  16 value u64
//! 24 len u32          28 checksum u32 = crc32c(bytes 0..28, payload), with a block bytes 0..28
//! 32 payload                                              all little-endian
//! ```

use crate::base::crc::crc32c;
use crate::base::limits::{HA_CONTROL_MAX, HA_FRAME_MAX};

/// "WREP", little-endian.
const MAGIC: u32 = u32::from_le_bytes(*b"WREP");
/// Version of the stream; peers of different versions refuse each other.
pub const STREAM_VERSION: u16 = 2;
/// Bytes before the payload.
pub(crate) const HEAD: usize = 32;

/// Payload of a pledge that counts whatever happens.
pub(crate) const PLEDGE_ALWAYS: [u8; 1] = [1];
/// Payload of one that counts while a majority outside names the standby as in step: the primary
/// may go on alone after it is not.
pub(crate) const PLEDGE_WITNESSED: [u8; 1] = [0];

/// What a frame says. `value` and the payload in brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Who I am [unused; a [`super::handshake::Hello`]].
    Hello,
    /// That I know the secret [unused; 32 bytes].
    Proof,
    /// Follow from this position [position; nothing].
    Accept,
    /// I will not speak with you [unused; the reason as text].
    Refuse,
    /// A block of the log [end of the primary's log; header and records].
    Block,
    /// I am here [end of the primary's log; durable watermark u64, wall clock ms i64].
    Beat,
    /// What I hold [received position; durable u64, errno of a failed log u64].
    Ack,
    /// From here on nothing is acknowledged without you [position; one byte, see
    /// [`PLEDGE_ALWAYS`]].
    Pledge,
    /// You are the primary now, of this epoch [end of the log; nothing].
    HandOver,
    /// I am the primary, of an epoch you do not know [unused; nothing]: step down.
    Fence,
    /// Give me the block that holds this position: mine is damaged [position; nothing].
    Want,
    /// Here it is, from there on [position; header and records].
    Copy,
    /// I have it not, or not whole [position; the reason as text].
    Lack,
}

const KINDS: [Kind; 13] = [
    Kind::Hello,
    Kind::Proof,
    Kind::Accept,
    Kind::Refuse,
    Kind::Block,
    Kind::Beat,
    Kind::Ack,
    Kind::Pledge,
    Kind::HandOver,
    Kind::Fence,
    Kind::Want,
    Kind::Copy,
    Kind::Lack,
];

impl Kind {
    fn number(self) -> u16 {
        let at = KINDS.iter().position(|kind| *kind == self);
        at.map_or(0, |at| at as u16 + 1)
    }

    /// Whether its payload is a block, which has a checksum of its own.
    fn is_block(self) -> bool {
        matches!(self, Kind::Block | Kind::Copy)
    }

    fn of(number: u16) -> Option<Kind> {
        KINDS.get(usize::from(number).checked_sub(1)?).copied()
    }
}

/// A frame that arrived whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    /// What it says.
    pub kind: Kind,
    /// Epoch of its sender.
    pub epoch: u64,
    /// See [`Kind`].
    pub value: u64,
    /// See [`Kind`].
    pub payload: &'a [u8],
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameFault {
    /// Something else speaks on this port.
    NotOurs,
    /// The peer speaks this version of the stream.
    Version(u16),
    /// A kind nobody knows.
    Kind(u16),
    /// A payload of more bytes than its kind may have.
    TooLong(u32),
    /// The checksum differs.
    Checksum,
}

impl std::fmt::Display for FrameFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FrameFault::NotOurs => write!(f, "what came is no replication stream"),
            FrameFault::Version(version) => write!(
                f,
                "the peer speaks version {version} of the replication stream, this is \
                 {STREAM_VERSION}: run the same release on both boxes"
            ),
            FrameFault::Kind(kind) => write!(f, "a frame of unknown kind {kind}"),
            FrameFault::TooLong(len) => write!(f, "a frame claims {len} bytes"),
            FrameFault::Checksum => write!(f, "a frame's checksum differs"),
        }
    }
}

/// Appends a frame to `out`; `parts` together are its payload.
pub(crate) fn put(out: &mut Vec<u8>, kind: Kind, epoch: u64, value: u64, parts: &[&[u8]]) {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let at = out.len();
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.extend_from_slice(&STREAM_VERSION.to_le_bytes());
    out.extend_from_slice(&kind.number().to_le_bytes());
    out.extend_from_slice(&epoch.to_le_bytes());
    out.extend_from_slice(&value.to_le_bytes());
    out.extend_from_slice(&(len as u32).to_le_bytes());
    let covered = if kind.is_block() { &[] } else { parts };
    let sum = crc32c(std::iter::once(&out[at..]).chain(covered.iter().copied()));
    out.extend_from_slice(&sum.to_le_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

/// The frame at the front of `bytes` and its length; `None`: it is not whole yet.
pub(crate) fn split(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, FrameFault> {
    let Some(head) = bytes.first_chunk::<HEAD>() else {
        let known = bytes.len().min(4);
        let ours = bytes[..known] == MAGIC.to_le_bytes()[..known];
        return if ours { Ok(None) } else { Err(FrameFault::NotOurs) };
    };
    if u32_at(head, 0) != MAGIC {
        return Err(FrameFault::NotOurs);
    }
    let version = u16_at(head, 4);
    if version != STREAM_VERSION {
        return Err(FrameFault::Version(version));
    }
    let number = u16_at(head, 6);
    let kind = Kind::of(number).ok_or(FrameFault::Kind(number))?;
    let len = u32_at(head, 24);
    let most = if kind.is_block() { HA_FRAME_MAX } else { HA_CONTROL_MAX };
    if len as usize > most {
        return Err(FrameFault::TooLong(len));
    }
    let end = HEAD + len as usize;
    let Some(payload) = bytes.get(HEAD..end) else { return Ok(None) };
    let covered = if kind.is_block() { &[] } else { payload };
    let sum = crc32c([&head[..28], covered]);
    if sum != u32_at(head, 28) {
        return Err(FrameFault::Checksum);
    }
    let frame = Frame { kind, epoch: u64_at(head, 8), value: u64_at(head, 16), payload };
    Ok(Some((frame, end)))
}

/// Little-endian u64 at `at` of a payload.
pub(crate) fn word(payload: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*payload.get(at..)?.first_chunk()?))
}

fn u16_at(head: &[u8; HEAD], at: usize) -> u16 {
    u16::from_le_bytes([head[at], head[at + 1]])
}

fn u32_at(head: &[u8; HEAD], at: usize) -> u32 {
    u32::from(u16_at(head, at)) | u32::from(u16_at(head, at + 2)) << 16
}

fn u64_at(head: &[u8; HEAD], at: usize) -> u64 {
    u64::from(u32_at(head, at)) | u64::from(u32_at(head, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_back_as_it_was_put_whatever_pieces_it_arrives_in() {
        for kind in KINDS {
            let mut bytes = Vec::new();
            put(&mut bytes, kind, 7, 9, &[b"two ", b"parts"]);
            put(&mut bytes, kind, 8, 10, &[]);
            for cut in 0..HEAD + 9 {
                assert_eq!(split(&bytes[..cut]), Ok(None), "{kind:?} cut at {cut}");
            }
            let (first, len) = split(&bytes).unwrap().unwrap();
            assert_eq!(first, Frame { kind, epoch: 7, value: 9, payload: b"two parts" });
            let (second, end) = split(&bytes[len..]).unwrap().unwrap();
            assert_eq!((second.epoch, second.payload, len + end), (8, &b""[..], bytes.len()));
        }
    }

    #[test]
    fn a_flipped_bit_of_head_or_payload_is_never_a_frame() {
        let mut bytes = Vec::new();
        put(&mut bytes, Kind::Ack, 7, 9, &[b"payload"]);
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            // A longer length waits for bytes that do not come; nothing is believed meanwhile.
            assert!(!matches!(split(&bad), Ok(Some(_))), "bit {bit}");
        }
    }

    #[test]
    fn lengths_beyond_the_bound_other_versions_and_other_protocols_are_named() {
        let mut bytes = Vec::new();
        put(&mut bytes, Kind::Hello, 0, 0, &[]);
        let mut long = bytes.clone();
        long[24..28].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(split(&long), Err(FrameFault::TooLong(u32::MAX)));
        let mut other = bytes.clone();
        other[4] = 9;
        assert_eq!(split(&other), Err(FrameFault::Version(9)));
        assert_eq!(split(b"GET / HTTP/1.1"), Err(FrameFault::NotOurs));
        assert_eq!(split(b"G"), Err(FrameFault::NotOurs));
    }
}

//! The message record, read in place.
//!
//! Checked once, then every field is a load at a known place. It never trusts one length without
//! the others: total size, host sizes, body, topic and properties must agree to the byte.
//!
//! ```text
//!  0 total size i32     4 magic i32         8 body CRC i32     12 queue id i32
//! 16 flag i32          20 queue offset i64 28 position i64     36 system flag i32
//! 40 born time i64     48 born host: IP (4 or 16 bytes), port i32
//!    store time i64       store host: as the born host
//!    reconsume times i32  prepared transaction offset i64
//!    body i32 length, bytes
//!    topic u8 length (version 2: i16), bytes
//!    properties i16 length, bytes
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Magic of a record whose topic length has one byte.
pub const MAGIC_V1: i32 = 0xDAA3_20A7_u32 as i32;
/// Magic of a record whose topic length has two bytes: topics beyond 127 bytes.
pub const MAGIC_V2: i32 = 0xDAA3_20AB_u32 as i32;
/// Bytes of a record without topic, body and properties, with IPv4 hosts.
pub const RECORD_MIN: usize = 91;

/// Bytes by which an IPv6 address is longer than an IPv4 one.
const V6_MORE: usize = 12;

/// Bits of a message's system flag.
pub mod sys_flag {
    /// The body is compressed.
    pub const COMPRESSED: i32 = 0x1;
    /// Several tags; not used in practice.
    pub const MULTI_TAGS: i32 = 0x2;
    /// A half message.
    pub const TRANSACTION_PREPARED: i32 = 0x4;
    /// A committed transactional message.
    pub const TRANSACTION_COMMIT: i32 = 0x8;
    /// Both transaction bits: a rolled back one.
    pub const TRANSACTION_ROLLBACK: i32 = 0xC;
    /// Mask of the transaction's state.
    pub const TRANSACTION_MASK: i32 = 0xC;
    /// The born host is IPv6.
    pub const BORN_HOST_V6: i32 = 0x10;
    /// The store host is IPv6.
    pub const STORE_HOST_V6: i32 = 0x20;
    /// The client must take an inner batch apart.
    pub const NEED_UNWRAP: i32 = 0x40;
    /// An inner batch.
    pub const INNER_BATCH: i32 = 0x80;
    /// Mask of the compression: 0x100 LZ4, 0x200 ZSTD, 0x300 ZLIB, 0 ZLIB of old clients.
    pub const COMPRESSION_MASK: i32 = 0x700;
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// The bytes end before the record does.
    Cut {
        /// Bytes given.
        bytes: usize,
        /// Bytes the record says it has; [`RECORD_MIN`] when even that is missing.
        needed: usize,
    },
    /// The total size is below what any record has, or negative.
    Size {
        /// Total size as stored.
        bytes: i32,
    },
    /// No magic of a message: blank space, another kind of record, or rubbish.
    Magic {
        /// Magic as stored.
        magic: i32,
    },
    /// An inner length is negative or reaches beyond the record.
    Length {
        /// Which length.
        field: &'static str,
    },
    /// The lengths add up to another size than the record's.
    Sum {
        /// Bytes the fields have.
        bytes: usize,
        /// Total size as stored.
        total: usize,
    },
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            RecordError::Cut { bytes, needed } => {
                write!(f, "the record has {needed} bytes, only {bytes} are here")
            }
            RecordError::Size { bytes } => {
                write!(f, "a record size of {bytes} is below the least, {RECORD_MIN}")
            }
            RecordError::Magic { magic } => write!(f, "{magic:#010X} is no message's magic"),
            RecordError::Length { field } => {
                write!(f, "the length of the {field} reaches beyond the record")
            }
            RecordError::Sum { bytes, total } => {
                write!(f, "the fields have {bytes} bytes, the record says {total}")
            }
        }
    }
}

impl std::error::Error for RecordError {}

/// One record, checked and borrowed.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    /// Exactly the record.
    bytes: &'a [u8],
    /// Where the store time is.
    store_at: u32,
    /// Where the reconsume times are.
    tail_at: u32,
    body_len: u32,
    topic_at: u32,
    topic_len: u32,
}

impl<'a> Record<'a> {
    /// Checks the record at the front of `bytes`; what follows it is left alone.
    ///
    /// The body's CRC is not checked: that costs as much as reading the body.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Record<'a>, RecordError> {
        let short = RecordError::Cut { bytes: bytes.len(), needed: RECORD_MIN };
        let total = int(bytes, 0).ok_or(short)?;
        let len = usize::try_from(total).ok().filter(|len| *len >= RECORD_MIN);
        let len = len.ok_or(RecordError::Size { bytes: total })?;
        let record = bytes.get(..len);
        let bytes = record.ok_or(RecordError::Cut { bytes: bytes.len(), needed: len })?;
        let magic = int(bytes, 4).unwrap_or(0);
        if magic != MAGIC_V1 && magic != MAGIC_V2 {
            return Err(RecordError::Magic { magic });
        }
        Record::measure(bytes, magic == MAGIC_V2)
    }

    /// Follows the lengths through a record that is all there.
    #[inline]
    fn measure(bytes: &'a [u8], wide_topic: bool) -> Result<Record<'a>, RecordError> {
        let flags = int(bytes, 36).unwrap_or(0);
        let more = |bit| if flags & bit == 0 { 0 } else { V6_MORE };
        let store_at = 56 + more(sys_flag::BORN_HOST_V6);
        let tail_at = store_at + 16 + more(sys_flag::STORE_HOST_V6);
        let wrong = |field| RecordError::Length { field };
        let body_at = tail_at + 16;
        let body_len = int(bytes, tail_at + 12).and_then(|len| usize::try_from(len).ok());
        let body_len = body_len.filter(|len| *len <= bytes.len()).ok_or(wrong("body"))?;
        let topic_len_at = body_at + body_len;
        let (topic_len, topic_at) = if wide_topic {
            (short(bytes, topic_len_at), topic_len_at + 2)
        } else {
            (bytes.get(topic_len_at).map(|len| usize::from(*len)), topic_len_at + 1)
        };
        let topic_len = topic_len.ok_or(wrong("topic"))?;
        let properties_at = topic_at + topic_len;
        let properties_len = short(bytes, properties_at).ok_or(wrong("properties"))?;
        let sum = properties_at + 2 + properties_len;
        if sum != bytes.len() {
            return Err(RecordError::Sum { bytes: sum, total: bytes.len() });
        }
        Ok(Record {
            bytes,
            store_at: store_at as u32,
            tail_at: tail_at as u32,
            body_len: body_len as u32,
            topic_at: topic_at as u32,
            topic_len: topic_len as u32,
        })
    }

    /// Its bytes, all of them and no more.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Its size in bytes.
    #[inline]
    #[allow(clippy::len_without_is_empty)] // no record is empty
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// CRC-32 of the stored body, without its highest bit.
    #[inline]
    pub fn body_crc(&self) -> i32 {
        self.int(8)
    }

    /// Queue of the topic.
    #[inline]
    pub fn queue_id(&self) -> i32 {
        self.int(12)
    }

    /// The sender's own flag.
    #[inline]
    pub fn flag(&self) -> i32 {
        self.int(16)
    }

    /// Place in its queue.
    #[inline]
    pub fn queue_offset(&self) -> i64 {
        self.long(20)
    }

    /// Place in the log (`physicalOffset`).
    #[inline]
    pub fn position(&self) -> i64 {
        self.long(28)
    }

    /// Bits of [`sys_flag`].
    #[inline]
    pub fn sys_flag(&self) -> i32 {
        self.int(36)
    }

    /// Client's clock when it was sent, milliseconds since 1970.
    #[inline]
    pub fn born_timestamp(&self) -> i64 {
        self.long(40)
    }

    /// Who sent it.
    pub fn born_host(&self) -> SocketAddr {
        host(self.bytes, 48, self.sys_flag() & sys_flag::BORN_HOST_V6 != 0)
    }

    /// Broker's clock when it was stored, milliseconds since 1970.
    #[inline]
    pub fn store_timestamp(&self) -> i64 {
        self.long(self.store_at as usize)
    }

    /// Broker that stored it.
    pub fn store_host(&self) -> SocketAddr {
        let v6 = self.sys_flag() & sys_flag::STORE_HOST_V6 != 0;
        host(self.bytes, self.store_at as usize + 8, v6)
    }

    /// How often it was given back.
    #[inline]
    pub fn reconsume_times(&self) -> i32 {
        self.int(self.tail_at as usize)
    }

    /// Position of the half message of a committed one, else 0.
    #[inline]
    pub fn prepared_transaction_offset(&self) -> i64 {
        self.long(self.tail_at as usize + 4)
    }

    /// The payload; compressed when [`sys_flag::COMPRESSED`] says so.
    #[inline]
    pub fn body(&self) -> &'a [u8] {
        let at = self.tail_at as usize + 16;
        self.bytes.get(at..at + self.body_len as usize).unwrap_or(&[])
    }

    /// The topic's bytes.
    #[inline]
    pub fn topic_bytes(&self) -> &'a [u8] {
        let at = self.topic_at as usize;
        self.bytes.get(at..at + self.topic_len as usize).unwrap_or(&[])
    }

    /// The topic; empty when it is not UTF-8, which no topic of ours is.
    #[inline]
    pub fn topic(&self) -> &'a str {
        std::str::from_utf8(self.topic_bytes()).unwrap_or_default()
    }

    /// The properties as stored; see [`super::properties`].
    #[inline]
    pub fn properties(&self) -> &'a [u8] {
        self.bytes.get((self.topic_at + self.topic_len + 2) as usize..).unwrap_or(&[])
    }

    /// True when the stored CRC is that of the body.
    pub fn body_is_intact(&self) -> bool {
        super::body_crc(self.body()) == self.body_crc()
    }

    #[inline]
    fn int(&self, at: usize) -> i32 {
        int(self.bytes, at).unwrap_or(0)
    }

    #[inline]
    fn long(&self, at: usize) -> i64 {
        let rest = self.bytes.get(at..).and_then(|rest| rest.first_chunk());
        rest.map_or(0, |bytes| i64::from_be_bytes(*bytes))
    }
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("topic", &self.topic())
            .field("queue_id", &self.queue_id())
            .field("queue_offset", &self.queue_offset())
            .field("position", &self.position())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

#[inline]
fn int(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A 16-bit length; `None` also when it is negative.
#[inline]
fn short(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(i16::from_be_bytes(*bytes.get(at..)?.first_chunk()?)).ok()
}

/// An address; ports are stored as `i32`, of which 16 bits count.
fn host(bytes: &[u8], at: usize, v6: bool) -> SocketAddr {
    let rest = bytes.get(at..).unwrap_or(&[]);
    let (ip, port) = if v6 {
        let octets: [u8; 16] = rest.first_chunk().copied().unwrap_or_default();
        (IpAddr::V6(Ipv6Addr::from(octets)), int(rest, 16))
    } else {
        let octets: [u8; 4] = rest.first_chunk().copied().unwrap_or_default();
        (IpAddr::V4(Ipv4Addr::from(octets)), int(rest, 4))
    };
    SocketAddr::new(ip, port.unwrap_or(0) as u16)
}

/// The records of a body, one after the other: a pull answer, or a run of the log.
///
/// Ends after the first error.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    /// The records in `body`; an empty body has none.
    #[inline]
    pub fn new(body: &'a [u8]) -> Records<'a> {
        Records { rest: body }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let record = Record::parse(self.rest);
        self.rest = match &record {
            Ok(record) => self.rest.get(record.len()..).unwrap_or(&[]),
            Err(_) => &[],
        };
        Some(record)
    }
}

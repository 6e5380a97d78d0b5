//! The message record, written straight into the caller's buffer.
//!
//! This is the one copy a message makes on its way in. It never allocates and never writes a
//! record that [`super::Record::parse`] would refuse.
//!
//! What is only known when the record gets its place (queue offset, position, store time) is
//! patched in later.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::properties::VALUE_END;
use super::record::{MAGIC_V1, MAGIC_V2, RECORD_MIN, sys_flag};

/// Longest properties of a message in bytes, the broker's additions included.
pub const PROPERTIES_MAX: usize = i16::MAX as usize;
/// Longest topic that a version 1 record holds; old clients read no other.
pub const TOPIC_V1_MAX: usize = 127;
/// Longest topic of a message in bytes.
pub const TOPIC_MAX: usize = 255;
/// Most pieces appended to a message's properties.
pub const APPENDED_MAX: usize = 3;

/// The fields of a record to be written.
#[derive(Clone, Copy, Debug)]
pub struct RecordFields<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Queue of the topic.
    pub queue_id: i32,
    /// The sender's own flag.
    pub flag: i32,
    /// Bits of [`sys_flag`]; the two for IPv6 hosts are set from the hosts.
    pub sys_flag: i32,
    /// Client's clock, milliseconds since 1970.
    pub born_timestamp: i64,
    /// Who sent it.
    pub born_host: SocketAddr,
    /// The broker's address.
    pub store_host: SocketAddr,
    /// Broker's clock, milliseconds since 1970; may be patched later.
    pub store_timestamp: i64,
    /// Place in its queue; may be patched later.
    pub queue_offset: i64,
    /// Place in the log; may be patched later.
    pub position: i64,
    /// How often it was given back.
    pub reconsume_times: i32,
    /// Position of the half message of a committed one, else 0.
    pub prepared_transaction_offset: i64,
    /// The payload as sent.
    pub body: &'a [u8],
    /// Properties as sent.
    pub properties: &'a [u8],
    /// Properties of ours, whole ones with their separators; empty pieces count for nothing.
    pub appended: [&'a [u8]; APPENDED_MAX],
}

/// Why fields make no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// The topic is empty or too long.
    Topic {
        /// Its length.
        bytes: usize,
        /// Most bytes allowed.
        limit: usize,
    },
    /// The properties are too long.
    Properties {
        /// Their length with what we append.
        bytes: usize,
        /// Most bytes allowed.
        limit: usize,
    },
    /// The body makes a record longer than its length field can say.
    Body {
        /// Its length.
        bytes: usize,
    },
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            EncodeError::Topic { bytes, limit } => {
                write!(f, "a topic of {bytes} bytes; it has 1 to {limit}")
            }
            EncodeError::Properties { bytes, limit } => {
                write!(f, "properties of {bytes} bytes are over the limit of {limit}")
            }
            EncodeError::Body { bytes } => write!(f, "a body of {bytes} bytes fits no record"),
        }
    }
}

impl std::error::Error for EncodeError {}

/// CRC-32 (IEEE) of a body as a record stores it: without the highest bit; 0 for an empty body.
#[inline]
pub fn body_crc(body: &[u8]) -> i32 {
    (crc32fast::hash(body) & 0x7FFF_FFFF) as i32
}

impl RecordFields<'_> {
    /// Size of the record in bytes, or why there is none.
    #[inline]
    pub fn encoded_len(&self) -> Result<usize, EncodeError> {
        let topic = self.topic.len();
        if topic == 0 || topic > TOPIC_MAX {
            return Err(EncodeError::Topic { bytes: topic, limit: TOPIC_MAX });
        }
        let properties = self.properties_len();
        if properties > PROPERTIES_MAX {
            let limit = PROPERTIES_MAX;
            return Err(EncodeError::Properties { bytes: properties, limit });
        }
        let hosts = more_of(self.born_host) + more_of(self.store_host);
        let wide = usize::from(topic > TOPIC_V1_MAX);
        let len = RECORD_MIN + hosts + wide + self.body.len() + topic + properties;
        if len > i32::MAX as usize {
            return Err(EncodeError::Body { bytes: self.body.len() });
        }
        Ok(len)
    }

    /// Length of the properties as the record holds them.
    #[inline]
    pub fn properties_len(&self) -> usize {
        let appended: usize = self.appended.iter().map(|piece| piece.len()).sum();
        self.properties.len() + usize::from(self.separator_missing()) + appended
    }

    /// True when a separator must stand between the properties sent and those we append: the
    /// last one may be missing.
    #[inline]
    fn separator_missing(&self) -> bool {
        !self.properties.is_empty()
            && self.appended.iter().any(|piece| !piece.is_empty())
            && self.properties.last() != Some(&VALUE_END)
    }

    /// Writes the record to the front of `buf` and returns its size.
    ///
    /// `buf` must hold [`RecordFields::encoded_len`] bytes, and that must not be an error;
    /// otherwise it is a bug of the caller.
    #[inline]
    pub fn encode_into(&self, buf: &mut [u8]) -> usize {
        let len = self.encoded_len().unwrap_or(usize::MAX);
        assert!(buf.len() >= len, "a record that fits no buffer of {} bytes", buf.len());
        let wide = self.topic.len() > TOPIC_V1_MAX;
        let mut flags = self.sys_flag & !(sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6);
        flags |= if self.born_host.is_ipv6() { sys_flag::BORN_HOST_V6 } else { 0 };
        flags |= if self.store_host.is_ipv6() { sys_flag::STORE_HOST_V6 } else { 0 };
        let (record, _) = buf.split_at_mut(len);
        let mut pen = Pen { rest: record };
        pen.int(len as i32);
        pen.int(if wide { MAGIC_V2 } else { MAGIC_V1 });
        pen.int(body_crc(self.body));
        pen.int(self.queue_id);
        pen.int(self.flag);
        pen.long(self.queue_offset);
        pen.long(self.position);
        pen.int(flags);
        pen.long(self.born_timestamp);
        pen.host(self.born_host);
        pen.long(self.store_timestamp);
        pen.host(self.store_host);
        pen.int(self.reconsume_times);
        pen.long(self.prepared_transaction_offset);
        pen.int(self.body.len() as i32);
        pen.bytes(self.body);
        if wide {
            pen.bytes(&(self.topic.len() as u16).to_be_bytes());
        } else {
            pen.bytes(&[self.topic.len() as u8]);
        }
        pen.bytes(self.topic.as_bytes());
        pen.bytes(&(self.properties_len() as u16).to_be_bytes());
        pen.bytes(self.properties);
        if self.separator_missing() {
            pen.bytes(&[VALUE_END]);
        }
        for piece in self.appended {
            pen.bytes(piece);
        }
        assert!(pen.rest.is_empty(), "a record is exactly as long as measured");
        len
    }
}

#[inline]
fn more_of(host: SocketAddr) -> usize {
    if host.is_ipv6() { 12 } else { 0 }
}

/// Writes one field after the other.
struct Pen<'b> {
    rest: &'b mut [u8],
}

impl<'b> Pen<'b> {
    #[inline]
    fn take(&mut self, len: usize) -> &'b mut [u8] {
        let (front, rest) = std::mem::take(&mut self.rest).split_at_mut(len);
        self.rest = rest;
        front
    }

    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        self.take(bytes.len()).copy_from_slice(bytes);
    }

    #[inline]
    fn int(&mut self, value: i32) {
        self.bytes(&value.to_be_bytes());
    }

    #[inline]
    fn long(&mut self, value: i64) {
        self.bytes(&value.to_be_bytes());
    }

    #[inline]
    fn host(&mut self, host: SocketAddr) {
        match host.ip() {
            IpAddr::V4(ip) => self.bytes(&ip.octets()),
            IpAddr::V6(ip) => self.bytes(&ip.octets()),
        }
        self.int(i32::from(host.port()));
    }
}

/// Sets the queue offset of the record at the front of `record` (a shorter one is a bug).
#[inline]
pub fn patch_queue_offset(record: &mut [u8], queue_offset: i64) {
    patch(record, 20, queue_offset);
}

/// Sets the position in the log of the record at the front of `record`.
#[inline]
pub fn patch_position(record: &mut [u8], position: i64) {
    patch(record, 28, position);
}

/// Sets the store time of the record at the front of `record`, milliseconds since 1970.
#[inline]
pub fn patch_store_timestamp(record: &mut [u8], timestamp_ms: i64) {
    // The low byte of the system flag says how long the born host is.
    let v6 = record.get(39).is_some_and(|flags| i32::from(*flags) & sys_flag::BORN_HOST_V6 != 0);
    patch(record, if v6 { 68 } else { 56 }, timestamp_ms);
}

#[inline]
fn patch(record: &mut [u8], at: usize, value: i64) {
    assert!(record.len() >= RECORD_MIN, "only a record can be patched");
    if let Some(place) = record.get_mut(at..at + 8) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

//! Names of messages: the broker's id, the client's id and the tag's hash.
//!
//! All are RocketMQ's, bit for bit, because clients and tools take them apart. Nothing here
//! allocates or asks for the time: ids are written into arrays from what is passed in.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Characters of an offset message id with an IPv4 store host.
pub const OFFSET_MSG_ID_V4: usize = 32;
/// Characters of an offset message id with an IPv6 store host.
pub const OFFSET_MSG_ID_V6: usize = 56;
/// Characters of a unique key with an IPv4 address.
pub const UNIQ_KEY_V4: usize = 32;
/// Characters of a unique key with an IPv6 address.
pub const UNIQ_KEY_V6: usize = 56;

/// `tagsCode` of a consume queue entry: Java's `String.hashCode` of the tag over its UTF-16
/// units, sign-extended; 0 for no tag.
#[inline]
pub fn tags_code(tag: &str) -> i64 {
    let add = |code: i32, unit: u16| code.wrapping_mul(31).wrapping_add(i32::from(unit));
    i64::from(if tag.is_ascii() {
        tag.bytes().fold(0, |code, byte| add(code, u16::from(byte)))
    } else {
        tag.encode_utf16().fold(0, add)
    })
}

/// As [`tags_code`], for a tag as it stands in properties; 0 for bytes that are no text.
#[inline]
pub fn tags_code_of(tag: &[u8]) -> i64 {
    std::str::from_utf8(tag).map_or(0, tags_code)
}

/// Hex digits written into an array.
#[derive(Clone, Copy)]
struct Hex {
    digits: [u8; OFFSET_MSG_ID_V6],
    len: usize,
}

impl Hex {
    const fn new() -> Hex {
        Hex { digits: [0; OFFSET_MSG_ID_V6], len: 0 }
    }

    fn put(&mut self, bytes: &[u8]) {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        for byte in bytes {
            for nibble in [byte >> 4, byte & 15] {
                self.digits[self.len] = DIGITS[usize::from(nibble)];
                self.len += 1;
            }
        }
    }

    fn put_ip(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => self.put(&ip.octets()),
            IpAddr::V6(ip) => self.put(&ip.octets()),
        }
    }

    fn as_bytes(&self) -> &[u8] {
        self.digits.get(..self.len).unwrap_or(&[])
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

/// The broker's id of a message (`offsetMsgId`): who stored it, and where in the log.
///
/// ```text
/// upper-case hex of  IP (4 or 16 bytes)  port i32  position i64
/// ```
#[derive(Clone, Copy)]
pub struct OffsetMsgId {
    hex: Hex,
}

impl OffsetMsgId {
    /// The id of the message at `position` of the log of `store_host`.
    #[inline]
    pub fn new(store_host: SocketAddr, position: i64) -> OffsetMsgId {
        let mut hex = Hex::new();
        hex.put_ip(store_host.ip());
        hex.put(&i32::from(store_host.port()).to_be_bytes());
        hex.put(&position.to_be_bytes());
        OffsetMsgId { hex }
    }

    /// Reads an id, in either case of letters; `None` when it is none.
    pub fn parse(id: &str) -> Option<(SocketAddr, i64)> {
        let mut bytes = [0; OFFSET_MSG_ID_V6 / 2];
        let bytes = bytes.get_mut(..id.len() / 2)?;
        if id.len() != OFFSET_MSG_ID_V4 && id.len() != OFFSET_MSG_ID_V6 {
            return None;
        }
        for (byte, digits) in bytes.iter_mut().zip(id.as_bytes().chunks_exact(2)) {
            let &[high, low] = digits else { return None };
            let nibble = |digit| char::from(digit).to_digit(16);
            *byte = (nibble(high)? << 4 | nibble(low)?) as u8;
        }
        let (ip, rest) = match bytes.len() {
            16 => {
                let (octets, rest) = bytes.split_first_chunk::<4>()?;
                (IpAddr::V4(Ipv4Addr::from(*octets)), rest)
            }
            _ => {
                let (octets, rest) = bytes.split_first_chunk::<16>()?;
                (IpAddr::V6(Ipv6Addr::from(*octets)), rest)
            }
        };
        let (port, position) = rest.split_first_chunk::<4>()?;
        let port = u16::try_from(i32::from_be_bytes(*port)).ok()?;
        let position = i64::from_be_bytes(*position.first_chunk::<8>()?);
        Some((SocketAddr::new(ip, port), position))
    }

    /// The id's characters.
    #[inline]
    pub fn as_str(&self) -> &str {
        self.hex.as_str()
    }

    /// The id's characters, all ASCII.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.hex.as_bytes()
    }
}

impl fmt::Display for OffsetMsgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for OffsetMsgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A unique key kept by value while its message waits for an answer; room for any that RocketMQ
/// makes. It is laid out for being copied around right after it was written: whole aligned words,
/// or the loads would wait for the stores.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C, align(16))]
pub struct ShortKey {
    bytes: [u8; UNIQ_KEY_V6],
    len: u64,
}

impl ShortKey {
    /// No key.
    pub const NONE: ShortKey = ShortKey { len: 0, bytes: [0; UNIQ_KEY_V6] };

    /// The key `key`; [`ShortKey::NONE`] when it has more than [`UNIQ_KEY_V6`] bytes.
    #[inline]
    pub fn new(key: &[u8]) -> ShortKey {
        let mut short = ShortKey::NONE;
        if let Some(place) = short.bytes.get_mut(..key.len()) {
            place.copy_from_slice(key);
            short.len = key.len() as u64;
        }
        short
    }

    /// The key's bytes; empty for none.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len as usize).unwrap_or(&[])
    }
}

impl fmt::Debug for ShortKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.as_bytes()))
    }
}

/// A message's unique key (`UNIQ_KEY`) as clients make it; the broker makes one when a producer
/// sent none.
///
/// ```text
/// upper-case hex of  IP (4 or 16 bytes)  process i16  class loader i32  time i32  counter i16
/// ```
///
/// `time` is milliseconds since the start of the month; `class loader` is any number that tells
/// two makers in one process apart.
#[derive(Clone, Copy)]
pub struct UniqKey {
    hex: Hex,
}

impl UniqKey {
    /// The key of message `counter` made at `month_ms` milliseconds of the month.
    #[inline]
    pub fn new(ip: IpAddr, process: u16, maker: u32, month_ms: u32, counter: u16) -> UniqKey {
        let mut hex = Hex::new();
        hex.put_ip(ip);
        hex.put(&process.to_be_bytes());
        hex.put(&maker.to_be_bytes());
        hex.put(&month_ms.to_be_bytes());
        hex.put(&counter.to_be_bytes());
        UniqKey { hex }
    }

    /// The key's characters.
    #[inline]
    pub fn as_str(&self) -> &str {
        self.hex.as_str()
    }

    /// The key's characters, all ASCII.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.hex.as_bytes()
    }
}

impl fmt::Display for UniqKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for UniqKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_hash_as_in_java() {
        for (tag, code) in [
            ("TagA", 2_598_919),
            ("TagB", 2_598_920),
            ("订单", 1_129_459),
            ("", 0),
            ("polygenelubricants", i64::from(i32::MIN)),
        ] {
            let mut expect = 0i32;
            for unit in tag.encode_utf16() {
                expect = expect.wrapping_mul(31).wrapping_add(i32::from(unit));
            }
            assert_eq!(tags_code(tag), i64::from(expect), "{tag}");
            assert_eq!(tags_code(tag), code, "{tag}");
            assert_eq!(tags_code_of(tag.as_bytes()), tags_code(tag), "{tag}");
        }
        assert_eq!(tags_code_of(b"TagA\xFF"), 0);
        assert_eq!(tags_code("😀"), 1_772_899);
    }

    #[test]
    fn an_offset_message_id_says_where_the_message_is() {
        let host: SocketAddr = "192.168.0.1:10911".parse().unwrap();
        let id = OffsetMsgId::new(host, 1234);
        assert_eq!(id.as_str(), "C0A8000100002A9F00000000000004D2");
        assert_eq!(OffsetMsgId::parse(id.as_str()), Some((host, 1234)));
        assert_eq!(OffsetMsgId::parse(&id.as_str().to_lowercase()), Some((host, 1234)));
        let host: SocketAddr = "[2001:db8::1]:10911".parse().unwrap();
        let id = OffsetMsgId::new(host, i64::MAX);
        assert_eq!(id.as_str().len(), OFFSET_MSG_ID_V6);
        assert_eq!(OffsetMsgId::parse(id.as_str()), Some((host, i64::MAX)));
    }

    #[test]
    fn what_is_no_offset_message_id_is_refused() {
        let id = "C0A8000100002A9F00000000000004D2";
        for bad in ["", "C0A8", &id[1..], &format!("{id}00"), &id.replace('D', "G")] {
            assert_eq!(OffsetMsgId::parse(bad), None, "{bad}");
        }
        assert_eq!(OffsetMsgId::parse(&id.replace("00002A9F", "00012A9F")), None, "port 76447");
        assert_eq!(OffsetMsgId::parse(&"é".repeat(16)), None);
        assert_eq!(OffsetMsgId::parse(&"x".repeat(300)), None);
    }

    #[test]
    fn a_unique_key_has_its_parts_in_order() {
        let ip = "10.0.0.9".parse().unwrap();
        let key = UniqKey::new(ip, 0x1234, 0xDEAD_BEEF, 0x89AB_CDEF, 7);
        assert_eq!(key.as_str(), "0A0000091234DEADBEEF89ABCDEF0007");
        assert_eq!(key.as_bytes().len(), UNIQ_KEY_V4);
        let key = UniqKey::new("::1".parse().unwrap(), 1, 2, 3, 4);
        assert_eq!(key.as_str().len(), UNIQ_KEY_V6);
    }
}

//! The frame: what stands between two lengths on a connection.
//!
//! Splitting needs only the first eight bytes and never copies. It never looks inside the header
//! or the body.
//!
//! ```text
//!  0  total     i32   bytes after this field = 4 + header + body
//!  4  codec     u8    0 = JSON, 1 = RocketMQ's binary header
//!  5  header    u24   header length
//!  8  header, then the body up to the end
//! ```
//!
//! Invariant: a [`Split::Whole`] frame parses.

use std::fmt;

/// Bytes before the header: length, codec and header length.
pub const FRAME_PREFIX: usize = 8;
/// Longest header the 24-bit length can say.
pub const HEADER_MAX: usize = (1 << 24) - 1;

/// How a frame's header is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Type 0: a JSON object. Every client reads and writes it.
    Json,
    /// Type 1: RocketMQ's own binary form (`ROCKETMQ`).
    Binary,
}

impl Codec {
    /// The byte at offset 4 of a frame.
    pub const fn byte(self) -> u8 {
        match self {
            Codec::Json => 0,
            Codec::Binary => 1,
        }
    }

    /// Its name in a JSON header's `serializeTypeCurrentRPC`.
    pub const fn name(self) -> &'static str {
        match self {
            Codec::Json => "JSON",
            Codec::Binary => "ROCKETMQ",
        }
    }

    const fn from_byte(byte: u8) -> Option<Codec> {
        match byte {
            0 => Some(Codec::Json),
            1 => Some(Codec::Binary),
            _ => None,
        }
    }
}

/// Why bytes are no frame. RocketMQ closes the connection then, without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The frame is longer than the limit (`frameMaxLength`); both count the length field.
    TooLong {
        /// Bytes the frame would have.
        bytes: usize,
        /// Most bytes allowed.
        limit: usize,
    },
    /// The length field is below 4, so that not even the header length fits.
    TooShort {
        /// The length field as sent.
        total: i32,
    },
    /// The header is longer than the frame.
    Header {
        /// Header length as sent.
        bytes: usize,
        /// Bytes left for it.
        limit: usize,
    },
    /// A serialize type that is neither 0 nor 1.
    Codec {
        /// The byte as sent.
        byte: u8,
    },
    /// The bytes end before the frame does.
    Cut {
        /// Bytes given.
        bytes: usize,
        /// Bytes the frame has.
        needed: usize,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            FrameError::TooLong { bytes, limit } => {
                write!(f, "a frame of {bytes} bytes is over the limit of {limit}")
            }
            FrameError::TooShort { total } => {
                write!(f, "a frame length of {total} is below the least, 4")
            }
            FrameError::Header { bytes, limit } => {
                write!(f, "a header of {bytes} bytes does not fit the {limit} left in its frame")
            }
            FrameError::Codec { byte } => {
                write!(f, "serialize type {byte} is unknown; 0 is JSON, 1 is ROCKETMQ")
            }
            FrameError::Cut { bytes, needed } => {
                write!(f, "the frame has {needed} bytes, only {bytes} are here")
            }
        }
    }
}

impl std::error::Error for FrameError {}

/// What stands at the front of a stream's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Not a whole frame yet. The frame has this many bytes in all, length field included; 4 when
    /// even its length is still missing. Always more than there are.
    Need(usize),
    /// The first so many bytes are one frame.
    Whole(usize),
    /// No frame will come of this: close the connection.
    Bad(FrameError),
}

/// Looks at the front of `buf` for one frame of at most `frame_max` bytes, length field included.
///
/// Refuses as early as the bytes allow, so that nobody waits for the rest of nonsense.
#[inline]
pub fn split(buf: &[u8], frame_max: usize) -> Split {
    let Some(length) = buf.first_chunk::<4>() else { return Split::Need(4) };
    let total = i32::from_be_bytes(*length);
    let Some(after) = usize::try_from(total).ok().filter(|total| *total >= 4) else {
        return Split::Bad(FrameError::TooShort { total });
    };
    let bytes = after + 4;
    if bytes > frame_max {
        return Split::Bad(FrameError::TooLong { bytes, limit: frame_max });
    }
    if let Some(prefix) = buf.first_chunk::<FRAME_PREFIX>()
        && let Err(error) = prefix_of(prefix, bytes)
    {
        return Split::Bad(error);
    }
    if buf.len() < bytes { Split::Need(bytes) } else { Split::Whole(bytes) }
}

/// Codec and header length of a frame of `bytes` bytes.
#[inline]
fn prefix_of(prefix: &[u8; FRAME_PREFIX], bytes: usize) -> Result<(Codec, usize), FrameError> {
    let [_, _, _, _, byte, high, middle, low] = *prefix;
    let codec = Codec::from_byte(byte).ok_or(FrameError::Codec { byte })?;
    let header = u32::from_be_bytes([0, high, middle, low]) as usize;
    let limit = bytes.saturating_sub(FRAME_PREFIX);
    if header > limit {
        return Err(FrameError::Header { bytes: header, limit });
    }
    Ok((codec, header))
}

/// Why there is no whole frame at the front of `bytes`.
#[cold]
fn no_frame(bytes: &[u8]) -> FrameError {
    match split(bytes, usize::MAX) {
        Split::Whole(needed) | Split::Need(needed) => {
            FrameError::Cut { bytes: bytes.len(), needed }
        }
        Split::Bad(error) => error,
    }
}

/// One frame, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// How the header is written.
    pub codec: Codec,
    /// The header's bytes.
    pub header: &'a [u8],
    /// The body; empty when there is none.
    pub body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Takes apart the frame at the front of `bytes`, as [`split`] found it whole. Bytes after
    /// the frame are left alone.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Frame<'a>, FrameError> {
        let Some((prefix, rest)) = bytes.split_first_chunk::<FRAME_PREFIX>() else {
            return Err(no_frame(bytes));
        };
        let [a, b, c, d, ..] = *prefix;
        let total = i32::from_be_bytes([a, b, c, d]);
        let after = usize::try_from(total).ok().and_then(|total| total.checked_sub(4));
        let Some(rest) = after.and_then(|after| rest.get(..after)) else {
            return Err(no_frame(bytes));
        };
        let (codec, header) = prefix_of(prefix, FRAME_PREFIX + rest.len())?;
        let (header, body) = rest.split_at_checked(header).ok_or_else(|| no_frame(bytes))?;
        Ok(Frame { codec, header, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 16 * 1024 * 1024;

    fn bytes(total: i32, codec: u8, header_len: u32, rest: usize) -> Vec<u8> {
        let mut out = total.to_be_bytes().to_vec();
        out.extend_from_slice(&(header_len | u32::from(codec) << 24).to_be_bytes());
        out.extend(std::iter::repeat_n(7, rest));
        out
    }

    #[test]
    fn a_frame_is_found_only_when_it_is_whole() {
        let frame = bytes(4 + 3 + 2, 0, 3, 5);
        for len in 0..4 {
            assert_eq!(split(&frame[..len], MAX), Split::Need(4));
        }
        for len in 4..13 {
            assert_eq!(split(&frame[..len], MAX), Split::Need(13), "{len}");
            let cut = Frame::parse(&frame[..len]);
            assert_eq!(cut, Err(FrameError::Cut { bytes: len, needed: 13 }));
        }
        let mut two = frame.clone();
        two.extend_from_slice(&frame);
        assert_eq!(split(&two, MAX), Split::Whole(13));
        let parsed = Frame::parse(&two).unwrap();
        assert_eq!(parsed, Frame { codec: Codec::Json, header: &[7; 3], body: &[7; 2] });
    }

    #[test]
    fn a_header_of_123_bytes_has_the_prefix_of_the_specification() {
        let frame = bytes(127, 0, 123, 123);
        assert_eq!(frame[..8], [0, 0, 0, 0x7F, 0, 0, 0, 0x7B]);
        assert_eq!(split(&frame, MAX), Split::Whole(131));
        assert_eq!(Frame::parse(&frame).unwrap().header.len(), 123);
    }

    #[test]
    fn the_limit_counts_the_length_field() {
        let just = bytes(96, 1, 0, 92);
        assert_eq!(split(&just, 100), Split::Whole(100));
        let over = Split::Bad(FrameError::TooLong { bytes: 100, limit: 99 });
        assert_eq!(split(&just, 99), over);
        assert_eq!(split(&just[..4], 99), over, "known from the length alone");
    }

    #[test]
    fn nonsense_is_refused_as_soon_as_it_can_be_known() {
        let refused = |buf: &[u8]| match split(buf, MAX) {
            Split::Bad(error) => error.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            refused(b"GET / HTTP"),
            "a frame of 1195725860 bytes is over the limit of 16777216"
        );
        assert_eq!(
            refused(&[0x16, 3, 1, 2]),
            "a frame of 369295622 bytes is over the limit of 16777216"
        );
        assert_eq!(refused(&(-1i32).to_be_bytes()), "a frame length of -1 is below the least, 4");
        assert_eq!(refused(&3i32.to_be_bytes()), "a frame length of 3 is below the least, 4");
        assert_eq!(
            refused(&bytes(500, 2, 3, 0)),
            "serialize type 2 is unknown; 0 is JSON, 1 is ROCKETMQ"
        );
        assert_eq!(
            refused(&bytes(9, 0, 6, 0)),
            "a header of 6 bytes does not fit the 5 left in its frame"
        );
        assert_eq!(split(&bytes(9, 0, 5, 5), MAX), Split::Whole(13));
    }
}

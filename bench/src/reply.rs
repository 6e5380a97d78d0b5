//! Answers, read as little as a load generator can: the response code, the opaque, and now and
//! then one field.
//!
//! Frames are found in the received pieces; bodies are stepped over, never copied. JSON headers
//! are not parsed but scanned for a member's name, first at the place where the last answer had
//! it. A field value that spells out such a name would fool it; no broker answers so to this
//! tool's requests.

use std::io;

use memchr::memmem;

use crate::frame::Encoding;

/// Largest header taken as one; beyond it the stream is not RocketMQ's.
const HEADER_MAX: usize = 64 * 1024;

/// One answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply<'a> {
    /// RocketMQ's response code.
    pub code: i32,
    /// The request's opaque.
    pub opaque: u32,
    /// Bytes of the body, which is not at hand.
    pub body_bytes: usize,
    header: &'a [u8],
    binary: bool,
}

impl Reply<'_> {
    /// A decimal ext field of the header.
    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        let after = if self.binary {
            let mut entry = (key.len() as i16).to_be_bytes().to_vec();
            entry.extend_from_slice(key.as_bytes());
            let at = memmem::find(self.header, &entry)? + entry.len();
            let length = u32::from_be_bytes(self.header.get(at..at + 4)?.try_into().ok()?);
            self.header.get(at + 4..at + 4 + length as usize)?
        } else {
            let name = format!("\"{key}\":");
            let at = memmem::find(self.header, name.as_bytes())? + name.len();
            let rest = self.header.get(at..)?;
            rest.strip_prefix(b"\"").unwrap_or(rest)
        };
        decimal(after).map(|value| value as u64)
    }

    /// The remark, empty when there is none. For answers that say why they failed; slow.
    pub(crate) fn remark(&self) -> String {
        if self.binary {
            // Code 2, language 1, version 2, opaque 4, flag 4, then the remark's length.
            let text = self.header.get(13..17).and_then(|length| {
                let length = u32::from_be_bytes(length.try_into().ok()?) as usize;
                self.header.get(17..17 + length)
            });
            return String::from_utf8_lossy(text.unwrap_or_default()).into_owned();
        }
        let header: serde_json::Value = serde_json::from_slice(self.header).unwrap_or_default();
        header.get("remark").and_then(|text| text.as_str()).unwrap_or_default().to_owned()
    }
}

/// Finds answers in a byte stream that arrives in pieces.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    /// Start of a frame whose header is not complete yet.
    partial: Vec<u8>,
    /// Body bytes still to come of the last answer.
    skip: usize,
    places: Places,
}

/// Where the last JSON header had its members: the next one most often has them there too.
#[derive(Debug, Default)]
pub(crate) struct Places {
    code_at: usize,
    opaque_at: usize,
}

impl Splitter {
    /// Calls `on` for each answer whose header is complete after `bytes`. The body may still be
    /// on its way. An error means that the stream is not RocketMQ's.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        on: &mut impl FnMut(&Reply<'_>),
    ) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let step = self.skip.min(bytes.len());
                self.skip -= step;
                bytes = &bytes[step..];
                continue;
            }
            if self.partial.is_empty()
                && let Some(need) = header_end(bytes)?
                && need <= bytes.len()
            {
                self.skip = take(&mut self.places, bytes, need, on)?;
                bytes = &bytes[need..];
                continue;
            }
            let need = header_end(&self.partial)?.unwrap_or(8);
            let step = (need - self.partial.len()).min(bytes.len());
            self.partial.extend_from_slice(&bytes[..step]);
            bytes = &bytes[step..];
            if header_end(&self.partial)?.is_some_and(|need| need == self.partial.len()) {
                let need = self.partial.len();
                self.skip = take(&mut self.places, &self.partial, need, on)?;
                self.partial.clear();
            }
        }
        Ok(())
    }
}

/// Bytes from the frame's start to the end of its header, once eight are there.
fn header_end(frame: &[u8]) -> io::Result<Option<usize>> {
    let Some(prefix) = frame.first_chunk::<8>() else { return Ok(None) };
    let header_bytes = u32::from_be_bytes([0, prefix[5], prefix[6], prefix[7]]) as usize;
    let total = u32::from_be_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]) as usize;
    if header_bytes > HEADER_MAX || header_bytes + 4 > total || prefix[4] > 1 {
        return Err(io::Error::other(format!("not a RocketMQ frame: {prefix:02X?}")));
    }
    Ok(Some(8 + header_bytes))
}

/// Encoding and opaque of a whole frame, request or answer; for the ceiling, which reads no more
/// of it. `None` when it has none.
pub(crate) fn opaque_of(places: &mut Places, frame: &[u8]) -> Option<(Encoding, u32)> {
    let prefix = frame.first_chunk::<8>()?;
    let end = 8 + u32::from_be_bytes([0, prefix[5], prefix[6], prefix[7]]) as usize;
    let header = frame.get(8..end)?;
    if prefix[4] == 1 {
        let opaque = u32::from_be_bytes(header.get(5..9)?.try_into().ok()?);
        return Some((Encoding::Binary, opaque));
    }
    let opaque = member(header, b"\"opaque\":", &mut places.opaque_at)?;
    Some((Encoding::Json, opaque as u32))
}

/// Hands out one answer; gives the bytes of its body.
fn take(
    places: &mut Places,
    frame: &[u8],
    end: usize,
    on: &mut impl FnMut(&Reply<'_>),
) -> io::Result<usize> {
    let total = u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
    let (header, binary) = (&frame[8..end], frame[4] == 1);
    let numbers = if binary { binary_numbers(header) } else { json_numbers(places, header) };
    let Some((code, opaque)) = numbers else {
        let text = String::from_utf8_lossy(header);
        return Err(io::Error::other(format!("answer without code or opaque: {text}")));
    };
    let body_bytes = total + 4 - end;
    on(&Reply { code, opaque, body_bytes, header, binary });
    Ok(body_bytes)
}

fn binary_numbers(header: &[u8]) -> Option<(i32, u32)> {
    let code = i16::from_be_bytes(header.get(..2)?.try_into().ok()?);
    let opaque = u32::from_be_bytes(header.get(5..9)?.try_into().ok()?);
    Some((i32::from(code), opaque))
}

fn json_numbers(places: &mut Places, header: &[u8]) -> Option<(i32, u32)> {
    let code = member(header, b"\"code\":", &mut places.code_at)?;
    let opaque = member(header, b"\"opaque\":", &mut places.opaque_at)?;
    Some((code as i32, opaque as u32))
}

/// The number behind `name`, looked for at `place` first.
fn member(header: &[u8], name: &[u8], place: &mut usize) -> Option<i64> {
    let guess = header.get(*place..).is_some_and(|rest| rest.starts_with(name));
    if !guess {
        *place = memmem::find(header, name)?;
    }
    decimal(&header[*place + name.len()..])
}

fn decimal(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 || count > 18 {
        return None;
    }
    let value = digits[..count].iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Encoding, request};

    #[test]
    fn answers_are_found_however_the_stream_is_cut() {
        let mut stream = Vec::new();
        for (i, encoding) in [Encoding::Json, Encoding::Binary, Encoding::Json].iter().enumerate() {
            let ext = [("nextBeginOffset", "123"), ("msgId", "AB")];
            let body = vec![b'x'; i * 7];
            stream.extend_from_slice(&request(*encoding, i as i32, 50 + i as u32, &ext, &body));
        }
        for cut in 1..stream.len() {
            let mut splitter = Splitter::default();
            let mut seen = Vec::new();
            for piece in stream.chunks(cut) {
                let mut on = |reply: &Reply<'_>| {
                    let next = reply.number("nextBeginOffset");
                    seen.push((reply.code, reply.opaque, reply.body_bytes, next));
                };
                splitter.feed(piece, &mut on).unwrap();
            }
            let expected: Vec<_> =
                (0..3).map(|i| (i as i32, 50 + i as u32, i * 7, Some(123))).collect();
            assert_eq!(seen, expected, "cut every {cut}");
        }
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        for bytes in [&b"HTTP/1.1 400 Bad"[..], &[0, 0, 0, 5, 2, 0, 0, 1, 0], &[0; 8]] {
            assert!(Splitter::default().feed(bytes, &mut |_| {}).is_err(), "{bytes:?}");
        }
    }
}

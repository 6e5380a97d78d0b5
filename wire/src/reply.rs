//! Frames going out: answers, and the requests we send ourselves.
//!
//! A whole frame is appended to the caller's buffer; nothing else is allocated. Lengths are
//! patched when the frame is finished. A frame that was begun and dropped leaves half a frame in
//! the buffer, so the builders must be used.
//!
//! ```text
//! Reply::new(out, codec, code, opaque)   .remark(..) .ext_str(..) .ext_int(..)
//!     .finish()            no body
//!     .finish_with(bytes)  a body that is at hand
//!     .open_body()         the caller appends the body to `out`, then `close`
//!     .finish_body(len)    the caller sends `len` body bytes from elsewhere after `out`
//! ```
//!
//! Invariants: a code beyond 16 bits is written in a JSON header whatever was asked for; what is
//! appended parses by [`crate::frame`] and [`crate::header`].

use crate::codes::{Language, VERSION, response};
use crate::frame::{Codec, FRAME_PREFIX, HEADER_MAX};
use crate::header::{FLAG_ONEWAY, FLAG_RESPONSE};
use crate::swar;

/// Longest remark in bytes; the rest is cut off. Remarks are for people.
pub const REMARK_MAX: usize = 4096;

/// Offset of the flag-and-remark part in a binary header: code, language, version, opaque, flag.
const BINARY_FIXED: usize = 13;
const JSON_END: &[u8] = b"\"serializeTypeCurrentRPC\":\"JSON\",\"version\":493";

/// The header under way.
#[derive(Debug)]
struct Writer<'o> {
    out: &'o mut Vec<u8>,
    codec: Codec,
    /// Where the frame starts in `out`.
    start: usize,
    /// Where the custom fields start in `out`; 0 while there are none.
    ext_at: usize,
    flag: i32,
    opaque: i32,
}

/// A frame whose body the caller appends to the buffer.
#[must_use = "close it when the body is appended"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenBody {
    start: usize,
    body_at: usize,
    flag: i32,
    opaque: i32,
}

impl OpenBody {
    /// Length of the body appended so far.
    pub fn body_len(&self, out: &[u8]) -> usize {
        out.len().saturating_sub(self.body_at)
    }

    /// Ends the frame: everything appended to `out` since it was opened is the body. Returns the
    /// frame's length in bytes. `out` must be the same buffer, not shortened.
    pub fn close(self, out: &mut Vec<u8>) -> usize {
        let body_len = self.body_len(out);
        seal(out, self, body_len);
        out.len() - self.start
    }
}

/// Writes the lengths of a frame with `body_len` body bytes, of which some may not be in `out`.
fn seal(out: &mut Vec<u8>, open: OpenBody, body_len: usize) {
    let header_len = open.body_at - open.start - FRAME_PREFIX;
    let total = i32::try_from(4 + header_len + body_len);
    let Some(total) = total.ok().filter(|_| header_len <= HEADER_MAX) else {
        return give_up(out, open, header_len);
    };
    if let Some(prefix) = out.get_mut(open.start..open.start + FRAME_PREFIX) {
        let [_, high, middle, low] = (header_len as u32).to_be_bytes();
        prefix[..4].copy_from_slice(&total.to_be_bytes());
        prefix[5..].copy_from_slice(&[high, middle, low]);
    }
}

/// Replaces a frame that no length field can describe. Only fields as long as a frame lead here.
#[cold]
fn give_up(out: &mut Vec<u8>, open: OpenBody, header_len: usize) {
    out.truncate(open.start);
    let code = if open.flag & FLAG_RESPONSE != 0 { response::SYSTEM_ERROR } else { 0 };
    let remark = format!("a header of {header_len} bytes or its body is beyond what a frame holds");
    let mut writer = Writer::new(out, Codec::Json, code, open.opaque, open.flag);
    writer.remark(&remark);
    let open = writer.end_header();
    seal(out, open, 0);
}

impl<'o> Writer<'o> {
    #[inline]
    fn new(out: &'o mut Vec<u8>, codec: Codec, code: i32, opaque: i32, flag: i32) -> Writer<'o> {
        let start = out.len();
        let short = i16::try_from(code).ok().filter(|_| codec == Codec::Binary);
        let codec = if short.is_some() { codec } else { Codec::Json };
        out.extend_from_slice(&[0, 0, 0, 0, codec.byte(), 0, 0, 0]);
        if let Some(code) = short {
            out.extend_from_slice(&code.to_be_bytes());
            out.push(Language::Java.byte());
            out.extend_from_slice(&(VERSION as i16).to_be_bytes());
            out.extend_from_slice(&opaque.to_be_bytes());
            out.extend_from_slice(&flag.to_be_bytes());
            out.extend_from_slice(&[0; 8]);
        } else {
            let mut digits = itoa::Buffer::new();
            out.extend_from_slice(b"{\"code\":");
            out.extend_from_slice(digits.format(code).as_bytes());
            out.extend_from_slice(b",\"flag\":");
            out.extend_from_slice(digits.format(flag).as_bytes());
            out.extend_from_slice(b",\"language\":\"JAVA\",\"opaque\":");
            out.extend_from_slice(digits.format(opaque).as_bytes());
            out.push(b',');
            out.extend_from_slice(JSON_END);
        }
        Writer { out, codec, start, ext_at: 0, flag, opaque }
    }

    /// The remark goes before the custom fields, also when it comes later.
    fn remark(&mut self, text: &str) {
        let text = clip(text, REMARK_MAX);
        let ext_at = if self.ext_at == 0 { self.out.len() } else { self.ext_at };
        let before = self.out.len();
        match self.codec {
            Codec::Json => {
                self.out.extend_from_slice(b",\"remark\":\"");
                escape(self.out, text.as_bytes());
                self.out.push(b'"');
            }
            Codec::Binary => {
                let at = self.start + FRAME_PREFIX + BINARY_FIXED;
                let len = u32::try_from(text.len()).unwrap_or(0).to_be_bytes();
                if let Some(place) = self.out.get_mut(at..at + 4) {
                    debug_assert_eq!(place, [0; 4], "one remark a header");
                    place.copy_from_slice(&len);
                }
                self.out.extend_from_slice(text.as_bytes());
            }
        }
        let grown = self.out.len() - before;
        let ext_at = if self.codec == Codec::Binary && self.ext_at == 0 {
            // The empty length of the custom fields follows the remark.
            ext_at - 4
        } else {
            ext_at
        };
        if let Some(tail) = self.out.get_mut(ext_at..) {
            tail.rotate_right(grown);
        }
        if self.ext_at != 0 {
            self.ext_at += grown;
        }
    }

    /// Begins a custom field: everything up to its value.
    #[inline]
    fn key(&mut self, key: &str) {
        let first = self.ext_at == 0;
        match self.codec {
            Codec::Json => {
                if first {
                    self.ext_at = self.out.len();
                    self.out.extend_from_slice(b",\"extFields\":{\"");
                } else {
                    self.out.extend_from_slice(b",\"");
                }
                // Names are ours; none needs an escape sequence.
                debug_assert_eq!(swar::must_escape(key.as_bytes(), 0), None);
                self.out.extend_from_slice(key.as_bytes());
                self.out.extend_from_slice(b"\":\"");
            }
            Codec::Binary => {
                if first {
                    self.ext_at = self.out.len() - 4;
                }
                let len = i16::try_from(key.len()).unwrap_or(0);
                self.out.extend_from_slice(&len.to_be_bytes());
                self.out.extend_from_slice(key.as_bytes().get(..len as usize).unwrap_or(&[]));
            }
        }
    }

    #[inline]
    fn value(&mut self, value: &[u8]) {
        match self.codec {
            Codec::Json => {
                escape(self.out, value);
                self.out.push(b'"');
            }
            Codec::Binary => {
                let len = i32::try_from(value.len()).unwrap_or(0);
                self.out.extend_from_slice(&len.to_be_bytes());
                self.out.extend_from_slice(value.get(..len as usize).unwrap_or(&[]));
            }
        }
    }

    /// Ends the header.
    #[inline]
    fn end_header(&mut self) -> OpenBody {
        let (ext_at, out) = (self.ext_at, &mut *self.out);
        match self.codec {
            Codec::Json if ext_at != 0 => out.extend_from_slice(b"}}"),
            Codec::Json => out.push(b'}'),
            Codec::Binary if ext_at != 0 => {
                let len = u32::try_from(out.len() - ext_at - 4).unwrap_or(0);
                if let Some(place) = out.get_mut(ext_at..ext_at + 4) {
                    place.copy_from_slice(&len.to_be_bytes());
                }
            }
            Codec::Binary => {}
        }
        OpenBody { start: self.start, body_at: out.len(), flag: self.flag, opaque: self.opaque }
    }
}

/// The front of `text` of at most `max` bytes, cut between characters.
fn clip(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or("")
}

/// Appends the inside of a JSON string.
#[inline]
pub(crate) fn escape(out: &mut Vec<u8>, text: &[u8]) {
    let mut done = 0;
    while let Some(at) = swar::must_escape(text, done) {
        out.extend_from_slice(text.get(done..at).unwrap_or(&[]));
        escape_one(out, text.get(at).copied().unwrap_or(b' '));
        done = at + 1;
    }
    out.extend_from_slice(text.get(done..).unwrap_or(&[]));
}

/// Appends a byte that JSON text cannot hold as it is.
fn escape_one(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        8 => b'b',
        12 => b'f',
        _ => {
            let digit = |value: u8| b"0123456789ABCDEF".get(usize::from(value & 15)).copied();
            let (high, low) = (digit(byte >> 4), digit(byte));
            let digits = [high.unwrap_or(b'0'), low.unwrap_or(b'0')];
            out.extend_from_slice(b"\\u00");
            return out.extend_from_slice(&digits);
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

macro_rules! builder {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[must_use = "finish it, or half a frame stays in the buffer"]
        #[derive(Debug)]
        pub struct $name<'o> {
            writer: Writer<'o>,
        }

        impl $name<'_> {
            /// Sets the text for people; at most once. Cut at [`REMARK_MAX`] bytes.
            #[inline]
            pub fn remark(mut self, text: &str) -> Self {
                self.writer.remark(text);
                self
            }

            /// Adds a custom field.
            #[inline]
            pub fn ext_str(self, key: &str, value: &str) -> Self {
                self.ext_bytes(key, value.as_bytes())
            }

            /// Adds a custom field whose value is known to be UTF-8.
            #[inline]
            pub fn ext_bytes(mut self, key: &str, value: &[u8]) -> Self {
                self.writer.key(key);
                self.writer.value(value);
                self
            }

            /// Adds a custom field that is a number.
            #[inline]
            pub fn ext_int(self, key: &str, value: i64) -> Self {
                let mut digits = itoa::Buffer::new();
                self.ext_bytes(key, digits.format(value).as_bytes())
            }

            /// Adds a custom field that is `true` or `false`.
            #[inline]
            pub fn ext_bool(self, key: &str, value: bool) -> Self {
                self.ext_bytes(key, if value { b"true" } else { b"false" })
            }

            /// Ends the frame without a body.
            #[inline]
            pub fn finish(self) {
                self.finish_with(&[]);
            }

            /// Ends the frame with a body.
            #[inline]
            pub fn finish_with(mut self, body: &[u8]) {
                let open = self.writer.end_header();
                self.writer.out.extend_from_slice(body);
                seal(self.writer.out, open, body.len());
            }

            /// Ends the frame in the buffer before its body: the caller sends `body_len` bytes
            /// right after it from elsewhere.
            #[inline]
            pub fn finish_body(mut self, body_len: usize) {
                let open = self.writer.end_header();
                seal(self.writer.out, open, body_len);
            }

            /// Ends the header. The caller appends the body to the same buffer and closes.
            #[inline]
            pub fn open_body(mut self) -> OpenBody {
                self.writer.end_header()
            }
        }
    };
}

builder! {
    /// An answer to a request.
    Reply
}
builder! {
    /// A request of our own: to a client, to a name server, or as a client.
    Request
}

impl<'o> Reply<'o> {
    /// Begins the answer `code` to the request numbered `opaque`, in the codec it came in.
    #[inline]
    pub fn new(out: &'o mut Vec<u8>, codec: Codec, code: i32, opaque: i32) -> Reply<'o> {
        Reply { writer: Writer::new(out, codec, code, opaque, FLAG_RESPONSE) }
    }
}

impl<'o> Request<'o> {
    /// Begins a request numbered `opaque`; nobody answers it when `oneway`. Requests to clients
    /// are always JSON.
    #[inline]
    pub fn new(
        out: &'o mut Vec<u8>,
        codec: Codec,
        code: i32,
        opaque: i32,
        oneway: bool,
    ) -> Request<'o> {
        let flag = if oneway { FLAG_ONEWAY } else { 0 };
        Request { writer: Writer::new(out, codec, code, opaque, flag) }
    }
}

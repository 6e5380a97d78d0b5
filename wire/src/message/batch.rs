//! The body of SEND_BATCH_MESSAGE (320): messages one after the other, without topic or times.
//!
//! Every length is checked against the entry's size and that against the body. It never yields
//! an entry whose lengths do not add up, and ends after the first that does not.
//!
//! ```text
//!  0 total size i32   4 magic i32 (0)   8 body CRC i32 (0)   12 flag i32
//! 16 body i32 length, bytes
//!    properties i16 length, bytes
//! ```

use std::fmt;

/// Bytes of an entry without body and properties.
pub const BATCH_ENTRY_MIN: usize = 22;

/// One message of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchEntry<'a> {
    /// The sender's own flag.
    pub flag: i32,
    /// The payload.
    pub body: &'a [u8],
    /// Its properties, UTF-8.
    pub properties: &'a [u8],
}

/// Why bytes are no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchError {
    /// Offset in the body of the entry that is wrong.
    pub at: usize,
    /// What of it is wrong.
    pub field: &'static str,
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the batch entry at byte {} has a wrong {}", self.at, self.field)
    }
}

impl std::error::Error for BatchError {}

/// Iterator over the messages of a batch.
#[derive(Clone, Debug)]
pub struct BatchEntries<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> BatchEntries<'a> {
    /// The messages in `body`; an empty body has none.
    #[inline]
    pub fn new(body: &'a [u8]) -> BatchEntries<'a> {
        BatchEntries { body, at: 0 }
    }

    fn entry(&self) -> Result<(BatchEntry<'a>, usize), &'static str> {
        let rest = self.body.get(self.at..).unwrap_or(&[]);
        let total = int(rest, 0).and_then(|size| usize::try_from(size).ok());
        let total = total.filter(|size| *size >= BATCH_ENTRY_MIN).ok_or("size")?;
        let bytes = rest.get(..total).ok_or("size")?;
        let flag = int(bytes, 12).ok_or("size")?;
        let body_len = int(bytes, 16).and_then(|len| usize::try_from(len).ok());
        let body_end = body_len.ok_or("body length")?.saturating_add(20);
        let body = bytes.get(20..body_end).ok_or("body length")?;
        let tail = bytes.get(body_end..).ok_or("body length")?;
        let (len, properties) = tail.split_first_chunk().ok_or("body length")?;
        if usize::try_from(i16::from_be_bytes(*len)) != Ok(properties.len()) {
            return Err("properties length");
        }
        Ok((BatchEntry { flag, body, properties }, total))
    }
}

fn int(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

impl<'a> Iterator for BatchEntries<'a> {
    type Item = Result<BatchEntry<'a>, BatchError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.body.len() {
            return None;
        }
        match self.entry() {
            Ok((entry, size)) => {
                self.at += size;
                Some(Ok(entry))
            }
            Err(field) => {
                let at = std::mem::replace(&mut self.at, self.body.len());
                Some(Err(BatchError { at, field }))
            }
        }
    }
}

impl BatchEntry<'_> {
    /// Appends the entry as a client sends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        debug_assert!(self.properties.len() <= super::PROPERTIES_MAX);
        let total = BATCH_ENTRY_MIN + self.body.len() + self.properties.len();
        out.extend_from_slice(&(total as i32).to_be_bytes());
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&self.flag.to_be_bytes());
        out.extend_from_slice(&(self.body.len() as i32).to_be_bytes());
        out.extend_from_slice(self.body);
        out.extend_from_slice(&(self.properties.len() as u16).to_be_bytes());
        out.extend_from_slice(self.properties);
    }
}

//! RocketMQ's binary header, read.
//!
//! Every length is checked against what is left. It never trusts that the two inner lengths agree
//! with the outer one: bytes after the custom fields make no header.
//!
//! ```text
//!  0 code i16   2 language u8   3 version i16   5 opaque i32   9 flag i32
//! 13 remark: i32 length, UTF-8 (0 = none)
//!    custom fields: i32 length of all of them, then each
//!        i16 length, key, i32 length, value (0 = no such field)
//! ```

use super::ext::Span;
use super::parsed::Draft;
use super::{EXT_FIELDS_MAX, HeaderError};
use crate::codes::Language;

/// Reads `bytes` into `header`.
pub(super) fn parse(bytes: &[u8], header: &mut Draft<'_>) -> Result<(), HeaderError> {
    let mut cursor = Cursor { bytes, at: 0, ascii: bytes.get(13..).is_some_and(<[u8]>::is_ascii) };
    header.code = i32::from(i16::from_be_bytes(cursor.array()?));
    let [language] = cursor.array()?;
    header.language = Language::from_byte(language);
    header.version = i32::from(i16::from_be_bytes(cursor.array()?));
    header.opaque = i32::from_be_bytes(cursor.array()?);
    header.flag = i32::from_be_bytes(cursor.array()?);
    let remark_len = i32::from_be_bytes(cursor.array()?);
    header.remark = cursor.text(remark_len)?;
    let fields_len = i32::from_be_bytes(cursor.array()?);
    if cursor.left() != usize::try_from(fields_len).unwrap_or(usize::MAX) {
        return Err(HeaderError::Length { bytes: fields_len, limit: cursor.left() });
    }
    while cursor.left() > 0 {
        let key_len = i32::from(i16::from_be_bytes(cursor.array()?));
        let key = cursor.text(key_len)?;
        let value_len = i32::from_be_bytes(cursor.array()?);
        let value = cursor.text(value_len)?;
        if key.len > 0 && value.len > 0 {
            let limit = HeaderError::Fields { limit: EXT_FIELDS_MAX };
            header.fields.push(key, value).ok_or(limit)?;
        }
    }
    Ok(())
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    /// No part of it needs a look at its UTF-8.
    ascii: bool,
}

impl Cursor<'_> {
    fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], HeaderError> {
        let rest = self.bytes.get(self.at..).unwrap_or(&[]);
        let array = rest.first_chunk::<N>().ok_or(HeaderError::Cut)?;
        self.at += N;
        Ok(*array)
    }

    fn text(&mut self, len: i32) -> Result<Span, HeaderError> {
        let at = self.at;
        let wrong = HeaderError::Length { bytes: len, limit: self.left() };
        let bytes = usize::try_from(len).map_err(|_| wrong)?;
        let raw = self.bytes.get(at..).and_then(|rest| rest.get(..bytes)).ok_or(wrong)?;
        if !self.ascii && std::str::from_utf8(raw).is_err() {
            return Err(HeaderError::NotUtf8);
        }
        self.at += bytes;
        Ok(Span { at, len: bytes, plain_len: bytes })
    }
}

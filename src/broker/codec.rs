//! Integers, text and lists as the log's own records hold them.
//!
//! Big-endian, lengths in front. Reading never trusts a length further than the bytes that are
//! there, so a forged count cannot ask for memory.

use super::record::MetaError;

/// Appends text: u16 length, then UTF-8. Longer text cannot occur (names and attributes are
/// bounded far below) and is cut at a character.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    let text = &text[..text.floor_char_boundary(usize::from(u16::MAX))];
    let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Appends a list: u32 count, then each item as `put` writes it.
pub(super) fn put_list<T>(out: &mut Vec<u8>, items: &[T], mut put: impl FnMut(&mut Vec<u8>, &T)) {
    let count = u32::try_from(items.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&count.to_be_bytes());
    for item in items {
        put(out, item);
    }
}

/// Appends name and value pairs.
pub(super) fn put_pairs(out: &mut Vec<u8>, pairs: &[(String, String)]) {
    put_list(out, pairs, |out, (name, value)| {
        put_text(out, name);
        put_text(out, value);
    });
}

/// Reads what the `put` functions wrote; each call names the field for the error.
pub(super) struct Get<'a> {
    rest: &'a [u8],
}

impl<'a> Get<'a> {
    /// A reader over a payload.
    pub(super) fn new(rest: &'a [u8]) -> Get<'a> {
        Get { rest }
    }

    /// What was not read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether all was read.
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn bytes<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], MetaError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(MetaError::Malformed(field))?;
        self.rest = rest;
        Ok(*head)
    }

    /// One byte that is 0 or 1.
    pub(super) fn flag(&mut self, field: &'static str) -> Result<bool, MetaError> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(MetaError::Malformed(field)),
        }
    }

    /// One byte.
    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, MetaError> {
        Ok(u8::from_be_bytes(self.bytes(field)?))
    }

    /// Four bytes.
    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, MetaError> {
        Ok(u32::from_be_bytes(self.bytes(field)?))
    }

    /// Four bytes, signed.
    pub(super) fn i32(&mut self, field: &'static str) -> Result<i32, MetaError> {
        Ok(i32::from_be_bytes(self.bytes(field)?))
    }

    /// Eight bytes.
    pub(super) fn u64(&mut self, field: &'static str) -> Result<u64, MetaError> {
        Ok(u64::from_be_bytes(self.bytes(field)?))
    }

    /// Eight bytes, signed.
    pub(super) fn i64(&mut self, field: &'static str) -> Result<i64, MetaError> {
        Ok(i64::from_be_bytes(self.bytes(field)?))
    }

    /// Text.
    pub(super) fn text(&mut self, field: &'static str) -> Result<String, MetaError> {
        let len = usize::from(u16::from_be_bytes(self.bytes(field)?));
        let (head, rest) = self.rest.split_at_checked(len).ok_or(MetaError::Malformed(field))?;
        self.rest = rest;
        let text = std::str::from_utf8(head).map_err(|_| MetaError::Malformed(field))?;
        Ok(text.to_owned())
    }

    /// A list.
    pub(super) fn list<T>(
        &mut self,
        field: &'static str,
        mut item: impl FnMut(&mut Get<'a>) -> Result<T, MetaError>,
    ) -> Result<Vec<T>, MetaError> {
        let count = self.u32(field)?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// Name and value pairs.
    pub(super) fn pairs(
        &mut self,
        field: &'static str,
    ) -> Result<Vec<(String, String)>, MetaError> {
        self.list(field, |get| Ok((get.text(field)?, get.text(field)?)))
    }
}

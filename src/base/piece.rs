//! Bytes of a bounded piece, written and read front to back, little-endian.
//!
//! Writing past the end is a bug of the caller, who looked at [`Piece::room`]; reading past it is
//! `None`, because what is read may be forged.

/// A piece being written.
#[derive(Debug)]
pub struct Piece<'a> {
    bytes: &'a mut [u8],
    len: usize,
}

impl<'a> Piece<'a> {
    /// Writes into `bytes` from the front.
    pub fn new(bytes: &'a mut [u8]) -> Piece<'a> {
        Piece { bytes, len: 0 }
    }

    /// Bytes left.
    pub fn room(&self) -> usize {
        self.bytes.len() - self.len
    }

    /// Bytes written.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is written yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends.
    pub fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

/// What is left of a piece being read.
#[derive(Debug)]
pub struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    /// Reads `bytes` from the front.
    pub fn new(bytes: &'a [u8]) -> Rest<'a> {
        Rest(bytes)
    }

    /// Whether all was read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    /// One byte.
    pub fn byte(&mut self) -> Option<u8> {
        self.bytes(1).map(|bytes| bytes[0])
    }

    /// Four bytes.
    pub fn half(&mut self) -> Option<u32> {
        self.bytes(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    /// Eight bytes.
    pub fn word(&mut self) -> Option<u64> {
        self.bytes(8)?.try_into().ok().map(u64::from_le_bytes)
    }
}

//! A sparse byte image: pages of 4096 bytes, absent where all bytes are zero.
//!
//! Both images of a simulated file are of this kind, so that a segment full of prepared zeros
//! costs nothing and a page that is the same in both is stored once. Reading past the last page
//! gives zeros: the length of a file is kept elsewhere.

use std::collections::BTreeMap;
use std::rc::Rc;

const PAGE: usize = 4096;

/// A sparse image.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    pages: BTreeMap<u64, Rc<[u8; PAGE]>>,
}

/// Splits `len` bytes at `offset` into `(page, offset in the page, offset in the run, length)`.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = offset + done as u64;
        let within = (at % PAGE as u64) as usize;
        let take = (PAGE - within).min(len - done);
        let piece = (at / PAGE as u64, within, done, take);
        done += take;
        Some(piece)
    })
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

impl Image {
    /// Overwrites the bytes at `offset`.
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) {
        for (page, within, from, len) in pieces(offset, bytes.len()) {
            let piece = &bytes[from..from + len];
            if is_zero(piece) {
                self.zero(page, within, len);
            } else {
                let slot = self.pages.entry(page).or_insert_with(|| Rc::new([0; PAGE]));
                Rc::make_mut(slot)[within..within + len].copy_from_slice(piece);
            }
        }
    }

    fn zero(&mut self, page: u64, within: usize, len: usize) {
        if len == PAGE {
            self.pages.remove(&page);
        } else if let Some(slot) = self.pages.get_mut(&page) {
            Rc::make_mut(slot)[within..within + len].fill(0);
        }
    }

    /// Zeros `len` bytes at `offset`.
    pub(crate) fn write_zeros(&mut self, offset: u64, len: u64) {
        for (page, within, _, len) in pieces(offset, len as usize) {
            self.zero(page, within, len);
        }
    }

    /// Copies the bytes at `offset` out.
    pub(crate) fn read(&self, offset: u64, into: &mut [u8]) {
        for (page, within, from, len) in pieces(offset, into.len()) {
            let piece = &mut into[from..from + len];
            match self.pages.get(&page) {
                Some(slot) => piece.copy_from_slice(&slot[within..within + len]),
                None => piece.fill(0),
            }
        }
    }

    /// Flips the bits of `mask` in one byte.
    pub(crate) fn flip(&mut self, offset: u64, mask: u8) {
        let mut byte = [0];
        self.read(offset, &mut byte);
        self.write(offset, &[byte[0] ^ mask]);
    }

    /// Pages that hold anything.
    #[cfg(test)]
    pub(crate) fn page_count(&self) -> usize {
        self.pages.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_across_page_borders_and_holes_read_as_zeros() {
        let mut image = Image::default();
        let bytes: Vec<u8> = (0..10_000u32).map(|n| n as u8 | 1).collect();
        image.write(4000, &bytes);
        let mut back = vec![9; 10_200];
        image.read(3900, &mut back);
        assert_eq!(&back[100..10_100], &bytes[..]);
        assert!(is_zero(&back[..100]) && is_zero(&back[10_100..]));
    }

    #[test]
    fn zeros_cost_no_memory_and_a_copy_shares_its_pages() {
        let mut image = Image::default();
        image.write(0, &[7; 3 * PAGE]);
        let copy = image.clone();
        image.write(0, &[0; 64 * PAGE]);
        image.write_zeros(64 << 20, 64 << 20);
        assert_eq!(image.page_count(), 0);
        let mut byte = [0];
        copy.read(5, &mut byte);
        assert_eq!((copy.page_count(), byte), (3, [7]), "the copy kept its own");
    }

    #[test]
    fn a_flip_changes_one_bit() {
        let mut image = Image::default();
        image.flip(77, 0x10);
        let mut byte = [0];
        image.read(77, &mut byte);
        assert_eq!(byte, [0x10]);
    }
}

//! `weir inspect checkpoint`: the header of a checkpoint file, and whether the sums hold.
//!
//! The slices behind the header are a cache of one build and are not taken apart here.

use std::path::Path;

use serde_json::json;

use super::super::output::Output;
use super::walk::told;
use crate::base::crc::crc32c;
use crate::exit::{self, Stop};

/// "WCKP", little-endian.
const MAGIC: u32 = u32::from_le_bytes(*b"WCKP");
const HEADER: usize = 4096;
/// Slices are padded to a multiple of this.
const PAGE: usize = 4096;

/// Prints what the header says.
pub(super) fn show(file: &Path, out: &mut Output) -> Result<(), Stop> {
    let bytes = std::fs::read(file).map_err(|error| told(file, &error))?;
    let Some(header) = Header::read(&bytes) else {
        let line = format!("{}: no checkpoint header", file.display());
        return Err(Stop::new(exit::FAILED, line));
    };
    let sum = if header.whole { "good" } else { "differ" };
    let text = format!(
        "checkpoint from position {} on, up to {}, version {}, layout {:016x}, slices {} bytes, \
         checksums {sum}",
        header.position, header.upto, header.version, header.layout, header.len
    );
    let value = json!({
        "position": header.position, "upto": header.upto, "version": header.version,
        "layout": format!("{:016x}", header.layout), "image": header.len, "whole": header.whole,
    });
    out.row(&text, &value)
}

#[derive(Debug, PartialEq, Eq)]
struct Header {
    version: u32,
    layout: u64,
    len: u64,
    position: u64,
    upto: u64,
    whole: bool,
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Header> {
        let word = |at: usize| bytes.get(at..)?.first_chunk().map(|b| u64::from_le_bytes(*b));
        let half = |at: usize| bytes.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b));
        if half(0)? != MAGIC {
            return None;
        }
        let (len, position) = (word(16)?, word(24)?);
        let end = usize::try_from(len).ok().and_then(|len| HEADER.checked_add(len));
        let slices = end.and_then(|end| bytes.get(HEADER..end));
        let own = half(40)? == crc32c([&bytes[..40]]);
        Some(Header {
            version: half(4)?,
            layout: word(8)?,
            len,
            position,
            upto: word(32)?,
            whole: own && slices.is_some_and(|slices| slices_are_good(slices, position)),
        })
    }
}

/// Whether the sums of all slices hold, and there is nothing else.
fn slices_are_good(mut rest: &[u8], position: u64) -> bool {
    let seed = position.to_le_bytes();
    for number in 0u32.. {
        if rest.is_empty() {
            break;
        }
        let half = |at: usize| rest.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b));
        let len = half(4).map_or(0, |len| len as usize);
        let summed = rest.get(4..len).map(|bytes| crc32c([&seed[..], bytes]));
        if summed.is_none() || half(0) != summed || half(8) != Some(number) {
            return false;
        }
        rest = rest.get(len.next_multiple_of(PAGE)..).unwrap_or(&[]);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_and_its_sum_judged() {
        let mut bytes = vec![0; HEADER + PAGE];
        bytes[0..4].copy_from_slice(b"WCKP");
        bytes[4] = 1;
        bytes[16..24].copy_from_slice(&(PAGE as u64).to_le_bytes());
        bytes[24] = 99;
        bytes[32] = 100;
        let sum = crc32c([&bytes[..40]]);
        bytes[40..44].copy_from_slice(&sum.to_le_bytes());
        let slice = &mut bytes[HEADER..];
        slice[4] = 19;
        let sum = crc32c([&99u64.to_le_bytes()[..], &slice[4..19]]);
        slice[0..4].copy_from_slice(&sum.to_le_bytes());
        let len = PAGE as u64;
        let good = Header { version: 1, layout: 0, len, position: 99, upto: 100, whole: true };
        assert_eq!(Header::read(&bytes), Some(good));
        bytes[HEADER + 17] = 1;
        assert!(!Header::read(&bytes).unwrap().whole);
        bytes[HEADER + 17] = 0;
        assert!(Header::read(&bytes).unwrap().whole);
        bytes[23] = 0xFF;
        assert!(!Header::read(&bytes).unwrap().whole);
        assert_eq!(Header::read(b"WCKP"), None);
        assert_eq!(Header::read(b"other"), None);
    }
}

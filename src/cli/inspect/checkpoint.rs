//! `weir inspect checkpoint`: the header of a checkpoint file, and whether its sum holds.
//!
//! The image behind the header is a cache of one build and is not taken apart here.

use std::path::Path;

use serde_json::json;

use super::super::output::Output;
use super::walk::told;
use crate::base::crc::crc32c;
use crate::exit::{self, Stop};

/// "WCKP", little-endian.
const MAGIC: u32 = u32::from_le_bytes(*b"WCKP");
const HEADER: usize = 4096;

/// Prints what the header says.
pub(super) fn show(file: &Path, out: &mut Output) -> Result<(), Stop> {
    let bytes = std::fs::read(file).map_err(|error| told(file, &error))?;
    let Some(header) = Header::read(&bytes) else {
        let line = format!("{}: no checkpoint header", file.display());
        return Err(Stop::new(exit::FAILED, line));
    };
    let sum = if header.whole { "good" } else { "differs" };
    let text = format!(
        "checkpoint up to position {}, version {}, layout {:016x}, image {} bytes, checksum {sum}",
        header.position, header.version, header.layout, header.len
    );
    let value = json!({
        "position": header.position, "version": header.version,
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
    whole: bool,
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Header> {
        let word = |at: usize| bytes.get(at..)?.first_chunk().map(|b| u64::from_le_bytes(*b));
        let half = |at: usize| bytes.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b));
        if half(0)? != MAGIC {
            return None;
        }
        let len = word(16)?;
        let end = usize::try_from(len).ok().and_then(|len| HEADER.checked_add(len));
        let image = end.and_then(|end| bytes.get(HEADER..end));
        let sum = |image| crc32c([&bytes[..32], image]);
        Some(Header {
            version: half(4)?,
            layout: word(8)?,
            len,
            position: word(24)?,
            whole: image.is_some_and(|image| half(32) == Some(sum(image))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_and_its_sum_judged() {
        let mut bytes = vec![0; HEADER + 3];
        bytes[0..4].copy_from_slice(b"WCKP");
        bytes[4] = 1;
        bytes[16] = 3;
        bytes[24] = 99;
        let sum = crc32c([&bytes[..32], &[0, 0, 0]]);
        bytes[32..36].copy_from_slice(&sum.to_le_bytes());
        let good = Header { version: 1, layout: 0, len: 3, position: 99, whole: true };
        assert_eq!(Header::read(&bytes), Some(good));
        bytes[HEADER] = 1;
        assert!(!Header::read(&bytes).unwrap().whole);
        bytes[23] = 0xFF;
        assert!(!Header::read(&bytes).unwrap().whole);
        assert_eq!(Header::read(b"WCKP"), None);
        assert_eq!(Header::read(b"other"), None);
    }
}

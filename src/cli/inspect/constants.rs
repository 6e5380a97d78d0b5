//! `weir inspect constants`: every number that the bytes on disk depend on.
//!
//! The test below holds them as text: a change of format cannot slip in unseen. Whoever changes it
//! changes docs/format.md and CHANGELOG.md with it.

use serde_json::json;

use super::super::output::Output;
use crate::base::limits::{BLOCK_ALIGN, BLOCK_HEADER, BLOCK_MAX, INDEX_CHUNK, INDEX_ENTRY};
use crate::broker::{META_MAGIC, META_VERSION};
use crate::commitlog::{
    BLOCK_MAGIC, BLOCK_VERSION, FLAG_REPLAYED, SEGMENT_HEADER, SEGMENT_VERSION,
};
use crate::exit::Stop;

/// Name and value.
const CONSTANTS: &[(&str, u64)] = &[
    ("block.magic", BLOCK_MAGIC as u64),
    ("block.version", BLOCK_VERSION as u64),
    ("block.header", BLOCK_HEADER as u64),
    ("block.align", BLOCK_ALIGN as u64),
    ("block.max", BLOCK_MAX as u64),
    ("block.flag.replayed", FLAG_REPLAYED as u64),
    ("segment.version", SEGMENT_VERSION as u64),
    ("segment.header", SEGMENT_HEADER),
    ("record.meta.magic", META_MAGIC as u64),
    ("record.meta.version", META_VERSION as u64),
    ("index.entry", INDEX_ENTRY as u64),
    ("index.chunk", INDEX_CHUNK as u64),
];

/// Prints them.
pub(super) fn show(out: &mut Output) -> Result<(), Stop> {
    for (name, value) in CONSTANTS {
        out.row(&format!("{name} = {value}"), &json!({ "name": name, "value": value }))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::CONSTANTS;

    #[test]
    fn the_format_is_what_it_was() {
        let lines: Vec<String> =
            CONSTANTS.iter().map(|(name, value)| format!("{name} {value:#x}")).collect();
        assert_eq!(
            lines,
            [
                "block.magic 0x4b4c4257",
                "block.version 0x1",
                "block.header 0x40",
                "block.align 0x1000",
                "block.max 0x40000",
                "block.flag.replayed 0x1",
                "segment.version 0x1",
                "segment.header 0x1000",
                "record.meta.magic 0x57454952",
                "record.meta.version 0x1",
                "index.entry 0x20",
                "index.chunk 0x1000",
            ]
        );
    }
}

//! `weir inspect block`: one block and the records in it.
//!
//! A record that is neither a message nor one of the broker's own is shown by its length; nothing
//! is skipped in silence.

use std::path::Path;

use serde_json::{Value, json};
use weir_wire::message::Record;

use super::super::output::Output;
use super::super::record;
use super::segment::row;
use super::walk::Segment;
use crate::broker::Meta;
use crate::exit::{self, Stop};

/// Prints the block of `file` at `offset`.
pub(super) fn show(file: &Path, offset: u64, out: &mut Output) -> Result<(), Stop> {
    let segment = Segment::open(file)?;
    let found = segment
        .block(offset)?
        .map_err(|end| Stop::new(exit::FAILED, format!("{} @{offset}: {end}", file.display())))?;
    let (text, value) = row(&found);
    out.row(&text, &value)?;
    let mut position = found.header.start;
    let mut rest = found.records.as_slice();
    while let Some(bytes) = first(rest) {
        let (text, value) = describe(position, bytes);
        out.row(&text, &value)?;
        position += bytes.len() as u64;
        rest = &rest[bytes.len()..];
    }
    if rest.is_empty() {
        return Ok(());
    }
    let line = format!("{} bytes at position {position} are no record", rest.len());
    Err(Stop::new(exit::FAILED, line))
}

/// The record at the front, by its own length.
fn first(bytes: &[u8]) -> Option<&[u8]> {
    let len = u32::from_be_bytes(*bytes.first_chunk()?) as usize;
    bytes.get(..len).filter(|_| len >= 8)
}

fn describe(position: u64, bytes: &[u8]) -> (String, Value) {
    let len = bytes.len();
    if Meta::is_meta(bytes) {
        return match Meta::decode(bytes) {
            Ok(meta) => {
                let meta = format!("{meta:?}");
                let value = json!({ "position": position, "bytes": len, "meta": meta });
                (format!("  {position} {len} bytes {meta}"), value)
            }
            Err(fault) => {
                let fault = format!("{fault:?}");
                let value = json!({ "position": position, "bytes": len, "fault": fault });
                (format!("  {position} {len} bytes, not read: {fault}"), value)
            }
        };
    }
    match Record::parse(bytes) {
        Ok(message) => {
            let text = format!(
                "  {position} {len} bytes {} {}",
                message.topic(),
                record::text(&message, "queue")
            );
            (text, record::value(&message, ""))
        }
        Err(fault) => {
            let fault = fault.to_string();
            let value = json!({ "position": position, "bytes": len, "fault": fault });
            (format!("  {position} {len} bytes, not read: {fault}"), value)
        }
    }
}

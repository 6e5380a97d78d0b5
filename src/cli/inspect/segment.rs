//! The dispatch of `weir inspect`, and `weir inspect segment`: one row per block.
//!
//! The last row says where the good blocks end and what stands there.

use std::path::Path;

use serde_json::json;

use super::super::args::Inspect;
use super::super::output::Output;
use super::walk::{Found, Segment};
use super::{block, checkpoint, constants, log};
use crate::exit::Stop;

/// Runs one of the inspect commands.
pub(in super::super) fn run(args: &Inspect, out: &mut Output) -> Result<(), Stop> {
    match args {
        Inspect::Log { data } => log::show(data, out),
        Inspect::Segment { file } => show(file, out),
        Inspect::Block { file, offset } => block::show(file, *offset, out),
        Inspect::Checkpoint { file } => checkpoint::show(file, out),
        Inspect::Constants => constants::show(out),
    }
}

fn show(file: &Path, out: &mut Output) -> Result<(), Stop> {
    let segment = Segment::open(file)?;
    let text = format!(
        "segment {} of shard {}/{}, log {:016x}, {} bytes",
        segment.number,
        segment.identity.shard,
        segment.identity.shards,
        segment.identity.log_id,
        segment.size
    );
    let value = json!({
        "segment": segment.number, "shard": segment.identity.shard,
        "shards": segment.identity.shards, "logId": format!("{:016x}", segment.identity.log_id),
        "size": segment.size,
    });
    out.row(&text, &value)?;
    let (offset, end) = segment.walk(|gap, found| {
        if let Some(gap) = gap {
            let (text, value) = gap.row();
            out.row(&text, &value)?;
        }
        let (text, value) = row(found);
        out.row(&text, &value)
    })?;
    out.row(&format!("@{offset}: {end}"), &json!({ "offset": offset, "end": end.to_string() }))
}

/// A block as a line and as a value.
pub(super) fn row(found: &Found) -> (String, serde_json::Value) {
    let header = &found.header;
    let replayed = header.flags & crate::commitlog::FLAG_REPLAYED != 0;
    let mark = if replayed { " replayed" } else { "" };
    let text = format!(
        "@{} [{}, {}) {} bytes, generation {}, epoch {}, durable up to {}{mark}",
        found.offset,
        header.start,
        header.end(),
        header.payload_len,
        header.generation,
        header.epoch,
        header.durable_upto
    );
    let value = json!({
        "offset": found.offset, "start": header.start, "end": header.end(),
        "payload": header.payload_len, "onDisk": header.disk_len(),
        "generation": header.generation, "epoch": header.epoch,
        "durableUpto": header.durable_upto, "replayed": replayed,
    });
    (text, value)
}

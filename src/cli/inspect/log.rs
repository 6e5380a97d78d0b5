//! `weir inspect log`: one row per segment of every shard in a data directory.
//!
//! It reads every block, so it takes as long as the disk needs for the whole log.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::super::output::Output;
use super::walk::{Segment, told};
use crate::commitlog::segment_number_of;
use crate::exit::{self, Stop};

/// Prints the segments of all shards with the holes in them, and a sum per shard.
pub(super) fn show(data: &Path, out: &mut Output) -> Result<(), Stop> {
    let mut shards = Vec::new();
    for index in 0u16.. {
        let dir = data.join(format!("shard-{index}")).join("log");
        if !dir.is_dir() {
            break;
        }
        shards.push((index, segments(&dir)?));
    }
    if shards.is_empty() {
        let line = format!("{}: no shard-0/log in it; is it a data directory?", data.display());
        return Err(Stop::new(exit::FAILED, line));
    }
    let files: usize = shards.iter().map(|(_, files)| files.len()).sum();
    let bar = out.bar(Some(files as u64), "segments", true);
    for (index, files) in shards {
        let mut sum = Sum::default();
        for file in files {
            sum.add(&one(index, &file, out)?);
            bar.inc(1);
        }
        sum.show(index, out)?;
    }
    bar.finish_and_clear();
    Ok(())
}

/// Segment files, in order.
fn segments(dir: &Path) -> Result<Vec<PathBuf>, Stop> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|error| told(dir, &error))? {
        let entry = entry.map_err(|error| told(dir, &error))?;
        if entry.file_name().to_str().and_then(segment_number_of).is_some() {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// What one segment holds.
struct Held {
    blocks: u64,
    start: Option<u64>,
    end: u64,
    payload: u64,
    on_disk: u64,
}

fn one(shard: u16, file: &Path, out: &mut Output) -> Result<Held, Stop> {
    let segment = Segment::open(file)?;
    let mut held = Held { blocks: 0, start: None, end: 0, payload: 0, on_disk: 0 };
    let mut generations: Option<(u64, u64)> = None;
    let (offset, end) = segment.walk(|gap, found| {
        let header = &found.header;
        if let Some(gap) = gap {
            let (text, value) = gap.row();
            out.row(&format!("shard {shard} segment {} {text}", segment.number), &value)?;
        }
        held.blocks += 1;
        held.start.get_or_insert(header.start);
        held.end = header.end();
        held.payload += u64::from(header.payload_len);
        held.on_disk += header.disk_len() as u64;
        let first = generations.map_or(header.generation, |(first, _)| first);
        generations = Some((first, header.generation));
        Ok(())
    })?;
    let start = held.start.unwrap_or(0);
    let (first, last) = generations.unwrap_or((0, 0));
    let text = format!(
        "shard {shard} segment {}: {} blocks, [{start}, {}), generations {first}-{last}, \
         @{offset}: {end}",
        segment.number, held.blocks, held.end
    );
    let value = json!({
        "shard": shard, "segment": segment.number, "blocks": held.blocks, "start": start,
        "end": held.end, "payload": held.payload, "onDisk": held.on_disk,
        "firstGeneration": first, "lastGeneration": last, "offset": offset,
        "stopsAt": end.to_string(),
    });
    out.row(&text, &value)?;
    Ok(held)
}

/// One shard's segments together.
#[derive(Default)]
struct Sum {
    segments: u64,
    blocks: u64,
    payload: u64,
    on_disk: u64,
}

impl Sum {
    fn add(&mut self, held: &Held) {
        self.segments += 1;
        self.blocks += held.blocks;
        self.payload += held.payload;
        self.on_disk += held.on_disk;
    }

    fn show(&self, shard: u16, out: &mut Output) -> Result<(), Stop> {
        let text = format!(
            "shard {shard}: {} segments, {} blocks, {} bytes of records in {} bytes of blocks",
            self.segments, self.blocks, self.payload, self.on_disk
        );
        let value = json!({
            "shard": shard, "segments": self.segments, "blocks": self.blocks,
            "payload": self.payload, "onDisk": self.on_disk,
        });
        out.row(&text, &value)
    }
}

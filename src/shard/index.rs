//! Full chunks of the consume queues on their way to the index file.
//!
//! Chunks at neighbouring slots gather for a moment and are written together; the file grows in
//! large steps and ahead of its use, because a write past a file's end locks all of it. A chunk
//! that is lost with the device's cache is folded from the log again: a checkpoint is what flushes
//! the file.
//! Invariant: a chunk is gathered, in flight, or reported back; never two of them.

use std::path::PathBuf;

use weir_io::{Buf, Chore, Driver, Errno, File, Memory, Source};

use super::cold::{KIND_CHUNK_WRITE, KIND_INDEX_GROWN, token};
use crate::base::limits::INDEX_CHUNK;
use crate::queue::{ChunkRef, IndexMemory, Queues};

/// Writes in flight.
const FLIGHTS_MAX: usize = 4;
/// Chunks in one write.
const CHUNKS_MAX: usize = 32;
/// Chunks gather at most this long.
const GATHER_NS: u64 = 20_000_000;
/// The file grows by this much.
const GROWTH: u64 = 32 * 1024 * 1024;

impl IndexMemory for Memory {
    fn fetch(&self, at: *const u8) {
        weir_io::fetch(at);
    }
}

/// Chunks at neighbouring slots.
#[derive(Debug)]
struct Batch {
    buf: Buf,
    chunks: Vec<ChunkRef>,
    due_ns: u64,
}

/// The writing side of the index file.
#[derive(Debug)]
pub(super) struct IndexWriter {
    path: PathBuf,
    file: File,
    size: u64,
    /// The file is being made larger, beside the loop.
    growing: bool,
    gathering: Option<Batch>,
    /// First slot and chunks of each write in flight.
    flying: Vec<(u32, Vec<ChunkRef>)>,
    /// Memory of writes that have landed.
    spare: Vec<(Buf, Vec<ChunkRef>)>,
    /// Bytes written since the start.
    pub(super) bytes: u64,
}

impl IndexWriter {
    /// A writer of the file at `path`, open as `file`, which is `size` bytes long.
    pub(super) fn new(path: PathBuf, file: File, size: u64) -> IndexWriter {
        IndexWriter {
            path,
            file,
            size,
            growing: false,
            gathering: None,
            flying: Vec::new(),
            spare: Vec::new(),
            bytes: 0,
        }
    }

    /// Takes full chunks whose records are below `durable`, and writes what has gathered.
    pub(super) fn gather(
        &mut self,
        driver: &mut Driver,
        queues: &mut Queues,
        durable: u64,
        now_ns: u64,
    ) {
        while self.flying.len() < FLIGHTS_MAX {
            let Some((chunk, bytes)) = queues.dirty(durable) else { break };
            let joins = self.gathering.as_ref().and_then(|batch| batch.chunks.last());
            if joins.is_none_or(|last| last.slot + 1 != chunk.slot) {
                self.launch(driver);
            }
            let spare = &mut self.spare;
            let batch = self.gathering.get_or_insert_with(|| {
                let (buf, chunks) = spare.pop().unwrap_or_else(fresh);
                Batch { buf, chunks, due_ns: now_ns + GATHER_NS }
            });
            let at = batch.chunks.len() * INDEX_CHUNK;
            batch.buf[at..at + INDEX_CHUNK].copy_from_slice(bytes);
            batch.chunks.push(chunk);
            if batch.chunks.len() == CHUNKS_MAX {
                self.launch(driver);
            }
        }
        if self.gathering.as_ref().is_some_and(|batch| batch.due_ns <= now_ns) {
            self.launch(driver);
        }
    }

    /// Writes the gathered chunks.
    fn launch(&mut self, driver: &mut Driver) {
        let Some(Batch { mut buf, chunks, .. }) = self.gathering.take() else { return };
        let Some(first) = chunks.first().map(|chunk| chunk.slot) else { return };
        let offset = u64::from(first) * INDEX_CHUNK as u64;
        let end = offset + (chunks.len() * INDEX_CHUNK) as u64;
        self.grow(driver, end);
        buf.set_len(chunks.len() * INDEX_CHUNK);
        self.bytes += (chunks.len() * INDEX_CHUNK) as u64;
        let token = token(KIND_CHUNK_WRITE, u64::from(first));
        driver.write(self.file, offset, Source::Buf(buf), false, token);
        self.flying.push((first, chunks));
    }

    /// Has the file grow when half a step is left behind `end`. A write that comes before the
    /// growth only waits longer; without space the write itself reports it.
    fn grow(&mut self, driver: &mut Driver, end: u64) {
        if self.growing || end + GROWTH / 2 <= self.size {
            return;
        }
        self.growing = true;
        let len_bytes = (end + GROWTH / 2).next_multiple_of(GROWTH);
        let chore = Chore::Reserve { path: self.path.clone(), len_bytes };
        driver.chore(chore, token(KIND_INDEX_GROWN, len_bytes / GROWTH));
    }

    /// The file has grown to `steps` times its step, or could not.
    pub(super) fn grown(&mut self, steps: u64, result: Result<Option<File>, Errno>) {
        self.growing = false;
        if result.is_ok() {
            self.size = self.size.max(steps * GROWTH);
        }
    }

    /// A write that began at slot `first` ended; its chunks are reported to `queues`.
    pub(super) fn landed(
        &mut self,
        queues: &mut Queues,
        first: u32,
        buf: Option<Buf>,
        result: Result<(), Errno>,
    ) {
        let Some(at) = self.flying.iter().position(|(slot, _)| *slot == first) else { return };
        let (_, mut chunks) = self.flying.swap_remove(at);
        for chunk in chunks.drain(..) {
            match result {
                Ok(()) => queues.written(chunk),
                Err(_) => queues.not_written(chunk),
            }
        }
        if let Some(mut buf) = buf {
            buf.set_len(CHUNKS_MAX * INDEX_CHUNK);
            self.spare.push((buf, chunks));
        }
    }

    /// Lets go of the memory of writes that have landed.
    pub(super) fn give_back(&mut self) {
        self.spare.clear();
    }
}

/// Memory for one write.
fn fresh() -> (Buf, Vec<ChunkRef>) {
    (Buf::new(CHUNKS_MAX * INDEX_CHUNK), Vec::with_capacity(CHUNKS_MAX))
}

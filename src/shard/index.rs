//! Full chunks of the consume queues on their way to the index file.
//!
//! Chunks at neighbouring slots gather for a moment and are written together; the file grows in
//! large steps, because a write past a file's end locks all of it. A chunk that is lost with the
//! device's cache is folded from the log again: a checkpoint is what flushes the file.
//! Invariant: a chunk is gathered, in flight, or reported back; never two of them.

use weir_io::{Buf, Driver, Errno, File, Source};

use super::cold::{KIND_CHUNK_WRITE, token};
use crate::base::limits::INDEX_CHUNK;
use crate::queue::{ChunkRef, Queues};

/// Writes in flight.
const FLIGHTS_MAX: usize = 4;
/// Chunks in one write.
const CHUNKS_MAX: usize = 32;
/// Chunks gather at most this long.
const GATHER_NS: u64 = 20_000_000;
/// The file grows by this much.
const GROWTH: u64 = 32 * 1024 * 1024;

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
    file: File,
    size: u64,
    gathering: Option<Batch>,
    /// First slot and chunks of each write in flight.
    flying: Vec<(u32, Vec<ChunkRef>)>,
    /// Memory of writes that have landed.
    spare: Vec<(Buf, Vec<ChunkRef>)>,
    /// Bytes written since the start.
    pub(super) bytes: u64,
}

impl IndexWriter {
    /// A writer of `file`, which is `size` bytes long.
    pub(super) fn new(file: File, size: u64) -> IndexWriter {
        IndexWriter { file, size, gathering: None, flying: Vec::new(), spare: Vec::new(), bytes: 0 }
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
        if end > self.size {
            let size = end.next_multiple_of(GROWTH);
            // Without space the write itself reports it.
            if driver.allocate(self.file, size).is_ok() {
                self.size = size;
            }
        }
        buf.set_len(chunks.len() * INDEX_CHUNK);
        self.bytes += (chunks.len() * INDEX_CHUNK) as u64;
        let token = token(KIND_CHUNK_WRITE, u64::from(first));
        driver.write(self.file, offset, Source::Buf(buf), false, token);
        self.flying.push((first, chunks));
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

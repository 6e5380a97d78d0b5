//! The physical limit: the least server that can be honest about durability.
//!
//! It takes frames in, copies as many of their bytes into aligned memory as a stored message has,
//! writes them with the same durability, depth and kind of extents as weir, and sends one canned
//! answer per frame. It reads nothing of a frame but its lengths and opaque, keeps no index,
//! checks nothing, and only this crate's generator can use it. If a broker beats it, the ceiling
//! is what is wrong.
//! Invariant: in sync mode an answer leaves only after its write and all earlier ones are done.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use weir_io::{
    ALIGN, Buf, Chunk, Driver, Errno, Event, File, OpenMode, ReceiveEnd, Socket, Source, Token,
};

use crate::frame::{Encoding, OPAQUE_BASE, put_opaque, request};
use crate::reply::{Places, opaque_of};
use crate::ring;

/// Writes in flight, as in weir's engine.
pub(crate) const DEPTH: usize = 4;
/// Most bytes of one write, as in weir's engine.
pub(crate) const WRITE_MAX: usize = 2 * 1024 * 1024;
/// Buffers: those in flight, and as many being filled (16 MiB together, as weir's staging).
pub(crate) const BUFFERS: usize = 2 * DEPTH;
/// What a stored record of this generator's messages has beside its body: 91 fixed bytes, topic,
/// and properties with what a broker adds. The rest of a frame's header is not written, or a
/// device at its limit would make the ceiling lower than it is.
const RECORD_BYTES: usize = 216;
/// Async mode: time between two flushes of the device, RocketMQ's `flushIntervalCommitLog`.
pub(crate) const FLUSH_NS: u64 = 500_000_000;

const LISTENER: u64 = u64::MAX;
const FLUSH: u64 = u64::MAX - 1;
const WRITE: u64 = 1 << 62;
const SEND: u64 = 1 << 61;

/// The ceiling server.
#[derive(Args, Clone, Debug)]
pub(crate) struct CeilingArgs {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// File to write; it is made, written once over its whole length, and unlinked at once.
    #[arg(long)]
    pub file: PathBuf,
    /// Length of the file; writes wrap at its end.
    #[arg(long, default_value_t = 256 * 1024 * 1024)]
    pub file_size: u64,
    /// Answer after the device has the bytes (RWF_DSYNC).
    #[arg(long)]
    pub sync: bool,
    /// Core to run on.
    #[arg(long)]
    pub core: Option<usize>,
    /// The runtime under the loop.
    #[arg(long, value_enum, default_value_t = RuntimeKind::WeirIo)]
    pub runtime: RuntimeKind,
}

/// A runtime the loop can stand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RuntimeKind {
    /// weir's own.
    WeirIo,
    /// The crate of that name.
    Glommio,
    /// The crate of that name.
    TokioUring,
}

/// Serves until the process is ended. Prints `ready ADDRESS` once it listens.
pub(crate) fn ceiling(args: &CeilingArgs) -> io::Result<()> {
    if let Some(core) = args.core {
        weir_io::cpu::pin(core)?;
    }
    let size = args.file_size.next_multiple_of(WRITE_MAX as u64).max((DEPTH * WRITE_MAX) as u64);
    match args.runtime {
        RuntimeKind::WeirIo => on_weir_io(args, size),
        RuntimeKind::Glommio => crate::runtimes::on_glommio(args, size),
        RuntimeKind::TokioUring => crate::runtimes::on_tokio_uring(args, size),
    }
}

fn on_weir_io(args: &CeilingArgs, size: u64) -> io::Result<()> {
    let mut driver = ring::driver()?;
    let file = prepared_file(&mut driver, &args.file, size)?;
    let (listener, addr) = driver.listen(args.listen, Duration::from_secs(2))?;
    driver.accept(listener, Token(LISTENER));
    println!("ready {addr}");
    io::stdout().flush()?;
    Ceiling {
        driver,
        sync: args.sync,
        file,
        size,
        offset: 0,
        connections: Vec::new(),
        places: Places::default(),
        held: VecDeque::new(),
        filling: Batch::default(),
        full: VecDeque::new(),
        flying: VecDeque::new(),
        next_write: 0,
        spare: (0..BUFFERS).map(|_| Buf::new(WRITE_MAX)).collect(),
        flushed_ns: 0,
        dirty: false,
        canned: [canned(Encoding::Json), canned(Encoding::Binary)],
    }
    .serve()
}

/// Makes the file and writes all of it once, so that no write changes metadata later.
pub(crate) fn prepared_file(
    driver: &mut Driver,
    path: &std::path::Path,
    size: u64,
) -> io::Result<File> {
    let mode = OpenMode { create: true, write: true, direct: true };
    let file = driver.open(path, mode)?;
    driver.remove(path)?;
    driver.allocate(file, size)?;
    let zeros = Buf::new(WRITE_MAX);
    for offset in (0..size).step_by(WRITE_MAX) {
        driver.write_now(file, offset, &zeros)?;
    }
    driver.sync_now(file)?;
    Ok(file)
}

/// An answer of about the size of weir's, with the place of its opaque.
pub(crate) fn canned(encoding: Encoding) -> (Vec<u8>, usize) {
    let ext = [
        ("MSG_REGION", "DefaultRegion"),
        ("TRACE_ON", "true"),
        ("msgId", "7F00000100002A9F0000000000000000"),
        ("queueId", "0"),
        ("queueOffset", "1000000"),
        ("transactionId", "7F0000010001000000000000000000AB"),
    ];
    let frame = request(encoding, 0, OPAQUE_BASE, &ext, &[]);
    let at = match encoding {
        Encoding::Binary => 8 + 5,
        Encoding::Json => {
            let name = b"\"opaque\":";
            let found = memchr::memmem::find(&frame, name).map(|at| at + name.len());
            assert!(found.is_some(), "the answer was built with an opaque");
            found.unwrap_or_default()
        }
    };
    (frame, at)
}

/// Frames that are written together, and the answers they wait for.
#[derive(Debug, Default)]
struct Batch {
    buf: Option<Buf>,
    used: usize,
    answers: Vec<(u32, Encoding, u32)>,
    id: u64,
    landed: bool,
}

#[derive(Debug)]
struct Connection {
    socket: Socket,
    /// Start of a frame whose rest has not come.
    partial: Vec<u8>,
    out: Vec<u8>,
    spare: Vec<u8>,
    sending: bool,
    open: bool,
}

struct Ceiling {
    driver: Driver,
    sync: bool,
    file: File,
    size: u64,
    offset: u64,
    connections: Vec<Connection>,
    places: Places,
    /// Received pieces that found no room: the device is behind.
    held: VecDeque<(usize, Chunk)>,
    filling: Batch,
    full: VecDeque<Batch>,
    flying: VecDeque<Batch>,
    next_write: u64,
    spare: Vec<Buf>,
    flushed_ns: u64,
    dirty: bool,
    canned: [(Vec<u8>, usize); 2],
}

impl Ceiling {
    fn serve(&mut self) -> io::Result<()> {
        let mut events = Vec::new();
        loop {
            let deadline = if self.dirty { self.flushed_ns + FLUSH_NS } else { u64::MAX };
            self.driver.wait(deadline, &mut events)?;
            for event in events.drain(..) {
                self.take(event)?;
            }
            while let Some((i, chunk)) = self.held.pop_front() {
                if !self.has_room(chunk.len()) {
                    self.held.push_front((i, chunk));
                    break;
                }
                self.frames(i, &chunk)?;
            }
            self.write();
            self.flush();
            self.send();
        }
    }

    fn take(&mut self, event: Event) -> io::Result<()> {
        match event {
            Event::Received { token, chunk } => {
                let i = token.0 as usize;
                if self.held.is_empty() && self.has_room(chunk.len()) {
                    self.frames(i, &chunk)?;
                } else {
                    self.held.push_back((i, chunk));
                }
            }
            Event::Written { token, buf, result } => self.landed(token.0 & !WRITE, buf, result)?,
            Event::Sent { token, buf, result } => {
                let connection = &mut self.connections[(token.0 & !SEND) as usize];
                connection.sending = false;
                connection.spare = buf;
                connection.open &= result.is_ok();
            }
            Event::Accepted { result, .. } => {
                let socket = result?;
                let token = Token(self.connections.len() as u64);
                self.driver.receive(socket, token);
                self.connections.push(Connection {
                    socket,
                    partial: Vec::new(),
                    out: Vec::new(),
                    spare: Vec::new(),
                    sending: false,
                    open: true,
                });
            }
            Event::ReceiveEnded { token, end } => self.ended(token.0 as usize, end),
            Event::Synced { result, .. } => result?,
            _ => {}
        }
        Ok(())
    }

    fn ended(&mut self, i: usize, end: ReceiveEnd) {
        let connection = &mut self.connections[i];
        connection.open = false;
        self.driver.close(connection.socket);
        if let ReceiveEnd::Failed(errno) = end {
            eprintln!("ceiling: connection {i}: {errno}");
        }
    }

    /// Whether the frames that end in a piece of `bytes` can be taken now.
    fn has_room(&self, bytes: usize) -> bool {
        let behind = self.spare.is_empty() && self.filling.used + 2 * bytes > WRITE_MAX;
        !behind
    }

    /// Takes the whole frames of a piece; keeps the start of the one that is cut.
    fn frames(&mut self, i: usize, bytes: &[u8]) -> io::Result<()> {
        let mut partial = std::mem::take(&mut self.connections[i].partial);
        each_frame(&mut partial, bytes, |frame| self.frame(i, frame))?;
        self.connections[i].partial = partial;
        Ok(())
    }

    fn frame(&mut self, i: usize, frame: &[u8]) -> io::Result<()> {
        let Some((encoding, opaque)) = opaque_of(&mut self.places, frame) else {
            return Err(io::Error::other("a frame without opaque"));
        };
        let stored = stored_part(frame);
        if self.filling.used + stored.len() > WRITE_MAX {
            let full = std::mem::take(&mut self.filling);
            self.full.push_back(full);
        }
        let spare = &mut self.spare;
        let buf = self.filling.buf.get_or_insert_with(|| {
            // has_room keeps one back; a frame larger than it foresaw makes a new one.
            spare.pop().unwrap_or_else(|| Buf::new(WRITE_MAX))
        });
        buf.set_len(WRITE_MAX);
        let used = self.filling.used;
        let Some(place) = buf.get_mut(used..used + stored.len()) else {
            return Err(io::Error::other("a frame larger than a write"));
        };
        place.copy_from_slice(stored);
        self.filling.used += stored.len();
        if self.sync {
            self.filling.answers.push((i as u32, encoding, opaque));
        } else {
            self.answer(i, encoding, opaque);
        }
        Ok(())
    }

    fn answer(&mut self, i: usize, encoding: Encoding, opaque: u32) {
        let (frame, at) = &self.canned[usize::from(encoding == Encoding::Binary)];
        let out = &mut self.connections[i].out;
        let start = out.len();
        out.extend_from_slice(frame);
        put_opaque(&mut out[start + at..], encoding, opaque);
    }

    /// Starts writes while fewer than [`DEPTH`] are in flight.
    fn write(&mut self) {
        while self.flying.len() < DEPTH {
            if self.full.is_empty() && self.filling.used > 0 {
                let full = std::mem::take(&mut self.filling);
                self.full.push_back(full);
            }
            let Some(mut batch) = self.full.pop_front() else { break };
            let Some(mut buf) = batch.buf.take() else { break };
            let len = batch.used.next_multiple_of(ALIGN);
            buf.set_len(len);
            if self.offset + len as u64 > self.size {
                self.offset = 0;
            }
            batch.id = self.next_write;
            self.next_write += 1;
            let token = Token(WRITE | batch.id);
            self.driver.write(self.file, self.offset, Source::Buf(buf), self.sync, token);
            self.offset += len as u64;
            self.dirty |= !self.sync;
            self.flying.push_back(batch);
        }
    }

    fn landed(&mut self, id: u64, buf: Option<Buf>, result: Result<(), Errno>) -> io::Result<()> {
        result?;
        if let Some(buf) = buf.filter(|_| self.spare.len() < BUFFERS) {
            self.spare.push(buf);
        }
        if let Some(batch) = self.flying.iter_mut().find(|batch| batch.id == id) {
            batch.landed = true;
        }
        while self.flying.front().is_some_and(|batch| batch.landed) {
            let Some(batch) = self.flying.pop_front() else { break };
            for (i, encoding, opaque) in batch.answers {
                self.answer(i as usize, encoding, opaque);
            }
        }
        Ok(())
    }

    /// Async mode: flushes the device on RocketMQ's interval.
    fn flush(&mut self) {
        let now_ns = self.driver.now_ns();
        if self.dirty && now_ns >= self.flushed_ns + FLUSH_NS {
            self.flushed_ns = now_ns;
            self.dirty = false;
            self.driver.sync(self.file, Token(FLUSH));
        }
    }

    fn send(&mut self) {
        for (i, connection) in self.connections.iter_mut().enumerate() {
            if connection.sending || connection.out.is_empty() {
                continue;
            }
            if !connection.open {
                connection.out.clear();
                continue;
            }
            let spare = std::mem::take(&mut connection.spare);
            let full = std::mem::replace(&mut connection.out, spare);
            connection.sending = true;
            self.driver.send(connection.socket, full, Token(SEND | i as u64));
        }
    }
}

/// The bytes of a frame that are written: its body, and as much as a record has beside it.
pub(crate) fn stored_part(frame: &[u8]) -> &[u8] {
    let header_bytes = u32::from_be_bytes([0, frame[5], frame[6], frame[7]]) as usize;
    &frame[(8 + header_bytes).saturating_sub(RECORD_BYTES)..]
}

/// Calls `on` with each whole frame; keeps the start of the one that is cut in `partial`.
pub(crate) fn each_frame(
    partial: &mut Vec<u8>,
    mut bytes: &[u8],
    mut on: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    while !bytes.is_empty() {
        if partial.is_empty() {
            match length(bytes)? {
                Some(len) if len <= bytes.len() => {
                    on(&bytes[..len])?;
                    bytes = &bytes[len..];
                }
                _ => {
                    partial.extend_from_slice(bytes);
                    break;
                }
            }
            continue;
        }
        let need = length(partial)?.unwrap_or(4);
        let step = (need - partial.len()).min(bytes.len());
        partial.extend_from_slice(&bytes[..step]);
        bytes = &bytes[step..];
        if length(partial)?.is_some_and(|len| len == partial.len()) {
            on(partial)?;
            partial.clear();
        }
    }
    Ok(())
}

/// Length of the whole frame at the front of `bytes`, once four bytes are there.
fn length(bytes: &[u8]) -> io::Result<Option<usize>> {
    let Some(prefix) = bytes.first_chunk::<4>() else { return Ok(None) };
    let total = u32::from_be_bytes(*prefix) as usize;
    if !(4..WRITE_MAX - 4).contains(&total) {
        return Err(io::Error::other(format!("a frame of {total} bytes")));
    }
    Ok(Some(total + 4))
}

//! The loop on tokio-uring: its files and sockets, one reading and one sending task for each
//! connection, one task for each write in flight.
//!
//! It opens files without aligned buffers of its own, so a buffer is a vector with the aligned
//! part chosen inside of it. Nothing is tuned beyond the number of ring entries.

use std::cell::RefCell;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::rc::Rc;
use std::time::Duration;

use tokio_uring::buf::BoundedBuf;
use tokio_uring::fs::{File, OpenOptions};
use tokio_uring::net::{TcpListener, TcpStream};

use super::shared::{Bell, Core, Memory, Out};
use crate::ceiling::{BUFFERS, CeilingArgs, DEPTH, FLUSH_NS, WRITE_MAX};

/// A vector in which an aligned place of [`WRITE_MAX`] bytes begins at `from`.
#[derive(Debug)]
struct Aligned {
    bytes: Vec<u8>,
    from: usize,
}

impl Aligned {
    fn new() -> Self {
        let bytes = vec![0; WRITE_MAX + weir_io::ALIGN];
        let from = bytes.as_ptr().align_offset(weir_io::ALIGN);
        Self { bytes, from }
    }
}

impl Memory for Aligned {
    fn place(&mut self) -> &mut [u8] {
        &mut self.bytes[self.from..self.from + WRITE_MAX]
    }
}

type Shared = Rc<RefCell<Core<Aligned>>>;

/// Serves until the process is ended.
pub(crate) fn on_tokio_uring(args: &CeilingArgs, size: u64) -> io::Result<()> {
    tokio_uring::builder().entries(1024).start(serve(args, size))
}

async fn serve(args: &CeilingArgs, size: u64) -> io::Result<()> {
    let flags = weir_io::DIRECT_FLAG | if args.sync { weir_io::DSYNC_FLAG } else { 0 };
    let file =
        OpenOptions::new().write(true).create(true).custom_flags(flags).open(&args.file).await?;
    std::fs::remove_file(&args.file)?;
    file.fallocate(0, size, 0).await?;
    let file = Rc::new(file);
    let mut zeros = Aligned::new();
    for at in (0..size).step_by(WRITE_MAX) {
        zeros = write(&file, zeros, WRITE_MAX, at).await?;
    }
    file.sync_data().await?;
    let spare = (0..BUFFERS).map(|_| Aligned::new()).collect();
    let core = Rc::new(RefCell::new(Core::new(args.sync, size, spare)));
    let (work, room) = (Rc::new(Bell::default()), Rc::new(Bell::default()));
    tokio_uring::spawn(write_all(core.clone(), file.clone(), work.clone(), room.clone()));
    if !args.sync {
        tokio_uring::spawn(flush(core.clone(), file));
    }
    let listener = TcpListener::bind(args.listen)?;
    println!("ready {}", listener.local_addr()?);
    io::stdout().flush()?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let stream = Rc::new(stream);
        let (i, out) = core.borrow_mut().connected();
        tokio_uring::spawn(send(stream.clone(), out.clone()));
        let (core, work, room) = (core.clone(), work.clone(), room.clone());
        tokio_uring::spawn(async move {
            if let Err(error) = receive(&stream, i, &core, &work, &room).await {
                eprintln!("ceiling: connection {i}: {error}");
            }
            out.closed.set(true);
            out.bell.ring();
        });
    }
}

/// Writes the first `len` bytes of the place; gives the buffer back.
async fn write(file: &File, memory: Aligned, len: usize, at: u64) -> io::Result<Aligned> {
    let from = memory.from;
    let (result, slice) = file.write_at(memory.bytes.slice(from..from + len), at).submit().await;
    let written = result?;
    if written != len {
        return Err(io::Error::other(format!("{written} of {len} bytes were written")));
    }
    Ok(Aligned { bytes: slice.into_inner(), from })
}

async fn receive(
    stream: &TcpStream,
    i: usize,
    core: &RefCell<Core<Aligned>>,
    work: &Bell,
    room: &Bell,
) -> io::Result<()> {
    let mut piece = vec![0; 64 * 1024];
    let mut partial = Vec::new();
    loop {
        let (result, buf) = stream.read(piece).await;
        piece = buf;
        let bytes = result?;
        if bytes == 0 {
            return Ok(());
        }
        while !core.borrow().has_room(bytes) {
            room.wait().await;
        }
        core.borrow_mut().take(i, &mut partial, &piece[..bytes])?;
        work.ring();
        // Another that waits for room looks again.
        room.ring();
    }
}

async fn send(stream: Rc<TcpStream>, out: Rc<Out>) {
    loop {
        out.bell.wait().await;
        if out.closed.get() {
            return;
        }
        let bytes = std::mem::take(&mut *out.bytes.borrow_mut());
        if !bytes.is_empty() && stream.write_all(bytes).await.0.is_err() {
            return;
        }
    }
}

async fn write_all(core: Shared, file: Rc<File>, work: Rc<Bell>, room: Rc<Bell>) {
    loop {
        work.wait().await;
        loop {
            let Some((batch, at)) = core.borrow_mut().next_write(DEPTH) else { break };
            let (core, file) = (core.clone(), file.clone());
            let (work, room) = (work.clone(), room.clone());
            tokio_uring::spawn(async move {
                let len = batch.used.next_multiple_of(weir_io::ALIGN);
                match write(&file, batch.memory, len, at).await {
                    Ok(memory) => core.borrow_mut().landed(batch.id, memory),
                    Err(error) => {
                        eprintln!("ceiling: {error}");
                        std::process::exit(1);
                    }
                }
                work.ring();
                room.ring();
            });
        }
    }
}

/// Async mode: flushes the device on RocketMQ's interval.
async fn flush(core: Shared, file: Rc<File>) {
    loop {
        tokio::time::sleep(Duration::from_nanos(FLUSH_NS)).await;
        let dirty = std::mem::take(&mut core.borrow_mut().dirty);
        if dirty && let Err(error) = file.sync_data().await {
            eprintln!("ceiling: {error}");
            std::process::exit(1);
        }
    }
}

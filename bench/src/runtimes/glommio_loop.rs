//! The loop on glommio: a local executor, `DmaFile`, one reading and one sending task for each
//! connection, one task for each write in flight.
//!
//! Its idiom is kept: buffers are the executor's own, and tasks wake each other. Nothing is tuned
//! beyond memory for all buffers.

use std::cell::RefCell;
use std::io::{self, Write as _};
use std::rc::Rc;
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::io::{DmaBuffer, DmaFile, OpenOptions};
use glommio::net::{TcpListener, TcpStream};
use glommio::{LocalExecutorBuilder, Placement};

use super::shared::{Bell, Core, Memory, Out};
use crate::ceiling::{BUFFERS, CeilingArgs, DEPTH, FLUSH_NS, WRITE_MAX};

impl Memory for DmaBuffer {
    fn place(&mut self) -> &mut [u8] {
        self.as_bytes_mut()
    }
}

/// Serves until the process is ended.
pub(crate) fn on_glommio(args: &CeilingArgs, size: u64) -> io::Result<()> {
    let placement = args.core.map_or(Placement::Unbound, Placement::Fixed);
    let executor = LocalExecutorBuilder::new(placement)
        .io_memory(4 * BUFFERS * WRITE_MAX)
        .make()
        .map_err(|error| io::Error::other(error.to_string()))?;
    executor.run(serve(args, size))
}

fn other(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}

async fn serve(args: &CeilingArgs, size: u64) -> io::Result<()> {
    let flags = if args.sync { weir_io::DSYNC_FLAG } else { 0 };
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .custom_flags(flags)
        .dma_open(&args.file)
        .await
        .map_err(other)?;
    std::fs::remove_file(&args.file)?;
    let file = Rc::new(file);
    file.pre_allocate(size, false).await.map_err(other)?;
    for at in (0..size).step_by(WRITE_MAX) {
        let mut zeros = file.alloc_dma_buffer(WRITE_MAX);
        zeros.as_bytes_mut().fill(0);
        file.write_at(zeros, at).await.map_err(other)?;
    }
    file.fdatasync().await.map_err(other)?;
    let spare = (0..BUFFERS).map(|_| file.alloc_dma_buffer(WRITE_MAX)).collect();
    let core = Rc::new(RefCell::new(Core::new(args.sync, size, spare)));
    let (work, room) = (Rc::new(Bell::default()), Rc::new(Bell::default()));
    glommio::spawn_local(write_all(core.clone(), file.clone(), work.clone(), room.clone()))
        .detach();
    if !args.sync {
        glommio::spawn_local(flush(core.clone(), file)).detach();
    }
    let listener = TcpListener::bind(args.listen).map_err(other)?;
    println!("ready {}", listener.local_addr().map_err(other)?);
    io::stdout().flush()?;
    loop {
        let stream = listener.accept().await.map_err(other)?;
        stream.set_nodelay(true).map_err(other)?;
        let (i, out) = core.borrow_mut().connected();
        let (reader, writer) = futures_lite::io::split(stream);
        glommio::spawn_local(send(writer, out.clone())).detach();
        let (core, work, room) = (core.clone(), work.clone(), room.clone());
        glommio::spawn_local(async move {
            let read = receive(reader, i, &core, &work, &room).await;
            if let Err(error) = read {
                eprintln!("ceiling: connection {i}: {error}");
            }
            out.closed.set(true);
            out.bell.ring();
        })
        .detach();
    }
}

async fn receive(
    mut reader: futures_lite::io::ReadHalf<TcpStream>,
    i: usize,
    core: &RefCell<Core<DmaBuffer>>,
    work: &Bell,
    room: &Bell,
) -> io::Result<()> {
    let mut piece = vec![0; 64 * 1024];
    let mut partial = Vec::new();
    loop {
        let bytes = reader.read(&mut piece).await?;
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

async fn send(mut writer: futures_lite::io::WriteHalf<TcpStream>, out: Rc<Out>) {
    loop {
        out.bell.wait().await;
        if out.closed.get() {
            return;
        }
        let bytes = std::mem::take(&mut *out.bytes.borrow_mut());
        if writer.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

async fn write_all(
    core: Rc<RefCell<Core<DmaBuffer>>>,
    file: Rc<DmaFile>,
    work: Rc<Bell>,
    room: Rc<Bell>,
) {
    loop {
        work.wait().await;
        loop {
            let Some((batch, at)) = core.borrow_mut().next_write(DEPTH) else { break };
            let (core, file) = (core.clone(), file.clone());
            let (work, room) = (work.clone(), room.clone());
            glommio::spawn_local(async move {
                let mut memory = batch.memory;
                memory.trim_to_size(batch.used.next_multiple_of(weir_io::ALIGN));
                if let Err(error) = file.write_at(memory, at).await {
                    eprintln!("ceiling: {error}");
                    std::process::exit(1);
                }
                core.borrow_mut().landed(batch.id, file.alloc_dma_buffer(WRITE_MAX));
                work.ring();
                room.ring();
            })
            .detach();
        }
    }
}

/// Async mode: flushes the device on RocketMQ's interval.
async fn flush(core: Rc<RefCell<Core<DmaBuffer>>>, file: Rc<DmaFile>) {
    loop {
        glommio::timer::sleep(Duration::from_nanos(FLUSH_NS)).await;
        let dirty = std::mem::take(&mut core.borrow_mut().dirty);
        if dirty && let Err(error) = file.fdatasync().await {
            eprintln!("ceiling: {error}");
            std::process::exit(1);
        }
    }
}

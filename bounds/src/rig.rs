//! A shard of this process on real sockets and files, with its thread's allocations counted.
//!
//! It is what `weir serve` runs on a core, made from the same public parts; only the thread tells
//! its counts. The data lies in a folder of its own that is removed at the end.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use weir::broker::BrokerOptions;
use weir::commitlog::LogOptions;
use weir::server::{Letter, MAILBOX, PostOffice, Server};
use weir::shard::{Shard, ShardOptions, Tuning};
use weir_io::heap::{self, Counts};
use weir_io::mailbox::{self, Sender};
use weir_io::{Driver, Uring, UringOptions};

/// What a shard made for a figure is opened with.
pub(crate) fn options(dir: &Path, staging_name: &str, sync_flush: bool) -> ShardOptions {
    ShardOptions {
        log: LogOptions {
            dir: dir.join("log"),
            shard: 0,
            shards: 1,
            new_log_id: 42,
            segment_bytes: 256 * 1024 * 1024,
            staging_name: staging_name.to_owned(),
            staging_bytes: 20 * 1024 * 1024,
            sync_flush,
            flush_interval_ms: 500,
            prepare_ahead: weir::base::limits::PREPARED_AHEAD,
            lock_patience_ms: 5000,
            serve_around: false,
        },
        dir: dir.to_owned(),
        broker: BrokerOptions { sync_flush, ..BrokerOptions::default() },
        index_memory_bytes: weir::base::limits::INDEX_ARENA_DEFAULT,
        planned_directories: usize::MAX,
        tuning: Tuning { retention_bytes: 1024 * 1024 * 1024, ..Tuning::default() },
        replica: None,
        quiet: true,
    }
}

/// What the shard's thread tells after every turn, and is told before the next.
#[derive(Default)]
struct Board {
    calls: AtomicU64,
    bytes: AtomicU64,
    trace: AtomicU32,
    stride: AtomicU32,
}

/// The shard's thread.
pub(crate) struct Rig {
    /// Where it listens.
    pub addr: SocketAddr,
    board: Arc<Board>,
    letters: Sender<Letter>,
    thread: Option<std::thread::JoinHandle<Result<(), String>>>,
    dir: PathBuf,
}

impl Rig {
    /// Starts a shard on loopback in a folder below `parent`.
    pub(crate) fn start(parent: &Path, port: u16, sync_flush: bool) -> Result<Rig, String> {
        let name = format!("weir-bounds-{}", std::process::id());
        let dir = parent.join(&name);
        std::fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let (letters, inbox) = mailbox::channel::<Letter>(MAILBOX);
        let boxes = vec![letters.clone()];
        let board = Arc::new(Board::default());
        let (ready, heard) = mpsc::channel();
        let told = Arc::clone(&board);
        let options = options(&dir, &name, sync_flush);
        let thread = std::thread::spawn(move || {
            let uring = Uring::new(UringOptions::default()).map_err(|error| error.to_string())?;
            let mut driver = Driver::Uring(Box::new(uring));
            inbox.attach(driver.bell());
            let (shard, _) =
                Shard::open(&mut driver, options).map_err(|fault| fault.to_string())?;
            let addr = SocketAddr::from(([127, 0, 0, 1], port));
            let listening = driver.listen(addr, Duration::from_secs(5));
            let (listener, addr) = listening.map_err(|errno| errno.to_string())?;
            let post = PostOffice { own: 0, boxes, inbox, held: Vec::new() };
            let mut server = Server::new(driver, shard, None, post);
            server.serve(listener, false);
            let _ = ready.send(addr);
            while !server.is_stopping() {
                server.turn().map_err(|errno| errno.to_string())?;
                // The turn's answers leave with the next one: whoever reads them sees its counts.
                let counts = heap::thread_counts();
                told.calls.store(counts.calls, Ordering::Release);
                told.bytes.store(counts.bytes, Ordering::Release);
                match told.trace.swap(0, Ordering::Relaxed) {
                    0 => {}
                    count => heap::trace(count, told.stride.load(Ordering::Relaxed)),
                }
            }
            server.run().map_err(|errno| errno.to_string())
        });
        let addr = match heard.recv() {
            Ok(addr) => addr,
            Err(_) => {
                return Err(thread
                    .join()
                    .ok()
                    .and_then(Result::err)
                    .unwrap_or_else(|| "the shard did not start".into()));
            }
        };
        Ok(Rig { addr, board, letters, thread: Some(thread), dir })
    }

    /// Counts of the shard's thread after its newest turn.
    pub(crate) fn counts(&self) -> Counts {
        let calls = self.board.calls.load(Ordering::Acquire);
        Counts { calls, bytes: self.board.bytes.load(Ordering::Acquire) }
    }

    /// Prints where the next `count` allocations of the shard's thread come from, one in `stride`.
    pub(crate) fn trace(&self, count: u32, stride: u32) {
        self.board.stride.store(stride, Ordering::Relaxed);
        self.board.trace.store(count, Ordering::Relaxed);
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = self.letters.send(Letter::Stop);
        if let Some(thread) = self.thread.take()
            && let Ok(Err(why)) = thread.join()
        {
            eprintln!("weir-bounds: the shard ended badly: {why}");
        }
        let staging = Path::new("/dev/shm").join(self.dir.file_name().unwrap_or_default());
        let _ = std::fs::remove_file(staging);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

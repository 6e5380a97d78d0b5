//! Another program on the same disk: one that dirties page cache, and one that reads through it.
//!
//! It is a thread of this process on the generator's core, so that it takes nothing of the
//! server's. Its file is made before a run and removed after it; it is held to a rate, or it would
//! measure the core and not the disk. It never opens a file of a broker.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What it writes before it asks for it on the disk, and what it reads before it begins again.
const ROUND_BYTES: usize = 1 << 30;
/// One call.
const BLOCK: usize = 1 << 20;
/// Most bytes in a second.
const RATE: f64 = 512.0 * 1024.0 * 1024.0;

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    /// Writes 1 GiB buffered, then fsync, and again.
    Dirties,
    /// Reads a file of 1 GiB that is not in memory from its beginning to its end, and again.
    Reads,
}

/// A neighbour at work.
#[derive(Debug)]
pub(crate) struct Neighbour {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
    path: PathBuf,
}

impl Neighbour {
    /// Makes its file and lets it begin.
    pub(crate) fn start(path: PathBuf, habit: Habit, core: usize) -> io::Result<Self> {
        let mut file = File::create(&path)?;
        if habit == Habit::Reads {
            let block = vec![1; BLOCK];
            (0..ROUND_BYTES / BLOCK).try_for_each(|_| file.write_all(&block))?;
            file.sync_all()?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (asked, own) = (stop.clone(), path.clone());
        let thread = thread::spawn(move || {
            // Without its core it still is a neighbour.
            let _ = weir_io::cpu::pin(core);
            match habit {
                Habit::Dirties => dirty(&own, &asked),
                Habit::Reads => read(&own, &asked),
            }
        });
        Ok(Self { stop, thread: Some(thread), path })
    }

    /// Ends it; the error is its own.
    pub(crate) fn end(mut self) -> io::Result<()> {
        self.join()
    }

    fn join(&mut self) -> io::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        ended.map_or(Ok(()), |ended| {
            ended.unwrap_or_else(|_| Err(io::Error::other("the neighbour died")))
        })
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        // Its error was told by `end`, or another one is on its way.
        let _ = self.join();
        if let Err(error) = fs::remove_file(&self.path) {
            eprintln!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// Makes the kernel forget the pages of a file.
fn drop_cache(path: &Path) -> io::Result<()> {
    let mut dd = Command::new("dd");
    dd.arg(format!("if={}", path.display())).args(["iflag=nocache", "count=0"]);
    let done = dd.stdin(Stdio::null()).stderr(Stdio::null()).status()?;
    if done.success() { Ok(()) } else { Err(io::Error::other(format!("{dd:?}: {done}"))) }
}

/// Sleeps until `bytes` since `began` are no more than the rate.
fn pace(began: Instant, bytes: usize) {
    let due = Duration::from_secs_f64(bytes as f64 / RATE);
    thread::sleep(due.saturating_sub(began.elapsed()));
}

fn dirty(path: &Path, stop: &AtomicBool) -> io::Result<()> {
    let block = vec![2; BLOCK];
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let mut file = File::create(path)?;
        for i in 0..ROUND_BYTES / BLOCK {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            file.write_all(&block)?;
            pace(began, i * BLOCK);
        }
        file.sync_data()?;
    }
    Ok(())
}

fn read(path: &Path, stop: &AtomicBool) -> io::Result<()> {
    let mut block = vec![0; 128 * 1024];
    while !stop.load(Ordering::Relaxed) {
        // What the last time read must be gone from memory, or nothing is read from the disk.
        drop_cache(path)?;
        let mut file = File::open(path)?;
        let (began, mut bytes) = (Instant::now(), 0);
        while !stop.load(Ordering::Relaxed) {
            let got = file.read(&mut block)?;
            if got == 0 {
                break;
            }
            bytes += got;
            pace(began, bytes);
        }
    }
    Ok(())
}

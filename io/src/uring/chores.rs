//! The thread that does a driver's chores.
//!
//! It starts with the first chore and is joined when the driver ends, so that no file stays locked
//! behind its back. Never: a chore that changes the driver's state; what it made is taken over
//! when its end is told.

use std::fs::{self, File as OsFile, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded, unbounded};

use super::files::{lock_within, reserve};
use super::setup::Uring;
use crate::chore::{CHORES_MAX, Calls, Chore, run};
use crate::driver::{Errno, Event, OpenMode, Token};
use crate::mailbox::Bell;

/// How a chore ended, on its way to the loop.
type Ended = (Token, Result<Option<OsFile>, Errno>);

/// The thread, as the driver sees it.
#[derive(Debug)]
pub(super) struct Chores {
    /// `None` only while the driver ends.
    ask: Option<Sender<(Token, Chore)>>,
    ended: Receiver<Ended>,
    thread: Option<JoinHandle<()>>,
}

impl Chores {
    fn begin(bell: Bell) -> Result<Chores, Errno> {
        let (ask, asked) = bounded(CHORES_MAX);
        let (end, ended) = unbounded();
        let thread = std::thread::Builder::new()
            .name("weir-chores".to_owned())
            .spawn(move || work(&asked, &end, &bell))?;
        Ok(Chores { ask: Some(ask), ended, thread: Some(thread) })
    }
}

impl Drop for Chores {
    fn drop(&mut self) {
        drop(self.ask.take());
        if let Some(thread) = self.thread.take() {
            // It does what waits in line first: what was asked for happens.
            let _ = thread.join();
        }
    }
}

fn work(asked: &Receiver<(Token, Chore)>, end: &Sender<Ended>, bell: &Bell) {
    for (token, chore) in asked {
        let result = run(&mut Blocking, chore);
        if end.send((token, result)).is_err() {
            return;
        }
        bell.ring();
    }
}

impl Uring {
    /// See [`crate::Driver::chore`].
    pub fn chore(&mut self, chore: Chore, token: Token) {
        if let Err(errno) = self.hand_over(chore, token) {
            self.ready.push(Event::Chored { token, result: Err(errno) });
        }
    }

    fn hand_over(&mut self, chore: Chore, token: Token) -> Result<(), Errno> {
        if self.chores.is_none() {
            self.chores = Some(Chores::begin(self.bell.clone())?);
        }
        let ask = self.chores.as_ref().and_then(|chores| chores.ask.as_ref());
        let ask = ask.ok_or(Errno(libc::ESHUTDOWN))?;
        ask.try_send((token, chore)).map_err(|error| match error {
            TrySendError::Full(_) => Errno(libc::EBUSY),
            TrySendError::Disconnected(_) => Errno(libc::ESHUTDOWN),
        })
    }

    /// Takes over what chores have made.
    pub(super) fn collect_chores(&mut self, events: &mut Vec<Event>) {
        while let Some((token, result)) =
            self.chores.as_ref().and_then(|chores| chores.ended.try_recv().ok())
        {
            let result =
                result.and_then(|file| file.map(|file| self.adopt_file(file, true)).transpose());
            events.push(Event::Chored { token, result });
        }
    }
}

/// The blocking calls of a thread without a driver.
struct Blocking;

impl Calls for Blocking {
    type File = OsFile;

    fn open(&mut self, path: &Path, mode: OpenMode) -> Result<OsFile, Errno> {
        let flags = if mode.direct { libc::O_DIRECT } else { 0 };
        let mut options = OpenOptions::new();
        options.read(true).write(mode.write || mode.create).create(mode.create).mode(0o640);
        Ok(options.custom_flags(flags | libc::O_CLOEXEC).open(path)?)
    }

    fn close(&mut self, file: OsFile) {
        drop(file);
    }

    fn lock(&mut self, file: &OsFile, patience: Duration) -> Result<bool, Errno> {
        lock_within(file, patience)
    }

    fn allocate(&mut self, file: &OsFile, len_bytes: u64) -> Result<(), Errno> {
        reserve(file, len_bytes)
    }

    fn put_head(&mut self, file: &OsFile, head: &[u8]) -> Result<(), Errno> {
        file.write_all_at(head, 0)?;
        Ok(file.sync_data()?)
    }

    fn rename(&mut self, from: &Path, to: &Path) -> Result<(), Errno> {
        Ok(fs::rename(from, to)?)
    }

    fn remove(&mut self, path: &Path) -> Result<(), Errno> {
        Ok(fs::remove_file(path)?)
    }

    fn sync_dir(&mut self, dir: &Path) -> Result<(), Errno> {
        Ok(OsFile::open(dir)?.sync_all()?)
    }
}

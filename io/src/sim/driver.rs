//! The simulated driver: the methods of [`crate::Driver`], answered by a world.
//!
//! Every method is one step of the world; blocking ones take simulated time. After its process
//! died a driver refuses everything with `ESHUTDOWN` and changes nothing. Dropping a live one is
//! a clean exit: connections close, writes in flight land.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::disk::Kind;
use super::disk_ops::{From, check_aligned};
use super::net::Owner;
use super::state::{DEAD, Ready, State};
use super::world::World;
use crate::buf::Buf;
use crate::driver::{Errno, Event, File, Listener, OpenMode, Socket, Source, Token};
use crate::mailbox::Bell;
use crate::region::Region;

/// Time of 2026-09-01, where every world begins.
const WALL_START_MS: i64 = 1_788_220_800_000;
/// What a metadata call takes at most.
const CALL_NS: u64 = 40_000;

/// One simulated driver.
#[derive(Debug)]
pub struct Sim {
    world: World,
    core: usize,
}

fn words(path: &Path) -> [u64; 1] {
    [super::state::hash(path.as_os_str().as_encoded_bytes())]
}

/// Documented at [`crate::driver::Driver`].
impl Sim {
    /// The driver of core number `core` of `world`.
    pub(crate) fn new(world: World, core: usize) -> Sim {
        Sim { world, core }
    }

    /// A call: one step, then `body` unless the process is dead.
    fn call<T>(
        &self,
        what: &str,
        words: &[u64],
        body: impl FnOnce(&mut State) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        self.world.with(|state| {
            state.enter(self.core, what, words)?;
            body(state)
        })
    }

    /// A call that takes a moment on the device or in the kernel.
    fn metadata<T>(
        &self,
        what: &str,
        path: &Path,
        body: impl FnOnce(&mut State, usize) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        self.call(what, &words(path), |state| {
            let latency_ns = state.random.disk.range(2_000..CALL_NS);
            state.block(self.core, latency_ns)?;
            let host = state.cores[self.core].host;
            body(state, host)
        })
    }

    fn open_of(&self, state: &State, file: File) -> Result<u64, Errno> {
        let open = state.cores[self.core].files.get(file.0 as usize).copied().flatten();
        assert!(open.is_some(), "an operation on a closed file");
        open.ok_or(Errno(libc::EBADF))
    }

    /// A call on an open file.
    fn on_file<T>(
        &self,
        what: &str,
        file: File,
        words: &[u64],
        body: impl FnOnce(&mut State, usize, u64) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        self.call(what, words, |state| {
            state.note("file", &[u64::from(file.0)]);
            let open = self.open_of(state, file)?;
            let host = state.cores[self.core].host;
            body(state, host, open)
        })
    }
}

/// Files. Documented at [`crate::driver::Driver`].
impl Sim {
    pub(crate) fn open(&mut self, path: &Path, mode: OpenMode) -> Result<File, Errno> {
        self.metadata("open", path, |state, host| {
            let open = state.hosts[host].disk.open(path, mode)?;
            let files = &mut state.cores[self.core].files;
            let slot = files.iter().position(Option::is_none).unwrap_or(files.len());
            if slot == files.len() {
                files.push(None);
            }
            files[slot] = Some(open);
            Ok(File(slot as u32))
        })
    }

    pub(crate) fn close_file(&mut self, file: File) {
        let closed = self.on_file("close-file", file, &[], |state, host, open| {
            state.cores[self.core].files[file.0 as usize] = None;
            state.hosts[host].disk.close(open);
            Ok(())
        });
        debug_assert!(matches!(closed, Ok(()) | Err(DEAD)));
    }

    pub(crate) fn file_len(&mut self, file: File) -> Result<u64, Errno> {
        self.on_file("file-len", file, &[], |state, host, open| {
            state.hosts[host].disk.inode(open).map(|inode| inode.len()).ok_or(Errno::IO)
        })
    }

    pub(crate) fn allocate(&mut self, file: File, len_bytes: u64) -> Result<(), Errno> {
        self.on_file("allocate", file, &[len_bytes], |state, host, open| {
            let latency_ns = state.random.disk.range(20_000..500_000);
            state.block(self.core, latency_ns)?;
            let disk = &mut state.hosts[host].disk;
            disk.check_writable()?;
            disk.check_growth(open, len_bytes)?;
            disk.inode(open).ok_or(Errno::IO)?.grow(len_bytes);
            Ok(())
        })
    }

    pub(crate) fn lock(&mut self, file: File, patience: Duration) -> Result<bool, Errno> {
        self.on_file("lock", file, &[], |state, host, open| {
            let until_ns = state.now_ns.saturating_add(patience.as_nanos() as u64);
            loop {
                if state.hosts[host].disk.try_lock(open) {
                    return Ok(true);
                }
                if state.now_ns >= until_ns {
                    return Ok(false);
                }
                let nap_ns = (until_ns - state.now_ns).min(1_000_000);
                state.block(self.core, nap_ns)?;
            }
        })
    }

    pub(crate) fn sync_now(&mut self, file: File) -> Result<(), Errno> {
        self.on_file("sync-now", file, &[], |state, _, open| {
            let (op, outcome) = state.submit_sync(self.core, open, None);
            state.block_on(self.core, op)?;
            outcome
        })
    }

    pub(crate) fn read_now(
        &mut self,
        file: File,
        offset: u64,
        into: &mut [u8],
    ) -> Result<usize, Errno> {
        self.on_file("read-now", file, &[offset, into.len() as u64], |state, host, open| {
            let latency_ns = state.random.disk.range(5_000..150_000);
            state.block(self.core, latency_ns)?;
            let disk = &mut state.hosts[host].disk;
            check_aligned(disk.mode(open).direct, offset, into);
            disk.fault(Kind::Read, &mut state.random.disk)?;
            Ok(disk.inode(open).ok_or(Errno::IO)?.read(offset, into))
        })
    }

    pub(crate) fn write_now(&mut self, file: File, offset: u64, from: &[u8]) -> Result<(), Errno> {
        let words = [offset, super::state::hash(from)];
        self.on_file("write-now", file, &words, |state, host, open| {
            check_aligned(state.hosts[host].disk.mode(open).direct, offset, from);
            let copy = (From::Copy(from.to_vec()), false);
            let (op, outcome) = state.submit_write(self.core, open, offset, copy, None);
            state.block_on(self.core, op)?;
            outcome
        })
    }

    pub(crate) fn list(&mut self, dir: &Path) -> Result<Vec<String>, Errno> {
        self.metadata("list", dir, |state, host| state.hosts[host].disk.names().list(dir))
    }

    pub(crate) fn create_dir(&mut self, dir: &Path) -> Result<(), Errno> {
        self.metadata("create-dir", dir, |state, host| {
            state.hosts[host].disk.names_mut()?.create_dir(dir)
        })
    }

    pub(crate) fn rename(&mut self, from: &Path, to: &Path) -> Result<(), Errno> {
        self.metadata("rename", to, |state, host| {
            state.hosts[host].disk.names_mut()?.rename(from, to)
        })
    }

    pub(crate) fn remove(&mut self, path: &Path) -> Result<(), Errno> {
        self.metadata("remove", path, |state, host| {
            state.hosts[host].disk.names_mut()?.remove(path)
        })
    }

    pub(crate) fn sync_dir(&mut self, dir: &Path) -> Result<(), Errno> {
        self.metadata("sync-dir", dir, |state, host| {
            let disk = &mut state.hosts[host].disk;
            disk.fault(Kind::Sync, &mut state.random.disk)?;
            disk.sync_dir(dir)
        })
    }

    pub(crate) fn disk_space(&mut self, path: &Path) -> Result<(u64, u64), Errno> {
        self.metadata("disk-space", path, |state, host| Ok(state.hosts[host].disk.space()))
    }

    pub(crate) fn staging(
        &mut self,
        name: &str,
        len_bytes: usize,
    ) -> Result<(Region, bool), Errno> {
        self.metadata("staging", Path::new(name), |state, host| {
            let survives = state.options.staging_survives;
            let shelf = &mut state.hosts[host].staging;
            if let Some(found) = shelf.get(name).filter(|found| found.len() == len_bytes) {
                return Ok((found.share(), survives));
            }
            let fresh = Region::anonymous(len_bytes);
            if survives {
                shelf.insert(name.to_owned(), fresh.share());
            }
            Ok((fresh, survives))
        })
    }

    pub(crate) fn staging_remove(&mut self, name: &str) -> Result<(), Errno> {
        self.metadata("staging-remove", Path::new(name), |state, host| {
            state.hosts[host].staging.remove(name);
            Ok(())
        })
    }

    pub(crate) fn write(
        &mut self,
        file: File,
        offset: u64,
        source: Source,
        durable: bool,
        token: Token,
    ) {
        let words = [offset, u64::from(durable), token.0];
        let _ = self.on_file("write", file, &words, |state, _, open| {
            let from = (From::Live(source), durable);
            let _ = state.submit_write(self.core, open, offset, from, Some(token));
            Ok(())
        });
    }

    /// A chore that was done in simulated time has ended: tells it with the next events.
    pub(crate) fn chored(&mut self, token: Token, result: Result<Option<File>, Errno>) {
        let _ = self.call("chored", &[token.0], |state| {
            let event = Event::Chored { token, result };
            state.push_ready(self.core, Ready { end: None, event });
            Ok(())
        });
    }

    pub(crate) fn read(&mut self, file: File, offset: u64, buf: Buf, token: Token) {
        let words = [offset, buf.len() as u64, token.0];
        let _ = self.on_file("read", file, &words, |state, _, open| {
            state.submit_read(self.core, open, offset, buf, token);
            Ok(())
        });
    }

    pub(crate) fn sync(&mut self, file: File, token: Token) {
        let _ = self.on_file("sync", file, &[token.0], |state, _, open| {
            let _ = state.submit_sync(self.core, open, Some(token));
            Ok(())
        });
    }
}

/// TCP. Documented at [`crate::driver::Driver`].
impl Sim {
    pub(crate) fn listen(
        &mut self,
        addr: SocketAddr,
        patience: Duration,
    ) -> Result<(Listener, SocketAddr), Errno> {
        self.call("listen", &[u64::from(addr.port())], |state| {
            state.listen(self.core, addr, patience.as_nanos() as u64)
        })
    }

    pub(crate) fn accept(&mut self, listener: Listener, token: Token) {
        let _ = self.call("accept", &[u64::from(listener.0), token.0], |state| {
            state.accept(self.core, listener, token);
            Ok(())
        });
    }

    pub(crate) fn close_listener(&mut self, listener: Listener) {
        let _ = self.call("close-listener", &[u64::from(listener.0)], |state| {
            state.close_listener(self.core, listener);
            Ok(())
        });
    }

    pub(crate) fn connect(&mut self, addr: SocketAddr, token: Token) {
        let _ = self.call("connect", &[u64::from(addr.port()), token.0], |state| {
            state.connect(Owner::Core(self.core), addr, token);
            Ok(())
        });
    }

    pub(crate) fn peer(&self, socket: Socket) -> Option<SocketAddr> {
        self.world.with(|state| state.peer(self.core, socket))
    }

    /// A call on a socket; one that was closed is ignored, as its events would be.
    fn on_socket(&self, what: &str, socket: Socket, body: impl FnOnce(&mut State, u64)) {
        let _ = self.call(what, &[u64::from(socket.slot)], |state| {
            if let Some(end) = state.end_of(self.core, socket) {
                body(state, end);
            }
            Ok(())
        });
    }

    pub(crate) fn receive(&mut self, socket: Socket, token: Token) {
        self.on_socket("receive", socket, |state, end| state.receive(end, token));
    }

    pub(crate) fn receive_stop(&mut self, socket: Socket) {
        self.on_socket("receive-stop", socket, |state, end| state.receive_stop(end));
    }

    pub(crate) fn receive_exact(&mut self, socket: Socket, buf: Vec<u8>, len: usize, token: Token) {
        self.on_socket("receive-exact", socket, |state, end| {
            state.receive_exact(end, buf, len, token);
        });
    }

    pub(crate) fn send(&mut self, socket: Socket, buf: Vec<u8>, token: Token) {
        self.on_socket("send", socket, |state, end| {
            state.note("bytes", &[super::state::hash(&buf)]);
            state.send(end, buf, Some(token));
        });
    }

    pub(crate) fn close(&mut self, socket: Socket) {
        let _ = self.call("close", &[u64::from(socket.slot)], |state| {
            state.close_socket(self.core, socket);
            Ok(())
        });
    }
}

/// Time. Documented at [`crate::driver::Driver`].
impl Sim {
    pub(crate) fn now_ns(&self) -> u64 {
        self.world.with(|state| state.now_ns + state.hosts[state.cores[self.core].host].boot_ns)
    }

    pub(crate) fn boot_ns(&self) -> u64 {
        self.now_ns()
    }

    pub(crate) fn wall_ms(&self) -> i64 {
        self.world.with(|state| {
            let host = &state.hosts[state.cores[self.core].host];
            WALL_START_MS + (state.now_ns / 1_000_000) as i64 + host.wall_offset_ms
        })
    }

    /// Simulated boxes stand in Greenwich.
    pub(crate) fn utc_offset_ms(&self) -> i64 {
        self.world.with(|_| 0)
    }

    pub(crate) fn boot(&self) -> u64 {
        self.world.with(|state| state.hosts[state.cores[self.core].host].boot_ns)
    }

    pub(crate) fn wait(&mut self, deadline_ns: u64, events: &mut Vec<Event>) -> Result<(), Errno> {
        self.world.with(|state| {
            let boot_ns = state.hosts[state.cores[self.core].host].boot_ns;
            let never = deadline_ns == u64::MAX;
            let deadline_ns = if never { u64::MAX } else { deadline_ns.saturating_sub(boot_ns) };
            state.wait(self.core, deadline_ns, events)
        })
    }

    pub(crate) fn submit(&mut self) -> Result<(), Errno> {
        self.call("submit", &[], |_| Ok(()))
    }

    pub(crate) fn bell(&self) -> Bell {
        self.world.with(|state| Bell::sim(state.cores[self.core].bell.clone()))
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.world.leave(self.core);
    }
}

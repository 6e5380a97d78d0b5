//! The handle a test holds: makes drivers and clients, moves time, breaks things.
//!
//! A world is one or more machines with a disk each, on one network, under one clock; this handle
//! stands for one machine of it. Everything is decided by the seed and by what is called in which
//! order. With one live driver, waiting moves time; with several the test calls
//! [`World::advance`] after a round of turns.
//!
//! ```text
//! let world = World::new(WorldOptions { seed, ..Default::default() });
//! let mut driver = world.driver();     // start
//! loop { shard.turn(); }               // one shard: time moves inside wait
//! world.power_cut();                   // or kill(); then drop the shard
//! let mut driver = world.driver();     // restart on what is left
//! ```

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use super::client::SimClient;
use super::disk::Faults;
use super::driver::Sim;
use super::state::State;
use crate::driver::{Driver, Errno};

/// What a world is made with.
#[derive(Clone, Debug)]
pub struct WorldOptions {
    /// Decides everything that is random.
    pub seed: u64,
    /// The fault plan each machine's disk starts with.
    pub faults: Faults,
    /// Whether [`Driver::staging`] memory outlives a killed process. A container whose `/dev/shm`
    /// dies with it has none that does.
    pub staging_survives: bool,
    /// Every call and event is written to standard error, with the world's time: for finding out
    /// what a failing seed does.
    pub tell: bool,
}

impl Default for WorldOptions {
    fn default() -> WorldOptions {
        WorldOptions { seed: 1, faults: Faults::default(), staging_survives: true, tell: false }
    }
}

/// How the processes of a machine end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// `kill -9`: memory for staging and completed writes stay, some writes in flight still land.
    Kill,
    /// The machine loses power: only what was flushed is sure to stay.
    PowerCut,
    /// The process exits: connections close, what is in flight lands.
    Exit,
}

/// A simulated world, seen from one of its machines. Clones are the same world and machine.
#[derive(Clone)]
pub struct World {
    state: Rc<RefCell<State>>,
    host: usize,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("host", &self.host).finish_non_exhaustive()
    }
}

impl World {
    /// A world with one machine.
    pub fn new(options: WorldOptions) -> World {
        World { state: Rc::new(RefCell::new(State::new(options))), host: 0 }
    }

    /// Runs `body` on the state.
    pub(crate) fn with<T>(&self, body: impl FnOnce(&mut State) -> T) -> T {
        body(&mut self.state.borrow_mut())
    }

    /// Another machine in the same world, with its own disk, on the same network and clock.
    pub fn another_machine(&self) -> World {
        World { state: self.state.clone(), host: self.with(State::add_host) }
    }

    /// Adds a test's own words to the trace.
    pub fn note(&self, what: &str, words: &[u64]) {
        self.with(|state| state.note(what, words));
    }

    /// A driver of this machine's process. After a death it belongs to a new process.
    pub fn driver(&self) -> Driver {
        let core = self.with(|state| state.add_core(self.host));
        Driver::Sim(Box::new(Sim::new(self.clone(), core)))
    }

    /// A TCP client outside of all machines.
    pub fn client(&self) -> SimClient {
        SimClient::new(self.clone())
    }

    /// `kill -9` of the process on this machine.
    pub fn kill(&self) {
        self.with(|state| state.die(self.host, Death::Kill));
    }

    /// This machine loses power.
    pub fn power_cut(&self) {
        self.with(|state| state.die(self.host, Death::PowerCut));
    }

    /// This machine's process dies in so and so many steps ([`World::steps`]), wherever that is:
    /// inside a blocking call of a start too. Its driver then answers `ESHUTDOWN`, and
    /// [`World::is_dead`] is true until the next [`World::driver`].
    pub fn die_in(&self, steps: u64, death: Death) {
        self.with(|state| state.armed = Some((state.steps + steps, self.host, death)));
    }

    /// Takes back [`World::die_in`].
    pub fn disarm(&self) {
        self.with(|state| state.armed = None);
    }

    /// Whether no process runs on this machine.
    pub fn is_dead(&self) -> bool {
        self.with(|state| !state.live_cores().any(|core| state.cores[core].host == self.host))
    }

    /// How many deaths the processes of this machine have died; a start that was refused is none.
    pub fn deaths(&self) -> u64 {
        self.with(|state| state.hosts[self.host].deaths)
    }

    /// Steps so far: calls of drivers, and things carried out.
    pub fn steps(&self) -> u64 {
        self.with(|state| state.steps)
    }

    /// A hash over the seed, every call and every event so far.
    pub fn trace_hash(&self) -> u64 {
        self.with(|state| state.trace)
    }

    /// Moves time to the next thing that happens or the nearest deadline a driver waits for; for
    /// worlds with several drivers. `false`: nothing is left that could happen by itself.
    pub fn advance(&self) -> bool {
        self.with(State::advance)
    }

    /// Moves time by so and so much.
    pub fn advance_by(&self, ns: u64) {
        self.with(|state| state.advance_to(state.now_ns + ns));
    }

    /// The world's clock, in nanoseconds since its beginning.
    pub fn now_ns(&self) -> u64 {
        self.with(|state| state.now_ns)
    }

    /// Sets this machine's wall clock forward, or back.
    pub fn step_wall(&self, ms: i64) {
        self.with(|state| state.hosts[self.host].wall_offset_ms += ms);
    }

    /// Changes the fault plan of this machine's disk.
    pub fn faults(&self, change: impl FnOnce(&mut Faults)) {
        self.with(|state| change(&mut state.hosts[self.host].disk.faults));
    }

    /// Mounts the file system again, writable, after [`Faults::read_only_after_error`] struck.
    pub fn remount(&self) {
        self.with(|state| state.hosts[self.host].disk.remount());
    }

    /// Cuts this machine off from another one; packets wait until [`World::heal`].
    pub fn partition(&self, other: &World) {
        self.mute(other);
        other.mute(self);
    }

    /// What this machine sends to another one does not get there; packets wait until
    /// [`World::heal`]. Its own ears are open, but no new connection comes about.
    pub fn mute(&self, other: &World) {
        self.with(|state| state.set_wall(self.host, other.host));
    }

    /// Ends [`World::partition`] and [`World::mute`].
    pub fn heal(&self, other: &World) {
        self.with(|state| state.clear_walls(self.host, other.host));
    }

    /// Every packet between machines that is sent from now on takes so much longer.
    pub fn lag(&self, ns: u64) {
        self.with(|state| state.set_lag(ns));
    }

    /// This machine's processes stop where they are (SIGSTOP), or go on: time passes without
    /// them. Their drivers are not to be called meanwhile.
    pub fn freeze(&self, frozen: bool) {
        self.with(|state| state.hosts[self.host].frozen = frozen);
    }

    /// A directory that was there before the world began (durable, with its parents).
    pub fn make_dir(&self, dir: &Path) -> Result<(), Errno> {
        self.with(|state| {
            let names = state.hosts[self.host].disk.names_mut()?;
            names.create_dir(dir)?;
            dir.ancestors().try_for_each(|dir| names.sync_dir(dir))
        })
    }

    /// Paths and lengths of all files, sorted.
    pub fn files(&self) -> Vec<(String, u64)> {
        self.with(|state| {
            let files = state.hosts[self.host].disk.files();
            files.map(|(path, inode)| (path.to_string_lossy().into_owned(), inode.len())).collect()
        })
    }

    /// Bit rot: flips the bits of `mask` in one byte of a file, on the medium.
    pub fn flip(&self, path: &Path, offset: u64, mask: u8) -> Result<(), Errno> {
        self.with(|state| {
            state.hosts[self.host].disk.inode_at(path)?.flip(offset, mask);
            Ok(())
        })
    }

    /// What readers see of a file, without a driver.
    pub fn peek(&self, path: &Path, offset: u64, len: usize) -> Result<Vec<u8>, Errno> {
        self.with(|state| {
            let mut bytes = vec![0; len];
            let read = state.hosts[self.host].disk.inode_at(path)?.read(offset, &mut bytes);
            bytes.truncate(read);
            Ok(bytes)
        })
    }

    /// What is surely on the medium of a file, zeros where nothing is.
    pub fn peek_durable(&self, path: &Path, offset: u64, len: usize) -> Result<Vec<u8>, Errno> {
        self.with(|state| {
            let mut bytes = vec![0; len];
            state.hosts[self.host].disk.inode_at(path)?.read_durable(offset, &mut bytes);
            Ok(bytes)
        })
    }

    /// Overwrites bytes of a file on the medium, as an operator's mistake would.
    pub fn poke(&self, path: &Path, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.with(|state| {
            state.hosts[self.host].disk.inode_at(path)?.write(offset, bytes, true);
            Ok(())
        })
    }

    /// A driver was dropped: a clean exit, unless its process is dead already.
    pub(crate) fn leave(&self, core: usize) {
        // A test that fails inside of a call unwinds through here.
        if let Ok(mut state) = self.state.try_borrow_mut() {
            state.leave(core);
        }
    }
}

//! The inside of a simulated world: its clock, its agenda of things to come, its machines and
//! the processes on them.
//!
//! Everything that will happen stands in the agenda with its time; advancing the clock carries it
//! out in order. Each call of a driver and each thing carried out is one step, and a death can be
//! armed for any step, so that a cut falls into the middle of a start or a rename too.
//! Invariants: one thread; an event for a dead process is never delivered; the trace hash depends
//! on the seed and on what was asked, never on addresses or on this machine.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::disk::Disk;
use super::disk_ops::DiskOp;
use super::inode::Odds;
use super::net::Net;
use super::random::{Random, mix};
use super::world::{Death, WorldOptions};
use crate::driver::{Errno, Event};
use crate::mailbox::SimBell;
use crate::region::Region;

/// The error of every call of a dead process: "transport endpoint is shut down".
pub(crate) const DEAD: Errno = Errno(libc::ESHUTDOWN);

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum Action {
    /// A disk operation lands.
    Disk(u64),
    /// The next packet on its wire reaches this end of a connection.
    Arrive(u64),
    /// A connection attempt of this end reaches the listener's machine.
    Connect(u64),
    /// The receive with this serial number stops.
    StopReceive(u64, u64),
    /// An event becomes ready for a core.
    Ready(usize, Ready),
}

/// An event to deliver, and the end of a connection it belongs to: closing that swallows it.
#[derive(Debug)]
pub(crate) struct Ready {
    /// The end, for events of a connection.
    pub end: Option<u64>,
    /// The event.
    pub event: Event,
}

/// A slot of a core's socket table.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SocketSlot {
    /// Raised at each reuse.
    pub generation: u32,
    /// The end of the connection it stands for.
    pub end: Option<u64>,
}

/// One driver.
#[derive(Debug)]
pub(crate) struct Core {
    /// Its machine.
    pub host: usize,
    /// Whether its process lives.
    pub alive: bool,
    /// Open file descriptions.
    pub files: Vec<Option<u64>>,
    /// Sockets.
    pub sockets: Vec<SocketSlot>,
    /// Ports it listens on.
    pub listeners: Vec<Option<u16>>,
    /// Events that are there.
    pub ready: VecDeque<Ready>,
    /// Rung by other drivers.
    pub bell: Arc<SimBell>,
    /// Until when it waits, on the world's clock.
    pub deadline_ns: u64,
}

/// One machine.
#[derive(Debug)]
pub(crate) struct Host {
    /// Its disk.
    pub disk: Disk,
    /// Memory that survives processes.
    pub staging: BTreeMap<String, Region>,
    /// Its monotonic clock is the world's plus this.
    pub boot_ns: u64,
    /// Its wall clock is the world's plus this.
    pub wall_offset_ms: i64,
    /// Its processes are stopped.
    pub frozen: bool,
    /// How many deaths its processes have died.
    pub deaths: u64,
}

/// The streams of randomness, one per concern.
#[derive(Debug)]
pub(crate) struct Streams {
    /// Order of events and deliveries.
    pub schedule: Random,
    /// Latencies and fates of disk operations.
    pub disk: Random,
    /// Splits and delays of the network.
    pub net: Random,
}

/// The world.
#[derive(Debug)]
pub(crate) struct State {
    /// What it was made with.
    pub options: WorldOptions,
    /// The world's clock.
    pub now_ns: u64,
    agenda: BTreeMap<(u64, u64), Action>,
    next_serial: u64,
    /// Machines.
    pub hosts: Vec<Host>,
    /// Drivers, dead ones included; a number is never reused.
    pub cores: Vec<Core>,
    /// Connections.
    pub net: Net,
    /// Disk operations in flight.
    pub ops: BTreeMap<u64, DiskOp>,
    /// Randomness.
    pub random: Streams,
    /// Accumulates every call and event.
    pub trace: u64,
    /// Calls made and actions carried out.
    pub steps: u64,
    /// An armed death: the step, the machine, the kind.
    pub armed: Option<(u64, usize, Death)>,
    /// A test-side endpoint saw something since the last wait began.
    pub outside_touched: bool,
    /// The driver that waited last, and when its wait ended.
    waited: Option<(usize, u64)>,
}

impl State {
    /// A world with one machine and nothing on it.
    pub(crate) fn new(options: WorldOptions) -> State {
        let seed = options.seed;
        let mut state = State {
            now_ns: 0,
            agenda: BTreeMap::new(),
            next_serial: 0,
            hosts: Vec::new(),
            cores: Vec::new(),
            net: Net::default(),
            ops: BTreeMap::new(),
            random: Streams {
                schedule: Random::new(seed, "schedule"),
                disk: Random::new(seed, "disk"),
                net: Random::new(seed, "net"),
            },
            trace: mix(seed),
            steps: 0,
            armed: None,
            outside_touched: false,
            waited: None,
            options,
        };
        state.add_host();
        state
    }

    /// A new machine; gives its number.
    pub(crate) fn add_host(&mut self) -> usize {
        let mut disk = Disk::default();
        disk.faults = self.options.faults.clone();
        let boot_ns = self.random.schedule.range(1_000_000_000..1 << 40);
        let staging = BTreeMap::new();
        self.hosts.push(Host {
            disk,
            staging,
            boot_ns,
            wall_offset_ms: 0,
            frozen: false,
            deaths: 0,
        });
        self.hosts.len() - 1
    }

    /// A new driver on a machine; gives its number.
    pub(crate) fn add_core(&mut self, host: usize) -> usize {
        self.cores.push(Core {
            host,
            alive: true,
            files: Vec::new(),
            sockets: Vec::new(),
            listeners: Vec::new(),
            ready: VecDeque::new(),
            bell: Arc::new(SimBell::default()),
            deadline_ns: u64::MAX,
        });
        self.note("core", &[host as u64]);
        self.cores.len() - 1
    }

    /// A number that was never given before.
    pub(crate) fn serial(&mut self) -> u64 {
        self.next_serial += 1;
        self.next_serial
    }

    /// Adds to the trace.
    pub(crate) fn note(&mut self, what: &str, words: &[u64]) {
        let mut trace = self.trace ^ self.now_ns;
        for byte in what.bytes() {
            trace = trace.rotate_left(8) ^ u64::from(byte);
        }
        self.trace = words.iter().fold(mix(trace), |sum, word| mix(sum ^ word));
        if self.options.tell {
            eprintln!("{:>12} {what} {words:x?}", self.now_ns);
        }
    }

    /// A driver calls: one step. `Err`: its process is dead.
    pub(crate) fn enter(&mut self, core: usize, what: &str, words: &[u64]) -> Result<(), Errno> {
        if self.cores[core].alive {
            self.note(what, words);
            self.step();
        }
        self.check_alive(core)
    }

    /// Whether the process of a driver lives.
    pub(crate) fn check_alive(&self, core: usize) -> Result<(), Errno> {
        if self.cores[core].alive { Ok(()) } else { Err(DEAD) }
    }

    fn step(&mut self) {
        self.steps += 1;
        if let Some((at, host, death)) = self.armed.filter(|armed| armed.0 <= self.steps) {
            let _ = at;
            self.armed = None;
            self.die(host, death);
        }
    }

    /// The processes of a machine die.
    pub(crate) fn die(&mut self, host: usize, death: Death) {
        self.note("die", &[host as u64, death as u64]);
        self.hosts[host].deaths += 1;
        let dying: Vec<usize> = self.live_cores().filter(|c| self.cores[*c].host == host).collect();
        for core in &dying {
            self.cores[*core].alive = false;
            self.cores[*core].ready.clear();
            self.drop_connections(*core, death);
        }
        self.agenda.retain(|_, action| match action {
            Action::Ready(core, _) => !dying.contains(core),
            _ => true,
        });
        match death {
            Death::Kill => {
                self.keep_staging(host);
                self.orphan_disk_ops(&dying);
            }
            Death::PowerCut => self.cut_disk(host),
            Death::Exit => {}
        }
        for core in dying {
            for open in std::mem::take(&mut self.cores[core].files).into_iter().flatten() {
                self.hosts[host].disk.close(open);
            }
        }
    }

    /// A driver was dropped: its connections end, its writes in flight land without an event.
    pub(crate) fn leave(&mut self, core: usize) {
        if !self.cores[core].alive {
            return;
        }
        self.note("leave", &[core as u64]);
        self.cores[core].alive = false;
        self.cores[core].ready.clear();
        self.drop_connections(core, Death::Exit);
        self.agenda.retain(|_, action| !matches!(action, Action::Ready(of, _) if *of == core));
        let host = self.cores[core].host;
        for open in std::mem::take(&mut self.cores[core].files).into_iter().flatten() {
            self.hosts[host].disk.close(open);
        }
    }

    /// The dead process may run on to the end of its turn in this address space: what its
    /// successor finds is a copy taken now.
    fn keep_staging(&mut self, host: usize) {
        let staging = std::mem::take(&mut self.hosts[host].staging);
        for (name, old) in staging {
            let mut kept = Region::anonymous(old.len());
            kept.bytes_mut(0..old.len()).copy_from_slice(old.bytes(0..old.len()));
            self.redirect_writes(&name, &old);
            self.hosts[host].staging.insert(name, kept);
        }
    }

    fn cut_disk(&mut self, host: usize) {
        let random = &mut self.random.disk;
        // Some cuts lose nearly all, some keep nearly all, most are mixed.
        let keep_ppm = match random.range(0..10) {
            0..2 => 50_000,
            2..4 => 950_000,
            _ => 500_000,
        };
        let odds = Odds { keep_ppm, tear_ppm: 500_000 };
        self.cut_in_flight(host, odds);
        let machine = &mut self.hosts[host];
        machine.disk.cut(odds, &mut self.random.disk);
        machine.staging.clear();
        machine.boot_ns = self.random.schedule.range(1_000_000_000..1 << 40);
    }

    /// Numbers of the drivers whose process lives.
    pub(crate) fn live_cores(&self) -> impl Iterator<Item = usize> {
        (0..self.cores.len()).filter(|core| self.cores[*core].alive)
    }

    /// Those of them that are not stopped.
    fn running_cores(&self) -> impl Iterator<Item = usize> {
        self.live_cores().filter(|core| !self.hosts[self.cores[*core].host].frozen)
    }

    /// Puts something on the agenda, `delay_ns` from now.
    pub(crate) fn schedule(&mut self, delay_ns: u64, action: Action) {
        self.schedule_at(self.now_ns.saturating_add(delay_ns), action);
    }

    /// Puts something on the agenda.
    pub(crate) fn schedule_at(&mut self, due_ns: u64, action: Action) {
        let serial = self.serial();
        self.agenda.insert((due_ns, serial), action);
    }

    /// Takes a disk operation off the agenda.
    pub(crate) fn unschedule_disk(&mut self, op: u64) {
        self.agenda.retain(|_, action| !matches!(action, Action::Disk(id) if *id == op));
    }

    /// When the next thing happens.
    pub(crate) fn next_due_ns(&self) -> Option<u64> {
        self.agenda.keys().next().map(|key| key.0)
    }

    /// Moves the clock to `target_ns`, carrying out what is due on the way.
    pub(crate) fn advance_to(&mut self, target_ns: u64) {
        while let Some(entry) = self.agenda.first_entry() {
            if entry.key().0 > target_ns {
                break;
            }
            self.now_ns = self.now_ns.max(entry.key().0);
            let action = entry.remove();
            self.step();
            self.carry_out(action);
        }
        self.now_ns = self.now_ns.max(target_ns);
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Disk(op) => self.land(op),
            Action::Arrive(end) => self.arrive(end),
            Action::Connect(end) => self.connect_arrives(end),
            Action::StopReceive(end, serial) => self.stop_receive_now(end, serial),
            Action::Ready(core, ready) => self.push_ready(core, ready),
        }
    }

    /// An event is there for a driver.
    pub(crate) fn push_ready(&mut self, core: usize, ready: Ready) {
        if self.cores[core].alive && !ready.end.is_some_and(|end| self.net.is_closed(end)) {
            self.cores[core].ready.push_back(ready);
        }
    }

    /// A call of `core` that takes `latency_ns` on the calling thread.
    pub(crate) fn block(&mut self, core: usize, latency_ns: u64) -> Result<(), Errno> {
        self.advance_to(self.now_ns.saturating_add(latency_ns));
        self.check_alive(core)
    }

    /// Waits as [`crate::Driver::wait`] does; `deadline_ns` is on the world's clock.
    pub(crate) fn wait(
        &mut self,
        core: usize,
        deadline_ns: u64,
        events: &mut Vec<Event>,
    ) -> Result<(), Errno> {
        self.enter(core, "wait", &[])?;
        self.outside_touched = false;
        self.cores[core].deadline_ns = deadline_ns;
        // One that waits again at once, as a start does for its first flush, runs by itself.
        let again = self.waited == Some((core, self.now_ns));
        let alone = again || self.live_cores().count() == 1;
        if alone {
            let turn_ns = self.random.schedule.range(200..2000);
            self.block(core, turn_ns)?;
        }
        while alone && !self.has_events(core) && !self.outside_touched && self.now_ns < deadline_ns
        {
            let target = deadline_ns.min(self.next_due_ns().unwrap_or(u64::MAX));
            if target == u64::MAX {
                break;
            }
            self.advance_to(target);
            self.check_alive(core)?;
        }
        self.waited = Some((core, self.now_ns));
        self.deliver(core, events);
        Ok(())
    }

    fn has_events(&self, core: usize) -> bool {
        !self.cores[core].ready.is_empty() || self.cores[core].bell.is_rung()
    }

    fn deliver(&mut self, core: usize, events: &mut Vec<Event>) {
        if self.cores[core].bell.take() {
            self.note("woken", &[core as u64]);
            events.push(Event::Woken);
        }
        let there = self.cores[core].ready.len();
        if there == 0 {
            return;
        }
        // Now and then only some of them are seen in this turn.
        let random = &mut self.random.schedule;
        let count = if random.range(0..4) == 0 { random.size(1..there + 1) } else { there };
        for _ in 0..count {
            let Some(ready) = self.cores[core].ready.pop_front() else { break };
            let (what, words) = describe(&ready.event);
            self.note(what, &[core as u64, words[0], words[1]]);
            events.push(ready.event);
        }
    }

    /// Moves time to the next thing that happens or the next deadline, for a world with several
    /// drivers. `false`: nothing will ever happen.
    pub(crate) fn advance(&mut self) -> bool {
        let turn_ns = self.random.schedule.range(200..2000);
        let pending = self.running_cores().any(|core| self.has_events(core));
        let deadlines = self.running_cores().map(|core| self.cores[core].deadline_ns);
        let next = deadlines.chain(self.next_due_ns()).min().filter(|due| *due != u64::MAX);
        let target = if pending { None } else { next };
        self.advance_to((self.now_ns + turn_ns).max(target.unwrap_or(0)));
        pending || next.is_some()
    }
}

/// A hash of bytes, for the trace and for finding writes whose memory changed under them.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    const K: u64 = 0x517C_C1B7_2722_0A95;
    let (words, rest) = bytes.as_chunks::<8>();
    let mut sum = bytes.len() as u64;
    for word in words {
        sum = (sum.rotate_left(5) ^ u64::from_le_bytes(*word)).wrapping_mul(K);
    }
    for byte in rest {
        sum = (sum.rotate_left(5) ^ u64::from(*byte)).wrapping_mul(K);
    }
    sum
}

fn code<E>(result: &Result<(), E>) -> u64 {
    u64::from(result.is_err())
}

/// An event for the trace.
fn describe(event: &Event) -> (&'static str, [u64; 2]) {
    match event {
        Event::Written { token, result, .. } => ("written", [token.0, code(result)]),
        Event::Read { token, result, .. } => {
            ("read", [token.0, result.map_or(u64::MAX, |len| len as u64)])
        }
        Event::Synced { token, result } => ("synced", [token.0, code(result)]),
        Event::Chored { token, result } => ("chored", [token.0, u64::from(result.is_err())]),
        Event::Accepted { token, result } => {
            ("accepted", [token.0, result.map_or(u64::MAX, |s| u64::from(s.slot))])
        }
        Event::Connected { token, result } => {
            ("connected", [token.0, result.map_or(u64::MAX, |s| u64::from(s.slot))])
        }
        Event::Received { token, chunk } => ("received", [token.0, hash(chunk)]),
        Event::ReceiveEnded { token, end } => {
            ("receive-ended", [token.0, u64::from(*end == crate::driver::ReceiveEnd::Eof)])
        }
        Event::Filled { token, result, buf } => ("filled", [token.0, hash(buf) ^ code(result)]),
        Event::Sent { token, result, .. } => ("sent", [token.0, code(result)]),
        Event::Woken => ("woken", [0, 0]),
    }
}

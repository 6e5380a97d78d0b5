//! TCP of a simulated world: ends of connections, the wires between them, listeners.
//!
//! A send is cut into random pieces that arrive in order after random delays, as long as the
//! receiver's window has room; what a receiver does not read stops its sender. Ends belong to
//! drivers or to the test ("outside"). Invariant: bytes of one direction are never lost, doubled
//! or reordered; a connection ends early only by a close, a death or a reset.

mod wire;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};

use super::random::Random;
use super::state::{Action, Ready, State};
use crate::driver::{Errno, Event, Listener, ReceiveEnd, Socket, Token};

/// Bytes one end may have received and not read, in flight included.
const WINDOW: usize = 256 * 1024;
/// Largest piece that arrives at once, and largest [`Chunk`].
const PIECE_MAX: usize = 16 * 1024;
/// How long a connection attempt into a partition hangs.
const CONNECT_TIMEOUT_NS: u64 = 10_000_000_000;
/// A killed process holds its ports for up to this long.
const PORT_HELD_NS: u64 = 33_000_000;

/// Whose end it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A driver.
    Core(usize),
    /// The test.
    Outside,
}

/// What travels.
#[derive(Debug)]
enum Packet {
    Bytes(Vec<u8>),
    Fin,
    Reset,
}

/// What a driver asked of an end.
#[derive(Debug, Default)]
enum Receiving {
    #[default]
    Nothing,
    Pieces {
        token: Token,
        serial: u64,
    },
    Exact {
        token: Token,
        buf: Vec<u8>,
        need: usize,
    },
}

/// Bytes on their way out of an end.
#[derive(Debug)]
struct Outbox {
    buf: Vec<u8>,
    done: usize,
    token: Option<Token>,
}

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct End {
    owner: Owner,
    peer: Option<u64>,
    peer_addr: SocketAddr,
    connect_token: Token,
    wire: VecDeque<Packet>,
    wire_due_ns: u64,
    stalled: usize,
    arrived: VecDeque<u8>,
    window_used: usize,
    ended: Option<ReceiveEnd>,
    receiving: Receiving,
    outbox: Option<Outbox>,
    fin_after: bool,
    closed: bool,
    /// Outside only: bytes stay in `arrived`, and the window closes.
    pub paused: bool,
}

impl End {
    fn new(owner: Owner, peer_addr: SocketAddr, connect_token: Token) -> End {
        End {
            owner,
            peer: None,
            peer_addr,
            connect_token,
            wire: VecDeque::new(),
            wire_due_ns: 0,
            stalled: 0,
            arrived: VecDeque::new(),
            window_used: 0,
            ended: None,
            receiving: Receiving::Nothing,
            outbox: None,
            fin_after: false,
            closed: false,
            paused: false,
        }
    }
}

#[derive(Debug)]
struct Port {
    core: usize,
    accepting: Option<Token>,
    backlog: VecDeque<u64>,
    held_until_ns: Option<u64>,
}

/// All connections and listeners.
#[derive(Debug, Default)]
pub(crate) struct Net {
    ends: BTreeMap<u64, End>,
    ports: BTreeMap<u16, Port>,
    last_port: u16,
    /// From which machine to which nothing gets through.
    walls: BTreeSet<(usize, usize)>,
    /// What every packet between machines takes more.
    lag_ns: u64,
}

/// How an outside end stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The attempt has not been answered.
    Connecting,
    /// Bytes flow.
    Open,
    /// The other side sent its last byte.
    Ended,
    /// Refused, reset or closed from this side.
    Failed,
}

impl Net {
    /// Whether the owner has closed the end (or it never was).
    pub(crate) fn is_closed(&self, end: u64) -> bool {
        self.ends.get(&end).is_none_or(|end| end.closed)
    }

    /// The end, to pause or look at it.
    pub(crate) fn end_mut(&mut self, end: u64) -> Option<&mut End> {
        self.ends.get_mut(&end)
    }

    /// How an end stands.
    pub(crate) fn standing(&self, end: u64) -> Standing {
        match self.ends.get(&end) {
            None => Standing::Failed,
            Some(end) if end.closed => Standing::Failed,
            Some(End { ended: Some(ReceiveEnd::Eof), .. }) => Standing::Ended,
            Some(End { ended: Some(_), .. }) => Standing::Failed,
            Some(End { peer: None, .. }) => Standing::Connecting,
            Some(_) => Standing::Open,
        }
    }

    fn fresh_port(&mut self) -> u16 {
        loop {
            self.last_port = if self.last_port < 20_000 { 20_000 } else { self.last_port + 1 };
            if !self.ports.contains_key(&self.last_port) {
                return self.last_port;
            }
        }
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn delay_ns(random: &mut Random) -> u64 {
    random.range(5_000..60_000) * if random.range(0..50) == 0 { 50 } else { 1 }
}

/// Listeners and new connections.
impl State {
    /// As [`crate::Driver::listen`].
    pub(crate) fn listen(
        &mut self,
        core: usize,
        addr: SocketAddr,
        patience_ns: u64,
    ) -> Result<(Listener, SocketAddr), Errno> {
        let port = if addr.port() == 0 { self.net.fresh_port() } else { addr.port() };
        let busy_until = match self.net.ports.get(&port) {
            None => self.now_ns,
            Some(held) => held.held_until_ns.unwrap_or(u64::MAX),
        };
        let wait_ns = busy_until.saturating_sub(self.now_ns);
        self.block(core, wait_ns.min(patience_ns))?;
        if wait_ns > patience_ns {
            return Err(Errno(libc::EADDRINUSE));
        }
        let fresh = Port { core, accepting: None, backlog: VecDeque::new(), held_until_ns: None };
        self.net.ports.insert(port, fresh);
        self.cores[core].listeners.push(Some(port));
        Ok((Listener(self.cores[core].listeners.len() as u32 - 1), loopback(port)))
    }

    fn port_of(&self, core: usize, listener: Listener) -> Option<u16> {
        self.cores[core].listeners.get(listener.0 as usize).copied().flatten()
    }

    /// As [`crate::Driver::accept`].
    pub(crate) fn accept(&mut self, core: usize, listener: Listener, token: Token) {
        let port = self.port_of(core, listener);
        assert!(port.is_some(), "accept on a closed listener");
        let Some(found) = port.and_then(|port| self.net.ports.get_mut(&port)) else { return };
        found.accepting = Some(token);
        for end in std::mem::take(&mut found.backlog) {
            self.accepted(core, token, end);
        }
    }

    fn accepted(&mut self, core: usize, token: Token, end: u64) {
        let socket = self.socket_slot(core, end);
        let event = Event::Accepted { token, result: Ok(socket) };
        self.push_ready(core, Ready { end: None, event });
    }

    /// As [`crate::Driver::close_listener`].
    pub(crate) fn close_listener(&mut self, core: usize, listener: Listener) {
        let Some(port) = self.port_of(core, listener) else { return };
        self.cores[core].listeners[listener.0 as usize] = None;
        self.close_port(port, None);
    }

    fn close_port(&mut self, port: u16, held_until_ns: Option<u64>) {
        let Some(mut found) = self.net.ports.remove(&port) else { return };
        for end in std::mem::take(&mut found.backlog) {
            self.close_end(end, true);
        }
        if held_until_ns.is_some() {
            self.net.ports.insert(port, Port { held_until_ns, accepting: None, ..found });
        }
    }

    fn socket_slot(&mut self, core: usize, end: u64) -> Socket {
        let slots = &mut self.cores[core].sockets;
        let slot = slots.iter().position(|slot| slot.end.is_none()).unwrap_or(slots.len());
        if slot == slots.len() {
            slots.push(Default::default());
        }
        slots[slot].generation += 1;
        slots[slot].end = Some(end);
        Socket { slot: slot as u32, generation: slots[slot].generation }
    }

    /// The end behind a socket, unless the socket is an old one.
    pub(crate) fn end_of(&self, core: usize, socket: Socket) -> Option<u64> {
        let slot = self.cores[core].sockets.get(socket.slot as usize)?;
        slot.end.filter(|_| slot.generation == socket.generation)
    }

    /// Starts a connection attempt.
    pub(crate) fn connect(&mut self, owner: Owner, addr: SocketAddr, token: Token) -> u64 {
        let end = self.serial();
        self.net.ends.insert(end, End::new(owner, addr, token));
        let lag_ns = if owner == Owner::Outside { 0 } else { self.net.lag_ns };
        let delay = delay_ns(&mut self.random.net) + lag_ns;
        self.schedule(delay, Action::Connect(end));
        end
    }

    /// Whether packets from one end's machine to the other's do not get through.
    fn walled(&self, from: Owner, to: Owner) -> bool {
        let (Owner::Core(from), Owner::Core(to)) = (from, to) else { return false };
        self.net.walls.contains(&(self.cores[from].host, self.cores[to].host))
    }

    /// A connection attempt reaches the listener, or nobody.
    pub(crate) fn connect_arrives(&mut self, id: u64) {
        let Some(end) = self.net.ends.get(&id).filter(|end| !end.closed) else { return };
        let (owner, port, token) = (end.owner, end.peer_addr.port(), end.connect_token);
        let there = self.net.ports.get(&port).filter(|port| port.held_until_ns.is_none());
        let there = there.map(|port| (port.core, port.accepting));
        // A handshake needs both directions.
        let walled = there.is_some_and(|(core, _)| {
            self.walled(owner, Owner::Core(core)) || self.walled(Owner::Core(core), owner)
        });
        let Some((core, accepting)) = there.filter(|_| !walled) else {
            let error = Errno(if walled { libc::ETIMEDOUT } else { libc::ECONNREFUSED });
            self.connect_failed(
                id,
                owner,
                token,
                if walled { CONNECT_TIMEOUT_NS } else { 0 },
                error,
            );
            return;
        };
        let accepted = self.serial();
        let own_addr = loopback(40_000 + (id % 20_000) as u16);
        let mut other = End::new(Owner::Core(core), own_addr, token);
        other.peer = Some(id);
        self.net.ends.insert(accepted, other);
        if let Some(end) = self.net.ends.get_mut(&id) {
            end.peer = Some(accepted);
        }
        match owner {
            Owner::Core(core) => {
                let socket = self.socket_slot(core, id);
                let event = Event::Connected { token, result: Ok(socket) };
                let delay = delay_ns(&mut self.random.net);
                self.schedule(delay, Action::Ready(core, Ready { end: None, event }));
            }
            Owner::Outside => self.outside_touched = true,
        }
        match accepting {
            Some(token) => self.accepted(core, token, accepted),
            None => {
                if let Some(port) = self.net.ports.get_mut(&port) {
                    port.backlog.push_back(accepted);
                }
            }
        }
        self.pump(id);
    }

    fn connect_failed(&mut self, id: u64, owner: Owner, token: Token, wait_ns: u64, error: Errno) {
        self.net.ends.remove(&id);
        match owner {
            Owner::Core(core) => {
                let event = Event::Connected { token, result: Err(error) };
                self.schedule(wait_ns, Action::Ready(core, Ready { end: None, event }));
            }
            Owner::Outside => self.outside_touched = true,
        }
    }

    /// As [`crate::Driver::peer`].
    pub(crate) fn peer(&self, core: usize, socket: Socket) -> Option<SocketAddr> {
        self.net.ends.get(&self.end_of(core, socket)?).map(|end| end.peer_addr)
    }
}

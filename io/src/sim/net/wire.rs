//! Bytes of simulated connections: onto the wire, off it, to whoever asked, and the ends of it all.
//!
//! A child of the file that declares connections and listeners. What leaves an end is cut into
//! pieces; what arrives waits until it is asked for, and counts against the window until then.
//! Invariant: a closed end hands out nothing, and its unread bytes turn into a reset.

use super::{End, Outbox, Owner, PIECE_MAX, PORT_HELD_NS, Packet, Receiving, WINDOW, delay_ns};
use crate::buf::Chunk;
use crate::driver::{Errno, Event, ReceiveEnd, Socket, Token};
use crate::sim::random::Random;
use crate::sim::state::{Action, Ready, State};
use crate::sim::world::Death;

fn piece_len(random: &mut Random, most: usize) -> usize {
    let most = most.min(PIECE_MAX);
    if random.coin() { most } else { random.size(1..most + 1) }
}

/// Bytes on their way.
impl State {
    /// Queues bytes to send. A driver sends one buffer at a time; the test may add to its own.
    pub(crate) fn send(&mut self, id: u64, buf: Vec<u8>, token: Option<Token>) {
        let Some(end) = self.net.ends.get_mut(&id) else { return };
        match (&mut end.outbox, token) {
            (Some(outbox), None) => outbox.buf.extend_from_slice(&buf),
            (busy, token) => {
                assert!(busy.is_none(), "one send at a time per socket");
                *busy = Some(Outbox { buf, done: 0, token });
            }
        }
        self.pump(id);
    }

    /// Moves bytes of an end's outbox onto the wire as far as the peer's window allows.
    pub(super) fn pump(&mut self, id: u64) {
        let Some(end) = self.net.ends.get_mut(&id) else { return };
        let failed = matches!(end.ended, Some(ReceiveEnd::Failed(_)));
        let Some(mut outbox) = end.outbox.take() else { return };
        let Some(peer) = end.peer.filter(|_| !failed && !end.closed) else {
            if failed {
                self.sent(id, outbox, Err(Errno(libc::ECONNRESET)));
            } else {
                end.outbox = Some(outbox);
            }
            return;
        };
        loop {
            let left = outbox.buf.len() - outbox.done;
            let used = self.net.ends.get(&peer).map_or(0, |peer| peer.window_used);
            let room = WINDOW.saturating_sub(used).min(left);
            if room == 0 {
                break;
            }
            let len = piece_len(&mut self.random.net, room);
            let piece = outbox.buf[outbox.done..outbox.done + len].to_vec();
            outbox.done += len;
            self.put_on_wire(peer, Packet::Bytes(piece));
        }
        if outbox.done == outbox.buf.len() {
            self.sent(id, outbox, Ok(()));
        } else if let Some(end) = self.net.ends.get_mut(&id) {
            end.outbox = Some(outbox);
        }
    }

    fn sent(&mut self, id: u64, outbox: Outbox, result: Result<(), Errno>) {
        let Some(end) = self.net.ends.get(&id) else { return };
        let (owner, peer, fin) = (end.owner, end.peer, end.fin_after);
        if let (Owner::Core(core), Some(token)) = (owner, outbox.token) {
            let mut buf = outbox.buf;
            buf.clear();
            let delay = self.random.net.range(1_000..20_000);
            let event = Event::Sent { token, buf, result };
            self.schedule(delay, Action::Ready(core, Ready { end: Some(id), event }));
        }
        if let Some(peer) = peer.filter(|_| fin) {
            self.put_on_wire(peer, Packet::Fin);
        }
    }

    fn put_on_wire(&mut self, to: u64, packet: Packet) {
        let delay = delay_ns(&mut self.random.net);
        let lag_ns = self.net.lag_ns;
        let Some(end) = self.net.ends.get_mut(&to) else { return };
        let due_ns = self.now_ns + delay + if end.owner == Owner::Outside { 0 } else { lag_ns };
        if let Packet::Bytes(bytes) = &packet {
            end.window_used += bytes.len();
        }
        end.wire.push_back(packet);
        end.wire_due_ns = end.wire_due_ns.max(due_ns);
        let due_ns = end.wire_due_ns;
        self.schedule_at(due_ns, Action::Arrive(to));
    }

    /// The next packet on its wire reaches an end.
    pub(crate) fn arrive(&mut self, id: u64) {
        let Some(end) = self.net.ends.get(&id) else { return };
        let (owner, peer) = (end.owner, end.peer);
        let peer_owner = peer.and_then(|peer| self.net.ends.get(&peer)).map(|peer| peer.owner);
        let walled = peer_owner.is_some_and(|other| self.walled(other, owner));
        let Some(end) = self.net.ends.get_mut(&id) else { return };
        if walled {
            end.stalled += 1;
            return;
        }
        match end.wire.pop_front() {
            Some(Packet::Bytes(bytes)) if end.closed => {
                end.window_used -= bytes.len();
                if let Some(peer) = peer {
                    self.reset_wire(peer);
                }
            }
            Some(Packet::Bytes(bytes)) => end.arrived.extend(bytes),
            Some(Packet::Fin) => end.ended = end.ended.or(Some(ReceiveEnd::Eof)),
            Some(Packet::Reset) => {
                end.ended = Some(ReceiveEnd::Failed(Errno(libc::ECONNRESET)));
                self.pump(id);
            }
            None => {}
        }
        self.outside_touched |= owner == Owner::Outside;
        self.feed(id);
    }

    /// Hands what has arrived to whoever asked for it.
    pub(crate) fn feed(&mut self, id: u64) {
        let Some(end) = self.net.ends.get_mut(&id).filter(|end| !end.closed) else { return };
        let Owner::Core(core) = end.owner else { return };
        let (peer, before) = (end.peer, end.arrived.len());
        let mut events = Vec::new();
        match std::mem::take(&mut end.receiving) {
            Receiving::Nothing => {}
            Receiving::Pieces { token, serial } => {
                while !end.arrived.is_empty() {
                    let len = piece_len(&mut self.random.net, end.arrived.len());
                    let chunk = Chunk::from(end.arrived.drain(..len).collect::<Vec<u8>>());
                    events.push(Event::Received { token, chunk });
                }
                match end.ended {
                    Some(why) => events.push(Event::ReceiveEnded { token, end: why }),
                    None => end.receiving = Receiving::Pieces { token, serial },
                }
            }
            Receiving::Exact { token, mut buf, mut need } => {
                let take = need.min(end.arrived.len());
                buf.extend(end.arrived.drain(..take));
                need -= take;
                match end.ended {
                    _ if need == 0 => events.push(Event::Filled { token, buf, result: Ok(()) }),
                    Some(why) => events.push(Event::Filled { token, buf, result: Err(why) }),
                    None => end.receiving = Receiving::Exact { token, buf, need },
                }
            }
        }
        let taken = before - end.arrived.len();
        end.window_used -= taken;
        for event in events {
            self.push_ready(core, Ready { end: Some(id), event });
        }
        if let Some(peer) = peer.filter(|_| taken > 0) {
            self.pump(peer);
        }
    }

    /// As [`crate::Driver::receive`].
    pub(crate) fn receive(&mut self, id: u64, token: Token) {
        let serial = self.serial();
        let Some(end) = self.net.ends.get_mut(&id) else { return };
        assert!(matches!(end.receiving, Receiving::Nothing), "one receive at a time per socket");
        end.receiving = Receiving::Pieces { token, serial };
        self.feed(id);
    }

    /// As [`crate::Driver::receive_exact`].
    pub(crate) fn receive_exact(&mut self, id: u64, buf: Vec<u8>, need: usize, token: Token) {
        assert!(buf.capacity() - buf.len() >= need, "a sized receive needs spare capacity");
        let Some(end) = self.net.ends.get_mut(&id) else { return };
        assert!(matches!(end.receiving, Receiving::Nothing), "one receive at a time per socket");
        end.receiving = Receiving::Exact { token, buf, need };
        self.feed(id);
    }

    /// As [`crate::Driver::receive_stop`].
    pub(crate) fn receive_stop(&mut self, id: u64) {
        let Some(end) = self.net.ends.get(&id) else { return };
        if let Receiving::Pieces { serial, .. } = end.receiving {
            let delay = self.random.net.range(0..30_000);
            self.schedule(delay, Action::StopReceive(id, serial));
        }
    }

    /// A receive that was asked to stop stops.
    pub(crate) fn stop_receive_now(&mut self, id: u64, asked: u64) {
        let Some(end) = self.net.ends.get_mut(&id) else { return };
        let (Owner::Core(core), Receiving::Pieces { token, serial }) = (end.owner, &end.receiving)
        else {
            return;
        };
        if *serial == asked {
            let event = Event::ReceiveEnded { token: *token, end: ReceiveEnd::Stopped };
            end.receiving = Receiving::Nothing;
            self.push_ready(core, Ready { end: Some(id), event });
        }
    }

    /// Takes what has arrived at an outside end.
    pub(crate) fn take_arrived(&mut self, id: u64) -> Vec<u8> {
        let Some(end) = self.net.ends.get_mut(&id).filter(|end| !end.paused) else {
            return Vec::new();
        };
        let bytes: Vec<u8> = end.arrived.drain(..).collect();
        end.window_used -= bytes.len();
        if let Some(peer) = end.peer.filter(|_| !bytes.is_empty()) {
            self.pump(peer);
        }
        bytes
    }
}

/// Ends of connections.
impl State {
    fn reset_wire(&mut self, to: u64) {
        if let Some(end) = self.net.ends.get_mut(&to) {
            let lost: usize = end
                .wire
                .drain(..)
                .map(|packet| if let Packet::Bytes(bytes) = packet { bytes.len() } else { 0 })
                .sum();
            end.window_used -= lost;
        }
        self.put_on_wire(to, Packet::Reset);
    }

    /// Sends the last byte and reads on.
    pub(crate) fn half_close(&mut self, id: u64) {
        let Some(end) = self.net.ends.get_mut(&id).filter(|end| !end.fin_after) else { return };
        end.fin_after = true;
        if end.outbox.is_none() {
            if let Some(peer) = end.peer {
                self.put_on_wire(peer, Packet::Fin);
            } else {
                end.outbox = Some(Outbox { buf: Vec::new(), done: 0, token: None });
            }
        }
    }

    /// Closes an end. Unread bytes turn the farewell into a reset, as on Linux.
    pub(crate) fn close_end(&mut self, id: u64, reset: bool) {
        let Some(end) = self.net.ends.get_mut(&id).filter(|end| !end.closed) else { return };
        end.closed = true;
        let cut_short = end.outbox.take().is_some();
        end.receiving = Receiving::Nothing;
        let reset = reset || !end.arrived.is_empty();
        let fin = !end.fin_after || cut_short;
        end.arrived.clear();
        let peer = end.peer;
        match peer.and_then(|peer| self.net.ends.get(&peer).map(|found| (peer, found.closed))) {
            Some((peer, true)) => {
                self.net.ends.remove(&peer);
                self.net.ends.remove(&id);
            }
            Some((peer, false)) if reset => self.reset_wire(peer),
            Some((peer, false)) if fin => self.put_on_wire(peer, Packet::Fin),
            _ => {}
        }
    }

    /// As [`crate::Driver::close`].
    pub(crate) fn close_socket(&mut self, core: usize, socket: Socket) {
        let Some(end) = self.end_of(core, socket) else { return };
        self.cores[core].sockets[socket.slot as usize].end = None;
        self.close_end(end, false);
        self.cores[core].ready.retain(|ready| ready.end != Some(end));
    }

    /// A driver is gone: its connections end, its ports stay busy for a moment.
    pub(crate) fn drop_connections(&mut self, core: usize, death: Death) {
        for slot in std::mem::take(&mut self.cores[core].sockets) {
            let Some(end) = slot.end else { continue };
            let reset = death == Death::PowerCut || self.random.net.coin();
            self.close_end(end, reset);
        }
        let mine = |end: &End| end.owner == Owner::Core(core) && !end.closed;
        let rest: Vec<u64> =
            self.net.ends.iter().filter(|(_, end)| mine(end)).map(|(id, _)| *id).collect();
        for end in rest {
            self.close_end(end, true);
        }
        for port in std::mem::take(&mut self.cores[core].listeners).into_iter().flatten() {
            let held_ns = self.random.net.range(0..2 * PORT_HELD_NS).saturating_sub(PORT_HELD_NS);
            let held = (death == Death::Kill && held_ns > 0).then_some(self.now_ns + held_ns);
            self.close_port(port, held);
        }
    }

    /// What every packet between machines takes from now on, besides its own delay.
    pub(crate) fn set_lag(&mut self, ns: u64) {
        self.net.lag_ns = ns;
    }

    /// Puts a wall before what one machine sends to another; packets wait behind it.
    pub(crate) fn set_wall(&mut self, from: usize, to: usize) {
        self.net.walls.insert((from, to));
    }

    /// Takes the walls between two machines away; what waited arrives.
    pub(crate) fn clear_walls(&mut self, one: usize, other: usize) {
        self.net.walls.remove(&(one, other));
        self.net.walls.remove(&(other, one));
        let stalled: Vec<(u64, usize)> = self
            .net
            .ends
            .iter_mut()
            .filter(|(_, end)| end.stalled > 0)
            .map(|(id, end)| (*id, std::mem::take(&mut end.stalled)))
            .collect();
        for (end, count) in stalled {
            let delay = delay_ns(&mut self.random.net);
            for _ in 0..count {
                self.schedule(delay, Action::Arrive(end));
            }
        }
    }
}

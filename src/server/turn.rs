//! The loop of one core: everything a shard does happens in a turn of it.
//!
//! A turn takes what the kernel has (bytes, connections, completed writes), handles all of it,
//! hands the log's new blocks to the device, answers whoever waited for a watermark that moved,
//! and sends each connection's replies at once. Run to completion: nothing else runs on the core.
//! Never: a blocking call on behalf of a message; a send per reply.

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;

use weir_io::{Driver, Event, Listener, Socket};
use weir_wire::header::Fields;
use weir_wire::request::sent::SentAnswers;

use super::backlog::{Bounds, Thrift};
use super::changes::Changes;
use super::connection::{ConnId, Connection, Connections, Role};
use super::deferred::KeptList;
use super::drain::Drain;
use super::handlers::send::Patterns;
use super::mail::PostOffice;
use super::naming::NamingDesk;
use super::tokens;
use crate::base::limits::{CONNECTIONS_MAX, IDLE_CLOSE_MS, SEND_BACKLOG_CLOSE, SEND_BACKLOG_PAUSE};
use crate::broker::{Effect, ParkId, PullPlan};
use crate::commitlog;
use crate::shard::{self, Ready, Shard};

/// A turn happens at least this often, so that timers are at most this late.
const TICK_NS: u64 = 50_000_000;
/// A frame must be complete this long after its first byte.
const FRAME_DEADLINE_NS: u64 = 60_000_000_000;

/// One core's server: the driver, the shard, and the connections between them.
#[derive(Debug)]
pub struct Server {
    pub(super) driver: Driver,
    pub(super) shard: Shard,
    pub(super) connections: Connections,
    /// The name server, on shard 0.
    pub(super) naming: Option<NamingDesk>,
    /// The way to the other shards.
    pub(super) post: PostOffice,
    pub(super) listeners: Vec<(Listener, Role)>,
    /// They are accepted on.
    is_open: bool,
    events: Vec<Event>,
    ready: Vec<Ready>,
    pub(super) ids: Vec<ConnId>,
    /// Connections whose frames wait for room in the log, oldest first.
    pub(super) blocked: VecDeque<ConnId>,
    /// How long the connection being handled has waited for room, nanoseconds.
    pub(super) block_wait_ns: u64,
    /// Requests that wait for the disk, and what had been read when they were last looked at.
    pub(super) kept: KeptList,
    pub(super) arrivals_seen: u64,
    /// The request being handled was kept, and is handled once more.
    pub(super) again: bool,
    /// Held pulls that are to be run again.
    pub(super) woken: Vec<ParkId>,
    /// Extents of the pull being answered; kept for its capacity.
    pub(super) plan: PullPlan,
    /// Properties of the message being stored; kept for its capacity.
    pub(super) properties: Vec<u8>,
    /// What the sends of each connection look like.
    pub(super) patterns: Box<Patterns>,
    /// Custom fields of the request being handled.
    pub(super) fields: Option<Box<Fields>>,
    /// How answers to sends are written.
    pub(super) sent_answers: SentAnswers,
    pub(super) changes: Changes,
    pub(super) effects: Vec<Effect>,
    /// Every configuration key and its value, for GET_BROKER_CONFIG.
    pub(super) config_texts: Vec<(&'static str, String)>,
    /// Rung when topics or the role change, for name servers outside.
    ring: Option<SyncSender<()>>,
    /// Numbers of requests to clients.
    pub(super) next_opaque: i32,
    /// Bytes in all inboxes.
    pub(super) assembly_bytes: usize,
    /// What all connections together may hold.
    pub(super) bounds: Bounds,
    /// The connection whose frame is completed although there is no room, so that one is.
    pub(super) first_assembled: Option<ConnId>,
    pub(super) thrift: Thrift,
    /// Monotonic time of this turn.
    pub(super) now_ns: u64,
    /// When the request being handled was received, for pulls.
    pub(super) asked_ns: u64,
    next_tick_ns: u64,
    /// The drain that runs; `draining` stays set behind its end.
    pub(super) drain: Option<Drain>,
    pub(super) draining: bool,
    /// Set when the loop should end.
    stopping: bool,
}

/// Why [`Server::live`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The node said stop.
    Stopped,
    /// The shard's role, or the end of its log, has changed: it is to be opened anew.
    RoleChanged,
}

impl Server {
    /// A server around an opened shard.
    pub fn new(
        driver: Driver,
        shard: Shard,
        naming: Option<NamingDesk>,
        post: PostOffice,
    ) -> Server {
        let now_ns = driver.now_ns();
        let options = shard.broker.options();
        let sent_answers = SentAnswers::new(options.store_host.into(), &options.region);
        Server {
            driver,
            shard,
            connections: Connections::default(),
            naming,
            post,
            listeners: Vec::new(),
            is_open: false,
            events: Vec::with_capacity(1024),
            ready: Vec::with_capacity(1024),
            ids: Vec::new(),
            blocked: VecDeque::new(),
            block_wait_ns: 0,
            kept: KeptList::default(),
            arrivals_seen: 0,
            again: false,
            woken: Vec::new(),
            plan: PullPlan::default(),
            properties: Vec::new(),
            patterns: Box::default(),
            fields: None,
            sent_answers,
            changes: Changes::default(),
            effects: Vec::new(),
            config_texts: Vec::new(),
            ring: None,
            next_opaque: 0,
            assembly_bytes: 0,
            bounds: Bounds::default(),
            first_assembled: None,
            thrift: Thrift::default(),
            now_ns,
            asked_ns: now_ns,
            next_tick_ns: now_ns,
            drain: None,
            draining: false,
            stopping: false,
        }
    }

    /// Sets what GET_BROKER_CONFIG answers: every key and its value as text.
    pub fn set_config_texts(&mut self, texts: Vec<(&'static str, String)>) {
        self.config_texts = texts;
    }

    /// Every configuration key and its value, as changed since.
    pub fn config_texts(&self) -> &[(&'static str, String)] {
        &self.config_texts
    }

    /// Sets what is rung when topics or the role change. A ring that nobody has heard yet is as
    /// good as two.
    pub fn set_ring(&mut self, ring: SyncSender<()>) {
        self.ring = Some(ring);
    }

    /// Says that topics or the role changed.
    pub(super) fn ring(&self) {
        if let Some(ring) = &self.ring {
            // Full: it was rung before and not heard yet.
            let _ = ring.try_send(());
        }
    }

    /// Accepts connections of a role on a listener.
    pub fn serve(&mut self, listener: Listener, role_naming: bool) {
        let which = self.listeners.len() as u64;
        self.serve_later(listener, role_naming);
        self.driver.accept(listener, tokens::listen(which));
    }

    /// As [`Server::serve`], from the letter `Open` on; until then connections wait in the kernel.
    pub fn serve_later(&mut self, listener: Listener, role_naming: bool) {
        let role = if role_naming { Role::Naming } else { Role::Broker };
        self.listeners.push((listener, role));
    }

    /// Accepts on every listener. Once: a shard whose role changed before the node had said that
    /// all may open has opened already when it does.
    pub fn open_doors(&mut self) {
        if std::mem::replace(&mut self.is_open, true) {
            return;
        }
        for (which, (listener, _)) in self.listeners.iter().enumerate() {
            self.driver.accept(*listener, tokens::listen(which as u64));
        }
    }

    /// Whether it accepts.
    pub fn are_doors_open(&self) -> bool {
        self.is_open
    }

    /// Takes connections of the other half of the pair on a listener.
    pub fn serve_peers(&mut self, listener: Listener) {
        self.shard.serve_peers(&mut self.driver, listener);
    }

    /// Lets the shard acknowledge as a primary only while `lease` holds.
    pub fn set_lease(&mut self, lease: crate::shard::Lease) {
        self.shard.set_lease(lease);
    }

    /// Runs turns until the node says stop, or the shard's role has changed, and everything
    /// promised is durable.
    pub fn live(&mut self) -> Result<Ended, weir_io::Errno> {
        while !self.stopping && !self.shard.wants_restart() {
            self.turn()?;
        }
        self.shard.close(&mut self.driver)?;
        Ok(if self.stopping { Ended::Stopped } else { Ended::RoleChanged })
    }

    /// As [`Server::live`], for a shard that is one of no pair.
    pub fn run(mut self) -> Result<(), weir_io::Errno> {
        self.live().map(|_| ())
    }

    /// What outlives the shard: the name server and the way to the other shards. Every connection
    /// is closed.
    pub fn into_parts(mut self) -> (Option<NamingDesk>, PostOffice) {
        let mut ids = std::mem::take(&mut self.ids);
        self.connections.ids(&mut ids);
        ids.into_iter().for_each(|id| self.forget(id));
        (self.naming, self.post)
    }

    /// One turn.
    pub fn turn(&mut self) -> Result<(), weir_io::Errno> {
        let mut deadline = self.next_tick_ns;
        if let Some(flush) = self.shard.next_deadline_ns() {
            deadline = deadline.min(flush);
        }
        if let Some(due) = self.next_unblock_ns() {
            deadline = deadline.min(due);
        }
        if self.shard.is_busy() {
            deadline = 0;
        }
        let mut events = std::mem::take(&mut self.events);
        self.driver.wait(deadline, &mut events)?;
        self.now_ns = self.driver.now_ns();
        self.asked_ns = self.now_ns;
        let wall_ms = self.driver.wall_ms();
        self.shard.begin_turn(self.now_ns, wall_ms);
        // Letters first: a client that was told of a change may ask for its route right away.
        self.read_mail();
        self.thrift.events += events.len();
        for event in events.drain(..) {
            self.on_event(event);
        }
        self.events = events;
        if !self.blocked.is_empty() {
            self.unblock();
        }
        self.shard.handled(self.driver.now_ns());
        if self.now_ns >= self.next_tick_ns {
            self.tick();
            self.shard.meter.mark("timers", self.driver.now_ns());
        }
        self.shard.publish_turn(&mut self.driver);
        let early = self.shard.answers_first();
        if early {
            self.send_answers();
            self.shard.meter.mark("replies", self.driver.now_ns());
        }
        self.shard.write_turn(&mut self.driver);
        self.shard.meter.mark("log", self.driver.now_ns());
        if !early {
            self.send_answers();
        }
        self.shard.sent(self.driver.now_ns());
        self.look_at_drain();
        Ok(())
    }

    /// The shard, for tests and the simulator.
    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    /// A turn longer than this is told; 0: never.
    pub fn set_stall_limit_ms(&mut self, limit_ms: u64) {
        self.shard.meter.stall_limit_ns = limit_ms * 1_000_000;
    }

    /// Whether [`Server::run`] would end now, for programs with a loop of their own.
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Ends the loop after this turn.
    pub(super) fn stop(&mut self) {
        self.stopping = true;
    }

    fn on_event(&mut self, event: Event) {
        if event.token().is_some_and(|token| tokens::room(token) == shard::REPLICA_ROOM) {
            return self.shard.on_replica_event(&mut self.driver, event);
        }
        match event {
            Event::Received { token, chunk } => {
                self.on_received(tokens::connection(token), &chunk);
            }
            Event::Sent { token, buf, result } => {
                self.on_sent(tokens::connection(token), buf, result.is_ok());
            }
            Event::Written { token, .. }
            | Event::Synced { token, .. }
            | Event::Chored { token, .. }
            | Event::Read { token, .. } => {
                if tokens::room(token) == commitlog::TOKEN_ROOM {
                    self.shard.on_log_event(&mut self.driver, event);
                } else if tokens::room(token) == shard::TOKEN_ROOM {
                    self.shard.on_file_event(&mut self.driver, event);
                }
            }
            Event::Accepted { token, result } => {
                if let Ok(socket) = result {
                    self.on_accepted((token.0 & 0xFF) as usize, socket);
                }
            }
            Event::ReceiveEnded { token, end } => {
                self.on_receive_ended(tokens::connection(token), end);
            }
            Event::Filled { token, buf, result } => {
                self.on_filled(tokens::connection(token), buf, result);
            }
            Event::Connected { .. } | Event::Woken => {}
        }
    }

    fn on_accepted(&mut self, which: usize, socket: Socket) {
        let Some((_, role)) = self.listeners.get(which).copied() else { return };
        let Some(peer) = self.driver.peer(socket) else {
            return self.driver.close(socket);
        };
        let (now_ns, most) = (self.now_ns, self.bounds.connections);
        let added =
            self.connections.add(most, |id| Connection::new(socket, id, peer, role, now_ns));
        match added {
            Some(id) => self.driver.receive(socket, tokens::receive(id)),
            None => {
                self.driver.close(socket);
                match most < CONNECTIONS_MAX {
                    false => self.complain(peer, &format_args!("all {most} connections are taken")),
                    true => self.complain(
                        peer,
                        &format_args!(
                            "all {most} connections are taken that the limit on open files leaves \
                             (LimitNOFILE=, ulimit -n)"
                        ),
                    ),
                }
            }
        }
    }

    fn on_sent(&mut self, id: ConnId, buf: Vec<u8>, taken: bool) {
        let now_ns = self.now_ns;
        let Some(connection) = self.connections.get(id) else { return };
        connection.sent(buf, now_ns);
        if !taken {
            return self.forget(id);
        }
        let more = !connection.outbox.is_empty() && !connection.listed;
        connection.listed |= more;
        let waiting = !connection.inbox.is_empty() && connection.blocked_ns == 0;
        if more {
            self.connections.dirty.push(id);
        }
        if waiting && !self.is_stuffed(id) {
            self.handle_inbox(id);
        }
        self.steer(id);
    }

    /// Sends what every connection is owed, one send each.
    fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.connections.dirty);
        for id in dirty.drain(..) {
            let Some(connection) = self.connections.get(id) else { continue };
            connection.listed = false;
            let backlog = connection.backlog();
            if connection.sending == 0 && !connection.outbox.is_empty() {
                let buf = connection.take_outbox();
                let socket = connection.socket;
                self.driver.send(socket, buf, tokens::send(id));
            }
            self.connections.weigh(id);
            if backlog > SEND_BACKLOG_CLOSE {
                let limit =
                    format_args!("{backlog} reply bytes are not taken, limit {SEND_BACKLOG_CLOSE}");
                self.close(id, &limit);
            } else if backlog > SEND_BACKLOG_PAUSE {
                self.steer(id);
            }
        }
        if self.connections.dirty.is_empty() {
            self.connections.dirty = dirty;
        }
    }

    /// Answers what can be answered, and sends it on its way.
    fn send_answers(&mut self) {
        self.answer();
        self.post_changes();
        self.flush();
    }

    /// Answers everybody whose watermark has come.
    fn answer(&mut self) {
        let mut ready = std::mem::take(&mut self.ready);
        self.shard.collect_ready(&mut ready);
        for answer in &ready {
            self.deliver(answer);
        }
        ready.clear();
        self.ready = ready;
        self.serve_woken();
    }

    fn tick(&mut self) {
        self.next_tick_ns = self.now_ns + TICK_NS;
        self.shard.tick(&mut self.driver);
        self.tick_naming();
        self.sweep();
        self.save_memory();
        self.look_at_kept();
    }

    /// Closes connections that are idle, or whose frame never ends.
    fn sweep(&mut self) {
        let mut ids = std::mem::take(&mut self.ids);
        self.connections.ids(&mut ids);
        for id in ids.drain(..) {
            let now_ns = self.now_ns;
            let Some(connection) = self.connections.get(id) else { continue };
            let idle = now_ns.saturating_sub(connection.active_ns) > IDLE_CLOSE_MS * 1_000_000;
            let slow = connection.frame_ns != 0
                && connection.blocked_ns == 0
                && now_ns.saturating_sub(connection.frame_ns) > FRAME_DEADLINE_NS;
            if slow {
                self.close(id, &format_args!("a frame took more than 60 s to arrive"));
            } else if idle {
                self.forget(id);
            }
        }
        self.resume_assembly(&mut ids);
        self.ids = ids;
    }

    /// Closes a connection for a reason that is worth a line.
    pub(super) fn close(&mut self, id: ConnId, reason: &std::fmt::Arguments<'_>) {
        if let Some(peer) = self.connections.get(id).map(|connection| connection.peer) {
            self.complain(peer, reason);
            self.forget(id);
        }
    }

    /// Forgets a connection and all that waits for it.
    pub(super) fn forget(&mut self, id: ConnId) {
        let Some(connection) = self.connections.remove(id) else { return };
        self.assembly_bytes = self.assembly_bytes.saturating_sub(connection.assembling());
        self.driver.close(connection.socket);
        match connection.role {
            Role::Broker => self.shard.connection_closed(id.0),
            Role::Naming => self.naming_connection_closed(id),
        }
    }

    /// One line about a peer.
    fn complain(&mut self, peer: std::net::SocketAddr, reason: &std::fmt::Arguments<'_>) {
        self.shard.voice.say("connection-closed", &format_args!("{peer}: {reason}"));
    }
}

//! One shard's half of a pair: its role, its connections, and what an acknowledgement waits for.
//!
//! The shard hands events in, asks at the end of each turn what is to be sent and how far replies
//! may go, and takes blocks out when it is the standby. A change of role is made durable here and
//! takes effect when the process opens the shard anew: there is one way into a role, not two.
//! Never: two standbys; an acknowledgement alone that is not durable as such before; a role changed
//! by anybody but an operator's command or a higher epoch.

use std::net::SocketAddr;
use std::path::Path;

use weir_io::{Driver, Errno, Event, Listener, Socket};

use super::donor::Donor;
use super::epoch::{Entry, after};
use super::fence::Handing;
use super::floor::Floor;
use super::frame::{Kind, PLEDGE_ALWAYS, PLEDGE_WITNESSED, word};
use super::greet::Stranger;
use super::handshake::{self, Hello, Policy};
use super::lease::Licence;
use super::link::{
    self, KIND_ACCEPT, KIND_COLD, KIND_CONNECT, KIND_HELP, KIND_MEND_READ, KIND_MEND_WRITE, Link,
    token,
};
use super::mender::Mender;
use super::notes::{Note, Notes};
use super::options::{ReplicaOptions, Role};
use super::receiver::{Phase, Receiver};
use super::sender::Sender;
use super::standing::{Rules, Seen, Standing};
use super::state::StateFile;
use crate::base::limits::{HA_BEAT_MS, HA_STRANGERS_MAX};
use crate::commitlog::Log;

/// One shard's half of a pair.
#[derive(Debug)]
pub struct Pair {
    pub(super) options: ReplicaOptions,
    pub(super) role: Role,
    pub(super) file: StateFile,
    pub(super) strangers: Vec<Stranger>,
    /// Links that are to be closed when what they were told is sent, or then.
    pub(super) closing: Vec<(Link, u64)>,
    pub(super) sender: Option<Sender>,
    pub(super) receiver: Receiver,
    pub(super) standing: Standing,
    /// The standby holds everything below.
    pub(super) replicated: u64,
    floor: Floor,
    /// A peer that came for blocks.
    pub(super) donor: Option<Donor>,
    pub(super) mender: Mender,
    /// Consumers were shown everything below while that was not bound to the standby.
    pub(super) shown: u64,
    /// The standby is to hear of another policy.
    pub(super) tell_anew: bool,
    /// A standby was given the pledge since the start, and has not agreed to go without.
    pub(super) pledged: bool,
    pub(super) ids: u64,
    nonces: u64,
    pub(super) notes: Notes,
    pub(super) restart: bool,
    /// How far a planned change of roles has come.
    pub(super) handing: Handing,
    /// The other half is asked whether it took over, until then (nanoseconds; 0: it is not).
    pub(super) asking_until_ns: u64,
    /// Leave to acknowledge, where a majority outside decides who is the primary.
    pub(super) licence: Option<Licence>,
}

impl Pair {
    /// The half of the shard in `dir`, before its log is opened.
    pub fn open(driver: &mut Driver, dir: &Path, options: ReplicaOptions) -> Result<Pair, Errno> {
        let node = handshake::fresh_node(&options.seed);
        let file = StateFile::open(driver, dir, node)?;
        let (floor, replicated) = Floor::open(driver, dir)?;
        let role = file.state.role.unwrap_or(options.role);
        Ok(Pair {
            options,
            role,
            file,
            strangers: Vec::new(),
            closing: Vec::new(),
            sender: None,
            receiver: Receiver::new(),
            standing: Standing::Async,
            replicated,
            floor,
            donor: None,
            mender: Mender::new(),
            shown: 0,
            tell_anew: false,
            pledged: false,
            ids: 0,
            nonces: 0,
            notes: Notes::default(),
            restart: false,
            handing: Handing::No,
            asking_until_ns: 0,
            licence: None,
        })
    }

    /// The log is open: a primary begins its epoch, durable before it writes.
    pub fn begin(&mut self, driver: &mut Driver, log: &mut Log) -> Result<(), Errno> {
        let end = log.watermarks().appended;
        self.replicated = self.replicated.min(end);
        if self.options.role != self.role {
            let text = format!(
                "the configuration says {}, a promotion made this node the {}; that stands",
                self.options.role.word(),
                self.role.word()
            );
            self.notes.say("replica-role", text);
        }
        if self.role == Role::Standby {
            return Ok(());
        }
        let state = &mut self.file.state;
        if state.epochs.entries().is_empty() && end > 0 {
            state.epochs.begin(Entry { epoch: 0, start: 0, promoted: false, node: state.node });
        }
        // What was here when this node was promoted came from the other one.
        let promoted = state.epochs.entries().iter().rev().find(|entry| entry.promoted);
        self.replicated = self.replicated.max(promoted.map_or(0, |entry| entry.start));
        let epoch = after(state.epochs.current(), false);
        state.epochs.begin(Entry { epoch, start: end, promoted: false, node: state.node });
        // What the pledge spoke of was another primary's.
        state.pledge = None;
        self.file.save(driver)?;
        log.set_epoch(epoch);
        if self.options.sync {
            self.standing = Standing::Away { since_ns: driver.now_ns(), goal: end };
        }
        self.begin_asking(driver);
        Ok(())
    }

    /// Position that the log is to be cut at before it is opened, and where what leaves it is kept.
    pub fn cut(&self, dir: &Path) -> Option<(u64, std::path::PathBuf)> {
        let position = self.file.state.cut?;
        let name = format!("cut-at-{position}-epoch-{}", self.file.state.epochs.current());
        Some((position, dir.join("lost+found").join(name)))
    }

    /// The log was cut and ends at `end` now.
    pub fn was_cut(&mut self, driver: &mut Driver, end: u64, text: String) -> Result<(), Errno> {
        self.file.state.epochs.cut(end);
        self.file.state.cut = None;
        self.notes.say("replica-cut", text);
        self.file.save(driver)
    }

    /// Takes connections of peers from now on.
    pub fn listen(&self, driver: &mut Driver, listener: Listener) {
        driver.accept(listener, token(KIND_ACCEPT, 0));
    }

    /// What the node is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// What was configured.
    pub fn options(&self) -> &ReplicaOptions {
        &self.options
    }

    /// Lines to be said.
    pub fn take_notes(&mut self) -> Vec<Note> {
        self.notes.take()
    }

    /// Whether the shard is to be opened anew: its role, or the end of its log, has changed.
    pub fn wants_restart(&self) -> bool {
        self.restart
    }

    /// An event of the pair's room.
    pub fn on_event(&mut self, driver: &mut Driver, log: &mut Log, event: Event) {
        let (kind, id) = event.token().map_or((0, 0), link::split);
        if [KIND_MEND_READ, KIND_MEND_WRITE].contains(&kind) {
            return self.mender_event(driver, log, event);
        }
        if self.mender.fetcher.is(id) || (kind == KIND_CONNECT && self.mender.fetcher.dials(id)) {
            return self.mender.fetcher.on_event(driver, event);
        }
        match event {
            Event::Accepted { result: Ok(socket), .. } => self.accepted(driver, socket),
            Event::Connected { token, result } => {
                let attempt = link::split(token).1;
                if self.receiver.connected(driver, attempt, result) {
                    self.say_hello(driver, log);
                }
            }
            Event::Received { token, chunk } => {
                let id = link::split(token).1;
                if let Some(link) = self.link(id) {
                    link.received(driver, &chunk);
                    drop(chunk);
                    self.read(driver, log, id);
                }
            }
            Event::ReceiveEnded { token, end } => {
                let id = link::split(token).1;
                if self.link(id).is_some_and(|link| !link.receive_ended(driver, end)) {
                    self.lost(driver, id, "the connection ended");
                }
            }
            Event::Sent { token, buf, result } => {
                let id = link::split(token).1;
                if self.link(id).is_some_and(|link| !link.sent(buf, result.is_ok())) {
                    self.lost(driver, id, "the connection broke");
                }
            }
            Event::Read { token, buf, result } if link::split(token).0 == KIND_COLD => {
                let id = link::split(token).1;
                let sender = self.sender.as_mut().filter(|sender| sender.link.id == id);
                if let Some(Err(why)) = sender.map(|sender| sender.arrived(log, buf, result)) {
                    self.refuse_standby(driver, &why);
                }
            }
            Event::Read { buf, result, .. } if kind == KIND_HELP => {
                let donor = self.donor.as_mut().filter(|donor| donor.link.id == id);
                if let Some(damage) = donor.and_then(|h| h.arrived(driver, log, buf, result)) {
                    log.note_damage(damage);
                    self.notes.say("log-damaged", damage.to_string());
                    self.heal(damage);
                }
                self.read(driver, log, id);
            }
            Event::Written { buf, .. } => self.floor.landed(buf),
            _ => {}
        }
    }

    /// What is to be sent and acknowledged, after the turn's blocks went to the device.
    pub fn end_turn(&mut self, driver: &mut Driver, log: &Log) {
        if self.role == Role::Standby {
            return self.receiver.acknowledge(driver, log);
        }
        let rate = self.options.catch_up_bytes;
        if let Some(sender) = &mut self.sender {
            let held = if self.options.ack_durable { sender.durable } else { sender.received };
            self.replicated = self.replicated.max(held.min(log.watermarks().appended));
            if let Err(why) = sender.push(driver, log, rate) {
                self.refuse_standby(driver, &why);
            }
        }
        self.look_at_lease(driver);
        self.look(driver, log);
        self.hand_over(driver, log);
        if self.options.sync && self.options.refuse {
            self.floor.note(driver, self.replicated);
        }
    }

    /// Time-outs and new attempts; a turn of every few tens of milliseconds is soon enough.
    pub fn tick(&mut self, driver: &mut Driver, log: &mut Log) {
        let now_ns = driver.now_ns();
        let patience_ns = self.patience_ns();
        self.strangers.iter_mut().for_each(|stranger| stranger.link.flush(driver));
        for at in (0..self.strangers.len()).rev() {
            if now_ns > self.strangers[at].until_ns {
                let stranger = self.strangers.swap_remove(at);
                let text = format!("{} said nothing in time", stranger.link.peer);
                self.notes.say("replica-refused", text);
                stranger.link.close(driver);
            }
        }
        for at in (0..self.closing.len()).rev() {
            self.closing[at].0.flush(driver);
            if self.closing[at].0.is_drained() || now_ns > self.closing[at].1 {
                self.closing.swap_remove(at).0.close(driver);
            }
        }
        let silent = self
            .sender
            .as_ref()
            .filter(|sender| now_ns.saturating_sub(sender.link.heard_ns) > patience_ns);
        if let Some(id) = silent.map(|sender| sender.link.id) {
            self.lost(driver, id, "it went silent");
        }
        if let Some(why) = self.receiver.overdue(now_ns, patience_ns) {
            self.part(driver, why);
        }
        if let Some(donor) = self.donor.take_if(|donor| donor.is_idle(now_ns)) {
            donor.link.close(driver);
        }
        self.tick_mender(driver, log);
        self.tick_policy(driver);
        self.tick_asking(driver);
        let addr = match self.role {
            // What it says of itself there must hold: what is on its way to the device lands first.
            Role::Standby if log.held() < log.watermarks().appended => None,
            Role::Standby => self.primary_address(),
            Role::Primary => self.peer_to_ask(),
        };
        let addr = addr.filter(|_| !self.restart && log.fenced().is_none());
        self.ids += 1;
        if !self.receiver.dial(driver, addr, self.ids) {
            self.ids -= 1;
        }
    }

    /// Frames of a link that is no stream of blocks to us.
    fn read(&mut self, driver: &mut Driver, log: &mut Log, id: u64) {
        if self.receiver.is(id) {
            if self.receiver.phase != Phase::Following {
                self.greet_primary(driver, log);
            }
        } else if self.sender.as_ref().is_some_and(|sender| sender.link.id == id) {
            if let Err(why) = self.read_acknowledgements(driver) {
                self.refuse_standby(driver, &why);
            }
        } else if let Some(donor) = self.donor.as_mut().filter(|donor| donor.link.id == id) {
            if let Err(why) = donor.read(driver, log) {
                self.lost(driver, id, &why);
            }
        } else {
            self.read_stranger(driver, log, id);
        }
    }

    fn read_acknowledgements(&mut self, driver: &mut Driver) -> Result<(), String> {
        let Some(sender) = &mut self.sender else { return Ok(()) };
        let was_well = sender.failed == 0;
        while let Some((frame, len)) = sender.link.front().map_err(|fault| fault.to_string())? {
            let (kind, epoch, value) = (frame.kind, frame.epoch, frame.value);
            let words = (word(frame.payload, 0), word(frame.payload, 8));
            if kind != Kind::Ack {
                return Err(format!("an unexpected frame ({kind:?})"));
            }
            sender.acknowledged(epoch, value, words)?;
            sender.link.take(driver, len);
        }
        if was_well && sender.failed != 0 {
            let text = format!(
                "the standby's log failed with error {}; it holds nothing more and cannot be \
                 promoted: repair its device and restart it",
                sender.failed
            );
            self.notes.say("replica-standby-failed", text);
        }
        Ok(())
    }

    /// Looks how the primary stands with its standby, and does what a change asks for.
    fn look(&mut self, driver: &mut Driver, log: &Log) {
        let appended = log.watermarks().appended;
        let gap = self.options.max_gap_bytes;
        let near = self.sender.as_ref().is_some_and(|sender| sender.is_near(appended, gap));
        let seen = Seen { near, replicated: self.replicated, appended, now_ns: driver.now_ns() };
        let patience_ns = self.patience_for_standby_ns();
        let rules = Rules { refuse: self.options.refuse, patience_ns };
        let next = self.standing.next(rules, seen);
        if next == self.standing {
            return;
        }
        match next {
            Standing::Alone if !self.may_go_alone(log) || !self.go_alone(driver) => return,
            Standing::InStep if !self.back_in_step(driver) => return,
            Standing::Away { goal, .. } if self.standing == Standing::InStep => {
                let rest = if self.options.refuse { "sends are refused" } else { "sends wait" };
                let text = format!(
                    "no standby is in step any more; it holds the log up to {} of {goal}; {rest}",
                    self.replicated
                );
                self.notes.say("replica-lost", text);
            }
            _ => {}
        }
        self.standing = next;
    }

    /// Makes durable that acknowledgements are given alone from here on.
    fn go_alone(&mut self, driver: &mut Driver) -> bool {
        let (position, epoch) = (self.replicated, self.file.state.epochs.current());
        self.file.state.alone = Some((position, epoch));
        if let Err(errno) = self.file.save(driver) {
            let text = format!("cannot note that this node goes on alone: {errno}");
            self.notes.say("replica-state-failed", text);
            return false;
        }
        let text = format!(
            "going on alone since position {position}, epoch {epoch} (standbyLost=degrade): what \
             is acknowledged now is on this box only{}",
            self.doubt_of_pledge()
        );
        self.notes.say("replica-alone", text);
        true
    }

    fn back_in_step(&mut self, driver: &mut Driver) -> bool {
        if self.file.state.alone.take().is_some()
            && let Err(errno) = self.file.save(driver)
        {
            let text = format!("cannot note that the standby is back: {errno}");
            self.notes.say("replica-state-failed", text);
            return false;
        }
        let (epoch, pledges) = (self.file.state.epochs.current(), self.pledges());
        let Some(sender) = &mut self.sender else { return false };
        if pledges {
            let word = if self.options.refuse { PLEDGE_ALWAYS } else { PLEDGE_WITNESSED };
            sender.link.put(Kind::Pledge, epoch, self.replicated, &[&word]);
            sender.link.flush(driver);
            self.pledged |= self.options.refuse;
        }
        let text = format!("the standby is in step at position {}", self.replicated);
        self.notes.say("replica-in-sync", text);
        true
    }

    fn accepted(&mut self, driver: &mut Driver, socket: Socket) {
        if self.strangers.len() >= HA_STRANGERS_MAX {
            return driver.close(socket);
        }
        self.ids += 1;
        self.strangers.extend(Stranger::new(driver, socket, self.ids));
    }

    pub(super) fn link(&mut self, id: u64) -> Option<&mut Link> {
        let strangers = self.strangers.iter_mut().map(|stranger| &mut stranger.link);
        let closing = self.closing.iter_mut().map(|(link, _)| link);
        let sender = self.sender.iter_mut().map(|sender| &mut sender.link);
        let donor = self.donor.iter_mut().map(|donor| &mut donor.link);
        let all = strangers.chain(closing).chain(sender).chain(donor);
        let all = all.chain(self.receiver.link.as_mut());
        all.into_iter().find(|link| link.id == id)
    }

    /// A connection is gone.
    pub(super) fn lost(&mut self, driver: &mut Driver, id: u64, why: &str) {
        if self.receiver.is(id) {
            return self.part(driver, why);
        }
        if let Some(sender) = self.sender.take_if(|sender| sender.link.id == id) {
            let text = format!("the standby {} is gone: {why}", sender.link.peer);
            self.notes.say("replica-disconnected", text);
            return sender.link.close(driver);
        }
        if let Some(at) = self.strangers.iter().position(|stranger| stranger.link.id == id) {
            self.strangers.swap_remove(at).link.close(driver);
        }
        if let Some(donor) = self.donor.take_if(|donor| donor.link.id == id) {
            donor.link.close(driver);
        }
        if let Some(at) = self.closing.iter().position(|(link, _)| link.id == id) {
            self.closing.swap_remove(at).0.close(driver);
        }
    }

    /// The standby gives its primary up, and tries again.
    pub(super) fn part(&mut self, driver: &mut Driver, why: &str) {
        if self.receiver.phase == Phase::Following {
            let dialed = self.receiver.dialed.map_or(String::new(), |addr| addr.to_string());
            self.notes.say("replica-disconnected", format!("the primary {dialed} is gone: {why}"));
        }
        self.receiver.part(driver);
    }

    /// The primary sends its standby away, and says why to both.
    fn refuse_standby(&mut self, driver: &mut Driver, why: &str) {
        let Some(sender) = self.sender.take() else { return };
        self.refuse(driver, sender.link, why);
    }

    pub(super) fn primary_address(&self) -> Option<SocketAddr> {
        let learned = self.file.state.peer.map(|(_, addr)| addr);
        match self.file.state.role {
            // A promotion turned the pair round: the other half is where it was last.
            Some(Role::Standby) => learned.or(self.options.primary),
            _ => self.options.primary.or(learned),
        }
    }

    fn patience_ns(&self) -> u64 {
        self.options.slave_timeout_ms.max(4 * HA_BEAT_MS) * 1_000_000
    }

    /// What this node says of itself.
    pub(super) fn hello(&mut self, driver: &Driver, log: &Log) -> Hello {
        let end = match self.role {
            Role::Primary => log.watermarks().appended,
            Role::Standby => log.held(),
        };
        let segments = (log.min_segment(), log.segment_bytes());
        let span = (log.min_position(), end);
        Hello { segments, ..self.hello_of(driver, log.log_id(), span) }
    }

    /// What it says while its log, whose identity and span these are, may not be open.
    pub(super) fn hello_of(&mut self, driver: &Driver, log_id: u64, span: (u64, u64)) -> Hello {
        self.nonces += 1;
        Hello {
            role: self.role,
            shard: (self.options.shard, self.options.shards),
            node: self.file.state.node,
            log_id,
            span,
            segments: (0, 0),
            ha_port: self.options.ha_port,
            policy: Policy {
                sync: self.options.sync,
                refuse: self.options.refuse,
                durable: self.options.ack_durable,
            },
            reads: self.options.reads,
            heals: false,
            nonce: handshake::nonce(&self.options.seed, self.nonces),
            wall_ms: driver.wall_ms(),
            epochs: self.file.state.epochs.clone(),
            cluster: self.options.cluster.clone(),
            broker: self.options.broker.clone(),
            client: self.options.client.clone(),
        }
    }

    /// Ends everything, so that the shard can be opened anew.
    pub fn close(&mut self, driver: &mut Driver) {
        let links = self.strangers.drain(..).map(|stranger| stranger.link);
        let links = links.chain(self.closing.drain(..).map(|(link, _)| link));
        let links = links.chain(self.donor.take().map(|donor| donor.link));
        links.chain(self.sender.take().map(|s| s.link)).for_each(|link| link.close(driver));
        self.receiver.part(driver);
        self.mender.fetcher.part(driver);
        self.file.close(driver);
    }
}

//! The handshake as both sides live it: from an opened connection to a stream of blocks, or to a
//! reason that both log.
//!
//! The standby speaks first; the primary proves itself before the standby does, and only then is
//! anything compared that could tell a stranger something. Where two logs part is decided from the
//! epoch lists: the primary says where to follow from, the standby cuts, and keeps what it cuts.
//! Never: a cut of what a primary lost by itself; a log of another history touched.

use weir_io::{Driver, Socket};

use super::donor::Donor;
use super::epoch::term;
use super::frame::Kind;
use super::handshake::{Hello, judge, proof, proves};
use super::link::Link;
use super::options::Role;
use super::pair::Pair;
use super::receiver::Phase;
use super::sender::Sender;
use crate::base::limits::HA_HANDSHAKE_MS;
use crate::commitlog::Log;

/// The side of a proof.
pub(super) const STANDBY: &[u8] = b"standby";
/// See [`STANDBY`].
pub(super) const PRIMARY: &[u8] = b"primary";
/// What is said to a peer whose proof is wrong.
pub(super) const WRONG_SECRET: &str =
    "the other side does not know the secret: set the same haSecret on both boxes";

/// A connection that has not proved who it is.
#[derive(Debug)]
pub(super) struct Stranger {
    pub(super) link: Link,
    /// It must have done so by then, nanoseconds.
    pub(super) until_ns: u64,
    own: Vec<u8>,
    peer: Option<(Hello, Vec<u8>)>,
}

impl Stranger {
    /// A connection that was just accepted.
    pub(super) fn new(driver: &mut Driver, socket: Socket, id: u64) -> Option<Stranger> {
        let until_ns = driver.now_ns() + HA_HANDSHAKE_MS * 1_000_000;
        Link::new(driver, socket, id).map(|link| Stranger {
            link,
            until_ns,
            own: Vec::new(),
            peer: None,
        })
    }
}

/// What a stranger's frame led to.
enum Said {
    /// Not whole yet.
    Nothing,
    /// Its hello was answered.
    Greeted,
    /// It proved itself.
    Proved,
}

/// The primary.
impl Pair {
    /// Frames of a connection that has not proved who it is.
    pub(super) fn read_stranger(&mut self, driver: &mut Driver, log: &mut Log, id: u64) {
        let Some(at) = self.strangers.iter().position(|stranger| stranger.link.id == id) else {
            return;
        };
        loop {
            let own = self.hello(driver, log).encode();
            let epoch = self.file.state.epochs.current();
            let secret = &self.options.secret;
            let Some(stranger) = self.strangers.get_mut(at) else { return };
            match stranger.said(driver, own, epoch, secret) {
                Ok(Said::Nothing) => return,
                Ok(Said::Greeted) => {}
                Ok(Said::Proved) => return self.admit(driver, log, at),
                Err(why) => {
                    let stranger = self.strangers.swap_remove(at);
                    return self.refuse(driver, stranger.link, &why);
                }
            }
        }
    }

    /// A peer that knows the secret: may it follow?
    fn admit(&mut self, driver: &mut Driver, log: &Log, at: usize) {
        let stranger = self.strangers.swap_remove(at);
        let Some((hello, _)) = stranger.peer else { return stranger.link.close(driver) };
        if let Err(why) = judge(&self.options, self.file.state.node, &hello) {
            return self.refuse(driver, stranger.link, &why);
        }
        if hello.heals {
            return self.help(driver, log, stranger.link, &hello);
        }
        if hello.role == Role::Primary {
            return self.meet(driver, stranger.link, &hello);
        }
        if self.role == Role::Standby {
            let why = "both are standbys: weir promote makes one of them the primary";
            return self.refuse(driver, stranger.link, why);
        }
        let from = match self.follow_from(log, &hello) {
            Ok(from) => from,
            Err(why) => return self.refuse(driver, stranger.link, &why),
        };
        if let Some(before) = self.sender.take() {
            // The same node came again before its old connection was known to be dead.
            before.link.close(driver);
        }
        let mut link = stranger.link;
        let mut addr = link.peer;
        addr.set_port(hello.ha_port);
        let peer = Some((hello.node, addr));
        if self.file.state.peer != peer {
            self.file.state.peer = peer;
            if let Err(errno) = self.file.save(driver) {
                return self.refuse(driver, link, &format!("its name cannot be kept: {errno}"));
            }
        }
        self.pledged &= self.options.refuse;
        // One that follows has not taken over.
        self.asking_until_ns = 0;
        let (epoch, end) = (self.file.state.epochs.current(), log.watermarks().appended);
        link.put(Kind::Accept, epoch, from, &[]);
        link.flush(driver);
        let apart_ms = (hello.wall_ms - driver.wall_ms()).abs();
        let text = format!(
            "standby {} (node {:016x}) follows from position {from}, {} bytes behind; clocks {} ms \
             apart",
            link.peer,
            hello.node,
            end.saturating_sub(from),
            apart_ms
        );
        self.notes.say("replica-connected", text);
        self.sender = Some(Sender::new(link, &hello, epoch, from, end));
    }

    /// A peer lost blocks to damage: it gets them, as far as both logs have the same history.
    fn help(&mut self, driver: &mut Driver, log: &Log, mut link: Link, hello: &Hello) {
        let end = log.watermarks().appended;
        let own = &self.file.state.epochs;
        let common = own.common(end, &hello.epochs, hello.span.1);
        let Some(common) = common.filter(|_| hello.log_id == log.log_id()) else {
            return self.refuse(driver, link, "the logs have no history in common");
        };
        link.put(Kind::Accept, own.current(), common, &[]);
        link.flush(driver);
        if let Some(before) = self.donor.replace(Donor::new(link, common)) {
            before.link.close(driver);
        }
    }

    /// Position that a peer is to follow from, or why it cannot.
    fn follow_from(&self, log: &Log, hello: &Hello) -> Result<u64, String> {
        if let Some(sender) = self.sender.as_ref().filter(|sender| sender.node != hello.node) {
            return Err(format!(
                "this primary has a standby already: {} (node {:016x}); a pair has one",
                sender.link.peer, sender.node
            ));
        }
        let (min, end) = (log.min_position(), log.watermarks().appended);
        if hello.is_empty() {
            return Ok(min);
        }
        if hello.log_id != log.log_id() {
            return Err(format!(
                "the standby holds another history (log {:016x}, here {:016x}): give it an empty \
                 data directory, and keep the old one",
                hello.log_id,
                log.log_id()
            ));
        }
        let own = &self.file.state.epochs;
        if hello.epochs.current() > own.current() {
            return Err(format!(
                "the standby has seen epoch {}, this primary is of epoch {}: another primary came \
                 after it; start this node as standby",
                hello.epochs.current(),
                own.current()
            ));
        }
        let Some(from) = own.common(end, &hello.epochs, hello.span.1) else {
            return Err("the logs have no epoch in common: give the standby an empty data \
                        directory"
                .into());
        };
        // A primary of a newer term came by a promotion that knew what it left behind; one of the
        // same term only lost something.
        if from < hello.span.1 && term(own.current()) <= term(hello.epochs.current()) {
            return Err(format!(
                "the standby holds positions {from} to {} that this primary lost in a crash: \
                 promote the standby (weir promote), and start this node as standby",
                hello.span.1
            ));
        }
        if from < min {
            return Err(format!(
                "the standby stands at position {from}, and this log begins at {min}: retention \
                 has passed it; give it an empty data directory"
            ));
        }
        Ok(from)
    }

    /// Sends a peer away; both sides log why.
    pub(super) fn refuse(&mut self, driver: &mut Driver, mut link: Link, why: &str) {
        let text = format!("{}: {why}", link.peer);
        self.notes.say("replica-refused", text);
        let epoch = self.file.state.epochs.current();
        link.put(Kind::Refuse, epoch, 0, &[why.as_bytes()]);
        link.flush(driver);
        self.closing.push((link, driver.now_ns() + HA_HANDSHAKE_MS * 1_000_000));
    }
}

impl Stranger {
    fn said(
        &mut self,
        driver: &mut Driver,
        own: Vec<u8>,
        epoch: u64,
        secret: &[u8],
    ) -> Result<Said, String> {
        let Some((frame, len)) = self.link.front().map_err(|fault| fault.to_string())? else {
            return Ok(Said::Nothing);
        };
        let said = match (frame.kind, &self.peer) {
            (Kind::Hello, None) => {
                let hello = Hello::decode(frame.payload).ok_or("a malformed hello")?;
                let theirs = frame.payload.to_vec();
                let proof = proof(secret, PRIMARY, (&theirs, &own));
                self.link.put(Kind::Hello, epoch, 0, &[&own]);
                self.link.put(Kind::Proof, epoch, 0, &[&proof]);
                self.own = own;
                self.peer = Some((hello, theirs));
                Said::Greeted
            }
            (Kind::Proof, Some((_, theirs))) => {
                if !proves(secret, STANDBY, (theirs, &self.own), frame.payload) {
                    return Err(WRONG_SECRET.into());
                }
                Said::Proved
            }
            (Kind::Refuse, _) => return Err(String::from_utf8_lossy(frame.payload).into_owned()),
            (kind, _) => return Err(format!("an unexpected frame ({kind:?})")),
        };
        self.link.take(driver, len);
        self.link.flush(driver);
        Ok(said)
    }
}

/// The standby.
impl Pair {
    /// The connection to the primary is open.
    pub(super) fn say_hello(&mut self, driver: &mut Driver, log: &Log) {
        let own = self.hello(driver, log).encode();
        let epoch = self.file.state.epochs.current();
        if let Some(link) = &mut self.receiver.link {
            link.put(Kind::Hello, epoch, 0, &[&own]);
            link.flush(driver);
        }
        self.receiver.own = own;
    }

    /// Frames before the stream of blocks.
    pub(super) fn greet_primary(&mut self, driver: &mut Driver, log: &mut Log) {
        while self.receiver.phase != Phase::Following {
            match self.greeted(driver, log) {
                Ok(true) => {}
                Ok(false) => return,
                Err(Parting::Told(why)) => {
                    self.notes.say("replica-refused", format!("by the primary: {why}"));
                    return self.receiver.part(driver);
                }
                Err(Parting::Ours(why)) => {
                    match self.receiver.link.take() {
                        Some(link) => self.refuse(driver, link, &why),
                        None => self.notes.say("replica-refused", why),
                    }
                    return self.receiver.part(driver);
                }
            }
        }
    }

    /// Handles one frame; `false`: none is whole.
    fn greeted(&mut self, driver: &mut Driver, log: &mut Log) -> Result<bool, Parting> {
        let Some(link) = &self.receiver.link else { return Ok(false) };
        let front = link.front().map_err(|fault| Parting::Ours(fault.to_string()))?;
        let Some((frame, len)) = front else { return Ok(false) };
        let (kind, epoch, value) = (frame.kind, frame.epoch, frame.value);
        let payload = frame.payload.to_vec();
        if let Some(link) = &mut self.receiver.link {
            link.take(driver, len);
        }
        match (kind, &self.receiver.phase) {
            (Kind::Hello, Phase::Greeting) => {
                let hello = Hello::decode(&payload)
                    .ok_or_else(|| Parting::Ours("a malformed hello".into()))?;
                self.receiver.peer = Some((hello, payload));
                self.receiver.phase = Phase::Greeted;
            }
            (Kind::Proof, Phase::Greeted) => self.prove(driver, log, &payload)?,
            (Kind::Accept | Kind::Fence, Phase::Proving) if self.role == Role::Primary => {
                self.asked(driver, kind, epoch);
                return Ok(false);
            }
            (Kind::Accept, Phase::Proving) => self.accepted_at(driver, log, epoch, value)?,
            (Kind::Refuse, _) => {
                return Err(Parting::Told(String::from_utf8_lossy(&payload).into_owned()));
            }
            (kind, _) => return Err(Parting::Ours(format!("an unexpected frame ({kind:?})"))),
        }
        Ok(true)
    }

    /// The primary's proof came: ours goes out when all fits.
    fn prove(&mut self, driver: &mut Driver, log: &Log, theirs: &[u8]) -> Result<(), Parting> {
        let Some((hello, bytes)) = &self.receiver.peer else { return Ok(()) };
        let hellos: (&[u8], &[u8]) = (&self.receiver.own, bytes);
        if !proves(&self.options.secret, PRIMARY, hellos, theirs) {
            return Err(Parting::Ours(WRONG_SECRET.into()));
        }
        let own = proof(&self.options.secret, STANDBY, hellos);
        judge(&self.options, self.file.state.node, hello).map_err(Parting::Ours)?;
        let empty = log.watermarks().appended == log.min_position();
        let known = self.file.state.epochs.current();
        let follows = self.role == Role::Standby;
        if follows && !empty && hello.epochs.current() < known {
            return Err(Parting::Ours(format!(
                "it is a primary of epoch {}, and epoch {known} was seen here: it was replaced",
                hello.epochs.current()
            )));
        }
        if let Some(link) = &mut self.receiver.link {
            link.put(Kind::Proof, known, 0, &[&own]);
            link.flush(driver);
        }
        self.receiver.phase = Phase::Proving;
        Ok(())
    }

    /// The primary says from where to follow.
    fn accepted_at(
        &mut self,
        driver: &mut Driver,
        log: &mut Log,
        epoch: u64,
        from: u64,
    ) -> Result<(), Parting> {
        let ours = |why: String| Err(Parting::Ours(why));
        let Some((hello, _)) = &self.receiver.peer else { return Ok(()) };
        let empty = log.watermarks().appended == log.min_position();
        let (policy, node) = (hello.policy, hello.node);
        if empty {
            if log.is_preparing() {
                return ours("this log is not ready yet; trying again".into());
            }
            let first = (hello.segments.0, from);
            if let Err(errno) = log.adopt(driver, hello.log_id, first, hello.segments.1) {
                return ours(format!("this log cannot become a copy: {errno}"));
            }
        }
        let end = log.watermarks().appended;
        let state = &mut self.file.state;
        let before = state.clone();
        if empty || !policy.sync || !policy.refuse {
            state.pledge = None;
        }
        if from < end {
            // The tail is another history's; it is saved and cut when the log is opened again.
            state.cut = Some(from);
            state.pledge = None;
        } else {
            state.epochs = hello.epochs.clone();
        }
        state.peer = self.receiver.dialed.map(|addr| (node, addr));
        if *state != before
            && let Err(errno) = self.file.save(driver)
        {
            return ours(format!("what was agreed cannot be kept: {errno}"));
        }
        if from != end {
            self.restart = true;
            let text = format!(
                "this log has {} bytes from position {from} on that the primary of epoch {epoch} \
                 never had: they are saved under lost+found and cut",
                end - from
            );
            self.notes.say("replica-cut", text);
            self.receiver.part(driver);
            return Ok(());
        }
        self.receiver.follow(epoch);
        let dialed = self.receiver.dialed.map_or(String::new(), |addr| addr.to_string());
        let text = format!("following {dialed} (node {node:016x}) from position {from}");
        self.notes.say("replica-connected", text);
        Ok(())
    }
}

/// Why the standby gives a handshake up.
enum Parting {
    /// The primary said so.
    Told(String),
    /// We say so.
    Ours(String),
}

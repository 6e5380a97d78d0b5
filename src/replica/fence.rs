//! Who of two that call themselves primary steps down, and the planned change of roles.
//!
//! A primary without a standby asks the other half, at its start and then all the time, whether it
//! has taken over; the one with the older term becomes a standby by itself, and what it wrote alone
//! is cut when it follows. Two of one term are a mistake that only an operator can judge: both are
//! told. In a planned change the old primary stops storing, hands its last position over, and is a
//! standby, durably, before the other may write.
//! Never: a term raised here; an acknowledgement by a node that knows of a newer term.

use std::net::SocketAddr;

use weir_io::Driver;

use super::epoch::{Entry, after, term};
use super::frame::Kind;
use super::handshake::Hello;
use super::link::Link;
use super::options::Role;
use super::pair::Pair;
use crate::base::limits::HA_ASK_MS;
use crate::commitlog::Log;

/// How far a planned change of roles has come, on the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handing {
    /// None is under way.
    No,
    /// Nothing is stored any more, since then (nanoseconds); the standby gets the rest.
    Draining(u64),
    /// This node is a standby, durably; the word is on its way.
    Told {
        /// Since then, nanoseconds.
        since_ns: u64,
        /// To this node.
        node: u64,
        /// On this connection.
        link: u64,
    },
}

/// A primary that meets another.
impl Pair {
    /// The other half is to be asked whether it took over, before this primary stores anything it
    /// would acknowledge alone.
    pub(super) fn begin_asking(&mut self, driver: &Driver) {
        let waits = self.options.sync && self.options.refuse;
        if self.file.state.peer.is_some() && !waits {
            self.asking_until_ns = driver.now_ns() + HA_ASK_MS * 1_000_000;
        }
    }

    /// Ends the asking when nobody answers in time.
    pub(super) fn tick_asking(&mut self, driver: &Driver) {
        if self.asking_until_ns != 0 && driver.now_ns() >= self.asking_until_ns {
            self.asking_until_ns = 0;
            let text = "the other half did not say whether it took over; this node goes on as the \
                        primary it was. If the other one was promoted, stop this one now"
                .to_owned();
            self.notes.say("replica-unasked", text);
        }
    }

    /// Where a primary that has no standby looks for the other half.
    pub(super) fn peer_to_ask(&self) -> Option<SocketAddr> {
        let alone = self.role == Role::Primary && self.sender.is_none();
        self.file.state.peer.filter(|_| alone).map(|(_, addr)| addr)
    }

    /// A primary that asks has proved itself.
    pub(super) fn meet(&mut self, driver: &mut Driver, mut link: Link, hello: &Hello) {
        let (own, theirs) = (self.file.state.epochs.current(), hello.epochs.current());
        if term(own) > term(theirs) {
            link.put(Kind::Fence, own, 0, &[]);
            link.flush(driver);
            self.part_later(driver, link);
        } else if term(own) < term(theirs) && self.role == Role::Primary {
            let mut addr = link.peer;
            addr.set_port(hello.ha_port);
            link.close(driver);
            self.step_down(driver, hello.node, addr, theirs);
        } else if self.role == Role::Standby {
            // It asks its own standby: nobody took over.
            link.put(Kind::Accept, own, 0, &[]);
            link.flush(driver);
            self.part_later(driver, link);
        } else {
            let why = format!(
                "both boxes are primary of term {}: stop one, and start it as standby with \
                 role=standby and an empty data directory, or after weir promote on the other",
                term(own)
            );
            self.refuse(driver, link, &why);
        }
    }

    /// The answer to a primary that asked.
    pub(super) fn asked(&mut self, driver: &mut Driver, kind: Kind, epoch: u64) {
        self.asking_until_ns = 0;
        let addr = self.receiver.dialed;
        let node = self.receiver.peer.as_ref().map_or(0, |(hello, _)| hello.node);
        self.receiver.part(driver);
        if kind == Kind::Fence
            && term(epoch) > term(self.file.state.epochs.current())
            && let Some(addr) = addr
        {
            self.step_down(driver, node, addr, epoch);
        }
    }

    /// This primary was replaced: it is a standby from here on, durably.
    fn step_down(&mut self, driver: &mut Driver, node: u64, addr: SocketAddr, epoch: u64) {
        // Nothing is acknowledged any more, whatever comes of the file.
        self.restart = true;
        self.file.state.role = Some(Role::Standby);
        self.file.state.peer = Some((node, addr));
        self.file.state.pledge = None;
        self.file.state.alone = None;
        let kept = self.file.save(driver);
        let text = format!(
            "{addr} is the primary of term {} now; this node was of term {} and follows it{}",
            term(epoch),
            term(self.file.state.epochs.current()),
            kept.err().map_or(String::new(), |errno| format!(" (not kept: {errno})"))
        );
        self.notes.say("replica-replaced", text);
    }

    /// Closes a link when what it was told is sent.
    fn part_later(&mut self, driver: &Driver, link: Link) {
        self.closing.push((link, driver.now_ns() + HA_ASK_MS * 1_000_000));
    }
}

/// The planned change of roles.
impl Pair {
    /// Begins to hand this primary's role to its standby. Both outcomes are sentences.
    pub fn switchover(&mut self, driver: &Driver, log: &Log) -> Result<String, String> {
        if self.role == Role::Standby {
            return Err("this node is a standby: ask its primary".into());
        }
        if self.handing != Handing::No || self.restart {
            return Err("a change of roles is under way already".into());
        }
        let (end, gap) = (log.watermarks().appended, self.options.max_gap_bytes);
        let Some(sender) = self.sender.as_ref().filter(|sender| sender.is_near(end, gap)) else {
            return Err(
                "no standby is in step: bring it back first, or stop this primary and use \
                        weir promote there"
                    .into(),
            );
        };
        let peer = sender.link.peer;
        self.handing = Handing::Draining(driver.now_ns());
        Ok(format!("handing over to {peer} at position {end}; see weir status"))
    }

    /// Whether the log must stand still: its end is being handed over.
    pub fn is_handing(&self) -> bool {
        self.handing != Handing::No
    }

    /// Goes on with a planned change of roles.
    pub(super) fn hand_over(&mut self, driver: &mut Driver, log: &Log) {
        match self.handing {
            Handing::No => {}
            Handing::Draining(since_ns) => {
                let end = log.watermarks().appended;
                let there = self.sender.as_ref().is_some_and(|sender| sender.received >= end);
                if there && log.watermarks().durable >= end {
                    return self.tell_standby(driver, end);
                }
                let late_ns = self.options.slave_timeout_ms * 1_000_000;
                if driver.now_ns().saturating_sub(since_ns) > late_ns || self.sender.is_none() {
                    self.handing = Handing::No;
                    let text = "the standby did not confirm the last position in time; this node \
                                stays the primary"
                        .to_owned();
                    self.notes.say("replica-stays", text);
                }
            }
            // The other half closes when it has heard. To close before it, with words of it unread,
            // would reset the connection, and the word that is on its way would be lost with it.
            Handing::Told { since_ns, node, link } => {
                let end = log.watermarks().appended;
                let late_ns = self.options.slave_timeout_ms * 1_000_000;
                let late = driver.now_ns().saturating_sub(since_ns) > late_ns;
                // One that comes back as a standby has not heard it.
                let back = self.sender.as_ref().filter(|sender| {
                    sender.link.id != link && sender.node == node && !self.restart
                });
                match back {
                    Some(sender) if sender.received >= end => self.hand_word(driver, end),
                    Some(_) => self.restart |= late,
                    None => self.restart |= late || self.sender.is_none(),
                }
            }
        }
    }

    fn tell_standby(&mut self, driver: &mut Driver, end: u64) {
        self.file.state.role = Some(Role::Standby);
        self.file.state.alone = None;
        if let Err(errno) = self.file.save(driver) {
            self.file.state.role = Some(Role::Primary);
            self.handing = Handing::No;
            let text = format!("the change of roles cannot be kept: {errno}");
            return self.notes.say("replica-state-failed", text);
        }
        self.hand_word(driver, end);
        self.notes.say("replica-handed", format!("the standby is the primary from {end} on"));
    }

    /// Says to the standby that it is the primary from `end` on.
    fn hand_word(&mut self, driver: &mut Driver, end: u64) {
        let epoch = self.file.state.epochs.current();
        let Some(sender) = &mut self.sender else { return };
        sender.link.put(Kind::HandOver, epoch, end, &[]);
        sender.link.flush(driver);
        let (node, link) = (sender.node, sender.link.id);
        self.handing = Handing::Told { since_ns: driver.now_ns(), node, link };
    }

    /// The primary hands its role to this standby at the log's end.
    pub(super) fn handed_over(
        &mut self,
        driver: &mut Driver,
        log: &Log,
        end: u64,
    ) -> Result<(), String> {
        let own = log.watermarks().appended;
        if own != end {
            return Err(format!("a hand-over at position {end}, and this log ends at {own}"));
        }
        if let Some(errno) = log.fenced() {
            return Err(format!("a hand-over to a node whose log failed ({errno})"));
        }
        self.become_primary(driver, end)
            .map_err(|errno| format!("the new epoch cannot be made durable: {errno}"))?;
        let text = format!(
            "primary from position {end} on, term {}, handed over by the other half",
            term(self.file.state.epochs.current())
        );
        self.notes.say("replica-promoted", text);
        Ok(())
    }

    /// Makes this node the primary of a new term, durably; the shard is to be opened anew.
    pub(super) fn become_primary(
        &mut self,
        driver: &mut Driver,
        end: u64,
    ) -> Result<(), weir_io::Errno> {
        let before = self.file.state.clone();
        let state = &mut self.file.state;
        let epoch = after(state.epochs.current().max(self.receiver.epoch), true);
        state.role = Some(Role::Primary);
        state.epochs.begin(Entry { epoch, start: end, promoted: true, node: state.node });
        state.pledge = None;
        state.alone = None;
        if let Err(errno) = self.file.save(driver) {
            self.file.state = before;
            return Err(errno);
        }
        self.restart = true;
        Ok(())
    }

    /// Whether a primary waits for the other half's word.
    pub fn is_asking(&self) -> bool {
        self.role == Role::Primary && self.asking_until_ns != 0
    }
}

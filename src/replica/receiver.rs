//! The standby's side of a pair: finds its primary, proves itself, and hands on checked blocks.
//!
//! It tries again for ever, at a steady pace. Blocks stay in the link's inbox until the shard took
//! them, so a standby whose device is behind stops reading and the primary's window does the rest.
//! Never: a block of another epoch, log or place; an acknowledgement of what is not held.

use std::net::SocketAddr;

use weir_io::{Driver, Errno, Socket};

use super::frame::Kind;
use super::handshake::Hello;
use super::link::{KIND_CONNECT, Link, token};
use crate::base::limits::{HA_BEAT_MS, HA_HANDSHAKE_MS, HA_RETRY_MS};
use crate::commitlog::Log;

/// How far the acquaintance has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing runs; try again at the time in `retry_ns`.
    Idle,
    /// The connection is being opened.
    Connecting,
    /// Our hello is out.
    Greeting,
    /// The primary's hello is here, its proof is not.
    Greeted,
    /// Our proof is out.
    Proving,
    /// Blocks come.
    Following,
}

/// The standby's connection.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) phase: Phase,
    pub(super) link: Option<Link>,
    /// Names the attempt in tokens.
    attempt: u64,
    began_ns: u64,
    retry_ns: u64,
    /// Where the primary is looked for.
    pub(super) dialed: Option<SocketAddr>,
    /// Our hello, and the primary's with its bytes.
    pub(super) own: Vec<u8>,
    pub(super) peer: Option<(Hello, Vec<u8>)>,
    /// Epoch of the session.
    pub(super) epoch: u64,
    /// The primary hands its role over, and waits until what is here is durable.
    pub(super) called: bool,
    /// End of the primary's log as it last said, and when (nanoseconds; 0: never).
    pub(super) primary_end: (u64, u64),
    /// What was acknowledged: received, durable, errno.
    acknowledged: (u64, u64, u64),
}

impl Receiver {
    /// Nobody is known yet.
    pub(super) fn new() -> Receiver {
        Receiver {
            phase: Phase::Idle,
            link: None,
            attempt: 0,
            began_ns: 0,
            retry_ns: 0,
            dialed: None,
            own: Vec::new(),
            peer: None,
            epoch: 0,
            called: false,
            primary_end: (0, 0),
            acknowledged: (0, 0, 0),
        }
    }

    /// Whether the link of a token is this one.
    pub(super) fn is(&self, id: u64) -> bool {
        self.link.as_ref().is_some_and(|link| link.id == id)
    }

    /// Opens a connection when it is time to.
    pub(super) fn dial(&mut self, driver: &mut Driver, addr: Option<SocketAddr>, id: u64) -> bool {
        let Some(addr) = addr.filter(|_| self.phase == Phase::Idle) else { return false };
        let now_ns = driver.now_ns();
        if now_ns < self.retry_ns {
            return false;
        }
        self.phase = Phase::Connecting;
        self.attempt = id;
        self.began_ns = now_ns;
        self.dialed = Some(addr);
        driver.connect(addr, token(KIND_CONNECT, id));
        true
    }

    /// The connection is open, or not. `true`: our hello is to be said.
    pub(super) fn connected(
        &mut self,
        driver: &mut Driver,
        attempt: u64,
        result: Result<Socket, Errno>,
    ) -> bool {
        let expected = self.phase == Phase::Connecting && attempt == self.attempt;
        match result {
            Ok(socket) if expected => {
                self.link = Link::new(driver, socket, attempt);
                if self.link.is_none() {
                    self.part(driver);
                    return false;
                }
                self.phase = Phase::Greeting;
                true
            }
            Ok(socket) => {
                driver.close(socket);
                false
            }
            Err(_) => {
                if expected {
                    self.part(driver);
                }
                false
            }
        }
    }

    /// Gives the connection up; it is tried again.
    pub(super) fn part(&mut self, driver: &mut Driver) {
        if let Some(link) = self.link.take() {
            link.close(driver);
        }
        self.phase = Phase::Idle;
        self.peer = None;
        self.called = false;
        self.retry_ns = driver.now_ns() + HA_RETRY_MS * 1_000_000;
    }

    /// Why the connection is to be given up now.
    pub(super) fn overdue(&self, now_ns: u64, patience_ns: u64) -> Option<&'static str> {
        match self.phase {
            Phase::Idle => None,
            Phase::Following => {
                let heard_ns = self.link.as_ref().map_or(0, |link| link.heard_ns);
                (now_ns.saturating_sub(heard_ns) > patience_ns).then_some("it went silent")
            }
            _ => (now_ns.saturating_sub(self.began_ns) > HA_HANDSHAKE_MS * 1_000_000)
                .then_some("it did not finish the handshake"),
        }
    }

    /// The session begins: nothing of it is acknowledged yet.
    pub(super) fn follow(&mut self, epoch: u64) {
        self.phase = Phase::Following;
        self.epoch = epoch;
        self.acknowledged = (u64::MAX, 0, 0);
    }

    /// Says what is held, when that changed or it is time for a sign of life.
    pub(super) fn acknowledge(&mut self, driver: &mut Driver, log: &Log) {
        if self.phase != Phase::Following {
            return;
        }
        let Some(link) = &mut self.link else { return };
        let errno = log.fenced().map_or(0, |errno| u64::from(errno.0.unsigned_abs()));
        let held = (log.held(), log.watermarks().durable, errno);
        let silent_ns = driver.now_ns().saturating_sub(link.spoke_ns);
        let due = silent_ns >= HA_BEAT_MS * 1_000_000 && link.is_drained();
        if held != self.acknowledged || due {
            let parts: [&[u8]; 2] = [&held.1.to_le_bytes(), &held.2.to_le_bytes()];
            link.put(Kind::Ack, self.epoch, held.0, &parts);
            self.acknowledged = held;
        }
        link.flush(driver);
    }
}

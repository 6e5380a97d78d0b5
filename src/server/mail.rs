//! Letters between cores: the closed list of what shards tell each other.
//!
//! Never on the path of a message: only changes of topics and groups, routes for the name server
//! on shard 0, questions of the control plane, and the end.

use weir_io::mailbox::{Receiver, Sender};

use super::drain::Drained;
use super::question::{Question, Reply};
use crate::broker::{Meta, TopicConfig};

/// Letters one shard may hold.
pub const MAILBOX: usize = 4096;

/// One letter.
#[derive(Debug)]
pub enum Letter {
    /// Every shard has recovered: take connections. Sent once.
    Open,
    /// Finish: make everything durable and end.
    Stop,
    /// Take nothing new, finish what was taken within this many milliseconds, then say so.
    Drain(u64, Reply<Drained>),
    /// Topics of a shard changed; for the name server.
    Routes {
        /// The shard's broker name.
        broker_name: String,
        /// 0 for a primary, 1 for a standby.
        broker_id: u64,
        /// Broker id and client address of the pair's other half, while it is connected.
        neighbour: Option<(u64, String)>,
        /// Topics that are new or changed.
        changed: Vec<TopicConfig>,
        /// Topics that are gone.
        removed: Vec<String>,
    },
    /// Topics or groups changed through another shard; do the same here.
    Change {
        /// The shard that asks.
        from: u16,
        /// Its ticket, to be sent back.
        ticket: u64,
        /// The changes.
        metas: Vec<Meta>,
    },
    /// A change is done here.
    Changed {
        /// The ticket it came with.
        ticket: u64,
    },
    /// The control plane asks something; the answer goes back with the question.
    Ask(Question),
}

/// The mailboxes as one shard sees them.
#[derive(Debug)]
pub struct PostOffice {
    /// This shard.
    pub own: u16,
    /// All shards' mailboxes, by number (its own too).
    pub boxes: Vec<Sender<Letter>>,
    /// Its own mailbox.
    pub inbox: Receiver<Letter>,
    /// Letters whose mailbox was full, to be sent again.
    pub held: Vec<(u16, Letter)>,
}

impl PostOffice {
    /// Sends a letter. One that finds its mailbox full is sent again next turn.
    pub(crate) fn send(&mut self, to: u16, letter: Letter) {
        let Some(mailbox) = self.boxes.get(usize::from(to)) else { return };
        if let Err(letter) = mailbox.send(letter) {
            self.held.push((to, letter));
        }
    }

    /// Sends what was held.
    pub(crate) fn retry(&mut self) {
        for (to, letter) in std::mem::take(&mut self.held) {
            self.send(to, letter);
        }
    }

    /// The other shards.
    pub(crate) fn others(&self) -> impl Iterator<Item = u16> + use<> {
        let (own, count) = (self.own, self.boxes.len() as u16);
        (0..count).filter(move |shard| *shard != own)
    }
}

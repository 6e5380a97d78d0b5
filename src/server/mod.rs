//! The server of one core: connections, frames, handlers, around one shard.
//!
//! `turn` is the loop; `receive` turns bytes into frames, `dispatch` frames into handled calls,
//! `handlers` has one file per request code, `deferred` writes the answers that come later,
//! `drain` finishes what was taken, `changes` and `mail` speak with the other cores, `question`
//! with the control plane, `naming` is the name server's desk, `backlog` bounds what peers can make
//! a shard hold.

mod backlog;
mod changes;
mod connection;
mod deferred;
mod dispatch;
mod drain;
mod handlers;
mod mail;
mod naming;
mod question;
mod receive;
mod tokens;
mod turn;

pub use crate::broker::{Reader, Tally, TopicTraffic};
pub use crate::shard::{Lease, PairReport};
pub use backlog::Bounds;
pub use drain::Drained;
pub use mail::{Letter, MAILBOX, PostOffice};
pub use naming::{NamingDesk, OwnShard};
pub use question::{Announced, Backlog, Figures, Health, Question, Read, Reply, Retune, Traffic};
pub use turn::{Ended, Server};

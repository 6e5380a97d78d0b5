//! The other half as clients should see it: where it is, and whether it may serve a slow reader.
//!
//! Known by the words of the handshake, and only while the two are connected. Never: a standby
//! recommended that does not hold, durably, what the reader wants.

use super::options::Role;
use super::pair::Pair;
use super::receiver::Phase;
use crate::commitlog::Log;

/// Broker ids of the two halves, as routes name them.
const PRIMARY_ID: u64 = 0;
/// See [`PRIMARY_ID`].
const STANDBY_ID: u64 = 1;

impl Pair {
    /// Broker id and client address of the other half, while it is connected.
    pub fn neighbour(&self) -> Option<(u64, &str)> {
        let (id, addr) = match self.role {
            Role::Primary => (STANDBY_ID, &self.sender.as_ref()?.client.0),
            Role::Standby => {
                let (hello, _) = self.receiver.peer.as_ref()?;
                (PRIMARY_ID, &hello.client)
            }
        };
        if self.role == Role::Standby && self.receiver.phase != Phase::Following {
            return None;
        }
        (!addr.is_empty()).then_some((id, addr.as_str()))
    }

    /// Which broker id a reader should pull from next, which has read up to `position`: the
    /// standby while more than staging memory holds is unread, so that the primary would read it
    /// from disk, and the standby holds it; else the primary.
    pub fn recommended(&self, log: &Log, position: u64) -> u64 {
        let end = log.watermarks().appended;
        let slow = end.saturating_sub(position) > log.occupancy().1 as u64;
        let standby = match self.role {
            Role::Primary => self.sender.as_ref().is_some_and(|sender| {
                let (gap, reads) = (self.options.max_gap_bytes, sender.client.1);
                slow && reads && sender.is_near(end, gap) && position < sender.durable
            }),
            Role::Standby => {
                let behind = self.receiver.primary_end.0.saturating_sub(end);
                let follows = self.receiver.phase == Phase::Following;
                !follows || slow && behind <= self.options.max_gap_bytes
            }
        };
        if standby { STANDBY_ID } else { PRIMARY_ID }
    }
}

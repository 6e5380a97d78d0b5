//! What a half of a pair lets through: how far replies may go, what consumers see, and why nothing
//! is stored now.
//!
//! Everything here follows from the role, the standing, the lease and a change of roles that is
//! under way; it is asked many times a turn and changes nothing. Never: a reply beyond what the
//! standby holds, unless going on alone is durable and allowed.

use super::options::Role;
use super::pair::Pair;
use super::standing::Standing;

/// How far replies may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// As far as this node's own promise holds.
    Open,
    /// No further than the standby holds the log, too.
    Both(u64),
    /// As far as this node's own promise holds, and senders are told that it is alone.
    Alone,
}

/// What is let through.
impl Pair {
    /// How far replies may go.
    pub fn gate(&self) -> Gate {
        if self.restart || self.is_fenced() {
            // Whatever this node becomes, it acknowledges nothing more as what it was.
            return Gate::Both(0);
        }
        match (self.role, self.standing) {
            (Role::Standby, _) | (_, Standing::Async) => Gate::Open,
            (_, Standing::Alone) => Gate::Alone,
            _ if !self.counts_standby() => Gate::Both(0),
            (_, Standing::InStep | Standing::Away { .. }) => Gate::Both(self.replicated),
        }
    }

    /// Position above which nothing is shown to consumers, if there is one.
    pub fn visible(&self) -> Option<u64> {
        let bound = self.role == Role::Primary && self.options.sync && self.options.refuse;
        bound.then_some(self.replicated.max(self.shown))
    }

    /// Why nothing is stored now; `None`: it is.
    pub fn refusal(&self) -> Option<&'static str> {
        let waits = matches!(self.standing, Standing::Away { .. }) && self.options.refuse;
        let no_standby = "in-sync replicas not enough: no standby is in step with this primary, \
                          and standbyLost=refuse stores nothing without one; nothing was stored, \
                          reason: replica, waited: 0ms, limit: 1 standby in step, change: bring \
                          the standby back, or accept the risk with standbyLost=degrade";
        self.not_primary().or(waits.then_some(no_standby))
    }

    /// Why this node is not the primary, or must not act as one now; `None`: it is.
    pub fn not_primary(&self) -> Option<&'static str> {
        if self.role == Role::Standby {
            Some("messages are put to the slave: this is a standby; send to its primary")
        } else if self.is_fenced() {
            Some(
                "this primary has no lease: the majority that decides who is the primary (etcd or \
                 a RocketMQ Controller) has not said that it still is; nothing was stored",
            )
        } else if self.is_asking() {
            Some("this primary was restarted and asks its other half whether it took over")
        } else if self.is_handing() || self.restart {
            Some("the standby is taking over (weir switchover); send again in a moment")
        } else {
            None
        }
    }
}

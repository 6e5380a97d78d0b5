//! A primary's leave to acknowledge, lent by a majority outside the pair.
//!
//! The node that speaks with the majority writes it, one for each shard; the shard reads it once a
//! turn, just before it answers. It holds until a moment of the clock that counts sleep, so that a
//! process that was stopped, or a machine that slept, finds it over. It also names the partner: the
//! standby that outside is known to hold everything acknowledged. While there is one, nothing is
//! acknowledged that it does not hold; without one the primary may go on alone.
//! Invariant: what is acknowledged, everybody who may be made the primary holds. Never: a lock, a
//! wait, a question to the outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use weir_io::Driver;

use super::options::Role;
use super::pair::Pair;
use super::roles::Report;
use super::standing::Standing;
use crate::commitlog::Log;

/// Nobody has said yet who may take over: nothing is acknowledged.
const UNKNOWN: u64 = u64::MAX;

/// One shard's leave, shared with whoever lends it.
#[derive(Clone, Debug)]
pub struct Lease(Arc<Lent>);

#[derive(Debug)]
struct Lent {
    /// End of the leave, nanoseconds of [`Driver::boot_ns`]; 0: there is none.
    until_ns: AtomicU64,
    /// Node of the only standby that may take over; 0: none may.
    partner: AtomicU64,
    /// The shard would go on alone.
    wants_alone: AtomicBool,
}

impl Default for Lease {
    fn default() -> Lease {
        let wants_alone = AtomicBool::new(false);
        let partner = AtomicU64::new(UNKNOWN);
        Lease(Arc::new(Lent { until_ns: AtomicU64::new(0), partner, wants_alone }))
    }
}

impl Lease {
    /// Lends it until `until_ns` of [`Driver::boot_ns`]; 0 takes it back.
    pub fn lend(&self, until_ns: u64) {
        self.0.until_ns.store(until_ns, Ordering::SeqCst);
    }

    /// Says which standby may take over from here on; `None`: none, and the shard may go on alone.
    pub fn set_partner(&self, node: Option<u64>) {
        self.0.partner.store(node.unwrap_or(0), Ordering::SeqCst);
        if node.is_none() {
            self.0.wants_alone.store(false, Ordering::SeqCst);
        }
    }

    /// Forgets who may take over: nothing is acknowledged until that is said again.
    pub fn forget_partner(&self) {
        self.0.partner.store(UNKNOWN, Ordering::SeqCst);
    }

    /// Whether it holds at `now_ns` of [`Driver::boot_ns`].
    pub fn holds(&self, now_ns: u64) -> bool {
        now_ns < self.0.until_ns.load(Ordering::SeqCst)
    }

    /// Whether the shard waits for the word that no standby may take over.
    pub fn wants_alone(&self) -> bool {
        self.0.wants_alone.load(Ordering::SeqCst)
    }

    fn partner(&self) -> u64 {
        self.0.partner.load(Ordering::SeqCst)
    }
}

/// A lease, and what the shard saw of it last.
#[derive(Debug)]
pub(super) struct Licence {
    lease: Lease,
    /// It held when this turn's answers were made.
    holds: bool,
}

/// What a lease changes.
impl Pair {
    /// From here on this shard acknowledges as a primary while `lease` holds, and is promoted by
    /// [`Pair::take_over`] alone.
    pub fn set_lease(&mut self, lease: Lease) {
        self.licence = Some(Licence { lease, holds: false });
        // Who holds the lease need not ask the other half whether it took over.
        self.asking_until_ns = 0;
    }

    /// Looks at the lease, just before the turn's answers.
    pub(super) fn look_at_lease(&mut self, driver: &Driver) {
        let node = self.sender.as_ref().map(|sender| sender.node);
        let in_step = self.standing == Standing::InStep;
        if let Some(licence) = &mut self.licence {
            if in_step && licence.lease.wants_alone() {
                licence.lease.0.wants_alone.store(false, Ordering::SeqCst);
            }
            let partner = licence.lease.partner();
            // Another standby than the one that may take over: what it holds counts for nothing
            // until it has that one's place.
            let known = partner != UNKNOWN && (partner == 0 || node.is_none_or(|n| n == partner));
            licence.holds = known && licence.lease.holds(driver.boot_ns());
        }
    }

    /// Whether this primary's lease is over, or was never given.
    pub fn is_fenced(&self) -> bool {
        self.role == Role::Primary && self.licence.as_ref().is_some_and(|licence| !licence.holds)
    }

    /// Whether it may go on alone now; if not, that it would is noted for who lends the lease.
    pub(super) fn may_go_alone(&self) -> bool {
        let Some(Licence { lease, .. }) = &self.licence else { return true };
        let may = lease.partner() == 0;
        if !may {
            lease.0.wants_alone.store(true, Ordering::SeqCst);
        }
        may
    }

    /// How long a lost standby is waited for, nanoseconds: not at all when it is known outside
    /// that none may take over, and none is there.
    pub(super) fn patience_for_standby_ns(&self) -> u64 {
        let alone = |licence: &Licence| licence.lease.partner() == 0 && self.sender.is_none();
        if self.licence.as_ref().is_some_and(alone) {
            return 0;
        }
        self.options.slave_timeout_ms * 1_000_000
    }

    /// Whether a standby in step is told so, to keep.
    pub(super) fn pledges(&self) -> bool {
        self.options.refuse || self.licence.is_some()
    }

    /// Whether promotions are not the operator's business.
    pub(super) fn is_licensed(&self) -> bool {
        self.licence.is_some()
    }

    /// What a lease adds to the report.
    pub(super) fn report_lease(&self, log: &Log, report: Report) -> Report {
        let peer_node = match self.role {
            Role::Primary => self.sender.as_ref().map_or(0, |sender| sender.node),
            Role::Standby => self.receiver.peer.as_ref().map_or(0, |(hello, _)| hello.node),
        };
        Report {
            peer_node,
            witnessed: self.has_pledge() && log.fenced().is_none(),
            leased: self.licence.as_ref().map(|licence| licence.holds),
            failed: log.fenced().is_some(),
            ..report
        }
    }

    /// Makes this standby the primary, as the majority outside has decided: as
    /// [`Pair::promote`], also while the old primary is heard, whose lease is over. What this node
    /// is the primary of already is left alone.
    pub fn take_over(&mut self, driver: &mut Driver, log: &Log) -> Result<String, String> {
        if self.role == Role::Primary || self.file.state.role == Some(Role::Primary) {
            return Ok("primary already".into());
        }
        self.may_be_primary(log)?;
        if !self.has_pledge() {
            return Err("this standby does not know that it holds all that was acknowledged".into());
        }
        self.promoted(driver, log, "decided by a majority outside".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_at_its_moment_and_nobody_is_a_partner_before_that_was_said() {
        let lease = Lease::default();
        assert!(!lease.holds(0));
        assert_eq!(lease.partner(), UNKNOWN);
        lease.lend(100);
        assert!(lease.holds(99) && !lease.holds(100));
        lease.0.wants_alone.store(true, Ordering::SeqCst);
        lease.set_partner(Some(7));
        assert!(lease.wants_alone(), "another partner is not the word that was waited for");
        lease.set_partner(None);
        assert!(!lease.wants_alone());
        lease.lend(0);
        assert!(!lease.holds(1));
    }
}

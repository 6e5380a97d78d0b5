//! A primary's leave to acknowledge, lent by a majority outside the pair.
//!
//! The node that speaks with the majority writes it, one for each shard; the shard reads it once a
//! turn, just before it answers. It holds until a moment of the clock that counts sleep, so that a
//! process that was stopped, or a machine that slept, finds it over. It also names the partner: the
//! standby that outside is known to hold everything acknowledged. While there is one, nothing is
//! acknowledged that it does not hold; without one the primary may go on alone.
//! Invariant: what is acknowledged, everybody who may be made the primary holds. Never: a lock, a
//! wait, a question to the outside.

use weir_io::Driver;
use weir_io::board::Board;

use super::options::Role;
use super::pair::Pair;
use super::roles::Report;
use super::standing::Standing;
use crate::commitlog::Log;

/// Who may take over from a primary, as the majority outside knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partner {
    /// Not known: nothing is acknowledged.
    Unknown,
    /// Nobody: what is acknowledged is on this box only, and the shard may go on alone.
    Nobody,
    /// This node is about to be named: nothing is acknowledged until it is.
    Coming(u64),
    /// This node: what both hold is acknowledged, and nothing else.
    Named(u64),
}

/// What stands for [`Partner::Unknown`] and [`Partner::Nobody`] where a node would stand.
const UNKNOWN: u64 = u64::MAX;
/// See [`UNKNOWN`].
const NOBODY: u64 = 0;

/// End of the leave, nanoseconds of [`Driver::boot_ns`]; 0: there is none.
const UNTIL: usize = 0;
/// Node of the partner.
const PARTNER: usize = 1;
/// Node that is named outside; 0: none is.
const NAMED: usize = 2;
/// Not 0: the shard would go on alone.
const WANTS_ALONE: usize = 3;
/// Not 0: the shard waits for another partner.
const WAITS: usize = 4;

/// One shard's leave, shared with whoever lends it.
#[derive(Clone, Debug)]
pub struct Lease(Board<5>);

impl Default for Lease {
    fn default() -> Lease {
        Lease(Board::new([0, UNKNOWN, 0, 0, 0]))
    }
}

impl Lease {
    /// Lends it until `until_ns` of [`Driver::boot_ns`]; 0 takes it back.
    pub fn lend(&self, until_ns: u64) {
        self.0.put(UNTIL, until_ns);
    }

    /// Says who may take over from here on.
    pub fn set_partner(&self, partner: Partner) {
        let (node, named) = match partner {
            Partner::Unknown => (UNKNOWN, false),
            Partner::Nobody => (NOBODY, false),
            Partner::Coming(node) => (node, false),
            Partner::Named(node) => (node, true),
        };
        // A reader reads the partner first: when it then finds the same node named, it is.
        if !named || self.0.get(NAMED) != node {
            self.0.put(NAMED, 0);
        }
        self.0.put(PARTNER, node);
        if named {
            self.0.put(NAMED, node);
        }
        if partner == Partner::Nobody {
            self.0.put(WANTS_ALONE, 0);
        }
    }

    /// Whether it holds at `now_ns` of [`Driver::boot_ns`].
    pub fn holds(&self, now_ns: u64) -> bool {
        now_ns < self.0.get(UNTIL)
    }

    /// Whether the shard waits for the word that no standby may take over.
    pub fn wants_alone(&self) -> bool {
        self.0.get(WANTS_ALONE) != 0
    }

    /// Whether the shard has begun to wait for another partner since this was asked last.
    pub fn take_wait(&self) -> bool {
        self.0.put(WAITS, 0) != 0
    }

    fn partner(&self) -> Partner {
        match self.0.get(PARTNER) {
            UNKNOWN => Partner::Unknown,
            NOBODY => Partner::Nobody,
            node if self.0.get(NAMED) == node => Partner::Named(node),
            node => Partner::Coming(node),
        }
    }

    /// Says once that the shard would go on alone.
    fn ask_alone(&self) {
        if self.0.put(WANTS_ALONE, 1) == 0 {
            self.0.put(WAITS, 1);
        }
    }
}

/// A lease, and what the shard saw of it last.
#[derive(Debug)]
pub(super) struct Licence {
    lease: Lease,
    /// It held when this turn's answers were made.
    holds: bool,
    /// Who might have taken over then.
    partner: Partner,
    /// It was said that the standby in step is not named yet.
    asked: bool,
}

/// What a lease changes.
impl Pair {
    /// From here on this shard acknowledges as a primary while `lease` holds, and is promoted by
    /// [`Pair::take_over`] alone.
    pub fn set_lease(&mut self, lease: Lease) {
        let partner = Partner::Unknown;
        self.licence = Some(Licence { lease, holds: false, partner, asked: false });
        // Who holds the lease need not ask the other half whether it took over.
        self.asking_until_ns = 0;
    }

    /// Looks at the lease, just before the turn's answers.
    pub(crate) fn look_at_lease(&mut self, driver: &Driver) {
        let node = self.sender.as_ref().map(|sender| sender.node);
        let in_step = self.standing == Standing::InStep;
        let Some(Licence { lease, holds, partner, asked }) = &mut self.licence else { return };
        *partner = lease.partner();
        *holds = *partner != Partner::Unknown && lease.holds(driver.boot_ns());
        if in_step {
            lease.0.put(WANTS_ALONE, 0);
        }
        let waits = in_step && node.map(Partner::Named) != Some(*partner);
        if waits && !std::mem::replace(asked, waits) {
            lease.0.put(WAITS, 1);
        }
        *asked = waits;
    }

    /// Whether what the standby holds may be acknowledged: it is the one that may take over, or
    /// there is no majority outside.
    pub(super) fn counts_standby(&self) -> bool {
        let Some(licence) = &self.licence else { return true };
        let Partner::Named(named) = licence.partner else { return false };
        // One that is not connected has confirmed what it has confirmed.
        self.sender.as_ref().is_none_or(|sender| sender.node == named)
    }

    /// Whether this primary's lease is over, or was never given.
    pub fn is_fenced(&self) -> bool {
        self.role == Role::Primary && self.licence.as_ref().is_some_and(|licence| !licence.holds)
    }

    /// Whether it may go on alone now; if not, that it would is noted for who lends the lease, once
    /// the device has all that the standby confirmed.
    pub(super) fn may_go_alone(&self, log: &Log) -> bool {
        let Some(Licence { lease, .. }) = &self.licence else { return true };
        let may = lease.partner() == Partner::Nobody;
        if !may && log.watermarks().durable >= self.replicated {
            lease.ask_alone();
        }
        may
    }

    /// How long a lost standby is waited for, nanoseconds: not at all when it is known outside
    /// that none may take over, and none is there.
    pub(super) fn patience_for_standby_ns(&self) -> u64 {
        let nobody = |licence: &Licence| licence.lease.partner() == Partner::Nobody;
        if self.sender.is_none() && self.licence.as_ref().is_some_and(nobody) {
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
            named: self.licence.is_some() && self.sender.is_some() && self.counts_standby(),
            failed: log.fenced().is_some(),
            not_primary: self.not_primary(),
            refusal: self.refusal(),
            ..report
        }
    }

    /// Whether this standby is to be made the primary, as the majority outside has decided: as for
    /// [`Pair::promote`], also while the old primary is heard, whose lease is over. False: it is
    /// one already. The error is a sentence.
    pub fn check_take_over(&self, log: &Log) -> Result<bool, String> {
        if self.role == Role::Primary || self.file.state.role == Some(Role::Primary) {
            return Ok(false);
        }
        self.may_be_primary(log)?;
        if self.has_pledge() {
            return Ok(true);
        }
        Err("this standby does not know that it holds all that was acknowledged".into())
    }

    /// Makes it the primary, after [`Pair::check_take_over`] and when its log is durable to its
    /// end. The shard is to be opened anew then, whatever comes of it.
    pub fn take_over(&mut self, driver: &mut Driver, log: &Log) -> Result<String, String> {
        self.promoted(driver, log, "decided by a majority outside")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_at_its_moment_and_nobody_is_a_partner_before_that_was_said() {
        let lease = Lease::default();
        assert!(!lease.holds(0));
        assert_eq!(lease.partner(), Partner::Unknown);
        lease.lend(100);
        assert!(lease.holds(99) && !lease.holds(100));
        lease.lend(0);
        assert!(!lease.holds(1));
        for partner in [Partner::Coming(7), Partner::Named(7), Partner::Nobody, Partner::Unknown] {
            lease.set_partner(partner);
            assert_eq!(lease.partner(), partner);
        }
    }

    #[test]
    fn only_the_word_that_there_is_nobody_ends_the_wish_to_go_alone_and_it_rings_once() {
        let lease = Lease::default();
        for _ in 0..2 {
            lease.ask_alone();
        }
        assert!(lease.take_wait() && !lease.take_wait());
        lease.set_partner(Partner::Named(7));
        assert!(lease.wants_alone());
        lease.set_partner(Partner::Nobody);
        assert!(!lease.wants_alone());
    }
}

//! The law of automatic failover: what a box does, given what it is and what the majority has.
//!
//! Pure: no socket, no clock; the same for etcd and for a RocketMQ Controller. The majority keeps
//! two things: a holder, which vanishes when its lease is over, and a record, changed by
//! compare-and-swap only, that says who was the primary last and who holds everything that was
//! acknowledged ("in step"). Only a box in step may become the holder, and only the holder is the
//! primary.
//! Invariants: whoever is in step holds all that was acknowledged; a box is put in step by the
//! primary, after it stopped acknowledging without it; it is taken out before the first
//! acknowledgement without it.
//! Never: a box that takes over because it cannot see the other.

/// What the majority keeps for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Raised with every change of the primary.
    pub(super) term: u64,
    /// The box that was made the primary last.
    pub(super) primary: String,
    /// The life of its machine in which its memory held what was acknowledged; 0: its device does.
    pub(super) boot: u64,
    /// Who holds all that was acknowledged; the primary is one of them.
    pub(super) in_step: Vec<String>,
}

/// What the majority was seen to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Who holds the lease; `None`: nobody.
    pub(super) holder: Option<Holder>,
    /// The record, once there is one.
    pub(super) record: Option<Record>,
}

/// Who holds the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    /// The box.
    pub(super) id: String,
    /// This process renews it; else it is of another box, or of an earlier life of this one.
    pub(super) is_ours: bool,
}

/// What the shards of a box are together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All primaries.
    Primary,
    /// All standbys.
    Standby,
    /// Some have changed and some have not.
    Mixed,
}

/// What this box is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Own {
    /// What it is.
    pub(super) part: Part,
    /// Name of this box.
    pub(super) id: String,
    /// The life of its machine; 0: its device holds what it acknowledges.
    pub(super) boot: u64,
    /// The other box, while every shard is connected with it.
    pub(super) peer: Option<String>,
    /// A primary: every shard's standby is in step.
    pub(super) in_step: bool,
    /// A standby: it keeps every shard's word that it is in step, and all it had then.
    pub(super) kept: bool,
    /// A log failed, or a shard does not answer: it must not be the primary.
    pub(super) failed: bool,
    /// A standby: the primary was heard a moment ago.
    pub(super) hears_primary: bool,
    /// A shard waits for the word that no standby may take over.
    pub(super) wants_alone: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    Rest,
    /// Nothing, and look again at once: nothing is acknowledged meanwhile.
    Again,
    /// Become the holder, with this record, unless somebody else was faster.
    Take(Record),
    /// Change the record, as the holder.
    Write(Record),
    /// Let go of the lease; with this record, if there is one.
    Release(Option<Record>),
    /// Make every shard the primary.
    Promote,
}

/// What may be done with acknowledgements while the lease is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Partner {
    /// None: this box is not the holder, or not the primary of the record.
    Unknown,
    /// This one is about to be named: nothing is acknowledged until it is.
    Coming(String),
    /// This one is named: nothing is acknowledged without it.
    Named(String),
    /// No other may take over: alone is allowed.
    Nobody,
}

/// What is remembered from look to look.
#[derive(Debug, Default)]
pub(super) struct Law {
    /// The lease was taken as a standby, and not all shards are primaries yet.
    promoting: bool,
    /// No holder since, nanoseconds.
    vacant_since_ns: Option<u64>,
    /// It was seen to be in step in this term, in this process's life.
    kept_term: Option<u64>,
    /// Nothing has been acknowledged without this box since the look before.
    closed_for: Option<String>,
}

impl Law {
    /// Decides. `now_ns` is monotonic; `grace_ns` is how long a primary that is still heard is left
    /// to take its lease again.
    pub(super) fn next(&mut self, own: &Own, seen: &Seen, now_ns: u64, grace_ns: u64) -> Step {
        if own.part == Part::Primary {
            self.promoting = false;
        }
        self.remember(own, seen);
        match (&seen.holder, &seen.record) {
            (Some(holder), Some(record)) if holder.is_ours => {
                self.vacant_since_ns = None;
                self.hold(own, record)
            }
            (Some(holder), _) if holder.is_ours => Step::Release(None),
            // An earlier life of this process: the data directory has one process at a time.
            (Some(holder), record) if holder.id == own.id => {
                self.vacant(own, record.as_ref(), true)
            }
            (Some(_), _) => {
                self.vacant_since_ns = None;
                self.promoting = false;
                Step::Rest
            }
            (None, record) => {
                let since_ns = *self.vacant_since_ns.get_or_insert(now_ns);
                let over = now_ns.saturating_sub(since_ns) >= grace_ns;
                self.vacant(own, record.as_ref(), over || !own.hears_primary)
            }
        }
    }

    /// What acknowledgements go by after that look.
    pub(super) fn partner(&self, own: &Own, seen: &Seen) -> Partner {
        let ours = seen.holder.as_ref().is_some_and(|holder| holder.is_ours);
        let record = seen.record.as_ref().filter(|record| ours && record.primary == own.id);
        let Some(record) = record else { return Partner::Unknown };
        let other = record.in_step.iter().find(|id| **id != own.id);
        match (other, &self.closed_for) {
            (Some(other), _) => Partner::Named(other.clone()),
            (None, Some(coming)) => Partner::Coming(coming.clone()),
            (None, None) => Partner::Nobody,
        }
    }

    fn remember(&mut self, own: &Own, seen: &Seen) {
        let Some(record) = &seen.record else { return };
        if self.kept_term.is_some_and(|term| term != record.term) {
            self.kept_term = None;
        }
        let named = record.in_step.contains(&own.id);
        if own.part == Part::Standby && own.kept && named && record.primary != own.id {
            self.kept_term = Some(record.term);
        }
    }

    /// The lease is ours.
    fn hold(&mut self, own: &Own, record: &Record) -> Step {
        if own.failed {
            self.promoting = false;
            return Step::Release(None);
        }
        if record.primary != own.id {
            return Step::Release(None);
        }
        match own.part {
            Part::Standby | Part::Mixed if self.promoting => Step::Promote,
            // The roles were changed by hand, or a newer term was met: the other one goes on.
            Part::Standby => match own.peer.clone().filter(|_| own.hears_primary) {
                Some(peer) => {
                    let (term, in_step) = (record.term + 1, vec![peer.clone()]);
                    Step::Release(Some(Record { term, primary: peer, boot: 0, in_step }))
                }
                None if record.in_step.len() > 1 => Step::Release(None),
                None => Step::Rest,
            },
            Part::Mixed => Step::Rest,
            Part::Primary => self.keep_record(own, record),
        }
    }

    /// The primary keeps the record true.
    fn keep_record(&mut self, own: &Own, record: &Record) -> Step {
        let closed_for = self.closed_for.take();
        let alone = || Record { in_step: vec![own.id.clone()], ..record.clone() };
        if let Some(other) = record.in_step.iter().find(|id| **id != own.id) {
            let replaced = own.in_step && own.peer.as_ref().is_some_and(|peer| peer != other);
            return if own.wants_alone || replaced { Step::Write(alone()) } else { Step::Rest };
        }
        let Some(peer) = own.peer.clone().filter(|_| own.in_step && !own.wants_alone) else {
            return Step::Rest;
        };
        let closed = closed_for.as_ref() == Some(&peer);
        // First nothing more is acknowledged without it, then it is looked at again, then named.
        self.closed_for = Some(peer.clone());
        if !closed {
            return Step::Again;
        }
        Step::Write(Record { in_step: vec![own.id.clone(), peer], ..record.clone() })
    }

    /// Nobody holds the lease, or an earlier life of this process does.
    fn vacant(&mut self, own: &Own, record: Option<&Record>, may: bool) -> Step {
        self.closed_for = None;
        if own.failed {
            return Step::Rest;
        }
        if own.part == Part::Mixed {
            // It died while it promoted its shards: it goes on with that.
            let own_record = record.filter(|record| record.primary == own.id);
            self.promoting = own_record.is_some();
            return own_record.map_or(Step::Rest, |record| Step::Take(record.clone()));
        }
        let is_primary = own.part == Part::Primary;
        let Some(record) = record else {
            let in_step = vec![own.id.clone()];
            let first = Record { term: 1, primary: own.id.clone(), boot: own.boot, in_step };
            return if is_primary { Step::Take(first) } else { Step::Rest };
        };
        if !record.in_step.contains(&own.id) {
            return Step::Rest;
        }
        if is_primary && record.primary == own.id {
            // What its memory held is gone with the machine's last life; a standby in step shows
            // that nothing is missing here.
            let whole = record.boot == 0 || record.boot == own.boot;
            let good = whole || own.in_step || record.in_step.len() == 1;
            let again = Record { boot: own.boot, ..record.clone() };
            return if good { Step::Take(again) } else { Step::Rest };
        }
        let kept = if is_primary {
            own.in_step || self.kept_term == Some(record.term)
        } else {
            own.kept && may
        };
        if !kept {
            return Step::Rest;
        }
        self.promoting = !is_primary;
        let in_step = vec![own.id.clone()];
        let term = record.term + 1;
        Step::Take(Record { term, primary: own.id.clone(), boot: own.boot, in_step })
    }
}

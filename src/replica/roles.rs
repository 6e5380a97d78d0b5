//! How the pair is, and how its roles change.
//!
//! A role is changed by an operator's command alone, is durable with its epoch before anything is
//! written in it, and takes effect when the shard is opened anew. A standby is promoted without a
//! question when it can prove that nothing was acknowledged without it; otherwise it says what may
//! be missing and wants to hear that this is accepted.
//! Never: a promotion while the primary is heard; one of a node whose log failed.

use weir_io::Driver;

use super::epoch::term;
use super::mender::Healing;
use super::options::Role;
use super::pair::Pair;
use super::receiver::Phase;
use crate::commitlog::Log;

/// How one shard's half of a pair is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What the node is.
    pub role: Role,
    /// Identity of the node.
    pub node: u64,
    /// The term of its newest epoch: how many promotions led to it.
    pub epoch: u64,
    /// A word on how it stands with the other half.
    pub standing: &'static str,
    /// Address of the other half, when it is connected.
    pub peer: Option<String>,
    /// Bytes that the standby does not hold; on a standby, of the primary's log as last heard.
    pub lag_bytes: u64,
    /// Age of the oldest of them (primary), or of the last word from the primary (standby),
    /// milliseconds.
    pub lag_ms: u64,
    /// The standby holds everything below; on a standby, what it holds.
    pub replicated: u64,
    /// End of this log.
    pub end: u64,
    /// Acknowledged alone since this position.
    pub alone_since: Option<u64>,
    /// A standby that could be promoted without loss.
    pub provable: bool,
    /// Error of the standby's log, 0: none.
    pub standby_failed: u64,
    /// Identity of the other half's node, while it is connected; else 0.
    pub peer_node: u64,
    /// A standby whose word that it is in step still counts, if a majority outside confirms it.
    pub witnessed: bool,
    /// A majority outside decides who is the primary; this: whether its leave to acknowledge holds.
    pub leased: Option<bool>,
    /// A primary: its standby is named outside, and may take over.
    pub named: bool,
    /// This node's own log failed.
    pub failed: bool,
    /// Why it is not the primary, or must not act as one now.
    pub not_primary: Option<&'static str>,
    /// Why the pair lets nothing be stored here now.
    pub refusal: Option<&'static str>,
    /// Damage in this node's log, and what was healed of it.
    pub healing: Healing,
}

impl Pair {
    /// How the pair is.
    pub fn report(&self, log: &Log, now_ns: u64) -> Report {
        let (state, end) = (&self.file.state, log.watermarks().appended);
        let report = Report {
            role: self.role,
            node: state.node,
            epoch: term(state.epochs.current()),
            end,
            alone_since: state.alone.map(|(position, _)| position),
            provable: self.is_provable(),
            healing: self.mender.report(),
            ..Report::default()
        };
        let report = self.report_lease(log, report);
        match self.role {
            Role::Primary => {
                let sender = self.sender.as_ref();
                let lag = sender.map(|sender| sender.lag(end, now_ns));
                let (lag_bytes, lag_ms) = lag.unwrap_or((end - self.replicated.min(end), 0));
                Report {
                    standing: self.standing.word(),
                    peer: sender.map(|sender| sender.link.peer.to_string()),
                    lag_bytes,
                    lag_ms,
                    replicated: self.replicated,
                    standby_failed: sender.map_or(0, |sender| sender.failed),
                    ..report
                }
            }
            Role::Standby => {
                let following = self.receiver.phase == Phase::Following;
                let (primary_end, heard_ns) = self.receiver.primary_end;
                let silent_ns = if heard_ns == 0 { 0 } else { now_ns.saturating_sub(heard_ns) };
                Report {
                    standing: if following { "following" } else { "no primary" },
                    peer: self.receiver.dialed.filter(|_| following).map(|addr| addr.to_string()),
                    lag_bytes: primary_end.saturating_sub(end),
                    lag_ms: silent_ns / 1_000_000,
                    replicated: end,
                    ..report
                }
            }
        }
    }

    /// Whether acknowledgements of the primary count what this standby's device has, or it is to
    /// become the primary on that.
    pub fn wants_durable(&self) -> bool {
        let counts = self.receiver.peer.as_ref().is_some_and(|(hello, _)| hello.policy.durable);
        counts || self.receiver.called
    }

    /// Whether this standby holds all that was ever acknowledged, for certain.
    fn is_provable(&self) -> bool {
        self.has_pledge() && !self.file.state.witnessed
    }

    /// Whether this standby keeps the word that it is in step, and all it had then.
    pub(super) fn has_pledge(&self) -> bool {
        let pledge = self.file.state.pledge.filter(|_| self.role == Role::Standby);
        // What was only received is gone when the machine lost its memory since.
        pledge.is_some_and(|(_, boot)| boot == 0 || boot == self.options.boot)
    }

    /// Why this standby is not promoted, in a sentence for the operator; `Ok`: it may be.
    pub fn check_promotion(
        &self,
        driver: &Driver,
        log: &Log,
        accept_loss: bool,
    ) -> Result<(), String> {
        self.may_promote(log)?;
        if self.is_provable() || accept_loss {
            return Ok(());
        }
        let doubt = self.doubt(driver, log.watermarks().appended);
        Err(format!(
            "it is not certain that this standby holds all that was acknowledged: {doubt}. To go \
             on without what is missing: weir promote --accept-loss"
        ))
    }

    /// Makes this standby, whose promotion was checked and whose log is durable to its end, the
    /// primary of a new epoch that is durable when this returns; the shard is to be opened anew
    /// then, whatever comes of it. Both outcomes are sentences for the operator.
    pub fn promote(&mut self, driver: &mut Driver, log: &Log) -> Result<String, String> {
        let loss = if self.is_provable() {
            "nothing acknowledged is missing".to_owned()
        } else {
            self.doubt(driver, log.watermarks().appended)
        };
        self.promoted(driver, log, &loss)
    }

    /// As [`Pair::promote`]; `how` ends the sentence.
    pub(super) fn promoted(
        &mut self,
        driver: &mut Driver,
        log: &Log,
        how: &str,
    ) -> Result<String, String> {
        self.restart = true;
        let end = log.watermarks().appended;
        if log.fenced().is_some() || log.watermarks().durable < end {
            return Err("the end of this standby's log cannot be made durable".into());
        }
        if let Err(errno) = self.become_primary(driver, end) {
            return Err(format!("the new epoch cannot be made durable: {errno}"));
        }
        self.receiver.part(driver);
        let term = term(self.file.state.epochs.current());
        let text = format!("primary from position {end} on, term {term}: {how}");
        self.notes.say("replica-promoted", text.clone());
        Ok(text)
    }

    fn may_promote(&self, log: &Log) -> Result<(), String> {
        if self.role == Role::Primary {
            return Err("this node is the primary already; nothing was changed".into());
        }
        if self.is_licensed() {
            return Err("who is the primary is decided by a majority outside (etcdEndpoints or \
                        controllerAddr): it promotes this standby when the primary's lease is \
                        over. To decide by hand, stop the other box, and restart this one without \
                        that key"
                .into());
        }
        if self.receiver.phase == Phase::Following {
            return Err("the primary is alive and connected: use weir switchover on it, or stop \
                        it first"
                .into());
        }
        self.may_be_primary(log)
    }

    /// Why this standby's state forbids that it becomes the primary, however it is asked.
    pub(super) fn may_be_primary(&self, log: &Log) -> Result<(), String> {
        if self.restart {
            return Err("the role is being changed already".into());
        }
        if let Some(errno) = log.fenced() {
            return Err(format!(
                "writing this standby's log failed ({errno}): it cannot be a primary; repair the \
                 device and restart it first"
            ));
        }
        if self.file.state.epochs.entries().is_empty() {
            return Err("this standby has never followed a primary: there is nothing to go on \
                        from; to begin without one start it with role=primary"
                .into());
        }
        Ok(())
    }

    /// What may be missing, in words.
    fn doubt(&self, driver: &Driver, end: u64) -> String {
        let (primary_end, heard_ns) = self.receiver.primary_end;
        if heard_ns == 0 {
            return format!(
                "the primary was not heard of since this process began; this log ends at {end}"
            );
        }
        let seconds = driver.now_ns().saturating_sub(heard_ns) as f64 / 1e9;
        format!(
            "{} bytes of positions were known and had not arrived, and whatever the primary took \
             in the {seconds:.1} s since it was heard last",
            primary_end.saturating_sub(end)
        )
    }
}

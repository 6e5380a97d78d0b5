//! `standbyLost` changed while the pair runs.
//!
//! What was promised before must stay true. A standby that holds the pledge "nothing is
//! acknowledged without you" forgets it only by a new handshake, so it is made to come again before
//! its primary may go on alone; one that cannot be reached keeps it, and the operator is told. The
//! other way round nothing more is acknowledged alone from that moment, and the pledge is given
//! when, and only when, the standby holds everything.
//! Never: a lone acknowledgement that is not durable as such before; a message that consumers saw
//! taken out of their sight.

use weir_io::Driver;

use super::frame::{Kind, PLEDGE_ALWAYS};
use super::pair::Pair;
use super::standing::Standing;
use crate::commitlog::Log;

impl Pair {
    /// Goes by another `standbyLost`: `true` is `refuse`.
    pub fn set_refuse(&mut self, log: &Log, now_ns: u64, refuse: bool) {
        if std::mem::replace(&mut self.options.refuse, refuse) == refuse {
            return;
        }
        let end = log.watermarks().appended;
        if !refuse {
            self.tell_anew = true;
            let text = format!("standbyLost is degrade from position {end} on");
            return self.notes.say("replica-policy", text);
        }
        // What consumers were shown stays shown.
        self.shown = end;
        let epoch = self.file.state.epochs.current();
        match (self.standing, &mut self.sender) {
            (Standing::InStep, Some(sender)) => {
                sender.link.put(Kind::Pledge, epoch, self.replicated, &[&PLEDGE_ALWAYS]);
                self.pledged = true;
            }
            (Standing::Alone, _) => self.standing = Standing::Away { since_ns: now_ns, goal: end },
            _ => {}
        }
        let text = format!(
            "standbyLost is refuse from position {end} on: nothing is acknowledged without the \
             standby"
        );
        self.notes.say("replica-policy", text);
    }

    /// What is to be said with a lone acknowledgement: the standby may not know of it.
    pub(super) fn doubt_of_pledge(&self) -> &'static str {
        if self.pledged {
            "; the standby may still hold the pledge that nothing is acknowledged without it: do \
             not promote it before it was here again"
        } else {
            ""
        }
    }

    /// Has a standby come again that must hear of another policy.
    pub(super) fn tick_policy(&mut self, driver: &mut Driver) {
        if !std::mem::take(&mut self.tell_anew) {
            return;
        }
        if let Some(id) = self.sender.as_ref().map(|sender| sender.link.id) {
            self.lost(driver, id, "standbyLost was changed, which it is told when it comes again");
        }
    }
}

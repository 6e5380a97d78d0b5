//! From a completion to the room that knows what it means.
//!
//! Never: a completion whose operation is not in the slab being taken for another one, since
//! numbers carry a generation.

use super::op::Op;
use super::ring::Completion;
use super::setup::Uring;
use super::slab::CANCEL;
use crate::driver::Event;

impl Uring {
    /// Handles one completion; appends the events it means.
    pub(super) fn complete(&mut self, completion: Completion, events: &mut Vec<Event>) {
        let number = completion.user_data;
        if number & CANCEL != 0 {
            self.cancel_completed(completion);
            return;
        }
        let count = completion.count();
        match self.ops.get_mut(number) {
            Some(Op::Receive { .. }) => self.receive_completed(completion, events),
            Some(Op::Send { .. }) => self.send_completed(number, count, events),
            Some(Op::Write { .. } | Op::Read { .. } | Op::Sync { .. }) => {
                self.disk_completed(number, count, events);
            }
            Some(Op::Fill { .. }) => self.fill_completed(number, count, events),
            Some(Op::Accept { .. }) => self.accept_completed(completion, events),
            Some(Op::Connect { .. }) => self.connect_completed(number, count, events),
            Some(Op::Bell { .. }) => self.go_on(number, self.bell.fd()),
            None => assert!(completion.buffer().is_none(), "a buffer for no receive"),
        }
    }
}

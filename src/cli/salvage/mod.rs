//! `weir salvage`: what only one half of a pair had, and what became of it.
//!
//! When a primary comes back after the other half took over, the tail that only it has leaves its
//! log and is kept in `lost+found`. This command lists the messages in such a tail and, when asked
//! to, sends them again to their topics, in order, each once. It changes nothing in the tail but
//! its own note of what was sent. Never: a file removed; a message sent twice without a question.

mod command;
mod notes;
mod sending;
mod tail;

pub(super) use command::run;

//! What the control plane asks of a shard, and what it is told.
//!
//! A question comes as a letter, is answered within the turn that reads it, and carries the way
//! back; whether somebody still waits there is not the shard's business. The answers are plain
//! copies, so nothing of the shard is shared.
//! Never: a question on the path of a message; an answer that waits for the device.

use std::fmt;

use super::turn::Server;
use crate::broker::BrokerOptions;
use crate::shard::Tuning;

/// The way back to the one who asks: called once, or dropped when the shard ends first.
pub struct Reply<T>(Box<dyn FnOnce(T) + Send>);

impl<T> Reply<T> {
    /// A way back that ends in `take`. It runs on the shard's thread and must not block.
    pub fn new(take: impl FnOnce(T) + Send + 'static) -> Reply<T> {
        Reply(Box::new(take))
    }

    /// Answers.
    pub fn send(self, answer: T) {
        (self.0)(answer);
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

/// The closed list of questions.
#[derive(Debug)]
pub enum Question {
    /// Does the loop turn, and does it take messages?
    Health(Reply<Health>),
    /// Go by these values from now on.
    Tune(Box<Retune>, Reply<()>),
}

/// New values of what may change while a shard runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Retune {
    /// Limits, disk marks, retention.
    pub tuning: Tuning,
    /// The rules' options.
    pub broker: BrokerOptions,
    /// Every key and its value as text, for GET_BROKER_CONFIG.
    pub texts: Vec<(&'static str, String)>,
}

/// How a shard is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Its broker name.
    pub broker: String,
    /// Why nothing is acknowledged any more, until a restart; `None`: it serves.
    pub failed: Option<String>,
    /// Why new messages are refused for now, though reads go on; `None`: they are taken.
    pub refusing: Option<String>,
}

impl Server {
    /// Answers a question of the control plane.
    pub(super) fn answer_question(&mut self, question: Question) {
        match question {
            Question::Health(reply) => reply.send(self.health()),
            Question::Tune(retune, reply) => {
                if let Some(desk) = &mut self.naming {
                    desk.set_permission(retune.broker.broker_permission);
                }
                self.shard.tune(retune.tuning, retune.broker);
                self.config_texts = retune.texts;
                reply.send(());
            }
        }
    }

    fn health(&self) -> Health {
        let failed = self.shard.fenced().map(|errno| format!("writing the log failed: {errno}"));
        Health {
            broker: self.shard.broker.options().broker_name.clone(),
            failed,
            refusing: self.shard.refusing(),
        }
    }
}

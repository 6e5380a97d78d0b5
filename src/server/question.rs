//! What the control plane asks of a shard, and what it is told.
//!
//! A question comes as a letter, is answered within the turn that reads it, and carries the way
//! back; whether somebody still waits there is not the shard's business. The answers are plain
//! copies, so nothing of the shard is shared.
//! Never: a question on the path of a message; an answer that waits for the device.

use std::fmt;

use super::turn::Server;
use crate::base::limits::{METRIC_NAMES_MAX, METRIC_SERIES_MAX};
use crate::broker::{BrokerOptions, DataVersion, Reader, Tally, TopicConfig, TopicTraffic};
use crate::measure::{AtRisk, Counts, Stages};
use crate::shard::{PairReport, Tuning};

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
    /// What was measured since the last such question? The set that comes is empty, and is what
    /// the shard measures into from then on.
    Figures(Box<Stages>, Reply<Figures>),
    /// What stands in topics and what groups have not read yet?
    Backlog(Reply<Backlog>),
    /// How is the pair? `None`: the shard is one of none.
    Pair(Reply<Option<PairReport>>),
    /// Make this standby the primary, even when that may lose something? Both answers are
    /// sentences.
    Promote(bool, Reply<Result<String, String>>),
    /// Make this standby the primary, as a majority outside decided? Both answers are sentences.
    TakeOver(Reply<Result<String, String>>),
    /// Hand this primary's role to its standby. Both answers are sentences.
    Switchover(Reply<Result<String, String>>),
    /// What is to be registered with name servers outside?
    Announce(Reply<Announced>),
}

/// What a shard is registered as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// Its cluster.
    pub cluster: String,
    /// Its broker name.
    pub broker: String,
    /// 0 is the master.
    pub broker_id: u64,
    /// `brokerPermission`.
    pub permission: u32,
    /// Version of the topic table.
    pub version: DataVersion,
    /// The whole topic table.
    pub topics: Vec<TopicConfig>,
    /// Wall clock, milliseconds since 1970.
    pub now_ms: i64,
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

/// What a shard has measured, and how it stands.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Its broker name.
    pub broker: String,
    /// Its cluster.
    pub cluster: String,
    /// Recorded since the last question.
    pub stages: Box<Stages>,
    /// Counters since the start.
    pub counts: Counts,
    /// What a power cut would cost now.
    pub at_risk: AtRisk,
    /// Bytes appended and not yet durable.
    pub flush_behind_bytes: u64,
    /// Bytes of the log's files.
    pub storage_bytes: u64,
    /// Staging ring: bytes the device has not taken, and its size.
    pub staging: (usize, usize),
    /// Replies that wait, and log writes in flight.
    pub waiting: (usize, usize),
    /// Open connections.
    pub connections: usize,
    /// Topics and consumer groups.
    pub names: (usize, usize),
    /// `brokerPermission`.
    pub permission: u32,
    /// How full the disk is, percent.
    pub disk_used_percent: u32,
    /// How the pair is; `None`: the shard is one of none.
    pub pair: Option<PairReport>,
}

/// Messages by topic, and what groups have not read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Topic, and messages ever stored in its queues here.
    pub topics: Vec<(String, u64)>,
    /// Group, topic, and messages between its offsets and the ends of the queues it has offsets in.
    pub lags: Vec<(String, String, u64)>,
    /// Topics and groups that are not told of, because there are too many.
    pub hidden: usize,
    /// What came in and went out since the start.
    pub traffic: Traffic,
}

/// Traffic since the start, by RocketMQ's labels. Those of whom there are too many, and topics that
/// are gone, are in the totals only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// What was stored, by topic.
    pub sent: Vec<TopicTraffic>,
    /// What was handed out, by group and topic.
    pub read: Vec<Read>,
    /// Everything that was stored, and everything handed out.
    pub totals: (Tally, Tally),
}

impl Traffic {
    /// The name of those that are in the totals only; no topic and no group can have it.
    pub const OTHER: &str = "(other)";
}

/// What one group read of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Who read, and how much.
    pub reader: Reader,
    /// The topic is a group's retry topic.
    pub is_retry: bool,
    /// RocketMQ itself uses the topic or the group.
    pub is_system: bool,
}

/// How a shard is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Its broker name.
    pub broker: String,
    /// Why nothing is acknowledged any more, until a restart; `None`: it serves.
    pub failed: Option<String>,
    /// Why new messages are refused for now, though reads go on; `None`: they are taken.
    pub refusing: Option<String>,
    /// What a power cut would cost now.
    pub at_risk: AtRisk,
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
                self.ring();
                reply.send(());
            }
            Question::Figures(empty, reply) => {
                let figures = self.figures(empty);
                reply.send(figures);
            }
            Question::Backlog(reply) => reply.send(self.backlog()),
            Question::Pair(reply) => {
                reply.send(self.shard.replica_report_now(&self.driver));
            }
            Question::Switchover(reply) => {
                let answer = self.shard.switchover(&mut self.driver);
                reply.send(answer);
            }
            Question::Promote(accept_loss, reply) => {
                let answer = self.shard.promote(&mut self.driver, accept_loss);
                reply.send(answer);
            }
            Question::TakeOver(reply) => {
                let answer = self.shard.take_over(&mut self.driver);
                reply.send(answer);
            }
            Question::Announce(reply) => reply.send(self.announced()),
        }
    }

    fn figures(&mut self, empty: Box<Stages>) -> Figures {
        let connections = self.connections.open;
        let shard = &mut self.shard;
        let stages = shard.meter.take(empty);
        let options = shard.broker.options();
        let catalog = &shard.broker.catalog;
        Figures {
            broker: options.broker_name.clone(),
            cluster: options.cluster.clone(),
            stages,
            counts: shard.meter.counts,
            at_risk: shard.at_risk(),
            flush_behind_bytes: shard.flush_behind_bytes(),
            storage_bytes: shard.storage_bytes(),
            staging: shard.staging_use(),
            waiting: shard.waiting(),
            connections,
            names: (catalog.topic_count(), catalog.group_count()),
            permission: options.broker_permission,
            disk_used_percent: shard.disk_used_percent(),
            pair: shard.replica_report(),
        }
    }

    fn announced(&self) -> Announced {
        let options = self.shard.broker.options();
        let catalog = &self.shard.broker.catalog;
        let mut version = catalog.topics_version;
        if let Some(pair) = self.shard.replica_report() {
            // Of two that register as the primary, a name server keeps the one with more of this:
            // an old one that comes back does not know yet that it is none.
            version.state_version = pair.epoch;
        }
        Announced {
            cluster: options.cluster.clone(),
            broker: options.broker_name.clone(),
            broker_id: u64::from(self.shard.is_standby()),
            permission: options.broker_permission,
            version,
            topics: catalog.topics().into_iter().map(|topic| topic.config.clone()).collect(),
            now_ms: self.driver.wall_ms(),
        }
    }

    /// A bounded look: it runs on the shard's own time.
    fn backlog(&self) -> Backlog {
        let broker = &self.shard.broker;
        let (topics, groups) = (broker.catalog.topic_count(), broker.catalog.group_count());
        let mut backlog = Backlog { traffic: self.traffic(), ..Backlog::default() };
        if topics.max(groups) > METRIC_NAMES_MAX {
            return Backlog { hidden: topics + groups, ..backlog };
        }
        let marks = self.shard.marks();
        let end = |topic: &str, queue: u32| broker.max_offset(topic, queue as i32, marks);
        for topic in broker.catalog.topics() {
            let name = &topic.config.name;
            let stored: u64 = (0..topic.config.queues()).map(|queue| end(name, queue)).sum();
            if backlog.topics.len() < METRIC_SERIES_MAX {
                backlog.topics.push((name.clone(), stored));
            } else {
                backlog.hidden += 1;
            }
        }
        for group in broker.catalog.groups() {
            for topic in broker.offsets.topics_of(&group.name) {
                if backlog.lags.len() >= METRIC_SERIES_MAX {
                    backlog.hidden += 1;
                    continue;
                }
                let behind = |(queue, read): (u32, i64)| {
                    end(topic, queue).saturating_sub(read.max(0) as u64)
                };
                let lag = broker.offsets.cells(&group.name, topic).map(behind).sum();
                backlog.lags.push((group.name.clone(), topic.to_owned(), lag));
            }
        }
        backlog
    }

    fn traffic(&self) -> Traffic {
        let (broker, counts) = (&self.shard.broker, &self.shard.meter.counts);
        let read = broker.readers().iter().filter(|reader| reader.read.messages > 0);
        let read = read.map(|reader| Read {
            reader: reader.clone(),
            is_retry: broker.is_retry(&reader.topic),
            is_system: broker.is_system(&reader.topic, &reader.group),
        });
        let few = broker.catalog.topic_count() <= METRIC_NAMES_MAX;
        Traffic {
            sent: if few { broker.sent().collect() } else { Vec::new() },
            read: read.collect(),
            totals: (
                Tally { messages: counts.messages_in, bytes: counts.bytes_in },
                Tally { messages: counts.messages_out, bytes: counts.bytes_out },
            ),
        }
    }

    fn health(&self) -> Health {
        let failed = self.shard.fenced().map(|errno| format!("writing the log failed: {errno}"));
        Health {
            broker: self.shard.broker.options().broker_name.clone(),
            failed,
            refusing: self.shard.refusing(),
            at_risk: self.shard.at_risk(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Traffic;
    use crate::broker::{check_group, check_topic};

    #[test]
    fn the_name_of_the_rest_is_no_name_of_a_topic_or_group() {
        assert!(check_topic(Traffic::OTHER).is_err());
        assert!(check_group(Traffic::OTHER).is_err());
    }
}

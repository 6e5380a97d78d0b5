//! What a broker says when it registers, and what may be refused of it.
//!
//! The types hold decoded fields only; frames and JSON bodies are the caller's. A refusal is
//! decided here before anything changes, so that a registration is taken whole or not at all.

use weir_wire::codes::response;

use super::address::Advertised;
use super::bounds::{BROKERS_MAX, INSTANCES_MAX, NAME_MAX, ROWS_MAX, TOPIC_MAX, TOPICS_MAX};
use super::table::Naming;

/// Why a request was not done: RocketMQ's response code and the remark for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// RocketMQ's response code.
    pub code: i32,
    /// What happened, with limit, value and remedy where there is one.
    pub remark: String,
}

impl Refusal {
    pub(super) fn error(remark: String) -> Self {
        Self { code: response::SYSTEM_ERROR, remark }
    }

    pub(super) fn no_route(topic: &str) -> Self {
        let remark = format!(
            "No topic route info in name server for the topic: {topic}\nSee \
             https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."
        );
        Self { code: response::TOPIC_NOT_EXIST, remark }
    }
}

/// RocketMQ's DataVersion: raised by a broker with every change of its topic table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableVersion {
    /// Raised when the broker's role changes.
    pub state_version: i64,
    /// Time of the change, milliseconds since 1970.
    pub timestamp: i64,
    /// Changes so far.
    pub counter: i64,
}

/// What a registration says about one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicRow<'a> {
    /// Topic name.
    pub name: &'a str,
    /// Queues that may be pulled from.
    pub read_queues: u32,
    /// Queues that may be sent to.
    pub write_queues: u32,
    /// RocketMQ's permission bits (read 4, write 2, inherit 1).
    pub perm: u32,
    /// RocketMQ's `topicSysFlag`.
    pub sys_flag: u32,
}

/// REGISTER_BROKER, decoded.
#[derive(Clone, Debug)]
pub struct Registration<'a> {
    /// Cluster name.
    pub cluster: &'a str,
    /// Broker name: what clients address queues by.
    pub broker_name: &'a str,
    /// 0 is the master.
    pub broker_id: u64,
    /// `host:port` that clients dial.
    pub addr: Advertised,
    /// `host:port` of the replication port, told to slaves.
    pub ha_addr: &'a str,
    /// The broker's whole topic table.
    pub topics: &'a [TopicRow<'a>],
    /// Version of that table.
    pub version: TableVersion,
    /// The connection it came over: its end is the broker's end. `None`: only age ends it.
    pub connection: Option<u64>,
    /// `heartbeatTimeoutMillis`: how long it lives without a sign; `None` is 120 s.
    pub timeout_ms: Option<u64>,
    /// The broker's own permission (`brokerPermission`), 6 unless it was restricted.
    pub permission: u32,
    /// `enableActingMaster`: the lowest slave may stand in for a lost master, read only.
    pub acting_master_enabled: bool,
    /// One of our own shards: never expires, and its name and id cannot be taken.
    pub own: bool,
}

/// Answer to a registration; both empty for a master.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegisterReply {
    /// Ext field `haServerAddr`: where a slave replicates from.
    pub ha_server_addr: String,
    /// Ext field `masterAddr`: the master's main address.
    pub master_addr: String,
}

/// Admission.
impl Naming {
    /// Checks a registration against every bound before anything changes.
    pub(super) fn admit(&self, r: &Registration<'_>) -> Result<(), Refusal> {
        let addr = r.addr.identity();
        let names =
            [("brokerName", r.broker_name), ("clusterName", r.cluster), ("brokerAddr", addr)];
        for (what, name) in names {
            if name.is_empty() || name.len() > NAME_MAX {
                let length = name.len();
                return Err(Refusal::error(format!(
                    "{what} has {length} bytes, allowed are 1 to {NAME_MAX}"
                )));
            }
        }
        if r.ha_addr.len() > NAME_MAX {
            return Err(Refusal::error(format!("haServerAddr is longer than {NAME_MAX} bytes")));
        }
        let broker = self.broker(r.broker_name);
        let known = broker.and_then(|broker| broker.instances.get(&r.broker_id));
        if known.is_some_and(|old| old.own) && !r.own {
            return Err(Refusal::error(format!(
                "broker {} with id {} is this process itself; give the other broker its own \
                 brokerName or brokerId",
                r.broker_name, r.broker_id
            )));
        }
        if known.is_none() && r.topics.len() == 1 && !r.own {
            return Err(Refusal::error("register broker failed".to_owned()));
        }
        let instances = broker.map_or(0, |broker| broker.instances.len());
        if broker.is_none() && self.brokers().count() >= BROKERS_MAX
            || known.is_none() && instances >= INSTANCES_MAX
        {
            return Err(Refusal::error(format!(
                "this name server holds at most {BROKERS_MAX} brokers of {INSTANCES_MAX} \
                 instances; use another one"
            )));
        }
        self.admit_topics(broker.map(|broker| broker.slot), r.topics)
    }

    pub(super) fn admit_topics(
        &self,
        slot: Option<u32>,
        topics: &[TopicRow<'_>],
    ) -> Result<(), Refusal> {
        let (mut new_topics, mut new_rows) = (0, 0);
        for topic in topics {
            if topic.name.is_empty() || topic.name.len() > TOPIC_MAX {
                let length = topic.name.len();
                return Err(Refusal::error(format!(
                    "topic name of {length} bytes, allowed are 1 to {TOPIC_MAX}"
                )));
            }
            let (known, has_row) = self.known(topic.name, slot);
            new_topics += usize::from(!known);
            new_rows += usize::from(!has_row);
        }
        let (topics_held, rows_held) = self.held();
        if topics_held + new_topics > TOPICS_MAX || rows_held + new_rows > ROWS_MAX {
            return Err(Refusal::error(format!(
                "this name server holds at most {TOPICS_MAX} topics and {ROWS_MAX} pairs of topic \
                 and broker; delete topics or use another one"
            )));
        }
        Ok(())
    }
}

//! GET_ROUTEINFO_BY_TOPIC (105): which brokers have a topic.
//!
//! The body has two dialects, by the client's version. In neither stands a space, because the Go
//! client splits the text by hand. A topic nobody has is answered with TOPIC_NOT_EXIST.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::request_header;
use crate::fastjson::{self, Dialect, Object};
use crate::header::{FieldError, Text};

/// From this version on (V4_9_4) clients read standard JSON.
pub const STANDARD_JSON_VERSION: i32 = 401;

request_header! {
    /// The fields of a route query.
    RouteHeader {
        /// Topic.
        topic: Text<'a> = b"topic",
        /// The client reads only standard JSON (5.x).
        accept_standard_json_only: bool = b"acceptStandardJsonOnly",
    }
}

impl RouteHeader<'_> {
    /// The dialect of the answer to a client of this version.
    pub fn dialect(&self, version: i32) -> Dialect {
        if version >= STANDARD_JSON_VERSION || self.accept_standard_json_only {
            Dialect::Standard
        } else {
            Dialect::Fastjson
        }
    }
}

/// A broker of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerData {
    /// Addresses by broker id; 0 is the master.
    pub broker_addrs: BTreeMap<i64, String>,
    /// Name of the broker.
    pub broker_name: String,
    /// Its cluster.
    pub cluster: String,
    /// A slave may act as master.
    pub enable_acting_master: bool,
}

/// The queues a broker has of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueData {
    /// Name of the broker.
    pub broker_name: String,
    /// 4 read, 2 write, 1 inherit.
    pub perm: i32,
    /// Queues to read.
    pub read_queue_nums: i32,
    /// Flags of the topic. Old brokers spell it `topicSynFlag`.
    #[serde(alias = "topicSynFlag")]
    pub topic_sys_flag: i32,
    /// Queues to write.
    pub write_queue_nums: i32,
}

/// The answer's body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicRouteData {
    /// The brokers.
    pub broker_datas: Vec<BrokerData>,
    /// `broker-a:4;broker-b:4` for a topic in strict order; empty for others.
    pub order_topic_conf: String,
    /// Their queues.
    pub queue_datas: Vec<QueueData>,
}

impl BrokerData {
    /// Appends the broker as an object; `acting_master` is not in 106's bodies.
    pub fn write(&self, out: &mut Vec<u8>, dialect: Dialect) {
        let mut object = Object::open(out, dialect);
        let mut addresses = Object::open(object.key("brokerAddrs"), dialect);
        for (id, address) in &self.broker_addrs {
            fastjson::text(addresses.int_key(*id), dialect, address);
        }
        addresses.close();
        object.text("brokerName", &self.broker_name);
        object.text("cluster", &self.cluster);
        object.bool("enableActingMaster", self.enable_acting_master);
        object.close();
    }
}

impl QueueData {
    fn write(&self, out: &mut Vec<u8>, dialect: Dialect) {
        let mut object = Object::open(out, dialect);
        object.text("brokerName", &self.broker_name);
        object.int("perm", self.perm.into());
        object.int("readQueueNums", self.read_queue_nums.into());
        object.int("topicSysFlag", self.topic_sys_flag.into());
        object.int("writeQueueNums", self.write_queue_nums.into());
        object.close();
    }
}

impl TopicRouteData {
    /// Appends the body.
    pub fn write(&self, out: &mut Vec<u8>, dialect: Dialect) {
        let mut object = Object::open(out, dialect);
        let brokers = object.key("brokerDatas");
        fastjson::list(brokers, &self.broker_datas, |out, broker| broker.write(out, dialect));
        object.object("filterServerTable", |_| {});
        if !self.order_topic_conf.is_empty() {
            object.text("orderTopicConf", &self.order_topic_conf);
        }
        let queues = object.key("queueDatas");
        fastjson::list(queues, &self.queue_datas, |out, queue| queue.write(out, dialect));
        object.close();
    }

    /// Reads the body, in either dialect.
    pub fn parse(body: &[u8]) -> Result<TopicRouteData, FieldError> {
        fastjson::read_table(body, "TopicRouteData")
    }
}

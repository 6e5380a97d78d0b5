//! GET_BROKER_CLUSTER_INFO (106), and the topic lists of 206, 224, 304, 305, 311 to 313 and 343.
//!
//! 106 is always in Fastjson's dialect: broker ids are keys without quotes. No list is paged.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::request_header;
use super::route::BrokerData;
use crate::fastjson::{self, Dialect, Object};
use crate::header::{FieldError, Text};

request_header! {
    /// The field of GET_TOPICS_BY_CLUSTER (224).
    TopicsByClusterHeader {
        /// Cluster.
        cluster: Text<'a> = b"cluster",
    }
}

/// The body of 106.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterInfo {
    /// Brokers by name.
    pub broker_addr_table: BTreeMap<String, BrokerData>,
    /// Names of brokers by cluster.
    pub cluster_addr_table: BTreeMap<String, Vec<String>>,
}

impl ClusterInfo {
    /// Appends the body.
    pub fn write(&self, out: &mut Vec<u8>) {
        let dialect = Dialect::Fastjson;
        let mut object = Object::open(out, dialect);
        object.object("brokerAddrTable", |table| {
            for (name, broker) in &self.broker_addr_table {
                broker.write(table.key(name), dialect);
            }
        });
        object.object("clusterAddrTable", |table| {
            for (cluster, brokers) in &self.cluster_addr_table {
                let list = table.key(cluster);
                fastjson::list(list, brokers, |out, name| fastjson::text(out, dialect, name));
            }
        });
        object.close();
    }

    /// Reads the body, as a client does.
    pub fn parse(body: &[u8]) -> Result<ClusterInfo, FieldError> {
        fastjson::read_table(body, "ClusterInfo")
    }
}

/// The body of the topic lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicList {
    /// A broker's address, in 304 and 343; empty elsewhere.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub broker_addr: String,
    /// Names of topics.
    pub topic_list: Vec<String>,
}

impl TopicList {
    /// Reads the body, as a client does.
    pub fn parse(body: &[u8]) -> Result<TopicList, FieldError> {
        fastjson::read_table(body, "TopicList")
    }
}

/// Appends a topic list; `broker_addr` only where the request's answer has one.
pub fn write_topic_list<'a>(
    out: &mut Vec<u8>,
    broker_addr: Option<&str>,
    topics: impl IntoIterator<Item = &'a str>,
) {
    let mut object = Object::open(out, Dialect::Fastjson);
    if let Some(address) = broker_addr {
        object.text("brokerAddr", address);
    }
    let list = object.key("topicList");
    fastjson::list(list, topics, |out, topic| fastjson::text(out, Dialect::Fastjson, topic));
    object.close();
}

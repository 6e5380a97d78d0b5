//! Topics: UPDATE_AND_CREATE_TOPIC (17) and its list (18), GET_ALL_TOPIC_CONFIG (21),
//! DELETE_TOPIC_IN_BROKER (215), DELETE_TOPIC_IN_NAMESRV (216) and GET_TOPIC_CONFIG (351).
//!
//! 17 has the configuration in its header, 18 in its body. An unknown topic in 351 must be
//! answered with TOPIC_NOT_EXIST and nothing else, or tools give up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{named_enum, request_header};
use crate::fastjson;
use crate::header::{FieldError, Text};

/// Answer field of 21: how many topics there are.
pub const EXT_TOTAL_TOPIC_NUM: &str = "totalTopicNum";

named_enum! {
    /// How many tags a message may have.
    TopicFilterType {
        /// One.
        SingleTag = "SINGLE_TAG" | 0,
        /// Several; not used in practice.
        MultiTag = "MULTI_TAG" | 1,
    }
}

request_header! {
    /// The fields of UPDATE_AND_CREATE_TOPIC.
    CreateTopicHeader {
        /// Topic.
        topic: Text<'a> = b"topic",
        /// Template, usually `TBW102`; without effect.
        default_topic: Text<'a> = b"defaultTopic",
        /// Queues to read.
        read_queue_nums: i32 = b"readQueueNums",
        /// Queues to write.
        write_queue_nums: i32 = b"writeQueueNums",
        /// 4 read, 2 write, 1 inherit.
        perm: i32 = b"perm",
        /// Name of a [`TopicFilterType`].
        topic_filter_type: Text<'a> = b"topicFilterType",
        /// Flags of the topic.
        topic_sys_flag: Option<i32> = b"topicSysFlag",
        /// Messages are in strict order.
        order: bool = b"order",
        /// Changes of attributes: `+key=value,-key`.
        attributes: Option<Text<'a>> = b"attributes",
        /// Create it against warnings (5.x).
        force: bool = b"force",
    }
}

request_header! {
    /// The fields of DELETE_TOPIC_IN_BROKER and GET_TOPIC_CONFIG.
    TopicHeader {
        /// Topic.
        topic: Text<'a> = b"topic",
    }
}

request_header! {
    /// The fields of DELETE_TOPIC_IN_NAMESRV.
    DeleteTopicInNamesrvHeader {
        /// Topic.
        topic: Text<'a> = b"topic",
        /// Only in this cluster (5.x).
        cluster_name: Option<Text<'a>> = b"clusterName",
    }
}

request_header! {
    /// The fields of GET_ALL_TOPIC_CONFIG: none from 4.9 clients, a page from 5.x ones.
    AllTopicConfigHeader {
        /// First topic of the page.
        topic_seq: Option<i32> = b"topicSeq",
        /// Version of the table the earlier pages are of, as JSON.
        data_version: Option<Text<'a>> = b"dataVersion",
        /// Most topics wanted.
        max_topic_num: Option<i32> = b"maxTopicNum",
    }
}

/// Version of a table: it changes when the table does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataVersion {
    /// Changes so far.
    pub counter: i64,
    /// Version of the replica's state.
    pub state_version: i64,
    /// When it changed last, milliseconds since 1970.
    pub timestamp: i64,
}

/// A topic's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfig {
    /// Attributes by name (5.x).
    pub attributes: BTreeMap<String, String>,
    /// Messages are in strict order.
    pub order: bool,
    /// 4 read, 2 write, 1 inherit.
    pub perm: i32,
    /// Queues to read.
    pub read_queue_nums: i32,
    /// How many tags a message may have.
    pub topic_filter_type: TopicFilterType,
    /// Topic.
    pub topic_name: String,
    /// Flags of the topic.
    pub topic_sys_flag: i32,
    /// Queues to write.
    pub write_queue_nums: i32,
}

impl Default for TopicConfig {
    /// RocketMQ's defaults: 16 queues, read and write.
    fn default() -> TopicConfig {
        TopicConfig {
            attributes: BTreeMap::new(),
            order: false,
            perm: 6,
            read_queue_nums: 16,
            topic_filter_type: TopicFilterType::SingleTag,
            topic_name: String::new(),
            topic_sys_flag: 0,
            write_queue_nums: 16,
        }
    }
}

impl TopicConfig {
    /// Appends the body of 351's answer.
    pub fn write(&self, out: &mut Vec<u8>) {
        fastjson::write(out, self);
    }

    /// Reads that body, as a client does.
    pub fn parse(body: &[u8]) -> Result<TopicConfig, FieldError> {
        fastjson::read(body, "TopicConfig")
    }
}

/// The body of UPDATE_AND_CREATE_TOPIC_LIST.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfigList {
    /// The topics.
    pub topic_config_list: Vec<TopicConfig>,
}

impl TopicConfigList {
    /// Reads the body.
    pub fn parse(body: &[u8]) -> Result<TopicConfigList, FieldError> {
        fastjson::read(body, "CreateTopicListRequestBody")
    }
}

/// The topic table, as 21 answers it and a registration brings it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicTable {
    /// Version of the table.
    pub data_version: DataVersion,
    /// Version of the table of static topics, which is empty here.
    pub mapping_data_version: DataVersion,
    /// Topics by name.
    pub topic_config_table: BTreeMap<String, TopicConfig>,
    /// Static topics: none, but the member must be there.
    pub topic_queue_mapping_detail_map: BTreeMap<String, serde_json::Value>,
}

impl TopicTable {
    /// Appends the body of 21's answer.
    pub fn write(&self, out: &mut Vec<u8>) {
        fastjson::write(out, self);
    }

    /// Reads that body, as a client does.
    pub fn parse(body: &[u8]) -> Result<TopicTable, FieldError> {
        fastjson::read_table(body, "TopicConfigSerializeWrapper")
    }
}

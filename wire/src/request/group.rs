//! Consumer groups: UPDATE_AND_CREATE_SUBSCRIPTIONGROUP (200) and its list (225),
//! GET_ALL_SUBSCRIPTIONGROUP_CONFIG (201), DELETE_SUBSCRIPTIONGROUP (207) and
//! GET_SUBSCRIPTIONGROUP_CONFIG (352).
//!
//! A member that was not sent has RocketMQ's default, never zero. Unknown groups in 352 are
//! SUBSCRIPTION_GROUP_NOT_EXIST.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::topic::DataVersion;
use super::{named_enum, request_header};
use crate::fastjson;
use crate::header::{FieldError, Text};

/// Answer field of 201: how many groups there are.
pub const EXT_TOTAL_GROUP_NUM: &str = "totalGroupNum";

request_header! {
    /// The fields of DELETE_SUBSCRIPTIONGROUP.
    DeleteGroupHeader {
        /// Group.
        group_name: Text<'a> = b"groupName",
        /// Its offsets go with it.
        clean_offset: bool = b"cleanOffset",
        /// The same, as older tools spell it.
        remove_offset: bool = b"removeOffset",
    }
}

request_header! {
    /// The field of GET_SUBSCRIPTIONGROUP_CONFIG.
    GroupHeader {
        /// Group.
        group: Text<'a> = b"group",
    }
}

request_header! {
    /// The fields of GET_ALL_SUBSCRIPTIONGROUP_CONFIG: none from 4.9 clients, a page from 5.x.
    AllGroupConfigHeader {
        /// First group of the page.
        group_seq: Option<i32> = b"groupSeq",
        /// Version of the table the earlier pages are of, as JSON.
        data_version: Option<Text<'a>> = b"dataVersion",
        /// Most groups wanted.
        max_group_num: Option<i32> = b"maxGroupNum",
    }
}

named_enum! {
    /// How waits between retries are chosen.
    RetryPolicyType {
        /// From a list, or the delay levels.
        Customized = "CUSTOMIZED" | 1,
        /// Growing by a factor.
        Exponential = "EXPONENTIAL" | 0,
    }
}

/// Waits that grow by a factor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExponentialRetryPolicy {
    /// First wait, milliseconds.
    pub initial: i64,
    /// Longest wait, milliseconds.
    pub max: i64,
    /// Factor from one to the next.
    pub multiplier: i64,
}

impl Default for ExponentialRetryPolicy {
    /// RocketMQ's: from 5 s to 2 h, doubling.
    fn default() -> Self {
        ExponentialRetryPolicy { initial: 5_000, max: 7_200_000, multiplier: 2 }
    }
}

/// Waits from a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CustomizedRetryPolicy {
    /// The waits, first retry first, milliseconds.
    pub next: Vec<i64>,
}

/// When a message that failed is tried again (5.x).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupRetryPolicy {
    /// Waits from a list; without one the delay levels count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customized_retry_policy: Option<CustomizedRetryPolicy>,
    /// Waits that grow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exponential_retry_policy: Option<ExponentialRetryPolicy>,
    /// Which of the two counts.
    #[serde(rename = "type")]
    pub kind: RetryPolicyType,
}

/// A consumer group's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionGroupConfig {
    /// Attributes by name (5.x).
    pub attributes: BTreeMap<String, String>,
    /// Broker the group reads from.
    pub broker_id: i64,
    /// The group may consume by broadcast.
    pub consume_broadcast_enable: bool,
    /// The group may consume.
    pub consume_enable: bool,
    /// The group may start at the beginning; without effect.
    pub consume_from_min_enable: bool,
    /// The group consumes in order.
    pub consume_message_orderly: bool,
    /// How long one message may take, minutes.
    pub consume_timeout_minute: i32,
    /// Group.
    pub group_name: String,
    /// When a message that failed is tried again.
    pub group_retry_policy: GroupRetryPolicy,
    /// Flags of the group.
    pub group_sys_flag: i32,
    /// Members are told when others come and go.
    pub notify_consumer_ids_changed_enable: bool,
    /// Retries before a message goes to the dead letters.
    pub retry_max_times: i32,
    /// Queues of the retry topic.
    pub retry_queue_nums: i32,
    /// Broker to read from when far behind.
    pub which_broker_when_consume_slowly: i64,
}

impl Default for SubscriptionGroupConfig {
    /// RocketMQ's defaults, without a name.
    fn default() -> SubscriptionGroupConfig {
        SubscriptionGroupConfig {
            attributes: BTreeMap::new(),
            broker_id: 0,
            consume_broadcast_enable: true,
            consume_enable: true,
            consume_from_min_enable: true,
            consume_message_orderly: false,
            consume_timeout_minute: 15,
            group_name: String::new(),
            group_retry_policy: GroupRetryPolicy::default(),
            group_sys_flag: 0,
            notify_consumer_ids_changed_enable: true,
            retry_max_times: 16,
            retry_queue_nums: 1,
            which_broker_when_consume_slowly: 1,
        }
    }
}

impl SubscriptionGroupConfig {
    /// Reads the body of 200, or of 352's answer.
    pub fn parse(body: &[u8]) -> Result<SubscriptionGroupConfig, FieldError> {
        fastjson::read(body, "SubscriptionGroupConfig")
    }

    /// Appends that body.
    pub fn write(&self, out: &mut Vec<u8>) {
        fastjson::write(out, self);
    }
}

/// The body of UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupConfigList {
    /// The groups.
    pub group_config_list: Vec<SubscriptionGroupConfig>,
}

impl GroupConfigList {
    /// Reads the body.
    pub fn parse(body: &[u8]) -> Result<GroupConfigList, FieldError> {
        fastjson::read(body, "SubscriptionGroupList")
    }
}

/// The group table, as 201 answers it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupTable {
    /// Version of the table.
    pub data_version: DataVersion,
    /// By group, by topic: bits that forbid (1 is reading).
    pub forbidden_table: BTreeMap<String, BTreeMap<String, i32>>,
    /// Groups by name.
    pub subscription_group_table: BTreeMap<String, SubscriptionGroupConfig>,
}

impl GroupTable {
    /// Appends the body of 201's answer.
    pub fn write(&self, out: &mut Vec<u8>) {
        fastjson::write(out, self);
    }

    /// Reads that body, as a client does.
    pub fn parse(body: &[u8]) -> Result<GroupTable, FieldError> {
        fastjson::read_table(body, "SubscriptionGroupWrapper")
    }
}

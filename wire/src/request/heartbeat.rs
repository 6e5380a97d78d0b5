//! HEART_BEAT (34): which groups a client is in, and what it subscribes to.
//!
//! The answer's version tells clients what we can do; 5.x clients also read `IS_SUB_CHANGE` and
//! `IS_SUPPORT_HEART_BEAT_V2`. Nothing in a beat is trusted to be there: sets may be null, codes
//! may be text, enums may be of a later release.

use serde::{Deserialize, Serialize};

use super::named_enum;
use crate::fastjson;
use crate::header::FieldError;

/// Answer field: `true` when the broker wants a full beat.
pub const EXT_SUB_CHANGE: &str = "IS_SUB_CHANGE";
/// Answer field: `true` when the broker knows beats without subscriptions.
pub const EXT_V2_SUPPORTED: &str = "IS_SUPPORT_HEART_BEAT_V2";

named_enum! {
    /// How a client fetches.
    ConsumeType {
        /// Push: the client pulls for a listener.
        Passively = "CONSUME_PASSIVELY" | 1,
        /// Pull: the application does.
        Actively = "CONSUME_ACTIVELY" | 0,
        /// Pop.
        Pop = "CONSUME_POP" | 2,
    }
}

named_enum! {
    /// How a group shares messages.
    MessageModel {
        /// Each message goes to one member.
        Clustering = "CLUSTERING" | 1,
        /// Each message goes to every member.
        Broadcasting = "BROADCASTING" | 0,
    }
}

named_enum! {
    /// Where a group without offsets begins. The deprecated names mean the end too.
    ConsumeFromWhere {
        /// At the end.
        LastOffset = "CONSUME_FROM_LAST_OFFSET" | 0,
        /// At the beginning.
        FirstOffset = "CONSUME_FROM_FIRST_OFFSET" | 4,
        /// At a time the client knows.
        Timestamp = "CONSUME_FROM_TIMESTAMP" | 5,
    }
}

/// A subscription to one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionData {
    /// A class filter; obsolete.
    pub class_filter_mode: bool,
    /// Tag hashes as the client has them. Go's are wrong for tags that are not ASCII: hash the
    /// expression anew instead.
    #[serde(deserialize_with = "codes")]
    pub code_set: Vec<i64>,
    /// `TAG` or `SQL92`; empty means `TAG`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub expression_type: String,
    /// The expression; `*` or empty takes all.
    pub sub_string: String,
    /// Grows when the subscription changes.
    pub sub_version: i64,
    /// Tags as the client has them.
    pub tags_set: Vec<String>,
    /// Topic.
    pub topic: String,
}

/// A consumer group of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerData {
    /// Where it begins without offsets.
    pub consume_from_where: ConsumeFromWhere,
    /// How it fetches.
    pub consume_type: ConsumeType,
    /// Group.
    pub group_name: String,
    /// How messages are shared.
    pub message_model: MessageModel,
    /// Its subscriptions.
    pub subscription_data_set: Vec<SubscriptionData>,
    /// The consumer belongs to a unit.
    pub unit_mode: bool,
}

/// A producer group of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerData {
    /// Group.
    pub group_name: String,
}

/// The body of a heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HeartbeatData {
    /// The client's id.
    #[serde(rename = "clientID")]
    pub client_id: String,
    /// Its consumer groups.
    pub consumer_data_set: Vec<ConsumerData>,
    /// Sum over the subscriptions (5.x); 0 for a beat of the old kind.
    pub heartbeat_fingerprint: i32,
    /// Its producer groups.
    pub producer_data_set: Vec<ProducerData>,
    /// The subscriptions were left out because the broker knows them (5.x).
    pub without_sub: bool,
}

impl HeartbeatData {
    /// Reads a heartbeat's body.
    pub fn parse(body: &[u8]) -> Result<HeartbeatData, FieldError> {
        fastjson::read(body, "HeartbeatData")
    }

    /// Appends the body, as a client sends it.
    pub fn write(&self, out: &mut Vec<u8>) {
        fastjson::write(out, self);
    }
}

/// Codes as numbers or as text; others are left out.
fn codes<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<i64>, D::Error> {
    let values = Vec::<serde_json::Value>::deserialize(from)?;
    let code = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.parse().ok(),
        other => other.as_i64(),
    };
    Ok(values.iter().filter_map(code).collect())
}

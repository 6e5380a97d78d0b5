//! JSON of topic and group configurations, as RocketMQ's tools read them.
//! Members are RocketMQ's own names; what weir has no use for carries RocketMQ's default.

use serde_json::{Map, Value, json};

use crate::broker::{DataVersion, GroupConfig, TopicConfig};

/// TopicConfig.
pub(super) fn topic(config: &TopicConfig) -> Value {
    json!({
        "attributes": attributes(&config.attributes),
        "order": config.order,
        "perm": config.perm,
        "readQueueNums": config.read_queues,
        "topicFilterType": config.filter_type(),
        "topicName": config.name,
        "topicSysFlag": config.sys_flag,
        "writeQueueNums": config.write_queues,
    })
}

/// SubscriptionGroupConfig.
pub(super) fn group(config: &GroupConfig) -> Value {
    json!({
        "attributes": attributes(&config.attributes),
        "brokerId": config.broker_id,
        "consumeBroadcastEnable": config.consume_broadcast_enable,
        "consumeEnable": config.consume_enable,
        "consumeFromMinEnable": config.consume_from_min_enable,
        "consumeMessageOrderly": config.consume_orderly,
        "consumeTimeoutMinute": config.consume_timeout_minute,
        "groupName": config.name,
        "groupRetryPolicy": { "type": "CUSTOMIZED" },
        "groupSysFlag": config.sys_flag,
        "notifyConsumerIdsChangedEnable": config.notify_ids_changed,
        "retryMaxTimes": config.retry_max_times,
        "retryQueueNums": config.retry_queues,
        "whichBrokerWhenConsumeSlowly": config.broker_when_slow,
    })
}

/// DataVersion.
pub(super) fn version(version: DataVersion) -> Value {
    json!({
        "counter": version.counter,
        "stateVersion": version.state_version,
        "timestamp": version.timestamp_ms,
    })
}

fn attributes(pairs: &[(String, String)]) -> Value {
    let map: Map<String, Value> =
        pairs.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    Value::Object(map)
}

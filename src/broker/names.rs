//! Names of topics and groups: what is allowed, and the prefixes with a meaning.
//!
//! RocketMQ's validators, with their texts. Names are ASCII once validated. No name passes that
//! would force a record of version 2, which older clients misread.

use super::reject::{Reject, code};
use crate::base::limits::{GROUP_NAME_MAX, TOPIC_NAME_MAX};

/// Prefix of a group's retry topic.
pub const RETRY_PREFIX: &str = "%RETRY%";
/// Prefix of a group's dead-letter topic.
pub const DLQ_PREFIX: &str = "%DLQ%";
/// The template topics are auto-created from.
pub const TEMPLATE_TOPIC: &str = "TBW102";
/// RocketMQ's character set, as its remarks print it.
const CHARSET: &str = "^[%|a-zA-Z0-9_-]+$";

/// Checks the name of a topic to be created or sent to; code 29 with RocketMQ's text.
pub fn check_topic(topic: &str) -> Result<(), Reject> {
    if topic.trim().is_empty() {
        return Err(invalid("The specified topic is blank.".to_owned()));
    }
    if !topic.bytes().all(allowed) {
        return Err(invalid(format!(
            "The specified topic contains illegal characters, allowing only {CHARSET}"
        )));
    }
    if topic.len() > TOPIC_NAME_MAX {
        return Err(invalid(format!(
            "The specified topic is longer than topic max length. It has {} characters, the \
             limit is {TOPIC_NAME_MAX}; choose a shorter name.",
            topic.len()
        )));
    }
    Ok(())
}

/// Checks the name of a group; code 29 with RocketMQ's text.
pub fn check_group(group: &str) -> Result<(), Reject> {
    if group.trim().is_empty() {
        return Err(invalid("The specified group is blank.".to_owned()));
    }
    if !group.bytes().all(allowed) {
        return Err(invalid(format!(
            "The specified group contains illegal characters, allowing only {CHARSET}"
        )));
    }
    if group.len() > GROUP_NAME_MAX {
        return Err(invalid(format!(
            "The specified group is longer than group max length {GROUP_NAME_MAX}. It has {} \
             characters; choose a shorter name.",
            group.len()
        )));
    }
    Ok(())
}

/// Whether clients may not send to the topic: RocketMQ keeps it for itself.
pub fn is_send_forbidden(topic: &str) -> bool {
    matches!(
        topic,
        "SCHEDULE_TOPIC_XXXX"
            | "RMQ_SYS_TRANS_HALF_TOPIC"
            | "RMQ_SYS_TRANS_OP_HALF_TOPIC"
            | "TRANS_CHECK_MAX_TIME_TOPIC"
            | "SELF_TEST_TOPIC"
            | "OFFSET_MOVED_EVENT"
    )
}

/// Whether RocketMQ itself uses the group name, so that no operator may delete it.
pub fn is_system_group(group: &str) -> bool {
    group.starts_with("CID_RMQ_SYS_") || SYSTEM_GROUPS.contains(&group)
}

/// Groups that exist at boot.
pub const SYSTEM_GROUPS: [&str; 11] = [
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "SELF_TEST_P_GROUP",
    "SCHEDULE_CONSUMER",
    "CID_ONSAPI_OWNER",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_PULL",
    "CID_ONS-HTTP-PROXY",
    "CID_RMQ_SYS_TRANS",
    "CLIENT_INNER_PRODUCER",
];

fn allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'|' | b'_' | b'-')
}

fn invalid(remark: String) -> Reject {
    Reject::new(code::INVALID_PARAMETER, remark)
}

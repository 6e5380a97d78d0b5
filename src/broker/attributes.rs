//! Topic attributes: the changes `mqadmin updateTopic -a` sends, and what each attribute may be.
//!
//! RocketMQ's own attributes are taken with the values weir has, and refused by name with those
//! it does not have yet, so that no topic claims what it does not do. `flush.disk.type` and the
//! quotas are weir's.
//! Invariant: stored attributes are sorted by name, each name once.

use super::options::FlushClass;
use super::quota::{QUOTA_BYTES, QUOTA_MAX, QUOTA_MESSAGES, QUOTA_STORED};
use super::reject::{Reject, code};

/// The attribute that sets a topic's flush class.
pub const FLUSH_ATTRIBUTE: &str = "flush.disk.type";

/// The flush class attributes ask for; `None` when they do not.
pub(super) fn flush_class(attributes: &[(String, String)]) -> Option<FlushClass> {
    let (_, value) = attributes.iter().find(|(name, _)| name == FLUSH_ATTRIBUTE)?;
    match value.as_str() {
        "SYNC_FLUSH" => Some(FlushClass::Durable),
        _ => Some(FlushClass::Staged),
    }
}

/// Applies `changes` (`+name=value,-name`) to `current`. `creating`: the topic is new, so only
/// additions make sense. Errors carry RocketMQ's texts and its code, 1.
pub(super) fn alter(
    current: &[(String, String)],
    changes: &str,
    creating: bool,
) -> Result<Vec<(String, String)>, Reject> {
    let mut attributes = current.to_vec();
    for change in changes.split(',').map(str::trim).filter(|change| !change.is_empty()) {
        if let Some(addition) = change.strip_prefix('+') {
            let Some((name, value)) = addition.split_once('=') else {
                return Err(refuse(format!("add attribute format is wrong: {change}")));
            };
            check(name, value)?;
            put(&mut attributes, name, value)?;
        } else if let Some(name) = change.strip_prefix('-') {
            let known = attributes.iter().position(|(own, _)| own == name);
            match known {
                _ if creating => {
                    return Err(refuse(format!(
                        "only add attribute is supported while creating topic. Key: {name}"
                    )));
                }
                None => {
                    return Err(refuse(format!("attempt to delete a nonexistent key: {name}")));
                }
                Some(at) => drop(attributes.remove(at)),
            }
        } else {
            return Err(refuse(format!("wrong format key: {change}; write +name=value or -name")));
        }
    }
    Ok(attributes)
}

fn put(attributes: &mut Vec<(String, String)>, name: &str, value: &str) -> Result<(), Reject> {
    match attributes.binary_search_by(|(own, _)| own.as_str().cmp(name)) {
        Ok(at) if name == "queue.type" && attributes[at].1 != value => {
            return Err(refuse(format!(
                "attempt to update an unchangeable attribute. key: {name}"
            )));
        }
        Ok(at) => attributes[at].1 = value.to_owned(),
        Err(at) => attributes.insert(at, (name.to_owned(), value.to_owned())),
    }
    Ok(())
}

fn check(name: &str, value: &str) -> Result<(), Reject> {
    let (allowed, later): (&[&str], &[&str]) = match name {
        FLUSH_ATTRIBUTE => (&["SYNC_FLUSH", "ASYNC_FLUSH"], &[]),
        "queue.type" => (&["SimpleCQ"], &["BatchCQ"]),
        "cleanup.policy" => (&["DELETE"], &["COMPACTION"]),
        "message.type" => (&["UNSPECIFIED", "NORMAL", "FIFO", "DELAY", "TRANSACTION"], &["MIXED"]),
        "reserve.time" => (&["-1"], &[]),
        QUOTA_MESSAGES | QUOTA_BYTES | QUOTA_STORED => return check_quota(name, value),
        _ => {
            return Err(refuse(format!(
                "unsupported key: {name}; supported are cleanup.policy, {FLUSH_ATTRIBUTE}, \
                 message.type, queue.type, {QUOTA_BYTES}, {QUOTA_MESSAGES}, {QUOTA_STORED} and \
                 reserve.time"
            )));
        }
    };
    if allowed.contains(&value) {
        return Ok(());
    }
    let not_built = if later.contains(&value) || name == "reserve.time" {
        "not supported by this version of weir"
    } else {
        "not a value it takes"
    };
    Err(refuse(format!(
        "value is not in set: attribute {name} = {value} is {not_built}; use one of {}",
        allowed.join(", ")
    )))
}

/// A quota is a whole number; one that is not wanted is removed, not set to 0.
fn check_quota(name: &str, value: &str) -> Result<(), Reject> {
    match value.parse::<u64>() {
        Ok(number) if (1..=QUOTA_MAX).contains(&number) => Ok(()),
        _ => Err(refuse(format!(
            "value is not in range: attribute {name} = {value}; use 1 to {QUOTA_MAX}, or remove it \
             with -{name}"
        ))),
    }
}

fn refuse(remark: String) -> Reject {
    Reject::new(code::SYSTEM_ERROR, remark)
}

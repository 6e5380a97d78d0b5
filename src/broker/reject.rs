//! Refusals a client sees: RocketMQ's code, RocketMQ's text, and behind it the limit, the value
//! and what to do.
//!
//! Operators and tests match on the beginning of RocketMQ's own texts, so they are kept letter for
//! letter and ours is appended. A refusal always means that nothing was stored or changed.

use std::borrow::Cow;

/// Response codes, under RocketMQ's names.
pub use weir_wire::codes::response as code;

/// RocketMQ's pointer behind "apply first please!".
const FAQ: &str = "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";

/// A refusal: response code and remark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// One of [`code`].
    pub code: i32,
    /// Text for people.
    pub remark: Cow<'static, str>,
}

impl Reject {
    /// A refusal with a fixed or built remark.
    pub fn new(code: i32, remark: impl Into<Cow<'static, str>>) -> Reject {
        Reject { code, remark: remark.into() }
    }

    /// 17 for a topic that is not known here.
    pub fn topic_not_exist(topic: &str) -> Reject {
        Reject::new(
            code::TOPIC_NOT_EXIST,
            format!("topic[{topic}] not exist, apply first please!{FAQ}"),
        )
    }

    /// 26 for a group that is not known here.
    pub fn group_not_exist(group: &str) -> Reject {
        Reject::new(
            code::SUBSCRIPTION_GROUP_NOT_EXIST,
            format!("subscription group [{group}] does not exist, {}", &FAQ[1..]),
        )
    }

    /// 13 with RocketMQ's text for a message it cannot store, and what is wrong with this one.
    pub fn message_illegal(body_limit: usize, why: std::fmt::Arguments<'_>) -> Reject {
        Reject::new(
            code::MESSAGE_ILLEGAL,
            format!(
                "the message is illegal, maybe msg body or properties length not matched. \
                 msg body length limit {body_limit}B, msg properties length limit 32KB. {why}"
            ),
        )
    }
}

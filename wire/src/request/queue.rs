//! A queue as clients name it: topic, broker and number.
//!
//! It is a key in several bodies, where Fastjson writes it as an object without quotes around it.
//! Its members are always sorted, so that equal queues are equal text.

use serde::{Deserialize, Serialize};

use crate::fastjson::{Dialect, Object};

/// RocketMQ's `MessageQueue`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MessageQueue {
    /// Broker that has it.
    pub broker_name: String,
    /// Number within the topic on that broker.
    pub queue_id: i32,
    /// Topic.
    pub topic: String,
}

impl MessageQueue {
    /// Appends the queue as an object, as a key or as a value.
    pub fn write(&self, out: &mut Vec<u8>) {
        write_queue(out, &self.broker_name, self.queue_id, &self.topic);
    }

    /// Reads the key of a map that [`crate::fastjson::standard`] has quoted.
    pub fn from_key(key: &str) -> Option<MessageQueue> {
        serde_json::from_str(key).ok()
    }
}

/// Appends a queue as an object.
pub(crate) fn write_queue(out: &mut Vec<u8>, broker_name: &str, queue_id: i32, topic: &str) {
    let mut object = Object::open(out, Dialect::Fastjson);
    object.text("brokerName", broker_name);
    object.int("queueId", queue_id.into());
    object.text("topic", topic);
    object.close();
}

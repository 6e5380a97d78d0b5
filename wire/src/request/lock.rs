//! LOCK_BATCH_MQ (41) and UNLOCK_BATCH_MQ (42): one client at a time for queues read in order.
//!
//! Both have the same body. 41 answers with the queues the caller holds now; 42 with nothing, and
//! is mostly sent one-way.

use serde::{Deserialize, Serialize};

use super::MessageQueue;
use crate::fastjson::{self, Dialect, Object};
use crate::header::FieldError;

/// The body of both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LockBatch {
    /// The client's id.
    pub client_id: String,
    /// Group of the consumer.
    pub consumer_group: String,
    /// The queues.
    pub mq_set: Vec<MessageQueue>,
    /// Do not ask the broker's slaves (5.x).
    pub only_this_broker: bool,
}

/// The body of 41's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Locked {
    /// Queues the caller holds.
    #[serde(rename = "lockOKMQSet")]
    pub queues: Vec<MessageQueue>,
}

impl LockBatch {
    /// Reads the body.
    pub fn parse(body: &[u8]) -> Result<LockBatch, FieldError> {
        fastjson::read(body, "LockBatchRequestBody")
    }
}

impl Locked {
    /// Appends the answer's body.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut object = Object::open(out, Dialect::Fastjson);
        let list = object.key("lockOKMQSet");
        fastjson::list(list, &self.queues, |out, queue| queue.write(out));
        object.close();
    }
}

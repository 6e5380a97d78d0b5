//! GET_CONSUMER_LIST_BY_GROUP (38): who consumes in a group, so that its members can divide the
//! queues.
//!
//! An empty list is never answered: without members the answer is SYSTEM_ERROR. The notice 40
//! that the list changed has the same field.

use serde::{Deserialize, Serialize};

use super::request_header;
use crate::fastjson::{self, Dialect, Object};
use crate::header::{FieldError, Text};

request_header! {
    /// The fields of 38, and of NOTIFY_CONSUMER_IDS_CHANGED (40).
    ConsumerListHeader {
        /// Group of the consumers.
        consumer_group: Text<'a> = b"consumerGroup",
    }
}

/// The answer's body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerList {
    /// Ids of the clients in the group.
    pub consumer_id_list: Vec<String>,
}

impl ConsumerList {
    /// Reads the body, as a client does.
    pub fn parse(body: &[u8]) -> Result<ConsumerList, FieldError> {
        fastjson::read_table(body, "GetConsumerListByGroupResponseBody")
    }
}

/// Appends the answer's body.
pub fn write<'a>(out: &mut Vec<u8>, ids: impl IntoIterator<Item = &'a str>) {
    let mut object = Object::open(out, Dialect::Fastjson);
    let list = object.key("consumerIdList");
    fastjson::list(list, ids, |out, id| fastjson::text(out, Dialect::Fastjson, id));
    object.close();
}

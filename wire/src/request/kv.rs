//! The name server's values: PUT_KV_CONFIG (100), GET_KV_CONFIG (101), DELETE_KV_CONFIG (102) and
//! GET_KVLIST_BY_NAMESPACE (219).
//!
//! 101 answers with the field `value`, 219 with a table; what is not there is QUERY_NOT_FOUND.
//! Tools keep the order of strictly ordered topics in the namespace `ORDER_TOPIC_CONFIG`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::request_header;
use crate::fastjson::{self, Dialect, Object};
use crate::header::{FieldError, Text};

/// Namespace of the order of topics.
pub const ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

request_header! {
    /// The fields of PUT_KV_CONFIG.
    PutKvHeader {
        /// Namespace.
        namespace: Text<'a> = b"namespace",
        /// Key.
        key: Text<'a> = b"key",
        /// Value.
        value: Text<'a> = b"value",
    }
}

request_header! {
    /// The fields of GET_KV_CONFIG and DELETE_KV_CONFIG.
    KvHeader {
        /// Namespace.
        namespace: Text<'a> = b"namespace",
        /// Key.
        key: Text<'a> = b"key",
    }
}

request_header! {
    /// The field of GET_KVLIST_BY_NAMESPACE.
    KvListHeader {
        /// Namespace.
        namespace: Text<'a> = b"namespace",
    }
}

/// A table of texts, as 219, 28 and 103 answer it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KvTable {
    /// Values by key.
    pub table: BTreeMap<String, String>,
}

impl KvTable {
    /// Reads the body, as a client does.
    pub fn parse(body: &[u8]) -> Result<KvTable, FieldError> {
        fastjson::read_table(body, "KVTable")
    }
}

/// Appends a table of texts.
pub fn write_table<'a>(out: &mut Vec<u8>, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) {
    let mut object = Object::open(out, Dialect::Fastjson);
    object.object("table", |table| {
        for (key, value) in pairs {
            table.text(key, value);
        }
    });
    object.close();
}

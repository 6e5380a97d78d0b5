//! Brokers and the name server: REGISTER_BROKER (103), UNREGISTER_BROKER (104) and
//! QUERY_DATA_VERSION (322).
//!
//! A body that is compressed is not read here: the caller inflates it, or refuses it. A sum that
//! does not match its body is refused.

use serde::{Deserialize, Serialize};

use super::request_header;
use super::topic::{DataVersion, TopicTable};
use crate::fastjson;
use crate::header::{FieldError, Text};

request_header! {
    /// The fields of REGISTER_BROKER.
    RegisterBrokerHeader {
        /// Name of the broker.
        broker_name: Text<'a> = b"brokerName",
        /// Its address.
        broker_addr: Text<'a> = b"brokerAddr",
        /// Its cluster.
        cluster_name: Text<'a> = b"clusterName",
        /// Its address for replication.
        ha_server_addr: Text<'a> = b"haServerAddr",
        /// 0 for a master.
        broker_id: i64 = b"brokerId",
        /// It counts as gone after so long without a word, milliseconds (5.x).
        heartbeat_timeout_ms: Option<i64> = b"heartbeatTimeoutMillis",
        /// A slave may act as master (5.x).
        enable_acting_master: Option<bool> = b"enableActingMaster",
        /// The body is compressed.
        compressed: bool = b"compressed",
        /// Sum of the body as sent; 0 or missing when it is not to be checked.
        body_crc32: Option<i32> = b"bodyCrc32",
        /// Zone of the broker (5.x).
        zone_name: Option<Text<'a>> = b"__ZONE_NAME",
    }
}

impl RegisterBrokerHeader<'_> {
    /// True unless a sum was sent that is not the body's (`crc32 not match`, SYSTEM_ERROR).
    pub fn body_matches(&self, body: &[u8]) -> bool {
        let sent = self.body_crc32.unwrap_or(0);
        sent == 0 || sent == crate::message::body_crc(body)
    }
}

request_header! {
    /// The fields of UNREGISTER_BROKER.
    UnregisterBrokerHeader {
        /// Name of the broker.
        broker_name: Text<'a> = b"brokerName",
        /// Its address.
        broker_addr: Text<'a> = b"brokerAddr",
        /// Its cluster.
        cluster_name: Text<'a> = b"clusterName",
        /// 0 for a master.
        broker_id: i64 = b"brokerId",
    }
}

request_header! {
    /// The fields of QUERY_DATA_VERSION; its body is a [`DataVersion`], its answer has the field
    /// `changed`.
    QueryDataVersionHeader {
        /// Name of the broker.
        broker_name: Text<'a> = b"brokerName",
        /// Its address.
        broker_addr: Text<'a> = b"brokerAddr",
        /// Its cluster.
        cluster_name: Text<'a> = b"clusterName",
        /// 0 for a master.
        broker_id: i64 = b"brokerId",
    }
}

request_header! {
    /// The fields of BROKER_HEARTBEAT (904).
    BrokerHeartbeatHeader {
        /// Its cluster.
        cluster_name: Text<'a> = b"clusterName",
        /// Its address.
        broker_addr: Text<'a> = b"brokerAddr",
        /// Name of the broker.
        broker_name: Text<'a> = b"brokerName",
    }
}

/// The body of REGISTER_BROKER.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RegisterBroker {
    /// Addresses of filter servers; obsolete.
    pub filter_server_list: Vec<String>,
    /// Its topics.
    pub topic_config_serialize_wrapper: TopicTable,
}

impl RegisterBroker {
    /// Reads a body that is not compressed.
    pub fn parse(body: &[u8]) -> Result<RegisterBroker, FieldError> {
        fastjson::read_table(body, "RegisterBrokerBody")
    }

    /// Appends the body.
    pub fn write(&self, out: &mut Vec<u8>) {
        fastjson::write(out, self);
    }
}

/// Reads the body of QUERY_DATA_VERSION.
pub fn parse_data_version(body: &[u8]) -> Result<DataVersion, FieldError> {
    fastjson::read(body, "DataVersion")
}

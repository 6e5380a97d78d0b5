//! UNREGISTER_CLIENT (35): a client leaves its groups.
//!
//! The answer has no fields. Go never sends it: its connections close. The C++ client names both
//! groups, one of them empty; empty means none.

use super::request_header;
use crate::header::Text;

request_header! {
    /// The fields of a client's leave.
    UnregisterHeader {
        /// The client's id.
        client_id: Text<'a> = b"clientID",
        /// Producer group it leaves.
        producer_group: Option<Text<'a>> = b"producerGroup",
        /// Consumer group it leaves.
        consumer_group: Option<Text<'a>> = b"consumerGroup",
    }
}

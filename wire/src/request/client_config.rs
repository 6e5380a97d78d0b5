//! CHECK_CLIENT_CONFIG (46): may a client subscribe like this?
//!
//! Java clients ask before they start, and only for subscriptions that are not by tag; any
//! failure makes their `start()` throw. The answer has no fields.

use serde::{Deserialize, Serialize};

use super::heartbeat::SubscriptionData;
use crate::fastjson;
use crate::header::FieldError;

/// The body of the check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CheckClientConfig {
    /// The client's id.
    pub client_id: String,
    /// Group it will consume in.
    pub group: String,
    /// The subscription to check.
    pub subscription_data: SubscriptionData,
}

impl CheckClientConfig {
    /// Reads the body.
    pub fn parse(body: &[u8]) -> Result<CheckClientConfig, FieldError> {
        fastjson::read(body, "CheckClientRequestBody")
    }
}

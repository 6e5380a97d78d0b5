//! CHECK_CLIENT_CONFIG (46): is this subscription understood?
//! Clients ask for other than tag filters only, and refuse to start when the answer is no.

use weir_wire::code::response;

use crate::broker::{Reject, is_tag_type, parse_tags};
use crate::server::dispatch::{Call, Handled};
use crate::server::turn::Server;

/// Answers success for tag filters, RocketMQ's refusal for the rest.
pub(crate) fn handle(server: &mut Server, call: &Call<'_>) -> Result<Handled, Reject> {
    let body: serde_json::Value = serde_json::from_slice(call.body).map_err(|_| {
        Reject::new(response::SYSTEM_ERROR, "the body is not a CheckClientRequestBody")
    })?;
    let data = &body["subscriptionData"];
    let kind = data["expressionType"].as_str();
    if !is_tag_type(kind) {
        let text = format!(
            "The broker does not support consumer to filter message by {}",
            kind.unwrap_or_default()
        );
        return Err(Reject::new(response::SYSTEM_ERROR, text));
    }
    parse_tags(data["subString"].as_str().unwrap_or_default(), &mut Vec::new())?;
    Ok(server.answer_done(call))
}

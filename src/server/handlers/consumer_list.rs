//! GET_CONSUMER_LIST_BY_GROUP (38): who shares a group's queues.
//! Clients keep their last list when this fails, and learn from the failure that they are first.

use weir_wire::code::response;

use crate::broker::Reject;
use crate::server::dispatch::{Call, Handled};
use crate::server::turn::Server;

/// Answers the client ids, sorted; code 1 when nobody is there.
pub(crate) fn handle(server: &mut Server, call: &Call<'_>) -> Result<Handled, Reject> {
    let group = call.text("consumerGroup")?;
    let Some(here) = server.shard.broker.membership.consumer(&group) else {
        let text = format!("no consumer for this group, {group}");
        return Err(Reject::new(response::SYSTEM_ERROR, text));
    };
    let body = serde_json::json!({ "consumerIdList": here.client_ids() }).to_string();
    Ok(server.answer_body(call, body.as_bytes()))
}

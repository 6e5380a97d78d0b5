//! GET_SUBSCRIPTIONGROUP_CONFIG (352): one consumer group.
//! An unknown one is code 26; looking does not create it.

use super::bodies;
use crate::broker::Reject;
use crate::server::dispatch::{Call, Handled};
use crate::server::turn::Server;

/// Answers SubscriptionGroupConfig.
pub(crate) fn handle(server: &mut Server, call: &Call<'_>) -> Result<Handled, Reject> {
    let name = call.text("group")?;
    let Some(group) = server.shard.broker.catalog.group(&name) else {
        return Err(Reject::group_not_exist(&name));
    };
    let body = bodies::group(group).to_string();
    Ok(server.answer_body(call, body.as_bytes()))
}

//! GET_ALL_SUBSCRIPTIONGROUP_CONFIG (201): the whole group table.
//! It is given in one answer; `totalGroupNum` tells paging clients that nothing follows.

use serde_json::{Map, Value, json};
use weir_wire::code::response;
use weir_wire::reply::Reply;

use super::bodies;
use crate::broker::Reject;
use crate::server::dispatch::{Call, Handled};
use crate::server::turn::Server;

/// Answers SubscriptionGroupWrapper.
pub(crate) fn handle(server: &mut Server, call: &Call<'_>) -> Result<Handled, Reject> {
    let catalog = &server.shard.broker.catalog;
    let groups = catalog.groups();
    let total = groups.len();
    let table: Map<String, Value> =
        groups.iter().map(|group| (group.name.clone(), bodies::group(group))).collect();
    let body = json!({
        "dataVersion": bodies::version(catalog.groups_version),
        "forbiddenTable": {},
        "subscriptionGroupTable": table,
    });
    if let Some(out) = server.out(call) {
        Reply::new(out, call.codec, response::SUCCESS, call.header.opaque)
            .ext_int("totalGroupNum", total as i64)
            .finish_with(body.to_string().as_bytes());
    }
    Ok(Handled::Done)
}

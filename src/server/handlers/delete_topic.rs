//! DELETE_TOPIC_IN_BROKER (215): a topic goes, with its queues and every group's offsets in it.
//! Its records stay in the log until their segment leaves, and are never served again.

use crate::broker::Reject;
use crate::server::dispatch::{Call, Handled};
use crate::server::turn::Server;

/// Logs the change and answers when it is kept.
pub(crate) fn handle(server: &mut Server, call: &Call<'_>) -> Result<Handled, Reject> {
    let topic = call.text("topic")?;
    let planned = server.shard.broker.plan_topic_delete(&topic)?;
    server.carry_out(call, planned)
}

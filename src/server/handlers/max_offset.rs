//! GET_MAX_OFFSET (30): the offset after a queue's newest visible message.
//! `committed` is not looked at: what is not visible does not exist for clients.

use crate::broker::Reject;
use crate::server::dispatch::{Call, Handled};
use crate::server::turn::Server;

/// Answers the maximum, 0 for a queue that is not there.
pub(crate) fn handle(server: &mut Server, call: &Call<'_>) -> Result<Handled, Reject> {
    let topic = call.text("topic")?;
    let queue_id = call.header.required_i32("queueId")?;
    let marks = server.shard.marks();
    let max = server.shard.broker.max_offset(&topic, queue_id, marks);
    Ok(server.answer_number(call, "offset", max as i64))
}

//! GET_MIN_OFFSET (31): the offset of a queue's oldest message.
//! It rises when segments leave and never falls.

use crate::broker::Reject;
use crate::server::dispatch::{Call, Handled};
use crate::server::turn::Server;

/// Answers the minimum, 0 for a queue that is not there.
pub(crate) fn handle(server: &mut Server, call: &Call<'_>) -> Result<Handled, Reject> {
    let topic = call.text("topic")?;
    let queue_id = call.header.required_i32("queueId")?;
    match server.shard.broker.min_offset(&topic, queue_id) {
        Ok(min) => Ok(server.answer_number(call, "offset", min as i64)),
        Err(chunk) => Ok(server.fetch_chunk(chunk)),
    }
}

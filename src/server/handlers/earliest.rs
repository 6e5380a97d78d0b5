//! GET_EARLIEST_MSG_STORETIME (32): when a queue's oldest message was stored.
//! The time stands in the consume queue, so the log is not read.

use crate::broker::Reject;
use crate::queue::Step;
use crate::server::dispatch::{Call, Handled, damaged};
use crate::server::turn::Server;

/// Answers milliseconds since 1970, -1 for an empty queue.
pub(crate) fn handle(server: &mut Server, call: &Call<'_>) -> Result<Handled, Reject> {
    let topic = call.text("topic")?;
    let queue_id = call.header.required_i32("queueId")?;
    match server.shard.broker.earliest_store_ms(&topic, queue_id) {
        Step::Ready(ms) => Ok(server.answer_number(call, "timestamp", ms)),
        Step::Need(chunk) => Ok(server.fetch_chunk(chunk)),
        Step::Damaged => Err(damaged()),
    }
}

//! UPDATE_CONSUMER_OFFSET (15): a group has got further; mostly oneway.
//! A standby takes none: its offsets come with the log.
//! It is answered from memory, as RocketMQ does, and reaches the log within the coalescing window.

use crate::broker::Reject;
use crate::server::dispatch::{Call, Handled};
use crate::server::turn::Server;

/// Stores the offset.
pub(crate) fn handle(server: &mut Server, call: &Call<'_>) -> Result<Handled, Reject> {
    let h = &call.header;
    let (group, topic) = (call.text("consumerGroup")?, call.text("topic")?);
    let (queue_id, offset) = (h.optional_i32("queueId")?, h.optional_i64("commitOffset")?);
    if let Some(refused) = server.shard.refuses_offsets() {
        return Err(refused);
    }
    server.shard.broker.update_offset(&group, &topic, queue_id, offset)?;
    Ok(server.answer_done(call))
}

//! QUERY_CONSUMER_OFFSET (14): where a group has got to.
//! RocketMQ's rule for groups without an offset on a young queue is the rules' own.

use crate::broker::Reject;
use crate::server::dispatch::{Call, Handled};
use crate::server::turn::Server;

/// Answers the stored offset, 0 for a young queue, or code 22.
pub(crate) fn handle(server: &mut Server, call: &Call<'_>) -> Result<Handled, Reject> {
    let h = &call.header;
    let (group, topic) = (call.text("consumerGroup")?, call.text("topic")?);
    let set_zero = h.ext.get("setZeroIfNotFound").map(|text| text.parse_bool());
    let queue_id = h.required_i32("queueId")?;
    let log_end = server.shard.log_end();
    let offset = server.shard.broker.query_offset(&group, &topic, queue_id, set_zero, log_end)?;
    Ok(server.answer_number(call, "offset", offset))
}

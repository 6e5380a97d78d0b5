//! SEARCH_OFFSET_BY_TIMESTAMP (29): the first offset stored at or after a time.
//! Times stand in the consume queue, so the log is not read.

use crate::broker::Reject;
use crate::queue::{Boundary, Step};
use crate::server::dispatch::{Call, Handled, damaged};
use crate::server::turn::Server;

/// Answers the offset; `boundaryType` `upper` asks for the last one at or before the time.
pub(crate) fn handle(server: &mut Server, call: &Call<'_>) -> Result<Handled, Reject> {
    let h = &call.header;
    let topic = call.text("topic")?;
    let (queue_id, ms) = (h.required_i32("queueId")?, h.required_i64("timestamp")?);
    let upper = h.optional("boundaryType").to_cow().eq_ignore_ascii_case("upper");
    let boundary = if upper { Boundary::Upper } else { Boundary::Lower };
    let marks = server.shard.marks();
    match server.shard.broker.search_offset(&topic, queue_id, ms, boundary, marks) {
        Step::Ready(offset) => Ok(server.answer_number(call, "offset", offset as i64)),
        Step::Need(chunk) => Ok(server.fetch_chunk(chunk)),
        Step::Damaged => Err(damaged()),
    }
}

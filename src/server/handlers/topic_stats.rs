//! GET_TOPIC_STATS_INFO (202): bounds of a topic's queues and when they last grew.
//! Fastjson prints a map keyed by an object with the object as the raw key; tools read only that.

use std::fmt::Write;

use serde_json::json;

use crate::broker::Reject;
use crate::queue::Step;
use crate::server::dispatch::{Call, Handled};
use crate::server::turn::Server;

/// Answers TopicStatsTable.
pub(crate) fn handle(server: &mut Server, call: &Call<'_>) -> Result<Handled, Reject> {
    let name = call.text("topic")?;
    let marks = server.shard.marks();
    let broker = &mut server.shard.broker;
    let Some((_, topic)) = broker.catalog.topic(&name) else {
        return Err(Reject::topic_not_exist(&name));
    };
    let queues = topic.config.queues();
    let broker_name = broker.options().broker_name.clone();
    let mut body = String::from("{\"offsetTable\":{");
    for queue_id in 0..queues as i32 {
        let max = broker.max_offset(&name, queue_id, marks);
        let min = match broker.min_offset(&name, queue_id) {
            Ok(min) => min,
            Err(chunk) => return Ok(server.fetch_chunk(chunk)),
        };
        let last = match broker.store_ms(&name, queue_id, max as i64 - 1) {
            Step::Ready(ms) => ms.max(0),
            Step::Damaged => 0,
            Step::Need(chunk) => return Ok(server.fetch_chunk(chunk)),
        };
        let key = json!({ "brokerName": broker_name, "queueId": queue_id, "topic": name });
        let comma = if queue_id > 0 { "," } else { "" };
        let value = json!({ "lastUpdateTimestamp": last, "maxOffset": max, "minOffset": min });
        // Writing to a string cannot fail.
        let _ = write!(body, "{comma}{key}:{value}");
    }
    body.push_str("},\"topicPutTps\":0.0}");
    Ok(server.answer_body(call, body.as_bytes()))
}

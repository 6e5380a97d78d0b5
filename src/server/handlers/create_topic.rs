//! UPDATE_AND_CREATE_TOPIC (17): an operator creates or changes a topic on this broker.
//! It exists on the other shards too, without queues, so that every shard knows the name.

use crate::broker::{Reject, TopicChange};
use crate::server::dispatch::{Call, Handled};
use crate::server::turn::Server;

/// Logs the change and answers when it is kept.
pub(crate) fn handle(server: &mut Server, call: &Call<'_>) -> Result<Handled, Reject> {
    let h = &call.header;
    let (topic, attributes) = (call.text("topic")?, h.optional("attributes").to_cow());
    let change = TopicChange {
        topic: &topic,
        read_queues: h.required_i32("readQueueNums")?,
        write_queues: h.required_i32("writeQueueNums")?,
        perm: h.required_i32("perm")?,
        multi_tag: h.optional("topicFilterType").eq_str("MULTI_TAG"),
        sys_flag: h.optional_i32("topicSysFlag")?.unwrap_or(0),
        order: h.flag_or("order", false),
        attributes: &attributes,
    };
    let planned = server.shard.broker.plan_topic(&change)?;
    server.carry_out(call, planned)
}

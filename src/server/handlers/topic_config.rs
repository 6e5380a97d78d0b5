//! GET_TOPIC_CONFIG (351): one topic.
//! An unknown one must be code 17: mqadmin gives up on any other.

use super::bodies;
use crate::broker::Reject;
use crate::server::dispatch::{Call, Handled};
use crate::server::turn::Server;

/// Answers TopicConfig.
pub(crate) fn handle(server: &mut Server, call: &Call<'_>) -> Result<Handled, Reject> {
    let name = call.text("topic")?;
    let Some((_, topic)) = server.shard.broker.catalog.topic(&name) else {
        return Err(Reject::topic_not_exist(&name));
    };
    let body = bodies::topic(&topic.config).to_string();
    Ok(server.answer_body(call, body.as_bytes()))
}

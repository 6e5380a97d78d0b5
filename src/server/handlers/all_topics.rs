//! GET_ALL_TOPIC_CONFIG (21): the whole topic table.
//! It is given in one answer; `totalTopicNum` tells paging clients that nothing follows.

use serde_json::{Map, Value, json};
use weir_wire::code::response;
use weir_wire::reply::Reply;

use super::bodies;
use crate::broker::Reject;
use crate::server::dispatch::{Call, Handled};
use crate::server::turn::Server;

/// Answers TopicConfigAndMappingSerializeWrapper.
pub(crate) fn handle(server: &mut Server, call: &Call<'_>) -> Result<Handled, Reject> {
    let catalog = &server.shard.broker.catalog;
    let topics = catalog.topics();
    let total = topics.len();
    let table: Map<String, Value> = topics
        .iter()
        .map(|topic| (topic.config.name.clone(), bodies::topic(&topic.config)))
        .collect();
    let body = json!({
        "dataVersion": bodies::version(catalog.topics_version),
        "mappingDataVersion": bodies::version(catalog.topics_version),
        "topicConfigTable": table,
        "topicQueueMappingDetailMap": {},
    });
    if let Some(out) = server.out(call) {
        Reply::new(out, call.codec, response::SUCCESS, call.header.opaque)
            .ext_int("totalTopicNum", total as i64)
            .finish_with(body.to_string().as_bytes());
    }
    Ok(Handled::Done)
}

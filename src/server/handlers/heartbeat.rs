//! HEART_BEAT (34): who produces and consumes over this connection.
//!
//! The first beat of a group creates it and its retry topic, on all shards. Bodies come from six
//! clients: members may be missing or null, tag codes numbers or texts (they are computed again
//! from the expression, so they are not looked at).

use serde_json::Value;
use weir_wire::code::response;
use weir_wire::reply::Reply;

use crate::base::limits::GROUP_SUBSCRIPTIONS_MAX;
use crate::broker::{
    ClientBeat, ConnId, ConsumeType, ConsumerBeat, FromWhere, Heartbeat, MessageModel, Reject,
    SubscriptionBeat,
};
use crate::server::dispatch::{Call, Handled};
use crate::server::turn::Server;

/// Takes a heartbeat.
pub(crate) fn handle(server: &mut Server, call: &Call<'_>) -> Result<Handled, Reject> {
    let body: Value = serde_json::from_slice(call.body).map_err(|error| {
        let text = format!("the body is not a HeartbeatData: {error}");
        Reject::new(response::SYSTEM_ERROR, text)
    })?;
    let client_id = body["clientID"].as_str().ok_or_else(|| {
        Reject::new(response::SYSTEM_ERROR, "the body is not a HeartbeatData: no clientID")
    })?;
    let beat = Heartbeat {
        client: ClientBeat {
            conn: ConnId(call.id.0),
            client_id,
            language: call.header.language as u8,
            version: call.header.version,
        },
        producers: list(&body["producerDataSet"])
            .filter_map(|producer| producer["groupName"].as_str())
            .collect(),
        consumers: list(&body["consumerDataSet"]).filter_map(consumer).collect(),
        without_sub: body["withoutSub"].as_bool().unwrap_or(false),
    };
    let changed = server.shard.heartbeat(&mut server.driver, &beat)?;
    if let Some(out) = server.out(call) {
        Reply::new(out, call.codec, response::SUCCESS, call.header.opaque)
            .ext_str("IS_SUPPORT_HEART_BEAT_V2", "true")
            .ext_bool("IS_SUB_CHANGE", changed)
            .finish();
    }
    Ok(Handled::Done)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn consumer(data: &Value) -> Option<ConsumerBeat<'_>> {
    Some(ConsumerBeat {
        group: data["groupName"].as_str()?,
        consume_type: match data["consumeType"].as_str() {
            Some("CONSUME_ACTIVELY") => ConsumeType::Actively,
            Some("CONSUME_POP") => ConsumeType::Pop,
            _ => ConsumeType::Passively,
        },
        message_model: match data["messageModel"].as_str() {
            Some("BROADCASTING") => MessageModel::Broadcasting,
            _ => MessageModel::Clustering,
        },
        from_where: match data["consumeFromWhere"].as_str() {
            Some("CONSUME_FROM_FIRST_OFFSET") => FromWhere::First,
            Some("CONSUME_FROM_TIMESTAMP") => FromWhere::Timestamp,
            _ => FromWhere::Last,
        },
        subscriptions: list(&data["subscriptionDataSet"])
            .take(GROUP_SUBSCRIPTIONS_MAX)
            .filter_map(subscription)
            .collect(),
    })
}

fn subscription(data: &Value) -> Option<SubscriptionBeat<'_>> {
    Some(SubscriptionBeat {
        topic: data["topic"].as_str()?,
        expression: data["subString"].as_str().unwrap_or("*"),
        expression_type: data["expressionType"].as_str().filter(|kind| !kind.is_empty()),
        sub_version: data["subVersion"]
            .as_i64()
            .or_else(|| data["subVersion"].as_str()?.parse().ok())
            .unwrap_or(0),
    })
}

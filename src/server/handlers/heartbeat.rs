//! HEART_BEAT (34): who produces and consumes over this connection.
//!
//! The first beat of a group creates it and its retry topic, on all shards. Bodies come from six
//! clients: members may be missing or null, tag codes numbers or texts (they are computed again
//! from the expression, so they are not looked at).

use weir_wire::code::response;
use weir_wire::reply::Reply;
use weir_wire::request::heartbeat::{
    ConsumeFromWhere, ConsumeType as WireType, ConsumerData, HeartbeatData,
    MessageModel as WireModel,
};

use crate::base::limits::GROUP_SUBSCRIPTIONS_MAX;
use crate::broker::{
    ClientBeat, ConnId, ConsumeType, ConsumerBeat, FromWhere, Heartbeat, MessageModel, Reject,
    SubscriptionBeat,
};
use crate::server::dispatch::{Call, Handled};
use crate::server::turn::Server;

/// Takes a heartbeat.
pub(crate) fn handle(server: &mut Server, call: &Call<'_>) -> Result<Handled, Reject> {
    let body = HeartbeatData::parse(call.body)?;
    let beat = Heartbeat {
        client: ClientBeat {
            conn: ConnId(call.id.0),
            client_id: &body.client_id,
            language: call.header.language as u8,
            version: call.header.version,
        },
        producers: body.producer_data_set.iter().map(|p| p.group_name.as_str()).collect(),
        consumers: body.consumer_data_set.iter().map(consumer).collect(),
        without_sub: body.without_sub,
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

fn consumer(data: &ConsumerData) -> ConsumerBeat<'_> {
    let subscriptions = data.subscription_data_set.iter().take(GROUP_SUBSCRIPTIONS_MAX);
    ConsumerBeat {
        group: &data.group_name,
        consume_type: match data.consume_type {
            WireType::Actively => ConsumeType::Actively,
            WireType::Passively => ConsumeType::Passively,
            WireType::Pop => ConsumeType::Pop,
        },
        message_model: match data.message_model {
            WireModel::Broadcasting => MessageModel::Broadcasting,
            WireModel::Clustering => MessageModel::Clustering,
        },
        from_where: match data.consume_from_where {
            ConsumeFromWhere::FirstOffset => FromWhere::First,
            ConsumeFromWhere::Timestamp => FromWhere::Timestamp,
            ConsumeFromWhere::LastOffset => FromWhere::Last,
        },
        subscriptions: subscriptions
            .map(|sub| SubscriptionBeat {
                topic: &sub.topic,
                expression: &sub.sub_string,
                expression_type: (!sub.expression_type.is_empty())
                    .then_some(sub.expression_type.as_str()),
                sub_version: sub.sub_version,
            })
            .collect(),
    }
}

//! UPDATE_AND_CREATE_SUBSCRIPTIONGROUP (200): an operator creates or changes a consumer group.
//! Members that are left out of the body get RocketMQ's defaults.

use serde_json::Value;
use weir_wire::code::response;

use crate::broker::{GroupConfig, Reject};
use crate::server::dispatch::{Call, Handled};
use crate::server::turn::Server;

/// Logs the change and answers when it is kept.
pub(crate) fn handle(server: &mut Server, call: &Call<'_>) -> Result<Handled, Reject> {
    let wrong = || Reject::new(response::SYSTEM_ERROR, "the body is not a SubscriptionGroupConfig");
    let body: Value = serde_json::from_slice(call.body).map_err(|_| wrong())?;
    let config = config(&body).ok_or_else(wrong)?;
    let planned = server.shard.broker.plan_group(config)?;
    server.carry_out(call, planned)
}

fn config(body: &Value) -> Option<GroupConfig> {
    let base = GroupConfig::new(body["groupName"].as_str()?);
    let flag = |name: &str, default: bool| body[name].as_bool().unwrap_or(default);
    let number = |name: &str, default: u64| body[name].as_u64().unwrap_or(default);
    Some(GroupConfig {
        consume_enable: flag("consumeEnable", base.consume_enable),
        consume_from_min_enable: flag("consumeFromMinEnable", base.consume_from_min_enable),
        consume_broadcast_enable: flag("consumeBroadcastEnable", base.consume_broadcast_enable),
        consume_orderly: flag("consumeMessageOrderly", base.consume_orderly),
        notify_ids_changed: flag("notifyConsumerIdsChangedEnable", base.notify_ids_changed),
        retry_queues: u32::try_from(number("retryQueueNums", u64::from(base.retry_queues))).ok()?,
        retry_max_times: body["retryMaxTimes"]
            .as_i64()
            .and_then(|times| i32::try_from(times).ok())
            .unwrap_or(base.retry_max_times),
        broker_id: number("brokerId", base.broker_id),
        broker_when_slow: number("whichBrokerWhenConsumeSlowly", base.broker_when_slow),
        ..base
    })
}

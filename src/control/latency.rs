//! `GET /latency`: every stage of every shard as JSON, since the start and of the last interval.
//!
//! Times are nanoseconds, sizes bytes. The live figures stand beside them: what a power cut would
//! cost now, and what is written per byte of body.

use axum::{Extension, Json};
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::collect::{Collector, Row};
use crate::base::limits::LATENCY_INTERVAL_MS;
use crate::measure::{STAGES, Stages, Unit};
use crate::server::Figures;

/// Answers the route.
pub(super) async fn get(Extension(collector): Extension<Collector>) -> Json<Value> {
    let rows: Vec<Value> =
        collector.collect(|rows| rows.iter().enumerate().map(row).collect()).await;
    Json(json!({ "intervalMs": LATENCY_INTERVAL_MS, "shards": rows }))
}

fn row((number, row): (usize, &Row)) -> Value {
    let mut value = json!({
        "shard": number,
        "silent": row.silent.map(|why| why.to_string()),
        "sinceStart": stages(&row.total),
        "lastInterval": stages(&row.recent),
    });
    if let (Some(last), Some(object)) = (&row.last, value.as_object_mut()) {
        object.extend(live(last));
    }
    value
}

/// What stands there at this moment.
fn live(last: &Figures) -> Map<String, Value> {
    let counts = &last.counts;
    let value = json!({
        "broker": last.broker,
        "powerLossNow": {
            "messages": last.at_risk.messages,
            "bytes": last.at_risk.bytes,
            "oldestMs": last.at_risk.oldest_ms,
        },
        "messagesIn": counts.messages_in,
        "messagesOut": counts.messages_out,
        "sendsRefused": counts.sends_refused,
        "stalls": counts.stalls,
        "deviceBytes": counts.device_bytes(),
        "bytesPerPayloadByte": counts.write_amplification(),
        "flushBehindBytes": last.flush_behind_bytes,
        "pendingReplies": last.waiting.0,
        "writesInFlight": last.waiting.1,
    });
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

fn stages(set: &Stages) -> Value {
    let all = STAGES.iter().map(|stage| {
        let histogram = set.of(*stage);
        (stage.name().to_owned(), summary(histogram, stage.unit()))
    });
    Value::Object(all.collect())
}

fn summary(histogram: &Histogram<u64>, unit: Unit) -> Value {
    let unit = match unit {
        Unit::Nanoseconds => "ns",
        Unit::Bytes => "bytes",
        Unit::Things => "",
    };
    let at = |quantile| histogram.value_at_quantile(quantile);
    json!({
        "unit": unit, "count": histogram.len(), "mean": histogram.mean(),
        "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999),
        "max": histogram.max(),
    })
}

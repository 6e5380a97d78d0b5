//! `GET /health`: 200 when every shard turns and stores messages, 503 with the reasons otherwise.
//!
//! One JSON object for programs, with a row per shard. A shard that only refuses sends because the
//! disk is full is alive: it is told as `refusing` and does not make the answer 503, or a probe
//! would kill a broker that still serves its readers.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::ask::{NoAnswer, Shards};
use crate::server::{Health, Question};

/// Answers the route.
pub(super) async fn get(State(shards): State<Shards>) -> (StatusCode, Json<Value>) {
    let answers = shards.ask_all(Question::Health).await;
    let (healthy, body) = body(&answers);
    let code = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(body))
}

/// Whether all is well, and the object that says so.
fn body(answers: &[Result<Health, NoAnswer>]) -> (bool, Value) {
    let mut healthy = true;
    let mut rows = Vec::new();
    for (number, answer) in answers.iter().enumerate() {
        let row = match answer {
            Ok(health) => {
                healthy &= health.failed.is_none();
                json!({
                    "shard": number, "broker": health.broker,
                    "failed": health.failed, "refusing": health.refusing,
                })
            }
            Err(why) => {
                healthy = false;
                json!({ "shard": number, "failed": why.to_string() })
            }
        };
        rows.push(row);
    }
    (healthy, json!({ "healthy": healthy, "shards": rows }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_or_silent_shard_is_unhealthy_and_a_full_disk_is_not() {
        let well = Health { broker: "b-0".into(), ..Health::default() };
        let full = Health { refusing: Some("full".into()), ..well.clone() };
        let failed = Health { failed: Some("EIO".into()), ..well.clone() };
        assert!(body(&[Ok(well.clone()), Ok(full)]).0);
        assert!(!body(&[Ok(well.clone()), Ok(failed)]).0);
        let (healthy, body) = body(&[Ok(well), Err(NoAnswer::Silent(5))]);
        assert!(!healthy);
        assert_eq!(body["shards"][1]["failed"], "the shard gave no answer within 5 ms");
        assert_eq!(body["shards"][0]["broker"], "b-0");
    }
}

//! `GET /primary`: 200 when every shard of this box is a primary; `GET /writable`: 200 when it also
//! takes messages now. 503 with the reasons otherwise.
//!
//! For programs that follow the role and decide nothing: a floating address, a load balancer. A
//! primary that refuses sends (a full disk, no standby in step) still serves its readers, so an
//! address follows `/primary`. A primary whose lease is over is none.
//! Never: a 200 by a shard that did not answer.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::ask::{NoAnswer, Shards};
use crate::server::{Health, PairReport, Question};

/// What a shard said of its pair: `None`, it is one of none.
type Pair = Result<Option<PairReport>, NoAnswer>;

/// Answers `/primary`.
pub(super) async fn primary(State(shards): State<Shards>) -> (StatusCode, Json<Value>) {
    let pairs = shards.ask_all(Question::Pair).await;
    answer("primary", pairs.iter().map(not_primary).collect())
}

/// Answers `/writable`.
pub(super) async fn writable(State(shards): State<Shards>) -> (StatusCode, Json<Value>) {
    let pairs = shards.ask_all(Question::Pair).await;
    let healths = shards.ask_all(Question::Health).await;
    let both = pairs.iter().zip(&healths);
    answer("writable", both.map(|(pair, health)| refuses(pair, health)).collect())
}

/// 200 when no shard has a reason against it.
fn answer(what: &str, reasons: Vec<Option<String>>) -> (StatusCode, Json<Value>) {
    let holds = reasons.iter().all(Option::is_none);
    let row = |(shard, why): (usize, &Option<String>)| json!({ "shard": shard, "why": why });
    let rows: Vec<Value> =
        reasons.iter().enumerate().filter(|(_, why)| why.is_some()).map(row).collect();
    let code = if holds { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(json!({ what: holds, "shards": rows })))
}

/// Why a shard is not a primary.
fn not_primary(pair: &Pair) -> Option<String> {
    match pair {
        Ok(Some(report)) if report.failed => Some("writing the log failed".into()),
        Ok(Some(report)) => report.not_primary.map(str::to_owned),
        Ok(None) => None,
        Err(why) => Some(why.to_string()),
    }
}

/// Why a shard stores nothing now.
fn refuses(pair: &Pair, health: &Result<Health, NoAnswer>) -> Option<String> {
    let by_pair = match pair {
        Ok(Some(report)) => report.refusal.map(str::to_owned),
        Ok(None) => None,
        Err(why) => Some(why.to_string()),
    };
    let by_disk = match health {
        Ok(health) => health.failed.clone().or_else(|| health.refusing.clone()),
        Err(why) => Some(why.to_string()),
    };
    by_pair.or(by_disk)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(not_primary: Option<&'static str>, refusal: Option<&'static str>) -> Pair {
        Ok(Some(PairReport { not_primary, refusal, ..PairReport::default() }))
    }

    #[test]
    fn a_primary_that_refuses_sends_is_still_the_primary_and_a_silent_shard_is_none() {
        let silent: Pair = Err(NoAnswer::Silent(5));
        let waits = report(None, Some("no standby"));
        assert_eq!(not_primary(&waits), None);
        assert_eq!(not_primary(&Ok(None)), None);
        assert!(not_primary(&silent).is_some());
        assert_eq!(not_primary(&report(Some("standby"), None)).as_deref(), Some("standby"));
        let failed = PairReport { failed: true, ..PairReport::default() };
        assert!(not_primary(&Ok(Some(failed))).is_some());
        let well = Health {
            broker: "b-0".into(),
            failed: None,
            refusing: None,
            at_risk: crate::measure::AtRisk::default(),
        };
        let full = Health { refusing: Some("full".into()), ..well.clone() };
        assert_eq!(refuses(&waits, &Ok(well.clone())).as_deref(), Some("no standby"));
        assert_eq!(refuses(&Ok(None), &Ok(full)).as_deref(), Some("full"));
        assert_eq!(refuses(&report(None, None), &Ok(well)), None);
    }

    #[test]
    fn one_reason_of_one_shard_makes_the_answer_503_and_is_told() {
        assert_eq!(answer("primary", vec![None, None]).0, StatusCode::OK);
        let (code, body) = answer("primary", vec![None, Some("standby".into())]);
        assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body["primary"], false);
        assert_eq!(body["shards"], json!([{ "shard": 1, "why": "standby" }]));
    }
}

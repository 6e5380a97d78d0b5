//! `GET /pair`: role, epoch and lag of every shard; `POST /promote`: a standby becomes the primary;
//! `POST /switchover`: a primary hands over to its standby.
//!
//! A change is taken from this machine only, and only as JSON, which no web page can send here
//! unasked. What it did is told shard by shard.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use super::ask::Shards;
use super::routes::Peer;
use crate::server::{PairReport, Question};

/// What a promotion is asked with.
#[derive(Deserialize)]
pub(super) struct Promotion {
    /// Go on although something acknowledged may be missing.
    #[serde(default)]
    accept_loss: bool,
    /// Which; all standbys when there is none.
    #[serde(default)]
    shards: Vec<u16>,
}

/// What a switchover is asked with.
#[derive(Deserialize)]
pub(super) struct Handing {
    /// Which; all primaries when there is none.
    #[serde(default)]
    shards: Vec<u16>,
}

/// Answers how the pair is.
pub(super) async fn get(State(shards): State<Shards>) -> (StatusCode, Json<Value>) {
    let answers = shards.ask_all(Question::Pair).await;
    let row = |(number, answer): (usize, &Result<Option<PairReport>, _>)| match answer {
        Ok(Some(report)) => row(number, report),
        Ok(None) => json!({ "shard": number, "role": "single" }),
        Err(why) => json!({ "shard": number, "failed": format!("{why}") }),
    };
    let rows: Vec<Value> = answers.iter().enumerate().map(row).collect();
    (StatusCode::OK, Json(json!({ "shards": rows })))
}

fn row(number: usize, report: &PairReport) -> Value {
    json!({
        "shard": number,
        "role": report.role.word(),
        "node": format!("{:016x}", report.node),
        "epoch": report.epoch,
        "standing": report.standing,
        "peer": report.peer,
        "lagBytes": report.lag_bytes,
        "lagMs": report.lag_ms,
        "replicated": report.replicated,
        "end": report.end,
        "aloneSince": report.alone_since,
        "provable": report.provable,
        "standbyFailed": report.standby_failed,
        "leased": report.leased,
        "named": report.named,
        "damaged": report.healing.damaged,
        "healed": report.healing.healed,
        "notHealed": report.healing.why,
    })
}

/// Promotes the standbys of this box, or the shards that are named.
pub(super) async fn promote(
    State(shards): State<Shards>,
    Extension(Peer(peer)): Extension<Peer>,
    Json(asked): Json<Promotion>,
) -> (StatusCode, Json<Value>) {
    if !peer.ip().is_loopback() {
        let why = "a promotion is taken from this machine only";
        return (StatusCode::FORBIDDEN, Json(json!({ "error": why })));
    }
    let mut answers = Vec::new();
    for shard in chosen(&shards, &asked.shards, "standby").await {
        let question = |reply| Question::Promote(asked.accept_loss, reply);
        answers.push((shard, shards.ask(shard, question).await));
    }
    told(&answers)
}

/// Hands the primaries of this box over, or the shards that are named.
pub(super) async fn switchover(
    State(shards): State<Shards>,
    Extension(Peer(peer)): Extension<Peer>,
    Json(asked): Json<Handing>,
) -> (StatusCode, Json<Value>) {
    if !peer.ip().is_loopback() {
        let why = "a switchover is taken from this machine only";
        return (StatusCode::FORBIDDEN, Json(json!({ "error": why })));
    }
    let mut answers = Vec::new();
    for shard in chosen(&shards, &asked.shards, "primary").await {
        answers.push((shard, shards.ask(shard, Question::Switchover).await));
    }
    told(&answers)
}

/// The shards that are named, else those of a role, else all: then each says why it cannot.
async fn chosen(shards: &Shards, named: &[u16], role: &str) -> Vec<u16> {
    if !named.is_empty() {
        return named.to_vec();
    }
    let reports = shards.ask_all(Question::Pair).await;
    let numbers = |wanted: &dyn Fn(&PairReport) -> bool| -> Vec<u16> {
        let rows = (0u16..).zip(&reports);
        rows.filter(|(_, row)| matches!(row, Ok(Some(report)) if wanted(report)))
            .map(|(number, _)| number)
            .collect()
    };
    let of_role = numbers(&|report| report.role.word() == role);
    if of_role.is_empty() {
        (0u16..).zip(&reports).map(|(number, _)| number).collect()
    } else {
        of_role
    }
}

/// What a shard says of a change of roles: what it did, or why not.
type Told<E> = Result<Result<String, String>, E>;

/// The answer to a change of roles: 200 when every shard made it.
fn told<E: std::fmt::Display>(answers: &[(u16, Told<E>)]) -> (StatusCode, Json<Value>) {
    let mut all = true;
    let mut rows = Vec::new();
    for (number, answer) in answers {
        rows.push(match answer {
            Ok(Ok(done)) => json!({ "shard": number, "done": done }),
            Ok(Err(why)) => {
                all = false;
                json!({ "shard": number, "refused": why })
            }
            Err(why) => {
                all = false;
                json!({ "shard": number, "refused": why.to_string() })
            }
        });
    }
    let code = if all { StatusCode::OK } else { StatusCode::CONFLICT };
    (code, Json(json!({ "shards": rows })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::ask::NoAnswer;

    #[test]
    fn one_shard_that_refuses_makes_the_whole_answer_a_conflict() {
        let done: Result<Result<String, String>, NoAnswer> = Ok(Ok("primary".into()));
        assert_eq!(told(&[(0, done.clone()), (1, done.clone())]).0, StatusCode::OK);
        let (code, body) = told(&[(0, done), (3, Ok(Err("not in step".into())))]);
        assert_eq!(code, StatusCode::CONFLICT);
        assert_eq!(body["shards"][1]["refused"], "not in step");
        assert_eq!(body["shards"][1]["shard"], 3);
    }
}

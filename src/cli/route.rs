//! Where a topic's queues are, as the name server tells every client.
//!
//! Broker names are the shards. A topic's part is at the master (id 0), or at a standby where the
//! name server knows no master: it serves readers if it was told to, and refuses senders by name.

use serde_json::Value;
use weir_wire::codes::{request, response};

use super::remote::Remote;
use crate::exit::{self, Stop};

/// One broker's part of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Broker name.
    pub(super) broker: String,
    /// Address of its master, or of its standby when there is no master.
    pub(super) addr: String,
    /// Queues to read.
    pub(super) read_queues: u32,
    /// Queues to write.
    pub(super) write_queues: u32,
    /// Permission bits: 4 read, 2 write.
    pub(super) perm: u32,
}

/// The parts of a topic, by broker name; `None` when no broker has it.
pub(super) fn of_topic(remote: &mut Remote, topic: &str) -> Result<Option<Vec<Part>>, Stop> {
    let ext = [("topic", topic), ("acceptStandardJsonOnly", "true")];
    let answer = remote.ask_naming(request::GET_ROUTEINFO_BY_TOPIC, &ext)?;
    if answer.code == response::TOPIC_NOT_EXIST {
        return Ok(None);
    }
    let answer = answer.good("route")?;
    Ok(Some(parts(&body(&answer.body)?)))
}

/// Name and address of every master the name server knows.
pub(super) fn masters(remote: &mut Remote) -> Result<Vec<(String, String)>, Stop> {
    let answer = remote.ask_naming(request::GET_BROKER_CLUSTER_INFO, &[])?.good("cluster")?;
    let cluster = body(&answer.body)?;
    let table = cluster["brokerAddrTable"].as_object();
    let mut found: Vec<(String, String)> = table
        .into_iter()
        .flatten()
        .filter_map(|(name, row)| Some((name.clone(), master(row)?)))
        .collect();
    found.sort();
    Ok(found)
}

fn master(broker: &Value) -> Option<String> {
    broker["brokerAddrs"]["0"].as_str().map(str::to_owned)
}

/// The standby of a broker without a master.
fn standby(broker: &Value) -> Option<String> {
    let all = broker["brokerAddrs"].as_object()?;
    all.values().next().and_then(Value::as_str).map(str::to_owned)
}

fn parts(route: &Value) -> Vec<Part> {
    let brokers = route["brokerDatas"].as_array();
    let addr_of = |name: &str| {
        let row = brokers?.iter().find(|row| row["brokerName"] == name)?;
        master(row).or_else(|| standby(row))
    };
    let number = |value: &Value| value.as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    let mut found: Vec<Part> = route["queueDatas"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|row| {
            let broker = row["brokerName"].as_str()?.to_owned();
            Some(Part {
                addr: addr_of(&broker)?,
                broker,
                read_queues: number(&row["readQueueNums"]),
                write_queues: number(&row["writeQueueNums"]),
                perm: number(&row["perm"]),
            })
        })
        .collect();
    found.sort_by(|a, b| a.broker.cmp(&b.broker));
    found
}

/// A JSON body. RocketMQ leaves numeric keys without quotes; they are put in quotes first.
pub(super) fn body(bytes: &[u8]) -> Result<Value, Stop> {
    let text = String::from_utf8_lossy(bytes);
    serde_json::from_str(&quoted_keys(&text))
        .map_err(|error| Stop::new(exit::FAILED, format!("the answer's body is not JSON: {error}")))
}

fn quoted_keys(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let (mut in_text, mut escaped, mut digits) = (false, false, String::new());
    let mut key_may_begin = false;
    for c in text.chars() {
        if !in_text && c.is_ascii_digit() && (key_may_begin || !digits.is_empty()) {
            digits.push(c);
            key_may_begin = false;
            continue;
        }
        if !digits.is_empty() {
            let quote = if c == ':' { "\"" } else { "" };
            out.push_str(quote);
            out.push_str(&std::mem::take(&mut digits));
            out.push_str(quote);
        }
        if c == '"' && !escaped {
            in_text = !in_text;
        }
        escaped = in_text && c == '\\' && !escaped;
        key_may_begin = !in_text && matches!(c, '{' | ',');
        out.push(c);
    }
    out + &digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numeric_keys_get_their_quotes_and_nothing_else_changes() {
        for (given, wanted) in [
            (r#"{0:"a",12:"b"}"#, r#"{"0":"a","12":"b"}"#),
            (r#"{"x":[1,2],"y":3}"#, r#"{"x":[1,2],"y":3}"#),
            (r#"{"x":"{0:1,2:\"}"}"#, r#"{"x":"{0:1,2:\"}"}"#),
        ] {
            assert_eq!(quoted_keys(given), wanted);
        }
    }

    #[test]
    fn a_route_gives_the_masters_of_its_brokers() {
        let route = body(
            br#"{"brokerDatas":[{"brokerAddrs":{0:"h:1",1:"h:2"},"brokerName":"b-1"},
                {"brokerAddrs":{0:"h:3"},"brokerName":"b-0"}],
                "queueDatas":[{"brokerName":"b-1","perm":6,"readQueueNums":4,"writeQueueNums":3},
                {"brokerName":"b-0","perm":4,"readQueueNums":1,"writeQueueNums":1},
                {"brokerName":"gone","perm":6,"readQueueNums":1,"writeQueueNums":1}]}"#,
        )
        .unwrap();
        let rows = parts(&route);
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].broker.as_str(), rows[0].addr.as_str()), ("b-0", "h:3"));
        assert_eq!((rows[1].addr.as_str(), rows[1].write_queues, rows[1].perm), ("h:1", 3, 6));
    }
}

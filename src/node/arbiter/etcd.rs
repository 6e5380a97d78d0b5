//! etcd as the majority outside: a key under a lease says who is the primary, a second one is the
//! record.
//!
//! Spoken over etcd's JSON gateway, one request after the other. Both keys are read together, at
//! one revision, and changed by transactions that compare the revisions last read. A lease counts
//! from the moment its request was sent, for the time that etcd says it granted.
//! Never: a lease believed that etcd did not confirm; a wait without end.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use weir_io::clock;

use super::law::{Holder, Own, Record, Seen};
use super::{Arbiter, Fault, Look};
use crate::base::limits::ARBITER_ANSWER_MAX;

/// etcd, for one pair.
pub(super) struct Etcd {
    endpoints: Vec<String>,
    /// The endpoint that answered last.
    current: usize,
    agent: ureq::Agent,
    /// Both keys begin with this.
    prefix: String,
    ttl_s: u64,
    lease: Option<Lease>,
    /// Revisions that holder and record had when they were read.
    seen: (i64, i64),
}

/// A lease that was granted to this process.
#[derive(Clone, Debug)]
struct Lease {
    id: String,
    /// It lasts at least until then, nanoseconds of the clock that counts sleep.
    until_ns: u64,
}

impl Etcd {
    /// Speaks with `endpoints` about the pair `broker` of `cluster`; leases last `ttl_s` seconds.
    /// Nothing is sent yet.
    pub(super) fn new(endpoints: &[String], cluster: &str, broker: &str, ttl_s: u64) -> Etcd {
        // Three endpoints may fail before a lease that is renewed every fifth of it is over.
        let patience = Duration::from_millis(ttl_s * 1000 / 5);
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(patience))
            .http_status_as_error(false)
            .proxy(None)
            .build()
            .into();
        Etcd {
            endpoints: endpoints.to_vec(),
            current: 0,
            agent,
            prefix: format!("/weir/{cluster}/{broker}/"),
            ttl_s,
            lease: None,
            seen: (0, 0),
        }
    }

    /// Asks the endpoints in turn, the one that answered last first.
    fn call(&mut self, path: &str, body: &Value) -> Result<Value, Fault> {
        let (mut last, count) = (Fault::new("there is no endpoint"), self.endpoints.len());
        for at in 0..count {
            let which = (self.current + at) % count;
            let Some(endpoint) = self.endpoints.get(which) else { continue };
            match ask(&self.agent, endpoint, path, body) {
                Ok(answer) => {
                    self.current = which;
                    return Ok(answer);
                }
                Err(fault) => last = fault,
            }
        }
        Err(last)
    }

    fn key(&self, name: &str) -> String {
        BASE64_STANDARD.encode(format!("{}{name}", self.prefix))
    }

    /// Renews the lease. False: etcd has it no more.
    fn renew(&mut self) -> Result<bool, Fault> {
        let Some(Lease { id, .. }) = self.lease.clone() else { return Ok(false) };
        let sent_ns = clock::boot_ns();
        let answer = self.call("/v3/lease/keepalive", &json!({ "ID": id }))?;
        let ttl_s = number(&answer["result"]["TTL"]).unwrap_or(0).max(0).cast_unsigned();
        self.lease = (ttl_s > 0).then(|| Lease { id, until_ns: after(sent_ns, ttl_s) });
        Ok(self.lease.is_some())
    }

    /// Holder and record as they are, at one revision.
    fn read(&mut self) -> Result<Seen, Fault> {
        let mut end = self.prefix.clone().into_bytes();
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        let range = json!({ "key": self.key(""), "range_end": BASE64_STANDARD.encode(end) });
        let answer = self.call("/v3/kv/range", &range)?;
        let mut seen = Seen::default();
        self.seen = (0, 0);
        let (holder_key, record_key) = (self.key("holder"), self.key("record"));
        for row in answer["kvs"].as_array().into_iter().flatten() {
            let revision = number(&row["mod_revision"]).unwrap_or(0);
            let value = decode(&row["value"])?;
            if row["key"] == holder_key {
                self.seen.0 = revision;
                let lease = row["lease"].as_str();
                let is_ours = self.lease.as_ref().is_some_and(|own| lease == Some(&own.id));
                seen.holder = Some(Holder { id: value, is_ours });
            } else if row["key"] == record_key {
                self.seen.1 = revision;
                let why = || Fault::new("its record cannot be read: delete it, see replication.md");
                seen.record = Some(record_of(&value).ok_or_else(why)?);
            }
        }
        Ok(seen)
    }

    /// Compares both keys with what was read, and does `puts` when they are still so.
    fn swap(&mut self, changes: &[Value]) -> Result<bool, Fault> {
        let compare = |key: String, revision: i64| {
            let revision = revision.to_string();
            json!({ "target": "MOD", "result": "EQUAL", "key": key, "mod_revision": revision })
        };
        let compares =
            [compare(self.key("holder"), self.seen.0), compare(self.key("record"), self.seen.1)];
        let answer =
            self.call("/v3/kv/txn", &json!({ "compare": compares, "success": changes }))?;
        Ok(answer["succeeded"] == true)
    }

    fn put(&self, name: &str, value: &str, lease: Option<&str>) -> Value {
        let value = BASE64_STANDARD.encode(value);
        json!({ "request_put": {
            "key": self.key(name), "value": value, "lease": lease.unwrap_or("0"),
        } })
    }

    fn put_record(&self, record: &Record) -> Value {
        self.put("record", &record_text(record), None)
    }
}

impl Arbiter for Etcd {
    fn look(&mut self, _: &Own) -> Result<Look, Fault> {
        let held = self.renew()?;
        let seen = self.read()?;
        let ours = held && seen.holder.as_ref().is_some_and(|holder| holder.is_ours);
        let until_ns = self.lease.as_ref().filter(|_| ours).map(|lease| lease.until_ns);
        Ok(Look { seen, until_ns })
    }

    fn take(&mut self, own: &Own, record: &Record) -> Result<bool, Fault> {
        let sent_ns = clock::boot_ns();
        let asked = json!({ "TTL": self.ttl_s.to_string(), "ID": "0" });
        let answer = self.call("/v3/lease/grant", &asked)?;
        let (Some(id), Some(ttl_s)) = (answer["ID"].as_str(), number(&answer["TTL"])) else {
            return Err(Fault::new(&format!("it granted no lease: {answer}")));
        };
        let until_ns = after(sent_ns, ttl_s.max(0).cast_unsigned());
        // Kept before it is known whether the key was won: an answer may be lost.
        self.lease = Some(Lease { id: id.to_owned(), until_ns });
        let changes = [self.put("holder", &own.id, Some(id)), self.put_record(record)];
        let won = self.swap(&changes)?;
        if !won {
            self.lease = None;
        }
        Ok(won)
    }

    fn write(&mut self, _: &Own, record: &Record) -> Result<bool, Fault> {
        let change = self.put_record(record);
        self.swap(&[change])
    }

    fn release(&mut self, _: &Own, record: Option<&Record>) -> Result<(), Fault> {
        if let Some(record) = record {
            let gone = json!({ "request_delete_range": { "key": self.key("holder") } });
            let changes = [self.put_record(record), gone];
            self.swap(&changes)?;
        }
        let Some(lease) = self.lease.take() else { return Ok(()) };
        self.call("/v3/lease/revoke", &json!({ "ID": lease.id })).map(|_| ())
    }
}

/// One request to one endpoint. Anything but 200 is a fault.
fn ask(agent: &ureq::Agent, endpoint: &str, path: &str, body: &Value) -> Result<Value, Fault> {
    let broken = |error: &dyn std::fmt::Display| Fault::new(&format!("{endpoint}: {error}"));
    let request = agent.post(format!("http://{endpoint}{path}")).content_type("application/json");
    let mut answer = request.send(body.to_string()).map_err(|error| broken(&error))?;
    let status = answer.status().as_u16();
    let read = answer.body_mut().with_config().limit(ARBITER_ANSWER_MAX).read_to_vec();
    let text = read.map_err(|error| broken(&error))?;
    match serde_json::from_slice(&text) {
        Ok(value) if status == 200 => Ok(value),
        _ => {
            let text = String::from_utf8_lossy(&text);
            let some: String = text.chars().take(200).collect();
            Err(broken(&format!("status {status}: {}", some.trim())))
        }
    }
}

/// The end of a lease of `ttl_s` seconds that was asked for at `sent_ns`.
fn after(sent_ns: u64, ttl_s: u64) -> u64 {
    sent_ns.saturating_add(ttl_s.saturating_mul(1_000_000_000))
}

/// 64-bit numbers are texts in etcd's JSON.
fn number(value: &Value) -> Option<i64> {
    value.as_str()?.parse().ok()
}

fn decode(value: &Value) -> Result<String, Fault> {
    let bytes = BASE64_STANDARD.decode(value.as_str().unwrap_or_default());
    let text = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok());
    text.ok_or_else(|| Fault::new("a value that is no text"))
}

fn record_text(record: &Record) -> String {
    let Record { term, primary, boot, in_step } = record;
    // Numbers beyond 2^53 are not the same in every reader of JSON.
    let boot = format!("{boot:016x}");
    json!({ "term": term, "primary": primary, "boot": boot, "inStep": in_step }).to_string()
}

fn record_of(text: &str) -> Option<Record> {
    let value: Value = serde_json::from_str(text).ok()?;
    let ids = value["inStep"].as_array()?.iter();
    Some(Record {
        term: value["term"].as_u64()?,
        primary: value["primary"].as_str()?.to_owned(),
        boot: u64::from_str_radix(value["boot"].as_str()?, 16).ok()?,
        in_step: ids.map(|id| id.as_str().map(str::to_owned)).collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_anything_else_is_refused() {
        let in_step = vec!["a.b".to_owned(), "c.d".to_owned()];
        let record = Record { term: 7, primary: "a.b".into(), boot: u64::MAX, in_step };
        assert_eq!(record_of(&record_text(&record)), Some(record));
        for bad in ["", "{}", "[]", r#"{"term":1,"primary":"a","boot":"0","inStep":[1]}"#] {
            assert_eq!(record_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn numbers_of_the_gateway_are_texts_and_absent_ones_are_none() {
        assert_eq!(number(&json!("12")), Some(12));
        assert_eq!(number(&json!(12)), None);
        assert_eq!(number(&Value::Null), None);
        assert_eq!(after(5, 2), 2_000_000_005);
    }
}

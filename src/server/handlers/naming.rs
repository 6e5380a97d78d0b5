//! The name server's requests: routes, clusters, registration, KV configuration.
//!
//! They are small and share one table, so they share one file; the answers are written by the
//! table itself. Refused here: changing the name server's configuration over the wire.

use std::net::IpAddr;

use serde_json::{Value, json};
use weir_wire::code::{request, response};
use weir_wire::reply::Reply;

use crate::broker::Reject;
use crate::naming::{
    Advertised, Dialect, Naming, Refusal, Registration, TableVersion, TopicKind, TopicRow,
};
use crate::server::dispatch::{Call, Handled, not_supported};
use crate::server::turn::Server;

impl From<Refusal> for Reject {
    fn from(refusal: Refusal) -> Reject {
        Reject::new(refusal.code, refusal.remark)
    }
}

impl Server {
    /// The table of the name server's codes.
    pub(in crate::server) fn route_naming(&mut self, call: &Call<'_>) -> Result<Handled, Reject> {
        let now_ms = self.now_ns / 1_000_000;
        let Some(mut desk) = self.naming.take() else {
            return Err(not_supported(call.header.code));
        };
        desk.body.clear();
        if call.header.code == request::GET_ROUTEINFO_BY_TOPIC
            && let Ok(topic) = call.text("topic")
            && let Err(why) = desk.asked(&topic)
        {
            self.shard.voice.say("route-refused", &format_args!("{topic}: {why}"));
        }
        let done = answer(&mut desk.table, &mut desk.body, call, now_ms);
        let sent = done.map(|fields| {
            if let Some(out) = self.out(call) {
                let mut reply = Reply::new(out, call.codec, response::SUCCESS, call.header.opaque);
                for (name, value) in &fields {
                    reply = reply.ext_str(name, value);
                }
                reply.finish_with(&desk.body);
            }
            Handled::Done
        });
        self.naming = Some(desk);
        sent
    }
}

/// Ext fields of an answer.
type Fields = Vec<(&'static str, String)>;

/// Handles one request; the body goes to `body`.
fn answer(
    table: &mut Naming,
    body: &mut Vec<u8>,
    call: &Call<'_>,
    now_ms: u64,
) -> Result<Fields, Reject> {
    let viewer = Some(viewer(call));
    match call.header.code {
        request::GET_ROUTEINFO_BY_TOPIC => {
            let standard = call.header.flag_or("acceptStandardJsonOnly", false);
            let dialect = Dialect::of_route(call.header.version, standard);
            table.route(&call.text("topic")?, dialect, viewer, body)?;
        }
        request::GET_BROKER_CLUSTER_INFO => table.cluster(viewer, body),
        request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER => table.topic_list(body),
        request::GET_TOPICS_BY_CLUSTER => table.topics_by_cluster(&call.text("cluster")?, body),
        request::GET_SYSTEM_TOPIC_LIST_FROM_NS => table.system_topics(viewer, body),
        request::GET_UNIT_TOPIC_LIST => table.topics_of_kind(TopicKind::Unit, body),
        request::GET_HAS_UNIT_SUB_TOPIC_LIST => {
            table.topics_of_kind(TopicKind::UnitSubscribed, body);
        }
        request::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST => {
            table.topics_of_kind(TopicKind::UnitSubscribedOnly, body);
        }
        request::DELETE_TOPIC_IN_NAMESRV => {
            let cluster = call.header.optional("clusterName");
            let cluster = (!cluster.is_empty()).then(|| cluster.to_cow());
            table.delete_topic(&call.text("topic")?, cluster.as_deref());
        }
        request::WIPE_WRITE_PERM_OF_BROKER => {
            let count = table.wipe_write_perm(&call.text("brokerName")?);
            return Ok(vec![("wipeTopicCount", count.to_string())]);
        }
        request::ADD_WRITE_PERM_OF_BROKER => {
            let count = table.add_write_perm(&call.text("brokerName")?);
            return Ok(vec![("addTopicCount", count.to_string())]);
        }
        request::PUT_KV_CONFIG
        | request::GET_KV_CONFIG
        | request::DELETE_KV_CONFIG
        | request::GET_KVLIST_BY_NAMESPACE => return kv(table, body, call),
        _ => return brokers(table, body, call, now_ms),
    }
    Ok(Vec::new())
}

fn viewer(call: &Call<'_>) -> IpAddr {
    call.peer.ip().to_canonical()
}

fn kv(table: &mut Naming, body: &mut Vec<u8>, call: &Call<'_>) -> Result<Fields, Reject> {
    let namespace = call.text("namespace")?;
    match call.header.code {
        request::PUT_KV_CONFIG => {
            table.kv.put(&namespace, &call.text("key")?, &call.text("value")?)?;
        }
        request::GET_KV_CONFIG => {
            let value = table.kv.get(&namespace, &call.text("key")?)?;
            return Ok(vec![("value", value.to_owned())]);
        }
        request::DELETE_KV_CONFIG => table.kv.delete(&namespace, &call.text("key")?),
        _ => table.kv.list(&namespace, body)?,
    }
    Ok(Vec::new())
}

/// What brokers from outside ask.
fn brokers(
    table: &mut Naming,
    body: &mut Vec<u8>,
    call: &Call<'_>,
    now_ms: u64,
) -> Result<Fields, Reject> {
    match call.header.code {
        request::REGISTER_BROKER => register(table, body, call, now_ms),
        request::UNREGISTER_BROKER => {
            let id = call.header.required_i64("brokerId")?.unsigned_abs();
            table.unregister(&call.text("brokerName")?, id, &call.text("brokerAddr")?);
            Ok(Vec::new())
        }
        request::BROKER_HEARTBEAT => {
            table.heartbeat(now_ms, &call.text("brokerName")?, &call.text("brokerAddr")?);
            Ok(Vec::new())
        }
        request::QUERY_DATA_VERSION => {
            let asked = version(&json_body(call, "DataVersion")?);
            let (name, addr) = (call.text("brokerName")?, call.text("brokerAddr")?);
            let (changed, known) = table.query_version(now_ms, &name, &addr, asked);
            if let Some(known) = known {
                let text = json!({
                    "counter": known.counter,
                    "stateVersion": known.state_version,
                    "timestamp": known.timestamp,
                });
                body.extend_from_slice(text.to_string().as_bytes());
            }
            Ok(vec![("changed", changed.to_string())])
        }
        request::GET_BROKER_MEMBER_GROUP => {
            table.member_group(&call.text("clusterName")?, &call.text("brokerName")?, body);
            Ok(Vec::new())
        }
        code => Err(not_supported(code)),
    }
}

fn json_body(call: &Call<'_>, what: &'static str) -> Result<Value, Reject> {
    serde_json::from_slice(call.body).map_err(|error| {
        Reject::new(response::SYSTEM_ERROR, format!("the body is not a {what}: {error}"))
    })
}

fn version(value: &Value) -> TableVersion {
    TableVersion {
        state_version: value["stateVersion"].as_i64().unwrap_or(0),
        timestamp: value["timestamp"].as_i64().unwrap_or(0),
        counter: value["counter"].as_i64().unwrap_or(0),
    }
}

fn register(
    table: &mut Naming,
    body: &mut Vec<u8>,
    call: &Call<'_>,
    now_ms: u64,
) -> Result<Fields, Reject> {
    let h = &call.header;
    if h.flag_or("compressed", false) {
        let text = "compressed registrations are not supported: set compressedRegister=false";
        return Err(Reject::new(response::SYSTEM_ERROR, text));
    }
    let sent = json_body(call, "RegisterBrokerBody")?;
    let wrapper = &sent["topicConfigSerializeWrapper"];
    let topics: Vec<TopicRow<'_>> = wrapper["topicConfigTable"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, config)| topic_row(name, config))
        .collect();
    let (cluster, name) = (call.text("clusterName")?, call.text("brokerName")?);
    let (addr, ha_addr) = (call.text("brokerAddr")?, call.text("haServerAddr")?);
    let reply = table.register(
        now_ms,
        &Registration {
            cluster: &cluster,
            broker_name: &name,
            broker_id: h.required_i64("brokerId")?.unsigned_abs(),
            addr: Advertised::everywhere(&addr),
            ha_addr: &ha_addr,
            topics: &topics,
            version: version(&wrapper["dataVersion"]),
            connection: Some(call.id.0),
            timeout_ms: h.optional_i64("heartbeatTimeoutMillis")?.map(i64::unsigned_abs),
            permission: 6,
            acting_master_enabled: h.flag_or("enableActingMaster", false),
            own: false,
        },
    )?;
    // Java's brokers read the order topics from the answer; without any the body stays empty.
    let _ = table.kv.list("ORDER_TOPIC_CONFIG", body);
    Ok(vec![("haServerAddr", reply.ha_server_addr), ("masterAddr", reply.master_addr)])
}

fn topic_row<'a>(name: &'a str, config: &Value) -> TopicRow<'a> {
    let number = |field: &str| {
        config[field].as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or(0)
    };
    TopicRow {
        name,
        read_queues: number("readQueueNums"),
        write_queues: number("writeQueueNums"),
        perm: number("perm"),
        sys_flag: number("topicSysFlag"),
    }
}

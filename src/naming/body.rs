//! The bodies a name server answers with, written as Fastjson writes them.
//!
//! Members are sorted, null members left out, and no space stands between tokens, because one
//! stock client splits the text by hand. Nothing here decides anything: it prints what
//! [`super::Naming`] picked.

use std::net::IpAddr;

use super::registration::Refusal;
use super::table::{Broker, MASTER_ID, Naming, QueueRow};

/// How map keys that are numbers are written, and which characters are escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Fastjson's default: `{0:"ip:port"}`, non-ASCII as it is. For old clients, and for every
    /// body but the route.
    Fastjson,
    /// Standard JSON: `{"0":"ip:port"}`, non-ASCII as `\uXXXX`. For route requests of version
    /// 401 (V4_9_4) and later, or with `acceptStandardJsonOnly`.
    Standard,
}

impl Dialect {
    /// The dialect of a route answer for a request's header fields.
    #[must_use]
    pub fn of_route(version: i32, accept_standard_json_only: bool) -> Self {
        const V4_9_4: i32 = 401;
        if version >= V4_9_4 || accept_standard_json_only {
            Dialect::Standard
        } else {
            Dialect::Fastjson
        }
    }
}

/// Topic lists by the unit bits of `topicSysFlag` (codes 311, 312, 313).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicKind {
    /// Bit 0: belongs to a unit.
    Unit,
    /// Bit 1: has a unit's subscription.
    UnitSubscribed,
    /// Bit 1 without bit 0.
    UnitSubscribedOnly,
}

impl TopicKind {
    fn matches(self, sys_flag: u32) -> bool {
        let (unit, subscribed) = (sys_flag & 1 != 0, sys_flag & 2 != 0);
        match self {
            TopicKind::Unit => unit,
            TopicKind::UnitSubscribed => subscribed,
            TopicKind::UnitSubscribedOnly => subscribed && !unit,
        }
    }
}

impl Naming {
    /// GET_ROUTEINFO_BY_TOPIC: appends the TopicRouteData of `topic` to `out`.
    ///
    /// Brokers without a queue of the topic are left out, and each address is the one for a
    /// client at `viewer`. Without a broker the answer is TOPIC_NOT_EXIST and RocketMQ's remark;
    /// `out` is untouched then.
    pub fn route(
        &self,
        topic: &str,
        dialect: Dialect,
        viewer: Option<IpAddr>,
        out: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let rows = self.rows_of(topic);
        if rows.is_empty() {
            return Err(Refusal::no_route(topic));
        }
        out.extend_from_slice(b"{\"brokerDatas\":[");
        list(out, &rows, |out, (name, broker, row)| {
            let promoted = broker.acting_master(topic, row);
            broker_data(out, dialect, &BrokerView { name, broker, viewer, promoted });
        });
        out.extend_from_slice(b"],\"filterServerTable\":{},\"queueDatas\":[");
        list(out, &rows, |out, (name, broker, row)| queue_data(out, dialect, name, broker, row));
        out.extend_from_slice(b"]}");
        Ok(())
    }

    /// GET_BROKER_CLUSTER_INFO: appends brokers by name and names by cluster. Always Fastjson.
    pub fn cluster(&self, viewer: Option<IpAddr>, out: &mut Vec<u8>) {
        let dialect = Dialect::Fastjson;
        out.extend_from_slice(b"{\"brokerAddrTable\":{");
        let brokers: Vec<_> = self.brokers().collect();
        list(out, &brokers, |out, (name, broker)| {
            text(out, dialect, name);
            out.push(b':');
            broker_data(out, dialect, &BrokerView { name, broker, viewer, promoted: None });
        });
        out.extend_from_slice(b"},\"clusterAddrTable\":{");
        list(out, &self.clusters(), |out, cluster| {
            text(out, dialect, cluster);
            out.extend_from_slice(b":[");
            let members: Vec<_> =
                brokers.iter().filter(|(_, broker)| broker.cluster == *cluster).collect();
            list(out, &members, |out, (name, _)| text(out, dialect, name));
            out.push(b']');
        });
        out.extend_from_slice(b"}}");
    }

    /// GET_BROKER_MEMBER_GROUP: appends the instances of one broker name. An unknown name has no
    /// instances, as in Java.
    pub fn member_group(&self, cluster: &str, broker_name: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"brokerMemberGroup\":{\"brokerAddrs\":");
        match self.broker(broker_name) {
            Some(broker) => addresses(out, Dialect::Fastjson, broker, None, None),
            None => out.extend_from_slice(b"{}"),
        }
        out.extend_from_slice(b",\"brokerName\":");
        text(out, Dialect::Fastjson, broker_name);
        out.extend_from_slice(b",\"cluster\":");
        text(out, Dialect::Fastjson, cluster);
        out.extend_from_slice(b"}}");
    }

    /// GET_ALL_TOPIC_LIST_FROM_NAMESERVER: appends every topic's name.
    pub fn topic_list(&self, out: &mut Vec<u8>) {
        topic_names(out, None, &self.topic_names(|_, _| true));
    }

    /// GET_TOPICS_BY_CLUSTER: appends the topics that a broker of `cluster` has.
    pub fn topics_by_cluster(&self, cluster: &str, out: &mut Vec<u8>) {
        let names = self.topic_names(|broker, _| broker.cluster == cluster);
        topic_names(out, None, &names);
    }

    /// GET_UNIT_TOPIC_LIST and its two sisters: appends the topics of that kind.
    pub fn topics_of_kind(&self, kind: TopicKind, out: &mut Vec<u8>) {
        topic_names(out, None, &self.topic_names(|_, row| kind.matches(row.sys_flag)));
    }

    /// GET_SYSTEM_TOPIC_LIST_FROM_NS: appends cluster and broker names (each is a topic too) and
    /// one broker's address.
    pub fn system_topics(&self, viewer: Option<IpAddr>, out: &mut Vec<u8>) {
        let mut names = self.clusters();
        names.extend(self.brokers().map(|(name, _)| name));
        let first = self.brokers().find_map(|(_, broker)| broker.instances.values().next());
        topic_names(out, first.map(|instance| instance.addr.seen_by(viewer)), &names);
    }
}

struct BrokerView<'a> {
    name: &'a str,
    broker: &'a Broker,
    viewer: Option<IpAddr>,
    /// Id of the slave that is shown as the master.
    promoted: Option<u64>,
}

fn broker_data(out: &mut Vec<u8>, dialect: Dialect, view: &BrokerView<'_>) {
    out.extend_from_slice(b"{\"brokerAddrs\":");
    addresses(out, dialect, view.broker, view.viewer, view.promoted);
    out.extend_from_slice(b",\"brokerName\":");
    text(out, dialect, view.name);
    out.extend_from_slice(b",\"cluster\":");
    text(out, dialect, &view.broker.cluster);
    out.extend_from_slice(b",\"enableActingMaster\":");
    out.extend_from_slice(if view.broker.acting_master_enabled { b"true" } else { b"false" });
    out.push(b'}');
}

fn addresses(
    out: &mut Vec<u8>,
    dialect: Dialect,
    broker: &Broker,
    viewer: Option<IpAddr>,
    promoted: Option<u64>,
) {
    out.push(b'{');
    // The promoted slave is the one with the lowest id, so key 0 still comes first.
    let instances: Vec<_> = broker.instances.iter().collect();
    list(out, &instances, |out, (id, instance)| {
        let id = if promoted == Some(**id) { MASTER_ID } else { **id };
        let quote: &[u8] = if dialect == Dialect::Standard { b"\"" } else { b"" };
        out.extend_from_slice(quote);
        number(out, id);
        out.extend_from_slice(quote);
        out.push(b':');
        text(out, dialect, instance.addr.seen_by(viewer));
    });
    out.push(b'}');
}

fn queue_data(out: &mut Vec<u8>, dialect: Dialect, name: &str, broker: &Broker, row: &QueueRow) {
    out.extend_from_slice(b"{\"brokerName\":");
    text(out, dialect, name);
    out.extend_from_slice(b",\"perm\":");
    number(out, broker.masked(row.perm).into());
    out.extend_from_slice(b",\"readQueueNums\":");
    number(out, row.read_queues.into());
    out.extend_from_slice(b",\"topicSysFlag\":");
    number(out, row.sys_flag.into());
    out.extend_from_slice(b",\"writeQueueNums\":");
    number(out, row.write_queues.into());
    out.push(b'}');
}

fn topic_names(out: &mut Vec<u8>, broker_addr: Option<&str>, names: &[&str]) {
    out.push(b'{');
    if let Some(addr) = broker_addr {
        out.extend_from_slice(b"\"brokerAddr\":");
        text(out, Dialect::Fastjson, addr);
        out.push(b',');
    }
    out.extend_from_slice(b"\"topicList\":[");
    list(out, names, |out, name| text(out, Dialect::Fastjson, name));
    out.extend_from_slice(b"]}");
}

/// Prints `items` with commas between them.
fn list<T>(out: &mut Vec<u8>, items: &[T], mut print: impl FnMut(&mut Vec<u8>, &T)) {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        print(out, item);
    }
}

fn number(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(value.to_string().as_bytes());
}

/// Appends a JSON string. Only the standard dialect escapes what is not ASCII.
pub(super) fn text(out: &mut Vec<u8>, dialect: Dialect, value: &str) {
    out.push(b'"');
    for c in value.chars() {
        match c {
            '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
            ' '..='~' => out.push(c as u8),
            _ if c.is_control() || dialect == Dialect::Standard => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.extend_from_slice(format!("\\u{unit:04X}").as_bytes());
                }
            }
            _ => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

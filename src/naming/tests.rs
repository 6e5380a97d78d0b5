//! The name server's rules as tables: bodies byte for byte, then what changes them.
//! Every test drives the state machine alone; no frame, socket or clock takes part.

use std::net::IpAddr;

use super::bounds::{INSTANCES_MAX, KV_VALUE_MAX, NAME_MAX};
use super::*;

fn topic(name: &str, queues: u32) -> TopicRow<'_> {
    TopicRow { name, read_queues: queues, write_queues: queues, perm: 6, sys_flag: 0 }
}

fn broker<'a>(name: &'a str, id: u64, addr: &str, topics: &'a [TopicRow<'a>]) -> Registration<'a> {
    Registration {
        cluster: "C",
        broker_name: name,
        broker_id: id,
        addr: Advertised::everywhere(addr),
        ha_addr: "ha:1",
        topics,
        version: TableVersion { state_version: 0, timestamp: 1, counter: 1 },
        connection: Some(id + 100),
        timeout_ms: None,
        permission: 6,
        acting_master_enabled: false,
        own: false,
    }
}

fn own<'a>(name: &'a str, addr: &str, topics: &'a [TopicRow<'a>]) -> Registration<'a> {
    Registration { connection: None, own: true, ..broker(name, 0, addr, topics) }
}

fn route(naming: &Naming, topic: &str, dialect: Dialect) -> String {
    let mut out = Vec::new();
    match naming.route(topic, dialect, None, &mut out) {
        Ok(()) => String::from_utf8(out).unwrap(),
        Err(refusal) => format!("{}", refusal.code),
    }
}

fn printed(print: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    print(&mut out);
    String::from_utf8(out).unwrap()
}

/// Two brokers: `a` has T (4 queues) and U; `b` has T (2 queues) and V.
fn two_brokers() -> Naming {
    let mut naming = Naming::new();
    let (t4, t2, u, v) = (topic("T", 4), topic("T", 2), topic("U", 1), topic("V", 1));
    naming.register(0, &broker("b", 0, "10.0.0.2:10911", &[t2, v])).unwrap();
    naming.register(0, &broker("a", 0, "10.0.0.1:10911", &[t4, u])).unwrap();
    naming
}

#[test]
fn a_route_has_the_bytes_of_fastjson_in_both_dialects() {
    let naming = two_brokers();
    let body = |zero: &str| {
        format!(
            "{{\"brokerDatas\":[\
             {{\"brokerAddrs\":{{{zero}:\"10.0.0.1:10911\"}},\"brokerName\":\"a\",\
             \"cluster\":\"C\",\"enableActingMaster\":false}},\
             {{\"brokerAddrs\":{{{zero}:\"10.0.0.2:10911\"}},\"brokerName\":\"b\",\
             \"cluster\":\"C\",\"enableActingMaster\":false}}],\
             \"filterServerTable\":{{}},\"queueDatas\":[\
             {{\"brokerName\":\"a\",\"perm\":6,\"readQueueNums\":4,\"topicSysFlag\":0,\
             \"writeQueueNums\":4}},\
             {{\"brokerName\":\"b\",\"perm\":6,\"readQueueNums\":2,\"topicSysFlag\":0,\
             \"writeQueueNums\":2}}]}}"
        )
    };
    assert_eq!(route(&naming, "T", Dialect::Fastjson), body("0"));
    assert_eq!(route(&naming, "T", Dialect::Standard), body("\"0\""));
}

#[test]
fn the_dialect_follows_version_and_flag() {
    for (version, standard_only, expected) in [
        (121, false, Dialect::Fastjson),
        (317, false, Dialect::Fastjson),
        (400, false, Dialect::Fastjson),
        (317, true, Dialect::Standard),
        (401, false, Dialect::Standard),
        (493, false, Dialect::Standard),
    ] {
        assert_eq!(Dialect::of_route(version, standard_only), expected, "{version}");
    }
}

#[test]
fn only_the_standard_dialect_escapes_what_is_not_ascii() {
    let mut naming = Naming::new();
    let topics = [topic("T", 1)];
    naming.register(0, &own("盒\"\u{1F4E6}\n", "h:1", &topics)).unwrap();
    let standard = route(&naming, "T", Dialect::Standard);
    assert!(standard.contains(r#""brokerName":"\u76D2\"\uD83D\uDCE6\u000A""#), "{standard}");
    let old = route(&naming, "T", Dialect::Fastjson);
    assert!(old.contains("\"brokerName\":\"盒\\\"\u{1F4E6}\\u000A\""), "{old}");
}

#[test]
fn an_unknown_topic_is_refused_with_rocketmqs_remark_and_an_untouched_buffer() {
    let mut out = b"kept".to_vec();
    let refusal = Naming::new().route("T", Dialect::Standard, None, &mut out).unwrap_err();
    assert_eq!(refusal.code, 17);
    assert!(refusal.remark.starts_with("No topic route info in name server for the topic: T"));
    assert_eq!(out, b"kept");
}

#[test]
fn a_broker_without_queues_of_a_topic_is_left_out() {
    let mut naming = two_brokers();
    naming.topics_changed("a", &[topic("T", 0)], &[]).unwrap();
    let body = route(&naming, "T", Dialect::Standard);
    assert!(!body.contains("\"a\"") && body.contains("\"b\""), "{body}");
    naming.topics_changed("b", &[topic("T", 0)], &[]).unwrap();
    assert_eq!(route(&naming, "T", Dialect::Standard), "17");
}

#[test]
fn the_brokers_permission_masks_the_topics() {
    for (broker_perm, topic_perm, expected) in [(6, 7, 7), (6, 6, 6), (4, 7, 4), (2, 6, 2)] {
        let mut naming = Naming::new();
        let topics = [TopicRow { perm: topic_perm, ..topic("T", 1) }];
        let registration = Registration { permission: broker_perm, ..own("a", "h:1", &topics) };
        naming.register(0, &registration).unwrap();
        let body = route(&naming, "T", Dialect::Standard);
        assert!(body.contains(&format!("\"perm\":{expected},")), "{body}");
    }
}

#[test]
fn our_own_permission_can_change_and_shows_at_once_and_no_other_brokers_does() {
    let mut naming = Naming::new();
    let topics = [topic("T", 1), topic("U", 1)];
    naming.register(0, &own("a", "h:1", &topics)).unwrap();
    naming.register(0, &Registration { own: false, ..own("b", "h:2", &topics) }).unwrap();
    naming.set_own_permission(4);
    let body = route(&naming, "T", Dialect::Standard);
    assert!(body.contains("\"perm\":4,") && body.contains("\"perm\":6,"), "{body}");
    naming.set_own_permission(6);
    assert!(!route(&naming, "T", Dialect::Standard).contains("\"perm\":4,"));
}

#[test]
fn cluster_and_topic_bodies_have_the_bytes_of_fastjson() {
    let mut naming = two_brokers();
    let other = [topic("W", 1), topic("T", 1)];
    let registration = Registration { cluster: "B", ..own("c", "h:3", &other) };
    naming.register(0, &registration).unwrap();
    let data = |addr: &str, name: &str, cluster: &str| {
        format!(
            "\"{name}\":{{\"brokerAddrs\":{{0:\"{addr}\"}},\"brokerName\":\"{name}\",\
             \"cluster\":\"{cluster}\",\"enableActingMaster\":false}}"
        )
    };
    let (a, b) = (data("10.0.0.1:10911", "a", "C"), data("10.0.0.2:10911", "b", "C"));
    let c = data("h:3", "c", "B");
    let expected = format!(
        "{{\"brokerAddrTable\":{{{a},{b},{c}}},\
         \"clusterAddrTable\":{{\"B\":[\"c\"],\"C\":[\"a\",\"b\"]}}}}"
    );
    assert_eq!(printed(|out| naming.cluster(None, out)), expected);
    for (body, expected) in [
        (printed(|out| naming.topic_list(out)), r#"{"topicList":["T","U","V","W"]}"#),
        (printed(|out| naming.topics_by_cluster("B", out)), r#"{"topicList":["T","W"]}"#),
        (printed(|out| naming.topics_by_cluster("none", out)), r#"{"topicList":[]}"#),
        (
            printed(|out| naming.system_topics(None, out)),
            r#"{"brokerAddr":"10.0.0.1:10911","topicList":["B","C","a","b","c"]}"#,
        ),
        (
            printed(|out| naming.member_group("C", "a", out)),
            "{\"brokerMemberGroup\":{\"brokerAddrs\":{0:\"10.0.0.1:10911\"},\
             \"brokerName\":\"a\",\"cluster\":\"C\"}}",
        ),
        (
            printed(|out| naming.member_group("C", "x", out)),
            "{\"brokerMemberGroup\":{\"brokerAddrs\":{},\"brokerName\":\"x\",\"cluster\":\"C\"}}",
        ),
        (printed(|out| Naming::new().system_topics(None, out)), r#"{"topicList":[]}"#),
    ] {
        assert_eq!(body, expected);
    }
}

#[test]
fn unit_topics_are_listed_by_their_flag_bits() {
    let mut naming = Naming::new();
    let names = ["f0", "f1", "f2", "f3"];
    let topics: Vec<_> =
        (0..4).zip(names).map(|(f, name)| TopicRow { sys_flag: f, ..topic(name, 1) }).collect();
    naming.register(0, &own("a", "h:1", &topics)).unwrap();
    for (kind, expected) in [
        (TopicKind::Unit, r#"{"topicList":["f1","f3"]}"#),
        (TopicKind::UnitSubscribed, r#"{"topicList":["f2","f3"]}"#),
        (TopicKind::UnitSubscribedOnly, r#"{"topicList":["f2"]}"#),
    ] {
        assert_eq!(printed(|out| naming.topics_of_kind(kind, out)), expected);
    }
}

#[test]
fn brokers_expire_by_age_and_our_own_never() {
    let topics = [topic("T", 1), topic("U", 1)];
    // (asked timeout, time of the last sign, time of the scan, still there)
    for (timeout_ms, sign_ms, scan_ms, alive) in [
        (None, 1_000, 121_000, true),
        (None, 1_000, 121_001, false),
        (Some(5_000), 1_000, 6_000, true),
        (Some(5_000), 1_000, 6_001, false),
        (Some(u64::MAX), 0, u64::MAX, false),
        (None, 500_000, 0, true),
    ] {
        let mut naming = Naming::new();
        let registration = Registration { timeout_ms, ..broker("a", 0, "h:1", &topics) };
        naming.register(sign_ms, &registration).unwrap();
        naming.register(0, &own("mine", "h:2", &topics)).unwrap();
        assert_eq!(naming.expire(scan_ms), usize::from(!alive), "{timeout_ms:?} {scan_ms}");
        let body = route(&naming, "T", Dialect::Standard);
        assert_eq!(body.contains("\"a\""), alive, "{timeout_ms:?} {scan_ms}");
        assert!(body.contains("\"mine\""));
    }
}

#[test]
fn a_sign_of_life_postpones_expiry() {
    let topics = [topic("T", 1), topic("U", 1)];
    let same = TableVersion { state_version: 0, timestamp: 1, counter: 1 };
    let newer = TableVersion { counter: 2, ..same };
    let mut naming = Naming::new();
    naming.register(0, &broker("a", 0, "h:1", &topics)).unwrap();
    assert!(naming.heartbeat(100_000, "a", "h:1"));
    assert!(!naming.heartbeat(100_000, "a", "h:9"));
    assert!(!naming.heartbeat(100_000, "x", "h:1"));
    assert_eq!(naming.expire(220_000), 0);
    assert_eq!(naming.query_version(220_000, "a", "h:1", same), (false, Some(same)));
    assert_eq!(naming.expire(340_000), 0);
    // A changed version is no sign of life: a registration will follow.
    assert_eq!(naming.query_version(340_000, "a", "h:1", newer), (true, Some(same)));
    assert_eq!(naming.query_version(340_000, "a", "h:9", newer), (true, None));
    assert_eq!(naming.expire(340_001), 1);
    assert_eq!(route(&naming, "T", Dialect::Standard), "17");
}

#[test]
fn a_closed_connection_takes_its_brokers_and_their_rows() {
    let mut naming = two_brokers();
    let mine = [topic("T", 1), topic("M", 1)];
    naming.register(0, &own("mine", "h:3", &mine)).unwrap();
    assert_eq!(naming.connection_closed(7), 0);
    assert_eq!(naming.connection_closed(100), 2);
    assert_eq!(printed(|out| naming.topic_list(out)), r#"{"topicList":["M","T"]}"#);
    assert_eq!(naming.held(), (2, 2));
    // The freed slots are used again and show none of the old rows.
    naming.register(1, &broker("z", 0, "h:4", &[topic("Z", 1), topic("Y", 1)])).unwrap();
    assert_eq!(route(&naming, "U", Dialect::Standard), "17");
    assert!(route(&naming, "Z", Dialect::Standard).contains("\"z\""));
}

#[test]
fn unregistering_needs_name_id_and_address_and_spares_our_own() {
    let mut naming = two_brokers();
    naming.register(0, &own("mine", "h:3", &[topic("M", 1)])).unwrap();
    for (name, id, addr, removed) in [
        ("a", 0, "10.0.0.9:1", false),
        ("a", 1, "10.0.0.1:10911", false),
        ("mine", 0, "h:3", false),
        ("a", 0, "10.0.0.1:10911", true),
        ("a", 0, "10.0.0.1:10911", false),
    ] {
        assert_eq!(naming.unregister(name, id, addr), removed, "{name} {id} {addr}");
    }
}

#[test]
fn registrations_out_of_bounds_are_refused_and_change_nothing() {
    let long = "x".repeat(NAME_MAX + 1);
    let pair = [topic("T", 1), topic("U", 1)];
    let nameless = [topic("", 1), topic("T", 1)];
    let mut naming = Naming::new();
    naming.register(0, &own("mine", "h:1", &[topic("M", 1)])).unwrap();
    let before = printed(|out| naming.cluster(None, out));
    for (why, registration) in [
        ("no name", broker("", 0, "h:2", &pair)),
        ("long name", broker(&long, 0, "h:2", &pair)),
        ("no address", broker("a", 0, "", &pair)),
        ("long cluster", Registration { cluster: &long, ..broker("a", 0, "h:2", &pair) }),
        ("long ha", Registration { ha_addr: &long, ..broker("a", 0, "h:2", &pair) }),
        ("empty topic", broker("a", 0, "h:2", &nameless)),
        ("one topic of an unknown id", broker("a", 0, "h:2", &pair[..1])),
        ("our own name", broker("mine", 0, "h:2", &pair)),
    ] {
        let refusal = naming.register(0, &registration).expect_err(why);
        assert_eq!(refusal.code, 1, "{why}");
        assert_eq!(printed(|out| naming.cluster(None, out)), before, "{why}");
    }
    for id in 1..INSTANCES_MAX as u64 {
        naming.register(0, &broker("mine", id, &format!("h:{}", id + 1), &pair)).unwrap();
    }
    let full = naming.register(0, &broker("mine", 99, "h:99", &pair)).unwrap_err();
    assert!(full.remark.contains("16 instances"), "{}", full.remark);
}

#[test]
fn one_topic_is_enough_for_an_instance_that_is_known() {
    let mut naming = two_brokers();
    let changed = [topic("T", 9)];
    let version = TableVersion { state_version: 0, timestamp: 2, counter: 2 };
    let registration = Registration { version, ..broker("a", 0, "10.0.0.1:10911", &changed) };
    naming.register(1, &registration).unwrap();
    assert!(route(&naming, "T", Dialect::Standard).contains("\"readQueueNums\":9"));
    // Topics missing from the list stay.
    assert!(route(&naming, "U", Dialect::Standard).contains("\"a\""));
}

#[test]
fn wiped_write_permission_lasts_until_the_version_changes() {
    let mut naming = two_brokers();
    let perm = |naming: &Naming| {
        let body = route(naming, "U", Dialect::Standard);
        body.split("\"perm\":").nth(1).and_then(|rest| rest.chars().next()).unwrap()
    };
    let topics = [topic("T", 4), topic("U", 1)];
    let same = broker("a", 0, "10.0.0.1:10911", &topics);
    let version = TableVersion { counter: 2, ..same.version };
    assert_eq!(naming.wipe_write_perm("a"), 2);
    assert_eq!(perm(&naming), '4');
    naming.register(1, &same).unwrap();
    assert_eq!(perm(&naming), '4');
    naming.register(2, &Registration { version, ..same }).unwrap();
    assert_eq!(perm(&naming), '6');
    naming.wipe_write_perm("a");
    assert_eq!(naming.add_write_perm("a"), 2);
    assert_eq!(perm(&naming), '6');
    assert_eq!(naming.wipe_write_perm("nobody"), 0);
    // Broker b's rows were never touched.
    assert!(route(&naming, "V", Dialect::Standard).contains("\"perm\":6"));
}

#[test]
fn slaves_are_told_their_master_and_cannot_change_its_topics() {
    let mut naming = Naming::new();
    let (wide, narrow) = ([topic("T", 8), topic("U", 1)], [topic("T", 1), topic("S", 1)]);
    naming.register(0, &broker("a", 0, "m:1", &wide)).unwrap();
    let reply = naming.register(0, &broker("a", 1, "s:1", &narrow)).unwrap();
    let expected =
        RegisterReply { ha_server_addr: "ha:1".to_owned(), master_addr: "m:1".to_owned() };
    assert_eq!(reply, expected);
    let body = route(&naming, "T", Dialect::Fastjson);
    assert!(body.contains(r#""brokerAddrs":{0:"m:1",1:"s:1"}"#), "{body}");
    assert!(body.contains("\"readQueueNums\":8"), "{body}");
    assert_eq!(route(&naming, "S", Dialect::Fastjson), "17");
}

#[test]
fn the_lowest_slave_stands_in_for_a_lost_master_read_only() {
    for acting_master_enabled in [true, false] {
        let mut naming = Naming::new();
        let topics = [topic("T", 2), topic("U", 1)];
        for (id, addr) in [(0, "m:1"), (1, "s:1"), (2, "s:2")] {
            let r = Registration { acting_master_enabled, ..broker("a", id, addr, &topics) };
            naming.register(0, &r).unwrap();
        }
        assert!(naming.unregister("a", 0, "m:1"));
        let body = route(&naming, "T", Dialect::Fastjson);
        let (addrs, perm) = if acting_master_enabled {
            (r#""brokerAddrs":{0:"s:1",2:"s:2"}"#, "\"perm\":4")
        } else {
            (r#""brokerAddrs":{1:"s:1",2:"s:2"}"#, "\"perm\":6")
        };
        assert!(body.contains(addrs) && body.contains(perm), "{body}");
        // The cluster view is for administrators: it shows the true ids.
        assert!(printed(|out| naming.cluster(None, out)).contains("1:\"s:1\""));
    }
}

#[test]
fn an_old_master_does_not_displace_a_newer_one() {
    let mut naming = Naming::new();
    let topics = [topic("T", 1), topic("U", 1)];
    let state = |state_version| TableVersion { state_version, timestamp: 1, counter: 1 };
    let newer = Registration { version: state(2), ..broker("a", 0, "new:1", &topics) };
    naming.register(0, &newer).unwrap();
    let older = Registration { version: state(1), ..broker("a", 0, "old:1", &topics) };
    assert_eq!(naming.register(1, &older), Ok(RegisterReply::default()));
    assert!(route(&naming, "T", Dialect::Standard).contains("new:1"));
    let promoted = Registration { version: state(3), ..older };
    naming.register(2, &promoted).unwrap();
    assert!(route(&naming, "T", Dialect::Standard).contains("old:1"));
}

#[test]
fn an_address_has_one_id() {
    let mut naming = Naming::new();
    let topics = [topic("T", 1), topic("U", 1)];
    naming.register(0, &broker("a", 1, "s:1", &topics)).unwrap();
    naming.register(1, &broker("a", 0, "s:1", &topics)).unwrap();
    let body = route(&naming, "T", Dialect::Fastjson);
    assert!(body.contains(r#""brokerAddrs":{0:"s:1"}"#), "{body}");
}

#[test]
fn our_own_topics_change_one_by_one() {
    let mut naming = Naming::new();
    naming.register(0, &own("mine", "h:1", &[])).unwrap();
    naming.topics_changed("mine", &[topic("T", 2), topic("U", 1)], &[]).unwrap();
    naming.topics_changed("mine", &[topic("T", 3)], &["U", "never"]).unwrap();
    assert!(route(&naming, "T", Dialect::Standard).contains("\"writeQueueNums\":3"));
    assert_eq!(route(&naming, "U", Dialect::Standard), "17");
    assert_eq!(naming.held(), (1, 1));
    assert!(naming.topics_changed("nobody", &[], &[]).is_err());
}

#[test]
fn topics_are_deleted_everywhere_or_in_one_cluster() {
    let fresh = || {
        let mut naming = two_brokers();
        let topics = [topic("T", 1), topic("W", 1)];
        let other = Registration { cluster: "D", ..broker("d", 0, "h:4", &topics) };
        naming.register(0, &other).unwrap();
        naming
    };
    for (cluster, left) in [(None, vec![]), (Some("C"), vec!["d"]), (Some("D"), vec!["a", "b"])] {
        let mut naming = fresh();
        naming.delete_topic("T", cluster);
        let names: Vec<_> = naming.rows_of("T").into_iter().map(|(name, ..)| name).collect();
        assert_eq!(names, left, "{cluster:?}");
    }
}

#[test]
fn a_topic_registered_alone_reaches_known_brokers_only() {
    let mut naming = two_brokers();
    naming.register_topic(&[("a", topic("N", 3)), ("x", topic("N", 3))]).unwrap();
    naming.register_topic(&[("a", topic("N", 5))]).unwrap();
    let body = route(&naming, "N", Dialect::Standard);
    assert!(body.contains("\"a\"") && !body.contains("\"x\""), "{body}");
    assert!(body.contains("\"readQueueNums\":3"), "{body}");
}

#[test]
fn clients_of_two_networks_are_told_two_addresses() {
    let mut naming = Naming::new();
    let mut addr = Advertised::everywhere("203.0.113.5:10911");
    addr.from_subnet(Subnet::parse("10.0.0.0/8").unwrap(), "10.0.0.5:10911");
    addr.from_subnet(Subnet::parse("10.1.0.0/16").unwrap(), "10.1.0.5:10911");
    addr.from_subnet(Subnet::parse("fd00::/8").unwrap(), "[fd00::5]:10911");
    let topics = [topic("T", 1)];
    naming.register(0, &Registration { addr, ..own("a", "h:1", &topics) }).unwrap();
    for (viewer, expected) in [
        (None, "203.0.113.5:10911"),
        (Some("192.0.2.1"), "203.0.113.5:10911"),
        (Some("10.9.9.9"), "10.0.0.5:10911"),
        (Some("10.1.9.9"), "10.1.0.5:10911"),
        (Some("::ffff:10.1.9.9"), "10.1.0.5:10911"),
        (Some("fd12::1"), "[fd00::5]:10911"),
        (Some("fe80::1"), "203.0.113.5:10911"),
    ] {
        let viewer: Option<IpAddr> = viewer.map(|text| text.parse().unwrap());
        let body = printed(|out| naming.route("T", Dialect::Standard, viewer, out).unwrap());
        assert!(body.contains(&format!("\"0\":\"{expected}\"")), "{viewer:?} {body}");
    }
}

#[test]
fn subnets_are_read_strictly() {
    for (text, addr, inside) in [
        ("0.0.0.0/0", "1.2.3.4", true),
        ("0.0.0.0/0", "::1", false),
        ("::/0", "::1", true),
        ("10.0.0.7", "10.0.0.7", true),
        ("10.0.0.7", "10.0.0.8", false),
        ("10.0.0.7/31", "10.0.0.6", true),
    ] {
        let subnet = Subnet::parse(text).unwrap();
        assert_eq!(subnet.contains(addr.parse().unwrap()), inside, "{text} {addr}");
    }
    for wrong in ["", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/", "fd00::/129", "a/8", "1.2.3.4/-1"] {
        assert_eq!(Subnet::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn kv_configuration_is_kept_by_namespace_and_bounded() {
    let mut kv = KvStore::default();
    assert_eq!(kv.get("n", "k").unwrap_err().code, 22);
    assert_eq!(kv.list("n", &mut Vec::new()).unwrap_err().code, 22);
    kv.put(ORDER_TOPIC_CONFIG, "T", "a:4;b:4").unwrap();
    kv.put(ORDER_TOPIC_CONFIG, "S", "").unwrap();
    kv.put(ORDER_TOPIC_CONFIG, "T", "a:8").unwrap();
    assert_eq!(kv.get(ORDER_TOPIC_CONFIG, "T"), Ok("a:8"));
    let body = printed(|out| kv.list(ORDER_TOPIC_CONFIG, out).unwrap());
    assert_eq!(body, r#"{"table":{"S":"","T":"a:8"}}"#);
    assert_eq!(kv.entries().count(), 2);
    let long = "v".repeat(KV_VALUE_MAX + 1);
    for (namespace, key, value) in [("", "k", "v"), ("n", "", "v"), ("n", "k", &*long)] {
        assert_eq!(kv.put(namespace, key, value).unwrap_err().code, 1);
    }
    kv.delete(ORDER_TOPIC_CONFIG, "T");
    kv.delete(ORDER_TOPIC_CONFIG, "S");
    kv.delete(ORDER_TOPIC_CONFIG, "S");
    assert!(kv.list(ORDER_TOPIC_CONFIG, &mut Vec::new()).is_err());
    // All bytes were given back: the store can be filled to its bound again and again.
    let big = "v".repeat(KV_VALUE_MAX);
    for round in 0..2 {
        let stored = (0..1000).take_while(|i| kv.put("n", &format!("{i:04}"), &big).is_ok());
        assert_eq!(stored.count(), 255, "round {round}");
        (0..1000).for_each(|i| kv.delete("n", &format!("{i:04}")));
    }
}

#[test]
fn our_own_shard_over_the_wire_is_known_already_and_a_stranger_with_its_name_is_refused() {
    let topics = [topic("M", 1), topic("N", 2)];
    let mut naming = Naming::new();
    naming.register(0, &own("mine", "h:1", &topics)).unwrap();
    let other = [topic("O", 1), topic("P", 2)];
    assert!(naming.register(1, &broker("mine", 0, "h:1", &other)).is_ok());
    let mut body = Vec::new();
    assert!(naming.route("O", Dialect::Standard, None, &mut body).is_err(), "nothing changed");
    let refused = naming.register(1, &broker("mine", 0, "h:2", &other)).unwrap_err();
    assert!(refused.remark.contains("is this process itself"), "{}", refused.remark);
    assert!(!naming.unregister("mine", 0, "h:1"), "and it is not unregistered over the wire");
}

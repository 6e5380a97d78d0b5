//! Request headers and bodies: fields under their wire names, and bodies to the byte.
//!
//! The texts are what stock clients send and read; a changed spelling fails here first.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails may say so by a panic")]

use std::collections::BTreeMap;

use weir_wire::codes::request;
use weir_wire::fastjson::{Dialect, standard};
use weir_wire::frame::{Codec, Frame};
use weir_wire::header::Header;
use weir_wire::reply::Request;
use weir_wire::request::MessageQueue;
use weir_wire::request::cluster::{
    ClusterInfo, TopicList, TopicsByClusterHeader, write_topic_list,
};
use weir_wire::request::group::*;
use weir_wire::request::heartbeat::*;
use weir_wire::request::kv::*;
use weir_wire::request::lock::{LockBatch, Locked};
use weir_wire::request::offset::*;
use weir_wire::request::pull::{PullHeader, pull_flag};
use weir_wire::request::register::*;
use weir_wire::request::route::*;
use weir_wire::request::send::SendHeader;
use weir_wire::request::stats::*;
use weir_wire::request::topic::*;
use weir_wire::request::unregister::UnregisterHeader;
use weir_wire::request::view::ViewHeader;
use weir_wire::request::{client_config, consumer_list, runtime};

/// Gives `check` the header with these fields, in both forms.
fn with(code: i32, fields: &[(&str, &str)], check: impl Fn(&Header<'_>)) {
    for codec in [Codec::Json, Codec::Binary] {
        let mut out = Vec::new();
        let mut request = Request::new(&mut out, codec, code, 1, false);
        for (key, value) in fields {
            request = request.ext_str(key, value);
        }
        request.finish();
        let frame = Frame::parse(&out).unwrap();
        check(&Header::parse(frame.codec, frame.header, Box::leak(Box::default())).unwrap());
    }
}

/// With all of `fields` the header must parse; without any one of the first `mandatory` of them
/// it must say which is missing.
fn mandatory<T>(
    code: i32,
    fields: &[(&str, &str)],
    mandatory: usize,
    parse: impl Fn(&Header<'_>) -> Result<T, weir_wire::header::FieldError>,
) {
    with(code, fields, |header| assert!(parse(header).is_ok()));
    for at in 0..fields.len() {
        let mut fewer = fields.to_vec();
        let (name, _) = fewer.remove(at);
        with(code, &fewer, |header| match parse(header) {
            Ok(_) => assert!(at >= mandatory, "{name} is mandatory"),
            Err(error) => {
                assert!(at < mandatory, "{name} is not mandatory");
                assert_eq!(error.to_string(), format!("the custom field <{name}> is null"));
            }
        });
    }
}

/// JSON that is broken over lines, in one.
fn joined(lines: &str) -> String {
    lines.lines().map(str::trim_start).collect()
}

fn text(out: Vec<u8>) -> String {
    String::from_utf8(out).unwrap()
}

const LONG: [(&str, &str); 14] = [
    ("producerGroup", "pg"),
    ("topic", "T"),
    ("defaultTopic", "TBW102"),
    ("defaultTopicQueueNums", "4"),
    ("queueId", "-1"),
    ("sysFlag", "1"),
    ("bornTimestamp", "1700000000000"),
    ("flag", "9"),
    ("properties", "TAGS\u{1}a\u{2}"),
    ("reconsumeTimes", "2"),
    ("unitMode", "true"),
    ("maxReconsumeTimes", "16"),
    ("batch", "true"),
    ("bname", "broker-a"),
];

#[test]
fn a_send_has_the_same_fields_under_long_and_short_names() {
    let letters = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n"];
    let short: Vec<_> = letters.iter().zip(LONG).map(|(name, (_, value))| (*name, value)).collect();
    for (code, fields) in [
        (request::SEND_MESSAGE, &LONG[..]),
        (request::SEND_REPLY_MESSAGE, &LONG[..]),
        (request::SEND_MESSAGE_V2, &short[..]),
        (request::SEND_BATCH_MESSAGE, &short[..]),
        (request::SEND_REPLY_MESSAGE_V2, &short[..]),
    ] {
        with(code, fields, |header| {
            let send = SendHeader::parse(header).unwrap();
            assert!(send.producer_group == "pg" && send.topic == "T");
            assert!(send.default_topic == "TBW102" && send.broker_name == "broker-a");
            assert_eq!((send.default_topic_queue_nums, send.queue_id), (4, -1));
            assert_eq!((send.sys_flag, send.flag), (1, 9));
            assert_eq!(send.born_timestamp, 1_700_000_000_000);
            assert_eq!(send.properties, "TAGS\u{1}a\u{2}");
            assert_eq!((send.reconsume_times, send.max_reconsume_times), (2, Some(16)));
            assert!(send.unit_mode && send.batch);
        });
        mandatory(code, fields, 8, |header| SendHeader::parse(header).map(|_| ()));
    }
}

#[test]
fn the_clients_one_is_no_batch() {
    let mut fields = LONG;
    fields[12].1 = "1";
    fields[11].1 = "";
    with(request::SEND_MESSAGE, &fields, |header| {
        let send = SendHeader::parse(header).unwrap();
        assert!(!send.batch && send.max_reconsume_times.is_none());
    });
    fields[6].1 = "now";
    with(request::SEND_MESSAGE, &fields, |header| {
        let error = SendHeader::parse(header).unwrap_err();
        assert_eq!(error.to_string(), "the custom field <bornTimestamp> is not a number");
    });
}

#[test]
fn a_pull_has_its_fields() {
    let fields = [
        ("consumerGroup", "g"),
        ("topic", "T"),
        ("queueId", "3"),
        ("queueOffset", "77"),
        ("maxMsgNums", "32"),
        ("sysFlag", "7"),
        ("commitOffset", "70"),
        ("suspendTimeoutMillis", "15000"),
        ("subVersion", "1700000000000"),
        ("subscription", "TagA || TagB"),
        ("expressionType", "TAG"),
        ("maxMsgBytes", "262144"),
        ("requestSource", "-1"),
        ("proxyFrowardClientId", "c"),
        ("bname", "broker-a"),
    ];
    mandatory(request::PULL_MESSAGE, &fields, 9, |header| PullHeader::parse(header).map(|_| ()));
    with(request::LITE_PULL_MESSAGE, &fields, |header| {
        let pull = PullHeader::parse(header).unwrap();
        assert!(pull.consumer_group == "g" && pull.topic == "T" && pull.queue_id == 3);
        assert_eq!((pull.queue_offset, pull.commit_offset, pull.max_msg_nums), (77, 70, 32));
        assert_eq!((pull.suspend_timeout_ms, pull.sub_version), (15_000, 1_700_000_000_000));
        assert!(pull.has(pull_flag::SUSPEND) && !pull.has(pull_flag::LITE_PULL));
        assert_eq!(pull.subscription.unwrap(), "TagA || TagB");
        assert_eq!(pull.expression_type.unwrap(), "TAG");
        assert_eq!((pull.max_msg_bytes, pull.request_source), (Some(262_144), Some(-1)));
        assert_eq!(pull.proxy_forward_client_id.unwrap(), "c");
    });
    with(request::PULL_MESSAGE, &fields[..9], |header| {
        let pull = PullHeader::parse(header).unwrap();
        assert!(pull.subscription.is_none() && pull.max_msg_bytes.is_none());
    });
}

#[test]
fn headers_say_which_of_their_fields_is_missing() {
    let queue = [("topic", "T"), ("queueId", "1"), ("committed", "false")];
    mandatory(request::GET_MAX_OFFSET, &queue, 2, |h| QueueOffsetHeader::parse(h).map(|_| ()));
    let search = [("topic", "T"), ("queueId", "1"), ("timestamp", "5"), ("boundaryType", "UPPER")];
    mandatory(29, &search, 3, |header| SearchOffsetHeader::parse(header).map(|_| ()));
    with(29, &search, |header| assert!(SearchOffsetHeader::parse(header).unwrap().is_upper()));
    let query =
        [("consumerGroup", "g"), ("topic", "T"), ("queueId", "1"), ("setZeroIfNotFound", "false")];
    mandatory(14, &query, 3, |header| QueryOffsetHeader::parse(header).map(|_| ()));
    with(14, &query, |header| {
        assert_eq!(QueryOffsetHeader::parse(header).unwrap().set_zero_if_not_found, Some(false));
    });
    let update = [("consumerGroup", "g"), ("topic", "T"), ("queueId", "1"), ("commitOffset", "8")];
    mandatory(15, &update, 4, |header| UpdateOffsetHeader::parse(header).map(|_| ()));
    let leave = [("clientID", "c"), ("producerGroup", "p"), ("consumerGroup", "g")];
    mandatory(35, &leave, 1, |header| UnregisterHeader::parse(header).map(|_| ()));
    let list = [("consumerGroup", "g")];
    mandatory(38, &list, 1, |h| consumer_list::ConsumerListHeader::parse(h).map(|_| ()));
    let route = [("topic", "T"), ("acceptStandardJsonOnly", "true")];
    mandatory(105, &route, 1, |header| RouteHeader::parse(header).map(|_| ()));
    mandatory(33, &[("offset", "1"), ("topic", "T")], 1, |h| ViewHeader::parse(h).map(|_| ()));
    let kv = [("namespace", "n"), ("key", "k"), ("value", "v")];
    mandatory(100, &kv, 3, |header| PutKvHeader::parse(header).map(|_| ()));
    mandatory(101, &kv[..2], 2, |header| KvHeader::parse(header).map(|_| ()));
    mandatory(219, &kv[..1], 1, |header| KvListHeader::parse(header).map(|_| ()));
    mandatory(224, &[("cluster", "c")], 1, |h| TopicsByClusterHeader::parse(h).map(|_| ()));
    mandatory(215, &[("topic", "T")], 1, |h| TopicHeader::parse(h).map(|_| ()));
    let delete = [("topic", "T"), ("clusterName", "c")];
    mandatory(216, &delete, 1, |h| DeleteTopicInNamesrvHeader::parse(h).map(|_| ()));
    mandatory(352, &[("group", "g")], 1, |h| GroupHeader::parse(h).map(|_| ()));
    let delete = [("groupName", "g"), ("removeOffset", "true")];
    mandatory(207, &delete, 1, |h| DeleteGroupHeader::parse(h).map(|_| ()));
    mandatory(202, &[("topic", "T")], 1, |h| TopicStatsHeader::parse(h).map(|_| ()));
    let stats = [("consumerGroup", "g"), ("topic", "T"), ("topicList", "a;b")];
    mandatory(208, &stats, 1, |h| ConsumeStatsHeader::parse(h).map(|_| ()));
    mandatory(21, &[("topicSeq", "0")], 0, |h| AllTopicConfigHeader::parse(h).map(|_| ()));
    mandatory(201, &[("groupSeq", "0")], 0, |h| AllGroupConfigHeader::parse(h).map(|_| ()));
    let create = [
        ("topic", "T"),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "8"),
        ("writeQueueNums", "8"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("topicSysFlag", "0"),
        ("order", "false"),
        ("attributes", "+message.type=NORMAL"),
        ("force", "false"),
    ];
    mandatory(17, &create, 6, |header| CreateTopicHeader::parse(header).map(|_| ()));
    let broker = [
        ("brokerName", "b"),
        ("brokerAddr", "1.2.3.4:5"),
        ("clusterName", "c"),
        ("brokerId", "0"),
        ("haServerAddr", "1.2.3.4:6"),
        ("compressed", "true"),
        ("bodyCrc32", "907060870"),
    ];
    mandatory(103, &broker, 5, |header| RegisterBrokerHeader::parse(header).map(|_| ()));
    with(103, &broker, |header| {
        let broker = RegisterBrokerHeader::parse(header).unwrap();
        assert!(broker.compressed && broker.body_matches(b"hello") && !broker.body_matches(b"x"));
    });
    mandatory(104, &broker[..4], 4, |header| UnregisterBrokerHeader::parse(header).map(|_| ()));
    mandatory(322, &broker[..4], 4, |header| QueryDataVersionHeader::parse(header).map(|_| ()));
    mandatory(904, &broker[..3], 3, |header| BrokerHeartbeatHeader::parse(header).map(|_| ()));
}

#[test]
fn heartbeats_of_every_client_are_read() {
    let java = joined(
        r#"{"clientID":"ip@inst",
        "consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET",
        "consumeType":"CONSUME_PASSIVELY","groupName":"g","messageModel":"BROADCASTING",
        "subscriptionDataSet":[{"classFilterMode":false,"codeSet":[2598919],
        "expressionType":"TAG","subString":"TagA","subVersion":1690000000000,"tagsSet":["TagA"],
        "topic":"T"}],"unitMode":false}],"heartbeatFingerprint":7,
        "producerDataSet":[{"groupName":"p"}],"withoutSub":true}"#,
    );
    let beat = HeartbeatData::parse(java.as_bytes()).unwrap();
    assert_eq!((beat.client_id.as_str(), beat.heartbeat_fingerprint), ("ip@inst", 7));
    assert!(beat.without_sub && beat.producer_data_set[0].group_name == "p");
    let group = &beat.consumer_data_set[0];
    assert_eq!(group.consume_from_where, ConsumeFromWhere::FirstOffset);
    assert_eq!(group.message_model, MessageModel::Broadcasting);
    assert_eq!(group.subscription_data_set[0].code_set, [2_598_919]);
    let mut again = Vec::new();
    beat.write(&mut again);
    assert_eq!(text(again), java);

    // Go: codes as text, null sets. C++: numbers for names, numbers in quotes, a line end.
    let odd = joined(
        r#"{"clientID":"c","consumerDataSet":[{"consumeFromWhere":5,"consumeType":0,
        "groupName":"g","messageModel":0,"subscriptionDataSet":[{"codeSet":["2598919",
        "x",5,null],"tagsSet":null,"subString":"*","subVersion":"1795250523083","topic":"T",
        "expressionType":null}]},{"groupName":"h","consumeType":"CONSUME_LATER",
        "subscriptionDataSet":null,"messageModel":9}],"producerDataSet":null}"#,
    );
    let beat = HeartbeatData::parse(format!("{odd}\n").as_bytes()).unwrap();
    let [first, second] = &beat.consumer_data_set[..] else { panic!("{beat:?}") };
    assert_eq!(first.consume_type, ConsumeType::Actively);
    assert_eq!(first.message_model, MessageModel::Broadcasting);
    assert_eq!(first.consume_from_where, ConsumeFromWhere::Timestamp);
    let subscription = &first.subscription_data_set[0];
    assert_eq!(
        (subscription.sub_version, &subscription.code_set[..]),
        (1_795_250_523_083, &[2_598_919, 5][..])
    );
    assert!(subscription.tags_set.is_empty() && subscription.expression_type.is_empty());
    assert_eq!((second.consume_type, second.message_model), Default::default());
    assert!(HeartbeatData::parse(b"").is_err() && HeartbeatData::parse(b"[]").is_err());
}

#[test]
fn bodies_of_clients_are_read() {
    let check = client_config::CheckClientConfig::parse(
        joined(
            r#"{"clientId":"c","group":"g","namespace":null,"subscriptionData":{"topic":"T",
            "subString":"a > 1","expressionType":"SQL92"}}"#,
        )
        .as_bytes(),
    );
    assert_eq!(check.unwrap().subscription_data.expression_type, "SQL92");
    let lock = LockBatch::parse(
        joined(
            r#"{"clientId":"c","consumerGroup":"g","mqSet":[{"brokerName":"b","queueId":2,
            "topic":"T"}],"onlyThisBroker":false}"#,
        )
        .as_bytes(),
    )
    .unwrap();
    let mut out = Vec::new();
    Locked { queues: lock.mq_set }.write(&mut out);
    assert_eq!(text(out), r#"{"lockOKMQSet":[{"brokerName":"b","queueId":2,"topic":"T"}]}"#);
}

#[test]
fn routes_are_written_in_both_dialects_and_read_back() {
    let route = TopicRouteData {
        broker_datas: vec![BrokerData {
            broker_addrs: [(0, "10.0.0.1:10911".into())].into(),
            broker_name: "broker-a".into(),
            cluster: "DefaultCluster".into(),
            enable_acting_master: false,
        }],
        order_topic_conf: String::new(),
        queue_datas: vec![QueueData {
            broker_name: "broker-a".into(),
            perm: 6,
            read_queue_nums: 4,
            topic_sys_flag: 0,
            write_queue_nums: 4,
        }],
    };
    let old = joined(
        r#"{"brokerDatas":[{"brokerAddrs":{0:"10.0.0.1:10911"},"brokerName":"broker-a",
        "cluster":"DefaultCluster","enableActingMaster":false}],"filterServerTable":{},
        "queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":4,"topicSysFlag":0,
        "writeQueueNums":4}]}"#,
    );
    for (dialect, expect) in
        [(Dialect::Fastjson, old.to_owned()), (Dialect::Standard, old.replace("{0:", "{\"0\":"))]
    {
        let mut out = Vec::new();
        route.write(&mut out, dialect);
        assert_eq!(text(out), expect);
        assert_eq!(TopicRouteData::parse(expect.as_bytes()), Ok(route.clone()));
    }
    for (version, accepts, dialect) in [
        (400, "false", Dialect::Fastjson),
        (400, "true", Dialect::Standard),
        (401, "false", Dialect::Standard),
    ] {
        with(105, &[("topic", "T"), ("acceptStandardJsonOnly", accepts)], |header| {
            assert_eq!(RouteHeader::parse(header).unwrap().dialect(version), dialect);
        });
    }
    let ordered = TopicRouteData { order_topic_conf: "broker-a:4".into(), ..route };
    let mut out = Vec::new();
    ordered.write(&mut out, Dialect::Standard);
    assert!(text(out.clone()).contains(r#""orderTopicConf":"broker-a:4","queueDatas""#));
    assert_eq!(TopicRouteData::parse(&out), Ok(ordered));
}

#[test]
fn clusters_and_lists_are_written_and_read_back() {
    let broker = BrokerData {
        broker_addrs: [(0, "a:1".into()), (1, "b:2".into())].into(),
        broker_name: "x".into(),
        cluster: "C".into(),
        enable_acting_master: false,
    };
    let cluster = ClusterInfo {
        broker_addr_table: [("x".to_owned(), broker)].into(),
        cluster_addr_table: [("C".to_owned(), vec!["x".to_owned()])].into(),
    };
    let mut out = Vec::new();
    cluster.write(&mut out);
    let expect = joined(
        r#"{"brokerAddrTable":{"x":{"brokerAddrs":{0:"a:1",1:"b:2"},"brokerName":"x","cluster":"C",
        "enableActingMaster":false}},"clusterAddrTable":{"C":["x"]}}"#,
    );
    assert_eq!(text(out.clone()), expect);
    assert_eq!(ClusterInfo::parse(&out), Ok(cluster));
    let mut out = Vec::new();
    write_topic_list(&mut out, Some("a:1"), ["A", "B"]);
    assert_eq!(text(out.clone()), r#"{"brokerAddr":"a:1","topicList":["A","B"]}"#);
    assert_eq!(TopicList::parse(&out).unwrap().topic_list, ["A", "B"]);
    let mut out = Vec::new();
    consumer_list::write(&mut out, ["1@x", "2@\"y\""]);
    assert_eq!(text(out), r#"{"consumerIdList":["1@x","2@\"y\""]}"#);
    let mut out = Vec::new();
    write_table(&mut out, [("k", "v"), ("l", "")]);
    assert_eq!(text(out.clone()), r#"{"table":{"k":"v","l":""}}"#);
    assert_eq!(KvTable::parse(&out).unwrap().table["k"], "v");
}

#[test]
fn stats_have_queues_for_keys_and_no_quotes_around_them() {
    let mut out = Vec::new();
    let row = TopicOffset {
        broker_name: "b",
        queue_id: 0,
        topic: "t",
        min_offset: -1,
        max_offset: 9,
        last_update_timestamp: 5,
    };
    write_topic_stats(&mut out, [row, TopicOffset { queue_id: 1, ..row }], 0.0);
    let one = r#"{"lastUpdateTimestamp":5,"maxOffset":9,"minOffset":0}"#;
    let expect = joined(&format!(
        r#"{{"offsetTable":{{{{"brokerName":"b","queueId":0,"topic":"t"}}:{one},
            {{"brokerName":"b","queueId":1,"topic":"t"}}:{one}}},"topicPutTps":0.0}}"#
    ));
    assert_eq!(text(out.clone()), expect);
    let read: serde_json::Value = serde_json::from_slice(&standard(&out).unwrap()).unwrap();
    let keys: Vec<_> = read["offsetTable"].as_object().unwrap().keys().cloned().collect();
    let queue = MessageQueue::from_key(&keys[1]).unwrap();
    assert_eq!((queue.queue_id, queue.topic.as_str()), (1, "t"));
    let mut out = Vec::new();
    let row = ConsumeOffset {
        broker_name: "b",
        queue_id: 0,
        topic: "t",
        broker_offset: 3,
        consumer_offset: 1,
        pull_offset: 2,
        last_timestamp: 0,
    };
    write_consume_stats(&mut out, [row], 1.5);
    let expect = joined(
        r#"{"consumeTps":1.5,"offsetTable":{{"brokerName":"b","queueId":0,
        "topic":"t"}:{"brokerOffset":3,"consumerOffset":1,"lastTimestamp":0,"pullOffset":2}}}"#,
    );
    assert_eq!(text(out), expect);
}

#[test]
fn topics_have_the_members_clients_read() {
    let topic = TopicConfig { topic_name: "T".into(), ..TopicConfig::default() };
    let mut out = Vec::new();
    topic.write(&mut out);
    let expect = joined(
        r#"{"attributes":{},"order":false,"perm":6,"readQueueNums":16,
        "topicFilterType":"SINGLE_TAG","topicName":"T","topicSysFlag":0,"writeQueueNums":16}"#,
    );
    assert_eq!(text(out), expect);
    let body =
        format!(r#"{{"topicConfigList":[{expect},{{"topicName":"U","perm":null,"more":1}}]}}"#);
    let list = TopicConfigList::parse(body.as_bytes()).unwrap().topic_config_list;
    assert_eq!((&list[0], list[1].perm), (&topic, 6));
    let table = TopicTable {
        data_version: DataVersion { counter: 3, state_version: 0, timestamp: 7 },
        topic_config_table: [("T".to_owned(), topic)].into(),
        ..TopicTable::default()
    };
    let mut out = Vec::new();
    table.write(&mut out);
    let version = r#"{"counter":3,"stateVersion":0,"timestamp":7}"#;
    let none = r#"{"counter":0,"stateVersion":0,"timestamp":0}"#;
    let expect = joined(&format!(
        r#"{{"dataVersion":{version},"mappingDataVersion":{none},
            "topicConfigTable":{{"T":{expect}}},"topicQueueMappingDetailMap":{{}}}}"#
    ));
    assert_eq!(text(out.clone()), expect);
    assert_eq!(TopicTable::parse(&out), Ok(table.clone()));
    assert_eq!(parse_data_version(version.as_bytes()), Ok(table.data_version));
    let register =
        RegisterBroker { filter_server_list: vec![], topic_config_serialize_wrapper: table };
    let mut out = Vec::new();
    register.write(&mut out);
    assert!(
        text(out.clone()).starts_with(r#"{"filterServerList":[],"topicConfigSerializeWrapper":{"#)
    );
    assert_eq!(RegisterBroker::parse(&out), Ok(register));
}

#[test]
fn groups_have_rocketmqs_defaults() {
    let group = SubscriptionGroupConfig::parse(br#"{"groupName":"g"}"#).unwrap();
    let expect = SubscriptionGroupConfig { group_name: "g".into(), ..Default::default() };
    assert_eq!(group, expect);
    assert!(
        group.consume_enable && group.consume_broadcast_enable && !group.consume_message_orderly
    );
    assert_eq!((group.retry_max_times, group.retry_queue_nums), (16, 1));
    let mut out = Vec::new();
    group.write(&mut out);
    let body = joined(
        r#"{"attributes":{},"brokerId":0,"consumeBroadcastEnable":true,"consumeEnable":true,
        "consumeFromMinEnable":true,"consumeMessageOrderly":false,"consumeTimeoutMinute":15,
        "groupName":"g","groupRetryPolicy":{"type":"CUSTOMIZED"},"groupSysFlag":0,
        "notifyConsumerIdsChangedEnable":true,"retryMaxTimes":16,"retryQueueNums":1,
        "whichBrokerWhenConsumeSlowly":1}"#,
    );
    assert_eq!(text(out), body);
    let list = format!(r#"{{"groupConfigList":[{body}]}}"#);
    let list = GroupConfigList::parse(list.as_bytes()).unwrap().group_config_list;
    assert_eq!(list.as_slice(), std::slice::from_ref(&group));
    let policy = joined(
        r#"{"groupName":"g","groupRetryPolicy":{"type":"EXPONENTIAL",
        "exponentialRetryPolicy":{"initial":1}}}"#,
    );
    let policy = SubscriptionGroupConfig::parse(policy.as_bytes()).unwrap().group_retry_policy;
    assert_eq!(policy.kind, RetryPolicyType::Exponential);
    assert_eq!(policy.exponential_retry_policy.unwrap().max, 7_200_000);
    let table = GroupTable {
        subscription_group_table: [("g".to_owned(), group)].into(),
        ..GroupTable::default()
    };
    let mut out = Vec::new();
    table.write(&mut out);
    assert_eq!(GroupTable::parse(&out), Ok(table));
}

#[test]
fn figures_of_the_broker_leave_out_no_key_that_tools_parse() {
    let values = BTreeMap::from([
        ("putTps".to_owned(), "1.0 2.0 3.0".to_owned()),
        ("scheduleMessageOffset_1".to_owned(), "0,0".to_owned()),
    ]);
    let mut out = Vec::new();
    runtime::write(&mut out, &values);
    let table = KvTable::parse(&out).unwrap().table;
    assert_eq!(table["putTps"], "1.0 2.0 3.0");
    assert_eq!(table["scheduleMessageOffset_1"], "0,0");
    assert_eq!(table.len(), runtime::KEYS.len() + 1);
    for key in ["getTransferedTps", "getTransferredTps", "brokerVersion", "brokerVersionDesc"] {
        assert!(table.contains_key(key), "{key}");
    }
    assert!(runtime::KEYS.is_sorted(), "sorted, so that a key stands once");
}

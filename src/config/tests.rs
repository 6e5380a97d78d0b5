//! Tests of the configuration: what is accepted, what is refused, and in which words.
//!
//! Each refusal is compared as the operator would read it, place included.

use super::explained::EXPLAINED;
use super::table::KNOBS;
use super::*;

fn from_file(text: &str) -> Result<Loaded, Vec<String>> {
    let file = Some(("weir.toml".to_owned(), text.to_owned()));
    load(&Sources { file, ..Sources::default() })
        .map_err(|refusals| refusals.iter().map(ToString::to_string).collect())
}

fn from_sets(sets: &[&str]) -> Result<Config, Vec<String>> {
    let sets = sets.iter().map(|set| (*set).to_owned()).collect();
    load(&Sources { sets, ..Sources::default() })
        .map(|loaded| loaded.config)
        .map_err(|refusals| refusals.iter().map(ToString::to_string).collect())
}

fn refused(sets: &[&str]) -> String {
    from_sets(sets).expect_err("must be refused").join("\n")
}

#[test]
fn without_configuration_every_knob_has_its_documented_default() {
    let config = Config::default();
    assert_eq!(config.listen_port, 10911);
    assert_eq!(config.namesrv_listen_port, 9876);
    assert_eq!(config.bind.to_string(), "127.0.0.1");
    assert_eq!(config.flush_disk_type, FlushDiskType::AsyncFlush);
    assert_eq!(config.max_message_size_bytes, 4 * 1024 * 1024);
    assert_eq!(config.file_reserved_time_hours, 72);
    assert!(config.delete_when.contains(4) && !config.delete_when.contains(5));
    assert_eq!(config.shards, None);
    assert_eq!(config.staging_size(), 4 * (4096 + 64) * 1024 + 2 * 256 * 1024);
    assert_eq!(config.store_path_root_dir.to_str(), Some("weir-data"));
    assert_eq!(config.contradictions(), vec![]);
}

#[test]
fn every_default_is_within_its_own_range_and_every_key_is_declared_once() {
    for (at, knob) in KNOBS.iter().enumerate() {
        let automatic = knob.auto.is_some() && knob.default == "auto";
        assert!(automatic || knob.kind.read(knob.default).is_some(), "{}", knob.key);
        assert!(KNOBS[..at].iter().all(|other| other.key != knob.key), "{}", knob.key);
        assert!(EXPLAINED.iter().all(|row| row.key != knob.key), "{}", knob.key);
        assert!(!knob.about.is_empty(), "{}", knob.key);
    }
}

#[test]
fn set_wins_over_file_and_file_over_default() {
    let sources = Sources {
        file: Some(("a.toml".into(), "listenPort = 20911\nbrokerName = \"edge\"\n".into())),
        sets: vec!["listenPort=30911".into(), "flushDiskType = SYNC_FLUSH".into()],
        data: Some("/data".into()),
        overrides: None,
    };
    let loaded = load(&sources).unwrap();
    assert_eq!(loaded.config.listen_port, 30911);
    assert_eq!(loaded.config.broker_name.as_deref(), Some("edge"));
    assert_eq!(loaded.config.flush_disk_type, FlushDiskType::SyncFlush);
    assert_eq!(loaded.config.store_path_root_dir.to_str(), Some("/data"));
    let from = |key: &str| {
        loaded.settings.iter().find(|row| row.key == key).map(|row| row.from.to_string())
    };
    assert_eq!(from("brokerName").as_deref(), Some("a.toml:2"));
    assert_eq!(from("listenPort").as_deref(), Some("--set listenPort=30911"));
    assert_eq!(from("bind").as_deref(), Some("default"));
}

#[test]
fn an_unknown_key_names_its_line_and_the_nearest_key() {
    let refusals = from_file("# head\nlistenPort = 10911\nflushDiscType = \"SYNC_FLUSH\"\n");
    assert_eq!(
        refusals.expect_err("unknown"),
        ["weir.toml:3: unknown key `flushDiscType`; the nearest is `flushDiskType`"]
    );
    assert_eq!(
        refused(&["LISTENPORT=1"]),
        "--set LISTENPORT=1: unknown key `LISTENPORT`; the nearest is `listenPort`"
    );
}

#[test]
fn a_bad_value_names_the_allowed_range() {
    let table: [(&str, &str); 12] = [
        ("listenPort=80", "1026 to 65534"),
        ("shards=0", "1 to 64, or auto"),
        ("shards=many", "1 to 64, or auto"),
        ("flushDiskType=sync", "ASYNC_FLUSH or SYNC_FLUSH"),
        ("brokerPermission=3", "6 (read and write), 4 (read), 2 (write)"),
        ("deleteWhen=24", "hours 00 to 23"),
        ("bind=everywhere", "an IP address"),
        ("namesrvAddr=127.0.0.1", "host:port, several separated by ;"),
        ("maxMessageSize=17MiB", "1 KiB to"),
        ("brokerName=two words", "1 to 120 of letters"),
        ("brokerIPBySubnet=10.0.0.0/33=x", "subnet=host"),
        ("autoCreateTopicEnable=yes", "true or false"),
    ];
    for (set, range) in table {
        let text = refused(&[set]);
        assert!(text.contains("is not allowed") && text.contains(range), "{set}: {text}");
    }
}

#[test]
fn all_faults_are_reported_at_once_in_file_order() {
    let refusals = from_file("vipPort = 1\n[broker]\nx = 1\n").expect_err("two faults");
    assert_eq!(
        refusals,
        [
            "weir.toml:1: vipPort = `1` is not allowed: true or false",
            "weir.toml:2: `broker` is a table; keys stand at the top, without [sections]",
        ]
    );
    let broken = from_file("listenPort = \n").expect_err("not TOML");
    assert!(broken[0].starts_with("weir.toml:1: not TOML: "), "{broken:?}");
}

#[test]
fn a_known_rocketmq_key_without_a_knob_is_explained_and_its_harmless_value_accepted() {
    assert!(refused(&["transientStorePoolEnable=true"]).contains("stagingSize"));
    for (sets, why) in [
        (&["etcdEndpoints=h:2379"][..], "set brokerRole=SYNC_MASTER"),
        (&["etcdEndpoints=h:2379", "brokerRole=SYNC_MASTER"], "set brokerName"),
        (&["enableControllerMode=true"], "nobody is there to ask"),
        (&["controllerAddr=h:9878"], "no effect without enableControllerMode"),
        (&["enableControllerMode=true", "etcdEndpoints=h:2379"], "only one can"),
    ] {
        assert!(refused(sets).contains(why), "{}", refused(sets));
    }
    assert!(refused(&["brokerRole=SLAVE"]).contains("set role=standby and primary=host:port"));
    assert!(from_sets(&["transientStorePoolEnable=false", "brokerId=0"]).is_ok());
}

#[test]
fn roles_belong_to_shards_and_what_cannot_be_a_pair_is_refused() {
    let primary = "primary=10.0.0.2:10912";
    let config = from_sets(&["standbyShards=1;3", primary, "shards=4"]).unwrap();
    let standbys: Vec<u16> = (0..4).filter(|shard| config.is_standby_of(*shard)).collect();
    assert_eq!(standbys, [1, 3]);
    assert!(config.is_paired() && config.shard_ha_port(1).is_some());
    assert!(refused(&["standbyShards=1"]).contains("a standby follows one primary"));
    let both = refused(&["standbyShards=1", "role=standby", primary]);
    assert!(both.contains("leave one of the two away"), "{both}");
    assert!(refused(&["standbyShards=one", primary]).contains("numbers of shards"));
    let decided = ["standbyShards=1", primary, "etcdEndpoints=h:1", "brokerRole=SYNC_MASTER"];
    assert!(from_sets(&[&decided[..], &["brokerName=edge"]].concat()).unwrap().is_arbitrated());
    let all = from_sets(&["role=standby", primary]).unwrap();
    assert!(all.is_standby_of(0) && all.is_standby_of(7));
}

#[test]
fn more_name_servers_than_can_be_told_are_refused() {
    let many = |count: usize| {
        let servers: Vec<String> = (0..count).map(|at| format!("ns{at}:9876")).collect();
        format!("namesrvAddr={}", servers.join(";"))
    };
    assert!(from_sets(&[&many(16)]).is_ok());
    assert!(refused(&[&many(17)]).contains("17 name servers, at most 16"));
}

#[test]
fn sizes_lists_and_arrays_are_read_with_units_and_both_ways() {
    let config = from_file(
        "maxMessageSize = 5242880\nretentionSize = \"20GiB\"\n\
         namesrvAddr = [\"10.0.0.1:9876\", \"ns.local:9876\"]\n\
         brokerIPBySubnet = \"10.0.0.0/8=10.1.2.3; fd00::/8 = fd00::1\"\n",
    )
    .unwrap()
    .config;
    assert_eq!(config.max_message_size_bytes, 5 * 1024 * 1024);
    assert_eq!(config.retention_size_bytes, 20 << 30);
    assert_eq!(config.retention_per_shard(4), Some(5 << 30));
    assert_eq!(config.namesrv_addr, ["10.0.0.1:9876", "ns.local:9876"]);
    assert_eq!(config.broker_ip_by_subnet[1], ("fd00::/8".into(), "fd00::1".into()));
}

#[test]
fn knobs_that_contradict_each_other_are_refused() {
    let table: [(&[&str], &str); 2] = [
        (&["diskMaxUsedSpaceRatio=95"], "below diskSpaceWarningLevelRatio"),
        (&["listenPort=65500", "shards=8"], "no room for 8 shards"),
    ];
    for (sets, words) in table {
        let text = refused(sets);
        assert!(text.contains(words), "{text}");
    }
    let config = from_sets(&["listenPort=9866"]).unwrap();
    assert!(config.check_ports(2).unwrap_err().contains("port of shard 1"));
}

#[test]
fn staging_and_segments_are_raised_to_what_the_largest_record_needs() {
    let config = from_sets(&["maxMessageSize=1MiB", "stagingSize=8MiB"]).unwrap();
    assert_eq!((config.staging_size(), config.largest_record()), (8 << 20, (1 << 20) + 65_536));
    let small = from_sets(&["stagingSize=1MiB", "mappedFileSizeCommitLog=2MiB"]).unwrap();
    assert_eq!(small.staging_size(), 4 * small.largest_record() + 2 * 256 * 1024);
    assert_eq!(small.segment_size(0), 2 * small.staging_size());
}

#[test]
fn shards_get_ports_in_steps_of_ten_and_names_with_a_suffix() {
    let config = from_sets(&["brokerName=edge"]).unwrap();
    assert_eq!(config.shard_port(3), 10941);
    assert_eq!(config.shard_vip_port(3), Some(10939));
    assert_eq!(config.shard_name("host", 0), "edge-0");
    assert_eq!(Config::default().shard_name("host", 1), "host-1");
    assert_eq!(from_sets(&["vipPort=false"]).unwrap().shard_vip_port(0), None);
    assert_eq!([0, 1, 2, 4, 1000].map(Config::default_shards), [1, 1, 1, 3, 64]);
}

#[test]
fn segments_follow_the_disk_between_64_mib_and_1_gib() {
    let config = Config::default();
    assert_eq!(config.segment_size(1 << 30), 64 << 20);
    assert_eq!(config.segment_size(20 << 30), 320 << 20);
    assert_eq!(config.segment_size(1 << 40), 1 << 30);
    assert_eq!(from_sets(&["mappedFileSizeCommitLog=96MiB"]).unwrap().segment_size(0), 96 << 20);
}

#[test]
fn the_control_port_follows_the_listening_port_and_meets_no_other() {
    assert_eq!(Config::default().control_port(), 10_900);
    assert_eq!(from_sets(&["listenPort=20911"]).unwrap().control_port(), 20_900);
    assert_eq!(from_sets(&["controlListenPort=0"]).unwrap().control_port(), 0);
    assert!(refused(&["controlListenPort=10909"]).contains("10909 is a port of shard 0"));
    assert!(refused(&["controlListenPort=9876"]).contains("is the name server's port"));
}

fn overridden(text: &str, sets: &[&str]) -> Result<Loaded, Vec<Refusal>> {
    load(&Sources {
        file: Some(("a.toml".into(), "waitTimeMillsInSendQueue = 300".into())),
        overrides: Some(("d/overrides.toml".into(), text.into())),
        sets: sets.iter().map(|set| (*set).to_owned()).collect(),
        data: None,
    })
}

#[test]
fn a_runtime_change_wins_over_the_file_and_the_command_line_over_both() {
    let text = "# head\nwaitTimeMillsInSendQueue = \"400\"\n";
    let loaded = overridden(text, &[]).unwrap();
    assert_eq!(loaded.config.wait_time_in_send_queue_ms, 400);
    let row = loaded.settings.iter().find(|row| row.key == "waitTimeMillsInSendQueue").unwrap();
    assert_eq!(row.from.to_string(), "d/overrides.toml:2, by weir config set");
    let loaded = overridden(text, &["waitTimeMillsInSendQueue=500"]).unwrap();
    assert_eq!(loaded.config.wait_time_in_send_queue_ms, 500);
    assert_eq!(
        loaded.notices(),
        ["d/overrides.toml:2, by weir config set: waitTimeMillsInSendQueue = 400 is hidden by \
             the command line"]
    );
    let refusals = overridden("listenPort = 20000", &[]).unwrap_err();
    assert!(refusals[0].to_string().contains("cannot be changed by weir config set"));
}

#[test]
fn a_runtime_change_is_checked_as_a_start_and_can_be_taken_back() {
    let sources = Sources { sets: vec!["brokerPermission=6".into()], ..Sources::default() };
    let loaded = load(&sources).unwrap();
    let none = Overrides::new(sources.clone(), &loaded, "o.toml".into());
    let (one, loaded) = none.with("diskFreeWarning", Some("64MiB")).unwrap();
    assert_eq!(loaded.config.disk_free_warning_bytes, 64 << 20);
    assert!(one.text().ends_with("\ndiskFreeWarning = \"64MiB\"\n"), "{}", one.text());
    let again = Sources { overrides: Some(("o.toml".into(), one.text())), ..sources };
    let again = Overrides::new(again.clone(), &load(&again).unwrap(), "o.toml".into());
    assert_eq!(again.text(), one.text(), "what is written is what is read");
    let (none, _) = again.with("diskFreeWarning", None).unwrap();
    assert_eq!(none.text().lines().count(), 1);
    for (key, value, words) in [
        ("waitTimeMillsInSendQueue", "0", "1 to 600000 ms"),
        ("diskMaxUsedSpaceRatio", "95", "below diskSpaceWarningLevelRatio"),
        ("listenPort", "20000", "read at start only"),
        ("waitTimeMilsInSendQueue", "5", "the nearest is `waitTimeMillsInSendQueue`"),
        ("brokerRole", "SLAVE", "read at start only"),
    ] {
        let refusals = none.with(key, Some(value)).unwrap_err();
        assert!(refusals[0].to_string().contains(words), "{key}: {refusals:?}");
    }
    assert!(none.hidden("brokerPermission") && !none.hidden("diskFreeWarning"));
}

#[test]
fn waits_beyond_the_clients_own_are_explained_and_rocketmqs_defaults_are_not() {
    let notices = |sets: &[&str]| {
        let sets = sets.iter().map(|set| (*set).to_owned()).collect();
        load(&Sources { sets, ..Sources::default() }).unwrap().notices()
    };
    assert_eq!(
        notices(&[
            "osPageCacheBusyTimeOutMills=1000",
            "waitTimeMillsInSendQueue=200",
            "sendThreadPoolQueueCapacity=10000",
            "syncFlushTimeout=5000",
            "slaveTimeout=3000",
            "waitTimeMillsInPullQueue=5000",
            "pullThreadPoolQueueCapacity=100000",
            "diskSpaceCleanForciblyRatio=85",
            "heartbeatThreadPoolQueueCapacity=50000"
        ]),
        [""; 0]
    );
    // Another key's default is nobody's excuse.
    for late in ["waitTimeMillsInSendQueue=5000", "slaveTimeout=5000", "syncFlushTimeout=3000"] {
        let words = notices(&[late]).join("\n");
        assert!(words.contains("give up after 3000 ms (sendMsgTimeout)"), "{words}");
    }
    let words = notices(&["waitTimeMillsInPullQueue=60000"]).join("\n");
    assert!(words.contains("stock consumers give up after 30000 ms"), "{words}");
    assert!(notices(&["sendThreadPoolQueueCapacity=100000"])[0].contains("no more than 65536"));
    assert!(notices(&["diskSpaceCleanForciblyRatio=95"])[0].contains("begins there already"));
}

#[test]
fn every_live_key_is_a_knob() {
    for key in super::table::LIVE {
        assert!(KNOBS.iter().any(|knob| knob.key == *key), "{key}");
        assert!(is_live(key));
    }
    assert!(!is_live("shards"));
}

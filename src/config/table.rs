//! The table of knobs. Each one is declared here and nowhere else: name, range, default, manual.
//!
//! The macro below turns the table into [`Config`] (one documented field per knob) and [`KNOBS`]
//! (what the loader and the manual read). It never holds a value of its own: a default is text
//! like any other and passes the same check.

use std::net::IpAddr;
use std::path::PathBuf;

use super::kind::{BrokerRole, FlushDiskType, HourSet, Kind, Value};
use crate::base::limits::{FRAME_MAX, RECORD_OVERHEAD_MAX, TOPIC_QUEUES_MAX};

/// Shard `n` listens on `listenPort + n * PORT_STEP`; between two of them fit the old VIP port
/// (two below) and the HA port (one above).
pub const PORT_STEP: u16 = 10;
/// Most shards of one broker process.
pub const SHARDS_MAX: u16 = 64;

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;
const TIB: u64 = 1024 * GIB;
/// `maxMessageSize` ends where a message and its frame no longer fit RocketMQ's frame limit.
const MESSAGE_MAX: u64 = (FRAME_MAX - 2 * RECORD_OVERHEAD_MAX) as u64;

/// One row of the table.
#[derive(Debug)]
pub(super) struct Knob {
    /// Heading in the manual.
    pub group: &'static str,
    /// Name in the file and after `--set`.
    pub key: &'static str,
    /// What it accepts.
    pub kind: Kind,
    /// What `auto` means; `None`: the knob has no automatic value.
    pub auto: Option<&'static str>,
    /// Text of the default.
    pub default: &'static str,
    /// The manual, one source line per element.
    pub about: &'static [&'static str],
}

macro_rules! knobs {
    ($($group:literal { $(
        $(#[doc = $about:literal])+
        $key:ident => $field:ident: $kind:expr, $(auto $auto:literal,)? default $default:literal,
        as $take:ident -> $ty:ty;
    )+ })+) => {
        /// Every knob's value. Plain data: made by [`super::load`], read by everybody.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Config { $($( $(#[doc = $about])+ pub $field: $ty, )+)+ }

        /// The rows, in the order of the manual.
        pub(super) static KNOBS: &[Knob] = &[$($( Knob {
            group: $group,
            key: stringify!($key),
            kind: $kind,
            auto: knobs!(@auto $($auto)?),
            default: $default,
            about: &[$($about),+],
        }, )+)+];

        impl Config {
            /// Builds the data from one checked value per knob, in the order of [`KNOBS`].
            pub(super) fn assemble(values: &[Value]) -> Config {
                assert!(values.len() == KNOBS.len(), "one value per knob");
                let mut values = values.iter();
                let mut next = || values.next().unwrap_or(&Value::Auto);
                Config { $($( $field: $take(next()), )+)+ }
            }
        }
    };
    (@auto) => { None };
    (@auto $auto:literal) => { Some($auto) };
}

knobs! {
    "Names and addresses" {
        /// Cluster the shards register under.
        brokerClusterName => broker_cluster_name: Kind::Name { max: 127 },
            default "DefaultCluster", as text -> String;
        /// First part of every shard's broker name; shard `n` is called `brokerName-n`.
        /// Two boxes in one cluster must not share it.
        brokerName => broker_name: Kind::Name { max: 120 },
            auto "the host's name", default "auto", as some_text -> Option<String>;
        /// Address that clients are told to dial.
        brokerIP1 => broker_ip1: Kind::Host,
            auto "`bind`, or the host's first outer address when `bind` is 0.0.0.0 or ::",
            default "auto", as some_text -> Option<String>;
        /// Exceptions to `brokerIP1` by the client's network, longest prefix first: for a box on
        /// two networks, or behind NAT. A weir key.
        brokerIPBySubnet => broker_ip_by_subnet: Kind::SubnetHosts,
            default "", as pairs -> Vec<(String, String)>;
        /// Address to listen on. Loopback until you open it. A weir key.
        bind => bind: Kind::Address, default "127.0.0.1", as address -> IpAddr;
        /// Port of shard 0; shard `n` listens on `listenPort + 10 * n`.
        listenPort => listen_port: Kind::Number { low: 1026, high: 65_534, unit: "" },
            default "10911", as u16_of -> u16;
        /// Port of the embedded name server. A weir key.
        namesrvListenPort => namesrv_listen_port: Kind::Number { low: 1, high: 65_535, unit: "" },
            default "9876", as u16_of -> u16;
        /// Port of the control plane (HTTP): health, metrics, run-time changes. Messages never need
        /// it; 0 switches it off. A weir key.
        controlListenPort => control_listen_port: Kind::Number { low: 0, high: 65_535, unit: "" },
            auto "11 below `listenPort`: 10900",
            default "auto", as some_u16 -> Option<u16>;
        /// Address the control plane listens on. It asks nobody for a password: leave it on
        /// loopback unless the network is yours. A weir key.
        controlBind => control_bind: Kind::Address, default "127.0.0.1", as address -> IpAddr;
        /// Name servers outside this process, Java's or another weir's, to register every shard
        /// with as well; at most 16. Names are resolved at every connection, and one that cannot be
        /// reached is tried again and again. Its clients are told `brokerIP1`, for a name server
        /// knows one address only.
        namesrvAddr => namesrv_addr: Kind::HostPorts, default "", as list -> Vec<String>;
        /// How often they are told that the shards are still there. A change of a topic or of the
        /// role is told at once.
        registerNameServerPeriod => register_name_server_period_ms:
            Kind::Number { low: 10_000, high: 60_000, unit: "ms" },
            default "30000", as u64_of -> u64;
        /// Also listen two below each shard's port, where Java clients up to 4.4 send
        /// ("VIP channel"). A weir key.
        vipPort => vip_port: Kind::Flag, default "true", as flag -> bool;
    }
    "Shards and memory" {
        /// Shards, each on a core of its own. The number belongs to the data directory: once
        /// made, a directory is opened with the number it has. A weir key.
        shards => shards: Kind::Number { low: 1, high: SHARDS_MAX as u64, unit: "" },
            auto "what the data directory has; for a new one the usable cores less one, at least 1",
            default "auto", as some_u16 -> Option<u16>;
        /// All memory of the process: resident pages, huge pages and staging files. The arenas,
        /// buffers and totals of the shards are sized from it; `weir config check` prints the
        /// table. A limit of the process's cgroup lowers it to seven eighths of that limit. A
        /// weir key.
        memoryMax => memory_max_bytes:
            Kind::Bytes { low: 16 * MIB, high: 4096 * GIB, zero: false },
            auto "256 MiB a shard",
            default "auto", as some_u64 -> Option<u64>;
        /// Staging memory of one shard: blocks not yet on the device, and the hot tail behind
        /// them. Raised to four of the largest records and two blocks if less. A weir key.
        stagingSize => staging_size_bytes: Kind::Bytes { low: MIB, high: 4 * GIB, zero: false },
            auto "16 MiB",
            default "auto", as some_u64 -> Option<u64>;
        /// Huge-page arena for the consume queues of one shard. A weir key.
        consumeQueueMemory => consume_queue_memory_bytes:
            Kind::Bytes { low: 4 * MIB, high: 64 * GIB, zero: false },
            auto "a share of memoryMax, at most 64 MiB",
            default "auto", as some_u64 -> Option<u64>;
    }
    "Start and stop" {
        /// SIGTERM: requests that were taken are answered for at most this long before the log is
        /// closed; a second SIGTERM ends the process at once. A weir key.
        shutdownDrainMillis => shutdown_drain_ms:
            Kind::Number { low: 0, high: 600_000, unit: "ms" },
            default "5000", as u64_of -> u64;
    }
    "Watching" {
        /// A turn of a shard's loop that takes longer than this is told in one line
        /// (`ring-held`), with the part that took longest; 0: never. A weir key.
        stallLogMillis => stall_log_ms: Kind::Number { low: 0, high: 60_000, unit: "ms" },
            default "100", as u64_of -> u64;
    }
    "Durability" {
        /// When a message is acknowledged: `SYNC_FLUSH` when the device has it, `ASYNC_FLUSH`
        /// when it is staged in memory that survives `kill -9`. See durability.md.
        flushDiskType => flush_disk_type: Kind::Flush,
            default "ASYNC_FLUSH", as flush -> FlushDiskType;
        /// `ASYNC_FLUSH`: the device is flushed at least this often.
        flushIntervalCommitLog => flush_interval_ms:
            Kind::Number { low: 1, high: 60_000, unit: "ms" },
            default "500", as u64_of -> u64;
        /// A send that waits for the device is answered FLUSH_DISK_TIMEOUT after this: stored, not
        /// yet known to survive a power cut. Clients count it as sent, with a status of its own.
        /// After a failed write it is never given. See durability.md.
        syncFlushTimeout => sync_flush_timeout_ms:
            Kind::Number { low: 100, high: 600_000, unit: "ms" },
            default "5000", as u64_of -> u64;
    }
    "Replication" {
        /// What this box is at its first start: the `primary` takes messages, a `standby` follows
        /// one. After `weir promote` or a failover the data directory knows better and wins. See
        /// replication.md. A weir key.
        role => is_standby: Kind::Choice { no: "primary", yes: "standby" },
            default "primary", as flag -> bool;
        /// Shards of which this box is the standby, while it is the primary of the others: so two
        /// boxes share the work, and one takes all when the other is gone. The other box has the
        /// other numbers here. A weir key.
        standbyShards => standby_shards: Kind::Shards, default "", as list -> Vec<String>;
        /// Where a standby finds its primary: the HA port of its first shard. A weir key.
        primary => primary: Kind::HostPorts, default "", as list -> Vec<String>;
        /// `SYNC_MASTER`: a send is acknowledged when the standby has it too. `ASYNC_MASTER`: it
        /// does not wait. Set the same on both boxes, so that it holds after a failover; a standby
        /// is made with `role`.
        brokerRole => broker_role: Kind::Role, default "ASYNC_MASTER", as role_of -> BrokerRole;
        /// Boxes that must have a message before it is acknowledged: 2 under `SYNC_MASTER`, else 1.
        inSyncReplicas => in_sync_replicas: Kind::Number { low: 1, high: 2, unit: "" },
            auto "what brokerRole says", default "auto", as some_u64 -> Option<u64>;
        /// What counts as "the standby has it": `received` (it survives kill -9 there), or
        /// `durable` (it is on its device). A weir key.
        replicaAck => replica_ack_durable: Kind::Choice { no: "received", yes: "durable" },
            default "received", as flag -> bool;
        /// `SYNC_MASTER` without a standby in step: `refuse` stores nothing, so that nothing
        /// acknowledged can be lost with one box; `degrade` goes on alone, and tells producers so
        /// (SLAVE_NOT_AVAILABLE). A weir key.
        standbyLost => standby_lost_degrade: Kind::Choice { no: "refuse", yes: "degrade" },
            default "refuse", as flag -> bool;
        /// Client ports of the etcd cluster that decides who of the pair is the primary: the
        /// standby takes over by itself when the primary's lease there is over. The same on both
        /// boxes. See replication.md. A weir key.
        etcdEndpoints => etcd_endpoints: Kind::HostPorts, default "", as list -> Vec<String>;
        /// The lease in etcd: a primary that cannot renew it stops acknowledging before it is over,
        /// and only then a standby takes over. Shorter means sooner, and more often for nothing.
        /// A weir key.
        etcdLeaseSeconds => etcd_lease_seconds: Kind::Number { low: 2, high: 60, unit: "s" },
            default "5", as u64_of -> u64;
        /// A RocketMQ Controller decides who of the pair is the primary. Needs `controllerAddr`.
        enableControllerMode => enable_controller_mode: Kind::Flag,
            default "false", as flag -> bool;
        /// The Controllers, all of them. The same on both boxes.
        controllerAddr => controller_addr: Kind::HostPorts, default "", as list -> Vec<String>;
        /// What a Controller is told: this box is dead when it was silent for this long. The
        /// primary stops acknowledging before that.
        controllerHeartBeatTimeoutMills => controller_heartbeat_timeout_ms:
            Kind::Number { low: 2000, high: 60_000, unit: "ms" },
            default "10000", as u64_of -> u64;
        /// A send that waits for the standby is answered FLUSH_SLAVE_TIMEOUT after this: stored
        /// here, not known to be there. A peer silent for this long is given up.
        slaveTimeout => slave_timeout_ms: Kind::Number { low: 100, high: 600_000, unit: "ms" },
            default "3000", as u64_of -> u64;
        /// A standby further behind than this is not in step.
        haMaxGapNotInSync => ha_max_gap_bytes: Kind::Bytes { low: MIB, high: TIB, zero: false },
            default "256 MiB", as u64_of -> u64;
        /// What a standby that catches up from the disk is sent at most, a second and shard.
        maxHaTransferByteInSecond => ha_transfer_bytes:
            Kind::Bytes { low: MIB, high: 64 * GIB, zero: false },
            default "100 MiB", as u64_of -> u64;
        /// Port that the other box connects to, of shard 0; shard `n` listens 10 * `n` above. 0:
        /// none.
        haListenPort => ha_listen_port: Kind::Number { low: 0, high: 65_534, unit: "" },
            auto "one above each shard's port, when haSecret, role or brokerRole speak of a pair",
            default "auto", as some_u16 -> Option<u16>;
        /// What both boxes of a pair know and nobody else. Needed as soon as `bind` is not
        /// loopback. Never printed. A weir key.
        haSecret => ha_secret: Kind::Secret, default "", as text -> String;
        /// A standby serves readers, up to what it holds durably.
        slaveReadEnable => slave_read_enable: Kind::Flag, default "false", as flag -> bool;
    }
    "Damage" {
        /// A log with damage in it (bit rot, a file that is gone): `refuse` ends the start with
        /// exit code 17 and names the place; `serve-around` accepts that what cannot be read is
        /// lost, reports it at every start and serves the rest. See durability.md. A weir key.
        damagedLog => serve_around_damage: Kind::Choice { no: "refuse", yes: "serve-around" },
            default "refuse", as flag -> bool;
        /// In a pair, sealed segments are read over at this pace, a second and shard, at most once
        /// a day, so that damage is found and healed before a reader meets it. 0: they are not. A
        /// weir key.
        scrubBytesPerSecond => scrub_bytes: Kind::Bytes { low: 65_536, high: GIB, zero: true },
            default "1 MiB", as u64_of -> u64;
    }
    "Topics and messages" {
        /// Create a topic when a producer first sends to it through the default topic.
        autoCreateTopicEnable => auto_create_topic_enable: Kind::Flag,
            default "true", as flag -> bool;
        /// Create a consumer group when it first connects.
        autoCreateSubscriptionGroup => auto_create_subscription_group: Kind::Flag,
            default "true", as flag -> bool;
        /// Most queues of an auto-created topic, all shards together.
        defaultTopicQueueNums => default_topic_queue_nums:
            Kind::Number { low: 1, high: TOPIC_QUEUES_MAX as u64, unit: "" },
            default "8", as u32_of -> u32;
        /// Largest message body.
        maxMessageSize => max_message_size_bytes:
            Kind::Bytes { low: 1024, high: MESSAGE_MAX, zero: false },
            default "4 MiB", as u64_of -> u64;
        /// What clients may do with this broker: 4 drains it (no new messages).
        brokerPermission => broker_permission: Kind::Permission,
            default "6", as u32_of -> u32;
    }
    "Pull" {
        /// Hold a pull that finds nothing until a message comes or the client's own limit ends.
        longPollingEnable => long_polling_enable: Kind::Flag, default "true", as flag -> bool;
        /// Without long polling: how long an empty pull is held.
        shortPollingTimeMills => short_polling_time_ms:
            Kind::Number { low: 1, high: 60_000, unit: "ms" },
            default "1000", as u64_of -> u64;
    }
    "Back-pressure" {
        /// A shard that is half full is busy while the oldest append that the device has not
        /// taken is older than this ("page cache" is RocketMQ's word for it): sends are refused.
        /// See backpressure.md.
        osPageCacheBusyTimeOutMills => os_page_cache_busy_timeout_ms:
            Kind::Number { low: 10, high: 600_000, unit: "ms" },
            default "1000", as u64_of -> u64;
        /// A send that waited longer than this for its turn is refused while its shard is half
        /// full; a send that needs the device is refused when its turn there is further away.
        waitTimeMillsInSendQueue => wait_time_in_send_queue_ms:
            Kind::Number { low: 1, high: 600_000, unit: "ms" },
            default "200", as u64_of -> u64;
        /// Sends of one shard that are stored and wait for their answer. Never more than 65536.
        sendThreadPoolQueueCapacity => send_queue_capacity:
            Kind::Number { low: 1, high: 10_000_000, unit: "" },
            default "10000", as u64_of -> u64;
        /// A pull that waits longer than this for the disk is refused; the client asks again.
        waitTimeMillsInPullQueue => wait_time_in_pull_queue_ms:
            Kind::Number { low: 10, high: 600_000, unit: "ms" },
            default "5000", as u64_of -> u64;
        /// Pulls of one shard that wait for the disk. Never more than 4096 requests of any kind.
        pullThreadPoolQueueCapacity => pull_queue_capacity:
            Kind::Number { low: 1, high: 10_000_000, unit: "" },
            default "100000", as u64_of -> u64;
        /// As `waitTimeMillsInPullQueue`, for LITE_PULL_MESSAGE.
        waitTimeMillsInLitePullQueue => wait_time_in_lite_pull_queue_ms:
            Kind::Number { low: 10, high: 600_000, unit: "ms" },
            default "5000", as u64_of -> u64;
        /// As `pullThreadPoolQueueCapacity`, for LITE_PULL_MESSAGE.
        litePullThreadPoolQueueCapacity => lite_pull_queue_capacity:
            Kind::Number { low: 1, high: 10_000_000, unit: "" },
            default "100000", as u64_of -> u64;
        /// Queries (message by id) of one shard that wait for the disk.
        queryThreadPoolQueueCapacity => query_queue_capacity:
            Kind::Number { low: 1, high: 10_000_000, unit: "" },
            default "20000", as u64_of -> u64;
        /// Other requests (offset by time, earliest store time) of one shard that wait for the
        /// disk.
        adminBrokerThreadPoolQueueCapacity => admin_queue_capacity:
            Kind::Number { low: 1, high: 10_000_000, unit: "" },
            default "10000", as u64_of -> u64;
        /// A query or other request that waits longer than this for the disk is refused.
        waitTimeMillsInAdminBrokerQueue => wait_time_in_admin_queue_ms:
            Kind::Number { low: 10, high: 600_000, unit: "ms" },
            default "5000", as u64_of -> u64;
    }
    "Disk" {
        /// Data directory; `--data` says the same.
        storePathRootDir => store_path_root_dir: Kind::Folder,
            default "weir-data", as folder -> PathBuf;
        /// Size of one log segment. Retention forgets whole segments. Raised to twice the staging
        /// memory if less.
        mappedFileSizeCommitLog => segment_size_bytes:
            Kind::Bytes { low: MIB, high: 16 * GIB, zero: false },
            auto "1/64 of the disk, between 64 MiB and 1 GiB",
            default "auto", as some_u64 -> Option<u64>;
        /// Messages older than this may be deleted.
        fileReservedTime => file_reserved_time_hours:
            Kind::Number { low: 1, high: 87_600, unit: "hours" },
            default "72", as u64_of -> u64;
        /// Hours of the day (local time) in which old segments are deleted when the disk has
        /// room.
        deleteWhen => delete_when: Kind::Hours, default "04", as hours -> HourSet;
        /// The log of all shards together is kept below this, oldest first; 0: no limit by size.
        /// A weir key.
        retentionSize => retention_size_bytes:
            Kind::Bytes { low: 64 * MIB, high: 1024 * TIB, zero: true },
            default "0", as u64_of -> u64;
        /// Disk fuller than this: old segments are deleted at any hour.
        diskMaxUsedSpaceRatio => disk_max_used_space_percent:
            Kind::Number { low: 10, high: 95, unit: "percent" },
            default "75", as u32_of -> u32;
        /// Disk fuller than this: the oldest segments are deleted whatever their age.
        diskSpaceCleanForciblyRatio => disk_space_clean_forcibly_percent:
            Kind::Number { low: 30, high: 99, unit: "percent" },
            default "85", as u32_of -> u32;
        /// Whether `diskSpaceCleanForciblyRatio` and `diskFreeClean` delete anything. If not, only
        /// age and `retentionSize` do, and a disk that is full stays so until someone makes room.
        cleanFileForciblyEnable => clean_file_forcibly_enable: Kind::Flag,
            default "true", as flag -> bool;
        /// Less free space than this counts as `diskSpaceCleanForciblyRatio` reached; 0: only the
        /// ratio counts. A weir key.
        diskFreeClean => disk_free_clean_bytes:
            Kind::Bytes { low: MIB, high: 1024 * TIB, zero: true },
            default "0", as u64_of -> u64;
        /// Less free space than this counts as `diskSpaceWarningLevelRatio` reached; 0: only the
        /// ratio counts. A weir key.
        diskFreeWarning => disk_free_warning_bytes:
            Kind::Bytes { low: MIB, high: 1024 * TIB, zero: true },
            default "0", as u64_of -> u64;
        /// Disk fuller than this: sends are refused (SERVICE_NOT_AVAILABLE), reads, deletions and
        /// offsets go on, and sends are taken again when there is room.
        diskSpaceWarningLevelRatio => disk_space_warning_level_percent:
            Kind::Number { low: 35, high: 99, unit: "percent" },
            default "90", as u32_of -> u32;
    }
}

/// Knobs that `weir config set` changes while the broker runs; the others are read at start.
pub(super) static LIVE: &[&str] = &[
    "adminBrokerThreadPoolQueueCapacity",
    "autoCreateSubscriptionGroup",
    "brokerPermission",
    "cleanFileForciblyEnable",
    "deleteWhen",
    "diskFreeClean",
    "diskFreeWarning",
    "diskMaxUsedSpaceRatio",
    "diskSpaceCleanForciblyRatio",
    "diskSpaceWarningLevelRatio",
    "fileReservedTime",
    "flushIntervalCommitLog",
    "litePullThreadPoolQueueCapacity",
    "longPollingEnable",
    "osPageCacheBusyTimeOutMills",
    "pullThreadPoolQueueCapacity",
    "queryThreadPoolQueueCapacity",
    "retentionSize",
    "sendThreadPoolQueueCapacity",
    "shortPollingTimeMills",
    "standbyLost",
    "syncFlushTimeout",
    "waitTimeMillsInAdminBrokerQueue",
    "waitTimeMillsInLitePullQueue",
    "waitTimeMillsInPullQueue",
    "waitTimeMillsInSendQueue",
];

fn text(value: &Value) -> String {
    some_text(value).unwrap_or_default()
}

fn some_text(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    }
}

fn folder(value: &Value) -> PathBuf {
    PathBuf::from(text(value))
}

fn flag(value: &Value) -> bool {
    *value == Value::Flag(true)
}

fn some_u64(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => Some(*number),
        _ => None,
    }
}

fn u64_of(value: &Value) -> u64 {
    some_u64(value).unwrap_or_default()
}

fn u32_of(value: &Value) -> u32 {
    u32::try_from(u64_of(value)).unwrap_or(u32::MAX)
}

fn some_u16(value: &Value) -> Option<u16> {
    some_u64(value).and_then(|number| u16::try_from(number).ok())
}

fn u16_of(value: &Value) -> u16 {
    some_u16(value).unwrap_or_default()
}

fn address(value: &Value) -> IpAddr {
    match value {
        Value::Address(address) => *address,
        _ => IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
    }
}

fn list(value: &Value) -> Vec<String> {
    match value {
        Value::List(list) => list.clone(),
        _ => Vec::new(),
    }
}

fn pairs(value: &Value) -> Vec<(String, String)> {
    match value {
        Value::Pairs(pairs) => pairs.clone(),
        _ => Vec::new(),
    }
}

fn hours(value: &Value) -> HourSet {
    match value {
        Value::Hours(hours) => *hours,
        _ => HourSet::default(),
    }
}

fn role_of(value: &Value) -> BrokerRole {
    match value {
        Value::Role(role) => *role,
        _ => BrokerRole::default(),
    }
}

fn flush(value: &Value) -> FlushDiskType {
    match value {
        Value::Flush(flush) => *flush,
        _ => FlushDiskType::default(),
    }
}

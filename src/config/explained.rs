//! RocketMQ's keys that weir knows and has no knob for: what to do instead.
//!
//! A key that is here is answered with its sentence and not with "unknown key"; the value that
//! means what weir does anyway is accepted in silence. Never: a key that is a knob as well.

/// A RocketMQ key that weir answers with an explanation instead of "unknown key".
pub(super) struct Explained {
    /// RocketMQ's key.
    pub key: &'static str,
    /// The value that means what weir does anyway, and is accepted in silence.
    pub same: Option<&'static str>,
    /// Why it is not there, and what to do instead.
    pub instead: &'static str,
}

/// Why a queue of RocketMQ's has no bound to set here.
const NO_QUEUE: &str = "such requests are handled in the turn they arrive, none waits in a queue";

/// RocketMQ keys that are known and deliberately not knobs.
pub(super) static EXPLAINED: &[Explained] = &[
    Explained {
        key: "brokerId",
        same: Some("0"),
        instead: "0 on a primary and 1 on a standby: set role",
    },
    Explained {
        key: "brokerIP2",
        same: None,
        instead: "a standby is told its primary's address: set primary there",
    },
    Explained {
        key: "haMasterAddress",
        same: None,
        instead: "set role=standby and primary=host:port",
    },
    Explained {
        key: "haSendHeartbeatInterval",
        same: Some("5000"),
        instead: "both sides speak four times a second; slaveTimeout says when one is given up",
    },
    Explained {
        key: "haFlowControlEnable",
        same: Some("true"),
        instead: "catching up is always limited: maxHaTransferByteInSecond",
    },
    Explained {
        key: "minInSyncReplicas",
        same: Some("1"),
        instead: "standbyLost says what happens without a standby",
    },
    Explained {
        key: "totalReplicas",
        same: Some("1"),
        instead: "a pair has one primary and one standby",
    },
    Explained {
        key: "storePathCommitLog",
        same: None,
        instead: "everything lives below storePathRootDir: mount a disk there",
    },
    Explained {
        key: "mappedFileSizeConsumeQueue",
        same: None,
        instead: "consume queues live in memory chunks: consumeQueueMemory sets the size",
    },
    Explained {
        key: "messageDelayLevel",
        same: None,
        instead: "delayed messages are not built yet and are refused by name",
    },
    Explained {
        key: "enablePropertyFilter",
        same: Some("false"),
        instead: "SQL92 filters are not built yet: use tags",
    },
    Explained {
        key: "aclEnable",
        same: Some("false"),
        instead: "access control is not built yet: keep `bind` on a network you trust",
    },
    Explained {
        key: "transientStorePoolEnable",
        same: Some("false"),
        instead: "weir has no such pool: staging memory (stagingSize) outlives the process",
    },
    Explained {
        key: "warmMapedFileEnable",
        same: Some("false"),
        instead: "segments are always written ahead of use",
    },
    Explained {
        key: "sendMessageThreadPoolNums",
        same: None,
        instead: "there are no thread pools, one core runs one shard: see shards",
    },
    Explained {
        key: "pullMessageThreadPoolNums",
        same: None,
        instead: "there are no thread pools, one core runs one shard: see shards",
    },
    Explained { key: "waitTimeMillsInHeartbeatQueue", same: Some("31000"), instead: NO_QUEUE },
    Explained { key: "heartbeatThreadPoolQueueCapacity", same: Some("50000"), instead: NO_QUEUE },
    Explained {
        key: "clientManagerThreadPoolQueueCapacity",
        same: Some("1000000"),
        instead: NO_QUEUE,
    },
    Explained {
        key: "consumerManagerThreadPoolQueueCapacity",
        same: Some("1000000"),
        instead: NO_QUEUE,
    },
    Explained {
        key: "loadBalanceThreadPoolQueueCapacity",
        same: Some("100000"),
        instead: NO_QUEUE,
    },
    Explained { key: "putThreadPoolQueueCapacity", same: Some("10000"), instead: NO_QUEUE },
    Explained {
        key: "brokerFastFailureEnable",
        same: Some("true"),
        instead: "a request that cannot be served in time is always refused at once",
    },
];

//! Codes: the numbers of requests and answers, of languages and of versions.
//!
//! The constants are the one table; names are made from them, so that a refusal can say which
//! request it refuses. A number has one name, and no number is left out because we refuse it.

mod language;
pub mod response;

pub use language::{Language, VERSION, VERSION_NAME};

/// Pairs of number and name, made from constants in ascending order.
macro_rules! names {
    ($($name:ident),* $(,)?) => { &[$(($name, stringify!($name))),*] };
}
use names;

/// The name of a request code, or `None` for a number RocketMQ does not have.
pub fn request_name(code: i32) -> Option<&'static str> {
    name_in(request::NAMES, code)
}

/// The name of a response code, or `None` for a number RocketMQ does not have.
pub fn response_name(code: i32) -> Option<&'static str> {
    name_in(response::NAMES, code)
}

fn name_in(names: &[(i32, &'static str)], code: i32) -> Option<&'static str> {
    let at = names.binary_search_by_key(&code, |(number, _)| *number).ok()?;
    names.get(at).map(|(_, name)| *name)
}

/// Request codes of RocketMQ 4.9 and 5.x, whether we serve them or not.
pub mod request {
    /// Store one message; long field names.
    pub const SEND_MESSAGE: i32 = 10;
    /// Read messages of a queue, or wait for them.
    pub const PULL_MESSAGE: i32 = 11;
    /// Find messages by key or by unique id.
    pub const QUERY_MESSAGE: i32 = 12;
    /// Defined in RocketMQ, served by nobody.
    pub const QUERY_BROKER_OFFSET: i32 = 13;
    /// Ask where a group has got to in a queue.
    pub const QUERY_CONSUMER_OFFSET: i32 = 14;
    /// Say where a group has got to in a queue.
    pub const UPDATE_CONSUMER_OFFSET: i32 = 15;
    /// Create or change a topic.
    pub const UPDATE_AND_CREATE_TOPIC: i32 = 17;
    /// Create or change several topics.
    pub const UPDATE_AND_CREATE_TOPIC_LIST: i32 = 18;
    /// Ask for the topic table.
    pub const GET_ALL_TOPIC_CONFIG: i32 = 21;
    /// Defined in RocketMQ, served by nobody.
    pub const GET_TOPIC_CONFIG_LIST: i32 = 22;
    /// Defined in RocketMQ, served by nobody.
    pub const GET_TOPIC_NAME_LIST: i32 = 23;
    /// Change settings of the broker.
    pub const UPDATE_BROKER_CONFIG: i32 = 25;
    /// Ask for the settings of the broker.
    pub const GET_BROKER_CONFIG: i32 = 26;
    /// Defined in RocketMQ, served by nobody.
    pub const TRIGGER_DELETE_FILES: i32 = 27;
    /// Ask for the broker's figures.
    pub const GET_BROKER_RUNTIME_INFO: i32 = 28;
    /// Find the queue offset of a store time.
    pub const SEARCH_OFFSET_BY_TIMESTAMP: i32 = 29;
    /// Ask for a queue's next offset.
    pub const GET_MAX_OFFSET: i32 = 30;
    /// Ask for a queue's first offset.
    pub const GET_MIN_OFFSET: i32 = 31;
    /// Ask for the store time of a queue's first message.
    pub const GET_EARLIEST_MSG_STORETIME: i32 = 32;
    /// Read one message by its position in the log.
    pub const VIEW_MESSAGE_BY_ID: i32 = 33;
    /// Say which groups a client is in.
    pub const HEART_BEAT: i32 = 34;
    /// Leave groups.
    pub const UNREGISTER_CLIENT: i32 = 35;
    /// Give a message back for a later retry.
    pub const CONSUMER_SEND_MSG_BACK: i32 = 36;
    /// Commit or roll back a half message.
    pub const END_TRANSACTION: i32 = 37;
    /// Ask for the client ids of a group.
    pub const GET_CONSUMER_LIST_BY_GROUP: i32 = 38;
    /// Broker to client: ask how a transaction ended.
    pub const CHECK_TRANSACTION_STATE: i32 = 39;
    /// Broker to client: the members of a group changed.
    pub const NOTIFY_CONSUMER_IDS_CHANGED: i32 = 40;
    /// Lock queues for ordered consumption.
    pub const LOCK_BATCH_MQ: i32 = 41;
    /// Unlock queues.
    pub const UNLOCK_BATCH_MQ: i32 = 42;
    /// Broker to broker: ask for the offset table.
    pub const GET_ALL_CONSUMER_OFFSET: i32 = 43;
    /// Broker to broker: ask for the delay offsets.
    pub const GET_ALL_DELAY_OFFSET: i32 = 45;
    /// Check a subscription before a client starts.
    pub const CHECK_CLIENT_CONFIG: i32 = 46;
    /// Defined in RocketMQ, served by nobody.
    pub const GET_CLIENT_CONFIG: i32 = 47;
    /// Create or change an ACL 1.0 account (4.4 to 5.2).
    pub const UPDATE_AND_CREATE_ACL_CONFIG: i32 = 50;
    /// Delete an ACL 1.0 account (4.4 to 5.2).
    pub const DELETE_ACL_CONFIG: i32 = 51;
    /// Ask for the version of the ACL 1.0 files (4.4 to 5.2).
    pub const GET_BROKER_CLUSTER_ACL_INFO: i32 = 52;
    /// Change the ACL 1.0 white list (4.4 to 5.2).
    pub const UPDATE_GLOBAL_WHITE_ADDRS_CONFIG: i32 = 53;
    /// Ask for the ACL 1.0 accounts (4.4 to 5.2).
    pub const GET_BROKER_CLUSTER_ACL_CONFIG: i32 = 54;
    /// Broker to broker: ask for the timer's checkpoint.
    pub const GET_TIMER_CHECK_POINT: i32 = 60;
    /// Broker to broker: ask for the timer's figures.
    pub const GET_TIMER_METRICS: i32 = 61;
    /// Name server: store a value.
    pub const PUT_KV_CONFIG: i32 = 100;
    /// Name server: read a value.
    pub const GET_KV_CONFIG: i32 = 101;
    /// Name server: delete a value.
    pub const DELETE_KV_CONFIG: i32 = 102;
    /// Name server: a broker says what it has.
    pub const REGISTER_BROKER: i32 = 103;
    /// Name server: a broker leaves.
    pub const UNREGISTER_BROKER: i32 = 104;
    /// Name server: ask which brokers have a topic.
    pub const GET_ROUTEINFO_BY_TOPIC: i32 = 105;
    /// Name server: ask for all brokers.
    pub const GET_BROKER_CLUSTER_INFO: i32 = 106;
    /// Create or change a consumer group.
    pub const UPDATE_AND_CREATE_SUBSCRIPTIONGROUP: i32 = 200;
    /// Ask for the group table.
    pub const GET_ALL_SUBSCRIPTIONGROUP_CONFIG: i32 = 201;
    /// Ask for the offsets of a topic's queues.
    pub const GET_TOPIC_STATS_INFO: i32 = 202;
    /// Ask who consumes in a group.
    pub const GET_CONSUMER_CONNECTION_LIST: i32 = 203;
    /// Ask who produces in a group.
    pub const GET_PRODUCER_CONNECTION_LIST: i32 = 204;
    /// Name server: show a broker as read-only.
    pub const WIPE_WRITE_PERM_OF_BROKER: i32 = 205;
    /// Name server: ask for all topic names.
    pub const GET_ALL_TOPIC_LIST_FROM_NAMESERVER: i32 = 206;
    /// Delete a consumer group.
    pub const DELETE_SUBSCRIPTIONGROUP: i32 = 207;
    /// Ask how far a group is behind.
    pub const GET_CONSUME_STATS: i32 = 208;
    /// Defined in RocketMQ, served by nobody.
    pub const SUSPEND_CONSUMER: i32 = 209;
    /// Defined in RocketMQ, served by nobody.
    pub const RESUME_CONSUMER: i32 = 210;
    /// Defined in RocketMQ, served by nobody.
    pub const RESET_CONSUMER_OFFSET_IN_CONSUMER: i32 = 211;
    /// Defined in RocketMQ, served by nobody.
    pub const RESET_CONSUMER_OFFSET_IN_BROKER: i32 = 212;
    /// Defined in RocketMQ, served by nobody.
    pub const ADJUST_CONSUMER_THREAD_POOL: i32 = 213;
    /// Defined in RocketMQ, served by nobody.
    pub const WHO_CONSUME_THE_MESSAGE: i32 = 214;
    /// Delete a topic.
    pub const DELETE_TOPIC_IN_BROKER: i32 = 215;
    /// Name server: forget a topic.
    pub const DELETE_TOPIC_IN_NAMESRV: i32 = 216;
    /// Name server: a broker adds one topic.
    pub const REGISTER_TOPIC_IN_NAMESRV: i32 = 217;
    /// Name server: read all values of a namespace.
    pub const GET_KVLIST_BY_NAMESPACE: i32 = 219;
    /// Broker to client: take these offsets.
    pub const RESET_CONSUMER_CLIENT_OFFSET: i32 = 220;
    /// Broker to client: ask for its offsets.
    pub const GET_CONSUMER_STATUS_FROM_CLIENT: i32 = 221;
    /// Reset a group's offsets.
    pub const INVOKE_BROKER_TO_RESET_OFFSET: i32 = 222;
    /// Ask for the offsets of a group's clients.
    pub const INVOKE_BROKER_TO_GET_CONSUMER_STATUS: i32 = 223;
    /// Name server: ask for the topics of a cluster.
    pub const GET_TOPICS_BY_CLUSTER: i32 = 224;
    /// Create or change several consumer groups.
    pub const UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST: i32 = 225;
    /// Ask which groups consume a topic.
    pub const QUERY_TOPIC_CONSUME_BY_WHO: i32 = 300;
    /// Served by brokers up to 4.9 for filter servers.
    pub const REGISTER_FILTER_SERVER: i32 = 301;
    /// Defined in RocketMQ, served by nobody.
    pub const REGISTER_MESSAGE_FILTER_CLASS: i32 = 302;
    /// Ask for the times a group's progress spans.
    pub const QUERY_CONSUME_TIME_SPAN: i32 = 303;
    /// Name server: ask for system topics.
    pub const GET_SYSTEM_TOPIC_LIST_FROM_NS: i32 = 304;
    /// Ask for the broker's system topics.
    pub const GET_SYSTEM_TOPIC_LIST_FROM_BROKER: i32 = 305;
    /// Delete consume queues that nothing needs.
    pub const CLEAN_EXPIRED_CONSUMEQUEUE: i32 = 306;
    /// Ask a client, through its broker, how it runs.
    pub const GET_CONSUMER_RUNNING_INFO: i32 = 307;
    /// Compare the offsets of groups.
    pub const QUERY_CORRECTION_OFFSET: i32 = 308;
    /// Have a client, through its broker, consume one message.
    pub const CONSUME_MESSAGE_DIRECTLY: i32 = 309;
    /// Store one message; short field names.
    pub const SEND_MESSAGE_V2: i32 = 310;
    /// Name server: ask for topics of a unit.
    pub const GET_UNIT_TOPIC_LIST: i32 = 311;
    /// Name server: ask for topics with a unit's subscription.
    pub const GET_HAS_UNIT_SUB_TOPIC_LIST: i32 = 312;
    /// Name server: as 312, without the unit's own topics.
    pub const GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST: i32 = 313;
    /// Copy a group's offsets to another.
    pub const CLONE_GROUP_OFFSET: i32 = 314;
    /// Ask for one counter over time.
    pub const VIEW_BROKER_STATS_DATA: i32 = 315;
    /// Delete the data of topics that are gone.
    pub const CLEAN_UNUSED_TOPIC: i32 = 316;
    /// Ask how far all groups are behind.
    pub const GET_BROKER_CONSUME_STATS: i32 = 317;
    /// Name server: change settings.
    pub const UPDATE_NAMESRV_CONFIG: i32 = 318;
    /// Name server: ask for the settings.
    pub const GET_NAMESRV_CONFIG: i32 = 319;
    /// Store several messages of one queue.
    pub const SEND_BATCH_MESSAGE: i32 = 320;
    /// Read entries of a consume queue.
    pub const QUERY_CONSUME_QUEUE: i32 = 321;
    /// Name server: ask whether a broker's topics are known.
    pub const QUERY_DATA_VERSION: i32 = 322;
    /// Check a half message again.
    pub const RESUME_CHECK_HALF_MESSAGE: i32 = 323;
    /// Answer a message by a message; long field names.
    pub const SEND_REPLY_MESSAGE: i32 = 324;
    /// Answer a message by a message; short field names.
    pub const SEND_REPLY_MESSAGE_V2: i32 = 325;
    /// Broker to client: here is the answer to a message.
    pub const PUSH_REPLY_MESSAGE_TO_CLIENT: i32 = 326;
    /// Name server: show a broker as writable again.
    pub const ADD_WRITE_PERM_OF_BROKER: i32 = 327;
    /// Ask for all producers.
    pub const GET_ALL_PRODUCER_INFO: i32 = 328;
    /// Delete log segments that are old enough.
    pub const DELETE_EXPIRED_COMMITLOG: i32 = 329;
    /// Ask which topics a group consumes.
    pub const QUERY_TOPICS_BY_CONSUMER: i32 = 343;
    /// Ask for a group's subscription to a topic.
    pub const QUERY_SUBSCRIPTION_BY_CONSUMER: i32 = 345;
    /// Ask for one topic's configuration.
    pub const GET_TOPIC_CONFIG: i32 = 351;
    /// Ask for one group's configuration.
    pub const GET_SUBSCRIPTIONGROUP_CONFIG: i32 = 352;
    /// Forbid a group to read a topic, or allow it.
    pub const UPDATE_AND_GET_GROUP_FORBIDDEN: i32 = 353;
    /// Compare consume queues kept in RocksDB.
    pub const CHECK_ROCKSDB_CQ_WRITE_PROGRESS: i32 = 354;
    /// Export tables kept in RocksDB.
    pub const EXPORT_ROCKSDB_CONFIG_TO_JSON: i32 = 355;
    /// As 11, from a lite pull consumer.
    pub const LITE_PULL_MESSAGE: i32 = 361;
    /// Take back a message that is not due yet.
    pub const RECALL_MESSAGE: i32 = 370;
    /// Ask which queues a client consumes.
    pub const QUERY_ASSIGNMENT: i32 = 400;
    /// Choose pull or pop for a topic and group.
    pub const SET_MESSAGE_REQUEST_MODE: i32 = 401;
    /// Broker to broker: ask for all those choices.
    pub const GET_ALL_MESSAGE_REQUEST_MODE: i32 = 402;
    /// Create or change a static topic.
    pub const UPDATE_AND_CREATE_STATIC_TOPIC: i32 = 513;
    /// Name server: ask for the instances of a broker.
    pub const GET_BROKER_MEMBER_GROUP: i32 = 901;
    /// Add a broker to a container.
    pub const ADD_BROKER: i32 = 902;
    /// Remove a broker from a container.
    pub const REMOVE_BROKER: i32 = 903;
    /// Name server or controller: a broker is alive.
    pub const BROKER_HEARTBEAT: i32 = 904;
    /// Name server to broker: another slave acts as master.
    pub const NOTIFY_MIN_BROKER_ID_CHANGE: i32 = 905;
    /// Broker to broker: exchange replication addresses.
    pub const EXCHANGE_BROKER_HA_INFO: i32 = 906;
    /// Ask for the state of replication.
    pub const GET_BROKER_HA_STATUS: i32 = 907;
    /// Broker to broker: set the master's flush offset.
    pub const RESET_MASTER_FLUSH_OFFSET: i32 = 908;
    /// Controller: change who is in sync.
    pub const CONTROLLER_ALTER_SYNC_STATE_SET: i32 = 1001;
    /// Controller: choose a master.
    pub const CONTROLLER_ELECT_MASTER: i32 = 1002;
    /// Controller: a broker says what it has.
    pub const CONTROLLER_REGISTER_BROKER: i32 = 1003;
    /// Controller: ask for a broker's replicas.
    pub const CONTROLLER_GET_REPLICA_INFO: i32 = 1004;
    /// Controller: ask for the controllers.
    pub const CONTROLLER_GET_METADATA_INFO: i32 = 1005;
    /// Controller: ask who is in sync.
    pub const CONTROLLER_GET_SYNC_STATE_DATA: i32 = 1006;
    /// Ask for the epochs of the log.
    pub const GET_BROKER_EPOCH_CACHE: i32 = 1007;
    /// Controller to broker: the role changed.
    pub const NOTIFY_BROKER_ROLE_CHANGED: i32 = 1008;
    /// Controller: change settings.
    pub const UPDATE_CONTROLLER_CONFIG: i32 = 1009;
    /// Controller: ask for the settings.
    pub const GET_CONTROLLER_CONFIG: i32 = 1010;
    /// Controller: forget a broker.
    pub const CLEAN_BROKER_DATA: i32 = 1011;
    /// Controller: ask for the next broker id.
    pub const CONTROLLER_GET_NEXT_BROKER_ID: i32 = 1012;
    /// Controller: take a broker id.
    pub const CONTROLLER_APPLY_BROKER_ID: i32 = 1013;
    /// Inside a JRaft controller: a broker's connection closed.
    pub const BROKER_CLOSE_CHANNEL_REQUEST: i32 = 1014;
    /// Inside a JRaft controller: look for dead brokers.
    pub const CHECK_NOT_ACTIVE_BROKER_REQUEST: i32 = 1015;
    /// Inside a JRaft controller: ask who is alive.
    pub const GET_BROKER_LIVE_INFO_REQUEST: i32 = 1016;
    /// Inside a JRaft controller: ask who is in sync.
    pub const GET_SYNC_STATE_DATA_REQUEST: i32 = 1017;
    /// Inside a JRaft controller: a broker is alive.
    pub const RAFT_BROKER_HEART_BEAT_EVENT_REQUEST: i32 = 1018;
    /// Limit a group's reading of cold data.
    pub const UPDATE_COLD_DATA_FLOW_CTR_CONFIG: i32 = 2001;
    /// Remove that limit.
    pub const REMOVE_COLD_DATA_FLOW_CTR_CONFIG: i32 = 2002;
    /// Ask for those limits.
    pub const GET_COLD_DATA_FLOW_CTR_INFO: i32 = 2003;
    /// Choose how the log is read ahead.
    pub const SET_COMMITLOG_READ_MODE: i32 = 2004;
    /// ACL 2.0: create a user.
    pub const AUTH_CREATE_USER: i32 = 3001;
    /// ACL 2.0: change a user.
    pub const AUTH_UPDATE_USER: i32 = 3002;
    /// ACL 2.0: delete a user.
    pub const AUTH_DELETE_USER: i32 = 3003;
    /// ACL 2.0: ask for a user.
    pub const AUTH_GET_USER: i32 = 3004;
    /// ACL 2.0: ask for users.
    pub const AUTH_LIST_USER: i32 = 3005;
    /// ACL 2.0: create a policy.
    pub const AUTH_CREATE_ACL: i32 = 3006;
    /// ACL 2.0: change a policy.
    pub const AUTH_UPDATE_ACL: i32 = 3007;
    /// ACL 2.0: delete a policy.
    pub const AUTH_DELETE_ACL: i32 = 3008;
    /// ACL 2.0: ask for a policy.
    pub const AUTH_GET_ACL: i32 = 3009;
    /// ACL 2.0: ask for policies.
    pub const AUTH_LIST_ACL: i32 = 3010;
    /// Take messages of a topic, whatever their queue.
    pub const POP_MESSAGE: i32 = 200050;
    /// Say that a popped message is done.
    pub const ACK_MESSAGE: i32 = 200051;
    /// Look at messages without taking them.
    pub const PEEK_MESSAGE: i32 = 200052;
    /// Move the time a popped message comes back.
    pub const CHANGE_MESSAGE_INVISIBLETIME: i32 = 200053;
    /// Wait until a topic has messages to pop.
    pub const NOTIFICATION: i32 = 200054;
    /// Ask how many wait to pop.
    pub const POLLING_INFO: i32 = 200055;
    /// Move pop records out of RocksDB.
    pub const POP_ROLLBACK: i32 = 200056;
    /// Say that several popped messages are done.
    pub const BATCH_ACK_MESSAGE: i32 = 200151;

    pub(super) const NAMES: &[(i32, &str)] = super::names![
        SEND_MESSAGE,
        PULL_MESSAGE,
        QUERY_MESSAGE,
        QUERY_BROKER_OFFSET,
        QUERY_CONSUMER_OFFSET,
        UPDATE_CONSUMER_OFFSET,
        UPDATE_AND_CREATE_TOPIC,
        UPDATE_AND_CREATE_TOPIC_LIST,
        GET_ALL_TOPIC_CONFIG,
        GET_TOPIC_CONFIG_LIST,
        GET_TOPIC_NAME_LIST,
        UPDATE_BROKER_CONFIG,
        GET_BROKER_CONFIG,
        TRIGGER_DELETE_FILES,
        GET_BROKER_RUNTIME_INFO,
        SEARCH_OFFSET_BY_TIMESTAMP,
        GET_MAX_OFFSET,
        GET_MIN_OFFSET,
        GET_EARLIEST_MSG_STORETIME,
        VIEW_MESSAGE_BY_ID,
        HEART_BEAT,
        UNREGISTER_CLIENT,
        CONSUMER_SEND_MSG_BACK,
        END_TRANSACTION,
        GET_CONSUMER_LIST_BY_GROUP,
        CHECK_TRANSACTION_STATE,
        NOTIFY_CONSUMER_IDS_CHANGED,
        LOCK_BATCH_MQ,
        UNLOCK_BATCH_MQ,
        GET_ALL_CONSUMER_OFFSET,
        GET_ALL_DELAY_OFFSET,
        CHECK_CLIENT_CONFIG,
        GET_CLIENT_CONFIG,
        UPDATE_AND_CREATE_ACL_CONFIG,
        DELETE_ACL_CONFIG,
        GET_BROKER_CLUSTER_ACL_INFO,
        UPDATE_GLOBAL_WHITE_ADDRS_CONFIG,
        GET_BROKER_CLUSTER_ACL_CONFIG,
        GET_TIMER_CHECK_POINT,
        GET_TIMER_METRICS,
        PUT_KV_CONFIG,
        GET_KV_CONFIG,
        DELETE_KV_CONFIG,
        REGISTER_BROKER,
        UNREGISTER_BROKER,
        GET_ROUTEINFO_BY_TOPIC,
        GET_BROKER_CLUSTER_INFO,
        UPDATE_AND_CREATE_SUBSCRIPTIONGROUP,
        GET_ALL_SUBSCRIPTIONGROUP_CONFIG,
        GET_TOPIC_STATS_INFO,
        GET_CONSUMER_CONNECTION_LIST,
        GET_PRODUCER_CONNECTION_LIST,
        WIPE_WRITE_PERM_OF_BROKER,
        GET_ALL_TOPIC_LIST_FROM_NAMESERVER,
        DELETE_SUBSCRIPTIONGROUP,
        GET_CONSUME_STATS,
        SUSPEND_CONSUMER,
        RESUME_CONSUMER,
        RESET_CONSUMER_OFFSET_IN_CONSUMER,
        RESET_CONSUMER_OFFSET_IN_BROKER,
        ADJUST_CONSUMER_THREAD_POOL,
        WHO_CONSUME_THE_MESSAGE,
        DELETE_TOPIC_IN_BROKER,
        DELETE_TOPIC_IN_NAMESRV,
        REGISTER_TOPIC_IN_NAMESRV,
        GET_KVLIST_BY_NAMESPACE,
        RESET_CONSUMER_CLIENT_OFFSET,
        GET_CONSUMER_STATUS_FROM_CLIENT,
        INVOKE_BROKER_TO_RESET_OFFSET,
        INVOKE_BROKER_TO_GET_CONSUMER_STATUS,
        GET_TOPICS_BY_CLUSTER,
        UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST,
        QUERY_TOPIC_CONSUME_BY_WHO,
        REGISTER_FILTER_SERVER,
        REGISTER_MESSAGE_FILTER_CLASS,
        QUERY_CONSUME_TIME_SPAN,
        GET_SYSTEM_TOPIC_LIST_FROM_NS,
        GET_SYSTEM_TOPIC_LIST_FROM_BROKER,
        CLEAN_EXPIRED_CONSUMEQUEUE,
        GET_CONSUMER_RUNNING_INFO,
        QUERY_CORRECTION_OFFSET,
        CONSUME_MESSAGE_DIRECTLY,
        SEND_MESSAGE_V2,
        GET_UNIT_TOPIC_LIST,
        GET_HAS_UNIT_SUB_TOPIC_LIST,
        GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST,
        CLONE_GROUP_OFFSET,
        VIEW_BROKER_STATS_DATA,
        CLEAN_UNUSED_TOPIC,
        GET_BROKER_CONSUME_STATS,
        UPDATE_NAMESRV_CONFIG,
        GET_NAMESRV_CONFIG,
        SEND_BATCH_MESSAGE,
        QUERY_CONSUME_QUEUE,
        QUERY_DATA_VERSION,
        RESUME_CHECK_HALF_MESSAGE,
        SEND_REPLY_MESSAGE,
        SEND_REPLY_MESSAGE_V2,
        PUSH_REPLY_MESSAGE_TO_CLIENT,
        ADD_WRITE_PERM_OF_BROKER,
        GET_ALL_PRODUCER_INFO,
        DELETE_EXPIRED_COMMITLOG,
        QUERY_TOPICS_BY_CONSUMER,
        QUERY_SUBSCRIPTION_BY_CONSUMER,
        GET_TOPIC_CONFIG,
        GET_SUBSCRIPTIONGROUP_CONFIG,
        UPDATE_AND_GET_GROUP_FORBIDDEN,
        CHECK_ROCKSDB_CQ_WRITE_PROGRESS,
        EXPORT_ROCKSDB_CONFIG_TO_JSON,
        LITE_PULL_MESSAGE,
        RECALL_MESSAGE,
        QUERY_ASSIGNMENT,
        SET_MESSAGE_REQUEST_MODE,
        GET_ALL_MESSAGE_REQUEST_MODE,
        UPDATE_AND_CREATE_STATIC_TOPIC,
        GET_BROKER_MEMBER_GROUP,
        ADD_BROKER,
        REMOVE_BROKER,
        BROKER_HEARTBEAT,
        NOTIFY_MIN_BROKER_ID_CHANGE,
        EXCHANGE_BROKER_HA_INFO,
        GET_BROKER_HA_STATUS,
        RESET_MASTER_FLUSH_OFFSET,
        CONTROLLER_ALTER_SYNC_STATE_SET,
        CONTROLLER_ELECT_MASTER,
        CONTROLLER_REGISTER_BROKER,
        CONTROLLER_GET_REPLICA_INFO,
        CONTROLLER_GET_METADATA_INFO,
        CONTROLLER_GET_SYNC_STATE_DATA,
        GET_BROKER_EPOCH_CACHE,
        NOTIFY_BROKER_ROLE_CHANGED,
        UPDATE_CONTROLLER_CONFIG,
        GET_CONTROLLER_CONFIG,
        CLEAN_BROKER_DATA,
        CONTROLLER_GET_NEXT_BROKER_ID,
        CONTROLLER_APPLY_BROKER_ID,
        BROKER_CLOSE_CHANNEL_REQUEST,
        CHECK_NOT_ACTIVE_BROKER_REQUEST,
        GET_BROKER_LIVE_INFO_REQUEST,
        GET_SYNC_STATE_DATA_REQUEST,
        RAFT_BROKER_HEART_BEAT_EVENT_REQUEST,
        UPDATE_COLD_DATA_FLOW_CTR_CONFIG,
        REMOVE_COLD_DATA_FLOW_CTR_CONFIG,
        GET_COLD_DATA_FLOW_CTR_INFO,
        SET_COMMITLOG_READ_MODE,
        AUTH_CREATE_USER,
        AUTH_UPDATE_USER,
        AUTH_DELETE_USER,
        AUTH_GET_USER,
        AUTH_LIST_USER,
        AUTH_CREATE_ACL,
        AUTH_UPDATE_ACL,
        AUTH_DELETE_ACL,
        AUTH_GET_ACL,
        AUTH_LIST_ACL,
        POP_MESSAGE,
        ACK_MESSAGE,
        PEEK_MESSAGE,
        CHANGE_MESSAGE_INVISIBLETIME,
        NOTIFICATION,
        POLLING_INFO,
        POP_ROLLBACK,
        BATCH_ACK_MESSAGE,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The constants of a source text, in the order they stand.
    fn constants(source: &str) -> Vec<(i32, String)> {
        let lines = source.lines().filter_map(|line| line.trim().strip_prefix("pub const "));
        let pairs = lines.filter_map(|line| line.split_once(": i32 = "));
        pairs
            .map(|(name, rest)| (rest.trim_end_matches(';').parse().unwrap(), name.to_owned()))
            .collect()
    }

    #[test]
    fn every_constant_is_in_the_table_of_names_in_ascending_order() {
        let of = |names: &[(i32, &str)]| -> Vec<(i32, String)> {
            names.iter().map(|(code, name)| (*code, (*name).to_owned())).collect()
        };
        assert_eq!(constants(include_str!("codes.rs")), of(request::NAMES));
        assert_eq!(constants(include_str!("codes/response.rs")), of(response::NAMES));
        for names in [request::NAMES, response::NAMES] {
            assert!(names.is_sorted_by(|a, b| a.0 < b.0));
        }
    }

    #[test]
    fn codes_have_their_names() {
        assert_eq!(request_name(310), Some("SEND_MESSAGE_V2"));
        assert_eq!(request_name(200_151), Some("BATCH_ACK_MESSAGE"));
        assert_eq!(request_name(218), None);
        assert_eq!(request_name(-1), None);
        assert_eq!(response_name(response::TOPIC_NOT_EXIST), Some("TOPIC_NOT_EXIST"));
        assert_eq!(response_name(-1006), Some("RPC_TIME_OUT"));
        assert_eq!(response_name(5), None);
    }
}

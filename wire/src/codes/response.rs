//! Response codes: how an answer says what became of its request.
//!
//! Each has one line that says what clients make of it. No code is left out: a number without a
//! name here is none of RocketMQ's.

/// Between brokers: no answer in time.
pub const RPC_TIME_OUT: i32 = -1006;
/// Between brokers: not sent.
pub const RPC_SEND_TO_CHANNEL_FAILED: i32 = -1004;
/// Between brokers: no address.
pub const RPC_ADDR_IS_NULL: i32 = -1002;
/// Between brokers: the call failed.
pub const RPC_UNKNOWN: i32 = -1000;
/// Done.
pub const SUCCESS: i32 = 0;
/// Something failed; the remark says what. Java clients send again.
pub const SYSTEM_ERROR: i32 = 1;
/// Too much to do; not stored. Java clients send again from 5.3 on only.
pub const SYSTEM_BUSY: i32 = 2;
/// No such request here.
pub const REQUEST_CODE_NOT_SUPPORTED: i32 = 3;
/// The transaction failed.
pub const TRANSACTION_FAILED: i32 = 4;
/// Stored, but the disk was slow; clients count it as sent.
pub const FLUSH_DISK_TIMEOUT: i32 = 10;
/// Stored, but no slave is there; clients count it as sent.
pub const SLAVE_NOT_AVAILABLE: i32 = 11;
/// Stored, but the slave was slow; clients count it as sent.
pub const FLUSH_SLAVE_TIMEOUT: i32 = 12;
/// The message breaks a limit or a rule.
pub const MESSAGE_ILLEGAL: i32 = 13;
/// Not writable now. Clients send again to another broker.
pub const SERVICE_NOT_AVAILABLE: i32 = 14;
/// The client is too old.
pub const VERSION_NOT_SUPPORTED: i32 = 15;
/// Not allowed.
pub const NO_PERMISSION: i32 = 16;
/// No such topic.
pub const TOPIC_NOT_EXIST: i32 = 17;
/// The topic is there already.
pub const TOPIC_EXIST_ALREADY: i32 = 18;
/// Nothing new.
pub const PULL_NOT_FOUND: i32 = 19;
/// Nothing matched so far; pull again at once.
pub const PULL_RETRY_IMMEDIATELY: i32 = 20;
/// The offset is outside the queue; take the one in the answer.
pub const PULL_OFFSET_MOVED: i32 = 21;
/// Not found.
pub const QUERY_NOT_FOUND: i32 = 22;
/// The filter expression does not parse.
pub const SUBSCRIPTION_PARSE_FAILED: i32 = 23;
/// The group has no such subscription.
pub const SUBSCRIPTION_NOT_EXIST: i32 = 24;
/// The client knows a newer subscription than the broker.
pub const SUBSCRIPTION_NOT_LATEST: i32 = 25;
/// No such group.
pub const SUBSCRIPTION_GROUP_NOT_EXIST: i32 = 26;
/// The compiled filter is not there.
pub const FILTER_DATA_NOT_EXIST: i32 = 27;
/// The compiled filter is an older one.
pub const FILTER_DATA_NOT_LATEST: i32 = 28;
/// A field has a value that cannot be (5.x).
pub const INVALID_PARAMETER: i32 = 29;
/// The transaction should be committed.
pub const TRANSACTION_SHOULD_COMMIT: i32 = 200;
/// The transaction should be rolled back.
pub const TRANSACTION_SHOULD_ROLLBACK: i32 = 201;
/// The transaction's state is not known.
pub const TRANSACTION_STATE_UNKNOW: i32 = 202;
/// The transaction is of another group.
pub const TRANSACTION_STATE_GROUP_WRONG: i32 = 203;
/// A unit's message has no buyer.
pub const NO_BUYER_ID: i32 = 204;
/// The message belongs to another unit.
pub const NOT_IN_CURRENT_UNIT: i32 = 205;
/// Nobody of the group is connected.
pub const CONSUMER_NOT_ONLINE: i32 = 206;
/// The client did not answer in time.
pub const CONSUME_MSG_TIMEOUT: i32 = 207;
/// No such message, or the offset is outside the queue.
pub const NO_MESSAGE: i32 = 208;
/// Too many wait already (5.x).
pub const POLLING_FULL: i32 = 209;
/// Waited in vain (5.x).
pub const POLLING_TIMEOUT: i32 = 210;
/// No such broker (5.x).
pub const BROKER_NOT_EXIST: i32 = 211;
/// The consume queue is behind the log (5.x).
pub const BROKER_DISPATCH_NOT_COMPLETE: i32 = 212;
/// The group consumes by broadcast, so it has no offsets here.
pub const BROADCAST_CONSUMPTION: i32 = 213;
/// Slow down (5.x).
pub const FLOW_CONTROL: i32 = 215;
/// Another broker leads this queue of a static topic.
pub const NOT_LEADER_FOR_QUEUE: i32 = 501;
/// Not possible in this state.
pub const ILLEGAL_OPERATION: i32 = 604;
/// Shutting down; newer clients connect anew (from 5.3.1).
pub const GO_AWAY: i32 = 1500;
/// Controller: the master's epoch is old.
pub const CONTROLLER_FENCED_MASTER_EPOCH: i32 = 2000;
/// Controller: the set's epoch is old.
pub const CONTROLLER_FENCED_SYNC_STATE_SET_EPOCH: i32 = 2001;
/// Controller: not the master.
pub const CONTROLLER_INVALID_MASTER: i32 = 2002;
/// Controller: not these replicas.
pub const CONTROLLER_INVALID_REPLICAS: i32 = 2003;
/// Controller: there is no master.
pub const CONTROLLER_MASTER_NOT_AVAILABLE: i32 = 2004;
/// Controller: the request makes no sense.
pub const CONTROLLER_INVALID_REQUEST: i32 = 2005;
/// Controller: the broker is gone.
pub const CONTROLLER_BROKER_NOT_ALIVE: i32 = 2006;
/// Controller: ask another one.
pub const CONTROLLER_NOT_LEADER: i32 = 2007;
/// Controller: the broker is not known.
pub const CONTROLLER_BROKER_METADATA_NOT_EXIST: i32 = 2008;
/// Controller: the broker cannot be forgotten.
pub const CONTROLLER_INVALID_CLEAN_BROKER_METADATA: i32 = 2009;
/// Controller: register first.
pub const CONTROLLER_BROKER_NEED_TO_BE_REGISTERED: i32 = 2010;
/// Controller: the master lives.
pub const CONTROLLER_MASTER_STILL_EXIST: i32 = 2011;
/// Controller: no master could be chosen.
pub const CONTROLLER_ELECT_MASTER_FAILED: i32 = 2012;
/// Controller: the set could not be changed.
pub const CONTROLLER_ALTER_SYNC_STATE_SET_FAILED: i32 = 2013;
/// Controller: the broker id is taken.
pub const CONTROLLER_BROKER_ID_INVALID: i32 = 2014;
/// Controller: its log failed.
pub const CONTROLLER_JRAFT_INTERNAL_ERROR: i32 = 2015;
/// Controller: nothing known about who lives.
pub const CONTROLLER_BROKER_LIVE_INFO_NOT_EXISTS: i32 = 2016;
/// ACL 2.0: no such user.
pub const USER_NOT_EXIST: i32 = 3001;
/// ACL 2.0: no such policy.
pub const POLICY_NOT_EXIST: i32 = 3002;

pub(super) const NAMES: &[(i32, &str)] = super::names![
    RPC_TIME_OUT,
    RPC_SEND_TO_CHANNEL_FAILED,
    RPC_ADDR_IS_NULL,
    RPC_UNKNOWN,
    SUCCESS,
    SYSTEM_ERROR,
    SYSTEM_BUSY,
    REQUEST_CODE_NOT_SUPPORTED,
    TRANSACTION_FAILED,
    FLUSH_DISK_TIMEOUT,
    SLAVE_NOT_AVAILABLE,
    FLUSH_SLAVE_TIMEOUT,
    MESSAGE_ILLEGAL,
    SERVICE_NOT_AVAILABLE,
    VERSION_NOT_SUPPORTED,
    NO_PERMISSION,
    TOPIC_NOT_EXIST,
    TOPIC_EXIST_ALREADY,
    PULL_NOT_FOUND,
    PULL_RETRY_IMMEDIATELY,
    PULL_OFFSET_MOVED,
    QUERY_NOT_FOUND,
    SUBSCRIPTION_PARSE_FAILED,
    SUBSCRIPTION_NOT_EXIST,
    SUBSCRIPTION_NOT_LATEST,
    SUBSCRIPTION_GROUP_NOT_EXIST,
    FILTER_DATA_NOT_EXIST,
    FILTER_DATA_NOT_LATEST,
    INVALID_PARAMETER,
    TRANSACTION_SHOULD_COMMIT,
    TRANSACTION_SHOULD_ROLLBACK,
    TRANSACTION_STATE_UNKNOW,
    TRANSACTION_STATE_GROUP_WRONG,
    NO_BUYER_ID,
    NOT_IN_CURRENT_UNIT,
    CONSUMER_NOT_ONLINE,
    CONSUME_MSG_TIMEOUT,
    NO_MESSAGE,
    POLLING_FULL,
    POLLING_TIMEOUT,
    BROKER_NOT_EXIST,
    BROKER_DISPATCH_NOT_COMPLETE,
    BROADCAST_CONSUMPTION,
    FLOW_CONTROL,
    NOT_LEADER_FOR_QUEUE,
    ILLEGAL_OPERATION,
    GO_AWAY,
    CONTROLLER_FENCED_MASTER_EPOCH,
    CONTROLLER_FENCED_SYNC_STATE_SET_EPOCH,
    CONTROLLER_INVALID_MASTER,
    CONTROLLER_INVALID_REPLICAS,
    CONTROLLER_MASTER_NOT_AVAILABLE,
    CONTROLLER_INVALID_REQUEST,
    CONTROLLER_BROKER_NOT_ALIVE,
    CONTROLLER_NOT_LEADER,
    CONTROLLER_BROKER_METADATA_NOT_EXIST,
    CONTROLLER_INVALID_CLEAN_BROKER_METADATA,
    CONTROLLER_BROKER_NEED_TO_BE_REGISTERED,
    CONTROLLER_MASTER_STILL_EXIST,
    CONTROLLER_ELECT_MASTER_FAILED,
    CONTROLLER_ALTER_SYNC_STATE_SET_FAILED,
    CONTROLLER_BROKER_ID_INVALID,
    CONTROLLER_JRAFT_INTERNAL_ERROR,
    CONTROLLER_BROKER_LIVE_INFO_NOT_EXISTS,
    USER_NOT_EXIST,
    POLICY_NOT_EXIST,
];

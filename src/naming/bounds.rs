//! Bounds of the name server's tables; a registration that would pass one is refused whole.
//!
//! Nothing here depends on another module, and no bound is a configuration key: they protect the
//! memory of a small box from a peer that registers nonsense.

/// Broker names at one time, our own shards included.
pub const BROKERS_MAX: usize = 1024;
/// Instances (a master and its slaves) of one broker name.
pub const INSTANCES_MAX: usize = 16;
/// Topics of all brokers together.
pub const TOPICS_MAX: usize = 128 * 1024;
/// Queue rows (topic and broker) of all topics together.
pub const ROWS_MAX: usize = 512 * 1024;
/// Bytes of a broker name, cluster name or address.
pub const NAME_MAX: usize = 255;
/// Bytes of a topic name in the route table (RocketMQ allows 255 for retry topics).
pub const TOPIC_MAX: usize = 255;
/// Longest life a registration may ask for with `heartbeatTimeoutMillis`.
pub const EXPIRY_MAX_MS: u64 = 24 * 3_600_000;
/// KV configuration: namespaces.
pub const KV_NAMESPACES_MAX: usize = 64;
/// KV configuration: keys of one namespace.
pub const KV_KEYS_MAX: usize = 4096;
/// KV configuration: bytes of a namespace or key.
pub const KV_NAME_MAX: usize = 255;
/// KV configuration: bytes of a value.
pub const KV_VALUE_MAX: usize = 16 * 1024;
/// KV configuration: bytes of all names and values together.
pub const KV_TOTAL_MAX: usize = 4 * 1024 * 1024;

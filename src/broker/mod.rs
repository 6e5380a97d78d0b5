//! The rules of the broker: who may send and pull what, and what state follows.
//!
//! Pure and synchronous: a request and the time go in, a decision comes out, and the shard carries
//! it out. State that must survive is changed in `apply` alone, from records of the log, live and
//! in recovery alike; everything else (members, held pulls) is forgotten with the process.
//! Invariants: nothing here does io or reads a clock; every table is bounded by `base::limits`;
//! sending and pulling allocate nothing once their buffers have grown.

mod admin;
mod apply;
mod attributes;
mod batch;
mod catalog;
mod checkpoint;
mod codec;
mod consume;
mod filter;
mod group;
mod lost;
mod membership;
mod names;
mod offsets;
mod options;
mod parking;
mod pressure;
mod properties;
mod publish;
mod pull;
mod quota;
mod record;
mod reject;
mod scan;
mod snapshot;
mod state;
mod stored;
mod topic;
mod traffic;
mod uniq;

#[cfg(test)]
mod tests;

pub use admin::TopicChange;
pub use apply::{Applied, ApplyError, MessageApplied};
pub use attributes::FLUSH_ATTRIBUTE;
pub use catalog::{Catalog, DataVersion, Topic, TopicIdx, system_topics};
pub use checkpoint::{ImageCursor, Restoring, TooLarge};
pub use consume::{BeatReply, Heartbeat};
pub use filter::{FILTER_TAGS_MAX, is_tag_type, parse_tags};
pub use group::{GroupConfig, RetryPolicy};
pub use membership::{
    BeatMode, ClientBeat, ConnId, ConsumeType, ConsumerBeat, ConsumerGroup, Effect, FromWhere,
    Member, Membership, MessageModel, Subscription, SubscriptionBeat,
};
pub use names::{
    DLQ_PREFIX, RETRY_PREFIX, SYSTEM_GROUPS, TEMPLATE_TOPIC, check_group, check_topic,
    is_send_forbidden, is_system_group,
};
pub use offsets::{Offsets, OffsetsFull};
pub use options::{BrokerOptions, FlushClass, PERM_INHERIT, PERM_READ, PERM_WRITE, Watermarks};
pub use parking::{ParkId, Parking, ParkingFull, PullTarget, ReplyTo};
pub use pressure::{Load, PressureLimits, Reason, Ruling, Text, is_full, rule};
pub use publish::{Admission, SendRequest, Verdict};
pub use pull::{
    PULL_COMMIT, PULL_SUBSCRIPTION, PULL_SUSPEND, ParkTicket, PullPlan, PullReply, PullRequest,
    PullStep,
};
pub use quota::{QUOTA_BYTES, QUOTA_MESSAGES, QUOTA_STORED};
pub use record::{
    BoundsEntry, META_MAGIC, META_RECORD_TARGET, META_VERSION, Meta, MetaError, OffsetEntry,
};
pub use reject::{Reject, code};
pub use snapshot::SnapshotCursor;
pub use state::Broker;
pub use topic::{Origin, TopicConfig};
pub use traffic::{Reader, ReaderId, Tally, TopicTraffic};

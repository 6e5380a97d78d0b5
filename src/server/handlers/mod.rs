//! One file per request code: read the fields, ask the shard, write the answer.
//! No rule lives here; a handler that needs one finds it in `broker`.

pub(super) mod all_groups;
pub(super) mod all_topics;
mod bodies;
pub(super) mod broker_config;
pub(super) mod client_config;
pub(super) mod consumer_list;
pub(super) mod create_group;
pub(super) mod create_topic;
pub(super) mod delete_group;
pub(super) mod delete_topic;
pub(super) mod earliest;
pub(super) mod group_config;
pub(super) mod heartbeat;
pub(super) mod max_offset;
pub(super) mod min_offset;
pub(super) mod naming;
pub(super) mod pull;
pub(super) mod query_offset;
pub(super) mod runtime_info;
pub(super) mod search_offset;
pub(super) mod send;
pub(super) mod topic_config;
pub(super) mod topic_stats;
pub(super) mod unregister;
pub(super) mod update_offset;
pub(super) mod view;

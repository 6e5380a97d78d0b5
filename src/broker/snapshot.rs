//! The snapshot: all state as records of the log, written in bounded slices between requests.
//!
//! It is fuzzy: requests go on between slices. That is sound because every record is absolute and
//! whatever changes after the beginning is logged after it too, so a fold from the beginning in
//! log order ends in the right state, whether a slice saw a change or not.

use super::Broker;
use super::record::{BoundsEntry, META_RECORD_TARGET, Meta, OffsetEntry};
use super::topic::Origin;

/// How far a snapshot has come.
#[derive(Clone, Debug)]
pub struct SnapshotCursor {
    id: u64,
    stage: Stage,
    groups: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Begin,
    Topics(u32),
    Groups,
    Offsets(u32),
    Bounds(u32),
    End,
    Done,
}

impl SnapshotCursor {
    /// A snapshot that has not begun. `id` is larger than that of any before.
    pub fn new(id: u64) -> SnapshotCursor {
        SnapshotCursor { id, stage: Stage::Begin, groups: Vec::new() }
    }

    /// Whether topics, groups and offsets were written.
    pub(super) fn is_past_tables(&self) -> bool {
        matches!(self.stage, Stage::Bounds(_) | Stage::End | Stage::Done)
    }

    /// Whether the end was written.
    pub fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }
}

impl Broker {
    /// Appends the next records of a snapshot to `out`, about `budget_bytes` of them; one topic's
    /// or group's may exceed it. Log them in this order. Returns whether the snapshot is complete.
    pub fn snapshot_slice(
        &self,
        cursor: &mut SnapshotCursor,
        budget_bytes: usize,
        out: &mut Vec<Meta>,
    ) -> bool {
        let mut bytes = 0;
        while bytes < budget_bytes && !cursor.is_done() {
            bytes += self.snapshot_step(cursor, out);
        }
        cursor.is_done()
    }

    /// A cursor at the groups: they and the offsets follow.
    pub(super) fn tables_cursor(&self) -> SnapshotCursor {
        SnapshotCursor { id: 0, stage: Stage::Groups, groups: self.group_names() }
    }

    /// Names of groups, the first one last.
    fn group_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.catalog.groups.keys().cloned().collect();
        names.sort_unstable_by(|a, b| b.cmp(a));
        names
    }

    /// One topic, group or table of offsets; returns about how many bytes it is in the log.
    pub(super) fn snapshot_step(&self, cursor: &mut SnapshotCursor, out: &mut Vec<Meta>) -> usize {
        let (next, bytes) = match cursor.stage {
            Stage::Begin => {
                out.push(Meta::SnapshotBegin { id: cursor.id });
                cursor.groups = self.group_names();
                (Stage::Topics(0), 18)
            }
            Stage::Topics(at) if at < self.catalog.handles() => {
                (Stage::Topics(at + 1), self.snapshot_topic(at, out))
            }
            Stage::Topics(_) => (Stage::Groups, 0),
            Stage::Groups => match cursor.groups.pop() {
                Some(name) => {
                    let config = self.catalog.group(&name);
                    out.extend(config.map(|config| Meta::GroupPut(config.clone())));
                    (Stage::Groups, 128 + name.len())
                }
                None => (Stage::Offsets(0), 0),
            },
            Stage::Offsets(at) => match self.offsets.slot(at) {
                Some(entries) => (Stage::Offsets(at + 1), push_offsets(entries, out)),
                None => (Stage::Bounds(0), 0),
            },
            Stage::Bounds(at) if at < self.catalog.handles() => {
                (Stage::Bounds(at + 1), self.snapshot_bounds(at, out))
            }
            Stage::Bounds(_) => (Stage::End, 0),
            Stage::End => {
                let (topics, groups) = (self.catalog.topics_version, self.catalog.groups_version);
                out.push(Meta::SnapshotEnd { id: cursor.id, topics, groups });
                (Stage::Done, 66)
            }
            Stage::Done => (Stage::Done, usize::MAX),
        };
        cursor.stage = next;
        bytes
    }

    fn snapshot_topic(&self, at: u32, out: &mut Vec<Meta>) -> usize {
        let Some(topic) = self.catalog.at(super::TopicIdx(at)) else { return 1 };
        if topic.config.origin == Origin::System {
            return 1;
        }
        let config = topic.config.clone();
        let bytes = 64 + config.name.len() + 64 * config.attributes.len();
        out.push(Meta::TopicPut { config, created: topic.created });
        bytes
    }

    fn snapshot_bounds(&self, at: u32, out: &mut Vec<Meta>) -> usize {
        let Some(topic) = self.catalog.at(super::TopicIdx(at)) else { return 1 };
        let mut entries = Vec::new();
        for (queue_id, queue) in (0u32..).zip(&topic.queues) {
            let Some(queue) = queue else { continue };
            let bounds = self.queues.bounds(*queue);
            if bounds.max > 0 {
                entries.push(BoundsEntry {
                    topic: topic.config.name.clone(),
                    queue_id,
                    min: bounds.min,
                    max: bounds.max,
                });
            }
        }
        let each = topic.config.name.len() + 22;
        let bytes = entries.len() * each;
        let per_record = (META_RECORD_TARGET / each).max(1);
        out.extend(entries.chunks(per_record).map(|part| Meta::QueueBounds(part.to_vec())));
        bytes + 1
    }
}

fn push_offsets(entries: Vec<OffsetEntry>, out: &mut Vec<Meta>) -> usize {
    let Some(first) = entries.first() else { return 1 };
    let each = first.group.len() + first.topic.len() + 16;
    let bytes = entries.len() * each;
    let per_record = (META_RECORD_TARGET / each).max(1);
    out.extend(entries.chunks(per_record).map(|part| Meta::Offsets(part.to_vec())));
    bytes
}

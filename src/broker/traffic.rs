//! Messages and bytes by topic and kind, and by group and topic, since the start: RocketMQ 5's
//! labels for its counters of traffic.
//!
//! A send adds to its topic's own tally, a pull to that of its group and topic; a lookup is a
//! pull's, never a message's. The table of readers has a bound, and the topics that are told of
//! have one; what is beyond them is the difference to the shard's totals, so that nothing is
//! counted twice and nothing is left out. Nothing here is logged: a start begins at nothing, as
//! counters do.

use super::Broker;
use super::catalog::Topic;
use super::names::{RETRY_PREFIX, is_system_group};
use super::publish::Admission;
use super::topic::Origin;
use crate::base::limits::METRIC_SERIES_MAX;
use crate::base::map::Map;

/// Messages and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages.
    pub messages: u64,
    /// Bytes of their records.
    pub bytes: u64,
}

impl Tally {
    /// Adds to it.
    pub fn add(&mut self, messages: u64, bytes: u64) {
        self.messages += messages;
        self.bytes += bytes;
    }

    /// What is left of it without `other`; never below nothing.
    #[must_use]
    pub fn without(self, other: Tally) -> Tally {
        Tally {
            messages: self.messages.saturating_sub(other.messages),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

/// Number of a group on a topic in the table of readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReaderId(u32);

impl ReaderId {
    /// Beyond the table: counted in the shard's total only.
    pub const OTHER: ReaderId = ReaderId(u32::MAX);
}

impl Default for ReaderId {
    fn default() -> ReaderId {
        ReaderId::OTHER
    }
}

/// What one group read of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// What was handed out.
    pub read: Tally,
}

/// Readers of one shard, at most [`METRIC_SERIES_MAX`]; the first ones are told apart until the
/// next start.
#[derive(Debug, Default)]
pub(super) struct Readers {
    cells: Vec<Reader>,
    by_group: Map<String, Vec<u32>>,
}

impl Readers {
    /// The number of a group on a topic, given when it is first seen.
    pub(super) fn number(&mut self, group: &str, topic: &str) -> ReaderId {
        let known = self.by_group.get(group).map_or(&[][..], Vec::as_slice);
        let same = |at: &&u32| self.cells.get(**at as usize).is_some_and(|c| c.topic == topic);
        if let Some(at) = known.iter().find(same) {
            return ReaderId(*at);
        }
        if self.cells.len() >= METRIC_SERIES_MAX {
            return ReaderId::OTHER;
        }
        let at = self.cells.len() as u32;
        let (group, topic) = (group.to_owned(), topic.to_owned());
        self.by_group.entry(group.clone()).or_default().push(at);
        self.cells.push(Reader { group, topic, read: Tally::default() });
        ReaderId(at)
    }
}

/// What was stored under one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicTraffic {
    /// The topic.
    pub topic: String,
    /// Whether RocketMQ itself uses it.
    pub is_system: bool,
    /// Messages without and with a sharding key.
    pub kinds: [Tally; 2],
}

impl Topic {
    /// A message, or a batch, of this admission was stored under it.
    pub(super) fn count_sent(&mut self, admission: &Admission) {
        let [plain, ordered] = &mut self.sent;
        let kind = if admission.ordered { ordered } else { plain };
        kind.add(u64::from(admission.count), u64::from(admission.len));
    }
}

impl Broker {
    /// A pull was answered with messages.
    pub fn count_read(&mut self, reader: ReaderId, messages: u64, bytes: u64) {
        if let Some(cell) = self.readers.cells.get_mut(reader.0 as usize) {
            cell.read.add(messages, bytes);
        }
    }

    /// Topics under which something was stored since the start, at most [`METRIC_SERIES_MAX`].
    pub fn sent(&self) -> impl Iterator<Item = TopicTraffic> {
        let some = |kinds: &[Tally; 2]| kinds.iter().any(|kind| kind.messages > 0);
        let topics = self.catalog.topics().into_iter().filter(move |topic| some(&topic.sent));
        topics.take(METRIC_SERIES_MAX).map(|topic| TopicTraffic {
            topic: topic.config.name.clone(),
            is_system: topic.config.origin == Origin::System,
            kinds: topic.sent,
        })
    }

    /// Groups to which something was handed out since the start, each with its topic.
    pub fn readers(&self) -> &[Reader] {
        &self.readers.cells
    }

    /// Whether a topic is a group's retry topic.
    pub fn is_retry(&self, topic: &str) -> bool {
        topic.starts_with(RETRY_PREFIX)
    }

    /// Whether a topic or a group is one that RocketMQ itself uses.
    pub fn is_system(&self, topic: &str, group: &str) -> bool {
        let topic = self.catalog.topic(topic);
        topic.is_some_and(|(_, topic)| topic.config.origin == Origin::System)
            || is_system_group(group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_one_number_a_topic_and_the_table_has_an_end() {
        let mut readers = Readers::default();
        let first = readers.number("g", "a");
        assert_eq!(readers.number("g", "a"), first);
        assert_ne!(readers.number("g", "b"), first);
        assert_ne!(readers.number("h", "a"), first);
        for n in 3..METRIC_SERIES_MAX {
            assert_ne!(readers.number("g", &format!("t{n}")), ReaderId::OTHER);
        }
        assert_eq!(readers.number("late", "a"), ReaderId::OTHER);
        assert_eq!(readers.number("g", "a"), first, "whoever is in stays in");
        assert_eq!(readers.cells.len(), METRIC_SERIES_MAX);
        assert!(readers.by_group.len() <= METRIC_SERIES_MAX);
    }
}

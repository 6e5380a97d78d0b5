//! Consumer offsets: how far each group has got in each queue.
//!
//! A commit changes memory at once and is logged later, many together: the last one wins, as in
//! RocketMQ, and a lower offset is taken too. What is not yet logged is marked dirty, and a record
//! that comes back from the log never overwrites a dirty value.
//! Invariant: a dirty cell is in the dirty list (the list may hold more).

use std::collections::VecDeque;

use super::record::{META_RECORD_TARGET, OffsetEntry};
use crate::base::limits::OFFSETS_MAX;
use crate::base::map::Map;

/// One queue's offset.
#[derive(Clone, Copy, Debug)]
struct Cell {
    queue_id: u32,
    offset: i64,
    dirty: bool,
}

/// The offsets of one group in one topic, sorted by queue.
#[derive(Debug)]
struct Table {
    group: String,
    topic: String,
    cells: Vec<Cell>,
}

/// There are [`OFFSETS_MAX`] offsets; no new one can be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetsFull;

/// All offsets of one shard.
#[derive(Debug, Default)]
pub struct Offsets {
    tables: Vec<Option<Table>>,
    unused: Vec<u32>,
    index: Map<String, Map<String, u32>>,
    dirty: VecDeque<(u32, u32)>,
    count: usize,
}

impl Offsets {
    /// The stored offset, if there is one.
    pub fn get(&self, group: &str, topic: &str, queue_id: u32) -> Option<i64> {
        let table = self.table(group, topic)?;
        let at = table.cells.binary_search_by_key(&queue_id, |cell| cell.queue_id).ok()?;
        table.cells.get(at).map(|cell| cell.offset)
    }

    /// Stores an offset, to be logged by the next [`Offsets::drain_dirty`].
    pub fn commit(
        &mut self,
        group: &str,
        topic: &str,
        queue_id: u32,
        offset: i64,
    ) -> Result<(), OffsetsFull> {
        let (table, at) = self.cell(group, topic, queue_id)?;
        let Some(Some(own)) = self.tables.get_mut(table as usize) else { return Ok(()) };
        let Some(cell) = own.cells.get_mut(at) else { return Ok(()) };
        if cell.offset == offset && !cell.dirty {
            return Ok(());
        }
        cell.offset = offset;
        if !std::mem::replace(&mut cell.dirty, true) {
            self.dirty.push_back((table, queue_id));
        }
        Ok(())
    }

    /// Takes an offset that comes from the log. A newer commit that is not logged yet stands.
    pub(super) fn apply(&mut self, entry: &OffsetEntry) -> Result<(), OffsetsFull> {
        let (table, at) = self.cell(&entry.group, &entry.topic, entry.queue_id)?;
        if let Some(Some(own)) = self.tables.get_mut(table as usize)
            && let Some(cell) = own.cells.get_mut(at)
            && !cell.dirty
        {
            cell.offset = entry.offset;
        }
        Ok(())
    }

    /// Whether something waits to be logged.
    pub fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Takes up to `max` changed offsets (and no more than fit one record well) for the log, those
    /// that have waited longest first. Empty: nothing changed.
    pub fn drain_dirty(&mut self, max: usize) -> Vec<OffsetEntry> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        while entries.len() < max && bytes < META_RECORD_TARGET {
            let Some((table, queue_id)) = self.dirty.pop_front() else { break };
            let Some(Some(table)) = self.tables.get_mut(table as usize) else { continue };
            let found = table.cells.binary_search_by_key(&queue_id, |cell| cell.queue_id);
            let Some(cell) = found.ok().and_then(|at| table.cells.get_mut(at)) else { continue };
            if !std::mem::take(&mut cell.dirty) {
                continue;
            }
            bytes += table.group.len() + table.topic.len() + 16;
            entries.push(OffsetEntry {
                group: table.group.clone(),
                topic: table.topic.clone(),
                queue_id,
                offset: cell.offset,
            });
        }
        entries
    }

    /// Forgets a group's offsets.
    pub(super) fn remove_group(&mut self, group: &str) {
        for (_, table) in self.index.remove(group).unwrap_or_default() {
            self.remove_table(table);
        }
    }

    /// Forgets every group's offsets in a topic.
    pub(super) fn remove_topic(&mut self, topic: &str) {
        let mut removed = Vec::new();
        self.index.retain(|_, topics| {
            removed.extend(topics.remove(topic));
            !topics.is_empty()
        });
        for table in removed {
            self.remove_table(table);
        }
    }

    /// Topics a group has offsets in, sorted.
    pub fn topics_of(&self, group: &str) -> Vec<&str> {
        let topics = self.index.get(group).into_iter().flatten();
        let mut topics: Vec<&str> = topics.map(|(topic, _)| topic.as_str()).collect();
        topics.sort_unstable();
        topics
    }

    /// Groups that have offsets in a topic, sorted.
    pub fn groups_of(&self, topic: &str) -> Vec<&str> {
        let holds = |(_, topics): &(&String, &Map<String, u32>)| topics.contains_key(topic);
        let mut groups: Vec<&str> =
            self.index.iter().filter(holds).map(|(group, _)| group.as_str()).collect();
        groups.sort_unstable();
        groups
    }

    /// Every offset of a group in a topic as `(queue_id, offset)`, by queue.
    pub fn cells(&self, group: &str, topic: &str) -> impl Iterator<Item = (u32, i64)> {
        let cells = self.table(group, topic).map(|table| table.cells.iter());
        cells.into_iter().flatten().map(|cell| (cell.queue_id, cell.offset))
    }

    /// Number of stored offsets.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether none is stored.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The offsets of slot `table` for a snapshot; `None` past the last slot.
    pub(super) fn slot(&self, table: u32) -> Option<Vec<OffsetEntry>> {
        let table = self.tables.get(table as usize)?.as_ref();
        let entries = table.into_iter().flat_map(|table| {
            table.cells.iter().map(|cell| OffsetEntry {
                group: table.group.clone(),
                topic: table.topic.clone(),
                queue_id: cell.queue_id,
                offset: cell.offset,
            })
        });
        Some(entries.collect())
    }

    fn table(&self, group: &str, topic: &str) -> Option<&Table> {
        let index = *self.index.get(group)?.get(topic)?;
        self.tables.get(index as usize)?.as_ref()
    }

    /// Table and place of a cell, made with offset −1 when it is new.
    fn cell(
        &mut self,
        group: &str,
        topic: &str,
        queue_id: u32,
    ) -> Result<(u32, usize), OffsetsFull> {
        let index = self.index.get(group).and_then(|topics| topics.get(topic)).copied();
        if index.is_none() && self.count >= OFFSETS_MAX {
            return Err(OffsetsFull);
        }
        let index = index.unwrap_or_else(|| self.new_table(group, topic));
        let Some(Some(table)) = self.tables.get_mut(index as usize) else {
            return Err(OffsetsFull);
        };
        match table.cells.binary_search_by_key(&queue_id, |cell| cell.queue_id) {
            Ok(at) => Ok((index, at)),
            Err(_) if self.count >= OFFSETS_MAX => Err(OffsetsFull),
            Err(at) => {
                table.cells.insert(at, Cell { queue_id, offset: -1, dirty: false });
                self.count += 1;
                Ok((index, at))
            }
        }
    }

    fn new_table(&mut self, group: &str, topic: &str) -> u32 {
        let table =
            Some(Table { group: group.to_owned(), topic: topic.to_owned(), cells: Vec::new() });
        let index = if let Some(index) = self.unused.pop() {
            self.tables[index as usize] = table;
            index
        } else {
            self.tables.push(table);
            u32::try_from(self.tables.len() - 1).unwrap_or(u32::MAX)
        };
        self.index.entry(group.to_owned()).or_default().insert(topic.to_owned(), index);
        index
    }

    fn remove_table(&mut self, index: u32) {
        if let Some(table) = self.tables.get_mut(index as usize).and_then(Option::take) {
            self.count -= table.cells.len();
            self.unused.push(index);
        }
    }
}

//! The route table: brokers, their instances, and which queues of which topic each has.
//!
//! It changes by registration, heartbeat, closed connections and age; the caller brings the time
//! and calls [`Naming::expire`] every `EXPIRY_SCAN_MS`. Our own shards are registered with
//! `own` set: they never expire, and nobody outside may take their name.
//! Invariants: a row's slot always holds a broker; a broker has at least one instance; a topic
//! has at least one row; `rows_held` is the sum of all rows.

use std::collections::BTreeMap;

use super::address::Advertised;
use super::bounds::{BROKERS_MAX, EXPIRY_MAX_MS};
use super::kv::KvStore;
use super::registration::{Refusal, RegisterReply, Registration, TableVersion, TopicRow};
use crate::base::limits::BROKER_EXPIRY_MS;

/// Broker id of a master; slaves count from 1.
pub const MASTER_ID: u64 = 0;
/// RocketMQ's permission bit to read.
pub const PERM_READ: u32 = 4;
/// RocketMQ's permission bit to write.
pub const PERM_WRITE: u32 = 2;

/// One process behind a broker name.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) addr: Advertised,
    ha_addr: String,
    version: TableVersion,
    connection: Option<u64>,
    last_sign_ms: u64,
    timeout_ms: u64,
    pub(super) own: bool,
    /// The other half of a pair of which our own shard is one.
    neighbour: bool,
}

/// A broker name with its instances by id.
#[derive(Debug)]
pub(super) struct Broker {
    pub(super) cluster: String,
    pub(super) instances: BTreeMap<u64, Instance>,
    pub(super) acting_master_enabled: bool,
    permission: u32,
    pub(super) slot: u32,
}

impl Broker {
    /// A topic's permission under the broker's own. Read and write of the broker together leave
    /// the topic's bits alone (the inherit bit of TBW102 must survive).
    pub(super) fn masked(&self, perm: u32) -> u32 {
        const BOTH: u32 = PERM_READ | PERM_WRITE;
        if self.permission & BOTH == BOTH { perm } else { perm & self.permission }
    }

    /// The slave shown under id 0: there is no master, stand-ins are allowed, and the topic is
    /// not writable anyway (a client never sends to a slave).
    pub(super) fn acting_master(&self, topic: &str, row: &QueueRow) -> Option<u64> {
        let excepted = topic.starts_with("rmq_sys_SYNC_BROKER_MEMBER_");
        let writable = self.masked(row.perm) & PERM_WRITE != 0;
        if !self.acting_master_enabled || excepted || writable {
            return None;
        }
        self.instances.keys().next().copied().filter(|id| *id != MASTER_ID)
    }

    fn has_master(&self) -> bool {
        self.instances.contains_key(&MASTER_ID)
    }
}

/// What one broker has of one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QueueRow {
    pub(super) slot: u32,
    pub(super) read_queues: u32,
    pub(super) write_queues: u32,
    pub(super) perm: u32,
    pub(super) sys_flag: u32,
}

/// The name server.
#[derive(Debug, Default)]
pub struct Naming {
    brokers: BTreeMap<String, Broker>,
    /// Broker name of each slot; a free slot is `None`. Rows name brokers by slot.
    slots: Vec<Option<String>>,
    topics: BTreeMap<String, Vec<QueueRow>>,
    rows_held: usize,
    /// KV configuration (codes 100, 101, 102, 219).
    pub kv: KvStore,
}

/// Registration and its end.
impl Naming {
    /// An empty name server.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// REGISTER_BROKER: puts a broker into the table, or refreshes it.
    ///
    /// Topics are taken from a master, or from the lowest slave when it may stand in, and only
    /// when they are new or the version changed; topics missing from the list stay (RocketMQ's
    /// default). Refused with code 1, changing nothing: an unknown id with exactly one topic
    /// (RocketMQ's rule against a half-started broker), a name or address out of bounds, a full
    /// table, the name and id of one of our own shards. One of our own shards that comes over the
    /// wire, from its own address, is known already: success, and nothing changes. A version whose
    /// `state_version` is older than that of another address under the same id is ignored with
    /// success.
    pub fn register(
        &mut self,
        now_ms: u64,
        registration: &Registration<'_>,
    ) -> Result<RegisterReply, Refusal> {
        let r = registration;
        if self.is_own(r) {
            return Ok(RegisterReply::default());
        }
        self.admit(r)?;
        if self.outranked(r) {
            return Ok(RegisterReply::default());
        }
        let slot = self.slot_for(r);
        let Some(broker) = self.brokers.get_mut(r.broker_name) else {
            return Err(Refusal::error("register broker failed".to_owned()));
        };
        if !broker.instances.keys().any(|id| *id != r.broker_id) {
            r.cluster.clone_into(&mut broker.cluster);
        }
        broker.acting_master_enabled = r.acting_master_enabled;
        // One address has one id: a slave that was promoted must not stay under its old one.
        let identity = r.addr.identity();
        broker
            .instances
            .retain(|id, old| *id == r.broker_id || old.own || old.addr.identity() != identity);
        let instance = Instance {
            addr: r.addr.clone(),
            ha_addr: r.ha_addr.to_owned(),
            version: r.version,
            connection: r.connection,
            last_sign_ms: now_ms,
            timeout_ms: r.timeout_ms.unwrap_or(BROKER_EXPIRY_MS).min(EXPIRY_MAX_MS),
            own: r.own,
            neighbour: false,
        };
        let old = broker.instances.insert(r.broker_id, instance);
        let changed = old.is_none_or(|old| old.version != r.version);
        let leads = broker.instances.keys().next() == Some(&r.broker_id);
        let stands_in = leads && r.broker_id != MASTER_ID;
        let reply = reply_to(broker, r.broker_id);
        if leads {
            broker.permission = r.permission;
        }
        if changed && leads {
            let mask = if stands_in && r.acting_master_enabled { !PERM_WRITE } else { u32::MAX };
            for topic in r.topics {
                self.set_row(slot, topic, mask);
            }
        }
        Ok(reply)
    }

    /// One of our own shards has another role: it is shown under id `broker_id` from now on. One
    /// that registered from outside under that id makes room.
    pub fn set_own_id(&mut self, broker_name: &str, broker_id: u64) {
        let Some(broker) = self.brokers.get_mut(broker_name) else { return };
        let ours = |instance: &Instance| instance.own && !instance.neighbour;
        let own = broker.instances.iter().find(|(_, found)| ours(found)).map(|(id, _)| *id);
        let Some(old) = own.filter(|old| *old != broker_id) else { return };
        if let Some(instance) = broker.instances.remove(&old) {
            broker.instances.insert(broker_id, instance);
        }
    }

    /// The other half of the pair that our own shard is one of: its id and address while it is
    /// connected to us. Whoever registered from outside under that id makes room; our own shard
    /// never does.
    pub fn set_neighbour(&mut self, broker_name: &str, neighbour: Option<(u64, &str)>) {
        let Some(broker) = self.brokers.get_mut(broker_name) else { return };
        broker.instances.retain(|_, instance| !instance.neighbour);
        let Some((id, addr)) = neighbour else { return };
        if broker.instances.get(&id).is_some_and(|taken| taken.own) {
            return;
        }
        let instance = Instance {
            addr: Advertised::everywhere(addr),
            ha_addr: String::new(),
            version: TableVersion::default(),
            connection: None,
            last_sign_ms: 0,
            timeout_ms: EXPIRY_MAX_MS,
            own: true,
            neighbour: true,
        };
        // One address has one id.
        let identity = instance.addr.identity().to_owned();
        broker.instances.retain(|_, old| old.own || old.addr.identity() != identity);
        broker.instances.insert(id, instance);
    }

    /// Topics of a registered broker changed or went away, without a whole registration: how our
    /// own shards tell. A removed topic that is not there is no error.
    pub fn topics_changed(
        &mut self,
        broker_name: &str,
        changed: &[TopicRow<'_>],
        removed: &[&str],
    ) -> Result<(), Refusal> {
        let Some(slot) = self.brokers.get(broker_name).map(|broker| broker.slot) else {
            return Err(Refusal::error(format!("broker {broker_name} is not registered")));
        };
        self.admit_topics(Some(slot), changed)?;
        for topic in changed {
            self.set_row(slot, topic, u32::MAX);
        }
        for topic in removed {
            self.remove_rows(topic, |row| row.slot == slot);
        }
        Ok(())
    }

    /// UNREGISTER_BROKER: removes one instance. Unknown ones, other addresses and our own shards
    /// are left alone; the answer is success anyway, as in Java. Gives whether it was removed.
    pub fn unregister(&mut self, broker_name: &str, broker_id: u64, addr: &str) -> bool {
        self.remove_instances(|name, id, instance| {
            name == broker_name
                && id == broker_id
                && instance.addr.identity() == addr
                && !instance.own
        }) > 0
    }

    /// BROKER_HEARTBEAT: refreshes an instance. Gives false when it is not registered (the
    /// answer is success all the same).
    pub fn heartbeat(&mut self, now_ms: u64, broker_name: &str, addr: &str) -> bool {
        let instance = self.instance_mut(broker_name, addr);
        instance.map(|instance| instance.last_sign_ms = now_ms).is_some()
    }

    /// QUERY_DATA_VERSION: true when `version` is not the one registered, with what is
    /// registered. An unchanged version counts as a sign of life, as in Java.
    pub fn query_version(
        &mut self,
        now_ms: u64,
        broker_name: &str,
        addr: &str,
        version: TableVersion,
    ) -> (bool, Option<TableVersion>) {
        let Some(instance) = self.instance_mut(broker_name, addr) else { return (true, None) };
        let changed = instance.version != version;
        if !changed {
            instance.last_sign_ms = now_ms;
        }
        (changed, Some(instance.version))
    }

    /// A connection ended: the instances that registered over it are removed at once. Gives how
    /// many.
    pub fn connection_closed(&mut self, connection: u64) -> usize {
        self.remove_instances(|_, _, instance| {
            instance.connection == Some(connection) && !instance.own
        })
    }

    /// Removes the instances that gave no sign for longer than they asked for. Gives how many.
    /// Call it every 10 s or oftener; a clock that stands still or goes back removes nothing.
    pub fn expire(&mut self, now_ms: u64) -> usize {
        self.remove_instances(|_, _, instance| {
            !instance.own && now_ms.saturating_sub(instance.last_sign_ms) > instance.timeout_ms
        })
    }
}

/// What administrators change.
impl Naming {
    /// Changes the permission (`brokerPermission`) of our own shards; routes show it at once.
    pub fn set_own_permission(&mut self, permission: u32) {
        for broker in self.brokers.values_mut() {
            if broker.instances.values().any(|instance| instance.own) {
                broker.permission = permission;
            }
        }
    }

    /// WIPE_WRITE_PERM_OF_BROKER: takes the write bit from all of a broker's queues until its
    /// next changed registration. Gives the ext field `wipeTopicCount`.
    pub fn wipe_write_perm(&mut self, broker_name: &str) -> usize {
        self.change_perm(broker_name, |perm| perm & !PERM_WRITE)
    }

    /// ADD_WRITE_PERM_OF_BROKER: sets all of a broker's queues to read and write. Gives the ext
    /// field `addTopicCount`.
    pub fn add_write_perm(&mut self, broker_name: &str) -> usize {
        self.change_perm(broker_name, |_| PERM_READ | PERM_WRITE)
    }

    /// DELETE_TOPIC_IN_NAMESRV: forgets a topic, with `cluster` only on that cluster's brokers.
    /// A broker that still has it brings it back with its next changed registration.
    pub fn delete_topic(&mut self, topic: &str, cluster: Option<&str>) {
        let slots: Vec<u32> = self
            .brokers
            .values()
            .filter(|broker| cluster.is_none_or(|cluster| broker.cluster == cluster))
            .map(|broker| broker.slot)
            .collect();
        self.remove_rows(topic, |row| slots.contains(&row.slot));
    }

    /// REGISTER_TOPIC_IN_NAMESRV: adds a topic on the given brokers. Unknown brokers are passed
    /// over; a broker that already has the topic keeps its row, as in Java.
    pub fn register_topic(&mut self, on: &[(&str, TopicRow<'_>)]) -> Result<(), Refusal> {
        for (broker_name, topic) in on {
            let Some(slot) = self.brokers.get(*broker_name).map(|broker| broker.slot) else {
                continue;
            };
            if self.known(topic.name, Some(slot)).1 {
                continue;
            }
            self.admit_topics(Some(slot), std::slice::from_ref(topic))?;
            self.set_row(slot, topic, u32::MAX);
        }
        Ok(())
    }

    fn change_perm(&mut self, broker_name: &str, change: impl Fn(u32) -> u32) -> usize {
        let Some(slot) = self.brokers.get(broker_name).map(|broker| broker.slot) else { return 0 };
        let mut count = 0;
        for row in self.topics.values_mut().flatten().filter(|row| row.slot == slot) {
            row.perm = change(row.perm);
            count += 1;
        }
        count
    }
}

/// Reading, for the bodies.
impl Naming {
    pub(super) fn brokers(&self) -> impl Iterator<Item = (&str, &Broker)> {
        self.brokers.iter().map(|(name, broker)| (name.as_str(), broker))
    }

    pub(super) fn broker(&self, name: &str) -> Option<&Broker> {
        self.brokers.get(name)
    }

    /// Cluster names, sorted.
    pub(super) fn clusters(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.brokers.values().map(|b| b.cluster.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The brokers that have queues of `topic`, sorted by name.
    pub(super) fn rows_of(&self, topic: &str) -> Vec<(&str, &Broker, &QueueRow)> {
        let rows = self.topics.get(topic).map_or(&[][..], Vec::as_slice);
        let mut found: Vec<_> = rows
            .iter()
            .filter(|row| row.read_queues > 0 || row.write_queues > 0)
            .filter_map(|row| self.broker_of(row).map(|(name, broker)| (name, broker, row)))
            .collect();
        found.sort_unstable_by_key(|(name, ..)| *name);
        found
    }

    /// Names of the topics of which at least one broker's row is wanted, sorted.
    pub(super) fn topic_names(&self, wanted: impl Fn(&Broker, &QueueRow) -> bool) -> Vec<&str> {
        self.topics
            .iter()
            .filter(|(_, rows)| {
                rows.iter()
                    .any(|row| self.broker_of(row).is_some_and(|(_, broker)| wanted(broker, row)))
            })
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// Topics and rows held now.
    pub(super) fn held(&self) -> (usize, usize) {
        (self.topics.len(), self.rows_held)
    }

    /// Whether the topic is known at all, and whether the broker at `slot` has it.
    pub(super) fn known(&self, topic: &str, slot: Option<u32>) -> (bool, bool) {
        let Some(rows) = self.topics.get(topic) else { return (false, false) };
        (true, rows.iter().any(|row| Some(row.slot) == slot))
    }

    fn broker_of(&self, row: &QueueRow) -> Option<(&str, &Broker)> {
        let name = self.slots.get(row.slot as usize)?.as_deref()?;
        Some((name, self.brokers.get(name)?))
    }
}

/// Rows and slots.
impl Naming {
    /// Our own shard, told by ourselves: this name server stands in our own `namesrvAddr` too.
    fn is_own(&self, r: &Registration<'_>) -> bool {
        let known = self.broker(r.broker_name).and_then(|b| b.instances.get(&r.broker_id));
        !r.own && known.is_some_and(|old| old.own && old.addr.identity() == r.addr.identity())
    }

    /// Another address holds the id with a newer `state_version`: the one registering is an old
    /// master that has not noticed yet. Its own entry goes, so that nobody dials it.
    fn outranked(&mut self, r: &Registration<'_>) -> bool {
        let holder = self.broker(r.broker_name).and_then(|b| b.instances.get(&r.broker_id));
        let outranked = !r.own
            && holder.is_some_and(|holder| {
                holder.addr.identity() != r.addr.identity()
                    && holder.version.state_version > r.version.state_version
            });
        if outranked {
            self.remove_instances(|name, id, instance| {
                name == r.broker_name
                    && id != r.broker_id
                    && instance.addr.identity() == r.addr.identity()
                    && !instance.own
            });
        }
        outranked
    }

    /// The slot of the registering broker, which is created when it is new.
    fn slot_for(&mut self, r: &Registration<'_>) -> u32 {
        if let Some(broker) = self.brokers.get(r.broker_name) {
            return broker.slot;
        }
        let free = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        assert!(free < BROKERS_MAX, "more brokers than were admitted");
        if free == self.slots.len() {
            self.slots.push(None);
        }
        self.slots[free] = Some(r.broker_name.to_owned());
        let slot = free as u32;
        let broker = Broker {
            cluster: r.cluster.to_owned(),
            instances: BTreeMap::new(),
            acting_master_enabled: r.acting_master_enabled,
            permission: r.permission,
            slot,
        };
        self.brokers.insert(r.broker_name.to_owned(), broker);
        slot
    }

    fn set_row(&mut self, slot: u32, topic: &TopicRow<'_>, perm_mask: u32) {
        let row = QueueRow {
            slot,
            read_queues: topic.read_queues,
            write_queues: topic.write_queues,
            perm: topic.perm & perm_mask,
            sys_flag: topic.sys_flag,
        };
        let rows = match self.topics.get_mut(topic.name) {
            Some(rows) => rows,
            None => self.topics.entry(topic.name.to_owned()).or_default(),
        };
        match rows.iter_mut().find(|row| row.slot == slot) {
            Some(old) => *old = row,
            None => {
                rows.push(row);
                self.rows_held += 1;
            }
        }
    }

    fn remove_rows(&mut self, topic: &str, gone: impl Fn(&QueueRow) -> bool) {
        let Some(rows) = self.topics.get_mut(topic) else { return };
        let before = rows.len();
        rows.retain(|row| !gone(row));
        self.rows_held -= before - rows.len();
        if rows.is_empty() {
            self.topics.remove(topic);
        }
    }

    fn instance_mut(&mut self, broker_name: &str, addr: &str) -> Option<&mut Instance> {
        let instances = &mut self.brokers.get_mut(broker_name)?.instances;
        instances.values_mut().find(|instance| instance.addr.identity() == addr)
    }

    /// Removes instances, then brokers left without one, then those brokers' rows. A broker that
    /// lost its master to a stand-in loses the write bit: nobody may send to a slave.
    fn remove_instances(&mut self, mut gone: impl FnMut(&str, u64, &Instance) -> bool) -> usize {
        let mut removed = 0;
        let (mut empty, mut headless) = (Vec::new(), Vec::new());
        for (name, broker) in &mut self.brokers {
            let before = broker.instances.len();
            broker.instances.retain(|id, instance| !gone(name, *id, instance));
            if broker.instances.len() == before {
                continue;
            }
            removed += before - broker.instances.len();
            if broker.instances.is_empty() {
                empty.push(name.clone());
            } else if broker.acting_master_enabled && !broker.has_master() {
                headless.push(broker.slot);
            }
        }
        let mut slots = Vec::new();
        for name in empty {
            if let Some(broker) = self.brokers.remove(&name) {
                self.slots[broker.slot as usize] = None;
                slots.push(broker.slot);
            }
        }
        if !slots.is_empty() || !headless.is_empty() {
            self.sweep(&slots, &headless);
        }
        removed
    }

    fn sweep(&mut self, gone: &[u32], headless: &[u32]) {
        let rows_held = &mut self.rows_held;
        self.topics.retain(|_, rows| {
            let before = rows.len();
            rows.retain(|row| !gone.contains(&row.slot));
            *rows_held -= before - rows.len();
            for row in rows.iter_mut().filter(|row| headless.contains(&row.slot)) {
                row.perm &= !PERM_WRITE;
            }
            !rows.is_empty()
        });
    }
}

fn reply_to(broker: &Broker, broker_id: u64) -> RegisterReply {
    match broker.instances.get(&MASTER_ID) {
        Some(master) if broker_id != MASTER_ID => RegisterReply {
            ha_server_addr: master.ha_addr.clone(),
            master_addr: master.addr.identity().to_owned(),
        },
        _ => RegisterReply::default(),
    }
}

//! Who is here: producers and consumers by group, as heartbeats tell.
//!
//! Nothing of it is durable; after a restart the next heartbeats bring it back. A change of a
//! consumer group's members is told to all its members, so that they divide the queues anew.
//! Invariants: a connection is in `connections` while it is a member of any group; every map is
//! bounded by the limits of the broker.

use super::filter::parse_tags;
use super::reject::{Reject, code};
use crate::base::limits::{
    CLIENT_ID_MAX, GROUP_MEMBERS_MAX, GROUP_SUBSCRIPTIONS_MAX, GROUPS_MAX, MEMBER_EXPIRY_MS,
};
use crate::base::map::Map;

/// A connection, as the shard names it; never reused while anything here holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// What the shard is to tell clients after a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send NOTIFY_CONSUMER_IDS_CHANGED (40) with this group to this connection.
    NotifyIdsChanged {
        /// To whom.
        conn: ConnId,
        /// The group that changed.
        group: String,
    },
}

/// How a consumer group shares messages (`messageModel`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MessageModel {
    /// Each message to one member.
    #[default]
    Clustering,
    /// Each message to every member.
    Broadcasting,
}

/// How members fetch (`consumeType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ConsumeType {
    /// CONSUME_ACTIVELY: the application pulls.
    Actively,
    /// CONSUME_PASSIVELY: the client pulls for a listener.
    #[default]
    Passively,
    /// CONSUME_POP.
    Pop,
}

/// Where a group without offset begins (`consumeFromWhere`); the clients decide by it, the broker
/// only shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FromWhere {
    /// At the end.
    #[default]
    Last,
    /// At the beginning.
    First,
    /// At a time.
    Timestamp,
}

/// A subscription as a heartbeat brings it.
#[derive(Clone, Copy, Debug)]
pub struct SubscriptionBeat<'a> {
    /// Topic.
    pub topic: &'a str,
    /// `subString`.
    pub expression: &'a str,
    /// `expressionType`, `None` for tags.
    pub expression_type: Option<&'a str>,
    /// `subVersion`.
    pub sub_version: i64,
}

/// One group of a heartbeat's `consumerDataSet`.
#[derive(Clone, Debug)]
pub struct ConsumerBeat<'a> {
    /// Group.
    pub group: &'a str,
    /// How members fetch.
    pub consume_type: ConsumeType,
    /// How messages are shared.
    pub message_model: MessageModel,
    /// Where it begins.
    pub from_where: FromWhere,
    /// Its subscriptions; ignored when the beat comes `without_sub`.
    pub subscriptions: Vec<SubscriptionBeat<'a>>,
}

/// Who a heartbeat is from.
#[derive(Clone, Copy, Debug)]
pub struct ClientBeat<'a> {
    /// Connection it came over.
    pub conn: ConnId,
    /// `clientID`.
    pub client_id: &'a str,
    /// Language code of the request.
    pub language: u8,
    /// Version of the request.
    pub version: i32,
}

/// A member of a group.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its `clientID`.
    pub client_id: String,
    /// Language code.
    pub language: u8,
    /// Client version.
    pub version: i32,
    /// Monotonic time of its last heartbeat.
    pub last_ms: i64,
}

/// A subscription the broker filters by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The expression as sent.
    pub expression: String,
    /// `TAG`, or what the client sent.
    pub expression_type: String,
    /// `subVersion`.
    pub sub_version: i64,
    /// Everything matches.
    pub all: bool,
    /// Tag hashes of the expression.
    pub codes: Vec<i64>,
    /// Monotonic time it was last part of a heartbeat.
    pub last_ms: i64,
}

/// A consumer group that is here.
#[derive(Clone, Debug, Default)]
pub struct ConsumerGroup {
    /// How members fetch.
    pub consume_type: ConsumeType,
    /// How messages are shared.
    pub message_model: MessageModel,
    /// Where it begins.
    pub from_where: FromWhere,
    /// Members by connection.
    pub members: Map<ConnId, Member>,
    /// Subscriptions by topic.
    pub subscriptions: Map<String, Subscription>,
    /// Members are told of changes (`notifyConsumerIdsChangedEnable`), as of the last heartbeat.
    notify: bool,
}

impl ConsumerGroup {
    /// Ids of its members, sorted, each once: the body of GET_CONSUMER_LIST_BY_GROUP.
    pub fn client_ids(&self) -> Vec<&str> {
        let mut ids: Vec<&str> = self.members.values().map(|m| m.client_id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

/// Everyone who is here.
#[derive(Debug, Default)]
pub struct Membership {
    consumers: Map<String, ConsumerGroup>,
    producers: Map<String, Map<ConnId, Member>>,
    connections: Map<ConnId, Vec<(Role, String)>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Consumer,
    Producer,
}

impl Membership {
    /// A consumer group with at least one member.
    pub fn consumer(&self, group: &str) -> Option<&ConsumerGroup> {
        self.consumers.get(group)
    }

    /// Producers of a group, by connection.
    pub fn producers(&self, group: &str) -> Option<&Map<ConnId, Member>> {
        self.producers.get(group)
    }

    /// Names of consumer groups that are here, sorted.
    pub fn consumer_groups(&self) -> Vec<&str> {
        let mut groups: Vec<&str> = self.consumers.keys().map(String::as_str).collect();
        groups.sort_unstable();
        groups
    }

    /// Names of producer groups that are here, sorted.
    pub fn producer_groups(&self) -> Vec<&str> {
        let mut groups: Vec<&str> = self.producers.keys().map(String::as_str).collect();
        groups.sort_unstable();
        groups
    }

    /// The connection of a client id, among producers and consumers.
    pub fn find_client(&self, client_id: &str) -> Option<ConnId> {
        let consumers = self.consumers.values().map(|group| &group.members);
        let members = self.producers.values().chain(consumers).flatten();
        members.filter(|(_, member)| member.client_id == client_id).map(|(conn, _)| *conn).min()
    }

    /// Takes one producer group of a heartbeat.
    pub fn beat_producer(
        &mut self,
        now_ms: i64,
        client: &ClientBeat<'_>,
        group: &str,
    ) -> Result<(), Reject> {
        check_client(client.client_id)?;
        if !self.producers.contains_key(group) {
            if self.producers.len() >= GROUPS_MAX {
                return Err(full("producer groups", GROUPS_MAX));
            }
            self.producers.insert(group.to_owned(), Map::default());
        }
        let Some(members) = self.producers.get_mut(group) else { return Ok(()) };
        if join(members, now_ms, client)? {
            self.connections
                .entry(client.conn)
                .or_default()
                .push((Role::Producer, group.to_owned()));
        }
        Ok(())
    }

    /// Takes one consumer group of a heartbeat. With `subscriptions` false (a beat that says
    /// `withoutSub`) the stored ones are kept. Appends whom to notify, when `notify` and the group
    /// changed.
    pub fn beat_consumer(
        &mut self,
        now_ms: i64,
        client: &ClientBeat<'_>,
        beat: &ConsumerBeat<'_>,
        how: BeatMode,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Reject> {
        check_client(client.client_id)?;
        if beat.subscriptions.len() > GROUP_SUBSCRIPTIONS_MAX {
            return Err(full("subscriptions of one group", GROUP_SUBSCRIPTIONS_MAX));
        }
        if !self.consumers.contains_key(beat.group) {
            if self.consumers.len() >= GROUPS_MAX {
                return Err(full("consumer groups", GROUPS_MAX));
            }
            self.consumers.insert(beat.group.to_owned(), ConsumerGroup::default());
        }
        let Some(group) = self.consumers.get_mut(beat.group) else { return Ok(()) };
        group.consume_type = beat.consume_type;
        group.message_model = beat.message_model;
        group.from_where = beat.from_where;
        group.notify = how.notify;
        let joined = join(&mut group.members, now_ms, client)?;
        if joined {
            let name = (Role::Consumer, beat.group.to_owned());
            self.connections.entry(client.conn).or_default().push(name);
        }
        let subscribed = how.with_subscriptions && subscribe(group, now_ms, beat);
        if how.notify && (joined || subscribed) {
            notify(group, beat.group, effects);
        }
        Ok(())
    }

    /// UNREGISTER_CLIENT: the connection leaves the named groups. `notify`: whether the consumer
    /// group wants its members told.
    pub fn unregister(
        &mut self,
        conn: ConnId,
        producer_group: Option<&str>,
        consumer_group: Option<&str>,
        notify: bool,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(group) = producer_group {
            self.leave(conn, Role::Producer, group, effects);
        }
        if let Some(group) = consumer_group {
            if let Some(own) = self.consumers.get_mut(group) {
                own.notify = notify;
            }
            self.leave(conn, Role::Consumer, group, effects);
        }
    }

    /// The connection is closed: it leaves every group.
    pub fn closed(&mut self, conn: ConnId, effects: &mut Vec<Effect>) {
        for (role, group) in self.connections.get(&conn).cloned().unwrap_or_default() {
            self.leave(conn, role, &group, effects);
        }
    }

    /// Forgets members without a heartbeat for 120 s. `now_ms` as given to the heartbeats.
    pub fn expire(&mut self, now_ms: i64, effects: &mut Vec<Effect>) {
        let limit_ms = i64::try_from(MEMBER_EXPIRY_MS).unwrap_or(i64::MAX);
        let old = |member: &Member| now_ms.saturating_sub(member.last_ms) > limit_ms;
        let mut gone: Vec<(ConnId, Role, String)> = Vec::new();
        let mut note = |role: Role, name: &String, members: &Map<ConnId, Member>| {
            let expired = members.iter().filter(|(_, member)| old(member));
            gone.extend(expired.map(|(conn, _)| (*conn, role, name.clone())));
        };
        for (name, group) in &self.consumers {
            note(Role::Consumer, name, &group.members);
        }
        for (name, members) in &self.producers {
            note(Role::Producer, name, members);
        }
        gone.sort_unstable_by(|a, b| (a.0, &a.2).cmp(&(b.0, &b.2)));
        for (conn, role, group) in gone {
            self.leave(conn, role, &group, effects);
        }
    }

    fn leave(&mut self, conn: ConnId, role: Role, group: &str, effects: &mut Vec<Effect>) {
        if let Some(groups) = self.connections.get_mut(&conn) {
            groups.retain(|(own, name)| *own != role || name != group);
            if groups.is_empty() {
                self.connections.remove(&conn);
            }
        }
        match role {
            Role::Producer => {
                if let Some(members) = self.producers.get_mut(group) {
                    members.remove(&conn);
                    if members.is_empty() {
                        self.producers.remove(group);
                    }
                }
            }
            Role::Consumer => {
                let Some(own) = self.consumers.get_mut(group) else { return };
                let left = own.members.remove(&conn).is_some();
                if own.members.is_empty() {
                    self.consumers.remove(group);
                } else if left && own.notify {
                    notify(own, group, effects);
                }
            }
        }
    }
}

/// How a consumer's heartbeat is taken.
#[derive(Clone, Copy, Debug)]
pub struct BeatMode {
    /// False for a beat that says `withoutSub`.
    pub with_subscriptions: bool,
    /// Whether the group wants its members told of changes.
    pub notify: bool,
}

/// Adds or refreshes a member; true when it is new or its client id changed.
fn join(
    members: &mut Map<ConnId, Member>,
    now_ms: i64,
    client: &ClientBeat<'_>,
) -> Result<bool, Reject> {
    if let Some(member) = members.get_mut(&client.conn) {
        member.last_ms = now_ms;
        if member.client_id != client.client_id {
            member.client_id = client.client_id.to_owned();
        }
        return Ok(false);
    }
    if members.len() >= GROUP_MEMBERS_MAX {
        return Err(full("members of one group", GROUP_MEMBERS_MAX));
    }
    let member = Member {
        client_id: client.client_id.to_owned(),
        language: client.language,
        version: client.version,
        last_ms: now_ms,
    };
    members.insert(client.conn, member);
    Ok(true)
}

/// Makes the group's subscriptions those of the beat; true when a topic came or went. An older
/// `subVersion` than the stored one does not replace it, as in RocketMQ.
fn subscribe(group: &mut ConsumerGroup, now_ms: i64, beat: &ConsumerBeat<'_>) -> bool {
    let mut changed = false;
    for sub in &beat.subscriptions {
        match group.subscriptions.get_mut(sub.topic) {
            Some(own) if own.sub_version >= sub.sub_version => own.last_ms = now_ms,
            Some(own) => *own = subscription(now_ms, sub),
            None => {
                group.subscriptions.insert(sub.topic.to_owned(), subscription(now_ms, sub));
                changed = true;
            }
        }
    }
    let before = group.subscriptions.len();
    group.subscriptions.retain(|topic, _| beat.subscriptions.iter().any(|sub| sub.topic == topic));
    changed || group.subscriptions.len() != before
}

fn subscription(now_ms: i64, sub: &SubscriptionBeat<'_>) -> Subscription {
    let mut codes = Vec::new();
    // A tag expression that cannot be parsed matches nothing until the client mends it.
    let all = parse_tags(sub.expression, &mut codes).unwrap_or(false);
    Subscription {
        expression: sub.expression.to_owned(),
        expression_type: sub.expression_type.unwrap_or("TAG").to_owned(),
        sub_version: sub.sub_version,
        all,
        codes,
        last_ms: now_ms,
    }
}

fn notify(group: &ConsumerGroup, name: &str, effects: &mut Vec<Effect>) {
    let mut conns: Vec<ConnId> = group.members.keys().copied().collect();
    conns.sort_unstable();
    effects.extend(
        conns.into_iter().map(|conn| Effect::NotifyIdsChanged { conn, group: name.to_owned() }),
    );
}

fn check_client(client_id: &str) -> Result<(), Reject> {
    if (1..=CLIENT_ID_MAX).contains(&client_id.len()) {
        return Ok(());
    }
    Err(Reject::new(
        code::SYSTEM_ERROR,
        format!(
            "the clientID of the heartbeat has {} bytes, allowed are 1 to {CLIENT_ID_MAX}; set a \
             shorter instance name",
            client_id.len()
        ),
    ))
}

fn full(what: &str, limit: usize) -> Reject {
    Reject::new(
        code::SYSTEM_BUSY,
        format!(
            "[OVERLOAD]system busy, start flow control for a while: {limit} {what} are here, \
             which is the limit; close unused clients"
        ),
    )
}

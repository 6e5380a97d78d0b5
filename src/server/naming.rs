//! The name server's desk on the first shard: the route table, and how it hears of our shards.
//!
//! Our own shards tell it of their topics by letter and never expire; brokers from outside
//! register over the wire and live as long as they give signs. The table itself is `naming`, a
//! pure state machine.

use crate::base::limits::EXPIRY_SCAN_MS;
use crate::base::map::{Map, Set};
use crate::broker::TopicConfig;
use crate::config::Config;
use crate::naming::{Advertised, Naming, Registration, Subnet, TableVersion, TopicRow};

use super::connection::ConnId;
use super::turn::Server;

/// One of our own shards, as the route names it.
#[derive(Clone, Debug)]
pub struct OwnShard {
    /// Its broker name.
    pub broker_name: String,
    /// Its port.
    pub port: u16,
    /// 0 for a primary, 1 for a standby.
    pub broker_id: u64,
}

/// The name server of this box.
#[derive(Debug)]
pub struct NamingDesk {
    pub(super) table: Naming,
    /// Body being written; kept for its capacity.
    pub(super) body: Vec<u8>,
    next_scan_ns: u64,
    /// The names of our own shards, and of those that are standbys.
    own: Vec<String>,
    standbys: Set<String>,
    /// Topics that the route shows.
    shown: Set<String>,
    /// New topics that not every shard has told of yet.
    gathering: Map<String, Gathering>,
}

/// A new topic, shard by shard.
#[derive(Debug)]
struct Gathering {
    since_ns: u64,
    told: Vec<(String, TopicConfig)>,
}

/// A topic that one shard never tells of (it was lost there in a crash) is shown after this.
const GATHER_NS: u64 = 1_000_000_000;

impl NamingDesk {
    /// A name server that knows our own shards, at `address` or where the client's subnet says.
    pub fn new(config: &Config, address: &str, own: &[OwnShard]) -> NamingDesk {
        let mut table = Naming::new();
        for shard in own {
            let mut addr = Advertised::everywhere(&format!("{address}:{}", shard.port));
            for (subnet, host) in &config.broker_ip_by_subnet {
                if let Some(subnet) = Subnet::parse(subnet) {
                    addr.from_subnet(subnet, &format!("{host}:{}", shard.port));
                }
            }
            let registered = table.register(
                0,
                &Registration {
                    cluster: &config.broker_cluster_name,
                    broker_name: &shard.broker_name,
                    broker_id: shard.broker_id,
                    addr,
                    ha_addr: "",
                    topics: &[],
                    version: TableVersion::default(),
                    connection: None,
                    timeout_ms: None,
                    permission: config.broker_permission,
                    acting_master_enabled: false,
                    own: true,
                },
            );
            assert!(registered.is_ok(), "our own names were checked with the configuration");
        }
        NamingDesk {
            table,
            body: Vec::new(),
            next_scan_ns: 0,
            own: own.iter().map(|shard| shard.broker_name.clone()).collect(),
            standbys: own
                .iter()
                .filter(|shard| shard.broker_id != 0)
                .map(|shard| shard.broker_name.clone())
                .collect(),
            shown: Set::default(),
            gathering: Map::default(),
        }
    }

    /// Goes by another `brokerPermission` for our own shards.
    pub(super) fn set_permission(&mut self, permission: u32) {
        self.table.set_own_permission(permission);
    }

    /// Goes by the role of one of our own shards, and by the pair's other half: its id and client
    /// address while it is connected.
    pub(super) fn set_role(
        &mut self,
        broker_name: &str,
        broker_id: u64,
        neighbour: Option<&(u64, String)>,
    ) {
        self.table.set_own_id(broker_name, broker_id);
        if broker_id == 0 {
            self.standbys.remove(broker_name);
        } else if !self.standbys.contains(broker_name) {
            self.standbys.insert(broker_name.to_owned());
        }
        let neighbour = neighbour.map(|(id, addr)| (*id, addr.as_str()));
        self.table.set_neighbour(broker_name, neighbour);
    }

    /// Takes in what a shard says of its topics. A new topic is shown when every shard has told of
    /// it: a client that saw half of its queues would keep that half until its next poll.
    pub(super) fn routes(
        &mut self,
        now_ns: u64,
        broker_name: &str,
        changed: &[TopicConfig],
        removed: &[String],
    ) -> Result<(), String> {
        for topic in removed {
            self.shown.remove(topic);
            self.gathering.remove(topic);
        }
        let removed: Vec<&str> = removed.iter().map(String::as_str).collect();
        self.table.topics_changed(broker_name, &[], &removed).map_err(|refusal| refusal.remark)?;
        for topic in changed {
            if self.shown.contains(&topic.name) {
                self.show(broker_name, topic)?;
                continue;
            }
            let gathering = self
                .gathering
                .entry(topic.name.clone())
                .or_insert_with(|| Gathering { since_ns: now_ns, told: Vec::new() });
            gathering.told.retain(|(name, _)| name != broker_name);
            gathering.told.push((broker_name.to_owned(), topic.clone()));
            // A standby of another box's primary has a topic when that box tells it.
            let primaries = self.own.len() - self.standbys.len();
            let wanted = if primaries == 0 { self.own.len() } else { primaries };
            if gathering.told.len() >= wanted {
                self.show_gathered(&topic.name)?;
            }
        }
        Ok(())
    }

    /// Somebody asks for the route of a topic. A new one that not every shard has told of yet is
    /// shown as if all had: a change is in the mailboxes of the other shards before the one that
    /// made it tells, so none of them can hear of the topic from a client first. Whoever sent the
    /// message that made it may ask the moment it is answered.
    pub(super) fn asked(&mut self, topic: &str) -> Result<(), String> {
        let Some(gathering) = self.gathering.get_mut(topic) else { return Ok(()) };
        let Some((_, config)) = gathering.told.first().cloned() else { return Ok(()) };
        for name in self.own.iter().filter(|name| !self.standbys.contains(*name)) {
            if gathering.told.iter().all(|(told, _)| told != name) {
                gathering.told.push((name.clone(), config.clone()));
            }
        }
        self.show_gathered(topic)
    }

    /// Shows what waited too long for a shard that does not tell.
    fn show_late(&mut self, now_ns: u64) -> Result<(), String> {
        let late = |(name, gathering): (&String, &Gathering)| {
            (now_ns.saturating_sub(gathering.since_ns) > GATHER_NS).then(|| name.clone())
        };
        let names: Vec<String> = self.gathering.iter().filter_map(late).collect();
        names.iter().try_for_each(|name| self.show_gathered(name))
    }

    fn show_gathered(&mut self, topic: &str) -> Result<(), String> {
        let Some(gathering) = self.gathering.remove(topic) else { return Ok(()) };
        self.shown.insert(topic.to_owned());
        gathering.told.iter().try_for_each(|(broker_name, topic)| self.show(broker_name, topic))
    }

    fn show(&mut self, broker_name: &str, topic: &TopicConfig) -> Result<(), String> {
        let row = TopicRow {
            name: &topic.name,
            read_queues: topic.read_queues,
            write_queues: topic.write_queues,
            perm: topic.perm,
            sys_flag: topic.sys_flag,
        };
        self.table.topics_changed(broker_name, &[row], &[]).map_err(|refusal| refusal.remark)
    }
}

impl Server {
    /// Forgets brokers that gave no sign.
    pub(super) fn tick_naming(&mut self) {
        let now_ns = self.now_ns;
        let Some(desk) = self.naming.as_mut() else { return };
        if let Err(why) = desk.show_late(now_ns) {
            self.shard.voice.say("route-refused", &format_args!("{why}"));
        }
        if now_ns < desk.next_scan_ns {
            return;
        }
        desk.next_scan_ns = now_ns + EXPIRY_SCAN_MS * 1_000_000;
        let gone = desk.table.expire(now_ns / 1_000_000);
        if gone > 0 {
            self.shard.voice.say("broker-expired", &format_args!("{gone} registered broker(s)"));
        }
    }

    /// A name server connection is gone, and the brokers that registered over it.
    pub(super) fn naming_connection_closed(&mut self, id: ConnId) {
        if let Some(desk) = self.naming.as_mut() {
            desk.table.connection_closed(id.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Origin;
    use crate::naming::Dialect;

    fn desk() -> NamingDesk {
        let own = [0, 1].map(|shard| OwnShard {
            broker_name: format!("box-{shard}"),
            port: 10_911 + 10 * shard,
            broker_id: 0,
        });
        NamingDesk::new(&Config::default(), "127.0.0.1", &own)
    }

    fn brokers(desk: &NamingDesk, topic: &str) -> usize {
        let mut body = Vec::new();
        match desk.table.route(topic, Dialect::Standard, None, &mut body) {
            Ok(()) => String::from_utf8_lossy(&body).matches("\"brokerAddrs\"").count(),
            Err(_) => 0,
        }
    }

    #[test]
    fn a_new_topic_is_shown_when_every_shard_has_told_of_it_and_not_half() {
        let mut desk = desk();
        let topic = [TopicConfig::new("orders", 2, Origin::Auto)];
        desk.routes(0, "box-1", &topic, &[]).unwrap();
        assert_eq!(brokers(&desk, "orders"), 0, "one of two shards has told");
        desk.routes(5, "box-0", &topic, &[]).unwrap();
        assert_eq!(brokers(&desk, "orders"), 2);
        desk.routes(9, "box-0", &[], &["orders".to_owned()]).unwrap();
        desk.routes(9, "box-1", &[], &["orders".to_owned()]).unwrap();
        assert_eq!(brokers(&desk, "orders"), 0, "deleted");
        desk.routes(10, "box-0", &topic, &[]).unwrap();
        assert_eq!(brokers(&desk, "orders"), 0, "its next life gathers anew");
        desk.asked("other").unwrap();
        desk.asked("orders").unwrap();
        assert_eq!(brokers(&desk, "orders"), 2, "whoever asks sees it, and all of it");
    }

    #[test]
    fn the_other_half_of_a_pair_is_shown_while_it_is_connected_whichever_the_roles() {
        let mut desk = desk();
        let topic = [TopicConfig::new("orders", 2, Origin::Auto)];
        desk.routes(0, "box-0", &topic, &[]).unwrap();
        desk.routes(0, "box-1", &topic, &[]).unwrap();
        let addrs = |desk: &NamingDesk| {
            let mut body = Vec::new();
            desk.table.route("orders", Dialect::Standard, None, &mut body).unwrap();
            let text = String::from_utf8_lossy(&body).into_owned();
            let rows = text.split("\"brokerAddrs\":{").skip(1);
            rows.map(|row| row.split('}').next().unwrap_or("").to_owned()).collect::<Vec<_>>()
        };
        let (own, other) = ("127.0.0.1:10911", "10.0.0.2:10911");
        desk.set_role("box-0", 0, Some(&(1, other.to_owned())));
        let found = addrs(&desk);
        assert!(found[0].contains(own) && found[0].contains(other), "{found:?}");
        assert!(!found[1].contains(other), "{found:?}");
        // The roles change hands: never two under one id, and our own stays.
        desk.set_role("box-0", 1, Some(&(0, other.to_owned())));
        let found = addrs(&desk);
        let place = |addr: &str| found[0].find(addr).unwrap();
        assert!(place(other) < place(own), "{found:?}");
        desk.set_role("box-0", 1, None);
        let found = addrs(&desk);
        assert!(found[0].contains(own) && !found[0].contains(other), "{found:?}");
        desk.set_role("box-0", 1, Some(&(1, other.to_owned())));
        assert_eq!(addrs(&desk), found, "our own id is not given away");
    }

    #[test]
    fn a_standby_of_another_boxs_primary_is_not_waited_for() {
        let mut desk = desk();
        let topic = [TopicConfig::new("orders", 2, Origin::Auto)];
        desk.set_role("box-1", 1, None);
        desk.routes(0, "box-0", &topic, &[]).unwrap();
        assert_eq!(brokers(&desk, "orders"), 1, "the only primary of this box has told");
        desk.routes(5, "box-1", &topic, &[]).unwrap();
        assert_eq!(brokers(&desk, "orders"), 2, "its primary's log brought it here");
        // Without any primary all are waited for.
        desk.set_role("box-0", 1, None);
        let other = [TopicConfig::new("other", 2, Origin::Auto)];
        desk.routes(6, "box-1", &other, &[]).unwrap();
        assert_eq!(brokers(&desk, "other"), 0);
        desk.routes(7, "box-0", &other, &[]).unwrap();
        assert_eq!(brokers(&desk, "other"), 2);
    }

    #[test]
    fn a_topic_that_one_shard_lost_is_shown_after_a_second() {
        let mut desk = desk();
        desk.routes(0, "box-0", &[TopicConfig::new("half", 2, Origin::Auto)], &[]).unwrap();
        desk.show_late(GATHER_NS).unwrap();
        assert_eq!(brokers(&desk, "half"), 0);
        desk.show_late(GATHER_NS + 1).unwrap();
        assert_eq!(brokers(&desk, "half"), 1);
    }
}

//! The name server's desk on the first shard: the route table, and how it hears of our shards.
//!
//! Our own shards tell it of their topics by letter and never expire; brokers from outside
//! register over the wire and live as long as they give signs. The table itself is `naming`, a
//! pure state machine.

use crate::base::limits::EXPIRY_SCAN_MS;
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
}

/// The name server of this box.
#[derive(Debug)]
pub struct NamingDesk {
    pub(super) table: Naming,
    /// Body being written; kept for its capacity.
    pub(super) body: Vec<u8>,
    next_scan_ns: u64,
}

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
                    broker_id: 0,
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
        NamingDesk { table, body: Vec::new(), next_scan_ns: 0 }
    }

    /// Takes in what a shard says of its topics.
    pub(super) fn routes(
        &mut self,
        broker_name: &str,
        changed: &[TopicConfig],
        removed: &[String],
    ) -> Result<(), String> {
        let rows: Vec<TopicRow<'_>> = changed
            .iter()
            .map(|topic| TopicRow {
                name: &topic.name,
                read_queues: topic.read_queues,
                write_queues: topic.write_queues,
                perm: topic.perm,
                sys_flag: topic.sys_flag,
            })
            .collect();
        let removed: Vec<&str> = removed.iter().map(String::as_str).collect();
        self.table.topics_changed(broker_name, &rows, &removed).map_err(|refusal| refusal.remark)
    }
}

impl Server {
    /// Forgets brokers that gave no sign.
    pub(super) fn tick_naming(&mut self) {
        let now_ns = self.now_ns;
        let Some(desk) = self.naming.as_mut() else { return };
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

//! The bed of a pair: two machines in one world, a shard on each, and what a client asks of one.
//!
//! A node is a shard, its driver and the loop that a server would give it, without a server: sends
//! and pulls go straight to the shard. The tests of the pair and the failover schedules use it; who
//! dies, what is cut and what must hold is theirs. A start that fails ends the caller, unless it
//! asks by [`Node::try_open`]. Never: a choice of its own; everything comes from the world's seed.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use weir::broker::{BrokerOptions, ConnId, PullPlan, PullRequest, ReplyTo, SendRequest};
use weir::commitlog::LogOptions;
use weir::replica::{ReplicaOptions, Report, Role};
use weir::shard::{Answer, Fetch, OpenFault, Ready, Shard, ShardOptions, Taken, Tuning, Waiter};
use weir_io::sim::World;
use weir_io::{Driver, Event};
use weir_wire::frame::Codec;
use weir_wire::header::Text;
use weir_wire::message::Record;

/// Where the shard lives on each machine.
pub const DIR: &str = "/data/shard-0";
/// Replication port of the first primary.
pub const HA_A: u16 = 10_912;
/// Replication port of the first standby.
pub const HA_B: u16 = 20_912;
/// Most replies of one [`Node::drain`]: more is a queue without an end.
const PULLS_MAX: u32 = 100_000;

/// Turns of [`until`]: more is a wait without an end.
const TURNS_MAX: u32 = 30_000;

/// Turns of all, and moments between them, until something holds; that it never does ends the
/// caller.
pub fn until(nodes: &mut [&mut Node], mut holds: impl FnMut(&mut [&mut Node]) -> bool) {
    let held = (0..TURNS_MAX).any(|_| {
        nodes.iter_mut().for_each(|node| node.turn());
        let held = holds(nodes);
        if !held {
            nodes[0].world.advance();
        }
        held
    });
    let reports = || nodes.iter().map(|node| node.report()).collect::<Vec<Report>>();
    assert!(held, "it never came: {:?}", reports());
}

/// What the configuration would say of a node: a `SYNC_MASTER` pair that refuses. `seed` stands for
/// the random bytes of its start.
pub fn replica(role: Role, seed: u8) -> ReplicaOptions {
    let port = |role| if role == Role::Primary { HA_A } else { HA_B };
    ReplicaOptions {
        cluster: "C".into(),
        broker: "pair-0".into(),
        shard: 0,
        shards: 1,
        role,
        primary: (role == Role::Standby).then(|| SocketAddr::from(([127, 0, 0, 1], HA_A))),
        ha_port: port(role),
        client: format!("127.0.0.1:{}", port(role) - 1),
        secret: b"sixteen letters!".to_vec(),
        seed: [seed; 32],
        boot: 1,
        sync: true,
        refuse: true,
        ack_durable: false,
        slave_timeout_ms: 1000,
        max_gap_bytes: 64 * 1024 * 1024,
        catch_up_bytes: 1024 * 1024 * 1024,
        scrub_bytes: 0,
        reads: true,
    }
}

/// A shard with small segments, so that a test rolls some. With `TELL` in the environment it says
/// its lines.
pub fn options(replica: ReplicaOptions) -> ShardOptions {
    ShardOptions {
        dir: PathBuf::from(DIR),
        log: LogOptions {
            dir: Path::new(DIR).join("log"),
            shard: 0,
            shards: 1,
            new_log_id: u64::from(replica.seed[0]),
            segment_bytes: 2 * 1024 * 1024,
            staging_name: "weir-replica-test".to_owned(),
            staging_bytes: 1024 * 1024,
            sync_flush: false,
            flush_interval_ms: 10,
            prepare_ahead: 256 * 1024,
            lock_patience_ms: 5000,
            serve_around: false,
        },
        broker: BrokerOptions { young_bytes: 1 << 30, ..BrokerOptions::default() },
        index_memory_bytes: 4 * 1024 * 1024,
        planned_directories: usize::MAX,
        tuning: Tuning { flush_interval_ms: 10, ..Tuning::default() },
        replica: Some(replica),
        quiet: std::env::var_os("TELL").is_none(),
    }
}

/// One machine of the pair, with a process on it.
pub struct Node {
    /// The world, seen from its machine.
    pub world: World,
    /// What its process was started with.
    pub options: ShardOptions,
    /// Its driver.
    pub driver: Driver,
    /// Its shard.
    pub shard: Shard,
    /// Longest nap of a turn, nanoseconds.
    pub nap_ns: u64,
    events: Vec<Event>,
    ready: Vec<Ready>,
}

impl Node {
    /// Starts a process on the machine of `world`, which must be able to.
    pub fn open(world: &World, options: ShardOptions) -> Node {
        Node::try_open(world, options).expect("a shard that can be opened")
    }

    /// Starts a process on the machine of `world`.
    pub fn try_open(world: &World, options: ShardOptions) -> Result<Node, OpenFault> {
        let failed = |errno| OpenFault::Failed(format!("no listener: {errno}"));
        let mut driver = world.driver();
        let (mut shard, _) = Shard::open(&mut driver, options.clone())?;
        let port = options.replica.as_ref().map_or(0, |replica| replica.ha_port);
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let (listener, _) = driver.listen(addr, Duration::from_secs(5)).map_err(failed)?;
        shard.serve_peers(&mut driver, listener);
        let (events, ready) = (Vec::new(), Vec::new());
        let world = world.clone();
        Ok(Node { world, options, driver, shard, nap_ns: 1_000_000, events, ready })
    }

    /// Dies as by `kill -9` and starts again, after `change` of what it is started with.
    pub fn restart(self, change: impl FnOnce(&mut ShardOptions)) -> Node {
        let Node { world, mut options, driver, shard, .. } = self;
        world.kill();
        drop((driver, shard));
        change(&mut options);
        Node::open(&world, options)
    }

    /// Opens the shard anew when its role or its end has changed, as the node's loop does.
    pub fn reopen(self) -> Node {
        assert!(self.shard.wants_restart());
        self.try_reopen().expect("a shard that can be opened anew")
    }

    /// Closes the shard and opens it anew.
    pub fn try_reopen(mut self) -> Result<Node, OpenFault> {
        let closed = self.shard.close(&mut self.driver);
        closed.map_err(|errno| OpenFault::Failed(format!("cannot be closed: {errno}")))?;
        let Node { world, options, driver, shard, nap_ns, .. } = self;
        drop((driver, shard));
        let node = Node::try_open(&world, options)?;
        Ok(Node { nap_ns, ..node })
    }

    /// One turn of the server's loop.
    pub fn turn(&mut self) {
        let mut deadline_ns = self.driver.now_ns() + self.nap_ns;
        if let Some(next_ns) = self.shard.next_deadline_ns() {
            deadline_ns = deadline_ns.min(next_ns);
        }
        if self.driver.wait(deadline_ns, &mut self.events).is_err() {
            // Its process died: it does nothing any more.
            return self.ready.clear();
        }
        self.shard.begin_turn(self.driver.now_ns(), self.driver.wall_ms());
        for event in std::mem::take(&mut self.events) {
            match event.token().map_or(0, |token| token.0 >> 56) as u8 {
                weir::commitlog::TOKEN_ROOM => self.shard.on_log_event(&mut self.driver, event),
                weir::replica::TOKEN_ROOM => self.shard.on_replica_event(&mut self.driver, event),
                _ => self.shard.on_file_event(&mut self.driver, event),
            }
        }
        self.shard.tick(&mut self.driver);
        self.shard.end_turn(&mut self.driver);
        self.shard.collect_ready(&mut self.ready);
    }

    /// How its half of the pair is.
    pub fn report(&self) -> Report {
        self.shard.replica_report().unwrap_or_default()
    }

    /// Hands a message over; the refusal's code and remark.
    pub fn offer(&mut self, opaque: i32, body: &[u8]) -> Result<Taken, (i32, String)> {
        let waiter = Waiter {
            connection: 1,
            opaque,
            codec: Codec::Json,
            oneway: false,
            born_ns: self.driver.now_ns(),
        };
        let request = SendRequest {
            topic: "t",
            default_topic: Text::plain("TBW102"),
            default_topic_queue_nums: 4,
            queue_id: opaque % 2,
            sys_flag: 0,
            born_ms: 1,
            flag: 0,
            properties: b"TAGS\x01a\x02UNIQ_KEY\x01k\x02",
            reconsume_times: 0,
            max_reconsume_times: None,
            unit_mode: false,
            batch: false,
            body,
            client_version: 493,
            peer: SocketAddr::from(([127, 0, 0, 1], 50_000)),
        };
        let sent = self.shard.send(&mut self.driver, &request, waiter);
        sent.map_err(|reject| (reject.code, reject.remark.into_owned()))
    }

    /// The answer to a message, when it has come.
    pub fn answer(&mut self, opaque: i32) -> Option<Answer> {
        let at = self.ready.iter().position(|ready| ready.waiter.opaque == opaque)?;
        Some(self.ready.swap_remove(at).answer)
    }

    /// All answers that have come: each with its `opaque`.
    pub fn answers(&mut self) -> Vec<(i32, Answer)> {
        self.ready.drain(..).map(|ready| (ready.waiter.opaque, ready.answer)).collect()
    }

    /// One pull of a queue from `offset` on. `None`: the blocks are being read, ask again. `Err`:
    /// nothing is there; the code of the reply.
    pub fn pull(&mut self, queue_id: i32, offset: i64) -> Option<Result<Pulled, i32>> {
        let request = PullRequest {
            group: "g",
            topic: "t",
            queue_id,
            queue_offset: offset,
            max_messages: 32,
            max_bytes: None,
            sys_flag: 4,
            commit_offset: 0,
            suspend_ms: 0,
            subscription: Some("*"),
            sub_version: 0,
            expression_type: None,
            lite: false,
            first_pass: true,
        };
        let reply_to = ReplyTo { conn: ConnId(1), opaque: 0, tag: 0, asked_ns: 0 };
        let mut plan = PullPlan::default();
        match self.shard.pull(&mut self.driver, &request, reply_to, &mut plan) {
            Fetch::Reply(reply) if [0, 20, 21].contains(&reply.code) => {
                let extents = if reply.code == 0 { plan.extents } else { Vec::new() };
                let bodies = extents.into_iter().map(|(position, size)| {
                    let bytes = self.shard.record(position, size as usize);
                    let record = bytes.and_then(|bytes| Record::parse(bytes).ok());
                    let record = record.expect("what a plan names is in memory");
                    let at = (record.position() as u64, record.queue_offset() as u64);
                    (at, record.body().to_vec())
                });
                let (next, suggest) = (reply.next as i64, reply.suggest);
                Some(Ok(Pulled { next, suggest, bodies: bodies.collect() }))
            }
            Fetch::Reply(reply) => Some(Err(reply.code)),
            _ => None,
        }
    }

    /// All bodies of a queue that are visible, from its minimum on.
    pub fn drain(&mut self, queue_id: i32) -> Vec<Vec<u8>> {
        let mut offset = self.shard.broker.min_offset("t", queue_id).unwrap_or(0) as i64;
        let (mut all, mut pulls) = (Vec::new(), 0);
        loop {
            pulls += 1;
            assert!(pulls < PULLS_MAX, "the queue has no end");
            match self.pull(queue_id, offset) {
                Some(Ok(pulled)) => {
                    offset = pulled.next;
                    all.extend(pulled.bodies.into_iter().map(|(_, body)| body));
                }
                Some(Err(_)) => return all,
                None => {
                    self.turn();
                    self.world.advance();
                }
            }
        }
    }
}

/// What a pull gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pulled {
    /// Offset to go on from.
    pub next: i64,
    /// Broker id to go on at.
    pub suggest: u64,
    /// Positions and queue offsets, and bodies.
    pub bodies: Vec<((u64, u64), Vec<u8>)>,
}

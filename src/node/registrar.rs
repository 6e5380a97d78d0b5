//! Name servers outside this process: they are told of every shard, every 30 s and at once when a
//! topic or a role changes, and told again that they are gone when the process ends.
//!
//! One thread asks the shards for their tables when one has changed; each name server has a thread
//! of its own ([`super::name_server`]), so that one that does not answer, or whose name nobody
//! resolves, holds up neither a shard nor another name server.
//! Invariants: at most one question waits at a shard; of the tables only the newest is kept; two
//! tables that differ have different versions.
//! Never: a wait of a shard; a message that waits for a registration.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use weir_io::mailbox::Sender;
use weir_wire::request::register::RegisterBroker;
use weir_wire::request::topic::{DataVersion, TopicConfig, TopicFilterType, TopicTable};

use super::name_server;
use crate::base::limits::{
    REGISTRATION_ASK_MS, REGISTRATION_GATHER_MS, REGISTRATION_PAUSE_MS, REGISTRATION_STACK,
    REGISTRATION_TOPICS, UNREGISTER_MS,
};
use crate::server::{Announced, Letter, Question, Reply};

/// How a shard is reached by clients and by its standby, `host:port` each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ShardAddress {
    /// Its main port.
    pub(super) addr: String,
    /// Its replication port.
    pub(super) ha_addr: String,
}

/// What a shard is registered as: the newest that is known.
#[derive(Debug)]
pub(super) struct Announcement {
    /// Cluster, broker name, broker id.
    pub(super) cluster: String,
    /// Broker name.
    pub(super) broker: String,
    /// 0 is the master.
    pub(super) broker_id: u64,
    /// Where it is.
    pub(super) at: ShardAddress,
    /// Bodies of REGISTER_BROKER, to be sent one after the other.
    pub(super) bodies: Vec<Vec<u8>>,
}

/// What every name server's thread goes by.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Raised with every change.
    pub(super) edition: u64,
    /// Of every shard that has answered yet.
    pub(super) shards: Vec<Arc<Announcement>>,
    /// The process ends.
    pub(super) stop: bool,
}

/// The newest news, and who waits for them.
#[derive(Debug, Default)]
pub(super) struct Board {
    news: Mutex<News>,
    changed: Condvar,
}

impl Board {
    /// What is newest when it differs from `edition`, the process ends, or `patience` has passed:
    /// edition, shards, whether the process ends.
    pub(super) fn wait(
        &self,
        edition: u64,
        patience: Duration,
    ) -> (u64, Vec<Arc<Announcement>>, bool) {
        let news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |news: &mut News| news.edition == edition && !news.stop;
        let waited = self.changed.wait_timeout_while(news, patience, same);
        let (news, _) = waited.unwrap_or_else(PoisonError::into_inner);
        (news.edition, news.shards.clone(), news.stop)
    }

    /// Changes the news and wakes everybody.
    fn put(&self, change: impl FnOnce(&mut News)) {
        change(&mut self.news.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }
}

/// A shard's way to say that its topics or its role changed.
pub(super) type Ring = SyncSender<()>;

/// The running registrar. Dropping it unregisters, within a bounded time.
#[derive(Debug)]
pub(super) struct Registrar {
    board: Arc<Board>,
    /// Ends when every name server's thread has.
    ended: Receiver<()>,
}

/// A ring for the shards, and what the registrar hears of it. Rings that nobody has heard yet
/// count as one.
pub(super) fn ring() -> (Ring, Receiver<()>) {
    mpsc::sync_channel(1)
}

impl Registrar {
    /// Starts the threads. `servers` are `host:port`, resolved at every connection; `shards` stand
    /// in the order of `boxes`.
    pub(super) fn start(
        servers: &[String],
        shards: Vec<ShardAddress>,
        boxes: &[Sender<Letter>],
        rung: Receiver<()>,
        period: Duration,
    ) -> std::io::Result<Registrar> {
        let board = Arc::new(Board::default());
        let (alive, ended) = mpsc::channel::<()>();
        for server in servers {
            let (server, board, alive) = (server.clone(), Arc::clone(&board), alive.clone());
            spawn("name-server", move || {
                name_server::run(&server, &board, period);
                drop(alive);
            })?;
        }
        let gatherer = Gatherer::new(shards, boxes, Arc::clone(&board));
        spawn("registrar", move || gatherer.run(&rung, period))?;
        Ok(Registrar { board, ended })
    }
}

impl Drop for Registrar {
    fn drop(&mut self) {
        self.board.put(|news| news.stop = true);
        // A thread that hangs in a name's resolution must not keep the process; the word never
        // comes, the end of the last sender does.
        let _ = self.ended.recv_timeout(Duration::from_millis(UNREGISTER_MS));
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let thread = thread::Builder::new().name(name.to_owned()).stack_size(REGISTRATION_STACK);
    thread.spawn(run).map(drop)
}

/// One shard as the gatherer sees it.
struct Line {
    mailbox: Sender<Letter>,
    at: ShardAddress,
    /// A question is on its way, or waits there.
    asked: bool,
    newest: Option<Newest>,
}

/// What was made of a shard's last answer.
struct Newest {
    print: u64,
    announcement: Arc<Announcement>,
}

/// Asks the shards, and puts what they say on the board.
struct Gatherer {
    lines: Vec<Line>,
    board: Arc<Board>,
    answers: Receiver<(usize, Announced)>,
    way_back: mpsc::Sender<(usize, Announced)>,
    /// Of the last version that was given out, milliseconds.
    stamp_ms: i64,
}

impl Gatherer {
    fn new(shards: Vec<ShardAddress>, boxes: &[Sender<Letter>], board: Arc<Board>) -> Gatherer {
        let line = |(at, mailbox): (ShardAddress, &Sender<Letter>)| Line {
            mailbox: mailbox.clone(),
            at,
            asked: false,
            newest: None,
        };
        let lines = shards.into_iter().zip(boxes).map(line).collect();
        let (way_back, answers) = mpsc::channel();
        Gatherer { lines, board, answers, way_back, stamp_ms: 0 }
    }

    /// Until every shard is gone.
    fn run(mut self, rung: &Receiver<()>, period: Duration) {
        loop {
            let began = Instant::now();
            self.ask();
            self.listen();
            // Changes come in bursts, and a table is copied on the shard's own time: with the pause
            // it is busy with that for a twentieth of its time.
            let low = Duration::from_millis(REGISTRATION_GATHER_MS);
            let high = Duration::from_millis(REGISTRATION_PAUSE_MS);
            thread::sleep((began.elapsed() * 19).clamp(low, high));
            if let Err(RecvTimeoutError::Disconnected) = rung.recv_timeout(period) {
                return;
            }
        }
    }

    fn ask(&mut self) {
        for (index, line) in self.lines.iter_mut().enumerate().filter(|(_, line)| !line.asked) {
            let back = self.way_back.clone();
            let reply = Reply::new(move |announced| {
                // Nobody listens any more when the process ends.
                let _ = back.send((index, announced));
            });
            line.asked = line.mailbox.send(Letter::Ask(Question::Announce(reply))).is_ok();
        }
    }

    /// Takes the answers that come in time; a later one is taken next time.
    fn listen(&mut self) {
        let until = Instant::now() + Duration::from_millis(REGISTRATION_ASK_MS);
        let mut changed = false;
        while self.lines.iter().any(|line| line.asked) {
            let left = until.saturating_duration_since(Instant::now());
            let Ok((index, announced)) = self.answers.recv_timeout(left) else { break };
            changed |= self.take(index, announced);
        }
        if changed {
            let newest = |line: &Line| Some(Arc::clone(&line.newest.as_ref()?.announcement));
            let shards = self.lines.iter().filter_map(newest).collect();
            self.board.put(|news| {
                news.edition += 1;
                news.shards = shards;
            });
        }
    }

    /// Makes an announcement of an answer, unless it says what the last one did.
    fn take(&mut self, index: usize, announced: Announced) -> bool {
        let Some(line) = self.lines.get_mut(index) else { return false };
        line.asked = false;
        let print = print_of(&announced);
        let old = line.newest.as_ref();
        if old.is_some_and(|newest| newest.print == print) {
            return false;
        }
        let chunks = announced.topics.len().div_ceil(REGISTRATION_TOPICS).max(1) as i64;
        let first_ms = announced.now_ms.max(self.stamp_ms + 1);
        self.stamp_ms = first_ms + chunks;
        let bodies = bodies(&announced, first_ms);
        let announcement = Arc::new(Announcement {
            cluster: announced.cluster,
            broker: announced.broker,
            broker_id: announced.broker_id,
            at: line.at.clone(),
            bodies,
        });
        line.newest = Some(Newest { print, announcement });
        true
    }
}

/// A number that differs when anything that is registered differs.
fn print_of(announced: &Announced) -> u64 {
    use std::hash::{Hash, Hasher};
    let mut hasher = std::hash::DefaultHasher::new();
    (&announced.cluster, &announced.broker, announced.broker_id).hash(&mut hasher);
    announced.permission.hash(&mut hasher);
    for topic in &announced.topics {
        (&topic.name, topic.read_queues, topic.write_queues, topic.perm).hash(&mut hasher);
        (topic.multi_tag, topic.sys_flag, topic.order, &topic.attributes).hash(&mut hasher);
    }
    hasher.finish()
}

/// The bodies of a registration, at most [`REGISTRATION_TOPICS`] topics in each. A name server
/// takes topics only from a version that it has not seen last, so each body has its own.
///
/// A topic that was deleted is simply missing, as in RocketMQ: a name server keeps it until the
/// tool that deletes it says so there too, which all of them do.
fn bodies(announced: &Announced, first_ms: i64) -> Vec<Vec<u8>> {
    let row = |topic| row(topic, announced.permission);
    let mut rows: Vec<TopicConfig> = announced.topics.iter().map(row).collect();
    let mut out = Vec::new();
    while !rows.is_empty() || out.is_empty() {
        let rest = rows.split_off(rows.len().min(REGISTRATION_TOPICS));
        let chunk = std::mem::replace(&mut rows, rest);
        let version = DataVersion {
            counter: number(announced.version.counter.saturating_add(1)),
            state_version: number(announced.version.state_version),
            timestamp: first_ms + out.len() as i64,
        };
        let table = TopicTable {
            data_version: version,
            mapping_data_version: version,
            topic_config_table: chunk.into_iter().map(|t| (t.topic_name.clone(), t)).collect(),
            ..TopicTable::default()
        };
        let body = RegisterBroker {
            filter_server_list: Vec::new(),
            topic_config_serialize_wrapper: table,
        };
        let mut bytes = Vec::new();
        body.write(&mut bytes);
        out.push(bytes);
    }
    out
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A topic as a name server is told of it: its permission within the broker's own.
fn row(topic: &crate::broker::TopicConfig, permission: u32) -> TopicConfig {
    const BOTH: u32 = 6;
    let perm = if permission & BOTH == BOTH { topic.perm } else { topic.perm & permission };
    let filter = match topic.multi_tag {
        true => TopicFilterType::MultiTag,
        false => TopicFilterType::SingleTag,
    };
    TopicConfig {
        attributes: topic.attributes.iter().cloned().collect(),
        order: topic.order,
        perm: perm as i32,
        read_queue_nums: topic.read_queues as i32,
        topic_filter_type: filter,
        topic_name: topic.name.clone(),
        topic_sys_flag: topic.sys_flag as i32,
        write_queue_nums: topic.write_queues as i32,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::mpsc::Sender as Way;

    use weir_io::mailbox;
    use weir_wire::codes::request;
    use weir_wire::frame::Frame;
    use weir_wire::header::{Fields, Header};
    use weir_wire::reply::Reply as Answer;

    use super::*;
    use crate::base::limits::REGISTRATION_LOOK_MS;
    use crate::broker::{Origin, TopicConfig as Config};

    const PERIOD: Duration = Duration::from_secs(30);

    /// What a name server was told: code, broker name, body.
    type Told = (i32, String, Vec<u8>);

    /// A name server that takes everything, or with `silent` answers nothing.
    fn name_server(told: Way<Told>, silent: bool) -> String {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            for link in listener.incoming() {
                let (link, told) = (link.unwrap(), told.clone());
                thread::spawn(move || answer_all(link, &told, silent));
            }
        });
        addr
    }

    fn answer_all(mut link: TcpStream, told: &Way<Told>, silent: bool) {
        let mut length = [0; 4];
        while link.read_exact(&mut length).is_ok() {
            let mut bytes = length.to_vec();
            bytes.resize(4 + u32::from_be_bytes(length) as usize, 0);
            link.read_exact(&mut bytes[4..]).unwrap();
            let frame = Frame::parse(&bytes).unwrap();
            let mut room = Fields::default();
            let header = Header::parse(frame.codec, frame.header, &mut room).unwrap();
            let name = header.optional("brokerName").to_cow().into_owned();
            if told.send((header.code, name, frame.body.to_vec())).is_err() {
                return;
            }
            if !silent {
                let mut out = Vec::new();
                Answer::new(&mut out, frame.codec, 0, header.opaque).finish();
                link.write_all(&out).unwrap();
            }
        }
    }

    fn announced(broker: &str, topics: &[&str]) -> Announced {
        Announced {
            cluster: "c".into(),
            broker: broker.into(),
            broker_id: 0,
            permission: 6,
            version: crate::broker::DataVersion::default(),
            topics: topics.iter().map(|name| Config::new(name, 4, Origin::Admin)).collect(),
            now_ms: 1000,
        }
    }

    /// Shards that answer with what stands here.
    struct Box {
        boxes: Vec<Sender<Letter>>,
        tables: Arc<Mutex<Vec<Announced>>>,
        ring: Ring,
        rung: Option<Receiver<()>>,
    }

    impl Box {
        fn new(tables: Vec<Announced>) -> Box {
            let count = tables.len();
            let tables = Arc::new(Mutex::new(tables));
            let (boxes, inboxes): (Vec<_>, Vec<_>) =
                (0..count).map(|_| mailbox::channel(16)).unzip();
            for (index, inbox) in inboxes.into_iter().enumerate() {
                let tables = Arc::downgrade(&tables);
                thread::spawn(move || {
                    while let Some(tables) = tables.upgrade() {
                        if let Some(Letter::Ask(Question::Announce(reply))) = inbox.receive() {
                            reply.send(tables.lock().unwrap()[index].clone());
                        }
                        drop(tables);
                        thread::sleep(Duration::from_millis(1));
                    }
                });
            }
            let (ring, rung) = super::ring();
            Box { boxes, tables, ring, rung: Some(rung) }
        }

        fn start(&mut self, servers: &[String]) -> Registrar {
            let at = |shard: usize| ShardAddress {
                addr: format!("h:{}", 10_911 + 10 * shard),
                ha_addr: format!("h:{}", 10_912 + 10 * shard),
            };
            let shards = (0..self.boxes.len()).map(at).collect();
            let rung = self.rung.take().unwrap();
            Registrar::start(servers, shards, &self.boxes, rung, PERIOD).unwrap()
        }

        fn change(&self, shard: usize, topics: &[&str]) {
            let mut tables = self.tables.lock().unwrap();
            let broker = tables[shard].broker.clone();
            tables[shard] = announced(&broker, topics);
            drop(tables);
            let _ = self.ring.try_send(());
        }
    }

    fn next(told: &Receiver<Told>, code: i32) -> Told {
        let next = told.recv_timeout(Duration::from_secs(10)).expect("it is told");
        assert_eq!(next.0, code);
        next
    }

    fn table(told: &Told) -> TopicTable {
        RegisterBroker::parse(&told.2).unwrap().topic_config_serialize_wrapper
    }

    #[test]
    fn every_shard_is_registered_changes_at_once_and_unregistered_at_the_end() {
        let (way, told) = mpsc::channel();
        // A server that never answers, one that is not there and one without a name hold up none.
        let servers = [
            name_server(mpsc::channel().0, true),
            "127.0.0.1:1".to_owned(),
            "no.such.name.invalid:9876".to_owned(),
            name_server(way, false),
        ];
        let mut host = Box::new(vec![announced("b-0", &["A", "B"]), announced("b-1", &["A"])]);
        let registrar = host.start(&servers);
        let first = [(); 2].map(|()| next(&told, request::REGISTER_BROKER));
        assert_eq!([&first[0].1, &first[1].1], ["b-0", "b-1"]);
        assert!(table(&first[0]).topic_config_table.contains_key("B"));
        let began = Instant::now();
        host.change(1, &["A", "C"]);
        let second = [(); 2].map(|()| next(&told, request::REGISTER_BROKER));
        assert!(began.elapsed() < Duration::from_secs(5), "not only after the period");
        assert!(table(&second[1]).topic_config_table.contains_key("C"));
        assert_eq!(table(&second[0]).data_version, table(&first[0]).data_version, "unchanged");
        assert_ne!(table(&second[1]).data_version, table(&first[1]).data_version);
        let began = Instant::now();
        drop(registrar);
        assert!(began.elapsed() < Duration::from_millis(UNREGISTER_MS + 1000));
        let last = [(); 2].map(|()| next(&told, request::UNREGISTER_BROKER).1);
        assert_eq!(last, ["b-0", "b-1"]);
    }

    #[test]
    fn a_name_server_that_lost_the_connection_is_told_again() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let mut host = Box::new(vec![announced("b-0", &["A", "B"]), announced("b-1", &["A"])]);
        let registrar = host.start(&[addr]);
        let (way, told) = mpsc::channel();
        for round in 0..2 {
            let began = Instant::now();
            let links = ["b-0", "b-1"].map(|broker| {
                let (link, _) = listener.accept().unwrap();
                let (second, way) = (link.try_clone().unwrap(), way.clone());
                thread::spawn(move || answer_all(link, &way, false));
                assert_eq!(next(&told, request::REGISTER_BROKER).1, broker);
                second
            });
            let limit = Duration::from_millis(2 * REGISTRATION_LOOK_MS);
            assert!(round == 0 || began.elapsed() < limit, "both at once: {:?}", began.elapsed());
            thread::sleep(Duration::from_millis(50));
            links.iter().for_each(|link| link.shutdown(std::net::Shutdown::Both).unwrap());
        }
        drop(registrar);
    }

    #[test]
    fn a_large_table_goes_in_parts_of_different_versions_and_permissions_are_masked() {
        let names: Vec<String> = (0..1700).map(|at| format!("t{at}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let large = Announced { permission: 4, ..announced("b-0", &names) };
        let parts = bodies(&large, 5);
        let read = |body: &Vec<u8>| RegisterBroker::parse(body).unwrap();
        let tables: Vec<TopicTable> =
            parts.iter().map(|body| read(body).topic_config_serialize_wrapper).collect();
        assert_eq!(tables.iter().map(|t| t.topic_config_table.len()).sum::<usize>(), 1700);
        let versions: Vec<i64> = tables.iter().map(|t| t.data_version.timestamp).collect();
        assert_eq!(versions, [5, 6, 7]);
        assert!(tables[0].topic_config_table.values().all(|topic| topic.perm == 4));
        assert_eq!(bodies(&announced("b-0", &[]), 5).len(), 1, "an empty table is told too");
    }
}

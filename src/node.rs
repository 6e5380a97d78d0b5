//! The process: one pinned thread per shard, and this one to start, say ready and end them.
//!
//! It decides what belongs to the box and not to a shard: how many shards the data directory has,
//! which core each gets, which addresses are listened on and advertised. `doors` are the sockets,
//! `life` hears the shards and ends them, `watch` is the watchdog's rule.
//! Never: a message; a lock that a shard takes.

mod address;
mod arbiter;
mod descriptors;
mod doors;
mod life;
mod name_server;
mod outside;
mod pair;
mod registrar;
mod remoting;
mod watch;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use weir_io::mailbox::{self, Receiver, Sender};
use weir_io::service::{Given, StagingPlace, Store};
use weir_io::{Driver, Listener, Uring, UringOptions, cpu, group, probe, signal};

pub(crate) use self::address::advertised;
use self::address::store_ip;
use self::descriptors::Descriptors;
use self::doors::{Door, Doors};
use self::life::{Life, Outcome, Word};
use self::registrar::Ring;
use crate::broker::{BrokerOptions, PressureLimits};
use crate::commitlog::LogOptions;
use crate::config::{Config, FlushDiskType, Loaded, MemoryPlan, Overrides, Sources};
use crate::control::{Control, Settings};
use crate::exit::{self, Stop};
use crate::replica::{Lease, Role};
use crate::server::{
    Bounds, Ended, Letter, MAILBOX, NamingDesk, OwnShard, PostOffice, Retune, Server,
};
use crate::shard::{DiskMarks, OpenFault, QueueLimit, Shard, ShardOptions, Tuning, Voice};

/// How long a killed predecessor may still hold ports and files.
const PATIENCE: Duration = Duration::from_secs(5);

/// What one shard's thread is told.
struct Plan {
    index: u16,
    core: Option<usize>,
    options: ShardOptions,
    doors: Vec<Door>,
    /// Where the other half of the pair connects to.
    peers: Option<Door>,
    naming: Option<NamingPlan>,
    staging: Option<StagingPlace>,
    /// Every configuration key and its value.
    texts: Vec<(&'static str, String)>,
    stall_log_ms: u64,
    bounds: Bounds,
    /// Rung for name servers outside.
    ring: Option<Ring>,
    /// Leave to acknowledge, where a majority outside lends it.
    lease: Option<Lease>,
    /// Its first recovery was told.
    told: bool,
    /// It has served clients before: its role changed, and they wait.
    opened: bool,
}

/// What the first shard needs to be the name server too.
struct NamingPlan {
    door: Door,
    desk: NamingDesk,
}

/// Runs a broker until SIGTERM or SIGINT. Prints one ready line on stdout. `sources` are what
/// `loaded` was read from: run-time changes are checked against them.
pub fn serve(loaded: Loaded, sources: Sources) -> Result<(), Stop> {
    signal::block_termination();
    let given = Given::take().map_err(|why| Stop::new(exit::CONFIG, why))?;
    let config = loaded.config.clone();
    let data = config.store_path_root_dir.clone();
    std::fs::create_dir_all(&data).map_err(|e| {
        let full = e.kind() == std::io::ErrorKind::StorageFull;
        let code = if full { exit::DISK_FULL } else { exit::DATA_UNUSABLE };
        Stop::new(code, format!("cannot create {}: {e}", data.display()))
    })?;
    probe::probe_direct(&data).map_err(|e| Stop::new(e.exit_code(), e.to_string()))?;
    let shards = shard_count(&config, &data)?;
    config.check_ports(shards).map_err(|line| Stop::new(exit::CONFIG, line))?;
    pair::check(&config, shards)?;
    let open_files = Descriptors::divide(probe::raise_descriptor_limit(), shards)?;
    if let Some(line) = open_files.line() {
        Voice::new("weir".to_owned(), false).say("open-files", &format_args!("{line}"));
    }
    let memory = memory_plan(&config, shards)?;
    let store = Store::find(doors::wanted(&config, shards).len() + usize::from(shards));
    let mut doors = Doors::sort(&config, shards, given.named, store)?;
    let mut plans = plan(&loaded, &data, shards, (&memory, open_files), &mut doors)?;
    let rung = outside::rings(&config, &mut plans);
    let leases = arbiter::leases(&config, shards);
    plans.iter_mut().zip(&leases).for_each(|(plan, lease)| plan.lease = Some(lease.clone()));
    let log_bytes = plans.iter().map(|plan| folder_bytes(&plan.options.log.dir)).collect();
    let settings = settings(loaded, sources, &data, shards)?;
    let control = control(&config, &mut doors)?.map(|c| c.with_settings(settings));
    let (boxes, inboxes): (Vec<_>, Vec<_>) = (0..shards).map(|_| mailbox::channel(MAILBOX)).unzip();
    let control = control.map(|control| control.start(&boxes)).transpose()?;
    let (words, heard) = mpsc::channel();
    let mut threads = Vec::new();
    for (plan, inbox) in plans.into_iter().zip(inboxes) {
        threads.push(start(plan, inbox, boxes.clone(), words.clone())?);
    }
    let watchdog = given.watchdog;
    let life = Life { config: &config, boxes: &boxes, heard: &heard, words, log_bytes, watchdog };
    let outcome = match life.live(|| outside::start(&config, &boxes, rung, &leases)) {
        Outcome::Now(outcome) => return outcome,
        Outcome::Over(outcome) => outcome,
    };
    for letterbox in &boxes {
        let _ = letterbox.send(Letter::Stop);
    }
    for thread in threads {
        let _ = thread.join();
    }
    drop(control);
    let failed = heard.try_iter().find_map(|word| match word {
        Word::Ended(Err(stop)) => Some(stop),
        _ => None,
    });
    outcome.and(failed.map_or(Ok(()), Err))
}

/// The control port: given by the service manager, or bound here and given to it.
fn control(config: &Config, doors: &mut Doors) -> Result<Option<Control>, Stop> {
    let Some(mut door) = doors.door(doors::CONTROL) else { return Ok(None) };
    if let Some(given) = door.take_given() {
        return Ok(Some(Control::on(given, config)));
    }
    let bound = Control::bind(config, PATIENCE)?;
    if let Some(control) = &bound {
        door.keep(control);
    }
    Ok(bound)
}

/// Bytes of the files in a folder; 0 when it is not there.
fn folder_bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|found| found.len()).sum()
}

/// Divides the memory, and says how.
fn memory_plan(config: &Config, shards: u16) -> Result<MemoryPlan, Stop> {
    let plan = config
        .memory_plan(shards, group::memory_limit())
        .map_err(|why| Stop::new(exit::CONFIG, format!("memoryMax: {why}")))?;
    Voice::new("weir".to_owned(), false).say("memory-budget", &format_args!("{}", plan.line()));
    Ok(plan)
}

fn start(
    plan: Plan,
    inbox: Receiver<Letter>,
    boxes: Vec<Sender<Letter>>,
    words: mpsc::Sender<Word>,
) -> Result<std::thread::JoinHandle<()>, Stop> {
    let index = plan.index;
    std::thread::Builder::new()
        .name(format!("shard-{index}"))
        .spawn(move || {
            let ended = run_shard(plan, inbox, boxes, &words);
            let _ = words.send(Word::Ended(ended));
        })
        .map_err(|e| Stop::new(exit::CONFIG, format!("cannot start a thread: {e}")))
}

/// What a shard listens on, kept open while its role changes.
struct Listening {
    /// With whether it is the name server's.
    doors: Vec<(TcpListener, bool)>,
    peers: Option<TcpListener>,
}

/// The listeners of a driver: with whether each is the name server's, and the other half's.
type Listeners = (Vec<(Listener, bool)>, Option<Listener>);

impl Listening {
    /// Gives a driver the sockets to listen on.
    fn give(&self, driver: &mut Driver) -> Result<Listeners, Stop> {
        let mut own = |listener: &TcpListener| {
            let shared = listener.try_clone().map_err(weir_io::Errno::from);
            let served = shared.and_then(|shared| driver.listen_on(shared));
            served.map_err(|e| Stop::new(exit::BIND, format!("a listener cannot be served: {e}")))
        };
        let mut doors = Vec::new();
        for (listener, naming) in &self.doors {
            doors.push((own(listener)?, *naming));
        }
        Ok((doors, self.peers.as_ref().map(own).transpose()?))
    }
}

/// One shard's life, on its own thread. A change of its role opens it anew.
fn run_shard(
    mut plan: Plan,
    inbox: Receiver<Letter>,
    boxes: Vec<Sender<Letter>>,
    words: &mpsc::Sender<Word>,
) -> Result<(), Stop> {
    if let Some(core) = plan.core {
        // A core that left the cpuset since is no reason not to serve.
        let _ = cpu::pin(core);
    }
    let mut post = PostOffice { own: plan.index, boxes, inbox, held: Vec::new() };
    let mut desk = None;
    let mut doors: Vec<(Door, bool)> =
        std::mem::take(&mut plan.doors).into_iter().map(|door| (door, false)).collect();
    if let Some(naming) = plan.naming.take() {
        doors.push((naming.door, true));
        desk = Some(naming.desk);
    }
    let (mut doors, mut listening) = (Some(doors), None);
    loop {
        let mut driver = open_driver(&mut plan, &post)?;
        let mut folded = |bytes| {
            let _ = words.send(Word::Folding(plan.index, bytes));
        };
        let options = plan.options.clone();
        let opened = Shard::open_watched(&mut driver, options, &mut folded);
        let (shard, report) = opened.map_err(stop_of)?;
        // The ports are opened when the log is: a wrong data directory never takes connections.
        let first = doors.take();
        if let Some(doors) = first {
            listening = Some(listen(doors, plan.peers.take())?);
        }
        let given = listening.as_ref().map(|own| own.give(&mut driver)).transpose()?;
        let mut server = Server::new(driver, shard, desk, post);
        fit_out(&mut server, &plan, given.unwrap_or_default());
        if listening.is_some() && plan.opened {
            server.open_doors();
        }
        // The first turn tells the name server of this shard's topics: then the route is whole.
        server
            .turn()
            .map_err(|errno| Stop::new(exit::CALL, format!("the first turn failed: {errno}")))?;
        if !std::mem::replace(&mut plan.told, true) {
            let _ = words.send(Word::Ready(plan.index, report));
        }
        let ended = server
            .live()
            .map_err(|errno| Stop::new(exit::DISK_FAILED, format!("the shard failed: {errno}")))?;
        if ended == Ended::Stopped {
            return Ok(());
        }
        // The word to open may still lie in the mailbox: the role changed before all had recovered.
        plan.opened = server.are_doors_open();
        keep_changes(&mut plan, &server);
        (desk, post) = server.into_parts();
    }
}

/// What was changed while the shard ran holds in its next role too.
fn keep_changes(plan: &mut Plan, server: &Server) {
    plan.texts = server.config_texts().to_vec();
    let shard = server.shard();
    plan.options.tuning = *shard.tuning();
    plan.options.broker = shard.broker.options().clone();
    if let Some(replica) = &mut plan.options.replica {
        replica.refuse = plan.options.tuning.standby_lost_refuse;
    }
}

/// A ring for a shard, whose bell is the mailbox's.
fn open_driver(plan: &mut Plan, post: &PostOffice) -> Result<Driver, Stop> {
    let mut uring =
        Uring::new(UringOptions::default()).map_err(|e| Stop::new(e.exit_code(), e.to_string()))?;
    if let Some(place) = plan.staging.take() {
        plan.staging = Some(StagingPlace { left: None, name: place.name.clone(), ..place });
        uring.set_staging_place(place);
    }
    let driver = Driver::Uring(Box::new(uring));
    post.inbox.attach(driver.bell());
    Ok(driver)
}

/// Tells a server what the plan says, and gives it its listeners.
fn fit_out(server: &mut Server, plan: &Plan, (doors, peers): Listeners) {
    server.set_config_texts(plan.texts.clone());
    server.set_stall_limit_ms(plan.stall_log_ms);
    if let Some(ring) = &plan.ring {
        server.set_ring(ring.clone());
    }
    server.set_bounds(plan.bounds);
    if let Some(lease) = &plan.lease {
        server.set_lease(lease.clone());
    }
    for (listener, naming) in doors {
        server.serve_later(listener, naming);
    }
    if let Some(peers) = peers {
        server.serve_peers(peers);
    }
}

/// Opens what a shard listens on.
fn listen(doors: Vec<(Door, bool)>, peers: Option<Door>) -> Result<Listening, Stop> {
    let open = |door: Door| {
        let addr = door.addr;
        door.open(PATIENCE).map_err(|errno| {
            let line = format!(
                "cannot listen on {addr}: {errno}; stop what holds the port or set another one \
                 (listenPort, namesrvListenPort, haListenPort, bind)"
            );
            Stop::new(exit::BIND, line)
        })
    };
    let mut opened = Vec::new();
    for (door, naming) in doors {
        opened.push((open(door)?, naming));
    }
    Ok(Listening { doors: opened, peers: peers.map(open).transpose()? })
}

fn stop_of(fault: OpenFault) -> Stop {
    let code = match &fault {
        OpenFault::Damaged(_) => exit::DATA_DAMAGED,
        OpenFault::InUse(_) => exit::DATA_IN_USE,
        OpenFault::Foreign(_) => exit::DATA_MISMATCH,
        OpenFault::Full(_) => exit::DISK_FULL,
        OpenFault::Failed(_) => exit::DATA_UNUSABLE,
    };
    Stop::new(code, fault.to_string())
}

/// How many shards the data directory has, or gets. The error is that the configuration asks for
/// another number, with the remedy.
pub(crate) fn shard_count(config: &Config, data: &Path) -> Result<u16, Stop> {
    let found = (0..).take_while(|index| shard_dir(data, *index).is_dir()).count() as u16;
    match (found, config.shards) {
        (0, Some(asked)) => Ok(asked),
        (0, None) => Ok(Config::default_shards(usable_cores())),
        (found, None) => Ok(found),
        (found, Some(asked)) if asked == found => Ok(found),
        (found, Some(asked)) => {
            let line = format!(
                "{} has {found} shard(s), not {asked}: the number belongs to the data; start with \
                 --set shards={found}, or drain this broker (brokerPermission=4) and move its \
                 clients to a new --data made with shards={asked}",
                data.display()
            );
            Err(Stop::new(exit::DATA_MISMATCH, line))
        }
    }
}

/// The core of each shard, by its number, out of those that may be used. The first one stays free
/// for control, interrupts and neighbours when there are more than shards.
pub(crate) fn shard_cores(cores: &[usize], shards: u16) -> Vec<usize> {
    let spare = usize::from(cores.len() > usize::from(shards));
    let core = |index: u16| cores.get((usize::from(index) + spare) % cores.len().max(1)).copied();
    (0..shards).filter_map(core).collect()
}

/// Cores that may be used, and not more than the group's share of processor time fills.
pub fn usable_cores() -> usize {
    cpu::allowed().len().min(group::cpu_limit().unwrap_or(usize::MAX))
}

fn shard_dir(data: &Path, index: u16) -> PathBuf {
    data.join(format!("shard-{index}"))
}

/// What every shard is told.
fn plan(
    loaded: &Loaded,
    data: &Path,
    shards: u16,
    (memory, open_files): (&MemoryPlan, Descriptors),
    doors: &mut Doors,
) -> Result<Vec<Plan>, Stop> {
    let config = &loaded.config;
    let address = advertised(config)?;
    let host = cpu::host_name();
    let cores = cpu::allowed();
    let disk_bytes = probe::disk_bytes(data)
        .map_err(|e| Stop::new(exit::DATA_UNUSABLE, format!("cannot ask for disk space: {e}")))?;
    let segment_bytes = config.segment_size(disk_bytes);
    let shard_cores = shard_cores(&cores, shards);
    let own: Vec<OwnShard> = (0..shards)
        .map(|index| OwnShard {
            broker_name: config.shard_name(&host, index),
            port: config.shard_port(index),
            broker_id: u64::from(pair::role(config, data, index) == Role::Standby),
        })
        .collect();
    let mut desk = Some(NamingDesk::new(config, &address, &own));
    let primary = pair::primary(config)?;
    (0..shards)
        .map(|index| {
            let port = config.shard_port(index);
            let broker = broker_options(config, &host, index, shards, (store_ip(&address), port));
            let naming = desk
                .take()
                .and_then(|desk| Some(NamingPlan { door: doors.door(doors::NAMING)?, desk }));
            let names = [doors::broker(index), doors::vip(index)];
            let own_doors = names.iter().filter_map(|name| doors.door(name)).collect();
            let core = shard_cores.get(usize::from(index)).copied();
            let log = log_options(config, data, (index, shards), segment_bytes);
            let mut options = shard_options(config, data, index, log, broker);
            options.index_memory_bytes = memory.index as usize;
            options.planned_directories = memory.directories as usize;
            let name = config.shard_name(&host, index);
            options.replica = {
                let known = (address.as_str(), primary);
                pair::options(config, &name, (index, shards), known)?
            };
            let bounds = Bounds {
                connections: open_files.connections,
                assembly_bytes: memory.assembly as usize,
                reply_bytes: memory.replies as usize,
            };
            let stall_log_ms = config.stall_log_ms;
            let texts = loaded.texts();
            let staging = doors.staging(&options.log.staging_name);
            Ok(Plan {
                index,
                core,
                options,
                doors: own_doors,
                peers: doors.door(&doors::peers(index)),
                naming,
                staging,
                stall_log_ms,
                texts,
                bounds,
                ring: None,
                lease: None,
                told: false,
                opened: false,
            })
        })
        .collect()
}

fn shard_options(
    config: &Config,
    data: &Path,
    index: u16,
    log: LogOptions,
    broker: BrokerOptions,
) -> ShardOptions {
    ShardOptions {
        dir: shard_dir(data, index),
        tuning: tuning(config, log.shards),
        index_memory_bytes: crate::base::limits::INDEX_ARENA_DEFAULT,
        planned_directories: usize::MAX,
        replica: None,
        quiet: false,
        log,
        broker,
    }
}

/// What changes the configuration while the shards run.
fn settings(loaded: Loaded, sources: Sources, data: &Path, shards: u16) -> Result<Settings, Stop> {
    let path = data.join(Overrides::FILE);
    let overrides = Overrides::new(sources, &loaded, path.display().to_string());
    let (host, ip) = (cpu::host_name(), store_ip(&advertised(&loaded.config)?));
    let retunes = move |loaded: &Loaded| {
        let config = &loaded.config;
        let retune = |index| Retune {
            tuning: tuning(config, shards),
            broker: broker_options(config, &host, index, shards, (ip, config.shard_port(index))),
            texts: loaded.texts(),
        };
        (0..shards).map(retune).collect()
    };
    Ok(Settings::new(overrides, loaded, path, Box::new(retunes)))
}

/// What may change while the shards run.
fn tuning(config: &Config, shards: u16) -> Tuning {
    let admin_wait_ms = config.wait_time_in_admin_queue_ms;
    let limit = |capacity, wait_ms| QueueLimit { capacity, wait_ms };
    Tuning {
        pressure: PressureLimits {
            busy_ms: config.os_page_cache_busy_timeout_ms,
            send_wait_ms: config.wait_time_in_send_queue_ms,
            send_queue: config.send_queue_capacity,
        },
        sync_flush_timeout_ms: config.sync_flush_timeout_ms,
        pulls: limit(config.pull_queue_capacity, config.wait_time_in_pull_queue_ms),
        lite_pulls: limit(config.lite_pull_queue_capacity, config.wait_time_in_lite_pull_queue_ms),
        queries: limit(config.query_queue_capacity, admin_wait_ms),
        others: limit(config.admin_queue_capacity, admin_wait_ms),
        disk: DiskMarks {
            clean_percent: config.disk_max_used_space_percent,
            forced_percent: config.disk_space_clean_forcibly_percent,
            full_percent: config.disk_space_warning_level_percent,
            forced_free_bytes: config.disk_free_clean_bytes,
            full_free_bytes: config.disk_free_warning_bytes,
            forced: config.clean_file_forcibly_enable,
        },
        retention_age_ms: config.file_reserved_time_hours as i64 * 3_600_000,
        retention_bytes: config.retention_per_shard(shards).unwrap_or(0),
        delete_when: config.delete_when,
        flush_interval_ms: config.flush_interval_ms,
        standby_lost_refuse: !config.standby_lost_degrade,
    }
}

fn log_options(
    config: &Config,
    data: &Path,
    (index, shards): (u16, u16),
    segment_bytes: u64,
) -> LogOptions {
    LogOptions {
        dir: shard_dir(data, index).join("log"),
        shard: index,
        shards,
        new_log_id: fresh_id(),
        segment_bytes,
        staging_name: format!("weir-{:016x}-{index}", path_id(data)),
        staging_bytes: config.staging_size() as usize,
        sync_flush: config.flush_disk_type == FlushDiskType::SyncFlush,
        flush_interval_ms: config.flush_interval_ms,
        prepare_ahead: crate::base::limits::PREPARED_AHEAD,
        lock_patience_ms: PATIENCE.as_millis() as u64,
        serve_around: config.serve_around_damage,
    }
}

fn broker_options(
    config: &Config,
    host: &str,
    index: u16,
    shards: u16,
    store_host: ([u8; 4], u16),
) -> BrokerOptions {
    BrokerOptions {
        cluster: config.broker_cluster_name.clone(),
        broker_name: config.shard_name(host, index),
        shard_index: u32::from(index),
        shards: u32::from(shards),
        auto_create_topic: config.auto_create_topic_enable,
        auto_create_group: config.auto_create_subscription_group,
        default_topic_queue_nums: config.default_topic_queue_nums,
        max_message_size: config.max_message_size_bytes as usize,
        sync_flush: config.flush_disk_type == FlushDiskType::SyncFlush,
        long_polling: config.long_polling_enable,
        short_polling_ms: config.short_polling_time_ms,
        broker_permission: config.broker_permission,
        store_host,
        young_bytes: YOUNG_BYTES,
        ..BrokerOptions::default()
    }
}

/// RocketMQ calls a queue young while its first message is among the newest 40 % of memory; on
/// the smallest box weir is made for (8 GiB) that is this much.
const YOUNG_BYTES: u64 = 3 * 1024 * 1024 * 1024;

/// A number that no other log has.
fn fresh_id() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish() | 1
}

/// A number for the data directory, the same at every start.
fn path_id(data: &Path) -> u64 {
    use std::hash::{Hash, Hasher};
    let mut hasher = std::hash::DefaultHasher::new();
    std::fs::canonicalize(data).unwrap_or_else(|_| data.to_owned()).hash(&mut hasher);
    hasher.finish()
}

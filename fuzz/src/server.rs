//! A stream against a whole server on the simulated kernel.
//!
//! Each input gets a server of its own, so that an outcome repeats. The stream comes in pieces as
//! the orders say, its sender may stop reading or vanish; a second connection must be served as if
//! nothing was. What the turns allocate is bounded; what the simulator allocates counts too.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use weir::base::limits::{BLOCK_MAX, FRAME_MAX};
use weir::broker::BrokerOptions;
use weir::commitlog::LogOptions;
use weir::config::Config;
use weir::server::{Letter, MAILBOX, NamingDesk, OwnShard, PostOffice, Server};
use weir::shard::{Shard, ShardOptions, Tuning};
use weir_io::mailbox;
use weir_io::sim::{Random, SimClient, World, WorldOptions};
use weir_wire::code::request;
use weir_wire::code::response::SUCCESS;
use weir_wire::frame::{Codec, Frame, Split, split};
use weir_wire::header::{Fields, Header};
use weir_wire::reply::Request;

use crate::bound;

/// Largest body of this server: small, so that its staging area is too.
const BODY_MAX: usize = 64 * 1024;
/// Turns after the last piece.
const TURNS: usize = 40;
/// Most pieces, about: so many that an idle connection is not yet closed for it.
const PIECES: usize = 200;
/// Time a turn takes at least.
const TURN_NS: u64 = 50_000;
/// Turns the second connection's answer may take.
const PATIENCE: usize = 4000;

/// Runs a server under `stream`; panics when a promise is broken.
pub(crate) fn serve(orders: u64, stream: &[u8]) {
    let mut random = Random::new(orders, "fuzz");
    let mut rig = Rig::new(orders);
    let (mut bad, mut good) = (rig.client(random.size(0..8) == 0), rig.client(false));
    if random.size(0..4) == 0 {
        bad.pause(true);
    }
    // One piece, pieces of a few bytes, or anything between.
    let reach = 1 << random.size(0..17);
    let piece_max = 1 + stream.len() / PIECES + random.size(0..reach);
    let forced = bound::within(bound::serving(stream.len()), || {
        let mut rest = stream;
        while !rest.is_empty() {
            let (piece, after) =
                rest.split_at(rest.len().min(piece_max - random.size(0..piece_max) / 2));
            bad.send(piece);
            rig.turns(1 + random.size(0..2));
            rest = after;
        }
        rig.turns(TURNS);
    });
    assert!(forced.is_ok(), "serving {} bytes: {forced:?}", stream.len());
    check_answers(&bad.take());
    if random.size(0..3) == 0 {
        bad.reset();
    }
    rig.is_served(&mut good);
}

/// What came back are whole frames with sound headers; the last may be cut.
fn check_answers(bytes: &[u8]) {
    let mut rest = bytes;
    while let Split::Whole(len) = split(rest, 2 * FRAME_MAX) {
        let (bytes, after) = rest.split_at(len.min(rest.len()));
        assert!(answer(bytes).is_some(), "an answer that is no frame: {bytes:?}");
        rest = after;
    }
}

/// `opaque` and code of a frame.
fn answer(bytes: &[u8]) -> Option<(i32, i32)> {
    let mut fields = Fields::default();
    let frame = Frame::parse(bytes).ok()?;
    let header = Header::parse(frame.codec, frame.header, &mut fields).ok()?;
    Some((header.opaque, header.code))
}

struct Rig {
    world: World,
    server: Server,
    /// The shard's port and the name server's.
    addrs: [SocketAddr; 2],
}

impl Rig {
    fn new(seed: u64) -> Rig {
        let world = World::new(WorldOptions { seed, ..WorldOptions::default() });
        let made = world.make_dir(Path::new("/data"));
        assert!(made.is_ok(), "the simulated disk takes a folder: {made:?}");
        let mut driver = world.driver();
        let opened = Shard::open(&mut driver, options());
        assert!(opened.is_ok(), "a new shard opens: {:?}", opened.as_ref().err());
        let Ok((shard, _)) = opened else { unreachable!("asserted before") };
        let (sender, inbox) = mailbox::channel::<Letter>(MAILBOX);
        inbox.attach(driver.bell());
        let mut listeners = Vec::new();
        for port in [10_911, 9876] {
            let addr = SocketAddr::from(([127, 0, 0, 1], port));
            listeners.extend(driver.listen(addr, Duration::ZERO));
        }
        let [(own, addr), (naming, naming_addr)] = listeners[..] else {
            unreachable!("asserted before")
        };
        let post = PostOffice { own: 0, boxes: vec![sender], inbox, held: Vec::new() };
        let shards = [OwnShard { broker_name: "fuzz-0".into(), port: 10_911, broker_id: 0 }];
        let desk = NamingDesk::new(&Config::default(), "127.0.0.1", &shards);
        let mut server = Server::new(driver, shard, Some(desk), post);
        server.serve(own, false);
        server.serve(naming, true);
        Rig { world, server, addrs: [addr, naming_addr] }
    }

    fn client(&mut self, naming: bool) -> SimClient {
        let mut client = self.world.client();
        client.connect(self.addrs[usize::from(naming)]);
        self.turns(20);
        client
    }

    fn turns(&mut self, count: usize) {
        for _ in 0..count {
            let turned = self.server.turn();
            assert!(turned.is_ok(), "a turn: {turned:?}");
            // A turn with work of its own does not wait, and then no time passes by itself.
            self.world.advance_by(TURN_NS);
        }
    }

    /// A send on a sound connection is answered.
    fn is_served(&mut self, client: &mut SimClient) {
        let mut bytes = Vec::new();
        Request::new(&mut bytes, Codec::Json, request::GET_MAX_OFFSET, 77, false)
            .ext_str("topic", "nobody made this one")
            .ext_int("queueId", 0)
            .finish();
        client.send(&bytes);
        let mut came = Vec::new();
        let mut got = None;
        for _ in 0..PATIENCE {
            self.turns(1);
            came.extend(client.take());
            if let Split::Whole(len) = split(&came, FRAME_MAX) {
                got = answer(&came[..len]);
                break;
            }
        }
        let served = got == Some((77, SUCCESS));
        assert!(
            served,
            "the sound connection got {got:?} in {PATIENCE} turns, {:?}",
            client.standing()
        );
    }
}

fn options() -> ShardOptions {
    let dir = PathBuf::from("/data/shard-0");
    ShardOptions {
        log: LogOptions {
            dir: dir.join("log"),
            shard: 0,
            shards: 1,
            new_log_id: 42,
            segment_bytes: 8 * 1024 * 1024,
            staging_name: "weir-fuzz".to_owned(),
            staging_bytes: 8 * BLOCK_MAX,
            sync_flush: false,
            flush_interval_ms: 10,
            prepare_ahead: 0,
            lock_patience_ms: 5000,
            serve_around: false,
        },
        dir,
        broker: BrokerOptions { max_message_size: BODY_MAX, ..BrokerOptions::default() },
        index_memory_bytes: 4 * 1024 * 1024,
        planned_directories: usize::MAX,
        tuning: Tuning { flush_interval_ms: 10, ..Tuning::default() },
        replica: None,
        quiet: true,
    }
}

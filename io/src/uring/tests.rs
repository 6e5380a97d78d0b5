//! The driver against this kernel: loopback, a real disk, real time. What every test needs is a
//! driver, a bound on its patience, and a directory on a real file system.
//! Never: a test that passes because the kernel lacks what it tests.

mod chores;
mod disk;
mod loopback;
mod turn;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use super::{Uring, UringOptions};
use crate::driver::{Driver, Errno, Event, Listener, Socket, Token};

const LISTEN: Token = Token(1);

/// A driver and the events that nobody has asked for yet.
struct Rig {
    driver: Driver,
    later: VecDeque<Event>,
    events: Vec<Event>,
}

impl Rig {
    fn new(options: UringOptions) -> Rig {
        Rig::of(Uring::new(options).unwrap())
    }

    fn small() -> Rig {
        Rig::new(UringOptions { entries: 64, recv_buffers: 8, ..UringOptions::default() })
    }

    fn of(uring: Uring) -> Rig {
        Rig { driver: Driver::Uring(Box::new(uring)), later: VecDeque::new(), events: Vec::new() }
    }

    fn uring(&mut self) -> &mut Uring {
        match &mut self.driver {
            Driver::Uring(uring) => uring,
            #[cfg(feature = "sim")]
            Driver::Sim(_) => unreachable!("the rig was made with a ring"),
        }
    }

    /// The next event, in at most ten seconds.
    fn next(&mut self) -> Event {
        let deadline = self.driver.now_ns() + 10_000_000_000;
        while self.later.is_empty() {
            self.driver.wait(deadline, &mut self.events).unwrap();
            // An event that is only found because time is up was not told of.
            assert!(self.driver.now_ns() < deadline, "no event for ten seconds");
            self.later.extend(self.events.drain(..));
        }
        self.later.pop_front().unwrap()
    }

    /// All events of the next `duration`.
    fn drain(&mut self, duration: Duration) -> Vec<Event> {
        let deadline = self.driver.now_ns() + duration.as_nanos() as u64;
        while self.driver.now_ns() < deadline {
            self.driver.wait(deadline, &mut self.events).unwrap();
            self.later.extend(self.events.drain(..));
        }
        self.later.drain(..).collect()
    }

    fn listen(&mut self) -> (Listener, SocketAddr) {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (listener, addr) = self.driver.listen(any, Duration::ZERO).unwrap();
        self.driver.accept(listener, LISTEN);
        (listener, addr)
    }

    fn accepted(&mut self) -> Socket {
        match self.next() {
            Event::Accepted { token: LISTEN, result } => result.unwrap(),
            other => panic!("{other:?} instead of a connection"),
        }
    }

    /// A connection: the driver's end and the other one.
    fn pair(&mut self) -> (Socket, TcpStream) {
        let (listener, addr) = self.listen();
        let peer = TcpStream::connect(addr).unwrap();
        let socket = self.accepted();
        self.driver.close_listener(listener);
        peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        (socket, peer)
    }

    fn sent(&mut self) -> Result<Vec<u8>, Errno> {
        match self.next() {
            Event::Sent { buf, result, .. } => result.map(|()| buf),
            other => panic!("{other:?} instead of a send's end"),
        }
    }
}

/// `len` bytes that differ from their neighbours and between seeds.
fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect()
}

/// A fresh directory beside the test's binary, which is on a real file system; removed on drop.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let binary = std::env::current_exe().unwrap();
        let path = binary.parent().unwrap().join(format!("io-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Dir(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

//! The driver's steady state over the public interface: no allocation per operation, and a price
//! per operation that is printed (`--nocapture`, with `--release` for a figure).
//! Never: a figure as a pass or fail, since machines differ.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use weir_io::{
    ALIGN, Buf, Driver, Event, OpenMode, Region, Socket, Source, Token, Uring, UringOptions, cpu,
};

/// The system's allocator, counting the calls of each thread.
struct Counting;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.with(|calls| calls.set(calls.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations() -> u64 {
    CALLS.with(Cell::get)
}

fn driver() -> Driver {
    Driver::Uring(Box::new(Uring::new(UringOptions::default()).expect("a ring")))
}

/// What one piece of work has cost the calling thread.
fn report(what: &str, ops: u64, cost_ns: u64) {
    println!("{what}: {ops} operations, {} ns of processor time each", cost_ns / ops.max(1));
}

struct Echo {
    driver: Driver,
    events: Vec<Event>,
    /// Send buffers of the connections by token, `None` while the kernel has them.
    buffers: Vec<Option<Vec<u8>>>,
    sockets: Vec<Socket>,
    ops: u64,
}

impl Echo {
    fn turn(&mut self) {
        let deadline = self.driver.now_ns() + 1_000_000_000;
        self.driver.wait(deadline, &mut self.events).expect("a turn");
        for event in self.events.drain(..) {
            self.ops += 1;
            match event {
                Event::Received { token, chunk } => {
                    let index = token.0 as usize;
                    let mut buf = self.buffers[index].take().expect("one request at a time");
                    buf.extend_from_slice(&chunk);
                    self.driver.send(self.sockets[index], buf, token);
                }
                Event::Sent { token, buf, result } => {
                    result.expect("a send");
                    self.buffers[token.0 as usize] = Some(buf);
                }
                other => assert!(matches!(other, Event::Woken), "{other:?}"),
            }
        }
    }
}

/// Ping-pong on `peers` until told to stop by the connection's end.
fn play(addr: SocketAddr, count: usize, rounds: usize) {
    let mut peers: Vec<TcpStream> =
        (0..count).map(|_| TcpStream::connect(addr).expect("a connection")).collect();
    let mut answer = [0; 64];
    for _ in 0..rounds {
        for peer in &mut peers {
            peer.write_all(&[7; 64]).expect("a request");
        }
        for peer in &mut peers {
            peer.read_exact(&mut answer).expect("an answer");
        }
    }
}

#[test]
fn an_echo_in_steady_state_does_not_allocate() {
    const PEERS: usize = 32;
    const ROUNDS: usize = 3_000;
    let mut driver = driver();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let (listener, addr) = driver.listen(any, Duration::ZERO).expect("a port");
    driver.accept(listener, Token(0));
    let playing = std::thread::spawn(move || play(addr, PEERS, ROUNDS));
    let mut events = Vec::with_capacity(256);
    let mut sockets = Vec::new();
    while sockets.len() < PEERS {
        driver.wait(u64::MAX, &mut events).expect("a turn");
        for event in events.drain(..) {
            let Event::Accepted { result, .. } = event else { panic!("{event:?}") };
            sockets.push(result.expect("a connection"));
        }
    }
    for (index, socket) in sockets.iter().enumerate() {
        driver.receive(*socket, Token(index as u64));
    }
    let buffers = (0..PEERS).map(|_| Some(Vec::with_capacity(4096))).collect();
    let mut echo = Echo { driver, events, buffers, sockets, ops: 0 };
    while echo.ops < 20_000 {
        echo.turn();
    }
    let (calls, cost, ops) = (allocations(), cpu::cpu_time_thread_ns(), echo.ops);
    while echo.ops < 2 * (PEERS * ROUNDS) as u64 - 20_000 {
        echo.turn();
    }
    let (calls, cost) = (allocations() - calls, cpu::cpu_time_thread_ns() - cost);
    report("echo of 64 bytes", echo.ops - ops, cost);
    assert_eq!(calls, 0, "allocations in {} operations", echo.ops - ops);
    while echo.ops < 2 * (PEERS * ROUNDS) as u64 {
        echo.turn();
    }
    playing.join().expect("the player");
}

#[test]
fn writes_in_steady_state_do_not_allocate() {
    let binary = std::env::current_exe().expect("the test's path");
    let path: PathBuf = binary.with_extension(format!("steady-{}", std::process::id()));
    let mut driver = driver();
    let mode = OpenMode { create: true, write: true, direct: true };
    let file = driver.open(&path, mode).expect("a file");
    driver.allocate(file, 8 << 20).expect("room");
    let region = Region::anonymous(1 << 20);
    let mut events = Vec::with_capacity(64);
    let mut buf = Some(Buf::new(ALIGN));
    let (mut calls, mut cost) = (0, 0);
    for round in 0..600_u64 {
        if round == 100 {
            (calls, cost) = (allocations(), cpu::cpu_time_thread_ns());
        }
        for index in 0..4 {
            let slice = region.slice(0..ALIGN);
            driver.write(file, index * ALIGN as u64, Source::Slice(slice), false, Token(index));
        }
        driver.write(file, 1 << 20, Source::Buf(buf.take().expect("it is back")), false, Token(4));
        let mut ended = 0;
        while ended < 5 {
            driver.wait(u64::MAX, &mut events).expect("a turn");
            for event in events.drain(..) {
                let Event::Written { buf: back, result, .. } = event else { panic!("{event:?}") };
                result.expect("a write");
                buf = back.or(buf);
                ended += 1;
            }
        }
    }
    let (calls, cost) = (allocations() - calls, cpu::cpu_time_thread_ns() - cost);
    report("direct write of 4 KiB", 2_500, cost);
    let _ = std::fs::remove_file(&path);
    assert_eq!(calls, 0, "allocations in 2500 writes");
}

#[test]
fn the_driver_itself_carries_a_million_small_operations_a_second() {
    let mut driver = driver();
    let mode = OpenMode::default();
    let file = driver.open("/dev/null".as_ref(), mode).expect("a file");
    let mut events = Vec::with_capacity(256);
    let mut bufs: Vec<Buf> = (0..64).map(|_| Buf::new(ALIGN)).collect();
    let start = cpu::cpu_time_thread_ns();
    let mut ops = 0;
    while ops < 640_000 {
        for buf in bufs.drain(..) {
            driver.read(file, 0, buf, Token(0));
        }
        while bufs.len() < 64 {
            driver.wait(u64::MAX, &mut events).expect("a turn");
            for event in events.drain(..) {
                let Event::Read { buf, result, .. } = event else { panic!("{event:?}") };
                assert_eq!(result, Ok(0));
                bufs.push(buf);
            }
        }
        ops += 64;
    }
    report("read of nothing, 64 a turn", ops, cpu::cpu_time_thread_ns() - start);
}

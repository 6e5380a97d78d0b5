//! A cable with a delay: a TCP relay in this process, for kernels without a delaying qdisc.
//!
//! Bytes are read as they come, and written half a round trip later, in order, whatever their
//! number: delay without a limit on bandwidth. It costs processor time of this machine and its
//! sleeps are late by tens of microseconds, so [`Relay::round_trip_us`] measures what it really
//! gives, and reports say that. Its threads end with the process.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of one read.
const PIECE: usize = 256 * 1024;
/// Pings for the median.
const PINGS: usize = 101;

/// A relay that listens.
#[derive(Debug)]
pub(crate) struct Relay {
    /// Where it listens.
    pub addr: SocketAddr,
    half: Duration,
}

impl Relay {
    /// Relays connections to `target`, each direction late by half of `round_trip`.
    pub(crate) fn start(target: SocketAddr, round_trip: Duration) -> io::Result<Relay> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (addr, half) = (listener.local_addr()?, round_trip / 2);
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                // A target that is away is a cable with nobody at the other end.
                if let Ok(far) = TcpStream::connect(target) {
                    join(&near, &far, half);
                }
            }
        });
        Ok(Relay { addr, half })
    }

    /// What a round trip through a relay like this takes, microseconds: the median of some.
    pub(crate) fn round_trip_us(&self) -> io::Result<f64> {
        let echo = TcpListener::bind("127.0.0.1:0")?;
        let relay = Relay::start(echo.local_addr()?, 2 * self.half)?;
        thread::spawn(move || {
            let Ok((mut stream, _)) = echo.accept() else { return };
            let _ = stream.set_nodelay(true);
            let mut byte = [0; 1];
            while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
        });
        let mut stream = TcpStream::connect(relay.addr)?;
        stream.set_nodelay(true)?;
        let mut took = Vec::new();
        for _ in 0..PINGS {
            let began = Instant::now();
            stream.write_all(&[1])?;
            stream.read_exact(&mut [0; 1])?;
            took.push(began.elapsed().as_secs_f64() * 1e6);
        }
        Ok(crate::spread::Spread::of(took).median)
    }
}

fn join(near: &TcpStream, far: &TcpStream, half: Duration) {
    for (from, to) in [(near, far), (far, near)] {
        let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { return };
        let _ = to.set_nodelay(true);
        let (pieces, late) = channel();
        thread::spawn(move || take(from, &pieces));
        thread::spawn(move || give(to, &late, half));
    }
}

/// Reads pieces and notes when each came; an empty one is the end.
fn take(mut from: TcpStream, pieces: &Sender<(Instant, Vec<u8>)>) {
    let mut buf = vec![0; PIECE];
    loop {
        let got = from.read(&mut buf).unwrap_or(0);
        if pieces.send((Instant::now(), buf[..got].to_vec())).is_err() || got == 0 {
            return;
        }
    }
}

/// Writes each piece when its time has come.
fn give(mut to: TcpStream, late: &Receiver<(Instant, Vec<u8>)>, half: Duration) {
    let mut waiting: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    while let Some((came, piece)) = waiting.pop_front().or_else(|| late.recv().ok()) {
        let wait = (came + half).saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            thread::sleep(wait);
        }
        waiting.extend(late.try_iter());
        if piece.is_empty() || to.write_all(&piece).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

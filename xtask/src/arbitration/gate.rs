//! A way to a port of this machine that can be cut: a listener that passes bytes on, or silence.
//!
//! Cut, it still takes connections and what is sent, and says nothing, as a network that drops
//! packets. Never: a byte after it was cut, in either direction.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A way to one port.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    /// Where it listens.
    pub(super) port: u16,
    cut: Arc<AtomicBool>,
}

impl Gate {
    /// Opens a way to `target` on loopback.
    pub(super) fn open(target: u16) -> Result<Gate, String> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(|error| error.to_string())?;
        let port = listener.local_addr().map_err(|error| error.to_string())?.port();
        let cut = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&cut);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let flag = Arc::clone(&flag);
                std::thread::spawn(move || pass(stream, target, &flag));
            }
        });
        Ok(Gate { port, cut })
    }

    /// The port itself, which no cut is felt on.
    pub(super) fn none(port: u16) -> Gate {
        Gate { port, cut: Arc::default() }
    }

    /// Cuts it, or heals it: connections that were silent in between end.
    pub(super) fn set_cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::SeqCst);
    }
}

/// Passes bytes both ways until one end is closed.
fn pass(near: TcpStream, target: u16, cut: &Arc<AtomicBool>) {
    while cut.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let Ok(far) = TcpStream::connect(("127.0.0.1", target)) else { return };
    let (Ok(near_too), Ok(far_too)) = (near.try_clone(), far.try_clone()) else { return };
    let flag = Arc::clone(cut);
    let back = std::thread::spawn(move || copy(far_too, near_too, &flag));
    copy(near, far, cut);
    // Its end is that of the other direction.
    let _ = back.join();
}

fn copy(mut from: TcpStream, mut to: TcpStream, cut: &AtomicBool) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(len @ 1..) = from.read(&mut bytes) {
        // What came while it was cut is lost, and with it the connection.
        if cut.load(Ordering::SeqCst) || to.write_all(&bytes[..len]).is_err() {
            while cut.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(10));
            }
            break;
        }
    }
    // Either may be closed already.
    let _ = from.shutdown(std::net::Shutdown::Both);
    let _ = to.shutdown(std::net::Shutdown::Both);
}

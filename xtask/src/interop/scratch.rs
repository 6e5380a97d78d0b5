//! A folder of this run alone, and ports that nobody uses.
//!
//! The folder goes when the run ends, however it ends. It lies in cargo's target folder and not in
//! the system's temporary one, which is often a tmpfs and knows no `O_DIRECT`.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::toolbox;

/// Ports of one broker: of its name server, and of its first shard (the second is ten above).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    /// Name server.
    pub(super) namesrv: u16,
    /// First shard.
    pub(super) shard: u16,
}

/// The folder. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
    next_port: Mutex<u16>,
}

impl Scratch {
    /// Makes an empty folder, named after this process.
    pub(super) fn new() -> Result<Scratch, String> {
        let id = std::process::id();
        let path = toolbox::target().join(format!("xtask/interop-{id}"));
        std::fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        // Below the range from which the kernel takes ports for outgoing connections, so that a
        // port stays free between two starts of a broker. Two runs at once begin far apart.
        let next_port = Mutex::new(u16::try_from(15_000 + id % 64 * 200).unwrap_or(15_000));
        Ok(Scratch { path, next_port })
    }

    /// A folder in it, made when it is not there.
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf, String> {
        let path = self.path.join(name);
        std::fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }

    /// The folder itself.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Ports for one more broker of two shards; each shard also has the old VIP port two below, and
    /// the control port lies eleven below the first.
    pub(super) fn ports(&self) -> Result<Ports, String> {
        let mut next = self.next_port.lock().map_err(|_| "a lane of the run died")?;
        for _ in 0..200 {
            let first = *next;
            *next = if first > 30_000 { 15_000 } else { first + 25 };
            let wanted = [first - 6, first, first + 3, first + 5, first + 13, first + 15];
            if wanted.iter().all(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()) {
                return Ok(Ports { namesrv: first, shard: first + 5 });
            }
        }
        Err("no free ports on loopback".into())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            eprintln!("interop: cannot remove {}: {error}", self.path.display());
        }
    }
}

//! The sockets the process listens on, each with a name, and where each comes from.
//!
//! A socket is one that a socket unit opened (names `broker`, `broker-N`, `namesrv`, `control`),
//! one that the service manager kept from the last process (`listen-…`), or one that is opened
//! here and then given to the manager to keep. A name that nobody knows is refused, because a
//! socket that is open and not served lets clients wait for ever.
//! Never: a socket of another address than the configuration's because it happens to be there.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use weir_io::service::{self, StagingPlace, Store};

use crate::config::Config;
use crate::exit::{self, Stop};

/// What the manager keeps of ours has this in front of the door's name.
const KEPT: &str = "listen-";
/// Staging memory is kept under the name of its file, which begins so.
const STAGING: &str = "weir-";

/// A socket to listen on.
#[derive(Debug)]
pub(super) struct Door {
    name: String,
    /// The configured address.
    pub(super) addr: SocketAddr,
    given: Option<TcpListener>,
    store: Option<Store>,
}

impl Door {
    /// The open socket: the one that was given, or a new one, which is then kept by the manager.
    /// A busy port is tried for `patience`.
    pub(super) fn open(mut self, patience: Duration) -> Result<TcpListener, weir_io::Errno> {
        if let Some(given) = self.take_given() {
            return Ok(given);
        }
        let opened = weir_io::open_listener(self.addr, patience)?;
        self.keep(&opened);
        Ok(opened)
    }

    /// The socket that was given, if one was.
    pub(super) fn take_given(&mut self) -> Option<TcpListener> {
        self.given.take()
    }

    /// Gives a socket that was opened for this door to the manager to keep.
    pub(super) fn keep(&self, opened: &impl AsFd) {
        if let Some(store) = self.store {
            // If it is not kept, a restart closes the port for a moment, and nothing else.
            store.keep(&format!("{KEPT}{}", self.name), opened.as_fd());
        }
    }
}

/// Everything the manager gave and can keep, sorted by what it is for.
#[derive(Debug, Default)]
pub(super) struct Doors {
    store: Option<Store>,
    wanted: BTreeMap<String, SocketAddr>,
    given: BTreeMap<String, TcpListener>,
    staging: BTreeMap<String, File>,
}

impl Doors {
    /// Sorts what was given. The error names every socket that has no place, and what to do.
    pub(super) fn sort(
        config: &Config,
        shards: u16,
        given: Vec<(String, OwnedFd)>,
        store: Option<Store>,
    ) -> Result<Doors, Stop> {
        let mut doors = Doors { store, wanted: wanted(config, shards), ..Doors::default() };
        let mut faults = Vec::new();
        let mut kept = Vec::new();
        for (name, fd) in given {
            if name.starts_with(STAGING) {
                // Of another data directory: left where it is, for its own next start.
                doors.staging.insert(name, File::from(fd));
            } else if let Some(name) = name.strip_prefix(KEPT) {
                kept.push((name.to_owned(), fd));
            } else if let Err(fault) = doors.take_from_unit(&name, fd) {
                faults.push(fault);
            }
        }
        if !faults.is_empty() {
            return Err(Stop::new(exit::CONFIG, faults.join("; ")));
        }
        for (name, fd) in kept {
            doors.take_kept(&name, fd);
        }
        Ok(doors)
    }

    /// The door of a name that [`wanted`] knows.
    pub(super) fn door(&mut self, name: &str) -> Option<Door> {
        let (name, addr) = self.wanted.remove_entry(name)?;
        let given = self.given.remove(&name);
        Some(Door { given, name, addr, store: self.store })
    }

    /// The place of a shard's staging memory, when the manager keeps descriptors or kept this one.
    pub(super) fn staging(&mut self, name: &str) -> Option<StagingPlace> {
        let (left, store) = (self.staging.remove(name), self.store);
        let any = left.is_some() || store.is_some();
        any.then(|| StagingPlace { store, name: name.to_owned(), left })
    }

    /// A socket of a socket unit: one with a name of ours, at the port that it should have.
    fn take_from_unit(&mut self, unit: &str, fd: OwnedFd) -> Result<(), String> {
        let listener = service::as_listener(fd).map_err(|_| {
            format!("systemd passed {unit:?}, which is no listening TCP socket; mend its unit")
        })?;
        let addr = listener.local_addr().map_err(|error| error.to_string())?;
        let names = self.wanted.iter().filter(|(name, _)| match unit {
            "broker" => name.starts_with("broker-"),
            other => *name == other,
        });
        let mut known = false;
        for (name, wanted) in names {
            known = true;
            if wanted.port() == addr.port() {
                self.given.insert(name.clone(), listener);
                return Ok(());
            }
        }
        let have: Vec<String> =
            self.wanted.iter().map(|(name, addr)| format!("{name} {}", addr.port())).collect();
        let what = if known {
            format!("systemd passed {unit:?} on port {}", addr.port())
        } else {
            format!("systemd passed a socket named {unit:?}, which is no listener of weir's")
        };
        Err(format!(
            "{what}; this configuration listens as: {} (broker: any of the shards, by port); set \
             FileDescriptorName= and ListenStream= of its socket unit accordingly, or disable it",
            have.join(", ")
        ))
    }

    /// A socket of the last process: taken up when its address still is what is configured.
    fn take_kept(&mut self, name: &str, fd: OwnedFd) {
        let listener = service::as_listener(fd).ok();
        let addr = listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let fits = addr.is_some() && addr.as_ref() == self.wanted.get(name);
        match listener {
            Some(listener) if fits && !self.given.contains_key(name) => {
                self.given.insert(name.to_owned(), listener);
            }
            // Closed here and there, before anything is bound: it may hold a port that is wanted.
            other => {
                drop(other);
                if let Some(store) = self.store {
                    store.forget(&format!("{KEPT}{name}"));
                }
            }
        }
    }
}

/// Name of a shard's door.
pub(super) fn broker(index: u16) -> String {
    format!("broker-{index}")
}

/// Name of a shard's door for old clients.
pub(super) fn vip(index: u16) -> String {
    format!("broker-{index}-vip")
}

/// Name of a shard's door for the other half of its pair.
pub(super) fn peers(index: u16) -> String {
    format!("ha-{index}")
}

/// Name of the name server's door.
pub(super) const NAMING: &str = "namesrv";
/// Name of the control plane's door.
pub(super) const CONTROL: &str = "control";

/// Every door of a configuration, by name.
pub(super) fn wanted(config: &Config, shards: u16) -> BTreeMap<String, SocketAddr> {
    let mut doors = BTreeMap::new();
    for index in 0..shards {
        doors.insert(broker(index), SocketAddr::new(config.bind, config.shard_port(index)));
        if let Some(port) = config.shard_vip_port(index) {
            doors.insert(vip(index), SocketAddr::new(config.bind, port));
        }
        if let Some(port) = config.shard_ha_port(index) {
            doors.insert(peers(index), SocketAddr::new(config.bind, port));
        }
    }
    doors.insert(NAMING.into(), SocketAddr::new(config.bind, config.namesrv_listen_port));
    if config.control_port() != 0 {
        doors.insert(CONTROL.into(), SocketAddr::new(config.control_bind, config.control_port()));
    }
    doors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener() -> (TcpListener, u16) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    fn sort(config: &Config, given: Vec<(&str, OwnedFd)>) -> Result<Doors, Stop> {
        let given = given.into_iter().map(|(name, fd)| (name.to_owned(), fd)).collect();
        Doors::sort(config, 1, given, None)
    }

    #[test]
    fn a_socket_unit_is_matched_by_name_or_as_a_broker_by_its_port() {
        let ((named, namesrv), (shard, port)) = (listener(), listener());
        let config =
            Config { namesrv_listen_port: namesrv, listen_port: port, ..Config::default() };
        let given = vec![("namesrv", named.into()), ("broker", shard.into())];
        let mut doors = sort(&config, given).unwrap();
        assert!(doors.door(NAMING).unwrap().take_given().is_some());
        assert!(doors.door("broker-0").unwrap().take_given().is_some());
        assert!(doors.door("broker-0-vip").unwrap().take_given().is_none());
        assert!(doors.door("broker-1").is_none());
    }

    #[test]
    fn names_that_nobody_knows_and_wrong_ports_are_refused_by_name() {
        let ((one, _), (two, port)) = (listener(), listener());
        let datagram = std::net::UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let config = Config { namesrv_listen_port: 1, ..Config::default() };
        let given =
            vec![("web", one.into()), ("namesrv", two.into()), ("control", datagram.into())];
        let stop = sort(&config, given).unwrap_err();
        assert_eq!(stop.exit_code, exit::CONFIG);
        for part in ["\"web\"", &format!("\"namesrv\" on port {port}"), "\"control\", which is no"]
        {
            assert!(stop.line.contains(part), "{part}: {}", stop.line);
        }
        assert!(stop.line.contains("namesrv 1") && stop.line.contains("ListenStream="));
    }

    #[test]
    fn a_kept_socket_is_taken_up_at_its_address_and_closed_at_another() {
        let ((same, port), (moved, _)) = (listener(), listener());
        let addr = moved.local_addr().unwrap();
        let config = Config { listen_port: port, ..Config::default() };
        let given = vec![
            ("listen-broker-0", same.into()),
            ("listen-namesrv", moved.into()),
            ("weir-0123-0", File::open("/dev/null").unwrap().into()),
        ];
        let mut doors = sort(&config, given).unwrap();
        assert!(doors.door("broker-0").unwrap().take_given().is_some());
        assert!(doors.door(NAMING).unwrap().take_given().is_none());
        assert!(TcpListener::bind(addr).is_ok(), "nobody holds it any more");
        let place = doors.staging("weir-0123-0").unwrap();
        assert!(place.left.is_some(), "what was kept is never dropped for want of a store");
        assert!(doors.staging("weir-0123-1").is_none(), "without a store there is no place");
    }
}

//! The address that clients are told, and the one that records bear.
//!
//! Both follow from the configuration and the host; nothing is sent to find them out. Never: an
//! unspecified address told to a client.

use std::net::{IpAddr, Ipv4Addr};

use crate::config::Config;
use crate::exit::{self, Stop};

/// The address that clients are told: `brokerIP1`, else the one listened on. The error is that the
/// host has none to tell.
pub(crate) fn advertised(config: &Config) -> Result<String, Stop> {
    if let Some(address) = &config.broker_ip1 {
        return Ok(address.clone());
    }
    if !config.bind.is_unspecified() {
        return Ok(config.bind.to_string());
    }
    let outer = outer_address().ok_or_else(|| {
        Stop::new(
            exit::CONFIG,
            "bind is 0.0.0.0 and the host has no outer address to tell clients: set brokerIP1",
        )
    })?;
    Ok(outer.to_string())
}

/// The source address the kernel would use for an outer destination; nothing is sent.
fn outer_address() -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_unspecified()).then_some(address)
}

/// The IPv4 address written into records and message ids.
pub(super) fn store_ip(address: &str) -> [u8; 4] {
    use std::net::ToSocketAddrs;
    let ip = (address, 0).to_socket_addrs().ok().and_then(|mut found| {
        found.find_map(|addr| match addr.ip() {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(_) => None,
        })
    });
    ip.unwrap_or(Ipv4Addr::LOCALHOST).octets()
}

//! The address a client is told for a broker, which may depend on where the client comes from.
//!
//! A box with two networks, or a container behind NAT, is reached under different addresses by
//! different clients, and RocketMQ's clients dial exactly what the route says. So an address is
//! a default and a list of exceptions by subnet; it is never resolved or dialled here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network in CIDR form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    network: u128,
    prefix_bits: u32,
    v6: bool,
}

impl Subnet {
    /// Reads `10.0.0.0/8`, `fd00::/8` or a bare address (a network of one). Host bits beyond the
    /// prefix are ignored. `None` when the text is neither.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (addr, bits) = match text.split_once('/') {
            Some((addr, bits)) => (addr, Some(bits.parse::<u32>().ok()?)),
            None => (text, None),
        };
        let addr: IpAddr = addr.parse().ok()?;
        let width = width_bits(addr);
        let prefix_bits = bits.unwrap_or(width);
        if prefix_bits > width {
            return None;
        }
        let v6 = addr.is_ipv6();
        Some(Self { network: high_bits(number(addr), prefix_bits, width), prefix_bits, v6 })
    }

    /// True when `addr` lies in this network. An IPv4 address mapped into IPv6, which is what a
    /// dual-stack listener reports, counts as the IPv4 address.
    #[must_use]
    pub fn contains(&self, addr: IpAddr) -> bool {
        let addr = addr.to_canonical();
        addr.is_ipv6() == self.v6
            && high_bits(number(addr), self.prefix_bits, width_bits(addr)) == self.network
    }
}

fn width_bits(addr: IpAddr) -> u32 {
    if addr.is_ipv4() { Ipv4Addr::BITS } else { Ipv6Addr::BITS }
}

fn number(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The upper `prefix_bits` of a `width`-bit number; the rest cleared.
fn high_bits(number: u128, prefix_bits: u32, width: u32) -> u128 {
    let low = width - prefix_bits;
    // A shift by the full width (prefix 0 of IPv6) is not defined for the operator.
    number.checked_shr(low).and_then(|high| high.checked_shl(low)).unwrap_or(0)
}

/// What a broker wants to be called by its clients: `host:port` text, per subnet where needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertised {
    default: String,
    by_subnet: Vec<(Subnet, String)>,
}

impl Advertised {
    /// One address for everybody, as RocketMQ's own registration carries it.
    #[must_use]
    pub fn everywhere(addr: &str) -> Self {
        Self { default: addr.to_owned(), by_subnet: Vec::new() }
    }

    /// Adds an exception: clients from `subnet` are told `addr`. The longest prefix wins.
    pub fn from_subnet(&mut self, subnet: Subnet, addr: &str) {
        self.by_subnet.push((subnet, addr.to_owned()));
        self.by_subnet.sort_by_key(|(subnet, _)| std::cmp::Reverse(subnet.prefix_bits));
    }

    /// The address that identifies the broker in registrations and heartbeats.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.default
    }

    /// The address for a client that connected from `viewer`; `None` is told the default.
    #[must_use]
    pub fn seen_by(&self, viewer: Option<IpAddr>) -> &str {
        viewer
            .and_then(|from| self.by_subnet.iter().find(|(subnet, _)| subnet.contains(from)))
            .map_or(&self.default, |(_, addr)| addr)
    }
}

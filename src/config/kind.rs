//! The kinds of value a knob can hold: how its text is read and how its range is told.
//!
//! TOML values and `--set` values come through the same text, so that both accept the same and
//! refuse with the same words. It never clamps a value into its range.

use super::table::SHARDS_MAX;
use std::net::IpAddr;

const KIB: u64 = 1024;

/// `flushDiskType`: what "sent" means to a producer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlushDiskType {
    /// Acknowledged when staged in memory that survives `kill -9` of the process.
    #[default]
    AsyncFlush,
    /// Acknowledged when the device has it.
    SyncFlush,
}

/// `brokerRole`: what an acknowledgement of this box waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BrokerRole {
    /// Not for the standby.
    #[default]
    AsyncMaster,
    /// For the standby.
    SyncMaster,
    /// RocketMQ's word for a standby.
    Slave,
}

/// A set of hours of the day, as in `deleteWhen = "04;16"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HourSet(u32);

impl HourSet {
    /// True when `hour` (0 to 23) is in the set.
    #[must_use]
    pub fn contains(self, hour: u32) -> bool {
        hour < 24 && self.0 & (1 << hour) != 0
    }
}

/// A value that passed its kind's check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// `auto`: weir chooses at start.
    Auto,
    /// `true` or `false`.
    Flag(bool),
    /// Any whole number, bytes included.
    Number(u64),
    /// A name, a host or a folder.
    Text(String),
    /// One address.
    Address(IpAddr),
    /// `host:port` texts.
    List(Vec<String>),
    /// `subnet=host` pairs.
    Pairs(Vec<(String, String)>),
    /// Hours of the day.
    Hours(HourSet),
    /// `flushDiskType`.
    Flush(FlushDiskType),
    /// `brokerRole`.
    Role(BrokerRole),
}

/// What a knob accepts. Ranges are inclusive.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// `true` or `false`.
    Flag,
    /// A whole number and the unit it is counted in (empty: just a number).
    Number { low: u64, high: u64, unit: &'static str },
    /// Bytes; plain, or with `KiB`, `MiB`, `GiB` or `TiB`. `zero`: 0 is allowed below the range.
    Bytes { low: u64, high: u64, zero: bool },
    /// Letters, digits, `%`, `|`, `_`, `-` and `.`, 1 to `max` of them.
    Name { max: usize },
    /// An IP address to bind.
    Address,
    /// A host name or address without port.
    Host,
    /// `host:port` pairs separated by `;`.
    HostPorts,
    /// Numbers of shards separated by `;`.
    Shards,
    /// `subnet=host` pairs separated by `;`.
    SubnetHosts,
    /// Hours `00` to `23` separated by `;`.
    Hours,
    /// A folder.
    Folder,
    /// `ASYNC_FLUSH` or `SYNC_FLUSH`.
    Flush,
    /// `ASYNC_MASTER`, `SYNC_MASTER` or `SLAVE`.
    Role,
    /// 16 to 256 visible characters, or nothing; never printed.
    Secret,
    /// One of two words; a flag with names of its own.
    Choice { no: &'static str, yes: &'static str },
    /// RocketMQ's permission bits: 2 write, 4 read, 6 both.
    Permission,
}

impl Kind {
    /// The allowed range in words, as it stands after "allowed: " and in the manual.
    pub(super) fn allowed(&self) -> String {
        match self {
            Kind::Flag => "true or false".into(),
            Kind::Number { low, high, unit: "" } => format!("{low} to {high}"),
            Kind::Number { low, high, unit } => format!("{low} to {high} {unit}"),
            Kind::Bytes { low, high, zero } => {
                let or_zero = if *zero { "0, or " } else { "" };
                format!("{or_zero}{} to {} (bytes)", bytes_text(*low), bytes_text(*high))
            }
            Kind::Name { max } => format!("1 to {max} of letters, digits, % | _ - ."),
            Kind::Address => "an IP address".into(),
            Kind::Host => "a host name or IP address, without port".into(),
            Kind::HostPorts => "host:port, several separated by ;".into(),
            Kind::Shards => "numbers of shards, from 0 on, separated by ;".into(),
            Kind::SubnetHosts => "subnet=host, several separated by ; (10.0.0.0/8=10.1.2.3)".into(),
            Kind::Hours => "hours 00 to 23, several separated by ;".into(),
            Kind::Folder => "a folder".into(),
            Kind::Flush => "ASYNC_FLUSH or SYNC_FLUSH".into(),
            Kind::Role => "ASYNC_MASTER, SYNC_MASTER or SLAVE".into(),
            Kind::Secret => "16 to 256 visible characters, or nothing".into(),
            Kind::Choice { no, yes } => format!("{no} or {yes}"),
            Kind::Permission => "6 (read and write), 4 (read), 2 (write)".into(),
        }
    }

    /// Reads the text of a value. `None`: outside what [`Kind::allowed`] says.
    pub(super) fn read(&self, text: &str) -> Option<Value> {
        let text = text.trim();
        match self {
            Kind::Flag => flag(text).map(Value::Flag),
            Kind::Number { low, high, .. } => {
                text.parse().ok().filter(|n| (low..=high).contains(&n)).map(Value::Number)
            }
            Kind::Bytes { low, high, zero } => bytes(text)
                .filter(|n| (low..=high).contains(&n) || (*zero && *n == 0))
                .map(Value::Number),
            Kind::Name { max } => name(text, *max).map(Value::Text),
            Kind::Address => text.parse().ok().map(Value::Address),
            Kind::Host => host(text).then(|| Value::Text(text.to_owned())),
            Kind::HostPorts => each(text, host_port).map(Value::List),
            Kind::Shards => each(text, shard).map(Value::List),
            Kind::SubnetHosts => each(text, subnet_host).map(Value::Pairs),
            Kind::Hours => hours(text).map(Value::Hours),
            Kind::Folder => {
                (!text.is_empty() && !text.contains('\0')).then(|| Value::Text(text.to_owned()))
            }
            Kind::Flush => flush(text).map(Value::Flush),
            Kind::Role => role(text).map(Value::Role),
            Kind::Secret => {
                let good = (16..=256).contains(&text.len()) && text.chars().all(visible);
                (good || text.is_empty()).then(|| Value::Text(text.to_owned()))
            }
            Kind::Choice { no, yes } => {
                (text == *no || text == *yes).then(|| Value::Flag(text == *yes))
            }
            Kind::Permission => {
                text.parse().ok().filter(|bits| matches!(bits, 2 | 4 | 6)).map(Value::Number)
            }
        }
    }
}

/// `256 MiB` for a number of bytes, exact: a number that is not whole in a unit stays smaller.
pub(super) fn bytes_text(bytes: u64) -> String {
    let units = [("TiB", KIB.pow(4)), ("GiB", KIB.pow(3)), ("MiB", KIB.pow(2)), ("KiB", KIB)];
    units
        .iter()
        .find(|(_, size)| bytes >= *size && bytes.is_multiple_of(*size))
        .map_or_else(|| bytes.to_string(), |(unit, size)| format!("{} {unit}", bytes / size))
}

fn flag(text: &str) -> Option<bool> {
    text.parse().ok()
}

fn flush(text: &str) -> Option<FlushDiskType> {
    match text {
        "ASYNC_FLUSH" => Some(FlushDiskType::AsyncFlush),
        "SYNC_FLUSH" => Some(FlushDiskType::SyncFlush),
        _ => None,
    }
}

fn role(text: &str) -> Option<BrokerRole> {
    match text {
        "ASYNC_MASTER" => Some(BrokerRole::AsyncMaster),
        "SYNC_MASTER" => Some(BrokerRole::SyncMaster),
        "SLAVE" => Some(BrokerRole::Slave),
        _ => None,
    }
}

fn visible(c: char) -> bool {
    c.is_ascii_graphic()
}

fn bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let size = match &text[digits.len()..] {
        "" | "B" => 1,
        "KiB" => KIB,
        "MiB" => KIB.pow(2),
        "GiB" => KIB.pow(3),
        "TiB" => KIB.pow(4),
        _ => return None,
    };
    digits.trim_end().parse::<u64>().ok()?.checked_mul(size)
}

fn name(text: &str, max: usize) -> Option<String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "%|_-.".contains(c);
    ((1..=max).contains(&text.len()) && text.chars().all(good)).then(|| text.to_owned())
}

fn host(text: &str) -> bool {
    let label = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    text.parse::<IpAddr>().is_ok()
        || ((1..=253).contains(&text.len()) && text.chars().all(label) && !text.starts_with('-'))
}

fn host_port(text: &str) -> Option<String> {
    let (host_text, port) = text.rsplit_once(':')?;
    let bare = host_text.trim_start_matches('[').trim_end_matches(']');
    let port: u16 = port.parse().ok()?;
    (host(bare) && port > 0).then(|| text.to_owned())
}

fn subnet_host(text: &str) -> Option<(String, String)> {
    let (subnet, host_text) = text.split_once('=')?;
    let (address, bits) = subnet.trim().split_once('/').unwrap_or((subnet.trim(), "0"));
    let address: IpAddr = address.parse().ok()?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    let bits: u32 = bits.parse().ok()?;
    (bits <= width && host(host_text.trim()))
        .then(|| (subnet.trim().to_owned(), host_text.trim().to_owned()))
}

fn hours(text: &str) -> Option<HourSet> {
    let read = |hour: &str| hour.parse::<u32>().ok().filter(|h| *h < 24 && hour.len() <= 2);
    let set = each(text, read)?.into_iter().fold(0, |set, hour| set | 1 << hour);
    (set != 0).then_some(HourSet(set))
}

/// The number of a shard, as it is printed.
fn shard(text: &str) -> Option<String> {
    text.parse().ok().filter(|number| *number < SHARDS_MAX).map(|number: u16| number.to_string())
}

/// Reads every non-empty part between semicolons; `None` when one is bad.
fn each<T>(text: &str, read: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    text.split(';').map(str::trim).filter(|part| !part.is_empty()).map(read).collect()
}

//! What a broker of this configuration would do with the box: cores, memory, ports, addresses.
//!
//! The answers come from the same functions that `weir serve` uses. A port is tried by binding it
//! for a moment; one that is held by a weir that answers on the control port is no fault.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::time::Duration;

use serde_json::{Value, json};
use weir_io::{cpu, group};

use super::finding::{Finding, Verdict};
use crate::cli::args;
use crate::cli::control::Control;
use crate::cli::tune::{Tree, memory_kib};
use crate::config::Config;
use crate::node;

const MIB: f64 = 1024.0 * 1024.0;
/// Longest wait for another box.
const REACH: Duration = Duration::from_secs(2);

/// Which cores, how many shards, which shard where.
pub(super) fn shards(config: &Config) -> (Finding, u16) {
    let cores = cpu::allowed();
    let counted = node::shard_count(config, &config.store_path_root_dir);
    let (shards, refused) = match counted {
        Ok(shards) => (shards, None),
        Err(stop) => (config.shards.unwrap_or(1), Some(stop.line)),
    };
    let pinned = node::shard_cores(&cores, shards);
    let spare: Vec<usize> = cores.iter().copied().filter(|core| !pinned.contains(core)).collect();
    let details = json!({
        "usableCores": cores, "shards": shards, "shardCores": pinned, "spareCores": spare,
    });
    let text = format!(
        "{} usable core(s); {shards} shard(s) on core(s) {pinned:?}, core(s) {spare:?} left for \
         control, interrupts and neighbours",
        cores.len()
    );
    let finding = match refused {
        Some(line) => Finding::new("shards", Verdict::NotReady, line),
        None if usize::from(shards) > cores.len() => {
            let mend = format!(
                "start with --set shards={} in a new data directory, or give the \
                                process more cores",
                Config::default_shards(cores.len())
            );
            Finding::new("shards", Verdict::Warn, format!("{text}; shards share cores"))
                .mended_by(mend)
        }
        None => Finding::new("shards", Verdict::Ready, text),
    };
    (finding.with(details), shards)
}

/// The memory table, and whether the box has that much.
pub(super) fn memory(tree: &Tree, config: &Config, shards: u16) -> Finding {
    let plan = match config.memory_plan(shards, group::memory_limit()) {
        Ok(plan) => plan,
        Err(why) => return Finding::new("memory", Verdict::NotReady, format!("memoryMax: {why}")),
    };
    let rows: Vec<Value> = plan
        .rows()
        .into_iter()
        .map(|(name, bytes, each)| json!({ "for": name, "bytes": bytes, "perShard": each }))
        .collect();
    let total = memory_kib(tree, "MemTotal:").map(|kib| kib * 1024);
    let free = memory_kib(tree, "MemAvailable:").map(|kib| kib * 1024);
    let shown = |bytes: Option<u64>| {
        bytes.map_or("?".to_owned(), |bytes| format!("{:.0}", bytes as f64 / MIB))
    };
    let text = format!(
        "{}\nthe box has {} MiB, {} of them available",
        plan.line(),
        shown(total),
        shown(free)
    );
    let mend = "lower memoryMax, or stop what uses the memory";
    let finding = match (total, free) {
        (Some(total), _) if total < plan.max => {
            Finding::new("memory", Verdict::NotReady, text).mended_by(mend)
        }
        (_, Some(free)) if free < plan.max => {
            Finding::new("memory", Verdict::Warn, text).mended_by(mend)
        }
        (None, None) => Finding::new("memory", Verdict::Unknown, text),
        _ => Finding::new("memory", Verdict::Ready, text),
    };
    finding.with(json!({ "max": plan.max, "rows": rows, "total": total, "available": free }))
}

/// What the consume queues of all shards would lie on, `arena_bytes` together.
pub(super) fn huge_pages(tree: &Tree, arena_bytes: u64) -> Finding {
    let needed = arena_bytes.div_ceil(2 * 1024 * 1024);
    let free = tree.text("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
    let setting = tree.text("sys/kernel/mm/transparent_hugepage/enabled");
    let details = json!({ "needed": needed, "free": free, "transparent": setting });
    let reserved = format!(
        "{needed} reserved ones of 2 MiB needed, {} free",
        match free.as_str() {
            "" => "none",
            some => some,
        }
    );
    let finding = if free.parse().is_ok_and(|free: u64| free >= needed) {
        let text = format!("consume queues would lie on reserved huge pages: {reserved}");
        Finding::new("huge pages", Verdict::Ready, text)
    } else if setting.contains("[always]") || setting.contains("[madvise]") {
        let text = format!("consume queues would lie on transparent huge pages ({reserved})");
        Finding::new("huge pages", Verdict::Ready, text)
    } else if setting.is_empty() && free.is_empty() {
        Finding::new("huge pages", Verdict::Unknown, "this box does not tell of huge pages")
    } else {
        let text = format!("consume queues would lie on plain pages ({reserved})");
        Finding::new("huge pages", Verdict::Warn, text)
            .mended_by("weir tune apply (transparent ones), or weir tune apply --huge-pages")
    };
    finding.with(details)
}

/// Every port weir would listen on: free, held by the weir that runs here, or taken.
pub(super) fn ports(config: &Config, shards: u16) -> Finding {
    if let Err(why) = config.check_ports(shards) {
        return Finding::new("ports", Verdict::NotReady, why);
    }
    let held = |(name, addr): &(String, SocketAddr)| {
        let refused = TcpListener::bind(addr).err()?;
        Some((name.clone(), *addr, refused))
    };
    let all = listeners(config, shards);
    let taken: Vec<_> = all.iter().filter_map(held).collect();
    let rows: Vec<Value> = all
        .iter()
        .map(|(name, addr)| {
            let free = taken.iter().all(|(_, taken, _)| taken != addr);
            json!({ "for": name, "address": addr.to_string(), "free": free })
        })
        .collect();
    let shown: Vec<String> = all.iter().map(|(name, addr)| format!("{name} {addr}")).collect();
    let finding = if taken.is_empty() {
        Finding::new("ports", Verdict::Ready, format!("free: {}", shown.join(", ")))
    } else if runs(config) {
        let text = format!("held by the weir that runs here: {}", shown.join(", "));
        Finding::new("ports", Verdict::Ready, text)
    } else {
        let line = |(name, addr, error): &(String, SocketAddr, std::io::Error)| {
            let why = match error.kind() {
                ErrorKind::AddrInUse => "taken".to_owned(),
                _ => error.to_string(),
            };
            format!("{name} {addr}: {why}")
        };
        let lines: Vec<String> = taken.iter().map(line).collect();
        Finding::new("ports", Verdict::NotReady, lines.join("\n")).mended_by(
            "stop what holds them (ss -ltnp), or set listenPort, namesrvListenPort, \
             controlListenPort, haListenPort, bind",
        )
    };
    finding.with(json!(rows))
}

fn listeners(config: &Config, shards: u16) -> Vec<(String, SocketAddr)> {
    let at = |port| SocketAddr::new(config.bind, port);
    let mut all = vec![("name server".to_owned(), at(config.namesrv_listen_port))];
    for shard in 0..shards {
        all.push((format!("shard {shard}"), at(config.shard_port(shard))));
        all.extend(
            config.shard_vip_port(shard).map(|port| (format!("shard {shard} VIP"), at(port))),
        );
        all.extend(config.shard_ha_port(shard).map(|port| (format!("shard {shard} HA"), at(port))));
    }
    if config.control_port() != 0 {
        let addr = SocketAddr::new(config.control_bind, config.control_port());
        all.push(("control".to_owned(), addr));
    }
    all
}

/// Whether the HA port of the primary that `primary` names takes connections; `None`: this box has
/// no primary to follow.
pub(super) fn primary(config: &Config) -> Option<Finding> {
    let text = config.primary.first().filter(|_| config.follows())?;
    let reached = text.to_socket_addrs().and_then(|mut found| {
        let addr = found.next().ok_or_else(|| std::io::Error::other("the name has no address"))?;
        TcpStream::connect_timeout(&addr, REACH)
    });
    let finding = match reached {
        Ok(_) => Finding::new("primary", Verdict::Ready, format!("{text} takes connections")),
        Err(error) => {
            let why = format!("{text} cannot be reached: {error}; this standby would wait for it");
            Finding::new("primary", Verdict::Warn, why).mended_by(
                "start the primary, and let its HA port (listenPort + 1 of its first shard) \
                 through the firewall",
            )
        }
    };
    Some(finding.with(json!({ "address": text })))
}

/// Whether a weir answers on the control port.
fn runs(config: &Config) -> bool {
    let ip = match config.control_bind {
        ip if ip.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        ip => ip,
    };
    let control = SocketAddr::new(ip, config.control_port()).to_string();
    let answer = Control::new(&args::Control { control, timeout_ms: 1000 }).get("/health");
    config.control_port() != 0 && answer.is_ok_and(|(_, body)| body["shards"].is_array())
}

/// The addresses that clients will be told.
pub(super) fn addresses(config: &Config, shards: u16) -> Finding {
    let address = match node::advertised(config) {
        Ok(address) => address,
        Err(stop) => return Finding::new("addresses", Verdict::NotReady, stop.line),
    };
    let host = cpu::host_name();
    let rows: Vec<Value> = (0..shards)
        .map(|shard| {
            let (name, port) = (config.shard_name(&host, shard), config.shard_port(shard));
            json!({ "broker": name, "address": format!("{address}:{port}") })
        })
        .collect();
    let mut lines: Vec<String> = rows
        .iter()
        .map(|row| {
            let word = |key: &str| row[key].as_str().unwrap_or_default();
            format!("{} is {}", word("broker"), word("address"))
        })
        .collect();
    for (subnet, host) in &config.broker_ip_by_subnet {
        lines.push(format!("for clients from {subnet} the host is {host}"));
    }
    let local = address.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    let finding = if local {
        lines.push("loopback: only clients on this machine can follow it".to_owned());
        Finding::new("addresses", Verdict::Warn, lines.join("\n"))
            .mended_by("for others: --set bind=0.0.0.0, and brokerIP1 when the box has several")
    } else {
        Finding::new("addresses", Verdict::Ready, lines.join("\n"))
    };
    let by_subnet: Vec<Value> = config
        .broker_ip_by_subnet
        .iter()
        .map(|(subnet, host)| json!({ "subnet": subnet, "host": host }))
        .collect();
    finding.with(json!({ "brokers": rows, "bySubnet": by_subnet }))
}

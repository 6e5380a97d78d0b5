//! GET_BROKER_RUNTIME_INFO (28): the shard's figures under RocketMQ's keys, all as texts.
//!
//! Exporters and dashboards parse them without asking, so the forms are RocketMQ's, three rates
//! in one text included. Keys without a counterpart here keep the writer's neutral value. What
//! RocketMQ has no key for begins with `weir`.

use std::collections::BTreeMap;

use weir_wire::request::runtime;

use crate::broker::Reject;
use crate::measure::{Counts, Meter, Rates};
use crate::server::dispatch::{Call, Handled};
use crate::server::turn::Server;

/// Texts by key.
type Table = BTreeMap<String, String>;

/// Answers a KVTable.
pub(crate) fn handle(server: &mut Server, call: &Call<'_>) -> Result<Handled, Reject> {
    let mut table = Table::new();
    counted(&server.shard.meter, &mut table);
    rates(&server.shard.meter, &mut table);
    stored(server, &mut table);
    queued(server, &mut table);
    let mut body = Vec::new();
    runtime::write(&mut body, &table);
    Ok(server.answer_body(call, &body))
}

fn put(table: &mut Table, key: &str, value: impl ToString) {
    table.insert(key.to_owned(), value.to_string());
}

/// Totals since the start and since midnight, local time. Both begin at the start, as RocketMQ's.
fn counted(meter: &Meter, table: &mut Table) {
    let (counts, windows) = (&meter.counts, &meter.windows);
    put(table, "bootTimestamp", windows.boot_ms);
    put(table, "startAcceptSendRequestTimeStamp", windows.boot_ms);
    put(table, "runtime", span(windows.up_ns()));
    put(table, "putMessageTimesTotal", counts.messages_in);
    put(table, "putMessageSizeTotal", counts.bytes_in);
    let average = counts.bytes_in as f64 / counts.messages_in.max(1) as f64;
    put(table, "putMessageAverageSize", format!("{average:.1}"));
    put(table, "putMessageFailedTimes", counts.sends_refused);
    put(table, "putMessageEntireTimeMax", windows.put_max_ns / 1_000_000);
    put(table, "getMessageEntireTimeMax", windows.pull_max_ns / 1_000_000);
    put(table, "msgPutTotalTodayNow", counts.messages_in);
    put(table, "msgGetTotalTodayNow", counts.messages_out);
    put(table, "msgPutTotalTodayMorning", windows.this_morning.0);
    put(table, "msgGetTotalTodayMorning", windows.this_morning.1);
    put(table, "msgPutTotalYesterdayMorning", windows.yesterday_morning.0);
    put(table, "msgGetTotalYesterdayMorning", windows.yesterday_morning.1);
}

/// Rates, and the send times of the last whole minute.
fn rates(meter: &Meter, table: &mut Table) {
    let windows = &meter.windows;
    let three = |counter: fn(&Counts) -> u64| text_of(windows.rates(counter));
    put(table, "putTps", three(|counts| counts.messages_in));
    put(table, "getFoundTps", three(|counts| counts.pulls_found));
    put(table, "getMissTps", three(|counts| counts.pulls_missed));
    put(table, "getTotalTps", three(|counts| counts.pulls_found + counts.pulls_missed));
    let transferred = three(|counts| counts.messages_out);
    put(table, "getTransferredTps", &transferred);
    put(table, "getTransferedTps", &transferred);
    put(table, "putLatency99", format!("{:.2}", windows.put_ms(0.99)));
    put(table, "putLatency999", format!("{:.2}", windows.put_ms(0.999)));
    let buckets = windows.put_buckets();
    let buckets = buckets.iter().map(|(label, count)| format!("{label}:{count} "));
    put(table, "putMessageDistributeTime", buckets.collect::<String>());
}

/// The log and the disk below it.
fn stored(server: &mut Server, table: &mut Table) {
    let (total, free) = server.shard.disk_space(&mut server.driver);
    let ratio = if total == 0 { 0.0 } else { 1.0 - free as f64 / total as f64 };
    let shard = &server.shard;
    put(table, "commitLogDiskRatio", ratio);
    put(table, "consumeQueueDiskRatio", ratio);
    let capacity = format!("Total : {}, Free : {}.", readable(total), readable(free));
    put(table, "commitLogDirCapacity", capacity);
    let (min, max) = shard.log_span();
    put(table, "commitLogMinOffset", min);
    put(table, "commitLogMaxOffset", max);
    put(table, "remainHowManyDataToFlush", readable(shard.flush_behind_bytes()));
    put(table, "pageCacheLockTimeMills", shard.device_age_ms());
    let risk = shard.at_risk();
    put(table, "weirPowerLossMessages", risk.messages);
    put(table, "weirPowerLossBytes", risk.bytes);
    put(table, "weirPowerLossOldestMills", risk.oldest_ms);
    let amplification = shard.meter.counts.write_amplification();
    put(table, "weirBytesPerPayloadByte", format!("{amplification:.3}"));
}

/// What waits: sends for room in the log, reads for the disk; and how many may.
fn queued(server: &Server, table: &mut Table) {
    let tuning = server.shard.tuning();
    put(table, "sendThreadPoolQueueSize", server.blocked.len());
    put(table, "sendThreadPoolQueueHeadWaitTimeMills", server.blocked_for_ms());
    put(table, "sendThreadPoolQueueCapacity", tuning.pressure.send_queue);
    let limits = [tuning.pulls, tuning.lite_pulls, tuning.queries];
    for ((name, size, oldest_ns), limit) in server.kept.queues().into_iter().zip(limits) {
        let waited_ns = oldest_ns.map_or(0, |born_ns| server.now_ns.saturating_sub(born_ns));
        put(table, &format!("{name}ThreadPoolQueueSize"), size);
        put(table, &format!("{name}ThreadPoolQueueHeadWaitTimeMills"), waited_ns / 1_000_000);
        put(table, &format!("{name}ThreadPoolQueueCapacity"), limit.capacity);
    }
}

fn text_of(rates: Rates) -> String {
    let [ten, sixty, all] = rates;
    format!("{ten:.1} {sixty:.1} {all:.1}")
}

/// `[ 0 days, 0 hours, 1 minutes, 2 seconds ]`.
fn span(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    format!(
        "[ {days} days, {} hours, {} minutes, {} seconds ]",
        hours % 24,
        minutes % 60,
        seconds % 60
    )
}

/// `999 B`, `1.0 KiB`, `1.5 GiB`.
fn readable(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_spans_read_like_rocketmqs() {
        assert_eq!(readable(999), "999 B");
        assert_eq!(readable(1024), "1.0 KiB");
        assert_eq!(readable(1_610_612_736), "1.5 GiB");
        let up = span(93_784_000_000_000);
        assert_eq!(up, "[ 1 days, 2 hours, 3 minutes, 4 seconds ]");
    }
}

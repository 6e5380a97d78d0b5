//! `GET /metrics` and `GET /metrics/full`: Prometheus text.
//!
//! The small set has a few series per shard and is for boards; the full one adds a histogram per
//! stage, topics and groups, and is for finding out. RocketMQ 5's names and labels where it has
//! the figure, `weir_` for the rest. The number of series is bounded, whatever topics there are.

use axum::Extension;
use axum::http::header::CONTENT_TYPE;
use hdrhistogram::Histogram;

use super::ask::NoAnswer;
use super::collect::{Collector, Row};
use super::exposition::{self, Buckets, Family, Labels, Sample};
use super::traffic;
use crate::measure::{STAGES, Stage, Unit};
use crate::server::{Backlog, Figures, PairReport, Question};

/// RocketMQ's buckets of `rocketmq_rpc_latency`, milliseconds.
const RPC_MS: &[f64] = &[1.0, 3.0, 5.0, 7.0, 10.0, 100.0, 1000.0, 2000.0, 3000.0];
/// Buckets of `weir_stage_seconds`, seconds.
const STAGE_SECONDS: &[f64] = &[
    1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 2e-4, 3e-4, 5e-4, 7e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1,
    0.2, 0.5, 1.0, 5.0, 30.0,
];
/// Buckets of `weir_stage_size`, bytes or things.
const STAGE_SIZES: &[f64] =
    &[1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262_144.0, 1_048_576.0];

type Answer = ([(axum::http::HeaderName, &'static str); 1], String);

/// The small set.
pub(super) async fn small(Extension(collector): Extension<Collector>) -> Answer {
    let families = collector
        .collect(|rows| traffic::totals(rows).into_iter().chain(boards_and_pairs(rows)).collect())
        .await;
    ([(CONTENT_TYPE, exposition::CONTENT_TYPE)], exposition::text(families))
}

/// The full set.
pub(super) async fn full(Extension(collector): Extension<Collector>) -> Answer {
    let backlogs = collector.shards().ask_all(Question::Backlog).await;
    let families = collector
        .collect(|rows| {
            let mut families = traffic::labelled(rows, &backlogs);
            families.extend(boards_and_pairs(rows));
            families.extend(details(rows));
            families.extend(topics(rows, &backlogs));
            families
        })
        .await;
    ([(CONTENT_TYPE, exposition::CONTENT_TYPE)], exposition::text(families))
}

/// RocketMQ's labels on everything a broker tells.
pub(super) fn node(figures: &Figures) -> Labels {
    vec![
        ("cluster", figures.cluster.clone()),
        ("node_type", "broker".to_owned()),
        ("node_id", figures.broker.clone()),
    ]
}

fn local(figures: &Figures) -> Labels {
    let mut labels = node(figures);
    labels.push(("storage_type", "local".to_owned()));
    labels.push(("storage_medium", "disk".to_owned()));
    labels
}

/// One family with a sample per shard that has answered.
pub(super) fn family(
    rows: &[Row],
    name: &'static str,
    help: &'static str,
    sample: impl Fn(&Figures) -> (Labels, Sample),
) -> Family {
    let samples = rows.iter().filter_map(|row| row.last.as_ref()).map(sample).collect();
    Family { name, help, samples }
}

fn boards(rows: &[Row]) -> Vec<Family> {
    let counter = |name, help, value: fn(&Figures) -> u64| {
        family(rows, name, help, move |f| (node(f), Sample::Counter(value(f))))
    };
    let gauge = |name, help, value: fn(&Figures) -> f64| {
        family(rows, name, help, move |f| (node(f), Sample::Gauge(value(f))))
    };
    let disk = |name, help, value: fn(&Figures) -> f64| {
        family(rows, name, help, move |f| (local(f), Sample::Gauge(value(f))))
    };
    let up = |(number, row): (usize, &Row)| {
        let labels = vec![("shard", number.to_string())];
        (labels, Sample::Gauge(f64::from(u8::from(row.silent.is_none()))))
    };
    vec![
        Family {
            name: "weir_shard_up",
            help: "1: the shard answered this scrape",
            samples: rows.iter().enumerate().map(up).collect(),
        },
        rpc_latency(rows),
        disk("rocketmq_storage_size", "Bytes of the log's files", |f| f.storage_bytes as f64),
        disk("rocketmq_storage_flush_behind_bytes", "Bytes not yet durable", |f| {
            f.flush_behind_bytes as f64
        }),
        gauge("rocketmq_broker_permission", "brokerPermission", |f| f64::from(f.permission)),
        gauge("rocketmq_topic_number", "Topics", |f| f.names.0 as f64),
        gauge("rocketmq_consumer_group_number", "Consumer groups", |f| f.names.1 as f64),
        gauge("weir_connections", "Open connections", |f| f.connections as f64),
        counter("weir_sends_refused", "Sends refused", |f| f.counts.sends_refused),
        counter("weir_stalls", "Turns over stallLogMillis", |f| f.counts.stalls),
        gauge("weir_power_loss_messages", "Acknowledged, not on the device", |f| {
            f.at_risk.messages as f64
        }),
        gauge("weir_power_loss_bytes", "Bytes of those messages", |f| f.at_risk.bytes as f64),
        gauge("weir_power_loss_seconds", "Age of the oldest of them", |f| {
            f.at_risk.oldest_ms as f64 / 1000.0
        }),
        counter("weir_device_written_bytes", "Bytes written to the device", |f| {
            f.counts.device_bytes()
        }),
        counter("weir_payload_bytes", "Bytes of message bodies stored", |f| f.counts.payload_in),
        gauge("weir_disk_used_ratio", "How full the disk is", |f| {
            f64::from(f.disk_used_percent) / 100.0
        }),
    ]
}

/// Sends and pulls in RocketMQ's buckets. Request codes of one family are not told apart.
fn rpc_latency(rows: &[Row]) -> Family {
    let mut samples = Vec::new();
    for row in rows {
        let Some(figures) = &row.last else { continue };
        for (stage, code, long_polling) in [
            (Stage::Total, "send_message", "false"),
            (Stage::Pull, "pull_message", "false"),
            (Stage::Parked, "pull_message", "true"),
        ] {
            let mut labels = node(figures);
            labels.push(("protocol_type", "remoting".to_owned()));
            labels.push(("request_code", code.to_owned()));
            labels.push(("response_code", "success".to_owned()));
            labels.push(("is_long_polling", long_polling.to_owned()));
            labels.push(("result", "success".to_owned()));
            let buckets = buckets(row.total.of(stage), RPC_MS, 1e6);
            samples.push((labels, Sample::Histogram(buckets)));
        }
    }
    Family { name: "rocketmq_rpc_latency", help: "Milliseconds from request to reply", samples }
}

fn boards_and_pairs(rows: &[Row]) -> Vec<Family> {
    let mut families = boards(rows);
    families.extend(pairs(rows).into_iter().filter(|family| !family.samples.is_empty()));
    families
}

/// The pair; empty for a box that is one of none.
fn pairs(rows: &[Row]) -> Vec<Family> {
    let gauge = |name, help, value: fn(&PairReport) -> f64| {
        let told = |row: &Row| {
            let figures = row.last.as_ref()?;
            Some((node(figures), Sample::Gauge(value(figures.pair.as_ref()?))))
        };
        Family { name, help, samples: rows.iter().filter_map(told).collect() }
    };
    vec![
        gauge("weir_pair_primary", "1: this node is the primary", |pair| {
            f64::from(u8::from(pair.role.word() == "primary"))
        }),
        gauge("weir_pair_epoch", "Newest epoch", |pair| pair.epoch as f64),
        gauge("weir_pair_in_sync", "1: nothing is acknowledged without the standby", |pair| {
            f64::from(u8::from(pair.standing == "in sync"))
        }),
        gauge("weir_pair_alone", "1: acknowledged without a standby", |pair| {
            f64::from(u8::from(pair.alone_since.is_some()))
        }),
        gauge("weir_pair_lag_bytes", "Bytes the standby does not hold", |pair| {
            pair.lag_bytes as f64
        }),
        gauge("weir_pair_lag_seconds", "Age of the oldest of them", |pair| {
            pair.lag_ms as f64 / 1000.0
        }),
        gauge("weir_pair_damaged_places", "Damaged places of the log, not healed yet", |pair| {
            pair.healing.damaged as f64
        }),
        gauge("weir_pair_healed_places", "Places healed from the other half since start", |pair| {
            pair.healing.healed as f64
        }),
    ]
}

fn details(rows: &[Row]) -> Vec<Family> {
    let stages = |times: bool, bounds: &[f64], scale: f64| {
        let mut samples = Vec::new();
        for row in rows {
            let Some(figures) = &row.last else { continue };
            let of_kind = |stage: &&Stage| (stage.unit() == Unit::Nanoseconds) == times;
            for stage in STAGES.iter().filter(of_kind) {
                let mut labels = node(figures);
                labels.push(("stage", stage.name().to_owned()));
                let buckets = buckets(row.total.of(*stage), bounds, scale);
                samples.push((labels, Sample::Histogram(buckets)));
            }
        }
        samples
    };
    let gauge = |name, help, value: fn(&Figures) -> f64| {
        family(rows, name, help, move |f| (node(f), Sample::Gauge(value(f))))
    };
    vec![
        Family {
            name: "weir_stage_seconds",
            help: "Time in each stage, see docs/latency.md",
            samples: stages(true, STAGE_SECONDS, 1e9),
        },
        Family {
            name: "weir_stage_size",
            help: "Bytes of writes, and depths of queues",
            samples: stages(false, STAGE_SIZES, 1.0),
        },
        gauge("weir_staging_used_bytes", "Staged, not on the device", |f| f.staging.0 as f64),
        gauge("weir_staging_bytes", "Size of the staging ring", |f| f.staging.1 as f64),
        gauge("weir_pending_replies", "Replies waiting", |f| f.waiting.0 as f64),
        gauge("weir_writes_in_flight", "Log writes in flight", |f| f.waiting.1 as f64),
    ]
}

fn topics(rows: &[Row], backlogs: &[Result<Backlog, NoAnswer>]) -> Vec<Family> {
    let (mut stored, mut lags, mut hidden) = (Vec::new(), Vec::new(), Vec::new());
    for (row, backlog) in rows.iter().zip(backlogs) {
        let (Some(figures), Ok(backlog)) = (&row.last, backlog) else { continue };
        for (topic, messages) in &backlog.topics {
            let mut labels = node(figures);
            labels.push(("topic", topic.clone()));
            stored.push((labels, Sample::Counter(*messages)));
        }
        for (group, topic, lag) in &backlog.lags {
            let mut labels = node(figures);
            labels.push(("consumer_group", group.clone()));
            labels.push(("topic", topic.clone()));
            labels.push(("is_retry", topic.starts_with("%RETRY%").to_string()));
            lags.push((labels, Sample::Gauge(*lag as f64)));
        }
        hidden.push((node(figures), Sample::Gauge(backlog.hidden as f64)));
    }
    vec![
        Family {
            name: "weir_topic_messages",
            help: "Messages ever stored in the topic's queues",
            samples: stored,
        },
        Family {
            name: "rocketmq_consumer_lag_messages",
            help: "Messages the group has not read",
            samples: lags,
        },
        Family {
            name: "weir_names_hidden",
            help: "Topics and groups left out because there are too many",
            samples: hidden,
        },
    ]
}

/// A histogram in fixed buckets; `scale` is how many of its units make one of the bounds'.
fn buckets(histogram: &Histogram<u64>, bounds: &[f64], scale: f64) -> Buckets {
    let mut counts: Vec<(f64, u64)> = bounds.iter().map(|bound| (*bound, 0)).collect();
    counts.push((f64::INFINITY, 0));
    for step in histogram.iter_recorded() {
        let value = step.value_iterated_to() as f64 / scale;
        let at = bounds.partition_point(|bound| *bound < value);
        if let Some((_, count)) = counts.get_mut(at) {
            *count += step.count_since_last_iteration();
        }
    }
    Buckets { counts, sum: histogram.mean() * histogram.len() as f64 / scale }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::ask::Shards;
    use crate::measure::{AtRisk, Counts, Stages};
    use crate::server::{Letter, Traffic};
    use prometheus_parse::{Scrape, Value};
    use weir_io::mailbox;

    fn figures() -> Figures {
        let mut stages = Box::new(Stages::default());
        stages.record(Stage::Total, 2_000_000, 90);
        stages.record(Stage::Total, 50_000_000, 10);
        stages.record(Stage::Device, 1_500_000, 90);
        Figures {
            broker: "box-0".into(),
            cluster: "C \"quoted\"".into(),
            stages,
            counts: Counts { messages_in: 100, payload_in: 7, log_bytes: 5, ..Counts::default() },
            at_risk: AtRisk { messages: 3, bytes: 300, oldest_ms: 250 },
            flush_behind_bytes: 4096,
            storage_bytes: 1 << 30,
            staging: (10, 20),
            waiting: (1, 2),
            connections: 4,
            names: (5, 6),
            permission: 6,
            disk_used_percent: 40,
            pair: None,
        }
    }

    /// What a scrape of the full set says, with one shard that answers and one that does not.
    fn scrape() -> Scrape {
        let (one, inbox) = mailbox::channel(16);
        let (two, _silent) = mailbox::channel(16);
        let collector = Collector::new(Shards::new(&[one, two]));
        let shard = std::thread::spawn(move || {
            let mut left = 2;
            while left > 0 {
                match inbox.receive() {
                    Some(Letter::Ask(Question::Figures(_, reply))) => reply.send(figures()),
                    Some(Letter::Ask(Question::Backlog(reply))) => reply.send(Backlog {
                        topics: vec![("orders".into(), 100)],
                        lags: vec![("g".into(), "orders".into(), 42)],
                        hidden: 0,
                        traffic: Traffic::default(),
                    }),
                    _ => continue,
                }
                left -= 1;
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (_, text) = runtime.block_on(full(Extension(collector)));
        shard.join().unwrap();
        Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap()
    }

    #[test]
    fn a_scrape_parses_and_holds_the_values_that_were_measured() {
        let scrape = scrape();
        let find = |name: &str, label: &str, value: &str| {
            let found = scrape.samples.iter().find(|sample| {
                sample.metric == name
                    && (label.is_empty() || sample.labels.get(label) == Some(value))
            });
            found.unwrap_or_else(|| unreachable!("{name} {label}={value} is missing"))
        };
        let number = |name: &str, label: &str, value: &str| match &find(name, label, value).value {
            Value::Counter(number) | Value::Gauge(number) | Value::Untyped(number) => *number,
            other => unreachable!("{name}: {other:?}"),
        };
        let near = |got: f64, wanted: f64| assert!((got - wanted).abs() < 1e-9, "{got} {wanted}");
        near(number("rocketmq_storage_size", "storage_medium", "disk"), 1_073_741_824.0);
        near(number("rocketmq_consumer_lag_messages", "consumer_group", "g"), 42.0);
        near(number("weir_topic_messages_total", "topic", "orders"), 100.0);
        near(number("weir_power_loss_messages", "", ""), 3.0);
        near(number("weir_power_loss_seconds", "", ""), 0.25);
        near(number("weir_shard_up", "shard", "0"), 1.0);
        near(number("weir_shard_up", "shard", "1"), 0.0);
        let Value::Histogram(buckets) =
            &find("rocketmq_rpc_latency", "request_code", "send_message").value
        else {
            unreachable!("rocketmq_rpc_latency is a histogram")
        };
        let below = |bound: f64| {
            let bucket = buckets.iter().find(|bucket| (bucket.less_than - bound).abs() < 1e-9);
            bucket.unwrap_or_else(|| unreachable!("{bound}")).count
        };
        near(below(1.0), 0.0);
        near(below(3.0), 90.0);
        near(below(100.0), 100.0);
        let last = buckets.last().unwrap();
        assert!(last.less_than.is_infinite() && last.count > 99.5, "{last:?}");
    }

    #[test]
    fn a_value_is_counted_in_the_first_bucket_that_holds_it() {
        let mut stages = Stages::default();
        stages.record(Stage::Turn, 500, 2);
        stages.record(Stage::Turn, 90_000_000_000, 1);
        let buckets = buckets(stages.of(Stage::Turn), STAGE_SECONDS, 1e9);
        assert_eq!(buckets.counts.first(), Some(&(1e-6, 2)));
        assert_eq!(buckets.counts.last(), Some(&(f64::INFINITY, 1)));
        assert!((buckets.sum - 90.0).abs() < 1.0, "{}", buckets.sum);
    }
}

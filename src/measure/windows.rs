//! Figures over time: rates of the last 10, 60 and 600 seconds, the last whole minute, the day.
//!
//! This is what RocketMQ's runtime information speaks in. Fed once a second; days are those of
//! UTC. The totals begin at zero with the process: what was before it, it does not know.

use std::collections::VecDeque;

use hdrhistogram::Histogram;

use super::counts::Counts;
use super::stages::empty;

/// Snapshots kept: one a second for the longest window, and the one it is compared with.
const SECONDS_MAX: usize = 601;
/// The windows of RocketMQ's rates, seconds.
const SPANS: [usize; 3] = [10, 60, 600];
const MINUTE_NS: u64 = 60_000_000_000;
const DAY_MS: i64 = 86_400_000;
const MS: u64 = 1_000_000;

/// RocketMQ's buckets of put times: label and end in milliseconds (the last one has none).
pub const PUT_BUCKETS: &[(&str, u64)] = &[
    ("[<=0ms]", 1),
    ("[0~10ms]", 10),
    ("[10~50ms]", 50),
    ("[50~100ms]", 100),
    ("[100~200ms]", 200),
    ("[200~500ms]", 500),
    ("[500ms~1s]", 1_000),
    ("[1~2s]", 2_000),
    ("[2~3s]", 3_000),
    ("[3~4s]", 4_000),
    ("[4~5s]", 5_000),
    ("[5~10s]", 10_000),
    ("[10s~]", u64::MAX),
];

/// One rate over the three windows, per second.
pub type Rates = [f64; 3];

/// Snapshots and histograms of the recent past.
#[derive(Debug)]
pub struct Windows {
    seconds: VecDeque<(u64, Counts)>,
    minute: Histogram<u64>,
    last_minute: Histogram<u64>,
    minute_began: (u64, Counts),
    today: Option<i64>,
    /// Messages in and out when today began.
    pub this_morning: (u64, u64),
    /// The same of yesterday.
    pub yesterday_morning: (u64, u64),
    /// Wall clock at the start, milliseconds.
    pub boot_ms: i64,
    boot_ns: u64,
    /// Longest send of this process, nanoseconds.
    pub put_max_ns: u64,
    /// Longest pull that was not held, nanoseconds.
    pub pull_max_ns: u64,
}

/// What a whole minute was like.
#[derive(Clone, Debug)]
pub struct Minute {
    /// Its length, nanoseconds (shorter at the end of the process).
    pub span_ns: u64,
    /// What was done in it.
    pub messages_in: u64,
    /// See `messages_in`.
    pub messages_out: u64,
    /// See `messages_in`.
    pub sends_refused: u64,
    /// Send times at 50, 99 and 100 %, nanoseconds.
    pub put_ns: [u64; 3],
}

impl Windows {
    /// Begins at this time.
    #[must_use]
    pub fn new(now_ns: u64, wall_ms: i64) -> Windows {
        Windows {
            seconds: VecDeque::from([(now_ns, Counts::default())]),
            minute: empty(),
            last_minute: empty(),
            minute_began: (now_ns, Counts::default()),
            today: None,
            this_morning: (0, 0),
            yesterday_morning: (0, 0),
            boot_ms: wall_ms,
            boot_ns: now_ns,
            put_max_ns: 0,
            pull_max_ns: 0,
        }
    }

    /// How long it has been up, nanoseconds, right to a second.
    #[must_use]
    pub fn up_ns(&self) -> u64 {
        self.seconds.back().map_or(0, |(now_ns, _)| now_ns - self.boot_ns)
    }

    /// `count` sends took `ns` each.
    #[inline]
    pub fn put(&mut self, ns: u64, count: u64) {
        self.minute.saturating_record_n(ns, count);
        self.put_max_ns = self.put_max_ns.max(ns);
    }

    /// Called every few tens of milliseconds; does its work once a second. Gives the minute that
    /// just became whole, if there was traffic in it. `local_ms` is the wall clock in local time:
    /// a day begins at the operator's midnight, as RocketMQ's does.
    pub fn tick(&mut self, now_ns: u64, local_ms: i64, counts: &Counts) -> Option<Minute> {
        let due = self.seconds.back().is_none_or(|(then, _)| now_ns - then >= 1000 * MS);
        if !due {
            return None;
        }
        if self.seconds.len() == SECONDS_MAX {
            self.seconds.pop_front();
        }
        self.seconds.push_back((now_ns, *counts));
        let day = local_ms.div_euclid(DAY_MS);
        if self.today.replace(day).is_some_and(|today| today != day) {
            self.yesterday_morning = self.this_morning;
            self.this_morning = (counts.messages_in, counts.messages_out);
        }
        if now_ns - self.minute_began.0 < MINUTE_NS {
            return None;
        }
        self.end_minute(now_ns, counts)
    }

    /// Ends the minute now.
    pub fn end_minute(&mut self, now_ns: u64, counts: &Counts) -> Option<Minute> {
        let (began_ns, before) = std::mem::replace(&mut self.minute_began, (now_ns, *counts));
        let put_ns = [0.5, 0.99, 1.0].map(|at| self.minute.value_at_quantile(at));
        std::mem::swap(&mut self.minute, &mut self.last_minute);
        self.minute.reset();
        let minute = Minute {
            span_ns: now_ns - began_ns,
            messages_in: counts.messages_in - before.messages_in,
            messages_out: counts.messages_out - before.messages_out,
            sends_refused: counts.sends_refused - before.sends_refused,
            put_ns,
        };
        let traffic = minute.messages_in + minute.messages_out + minute.sends_refused > 0;
        traffic.then_some(minute)
    }

    /// A counter's rates per second over the last 10, 60 and 600 seconds (or since the start).
    #[must_use]
    pub fn rates(&self, counter: impl Fn(&Counts) -> u64) -> Rates {
        let Some((now_ns, now)) = self.seconds.back().copied() else { return [0.0; 3] };
        SPANS.map(|span| {
            let at = self.seconds.len().saturating_sub(1 + span);
            let (then_ns, then) = self.seconds.get(at).copied().unwrap_or((now_ns, now));
            let seconds = (now_ns - then_ns) as f64 / 1e9;
            if seconds > 0.0 { (counter(&now) - counter(&then)) as f64 / seconds } else { 0.0 }
        })
    }

    /// Send time at `quantile` (0 to 1) in the last whole minute, milliseconds; 0 without sends.
    #[must_use]
    pub fn put_ms(&self, quantile: f64) -> f64 {
        self.last_minute.value_at_quantile(quantile) as f64 / MS as f64
    }

    /// Sends of the last whole minute in [`PUT_BUCKETS`].
    #[must_use]
    pub fn put_buckets(&self) -> Vec<(&'static str, u64)> {
        let mut from = 0;
        PUT_BUCKETS
            .iter()
            .map(|(label, end_ms)| {
                let end = end_ms.saturating_mul(MS);
                let count = self.last_minute.count_between(from, end - 1);
                from = end;
                (*label, count)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn rates_are_those_of_their_window_and_the_minute_is_the_last_whole_one() {
        let mut windows = Windows::new(0, 0);
        let mut counts = Counts::default();
        let mut minutes = Vec::new();
        for second in 1..=120 {
            counts.messages_in += if second > 110 { 100 } else { 10 };
            windows.put(if second <= 60 { 500_000 } else { 20_000_000 }, 10);
            minutes.extend(windows.tick(second * S, 0, &counts));
        }
        let [ten, sixty, all] = windows.rates(|counts| counts.messages_in);
        assert!((ten - 100.0).abs() < 0.01, "{ten}");
        assert!((sixty - 25.0).abs() < 0.01, "{sixty}");
        assert!((all - 17.5).abs() < 0.01, "{all}");
        assert_eq!(minutes.len(), 2);
        assert_eq!(minutes[0].messages_in, 600);
        assert!(minutes[0].put_ns[2] < S / 1000, "{minutes:?}");
        let buckets = windows.put_buckets();
        assert_eq!(buckets[2], ("[10~50ms]", 600));
        assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), 600);
        assert!((windows.put_ms(0.99) - 20.0).abs() < 0.3, "{}", windows.put_ms(0.99));
    }

    #[test]
    fn a_quiet_minute_says_nothing_and_a_new_day_keeps_the_mornings() {
        let mut windows = Windows::new(0, DAY_MS - 1000);
        let mut counts = Counts::default();
        assert!(windows.tick(61 * S, DAY_MS - 500, &counts).is_none());
        counts.messages_in = 7;
        assert!(windows.tick(62 * S, DAY_MS + 1, &counts).is_none());
        assert_eq!(windows.this_morning, (7, 0));
        counts.messages_in = 9;
        assert_eq!(windows.end_minute(63 * S, &counts).unwrap().messages_in, 9);
        windows.tick(64 * S, 2 * DAY_MS, &counts);
        assert_eq!((windows.yesterday_morning, windows.this_morning), ((7, 0), (9, 0)));
    }
}

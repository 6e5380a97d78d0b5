//! The fixed arrival schedule of an open loop: when each request is due, whatever happened to
//! the ones before.
//!
//! The rate is constant but for peaks that come at fixed times; within a stretch of one rate,
//! request `n` is due `n / rate` after its start. It knows no clock and never waits for anybody.

/// How a rate goes up and down.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peaks {
    /// Rate of a peak over the usual one; 1 for none.
    pub factor: f64,
    /// From the start of one peak to the next. The first begins after one usual stretch.
    pub every_ns: u64,
    /// How long a peak lasts; less than `every_ns`.
    pub lasts_ns: u64,
}

/// When requests are due.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// Start of the stretch, and requests given out in it.
    from_ns: u64,
    given: u64,
    /// End of the stretch.
    until_ns: u64,
    in_peak: bool,
    rate: u64,
    peaks: Peaks,
    /// Requests given out in all.
    pub next: u64,
}

impl Schedule {
    /// A schedule of `rate` requests per second (more than 0) from `start_ns` on.
    pub(crate) fn new(start_ns: u64, rate: u64, peaks: Peaks) -> Self {
        let peaked = peaks.factor > 1.0;
        let until_ns = if peaked { start_ns + peaks.every_ns - peaks.lasts_ns } else { u64::MAX };
        Self { from_ns: start_ns, given: 0, until_ns, in_peak: false, rate, peaks, next: 0 }
    }

    fn rate_now(&self) -> u64 {
        if self.in_peak { (self.rate as f64 * self.peaks.factor) as u64 } else { self.rate }
    }

    /// The intended time of the next request if it is due by now.
    pub(crate) fn due(&mut self, now_ns: u64) -> Option<u64> {
        loop {
            let after_ns = u128::from(self.given) * 1_000_000_000 / u128::from(self.rate_now());
            let intended_ns = self.from_ns + after_ns as u64;
            if intended_ns < self.until_ns {
                return (intended_ns <= now_ns).then(|| {
                    self.given += 1;
                    self.next += 1;
                    intended_ns
                });
            }
            if now_ns < self.until_ns {
                return None;
            }
            self.from_ns = self.until_ns;
            self.given = 0;
            self.in_peak = !self.in_peak;
            let Peaks { every_ns, lasts_ns, .. } = self.peaks;
            self.until_ns += if self.in_peak { lasts_ns } else { every_ns - lasts_ns };
        }
    }

    /// Requests due from `from_ns` to `until_ns` by a schedule like this one that began at
    /// `start_ns`.
    pub(crate) fn intended(&self, start_ns: u64, from_ns: u64, until_ns: u64) -> f64 {
        let at = |ns: u64| {
            let since = ns.saturating_sub(start_ns);
            let Peaks { factor, every_ns, lasts_ns } = self.peaks;
            if factor <= 1.0 {
                return since as f64;
            }
            let (whole, rest) = (since / every_ns, since % every_ns);
            let in_peak = rest.saturating_sub(every_ns - lasts_ns);
            since as f64 + (whole * lasts_ns + in_peak) as f64 * (factor - 1.0)
        };
        (at(until_ns) - at(from_ns)) / 1e9 * self.rate as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Peaks = Peaks { factor: 1.0, every_ns: 0, lasts_ns: 0 };

    #[test]
    fn the_schedule_does_not_wait_for_anybody() {
        let mut schedule = Schedule::new(1000, 3, NONE);
        let due: Vec<_> = std::iter::from_fn(|| schedule.due(1_000_001_000)).collect();
        assert_eq!(due, [1000, 333_334_333, 666_667_666, 1_000_001_000]);
        assert_eq!(schedule.due(1_333_000_000), None);
    }

    #[test]
    fn a_peak_sends_faster_and_the_count_of_it_is_what_was_intended() {
        const S: u64 = 1_000_000_000;
        let peaks = Peaks { factor: 3.0, every_ns: 10 * S, lasts_ns: 2 * S };
        let mut schedule = Schedule::new(0, 100, peaks);
        let due: Vec<_> = std::iter::from_fn(|| schedule.due(20 * S - 1)).collect();
        let within = |from: u64, to: u64| due.iter().filter(|t| (from..to).contains(t)).count();
        assert_eq!(within(0, 8 * S), 800);
        assert_eq!(within(8 * S, 10 * S), 600);
        assert_eq!(within(10 * S, 20 * S), 1400);
        assert!((schedule.intended(0, 0, 20 * S) - 2800.0).abs() < 1e-6);
        assert!((schedule.intended(0, 7 * S, 9 * S) - 400.0).abs() < 1e-6);
    }
}

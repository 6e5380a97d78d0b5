//! Numbers as a reader wants them: three digits that say something, and a unit.
//!
//! Nothing here rounds what goes into JSON but [`rounded`], which drops digits no clock can give.

/// A number with three digits and k, M or G.
pub(super) fn plain(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        v if !v.is_finite() => return "–".to_owned(),
        v if v >= 1e9 => (value / 1e9, "G"),
        v if v >= 1e6 => (value / 1e6, "M"),
        v if v >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    format!("{}{unit}", digits(scaled))
}

/// Microseconds as µs, ms or s.
pub(super) fn time(us: f64) -> String {
    match us {
        us if us >= 1e6 => format!("{} s", digits(us / 1e6)),
        us if us >= 1e3 => format!("{} ms", digits(us / 1e3)),
        us => format!("{} µs", digits(us)),
    }
}

/// Bytes with a binary unit.
pub(super) fn bytes(value: f64) -> String {
    match value {
        v if v >= 1024.0 * 1024.0 * 1024.0 => format!("{} GiB", digits(v / 1073741824.0)),
        v if v >= 1024.0 * 1024.0 => format!("{} MiB", digits(v / 1048576.0)),
        v if v >= 1024.0 => format!("{} KiB", digits(v / 1024.0)),
        v => format!("{} B", digits(v)),
    }
}

fn digits(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 100.0 || v == 0.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// Four significant digits.
pub(super) fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10_f64.powi(3 - value.abs().log10().floor() as i32);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits_and_a_unit() {
        for (text, wanted) in [
            (plain(0.4567), "0.457"),
            (plain(1234.0), "1234"),
            (plain(533_053.0), "533k"),
            (plain(2_019_221.0), "2.02M"),
            (time(863.0), "863 µs"),
            (time(4289.0), "4.29 ms"),
            (time(60e6), "60 s"),
            (bytes(1024.0), "1 KiB"),
            (bytes(5.0 * 1048576.0), "5 MiB"),
        ] {
            assert_eq!(text, wanted);
        }
        assert_eq!((rounded(123_456.0), rounded(0.999_96), rounded(0.0)), (123_500.0, 1.0, 0.0));
    }
}

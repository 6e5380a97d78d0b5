//! Unique keys the broker makes for senders that set none.
//!
//! They have RocketMQ's form, because tools take them apart to learn when a message was sent.

use std::net::{IpAddr, Ipv4Addr};

use weir_wire::message::UniqKey;

use super::options::BrokerOptions;

/// The key of message `counter`, stored at `store_ms`.
pub(super) fn uniq_key(options: &BrokerOptions, store_ms: i64, counter: u32) -> UniqKey {
    let (ip, port) = options.store_host;
    // RocketMQ has a class loader's hash here, which tells makers apart. The upper half of our
    // counter makes the keys last longer than 16 bits do.
    let maker = 0x5745_0000 ^ (options.shard_index << 16) ^ (counter >> 16);
    let month_ms = u32::try_from(store_ms - month_start_ms(store_ms)).unwrap_or(0);
    UniqKey::new(IpAddr::V4(Ipv4Addr::from(ip)), port, maker, month_ms, counter as u16)
}

/// Start of the month (UTC) of a time, both milliseconds since 1970.
fn month_start_ms(ms: i64) -> i64 {
    const DAY_MS: i64 = 86_400_000;
    let days = ms.div_euclid(DAY_MS);
    // Day of month by counting in years that begin in March (Hinnant's civil_from_days).
    let of_era = (days + 719_468).rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5;
    (days - day) * DAY_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_begins_at_its_first_day() {
        for (ms, start) in [
            (0, 0),
            (1_700_000_000_000, 1_698_796_800_000),
            (1_709_251_199_999, 1_706_745_600_000),
            (1_709_251_200_000, 1_709_251_200_000),
            (951_868_800_000, 951_868_800_000),
        ] {
            assert_eq!(month_start_ms(ms), start, "{ms}");
        }
    }

    #[test]
    fn a_unique_key_has_the_form_tools_take_apart() {
        let options =
            BrokerOptions { store_host: ([192, 168, 0, 1], 10_911), ..Default::default() };
        let key = uniq_key(&options, 1_700_000_000_000, 5);
        let month_ms = format!("{:08X}", 1_700_000_000_000i64 - 1_698_796_800_000);
        assert_eq!(key.as_str(), format!("C0A800012A9F57450000{month_ms}0005"));
        assert_ne!(key.as_str(), uniq_key(&options, 1_700_000_000_000, 6).as_str());
        assert_ne!(key.as_str(), uniq_key(&options, 1_700_000_000_000, 0x10005).as_str());
    }
}

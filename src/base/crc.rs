//! CRC-32C (Castagnoli): the checksum of everything weir writes for itself, and sends to its other
//! half. It never checks anything; who reads compares.

use crc_fast::{CrcAlgorithm, Digest};

/// The checksum of `parts`, one behind the other.
#[must_use]
pub fn crc32c<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    parts.into_iter().for_each(|part| digest.update(part));
    digest.finalize() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_castagnolis_however_the_bytes_are_cut() {
        // The check value of the catalogue of CRCs, and a vector of RFC 3720, B.4.
        assert_eq!(crc32c([&b"123456789"[..]]), 0xE306_9283);
        assert_eq!(crc32c([&[0; 32][..]]), 0x8A91_36AA);
        let bytes: Vec<u8> = (0..5000_u32).map(|i| (i * 7) as u8).collect();
        for cut in [0, 1, 60, 255, 4096, 5000] {
            let (front, back) = bytes.split_at(cut);
            assert_eq!(crc32c([front, back]), crc32c([&bytes[..]]), "{cut}");
        }
    }
}

//! The checks of the fuzzer themselves: sound input passes, an unbounded reader is caught.
//! One test, because live bytes are the process's and another test's would be counted too.

use weir_fuzz::{feed, mutate, within};
use weir_wire::frame::Codec;
use weir_wire::reply::Request;

#[global_allocator]
static ALLOCATOR: weir_io::heap::Counting = weir_io::heap::Counting;

/// A reader as it must not be: it reserves what the frame claims.
fn believing(stream: &[u8]) {
    let claimed = u32::from_be_bytes([stream[0], stream[1], stream[2], stream[3]]) as usize;
    let mut frame: Vec<u8> = Vec::with_capacity(claimed);
    frame.extend_from_slice(&stream[4..]);
    assert!(std::hint::black_box(frame).capacity() >= claimed);
}

fn frames() -> Vec<u8> {
    let mut bytes = 9_u64.to_le_bytes().to_vec();
    for (opaque, codec) in [(1, Codec::Json), (2, Codec::Binary)] {
        Request::new(&mut bytes, codec, 310, opaque, false)
            .ext_str("a", "p")
            .ext_str("b", "t")
            .ext_str("c", "TBW102")
            .ext_int("d", 4)
            .ext_int("e", 0)
            .ext_int("f", 0)
            .ext_int("g", 1)
            .ext_int("h", 0)
            .ext_str("i", "TAGS\u{1}a\u{2}")
            .finish_with(b"body");
    }
    bytes
}

#[test]
fn sound_and_mutated_input_stays_within_the_bounds_and_a_believing_reader_does_not() {
    let stream = [0x00, 0xFF, 0xFF, 0xFF, 1, 2, 3, 4];
    let caught = within(64 * 1024, || believing(&stream));
    assert!(caught.is_err_and(|excess| excess.peak > 16_000_000), "{caught:?}");
    feed(&frames());
    let mut changed = 0;
    for seed in 0..300 {
        let mut input = frames();
        let size = input.len();
        input.resize(8192, 0);
        if let Some(len) = mutate(&mut input, size, 8192, seed) {
            changed += 1;
            feed(&input[..len]);
        }
    }
    assert!(changed > 100, "{changed} structured mutations");
}

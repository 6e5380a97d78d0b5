//! The fuzzer's binary: libFuzzer in front of [`weir_fuzz::feed`].
//!
//! `cargo xtask fuzz` builds it with coverage counters, hands it the recorded frames of stock
//! clients and a seed, and says what came of it. Built without counters it still runs, blindly.

#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

#[global_allocator]
static ALLOCATOR: weir_io::heap::Counting = weir_io::heap::Counting;

fuzz_target!(|input: &[u8]| weir_fuzz::feed(input));

fuzz_mutator!(|input: &mut [u8], size: usize, max_size: usize, seed: u32| {
    match weir_fuzz::mutate(input, size, max_size, seed) {
        Some(size) => size,
        None => fuzzer_mutate(input, size, max_size),
    }
});

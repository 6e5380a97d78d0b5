//! The provided receive buffers: memory that the kernel fills in an order of its choosing.
//!
//! All buffers lie in one mapping; free ones are listed in a second, which the kernel reads
//! (`IORING_REGISTER_PBUF_RING`). A buffer belongs to the kernel from [`Pool::provide`] until a
//! completion names it, then to one `Chunk` until that is dropped. Never: a buffer listed twice.

use std::cell::Cell;
use std::fmt;
use std::mem::size_of;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use crate::region::Mapping;

/// Most buffers of one pool; the kernel's own bound is 32768.
pub(super) const MAX_BUFFERS: usize = 1 << 15;

/// Receive buffers of one driver.
pub(crate) struct Pool {
    memory: Mapping,
    list: Mapping,
    count: u16,
    buffer_bytes: usize,
    tail: Cell<u16>,
    free: Cell<u16>,
}

impl Pool {
    /// At least `count` buffers (rounded up to a power of two) of `buffer_bytes` each, all of
    /// them listed as free. Memory is touched as the kernel fills it.
    pub(super) fn new(count: u16, buffer_bytes: usize) -> Pool {
        let count = usize::from(count.max(1)).next_power_of_two();
        assert!(count <= MAX_BUFFERS, "{count} receive buffers");
        assert!(buffer_bytes > 0 && buffer_bytes <= 1 << 30, "{buffer_bytes} bytes a buffer");
        let pool = Pool {
            memory: Mapping::anonymous_huge(count * buffer_bytes),
            list: Mapping::anonymous(count * size_of::<BufRingEntry>()),
            count: count as u16,
            buffer_bytes,
            tail: Cell::new(0),
            free: Cell::new(0),
        };
        for number in 0..pool.count {
            pool.provide(number);
        }
        pool
    }

    /// Address of the list of free buffers, for the kernel.
    pub(super) fn list_address(&self) -> u64 {
        self.list.start().as_ptr() as u64
    }

    /// Entries of the list, a power of two.
    pub(super) fn count(&self) -> u16 {
        self.count
    }

    /// Buffers that the kernel may fill, as far as completions have told.
    pub(super) fn free(&self) -> u16 {
        self.free.get()
    }

    /// A completion has named a buffer: it is no longer the kernel's.
    pub(super) fn taken(&self) {
        assert!(self.free.get() > 0, "the kernel took a buffer that was not provided");
        self.free.set(self.free.get() - 1);
    }

    /// The first `len` bytes of a buffer that is not the kernel's.
    pub(crate) fn bytes(&self, number: u16, len: usize) -> &[u8] {
        assert!(len <= self.buffer_bytes, "{len} bytes in a buffer of {}", self.buffer_bytes);
        let start = usize::from(number) * self.buffer_bytes;
        self.memory.bytes(start..start + len)
    }

    /// Gives a buffer to the kernel.
    pub(crate) fn provide(&self, number: u16) {
        assert!(number < self.count && self.free.get() < self.count, "buffer {number} twice");
        let tail = self.tail.get();
        let offset = usize::from(number) * self.buffer_bytes;
        let address = self.memory.start().as_ptr() as u64 + offset as u64;
        let mut entry = self.entry(tail & (self.count - 1));
        // SAFETY: the entry lies in the list, and the kernel reads it only after the tail below
        // has passed it. The tail's own bytes in the first entry are not touched.
        let entry = unsafe { entry.as_mut() };
        entry.set_addr(address);
        entry.set_len(self.buffer_bytes as u32);
        entry.set_bid(number);
        self.tail.set(tail.wrapping_add(1));
        self.tail_word().store(self.tail.get(), Ordering::Release);
        self.free.set(self.free.get() + 1);
    }

    fn entry(&self, index: u16) -> NonNull<BufRingEntry> {
        let first: NonNull<BufRingEntry> = self.list.start().cast();
        // SAFETY: `index` is below the count of entries that the list was mapped for.
        unsafe { first.add(usize::from(index)) }
    }

    fn tail_word(&self) -> &AtomicU16 {
        let first: *const BufRingEntry = self.list.start().cast().as_ptr();
        // SAFETY: `first` is the first entry of the list, which is initialised.
        let tail = unsafe { BufRingEntry::tail(first) };
        // SAFETY: the word is aligned, lives as long as the list, and is only accessed through
        // this atomic here and atomically by the kernel.
        unsafe { AtomicU16::from_ptr(tail.cast_mut()) }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({} of {} x {} bytes free)", self.free(), self.count, self.buffer_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_every_buffer_once_and_a_given_back_one_at_its_end() {
        let pool = Pool::new(3, 8192);
        assert_eq!(
            (pool.count(), pool.free(), pool.tail_word().load(Ordering::Acquire)),
            (4, 4, 4)
        );
        let base = pool.bytes(0, 1).as_ptr() as u64;
        for number in 0..4 {
            // SAFETY: the list is not shared with a kernel here.
            let entry = unsafe { pool.entry(number).as_ref() };
            let expected = base + u64::from(number) * 8192;
            assert_eq!((entry.addr(), entry.len(), entry.bid()), (expected, 8192, number));
        }
        pool.taken();
        pool.provide(2);
        // SAFETY: as above.
        let entry = unsafe { pool.entry(0).as_ref() };
        assert_eq!((entry.bid(), pool.tail_word().load(Ordering::Acquire)), (2, 5));
    }

    #[test]
    #[should_panic(expected = "twice")]
    fn a_buffer_cannot_be_given_back_twice() {
        Pool::new(2, 4096).provide(1);
    }
}

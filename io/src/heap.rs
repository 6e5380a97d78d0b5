//! The heap: giving memory back when a shard is idle, and an allocator that counts.
//!
//! Counting costs two atomic additions per call, and is only worth its price where bytes and calls
//! are judged: it stands behind the feature `count`, which the programs of `bounds/` ask for. The
//! shipped binary has mimalloc itself. Never: a count that allocates.

/// Gives pages the allocator keeps for later back to the kernel. For an idle thread: it walks the
/// thread's heap. Without mimalloc as the process's allocator it does nothing.
pub fn give_back() {
    // SAFETY: the call takes no pointer and may be made by any thread at any time.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

#[cfg(feature = "count")]
pub use counting::{Counting, Counts, Peak, live, thread_counts, trace};

#[cfg(feature = "count")]
mod counting {
    use std::alloc::{GlobalAlloc, Layout};
    use std::cell::Cell;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use mimalloc::MiMalloc;

    /// mimalloc, counting: the calls and bytes of each thread, the live bytes of the process and
    /// their peak.
    #[derive(Clone, Copy, Debug, Default)]
    pub struct Counting;

    /// What one thread has asked for so far.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Counts {
        /// Allocations and reallocations.
        pub calls: u64,
        /// Bytes of them; of a reallocation, what it grew by.
        pub bytes: u64,
    }

    static LIVE: AtomicUsize = AtomicUsize::new(0);
    static PEAK: AtomicUsize = AtomicUsize::new(0);

    thread_local! {
        static CALLS: Cell<u64> = const { Cell::new(0) };
        static BYTES: Cell<u64> = const { Cell::new(0) };
        /// Allocations whose place is still to be printed, and the calls between two of them.
        static TRACED: Cell<u32> = const { Cell::new(0) };
        static STRIDE: Cell<u32> = const { Cell::new(1) };
    }

    /// Counts of the calling thread.
    pub fn thread_counts() -> Counts {
        Counts { calls: CALLS.with(Cell::get), bytes: BYTES.with(Cell::get) }
    }

    /// Prints backtraces of the next `count` allocations of this thread on stderr, one in `stride`,
    /// which is how an allocation that should not be there is found.
    pub fn trace(count: u32, stride: u32) {
        STRIDE.with(|own| own.set(stride.max(1)));
        TRACED.with(|traced| traced.set(count));
    }

    /// Live bytes of the process.
    pub fn live() -> usize {
        LIVE.load(Relaxed)
    }

    /// The most live bytes of the process since it was made, beyond those at its making. One at a
    /// time.
    #[derive(Debug)]
    pub struct Peak {
        from: usize,
    }

    impl Peak {
        /// Begins now.
        #[must_use]
        pub fn begin() -> Peak {
            let from = LIVE.load(Relaxed);
            PEAK.store(from, Relaxed);
            Peak { from }
        }

        /// Bytes.
        pub fn extra(&self) -> usize {
            PEAK.load(Relaxed).saturating_sub(self.from)
        }

        /// Live bytes now beyond those at the beginning; 0 when there are fewer.
        pub fn kept(&self) -> usize {
            LIVE.load(Relaxed).saturating_sub(self.from)
        }
    }

    /// One call that asked for `bytes`, and `live` of them more than before.
    fn count(bytes: usize) {
        let call = CALLS.with(|calls| calls.replace(calls.get() + 1));
        BYTES.with(|sum| sum.set(sum.get() + bytes as u64));
        let live = LIVE.fetch_add(bytes, Relaxed) + bytes;
        if live > PEAK.load(Relaxed) {
            PEAK.fetch_max(live, Relaxed);
        }
        if TRACED.with(Cell::get) > 0 && call.is_multiple_of(u64::from(STRIDE.with(Cell::get))) {
            let left = TRACED.with(|traced| traced.replace(0));
            // The trace allocates: those calls are not traced, as the number is 0 meanwhile.
            let place = std::backtrace::Backtrace::force_capture();
            eprintln!("-- {bytes} bytes\n{place}");
            TRACED.with(|traced| traced.set(left - 1));
        }
    }

    // SAFETY: every call goes to mimalloc with the caller's arguments; the counters are words of
    // this process and are touched without allocating (but by the trace, which guards itself).
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            count(layout.size());
            // SAFETY: the caller's promises are passed on.
            unsafe { MiMalloc.alloc(layout) }
        }

        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            count(layout.size());
            // SAFETY: the caller's promises are passed on.
            unsafe { MiMalloc.alloc_zeroed(layout) }
        }

        unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
            LIVE.fetch_sub(layout.size(), Relaxed);
            // SAFETY: the caller's promises are passed on.
            unsafe { MiMalloc.dealloc(start, layout) }
        }

        unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            if size >= layout.size() {
                // Both may live while one is copied into the other.
                count(size);
                LIVE.fetch_sub(layout.size(), Relaxed);
            } else {
                LIVE.fetch_sub(layout.size() - size, Relaxed);
            }
            // SAFETY: the caller's promises are passed on.
            unsafe { MiMalloc.realloc(start, layout, size) }
        }
    }
}

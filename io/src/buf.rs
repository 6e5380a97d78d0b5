//! Buffers that the kernel may hold: aligned memory, slices of a region, received chunks.
//!
//! Each type here is owned by exactly one side at a time; ownership moves into the driver with
//! the submission and comes back with the event. Never: a buffer that is copied to be sent, or
//! memory that is freed while an operation on it is in flight.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;
use std::rc::Rc;
use std::slice;

use crate::ALIGN;
use crate::region::Mapping;
use crate::uring::Pool;

/// Owned memory whose address is a multiple of [`ALIGN`], as `O_DIRECT` wants it.
pub struct Buf {
    start: NonNull<u8>,
    len: usize,
    capacity: usize,
}

// SAFETY: a `Buf` is the only owner of its memory, which any thread may free.
unsafe impl Send for Buf {}

impl Buf {
    /// Zeroed memory of `len` bytes rounded up to a multiple of [`ALIGN`]; the view covers all of
    /// it. `0` gives an empty buffer without memory.
    pub fn new(len: usize) -> Buf {
        let capacity = len.next_multiple_of(ALIGN);
        if capacity == 0 {
            return Buf { start: NonNull::dangling(), len: 0, capacity: 0 };
        }
        let layout = layout(capacity);
        // SAFETY: the layout's size is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        Buf { start, len: capacity, capacity }
    }

    /// Bytes of memory behind the buffer, a multiple of [`ALIGN`].
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Makes the view `len` bytes long, at most the capacity. What was behind a shorter view is
    /// seen again as it was.
    pub fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity, "{len} bytes of a buffer of {}", self.capacity);
        self.len = len;
    }

    /// Shortens the view to `len` bytes; a longer `len` changes nothing.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

fn layout(capacity: usize) -> Layout {
    let layout = Layout::from_size_align(capacity, ALIGN);
    assert!(layout.is_ok(), "a buffer of {capacity} bytes");
    layout.unwrap_or(Layout::new::<u8>())
}

impl Drop for Buf {
    fn drop(&mut self) {
        if self.capacity > 0 {
            let layout = layout(self.capacity);
            // SAFETY: `start` was allocated with this layout and nobody else owns it.
            unsafe { dealloc(self.start.as_ptr(), layout) }
        }
    }
}

impl Deref for Buf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `len <= capacity` bytes from `start` are allocated and initialised.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Buf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` makes it the only reference.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl fmt::Debug for Buf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buf({} of {} bytes)", self.len, self.capacity)
    }
}

/// A range of a region, as the source of a write. Holds the mapping alive.
///
/// While it is in flight the kernel reads the range at a time of its choosing: the owner of the
/// region leaves the bytes alone until the write's event.
pub struct Slice {
    mapping: Rc<Mapping>,
    range: Range<usize>,
}

impl Slice {
    /// A range of a mapping; asserts that it lies inside.
    pub(crate) fn new(mapping: Rc<Mapping>, range: Range<usize>) -> Slice {
        assert!(range.start <= range.end && range.end <= mapping.len(), "{range:?} of a region");
        Slice { mapping, range }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.range.end - self.range.start
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// Its bytes as they are now.
    pub fn bytes(&self) -> &[u8] {
        self.mapping.bytes(self.range.clone())
    }
}

impl fmt::Debug for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slice({:?})", self.range)
    }
}

/// Received bytes in one buffer of the driver's pool. Dropping it gives the buffer back to the
/// kernel, so a chunk is consumed soon or its bytes are copied out.
pub struct Chunk(Bytes);

enum Bytes {
    /// A buffer of the pool, by its number, and how many bytes of it are filled.
    Pooled { pool: Rc<Pool>, number: u16, len: usize },
    /// Bytes of the simulated kernel.
    Owned(Vec<u8>),
}

impl Chunk {
    /// `len` bytes in buffer `number`, which the kernel has just filled and no longer touches.
    pub(crate) fn pooled(pool: &Rc<Pool>, number: u16, len: usize) -> Chunk {
        Chunk(Bytes::Pooled { pool: Rc::clone(pool), number, len })
    }
}

impl From<Vec<u8>> for Chunk {
    fn from(bytes: Vec<u8>) -> Chunk {
        Chunk(Bytes::Owned(bytes))
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Pooled { pool, number, len } => pool.bytes(*number, *len),
            Bytes::Owned(bytes) => bytes,
        }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if let Bytes::Pooled { pool, number, .. } = &self.0 {
            pool.provide(*number);
        }
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({} bytes)", self.len())
    }
}

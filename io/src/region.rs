//! Mapped memory: the staging region that outlives the process, and huge pages for the queues.
//!
//! A mapping is unmapped when its last holder goes, so that a write in flight keeps its memory.
//! Never: a mapping that can be written by another process of weir at the same time (staging is
//! locked with the log), or one that can raise `SIGBUS` for want of pages.

use std::alloc::{Layout, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut, Range};
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::slice;

use crate::ALIGN;
use crate::buf::Slice;
use crate::driver::Errno;

/// Size of a huge page on the machines weir runs on.
pub const HUGE_PAGE: usize = 2 * 1024 * 1024;

/// Bytes the processor fetches at once.
const CACHE_LINE: usize = 64;

const FREE_PAGES: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";
const RESERVED_PAGES: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/resv_hugepages";
const TRANSPARENT: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

/// `MADV_COLLAPSE` (Linux 6.1): put the pages of a range together into huge ones, now.
const COLLAPSE: i32 = 25;

/// Asks the processor for the cache line that `at` lies in, and goes on without it. Reads and
/// changes nothing, so that any address will do.
#[inline]
pub fn fetch(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a fetch is a hint: it cannot fault, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// One `mmap`, unmapped on drop.
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
    /// Address space in front of and behind it that was taken to align it.
    before: usize,
    behind: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread; `Mapping` is its only owner.
unsafe impl Send for Mapping {}

impl Mapping {
    fn new(len: usize, flags: i32, fd: i32) -> Result<Mapping, Errno> {
        assert!(len > 0, "an empty mapping");
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at a place of the kernel's choice touches no existing memory.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, rights, flags, fd, 0) };
        match NonNull::new(start.cast::<u8>()) {
            Some(place) if start != libc::MAP_FAILED => {
                Ok(Mapping { start: place, len, before: 0, behind: 0 })
            }
            _ => Err(std::io::Error::last_os_error().into()),
        }
    }

    /// The first `len` bytes of a file, at an address that huge pages can have.
    fn shared_aligned(len: usize, fd: i32) -> Result<Mapping, Errno> {
        let (rights, none) = (libc::PROT_READ | libc::PROT_WRITE, libc::PROT_NONE);
        let hold = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let span = len + HUGE_PAGE;
        // SAFETY: a new mapping at a place of the kernel's choice touches no existing memory.
        let held = unsafe { libc::mmap(ptr::null_mut(), span, none, hold, -1, 0) };
        let Some(first) = NonNull::new(held.cast::<u8>()).filter(|_| held != libc::MAP_FAILED)
        else {
            return Err(std::io::Error::last_os_error().into());
        };
        let before = first.align_offset(HUGE_PAGE);
        // SAFETY: fewer than HUGE_PAGE bytes into a mapping of that many and more.
        let start = unsafe { first.add(before) };
        let mapping = Mapping { start, len, before, behind: HUGE_PAGE - before };
        let flags = libc::MAP_SHARED | libc::MAP_FIXED;
        // SAFETY: it replaces a part of the mapping above, which nothing refers to.
        let placed = unsafe { libc::mmap(start.as_ptr().cast(), len, rights, flags, fd, 0) };
        if placed == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error().into());
        }
        Ok(mapping)
    }

    /// Zeroed memory of this process alone, touched lazily. Like a `Vec`, it ends the process
    /// when the address space is used up.
    pub(crate) fn anonymous(len: usize) -> Mapping {
        match Mapping::try_anonymous(len) {
            Ok(mapping) => mapping,
            Err(_) => out_of_memory(len),
        }
    }

    /// As [`Mapping::anonymous`], on huge pages where the kernel has some: for memory that is all
    /// in use as soon as there is load.
    pub(crate) fn anonymous_huge(len: usize) -> Mapping {
        let mapping = Mapping::anonymous(len);
        let _ = mapping.advise(libc::MADV_HUGEPAGE);
        mapping
    }

    fn try_anonymous(len: usize) -> Result<Mapping, Errno> {
        Mapping::new(len, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// First byte; the address is a multiple of [`ALIGN`].
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Bytes of a range; asserts that it lies inside.
    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {}", self.len);
        // SAFETY: the start of the range lies inside the mapping.
        let start = unsafe { self.start.as_ptr().add(range.start) };
        // SAFETY: the whole range lies inside the mapping, whose bytes are initialised (zero or
        // written); the owner of the mapping does not write to it while this borrow lives.
        unsafe { slice::from_raw_parts(start, range.end - range.start) }
    }

    fn advise(&self, advice: i32) -> Result<(), Errno> {
        // SAFETY: the range is this mapping; the advice used here changes no contents.
        let failed = unsafe { libc::madvise(self.start.as_ptr().cast(), self.len, advice) };
        if failed == 0 { Ok(()) } else { Err(std::io::Error::last_os_error().into()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let whole = self.before + self.len + self.behind;
        // SAFETY: the mapping, and the space held around it, are owned by `self` and no reference
        // into them outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().sub(self.before).cast(), whole) };
    }
}

fn out_of_memory(len: usize) -> ! {
    handle_alloc_error(Layout::from_size_align(len, ALIGN).unwrap_or(Layout::new::<u8>()))
}

/// Memory that writes are made from: page-aligned, and shared when a file is behind it.
pub struct Region {
    mapping: Rc<Mapping>,
}

impl Region {
    /// `len` zeroed bytes of this process alone, which end with it.
    pub fn anonymous(len: usize) -> Region {
        Region { mapping: Rc::new(Mapping::anonymous(len)) }
    }

    /// As [`Region::anonymous`], with `ENOMEM` when there is not as much.
    pub(crate) fn try_anonymous(len: usize) -> Result<Region, Errno> {
        Ok(Region { mapping: Rc::new(Mapping::try_anonymous(len)?) })
    }

    /// The first `len` bytes of a file, shared: what is stored in them is in the file at once and
    /// stays there after `kill -9`. The file is at least that long and its blocks are allocated,
    /// otherwise touching them raises `SIGBUS`.
    ///
    /// The kernel is asked for huge pages whatever the file system was mounted with: a tenth of
    /// all CPU time of a busy shard goes into small ones (docs/figures.md). A kernel that has none
    /// to give refuses, and nothing else changes.
    pub(crate) fn shared(file: &std::fs::File, len: usize) -> Result<Region, Errno> {
        if len < HUGE_PAGE {
            let mapping = Mapping::new(len, libc::MAP_SHARED, file.as_raw_fd())?;
            return Ok(Region { mapping: Rc::new(mapping) });
        }
        let mapping = Mapping::shared_aligned(len, file.as_raw_fd())?;
        let _ = mapping.advise(COLLAPSE);
        Ok(Region { mapping: Rc::new(mapping) })
    }

    /// A second view of the same memory, for the simulated kernel, which keeps the staging area
    /// of a process that it will kill. The two are never written at the same time.
    #[cfg(feature = "sim")]
    pub(crate) fn share(&self) -> Region {
        Region { mapping: Rc::clone(&self.mapping) }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.mapping.len()
    }

    /// Never true: a region has at least one byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of a range; asserts that it lies inside.
    pub fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.mapping.bytes(range)
    }

    /// The bytes of a range, to write to; asserts that it lies inside. Ranges of writes in flight
    /// are left alone by the caller: the device may take the bytes at any time.
    pub fn bytes_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        let len = self.len();
        assert!(range.start <= range.end && range.end <= len, "{range:?} of {len}");
        // SAFETY: the start of the range lies inside the mapping.
        let start = unsafe { self.mapping.start.as_ptr().add(range.start) };
        // SAFETY: the whole range lies inside the mapping; `&mut self` excludes other borrows
        // through the region, and slices are only read by the kernel or between two writes.
        unsafe { slice::from_raw_parts_mut(start, range.end - range.start) }
    }

    /// Asks the processor for the cache lines of `len` bytes from `from` on, as far as they lie
    /// inside; it fetches them while the caller does other things. Reads and changes nothing.
    #[inline]
    pub fn fetch(&self, from: usize, len: usize) {
        for line in (from..(from + len).min(self.len())).step_by(CACHE_LINE) {
            fetch(self.mapping.start.as_ptr().wrapping_add(line));
        }
    }

    /// A range as the source of a write; asserts that it lies inside. For `O_DIRECT` both ends
    /// are multiples of [`ALIGN`].
    pub fn slice(&self, range: Range<usize>) -> Slice {
        Slice::new(Rc::clone(&self.mapping), range)
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Region({} bytes)", self.len())
    }
}

/// What kind of pages are behind a [`Memory`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Huge pages reserved by the administrator (`vm.nr_hugepages`).
    Hugetlb,
    /// Transparent huge pages: 2 MiB at a time as they are touched, when the kernel finds them.
    Transparent,
    /// Ordinary 4 KiB pages.
    Plain,
}

/// A large private piece of memory, on huge pages where the machine has them.
pub struct Memory {
    mapping: Mapping,
    len: usize,
}

impl Memory {
    /// `len` zeroed bytes on the best pages there are. Reserved huge pages are taken only when
    /// all of them fit, and are populated at once, so that a fault can never end in `SIGBUS`
    /// (a cgroup limit on huge pages is only noticed at the fault); others are touched lazily.
    pub fn huge(len: usize) -> (Memory, Backing) {
        assert!(len > 0, "an empty memory");
        let rounded = len.next_multiple_of(HUGE_PAGE);
        if let Some(mapping) = hugetlb(rounded) {
            return (Memory { mapping, len }, Backing::Hugetlb);
        }
        let mapping = Mapping::anonymous(rounded);
        let transparent = transparent_allowed(&read_text(TRANSPARENT))
            && mapping.advise(libc::MADV_HUGEPAGE).is_ok();
        let backing = if transparent { Backing::Transparent } else { Backing::Plain };
        (Memory { mapping, len }, backing)
    }
}

/// Reserved huge pages, all of them there or none.
fn hugetlb(len: usize) -> Option<Mapping> {
    let free = read_text(FREE_PAGES).trim().parse::<usize>().unwrap_or(0);
    let reserved = read_text(RESERVED_PAGES).trim().parse::<usize>().unwrap_or(0);
    if len / HUGE_PAGE > free.saturating_sub(reserved) {
        return None;
    }
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB | libc::MAP_HUGE_2MB;
    let mapping = Mapping::new(len, flags, -1).ok()?;
    mapping.advise(libc::MADV_POPULATE_WRITE).ok()?;
    Some(mapping)
}

/// Whether `/sys/kernel/mm/transparent_hugepage/enabled` lets `madvise` ask for huge pages.
fn transparent_allowed(setting: &str) -> bool {
    setting.contains("[always]") || setting.contains("[madvise]")
}

fn read_text(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

impl Deref for Memory {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.mapping.bytes(0..self.len)
    }
}

impl DerefMut for Memory {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is at least `len` long, initialised, and owned by `self` alone.
        unsafe { slice::from_raw_parts_mut(self.mapping.start.as_ptr(), self.len) }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBER: &str = "/proc/sys/vm/nr_hugepages";

    /// Resident bytes of this process.
    fn resident() -> usize {
        let text = read_text("/proc/self/statm");
        let pages = text.split_whitespace().nth(1).and_then(|word| word.parse::<usize>().ok());
        pages.unwrap_or(0) * ALIGN
    }

    #[test]
    fn a_slice_keeps_the_memory_of_its_region() {
        let mut region = Region::anonymous(3 * ALIGN);
        region.bytes_mut(ALIGN..ALIGN + 4).copy_from_slice(b"weir");
        let slice = region.slice(ALIGN..2 * ALIGN);
        drop(region);
        assert_eq!((slice.len(), &slice.bytes()[..4]), (ALIGN, &b"weir"[..]));
        assert!((slice.bytes().as_ptr() as usize).is_multiple_of(ALIGN));
    }

    #[test]
    #[should_panic(expected = "of a region")]
    fn a_slice_cannot_reach_over_the_end() {
        let region = Region::anonymous(ALIGN);
        let _ = region.slice(0..ALIGN + 1);
    }

    #[test]
    fn the_kernels_setting_for_transparent_pages_is_read() {
        assert!(transparent_allowed("always [madvise] never\n"));
        assert!(transparent_allowed("[always] madvise never\n"));
        assert!(!transparent_allowed("always madvise [never]\n"));
        assert!(!transparent_allowed(""));
    }

    /// One test, so that the number of reserved pages is changed by nobody else meanwhile.
    #[test]
    fn a_shared_region_lies_where_huge_pages_can_and_is_the_file() {
        use std::os::unix::fs::FileExt;
        let path = std::path::Path::new("/dev/shm").join(format!("weir-r-{}", std::process::id()));
        let mut options = std::fs::OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let len = 2 * HUGE_PAGE + ALIGN;
        file.set_len(len as u64).unwrap();
        file.write_all_at(b"before", 5).unwrap();
        let mut region = Region::shared(&file, len).unwrap();
        assert_eq!(region.bytes(0..1).as_ptr().addr() % HUGE_PAGE, 0);
        assert_eq!(region.bytes(5..11), b"before");
        region.bytes_mut(len - 5..len).copy_from_slice(b"after");
        drop(region);
        let mut found = [0; 5];
        file.read_exact_at(&mut found, len as u64 - 5).unwrap();
        assert_eq!(&found, b"after");
    }

    #[test]
    fn memory_is_on_reserved_pages_when_all_fit_and_on_others_when_not() {
        let expected = if transparent_allowed(&read_text(TRANSPARENT)) {
            Backing::Transparent
        } else {
            Backing::Plain
        };
        let before = read_text(NUMBER);
        // More than this machine has reserved: not hugetlb, and touched lazily.
        let resident_before = resident();
        let (mut memory, backing) = Memory::huge(16 << 30);
        assert_eq!((backing, memory.len()), (expected, 16 << 30));
        memory[(16 << 30) - 1] = 7;
        let grown = resident().saturating_sub(resident_before);
        assert!(grown < 256 << 20, "{grown} bytes resident after one touch of 16 GiB");
        drop(memory);
        if std::fs::write(NUMBER, "8").is_err() || read_text(FREE_PAGES).trim() != "8" {
            // Not allowed to reserve here, or no eight huge pages in one piece are left.
            let _ = std::fs::write(NUMBER, before.trim());
            return;
        }
        let (mut memory, backing) = Memory::huge(5 * HUGE_PAGE - 1);
        let left = read_text(FREE_PAGES);
        memory[4 * HUGE_PAGE] = 9;
        let (second, too_large) = Memory::huge(4 * HUGE_PAGE);
        drop(second);
        drop(memory);
        let all = read_text(FREE_PAGES);
        std::fs::write(NUMBER, before.trim()).unwrap();
        assert_eq!(backing, Backing::Hugetlb);
        assert_eq!((left.trim(), all.trim()), ("3", "8"), "populated at once, then given back");
        assert_eq!(too_large, expected, "four do not fit into three");
    }
}

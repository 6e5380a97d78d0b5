//! Reads, writes and flushes in flight.
//!
//! A short write or read is continued under the same number, so that an event means all of it.
//! Never: an event of a write whose bytes are only partly taken, or a second buffer.

use super::op::{Op, source_bytes};
use super::setup::Uring;
use crate::ALIGN;
use crate::buf::Buf;
use crate::driver::{Errno, Event, File, Source, Token};

/// What to do after one completion of an operation that can be short.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    GoOn,
    End(Result<usize, Errno>),
}

impl Uring {
    /// See [`crate::Driver::write`].
    pub fn write(&mut self, file: File, offset: u64, source: Source, durable: bool, token: Token) {
        let fd = self.file_begin(file);
        self.start(Op::Write { file: file.0, offset, source, done: 0, durable, token }, fd);
    }

    /// See [`crate::Driver::read`].
    pub fn read(&mut self, file: File, offset: u64, buf: Buf, token: Token) {
        let fd = self.file_begin(file);
        self.start(Op::Read { file: file.0, offset, buf, done: 0, token }, fd);
    }

    /// See [`crate::Driver::sync`].
    pub fn sync(&mut self, file: File, token: Token) {
        let fd = self.file_begin(file);
        self.start(Op::Sync { file: file.0, token }, fd);
    }

    /// A write, read or flush has completed, all of it or a part.
    pub(super) fn disk_completed(
        &mut self,
        number: u64,
        count: Result<usize, Errno>,
        events: &mut Vec<Event>,
    ) {
        let Some(op) = self.ops.get_mut(number) else { return };
        let (fd, step) = match op {
            Op::Write { file, source, done, .. } => {
                let (fd, direct) = self.files[*file as usize].parts();
                (fd, after_write(done, source_bytes(source).len(), count, direct))
            }
            Op::Read { file, buf, done, .. } => {
                let (fd, direct) = self.files[*file as usize].parts();
                (fd, after_read(done, buf.len(), count, direct))
            }
            Op::Sync { file, .. } => (self.files[*file as usize].parts().0, after_sync(count)),
            _ => return,
        };
        match step {
            Step::GoOn => self.go_on(number, fd),
            Step::End(result) => self.disk_ended(number, result, events),
        }
    }

    fn disk_ended(&mut self, number: u64, result: Result<usize, Errno>, events: &mut Vec<Event>) {
        let file = match self.ops.remove(number) {
            Some(Op::Write { file, source, token, .. }) => {
                let buf = match source {
                    Source::Buf(buf) => Some(buf),
                    Source::Slice(_) => None,
                };
                events.push(Event::Written { token, buf, result: result.map(drop) });
                file
            }
            Some(Op::Read { file, buf, token, .. }) => {
                events.push(Event::Read { token, buf, result });
                file
            }
            Some(Op::Sync { file, token }) => {
                events.push(Event::Synced { token, result: result.map(drop) });
                file
            }
            _ => return,
        };
        self.file_end(file);
    }
}

/// Errors after which the same piece is tried again.
fn again(errno: Errno) -> bool {
    matches!(errno, Errno(libc::EINTR | libc::EAGAIN))
}

/// `done` of `len` bytes were written before this completion. With `O_DIRECT` a short write is
/// continued at a multiple of [`ALIGN`], writing the rest of a page again.
fn after_write(done: &mut usize, len: usize, count: Result<usize, Errno>, direct: bool) -> Step {
    let count = match count {
        Ok(count) => count,
        Err(errno) if again(errno) => return Step::GoOn,
        Err(errno) => return Step::End(Err(errno)),
    };
    let reached = *done + count;
    if reached >= len {
        return Step::End(Ok(len));
    }
    let kept = if direct { reached / ALIGN * ALIGN } else { reached };
    if kept <= *done {
        // Nothing was gained: a device that is full without saying so.
        return Step::End(Err(Errno::NO_SPACE));
    }
    *done = kept;
    Step::GoOn
}

/// As [`after_write`]; a read ends at the end of the file, which with `O_DIRECT` is the only
/// place that a count that is no multiple of [`ALIGN`] can come from.
fn after_read(done: &mut usize, len: usize, count: Result<usize, Errno>, direct: bool) -> Step {
    let count = match count {
        Ok(count) => count,
        Err(errno) if again(errno) => return Step::GoOn,
        Err(errno) => return Step::End(Err(errno)),
    };
    *done += count;
    let last = count == 0 || *done >= len || (direct && !done.is_multiple_of(ALIGN));
    if last { Step::End(Ok(*done)) } else { Step::GoOn }
}

fn after_sync(count: Result<usize, Errno>) -> Step {
    match count {
        Err(errno) if again(errno) => Step::GoOn,
        other => Step::End(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_write_goes_on_from_the_last_whole_page() {
        let table = [
            // direct, done before, count, step, done after
            (true, 0, Ok(16384), Step::End(Ok(16384)), 0),
            (true, 0, Ok(8192), Step::GoOn, 8192),
            (true, 4096, Ok(5000), Step::GoOn, 8192),
            (true, 4096, Ok(512), Step::End(Err(Errno::NO_SPACE)), 4096),
            (false, 4096, Ok(512), Step::GoOn, 4608),
            (false, 4096, Ok(0), Step::End(Err(Errno::NO_SPACE)), 4096),
            (true, 4096, Err(Errno(libc::EINTR)), Step::GoOn, 4096),
            (true, 4096, Err(Errno::IO), Step::End(Err(Errno::IO)), 4096),
        ];
        for (direct, before, count, step, after) in table {
            let mut done = before;
            assert_eq!(after_write(&mut done, 16384, count, direct), step, "{count:?}");
            assert_eq!(done, after, "{count:?}");
        }
    }

    #[test]
    fn a_short_read_goes_on_until_the_end_of_the_file() {
        let table = [
            (true, 0, Ok(16384), Step::End(Ok(16384))),
            (true, 0, Ok(8192), Step::GoOn),
            (true, 8192, Ok(100), Step::End(Ok(8292))),
            (false, 8192, Ok(100), Step::GoOn),
            (false, 8192, Ok(0), Step::End(Ok(8192))),
            (false, 0, Err(Errno::IO), Step::End(Err(Errno::IO))),
            (false, 0, Err(Errno(libc::EAGAIN)), Step::GoOn),
        ];
        for (direct, before, count, step) in table {
            let mut done = before;
            assert_eq!(after_read(&mut done, 16384, count, direct), step, "{count:?}");
        }
    }
}

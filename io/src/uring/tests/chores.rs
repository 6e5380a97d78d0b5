//! File work beside the loop, on a real file system.
//! What is never tolerated here: an end that is not told, or one out of order.

use std::time::Duration;

use super::{Dir, Rig};
use crate::ALIGN;
use crate::buf::Buf;
use crate::chore::{CHORES_MAX, Chore};
use crate::driver::{Errno, Event, File, Token};

fn head(byte: u8) -> Buf {
    let mut head = Buf::new(ALIGN);
    head.fill(byte);
    head
}

fn ended(rig: &mut Rig, token: Token) -> Result<Option<File>, Errno> {
    loop {
        match rig.next() {
            Event::Chored { token: of, result } if of == token => return result,
            Event::Woken => {}
            other => panic!("{other:?} instead of the end of a chore"),
        }
    }
}

#[test]
fn a_file_is_made_reused_renamed_and_removed_in_the_order_asked_for() {
    let dir = Dir::new("chores");
    let mut rig = Rig::small();
    let path = |name: &str| dir.0.join(name);
    let patience = Duration::ZERO;
    let make = Chore::Make { path: path("a"), size_bytes: 1 << 20, head: head(1), patience };
    rig.driver.chore(make, Token(1));
    let rename = Chore::Rename { from: path("a"), to: path("b") };
    rig.driver.chore(rename, Token(2));
    rig.driver.chore(Chore::Reuse { from: path("b"), to: path("c"), head: head(2) }, Token(3));
    rig.driver.chore(Chore::Reserve { path: path("c"), len_bytes: 2 << 20 }, Token(4));

    let file = ended(&mut rig, Token(1)).unwrap().expect("the file that was made");
    for token in [2, 3, 4] {
        assert_eq!(ended(&mut rig, Token(token)), Ok(None));
    }
    assert_eq!(rig.driver.file_len(file), Ok(2 << 20), "one file under three names");
    let mut found = head(0);
    assert_eq!(rig.driver.read_now(file, 0, &mut found), Ok(ALIGN));
    assert!(found.iter().all(|byte| *byte == 2));

    rig.driver.chore(Chore::Remove { path: path("c") }, Token(5));
    assert_eq!(ended(&mut rig, Token(5)), Ok(None));
    rig.driver.chore(Chore::Remove { path: path("c") }, Token(6));
    assert_eq!(ended(&mut rig, Token(6)), Err(Errno(libc::ENOENT)));
}

#[test]
fn a_file_that_cannot_be_finished_is_not_left_behind() {
    let dir = Dir::new("chore-fails");
    let mut rig = Rig::small();
    let path = dir.0.join("too-large");
    let size_bytes = u64::MAX / 2;
    let patience = Duration::ZERO;
    let make = Chore::Make { path: path.clone(), size_bytes, head: head(1), patience };
    rig.driver.chore(make, Token(1));
    assert!(ended(&mut rig, Token(1)).is_err());
    assert!(!path.exists());
}

#[test]
fn chores_wait_in_a_bounded_line_and_every_one_is_told() {
    let dir = Dir::new("chore-line");
    let mut rig = Rig::small();
    let asked = 4 * CHORES_MAX as u64;
    for token in 0..asked {
        rig.driver.chore(Chore::Remove { path: dir.0.join("nothing") }, Token(token));
    }
    let mut told = 0;
    while told < asked {
        match rig.next() {
            Event::Chored { result: Err(Errno(libc::ENOENT | libc::EBUSY)), .. } => told += 1,
            Event::Woken => {}
            other => panic!("{other:?}"),
        }
    }
}

//! The process's exit codes: one number per cause, so that a unit file, a script or a probe can
//! tell them apart without reading text.
//!
//! `docs/cli.md` shows this table, `docs/exit-codes.md` has a section for each; tests compare them.
//! A number is never reused for another cause. It knows nothing of what failed: the room that
//! failed chooses the row.

/// Why the process ends: the code of the table below, and one line for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// One of the codes of this file.
    pub exit_code: u8,
    /// What happened and what to do, without a newline.
    pub line: String,
}

impl Stop {
    /// Makes one from a code and a line.
    #[must_use]
    pub fn new(exit_code: u8, line: impl Into<String>) -> Self {
        Self { exit_code, line: line.into() }
    }
}

macro_rules! codes {
    ($($(#[doc = $about:literal])+ $name:ident = $code:literal;)+) => {
        $($(#[doc = $about])+ pub const $name: u8 = $code;)+

        /// Every code with its meaning, in the order of the numbers.
        pub const TABLE: &[(u8, &str)] = &[$(($code, concat!($($about),+))),+];
    };
}

codes! {
    /// Done, or stopped by SIGTERM or SIGINT after a clean shutdown.
    OK = 0;
    /// A command could not do what it was asked; the line says why.
    FAILED = 1;
    /// The command line is wrong.
    USAGE = 2;
    /// The configuration is refused; every fault is listed with its place.
    CONFIG = 3;
    /// The kernel lacks a ring feature that weir needs.
    KERNEL_TOO_OLD = 10;
    /// io_uring is forbidden here: a seccomp filter or kernel.io_uring_disabled.
    RING_FORBIDDEN = 11;
    /// RLIMIT_MEMLOCK is too small for the ring's buffers.
    MEMLOCK = 12;
    /// The data directory's file system has no O_DIRECT.
    NO_DIRECT_IO = 13;
    /// A port is in use or may not be bound.
    BIND = 14;
    /// Another process has the data directory.
    DATA_IN_USE = 15;
    /// The data directory was made by another version, or for another shard count.
    DATA_MISMATCH = 16;
    /// The log is damaged (not merely torn at its end); nothing was changed.
    DATA_DAMAGED = 17;
    /// The data directory cannot be created, read or written.
    DATA_UNUSABLE = 18;
    /// The disk is full at start.
    DISK_FULL = 19;
    /// The log's device failed while running; only a restart clears it.
    DISK_FAILED = 20;
    /// Another system call failed at start; the line names it.
    CALL = 21;
    /// A second SIGTERM or SIGINT cut the drain short; the next start recovers as after a kill.
    HURRIED = 22;
    /// `weir doctor`: this box is not ready; every reason was printed with what mends it.
    NOT_READY = 30;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page has one section per code, in order, and says of each what the unit file does.
    #[test]
    fn every_code_has_its_section_which_says_what_the_unit_file_does() {
        let page = include_str!("../docs/exit-codes.md");
        let unit = include_str!("../systemd/weir.service");
        let listed = |key: &str| -> Vec<u8> {
            let line = unit.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            line.split(' ').map(|code| code.parse().unwrap()).collect()
        };
        let mut stays = listed("RestartPreventExitStatus=");
        stays.extend(listed("SuccessExitStatus="));
        stays.push(OK);
        let sections: Vec<(u8, &str)> = page
            .split("\n## ")
            .skip(1)
            .map(|section| {
                let (code, rest) = section.split_once(": ").unwrap();
                (code.parse().unwrap(), rest.split_once("\n\n").unwrap().1)
            })
            .collect();
        let codes: Vec<u8> = TABLE.iter().map(|(code, _)| *code).collect();
        assert_eq!(sections.iter().map(|(code, _)| *code).collect::<Vec<u8>>(), codes);
        for (code, text) in sections {
            let word = if stays.contains(&code) { "stays stopped" } else { "restarted" };
            assert!(text.starts_with(&format!("systemd: {word}. ")), "{code}: {text}");
        }
    }

    #[test]
    fn codes_rise_and_stay_below_the_shells_own() {
        assert!(TABLE.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(TABLE.iter().all(|(code, about)| *code < 64 && !about.is_empty()));
    }
}

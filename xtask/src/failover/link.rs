//! Two hosts and the cable between them: network namespaces joined by a veth pair.
//!
//! A direction is cut by giving its sender a neighbour's address that nobody has: packets leave and
//! are dropped on arrival, silently, as on a cable that lost one pair of wires. That needs no
//! packet filter. Both hosts have loopback of their own, so their clients are never cut off.
//! Dropping it removes everything. It needs root.

use std::process::Command;

use crate::toolbox;

/// An address that no interface has.
const NOBODY: &str = "02:00:00:00:00:99";
/// Addresses of the two hosts on the cable.
pub(super) const ADDRESSES: [&str; 2] = ["10.77.31.1", "10.77.31.2"];

/// The hosts and the cable.
pub(super) struct Link {
    spaces: [String; 2],
    /// Hardware addresses of the two ends.
    ends: [String; 2],
}

impl Link {
    /// Makes both hosts and joins them. `name` tells this run's from others'.
    pub(super) fn new(name: &str) -> Result<Link, String> {
        let own = std::process::id();
        let spaces = [0, 1].map(|side| format!("weir-{name}-{own}-{side}"));
        let link = Link { spaces, ends: Default::default() };
        let [one, two] = &link.spaces;
        ip(&["netns", "add", one])?;
        ip(&["netns", "add", two])?;
        ip(&[
            "link", "add", "cable", "netns", one, "type", "veth", "peer", "name", "cable", "netns",
            two,
        ])?;
        for (space, address) in link.spaces.iter().zip(ADDRESSES) {
            ip(&["-n", space, "addr", "add", &format!("{address}/30"), "dev", "cable"])?;
            ip(&["-n", space, "link", "set", "cable", "up"])?;
            ip(&["-n", space, "link", "set", "lo", "up"])?;
        }
        let ends = [end(one)?, end(two)?];
        let link = Link { ends, spaces: link.take() };
        link.heal()?;
        Ok(link)
    }

    /// Hands the names over, so that they are removed by the new owner only.
    fn take(mut self) -> [String; 2] {
        std::mem::take(&mut self.spaces)
    }

    /// A command on host `side`; the process it becomes is the program itself.
    pub(super) fn command(&self, side: usize, program: &std::path::Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec"]).arg(&self.spaces[side]).arg(program);
        command
    }

    /// What host `side` sends to the other one does not arrive from now on.
    pub(super) fn mute(&self, side: usize) -> Result<(), String> {
        self.neighbour(side, NOBODY)
    }

    /// Everything arrives again.
    pub(super) fn heal(&self) -> Result<(), String> {
        (0..2).try_for_each(|side| self.neighbour(side, &self.ends[1 - side]))
    }

    fn neighbour(&self, side: usize, hardware: &str) -> Result<(), String> {
        let other = ADDRESSES[1 - side];
        let space = &self.spaces[side];
        ip(&[
            "-n",
            space,
            "neigh",
            "replace",
            other,
            "lladdr",
            hardware,
            "dev",
            "cable",
            "nud",
            "permanent",
        ])
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        for space in self.spaces.iter().filter(|space| !space.is_empty()) {
            // One that was never made cannot be removed.
            let _ = ip(&["netns", "del", space]);
        }
    }
}

fn ip(args: &[&str]) -> Result<(), String> {
    toolbox::run(Command::new("ip").args(args))
}

/// The hardware address of a host's end.
fn end(space: &str) -> Result<String, String> {
    let mut command = Command::new("ip");
    command.args(["-n", space, "-o", "link", "show", "cable"]);
    let out = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let mut words = text.split_whitespace().skip_while(|word| *word != "link/ether");
    words.nth(1).map(str::to_owned).ok_or_else(|| format!("{command:?} said: {text}"))
}

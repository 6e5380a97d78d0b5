//! One box of the pair: a machine with its disk, and the process on it, if one runs.
//!
//! It starts, dies, stops and goes on when it is told to; what that means for promises is not its
//! business. Never: a start that looks away from what a log refuses.

use weir::replica::{Report, Role, State, state_path};
use weir::shard::{OpenFault, ShardOptions};
use weir_io::sim::{Faults, World};

use crate::bed::Node;
use crate::oracle::Broken;

/// A box.
pub(super) struct Half {
    pub world: World,
    pub options: ShardOptions,
    pub node: Option<Node>,
    /// It is stopped until then, nanoseconds of the world.
    pub frozen_until_ns: Option<u64>,
    /// Its device gives errors: what it refuses then is no breach.
    pub failing: bool,
    /// It lost what its memory had, and was not in step since.
    pub shaken: bool,
    /// How it was when it was last seen alive.
    pub last: Report,
    starts: u64,
}

impl Half {
    /// A box that does not run yet.
    pub(super) fn new(world: World, options: ShardOptions) -> Half {
        Half {
            world,
            options,
            node: None,
            frozen_until_ns: None,
            failing: false,
            shaken: false,
            last: Report::default(),
            starts: 0,
        }
    }

    /// Whether its process takes part.
    pub(super) fn is_up(&self) -> bool {
        self.node.is_some() && self.frozen_until_ns.is_none()
    }

    /// What it is, if it takes part.
    pub(super) fn role(&self) -> Option<Role> {
        self.node.as_ref().filter(|_| self.is_up()).map(|node| node.report().role)
    }

    /// Starts the process. `false`: it died in the middle, or its failing device was in the way.
    pub(super) fn start(&mut self) -> Result<bool, Broken> {
        self.starts += 1;
        if let Some(replica) = &mut self.options.replica {
            replica.seed[8..16].copy_from_slice(&self.starts.to_le_bytes());
        }
        let deaths = self.world.deaths();
        let opened = Node::try_open(&self.world, self.options.clone());
        self.opened(opened, deaths)
    }

    /// Opens the shard anew in the same process, because its role or its log's end changed.
    pub(super) fn reopen(&mut self) -> Result<bool, Broken> {
        let Some(node) = self.node.take() else { return Ok(false) };
        let deaths = self.world.deaths();
        let opened = node.try_reopen();
        self.opened(opened, deaths)
    }

    /// `deaths`: how many there were before.
    fn opened(&mut self, opened: Result<Node, OpenFault>, deaths: u64) -> Result<bool, Broken> {
        match opened {
            _ if self.world.deaths() > deaths => Ok(false),
            Ok(mut node) => {
                node.nap_ns = 10_000_000;
                self.last = node.report();
                self.node = Some(node);
                Ok(true)
            }
            Err(_) if self.failing => Ok(false),
            Err(fault) => Err(format!("a start was refused: {fault}")),
        }
    }

    /// Where what it found of its log ends, before what it wrote itself since its start.
    pub(super) fn found_end(&self) -> u64 {
        let path = state_path(&self.options.dir);
        let state = self.world.peek(&path, 0, 8192).ok().and_then(|page| State::of_file(&page));
        let began = state.and_then(|state| state.epochs.entries().last().map(|entry| entry.start));
        let end = self.last.end;
        if self.last.role == Role::Primary {
            began.map_or(end, |began| began.min(end))
        } else {
            end
        }
    }

    /// Its process is gone.
    pub(super) fn gone(&mut self) {
        self.node = None;
        self.frozen_until_ns = None;
        self.world.freeze(false);
    }

    /// It is stopped until a time, or goes on.
    pub(super) fn freeze(&mut self, until_ns: Option<u64>) {
        self.frozen_until_ns = until_ns;
        self.world.freeze(until_ns.is_some());
    }

    /// Its device gives errors from now on.
    pub(super) fn fail(&mut self, faults: &Faults) {
        self.failing = true;
        self.world.faults(|now| *now = faults.clone());
    }

    /// Its device is repaired; the process that saw it fail must be started again.
    pub(super) fn repair(&mut self, calm: &Faults) {
        self.failing = false;
        self.world.remount();
        self.world.faults(|now| *now = calm.clone());
    }
}

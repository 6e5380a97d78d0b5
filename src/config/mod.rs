//! The configuration: every knob declared once, read from TOML and `--set`, handed on as plain
//! data.
//!
//! A knob's name is RocketMQ's where RocketMQ has the key. It never opens a file, asks the host
//! for anything or falls back in silence: an unknown key or a bad value refuses to start and says
//! where it stands, what is allowed and which key was probably meant. `docs/config.md` is
//! generated from the same table.
//! Invariant: a [`Config`] that exists is within every range and every relation between knobs.

mod explained;
mod kind;
mod load;
mod memory;
mod overrides;
mod reference;
mod relations;
mod table;

#[cfg(test)]
mod tests;

pub use kind::{BrokerRole, FlushDiskType, HourSet};
pub use load::{Loaded, Origin, Refusal, Setting, Sources, is_live, load};
pub use memory::MemoryPlan;
pub use overrides::Overrides;
pub use reference::reference;
pub use table::{Config, PORT_STEP, SHARDS_MAX};

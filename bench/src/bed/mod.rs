//! The test bed: servers as child processes, the generator as another, and what both did.
//!
//! All servers run pinned to one core and the generator on another. Servers are children of this
//! process, known by their process id alone; they are ended and their files removed also when a
//! run fails. A scenario asks the bed for runs and gets [`Point`](crate::findings::Point)s.

mod args;
mod generator;
mod held;
mod java;
mod neighbour;
mod progress;
mod relay;
mod run;
mod server;
mod session;
mod ticks;

pub(crate) use args::{BedArgs, Lengths};
pub(crate) use generator::Load;
pub(crate) use java::JavaArgs;
pub(crate) use neighbour::{Habit, Neighbour};
pub(crate) use relay::Relay;
pub(crate) use run::{Watch, measure, point};
pub(crate) use server::{Kind, Limit, Server, Setup};
pub(crate) use session::Session;

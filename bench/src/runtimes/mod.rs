//! The ceiling's loop on other people's runtimes, so that the choice of ours stays a figure.
//!
//! Each runtime brings its own sockets, files and tasks in its own idiom, on top of what is
//! common. Here, and nowhere else in this tool, functions may be `async`: it is what is measured.

mod glommio_loop;
mod shared;
mod tokio_loop;

pub(crate) use glommio_loop::on_glommio;
pub(crate) use tokio_loop::on_tokio_uring;

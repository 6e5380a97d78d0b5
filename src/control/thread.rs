//! The control plane's thread: bound before the shards start, ended after they have.
//!
//! The port is bound first, so that a wrong one is told before the data directory is opened. The
//! thread ends when its handle is dropped; a request in the air is then cut.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use weir_io::mailbox::Sender;

use super::ask::Shards;
use super::collect::Collector;
use super::history::History;
use super::settings::Settings;
use super::{routes, serve};
use crate::base::limits::LATENCY_INTERVAL_MS;
use crate::config::Config;
use crate::exit::{self, Stop};
use crate::server::Letter;

/// Between two attempts at a port that a killed predecessor still holds.
const RETRY: Duration = Duration::from_millis(10);

/// A bound control port.
#[derive(Debug)]
pub struct Control {
    listener: TcpListener,
    settings: Option<Settings>,
    /// Where the interval log goes.
    latency_dir: PathBuf,
}

/// The running control plane. Dropping it ends its thread and waits for that.
#[derive(Debug)]
pub struct Running {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Binds the control port, trying a busy one for `patience`. `None`: it is switched off.
    /// Errors end the process with [`exit::BIND`].
    pub fn bind(config: &Config, patience: Duration) -> Result<Option<Control>, Stop> {
        let addr = SocketAddr::new(config.control_bind, config.control_port());
        if addr.port() == 0 {
            return Ok(None);
        }
        let until = Instant::now() + patience;
        loop {
            match TcpListener::bind(addr) {
                Ok(listener) => return Ok(Some(Control::on(listener, config))),
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                    if Instant::now() >= until {
                        return Err(unbound(addr, &error));
                    }
                    std::thread::sleep(RETRY);
                }
                Err(error) => return Err(unbound(addr, &error)),
            }
        }
    }

    /// A control plane on a socket that is open already.
    #[must_use]
    pub fn on(listener: TcpListener, config: &Config) -> Control {
        let latency_dir = config.store_path_root_dir.join("latency");
        Control { listener, latency_dir, settings: None }
    }

    /// Serves `/config` too.
    #[must_use]
    pub fn with_settings(self, settings: Settings) -> Control {
        Control { settings: Some(settings), ..self }
    }

    /// The address it listens on.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Starts the thread. Shards that are not attached yet answer once they are.
    pub fn start(self, boxes: &[Sender<Letter>]) -> Result<Running, Stop> {
        let failed = |error: std::io::Error| {
            Stop::new(exit::CALL, format!("cannot start the control plane: {error}"))
        };
        self.listener.set_nonblocking(true).map_err(failed)?;
        let collector = Collector::new(Shards::new(boxes));
        let history = History::new(self.latency_dir);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(2)
            .build()
            .map_err(failed)?;
        let (stop, stopped) = oneshot::channel();
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(self.listener).map_err(failed)?
        };
        let work = async move {
            let intervals = tokio::spawn(keep_intervals(collector.clone(), history));
            let router = routes::routes(collector, self.settings);
            let serving = tokio::spawn(serve::serve(listener, router));
            // Either word means the end: said, or unsaid because the handle is gone.
            let _ = stopped.await;
            serving.abort();
            intervals.abort();
        };
        let thread = std::thread::Builder::new()
            .name("control".into())
            .spawn(move || {
                runtime.block_on(work);
                // A write of the interval log that hangs must not keep the process.
                runtime.shutdown_background();
            })
            .map_err(failed)?;
        Ok(Running { stop: Some(stop), thread: Some(thread) })
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was printed there.
            let _ = thread.join();
        }
    }
}

/// Ends an interval every ten seconds and writes it to the log. A log that cannot be written is
/// said once, and tried again.
async fn keep_intervals(collector: Collector, history: History) {
    let span = Duration::from_millis(LATENCY_INTERVAL_MS);
    let history = Arc::new(history);
    let mut said = false;
    loop {
        tokio::time::sleep(span).await;
        let text = collector
            .roll(|rows, end| {
                let sets = rows.iter().enumerate().map(|(shard, row)| (shard, &row.recent));
                history.text(sets, end, span)
            })
            .await;
        // A slow disk must not hold up the answers of this thread.
        let writer = Arc::clone(&history);
        let write = tokio::task::spawn_blocking(move || {
            let written = text.and_then(|text| writer.write(&text));
            (writer, written)
        });
        let Ok((writer, written)) = write.await else { continue };
        match &written {
            Err(error) if !said => writer.say("latency-log-failed", error),
            _ => {}
        }
        said = written.is_err();
    }
}

fn unbound(addr: SocketAddr, error: &std::io::Error) -> Stop {
    let line = format!(
        "cannot listen on {addr} for the control plane: {error}; stop what holds the port, set \
         another one (controlListenPort, controlBind), or controlListenPort=0 to go without"
    );
    Stop::new(exit::BIND, line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::{Health, Question};
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use weir_io::mailbox::{self, Receiver};

    fn control() -> Control {
        let latency_dir = std::env::temp_dir().join("weir-control-test");
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        Control { listener, latency_dir, settings: None }
    }

    fn ask(addr: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// A shard that answers `count` questions.
    fn shard(inbox: Receiver<Letter>, count: usize) -> JoinHandle<()> {
        std::thread::spawn(move || {
            let mut left = count;
            while left > 0 {
                if let Some(Letter::Ask(Question::Health(reply))) = inbox.receive() {
                    reply.send(Health { broker: "b-0".into(), ..Health::default() });
                    left -= 1;
                }
                std::thread::yield_now();
            }
        })
    }

    #[test]
    fn health_is_answered_over_http_and_other_paths_are_not_found() {
        let control = control();
        let addr = control.address().unwrap();
        let (mailbox, inbox) = mailbox::channel(16);
        let served = shard(inbox, 1);
        let running = control.start(&[mailbox]).unwrap();
        let answer = ask(addr, "GET /health HTTP/1.1\r\nhost: a\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("\"healthy\":true"), "{answer}");
        let answer = ask(addr, "GET /other HTTP/1.1\r\nhost: a\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("/health"), "{answer}");
        assert!(ask(addr, "no HTTP at all\r\n\r\n").starts_with("HTTP/1.1 400"));
        served.join().unwrap();
        drop(running);
        assert!(TcpStream::connect(addr).is_err(), "the port is free after the end");
    }

    #[test]
    fn silent_connections_do_not_keep_others_out_for_ever() {
        let control = control();
        let addr = control.address().unwrap();
        let running = control.start(&[]).unwrap();
        let places = crate::base::limits::CONTROL_CONNECTIONS_MAX;
        let silent: Vec<_> = (0..places - 1).map(|_| TcpStream::connect(addr).unwrap()).collect();
        let answer = ask(addr, "GET /health HTTP/1.1\r\nhost: a\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        drop(silent);
        drop(running);
    }

    #[test]
    fn a_taken_port_ends_the_start_with_its_code_and_both_remedies() {
        let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let config = Config { control_listen_port: Some(port), ..Config::default() };
        let stop = Control::bind(&config, Duration::ZERO).unwrap_err();
        assert_eq!(stop.exit_code, exit::BIND);
        assert!(stop.line.contains("controlListenPort=0"), "{}", stop.line);
        let off = Config { control_listen_port: Some(0), ..Config::default() };
        assert!(Control::bind(&off, Duration::ZERO).unwrap().is_none());
    }
}

//! A client of the control port: one HTTP request, one answer, blocking.
//!
//! Every command that asks a running broker about itself goes through here, so that an unreachable
//! port is told the same way everywhere. Never: a retry, a proxy of the environment.

use std::time::Duration;

use serde_json::Value;

use super::args;
use crate::exit::{self, Stop};

/// An answer that is larger is not read.
const ANSWER_MAX: u64 = 16 * 1024 * 1024;

/// The control port of one broker.
#[derive(Debug)]
pub(super) struct Control {
    address: String,
    agent: ureq::Agent,
}

impl Control {
    /// Nothing is opened yet.
    pub(super) fn new(args: &args::Control) -> Control {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_millis(args.timeout_ms.max(1))))
            .http_status_as_error(false)
            .proxy(None)
            .build()
            .into();
        Control { address: args.control.clone(), agent }
    }

    /// GETs `path` (with its leading slash): the HTTP status and the JSON that came.
    pub(super) fn get(&self, path: &str) -> Result<(u16, Value), Stop> {
        self.read(self.agent.get(format!("http://{}{path}", self.address)).call())
    }

    /// POSTs a JSON value to `path`: the HTTP status and the JSON that came.
    pub(super) fn post(&self, path: &str, value: &Value) -> Result<(u16, Value), Stop> {
        let request = self.agent.post(format!("http://{}{path}", self.address));
        self.read(request.content_type("application/json").send(value.to_string()))
    }

    fn read(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<(u16, Value), Stop> {
        let mut answer = answer.map_err(|error| self.unreachable(&error))?;
        let status = answer.status().as_u16();
        let body = answer
            .body_mut()
            .with_config()
            .limit(ANSWER_MAX)
            .read_to_vec()
            .map_err(|error| self.unreachable(&error))?;
        let value = serde_json::from_slice(&body).map_err(|_| {
            let line = format!("{}: status {status}, and no JSON; is this weir?", self.address);
            Stop::new(exit::FAILED, line)
        })?;
        Ok((status, value))
    }

    fn unreachable(&self, error: &ureq::Error) -> Stop {
        let line = format!(
            "no answer from the control port {}: {error}; is weir running, and is --control its \
             controlListenPort?",
            self.address
        );
        Stop::new(exit::FAILED, line)
    }
}

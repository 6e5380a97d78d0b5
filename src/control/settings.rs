//! `/config`: what a running broker goes by, and changing it.
//!
//! A change is checked as a start with it would be, put in force on every shard by letter, and
//! written to the data directory by rename, so that it survives a restart. It is taken from this
//! machine only, whatever the port is bound to, and only as JSON, which no web page can send here
//! unasked. Never: a change of what something was sized by at start; half of a file.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::ask::Shards;
use super::routes::Peer;
use crate::config::{Loaded, Overrides, is_live};
use crate::server::{Question, Retune};

/// Makes of a configuration what each shard is told, by shard.
pub type Retunes = Box<dyn Fn(&Loaded) -> Vec<Retune> + Send>;

/// What is in force, and the way to change it. Clones are the same settings.
#[derive(Clone)]
pub struct Settings(Arc<Mutex<Inner>>);

struct Inner {
    overrides: Overrides,
    loaded: Loaded,
    path: PathBuf,
    retunes: Retunes,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Settings")
    }
}

/// One change; no value takes an earlier change back.
#[derive(Deserialize)]
pub(super) struct Change {
    key: String,
    value: Option<String>,
}

type Answer = (StatusCode, Json<Value>);

impl Settings {
    /// The settings of a start that `loaded` came from; changes are kept at `path`.
    pub fn new(overrides: Overrides, loaded: Loaded, path: PathBuf, retunes: Retunes) -> Settings {
        Settings(Arc::new(Mutex::new(Inner { overrides, loaded, path, retunes })))
    }

    async fn change(&self, shards: &Shards, change: &Change) -> Answer {
        let mut inner = self.0.lock().await;
        let (overrides, loaded) = match inner.overrides.with(&change.key, change.value.as_deref()) {
            Ok(next) => next,
            Err(refusals) => {
                let lines: Vec<String> = refusals.iter().map(ToString::to_string).collect();
                return refuse(StatusCode::BAD_REQUEST, &lines.join("\n"));
            }
        };
        let mut silent = Vec::new();
        for (shard, retune) in (0..).zip((inner.retunes)(&loaded)) {
            let question = |reply| Question::Tune(Box::new(retune), reply);
            if let Err(why) = shards.ask(shard, question).await {
                silent.push(format!("shard {shard}: {why}"));
            }
        }
        let kept = keep(inner.path.clone(), overrides.text()).await;
        let hidden = overrides.hidden(&change.key);
        inner.overrides = overrides;
        inner.loaded = loaded;
        let row = row(&inner.loaded, &change.key);
        if let Err(why) = kept {
            let why = format!("it is in force, but not kept over a restart: {why}");
            return refuse(StatusCode::INTERNAL_SERVER_ERROR, &why);
        }
        if !silent.is_empty() {
            let why = format!(
                "it is kept and will be in force after a restart, but not told yet: {}; set it \
                 again",
                silent.join(", ")
            );
            return refuse(StatusCode::SERVICE_UNAVAILABLE, &why);
        }
        let notices = inner.loaded.notices();
        let note = hidden.then_some("the command line sets this key too and wins over it");
        (StatusCode::OK, Json(json!({ "setting": row, "notices": notices, "note": note })))
    }
}

/// Every key, its value, where it came from, and whether it may change while the broker runs.
pub(super) async fn get(Extension(settings): Extension<Settings>) -> Json<Value> {
    let inner = settings.0.lock().await;
    let rows: Vec<Value> =
        inner.loaded.settings.iter().map(|one| row(&inner.loaded, one.key)).collect();
    Json(json!({ "settings": rows, "notices": inner.loaded.notices() }))
}

/// Changes one key.
pub(super) async fn post(
    State(shards): State<Shards>,
    Extension(settings): Extension<Settings>,
    Extension(Peer(peer)): Extension<Peer>,
    Json(change): Json<Change>,
) -> Answer {
    if !peer.ip().to_canonical().is_loopback() {
        let why = "the configuration is changed from the broker's own machine only";
        return refuse(StatusCode::FORBIDDEN, why);
    }
    settings.change(&shards, &change).await
}

fn row(loaded: &Loaded, key: &str) -> Value {
    match loaded.settings.iter().find(|setting| setting.key == key) {
        Some(setting) => json!({
            "key": setting.key, "value": setting.text, "from": setting.from.to_string(),
            "live": is_live(setting.key),
        }),
        None => Value::Null,
    }
}

fn refuse(status: StatusCode, why: &str) -> Answer {
    (status, Json(json!({ "error": why })))
}

/// Writes the file on a thread of its own: a stalled device must not stop the control plane.
async fn keep(path: PathBuf, text: String) -> Result<(), String> {
    let shown = path.display().to_string();
    match tokio::task::spawn_blocking(move || replace(&path, &text)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(format!("{shown}: {error}")),
        Err(error) => Err(format!("{shown}: {error}")),
    }
}

/// Replaces a file by a whole one, durably.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let next = path.with_extension("toml.next");
    let mut file = File::create(&next)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&next, path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};
    use crate::server::Letter;
    use weir_io::mailbox;

    fn settings(path: &Path) -> Settings {
        let sources = Sources { sets: vec!["brokerPermission=6".into()], ..Sources::default() };
        let loaded = load(&sources).unwrap();
        let overrides = Overrides::new(sources, &loaded, path.display().to_string());
        let retunes = Box::new(|loaded: &Loaded| {
            let mut retune = Retune { texts: loaded.texts(), ..Retune::default() };
            retune.tuning.pressure.send_wait_ms = loaded.config.wait_time_in_send_queue_ms;
            vec![retune]
        });
        Settings::new(overrides, loaded, path.to_owned(), retunes)
    }

    fn change(settings: &Settings, shards: &Shards, key: &str, value: Option<&str>) -> Answer {
        let change = Change { key: key.into(), value: value.map(str::to_owned) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(settings.change(shards, &change))
    }

    #[test]
    fn a_change_reaches_the_shard_and_the_file_and_a_refused_one_neither() {
        let dir = std::env::temp_dir().join(format!("weir-settings-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join(Overrides::FILE);
        let settings = settings(&path);
        let (mailbox, inbox) = mailbox::channel(16);
        let shards = Shards::new(&[mailbox]);
        let shard = std::thread::spawn(move || {
            let mut waits = Vec::new();
            while waits.len() < 2 {
                if let Some(Letter::Ask(Question::Tune(retune, reply))) = inbox.receive() {
                    waits.push(retune.tuning.pressure.send_wait_ms);
                    reply.send(());
                }
                std::thread::yield_now();
            }
            waits
        });
        let (status, body) = change(&settings, &shards, "waitTimeMillsInSendQueue", Some("0"));
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(body.0["error"].as_str().unwrap().contains("1 to 600000 ms"), "{}", body.0);
        assert!(!path.exists());
        let (status, body) = change(&settings, &shards, "waitTimeMillsInSendQueue", Some("77"));
        assert_eq!(status, StatusCode::OK, "{}", body.0);
        assert_eq!(body.0["setting"]["value"], "77");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.ends_with("\nwaitTimeMillsInSendQueue = \"77\"\n"), "{text}");
        let (status, _) = change(&settings, &shards, "waitTimeMillsInSendQueue", None);
        assert_eq!(status, StatusCode::OK);
        assert!(!std::fs::read_to_string(&path).unwrap().contains("waitTime"));
        assert_eq!(shard.join().unwrap(), [77, 200]);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}

//! The name server's KV configuration: namespace, key, value, all text.
//!
//! RocketMQ keeps `ORDER_TOPIC_CONFIG` here and hands it to every broker that registers. The
//! store holds no file: whoever owns it writes the changes to the log and puts them back at
//! start. Invariant: the bytes counted are the bytes held, and never exceed the bounds.

use std::collections::BTreeMap;

use weir_wire::codes::response;

use super::body::{Dialect, text};
use super::bounds::{KV_KEYS_MAX, KV_NAME_MAX, KV_NAMESPACES_MAX, KV_TOTAL_MAX, KV_VALUE_MAX};
use super::registration::Refusal;

/// The namespace with the queue counts of strictly ordered topics.
pub const ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

/// Texts by namespace and key, sorted.
#[derive(Debug, Default)]
pub struct KvStore {
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    held_bytes: usize,
}

impl KvStore {
    /// PUT_KV_CONFIG: sets or replaces a value. Refused when a bound would be passed; the old
    /// value then stays.
    pub fn put(&mut self, namespace: &str, key: &str, value: &str) -> Result<(), Refusal> {
        within("namespace", namespace, KV_NAME_MAX)?;
        within("key", key, KV_NAME_MAX)?;
        within("value", value, KV_VALUE_MAX)?;
        let old = self.get(namespace, key).ok().map(|old| key.len() + old.len());
        let held = self.held_bytes - old.unwrap_or(0) + key.len() + value.len();
        if held > KV_TOTAL_MAX {
            return Err(full("bytes", KV_TOTAL_MAX));
        }
        let count = self.namespaces.len();
        match self.namespaces.get(namespace) {
            None if count >= KV_NAMESPACES_MAX => {
                return Err(full("namespaces", KV_NAMESPACES_MAX));
            }
            Some(keys) if old.is_none() && keys.len() >= KV_KEYS_MAX => {
                return Err(full("keys in one namespace", KV_KEYS_MAX));
            }
            _ => {}
        }
        self.held_bytes = held;
        let keys = self.namespaces.entry(namespace.to_owned()).or_default();
        keys.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    /// GET_KV_CONFIG: the value, or QUERY_NOT_FOUND with RocketMQ's remark.
    pub fn get(&self, namespace: &str, key: &str) -> Result<&str, Refusal> {
        self.namespaces
            .get(namespace)
            .and_then(|keys| keys.get(key))
            .map(String::as_str)
            .ok_or_else(|| {
                let remark = format!("No config item, Namespace: {namespace} Key: {key}");
                Refusal { code: response::QUERY_NOT_FOUND, remark }
            })
    }

    /// DELETE_KV_CONFIG: forgets a value. Deleting what is not there is a success, as in Java.
    pub fn delete(&mut self, namespace: &str, key: &str) {
        let Some(keys) = self.namespaces.get_mut(namespace) else { return };
        if let Some(old) = keys.remove(key) {
            self.held_bytes -= key.len() + old.len();
        }
        if keys.is_empty() {
            self.namespaces.remove(namespace);
        }
    }

    /// GET_KVLIST_BY_NAMESPACE: appends `{"table":{"k":"v"}}` to `out`, or QUERY_NOT_FOUND when
    /// the namespace does not exist.
    pub fn list(&self, namespace: &str, out: &mut Vec<u8>) -> Result<(), Refusal> {
        let Some(keys) = self.namespaces.get(namespace) else {
            let remark = format!("No config item, Namespace: {namespace}");
            return Err(Refusal { code: response::QUERY_NOT_FOUND, remark });
        };
        out.extend_from_slice(b"{\"table\":{");
        for (i, (key, value)) in keys.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            text(out, Dialect::Fastjson, key);
            out.push(b':');
            text(out, Dialect::Fastjson, value);
        }
        out.extend_from_slice(b"}}");
        Ok(())
    }

    /// Every `(namespace, key, value)`, sorted: what a snapshot has to keep.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.namespaces.iter().flat_map(|(namespace, keys)| {
            keys.iter().map(move |(k, v)| (namespace.as_str(), k.as_str(), v.as_str()))
        })
    }
}

fn within(what: &str, value: &str, limit: usize) -> Result<(), Refusal> {
    if value.len() <= limit && !(value.is_empty() && what != "value") {
        return Ok(());
    }
    let length = value.len();
    Err(Refusal::error(format!("KV {what} of {length} bytes, allowed are 1 to {limit}")))
}

fn full(what: &str, limit: usize) -> Refusal {
    Refusal::error(format!("KV configuration holds its limit of {limit} {what}; delete some"))
}

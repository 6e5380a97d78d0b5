//! Names: no drawer called util, no type whose name ends in a word that means nothing.
//!
//! RocketMQ's own wire names are kept as they are, and listed here once.

use syn::visit::{self, Visit};

use super::{Breach, Tree};

const DRAWERS: &[&str] = &["util", "utils", "common", "commons", "helper", "helpers", "misc"];
const EMPTY_SUFFIXES: &[&str] =
    &["Manager", "Service", "Helper", "Impl", "Context", "Util", "Utils", "Info", "Data"];
/// Names that RocketMQ's protocol gives to bodies.
const ROCKETMQ_NAMES: &[&str] = &[
    "BrokerData",
    "ClusterInfo",
    "ConsumerData",
    "ConsumerRunningInfo",
    "HARuntimeInfo",
    "HeartbeatData",
    "ProducerData",
    "ProducerTableInfo",
    "QueueData",
    "SubscriptionData",
    "TopicRouteData",
];

/// No file or folder is a drawer.
pub(super) fn files(tree: &Tree) -> Vec<Breach> {
    let mut found = Vec::new();
    for (path, _) in &tree.sizes {
        let drawer = path.split('/').any(|part| {
            let stem = part.split('.').next().unwrap_or_default();
            DRAWERS.contains(&stem)
        });
        if drawer {
            let instead = "name it after the one thing that is in it";
            found.push(Breach::new(path, 0, "drawer", instead));
        }
    }
    found
}

/// No type ends in an empty word.
pub(super) fn types(tree: &Tree) -> Vec<Breach> {
    let mut found = Vec::new();
    for (source, rust) in tree.rust() {
        let mut types = Types { found: Vec::new() };
        types.visit_file(&rust.file);
        for (name, line) in types.found {
            let empty = EMPTY_SUFFIXES.iter().find(|end| name.ends_with(*end));
            if let Some(end) = empty.filter(|_| !ROCKETMQ_NAMES.contains(&name.as_str())) {
                let instead = format!("`{name}`: say what it is; `{end}` says nothing");
                found.push(Breach::new(&source.path, line, "type-name", instead));
            }
        }
    }
    found
}

struct Types {
    found: Vec<(String, usize)>,
}

impl Types {
    fn take(&mut self, ident: &syn::Ident) {
        self.found.push((ident.to_string(), ident.span().start().line));
    }
}

impl<'ast> Visit<'ast> for Types {
    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.take(&item.ident);
        visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.take(&item.ident);
        visit::visit_item_enum(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.take(&item.ident);
        visit::visit_item_trait(self, item);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.take(&item.ident);
        visit::visit_item_type(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::found;
    use super::*;

    #[test]
    fn a_drawer_is_reported() {
        for path in ["src/util/a.rs", "src/queue/helpers.rs", "bench/common/b.txt"] {
            assert_eq!(found(files, path, ""), ["0: drawer"], "{path}");
        }
        assert!(found(files, "src/queue/utility_meter.rs", "").is_empty());
    }

    #[test]
    fn a_type_named_after_nothing_is_reported() {
        for text in [
            "struct TopicManager;",
            "enum SendContext {}",
            "trait Helper {}",
            "type PullInfo = u8;",
            "fn f() { struct RowData; }",
        ] {
            assert_eq!(found(types, "src/a.rs", text), ["1: type-name"], "{text}");
        }
        assert!(
            found(types, "wire/src/a.rs", "struct TopicRouteData; struct Informer;").is_empty()
        );
    }
}

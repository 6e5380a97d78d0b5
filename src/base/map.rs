//! Hash maps with a fixed seed, so that the same inputs give the same iteration order in every
//! run of the simulator. They are never iterated where the order could reach a client unsorted.

use foldhash::fast::FixedState;

/// A map whose iteration order depends on its contents alone.
pub type Map<K, V> = std::collections::HashMap<K, V, FixedState>;

/// A set whose iteration order depends on its contents alone.
pub type Set<K> = std::collections::HashSet<K, FixedState>;

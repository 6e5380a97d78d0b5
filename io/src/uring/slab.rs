//! Numbered places that are used again, with a generation so that an old number finds nothing.
//!
//! The number goes to the kernel as `user_data` and comes back with each completion. Never: an
//! allocation once as many places exist as were ever in use together.

/// Set in the `user_data` of a cancellation, next to the number of what it cancels.
pub(super) const CANCEL: u64 = 1 << 31;

/// Places of values in flight.
#[derive(Debug)]
pub(super) struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Place<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Slab<T> {
    /// No values yet, memory for `capacity`.
    pub(super) fn with_capacity(capacity: usize) -> Slab<T> {
        Slab { places: Vec::with_capacity(capacity), free: Vec::with_capacity(capacity) }
    }

    /// Puts a value in and gives its number: generation in the upper half, place in the lower.
    pub(super) fn insert(&mut self, value: T) -> u64 {
        let index = self.free.pop().unwrap_or_else(|| {
            assert!((self.places.len() as u64) < CANCEL, "the slab is full");
            self.places.push(Place { generation: 0, value: None });
            self.places.len() as u32 - 1
        });
        let place = &mut self.places[index as usize];
        assert!(place.value.is_none(), "place {index} is taken");
        place.value = Some(value);
        key(place.generation, index)
    }

    /// The value of a number, unless it was removed.
    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let place = self.places.get_mut(number as u32 as usize)?;
        if place.generation == (number >> 32) as u32 { place.value.as_mut() } else { None }
    }

    /// Takes the value of a number out; the number finds nothing from now on.
    pub(super) fn remove(&mut self, number: u64) -> Option<T> {
        let index = number as u32;
        let place = self.places.get_mut(index as usize)?;
        if place.generation != (number >> 32) as u32 {
            return None;
        }
        let value = place.value.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(index);
        Some(value)
    }

    /// Values that are in.
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}

fn key(generation: u32, index: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_number_finds_nothing_after_the_place_is_used_again() {
        let mut slab = Slab::with_capacity(2);
        let (first, second) = (slab.insert('a'), slab.insert('b'));
        assert_eq!(slab.remove(first), Some('a'));
        let third = slab.insert('c');
        assert_eq!(third as u32, first as u32);
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get_mut(third), Some(&mut 'c'));
        assert_eq!((slab.remove(second), slab.len()), (Some('b'), 1));
        assert_eq!(slab.get_mut(77), None);
        assert_eq!((first | second | third) & CANCEL, 0);
    }
}

//! Enums that JSON carries by name.
//!
//! A name we do not know reads as the default, as it reads as null in Java: a client of a later
//! release must not fail for a word. It is never written back as it came.

/// Declares an enum with its names on the wire; the first is the default.
macro_rules! named_enum {
    (
        $(#[$doc:meta])*
        $name:ident {
            $(#[$first_doc:meta])* $first:ident = $first_wire:literal,
            $($(#[$variant_doc:meta])* $variant:ident = $wire:literal,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub enum $name {
            $(#[$first_doc])*
            #[default]
            $first,
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            const ALL: &'static [(&'static str, $name)] =
                &[($first_wire, $name::$first), $(($wire, $name::$variant)),*];

            /// Its name on the wire.
            pub fn name(self) -> &'static str {
                Self::ALL.iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
            }

            /// What a name on the wire says; the default for one we do not know.
            pub fn from_name(name: &str) -> $name {
                let known = Self::ALL.iter().find(|(known, _)| *known == name);
                known.map_or_else($name::default, |(_, value)| *value)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let value = <serde_json::Value as serde::Deserialize>::deserialize(from)?;
                Ok(value.as_str().map_or_else($name::default, $name::from_name))
            }
        }
    };
}
pub(crate) use named_enum;

//! Enums that JSON carries by name.
//!
//! A name we do not know reads as the default, as it reads as null in Java: a client of a later
//! release must not fail for a word. It is never written back as it came. The C++ client sends
//! the number of the name instead, counted as Java declares them.

/// Declares an enum with names and numbers on the wire; the first is the default.
macro_rules! named_enum {
    (
        $(#[$doc:meta])*
        $name:ident {
            $(#[$first_doc:meta])* $first:ident = $first_wire:literal | $first_number:literal,
            $($(#[$variant_doc:meta])* $variant:ident = $wire:literal | $number:literal,)*
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
            const ALL: &'static [(&'static str, i64, $name)] = &[
                ($first_wire, $first_number, $name::$first),
                $(($wire, $number, $name::$variant)),*
            ];

            /// Its name on the wire.
            pub fn name(self) -> &'static str {
                let known = Self::ALL.iter().find(|(_, _, known)| *known == self);
                known.map_or("", |(name, _, _)| name)
            }

            /// What a name on the wire says; the default for one we do not know.
            pub fn from_name(name: &str) -> $name {
                let known = Self::ALL.iter().find(|(known, _, _)| *known == name);
                known.map_or_else($name::default, |(_, _, value)| *value)
            }

            /// What a number on the wire says; the default for one we do not know.
            pub fn from_number(number: i64) -> $name {
                let known = Self::ALL.iter().find(|(_, known, _)| *known == number);
                known.map_or_else($name::default, |(_, _, value)| *value)
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
                Ok(match (value.as_str(), value.as_i64()) {
                    (Some(name), _) => $name::from_name(name),
                    (_, Some(number)) => $name::from_number(number),
                    _ => $name::default(),
                })
            }
        }
    };
}
pub(crate) use named_enum;

//! JSON values read as Fastjson reads them into Java's types.
//!
//! A number may stand in quotes where a number is wanted, and without where text is; null is as
//! good as nothing. It never guesses further: a list is no object, a word is no number.

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{Deserializer, Error, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::Value;

/// A value to be read.
pub(super) struct Lenient(pub(super) Value);

impl Lenient {
    /// The number it says.
    fn int(&self) -> Option<i64> {
        match &self.0 {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        }
    }
}

impl<'de> IntoDeserializer<'de, serde_json::Error> for Lenient {
    type Deserializer = Lenient;

    fn into_deserializer(self) -> Lenient {
        self
    }
}

/// Reads integers of one type: any value that says one is taken, and its range is checked by
/// whoever wants it.
macro_rules! int {
    ($($method:ident)*) => {
        $(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
                match self.int() {
                    Some(value) => visitor.visit_i64(value),
                    None => self.deserialize_any(visitor),
                }
            }
        )*
    };
}

impl<'de> Deserializer<'de> for Lenient {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(value), _, _) => visitor.visit_i64(value),
                (_, Some(value), _) => visitor.visit_u64(value),
                (_, _, Some(value)) => visitor.visit_f64(value),
                _ => Err(Error::custom("a number beyond all types")),
            },
            Value::String(text) => visitor.visit_string(text),
            Value::Array(items) => {
                let items = items.into_iter().filter(|item| !item.is_null()).map(Lenient);
                visitor.visit_seq(SeqDeserializer::new(items))
            }
            Value::Object(members) => {
                let members = members.into_iter().filter(|(_, member)| !member.is_null());
                let pairs =
                    members.map(|(key, value)| (Lenient(Value::String(key)), Lenient(value)));
                visitor.visit_map(MapDeserializer::new(pairs))
            }
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        let value = match &self.0 {
            Value::String(text) => text.eq_ignore_ascii_case("true"),
            Value::Number(number) => number.as_i64() == Some(1),
            _ => return self.deserialize_any(visitor),
        };
        visitor.visit_bool(value)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.0 {
            Value::Number(number) => visitor.visit_string(number.to_string()),
            Value::Bool(value) => visitor.visit_string(value.to_string()),
            other => Lenient(other).deserialize_any(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.deserialize_string(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    /// Only from an object: an array is none, though serde would take it for one.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        if self.0.is_object() {
            return self.deserialize_any(visitor);
        }
        Err(Error::custom("no object"))
    }

    int!(deserialize_i32 deserialize_i64 deserialize_u32 deserialize_u64);

    forward_to_deserialize_any! {
        i8 i16 u8 u16 f32 f64 char bytes byte_buf unit unit_struct newtype_struct seq tuple
        tuple_struct map enum identifier ignored_any
    }
}

//! Header fields of a request: declared once, read in one pass.
//!
//! The type says how: a bare type is mandatory, an `Option` is not, a bare `bool` is false when
//! it is missing. It never looks a field up by scanning for it, and unknown fields are ignored.

use crate::header::Text;

/// A field's type.
pub(crate) trait Field<'a>: Sized {
    /// The value when the field was not sent; `None` when it is mandatory.
    fn missing() -> Option<Self>;
    /// The value of the text; `None` when the text is none of this type.
    fn read(text: Text<'a>) -> Option<Self>;
}

impl<'a> Field<'a> for Text<'a> {
    #[inline]
    fn missing() -> Option<Self> {
        None
    }

    #[inline]
    fn read(text: Text<'a>) -> Option<Self> {
        Some(text)
    }
}

impl<'a> Field<'a> for i32 {
    #[inline]
    fn missing() -> Option<Self> {
        None
    }

    #[inline]
    fn read(text: Text<'a>) -> Option<Self> {
        text.parse_i32()
    }
}

impl<'a> Field<'a> for i64 {
    #[inline]
    fn missing() -> Option<Self> {
        None
    }

    #[inline]
    fn read(text: Text<'a>) -> Option<Self> {
        text.parse_i64()
    }
}

impl<'a> Field<'a> for bool {
    #[inline]
    fn missing() -> Option<Self> {
        Some(false)
    }

    #[inline]
    fn read(text: Text<'a>) -> Option<Self> {
        Some(text.parse_bool())
    }
}

/// Empty text counts as missing: the C++ client sends it for what it does not have.
impl<'a, T: Field<'a>> Field<'a> for Option<T> {
    #[inline]
    fn missing() -> Option<Self> {
        Some(None)
    }

    #[inline]
    fn read(text: Text<'a>) -> Option<Self> {
        if text.is_empty() { Some(None) } else { T::read(text).map(Some) }
    }
}

/// The text of a field's name.
pub(crate) const fn name(bytes: &'static [u8]) -> &'static str {
    match std::str::from_utf8(bytes) {
        Ok(name) => name,
        Err(_) => "",
    }
}

/// Declares a request's header: each field with its type and its name on the wire.
macro_rules! request_header {
    (
        $(#[$doc:meta])*
        $header:ident {
            $($(#[$field_doc:meta])* $field:ident: $kind:ty = $wire:literal,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $header<'a> {
            $($(#[$field_doc])* pub $field: $kind,)*
        }

        impl<'a> $header<'a> {
            /// Reads the fields of a header, whichever form it came in.
            ///
            /// Fails when a mandatory field was not sent or a number is none.
            #[inline]
            pub fn parse(
                header: &$crate::header::Header<'a>,
            ) -> Result<$header<'a>, $crate::header::FieldError> {
                use $crate::header::FieldError;
                use $crate::request::fields::{Field, name};
                $(let mut $field: Option<$kind> = <$kind as Field<'a>>::missing();)*
                let mut wrong = None;
                header.ext.each(|key, text| match key {
                    $($wire => {
                        let value = <$kind as Field<'a>>::read(text);
                        if value.is_none() {
                            wrong = Some(FieldError::not_a_number(const { name($wire) }));
                        }
                        $field = value;
                    })*
                    _ => {}
                });
                if let Some(wrong) = wrong {
                    return Err(wrong);
                }
                Ok($header {
                    $($field: $field.ok_or(FieldError::missing(const { name($wire) }))?,)*
                })
            }
        }
    };
}
pub(crate) use request_header;

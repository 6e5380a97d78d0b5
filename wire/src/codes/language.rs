//! Languages and versions: what clients and brokers say they are.
//!
//! A JSON header names the language, a binary one has its number. Clients decide by the version
//! in our answers what they may ask for, so it is that of the release we follow.

/// The version we announce in every header: `V5_4_0`.
pub const VERSION: i32 = 493;
/// Its name, as `brokerVersionDesc` shows it.
pub const VERSION_NAME: &str = "V5_4_0";

/// What a peer is written in (`LanguageCode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Language {
    /// The Java client, and brokers.
    Java = 0,
    /// The C++ client, and those built on it.
    Cpp = 1,
    /// .NET.
    Dotnet = 2,
    /// Python.
    Python = 3,
    /// Delphi.
    Delphi = 4,
    /// Erlang.
    Erlang = 5,
    /// Ruby.
    Ruby = 6,
    /// Anything else, and every name we do not know.
    Other = 7,
    /// An HTTP gateway.
    Http = 8,
    /// Go.
    Go = 9,
    /// PHP.
    Php = 10,
    /// OpenMessaging.
    Oms = 11,
    /// Rust.
    Rust = 12,
    /// Node.js.
    NodeJs = 13,
}

impl Language {
    const ALL: [(Language, &'static str); 14] = [
        (Language::Java, "JAVA"),
        (Language::Cpp, "CPP"),
        (Language::Dotnet, "DOTNET"),
        (Language::Python, "PYTHON"),
        (Language::Delphi, "DELPHI"),
        (Language::Erlang, "ERLANG"),
        (Language::Ruby, "RUBY"),
        (Language::Other, "OTHER"),
        (Language::Http, "HTTP"),
        (Language::Go, "GO"),
        (Language::Php, "PHP"),
        (Language::Oms, "OMS"),
        (Language::Rust, "RUST"),
        (Language::NodeJs, "NODE_JS"),
    ];

    /// Its number in a binary header.
    pub const fn byte(self) -> u8 {
        self as u8
    }

    /// Its name in a JSON header.
    pub fn name(self) -> &'static str {
        Self::ALL.get(usize::from(self.byte())).map_or("OTHER", |(_, name)| name)
    }

    /// The language of a name; [`Language::Other`] for one we do not know.
    #[inline]
    pub fn from_name(name: &str) -> Language {
        let known = Self::ALL.iter().find(|(_, known)| *known == name);
        known.map_or(Language::Other, |(language, _)| *language)
    }

    /// The language of a number; [`Language::Other`] for one we do not know.
    #[inline]
    pub fn from_byte(byte: u8) -> Language {
        Self::ALL.get(usize::from(byte)).map_or(Language::Other, |(language, _)| *language)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_lead_back_to_the_language() {
        for (at, (language, name)) in Language::ALL.iter().enumerate() {
            assert_eq!(usize::from(language.byte()), at);
            assert_eq!(language.name(), *name);
            assert_eq!(Language::from_name(name), *language);
            assert_eq!(Language::from_byte(language.byte()), *language);
        }
        assert_eq!(Language::from_name("COBOL"), Language::Other);
        assert_eq!(Language::from_byte(14), Language::Other);
    }
}

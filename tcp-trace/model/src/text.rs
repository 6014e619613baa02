//! Bytes from outside in JSON: a string when they are UTF-8, else `{"bytes": "<base64>"}`.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Text as it came from the network or the kernel: usually UTF-8, never trusted to be.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "Either"))]
pub struct Text(pub Bytes);

impl Text {
    /// For terminals: control characters and bytes that are not UTF-8 are escaped, so that nothing from
    /// the network can steer the terminal.
    pub fn printable(&self) -> impl fmt::Display {
        Printable(&self.0)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<Bytes> for Text {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(bytes))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        TextRef(&self.0).fmt(f)
    }
}

/// The same without owning it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TextRef<'a>(pub &'a [u8]);

impl<'a> TextRef<'a> {
    /// As [`Text::printable`].
    pub fn printable(self) -> impl fmt::Display + use<'a> {
        Printable(self.0)
    }
}

impl fmt::Debug for TextRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.printable())
    }
}

struct Printable<'a>(&'a [u8]);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                if is_unsafe(character) {
                    write!(f, "{}", character.escape_unicode())?;
                } else {
                    write!(f, "{character}")?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Control characters, and the invisible ones that reorder or join what is displayed around them.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Base64 {
    bytes: String,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
enum Either {
    String(String),
    Bytes(Base64),
}

impl Serialize for TextRef<'_> {
    /// As bytes, of which [`json::write`](crate::json::write) makes what is read here; serde_json would write an array of
    /// numbers.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        TextRef(&self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Either::deserialize(deserializer)? {
            Either::String(text) => Ok(text.into_bytes().into()),
            Either::Bytes(Base64 { bytes }) => {
                STANDARD.decode(bytes).map(Self::from).map_err(D::Error::custom)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf8_is_a_string_and_anything_else_is_base64() {
        for (bytes, json) in [
            (&b"/a?x=1"[..], r#""/a?x=1""#),
            ("/größe".as_bytes(), r#""/größe""#),
            (b"/\xff", r#"{"bytes":"L/8="}"#),
        ] {
            let text = Text::from(bytes);
            assert_eq!(crate::json::to_string(&text).unwrap(), json);
            assert_eq!(serde_json::from_str::<Text>(json).unwrap(), text);
        }
    }

    #[test]
    fn the_terminal_never_sees_control_characters() {
        let text = Text::from(&b"/\x1b[31mred\r\n\xff\xc2\x9b"[..]);
        assert_eq!(text.printable().to_string(), r"/\u{1b}[31mred\u{d}\u{a}\xff\u{9b}");
    }

    #[test]
    fn text_direction_cannot_be_turned_round() {
        let text = Text::from("a\u{202e}b");
        assert_eq!(text.printable().to_string(), r"a\u{202e}b");
    }
}

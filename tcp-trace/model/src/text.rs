//! Bytes from outside in JSON: a string when they are UTF-8, else `{"bytes": "<base64>"}`.

use std::{borrow::Cow, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, IgnoredAny, MapAccess, Visitor},
    ser::SerializeStruct as _,
};

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

/// Both forms, for the schema.
#[cfg(test)]
#[derive(schemars::JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is a schema only")]
enum Either {
    String(String),
    Bytes(Base64),
}

#[cfg(test)]
#[derive(schemars::JsonSchema)]
#[expect(dead_code, reason = "it is a schema only")]
struct Base64 {
    bytes: String,
}

impl Serialize for TextRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match str::from_utf8(self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => {
                let mut object = serializer.serialize_struct("Base64", 1)?;
                object.serialize_field("bytes", &STANDARD.encode(self.0))?;
                object.end()
            }
        }
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        TextRef(&self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Piece::deserialize(deserializer)?.0 {
            Cow::Borrowed(bytes) => bytes.into(),
            Cow::Owned(bytes) => bytes.into(),
        })
    }
}

/// A text that is not copied where what it is read from holds it as it is.
pub(crate) struct Piece<'a>(pub(crate) Cow<'a, [u8]>);

impl<'de> Deserialize<'de> for Piece<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PieceVisitor)
    }
}

/// Takes a text in either form.
struct PieceVisitor;

impl<'de> Visitor<'de> for PieceVisitor {
    type Value = Piece<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or an object with `bytes`")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Piece(text.as_bytes().into()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        self.visit_string(text.to_owned())
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Self::Value, E> {
        Ok(Piece(text.into_bytes().into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut text = None;
        while let Some(Word(key)) = map.next_key()? {
            if key == "bytes" {
                let Word(bytes) = map.next_value()?;
                text = Some(STANDARD.decode(bytes.as_bytes()).map_err(A::Error::custom)?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        text.map(|text| Piece(text.into())).ok_or_else(|| A::Error::missing_field("bytes"))
    }
}

/// A string that is not copied where what it is read from holds it as it is.
pub(crate) struct Word<'a>(pub(crate) Cow<'a, str>);

impl<'de> Deserialize<'de> for Word<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(WordVisitor)
    }
}

struct WordVisitor;

impl<'de> Visitor<'de> for WordVisitor {
    type Value = Word<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Word(text.into()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Word(text.to_owned().into()))
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
            assert_eq!(serde_json::to_string(&text).unwrap(), json, "in any format of serde");
            assert_eq!(serde_json::from_str::<Text>(json).unwrap(), text);
        }
    }

    #[test]
    fn what_is_neither_form_is_refused() {
        for (json, reason) in [
            ("7", "invalid type: integer `7`, expected a string or an object with `bytes`"),
            ("{}", "missing field `bytes`"),
            (r#"{"bytes":"?"}"#, "Invalid symbol 63, offset 0."),
        ] {
            let error = serde_json::from_str::<Text>(json).unwrap_err().to_string();
            assert!(error.starts_with(reason), "{error}");
        }
        let later: Text = serde_json::from_str(r#"{"later":[1],"bytes":"L/8="}"#).unwrap();
        assert_eq!(later, Text::from(&b"/\xff"[..]));
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
